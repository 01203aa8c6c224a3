"""`graft.report`: what a run did, as one page that anybody can open."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .. import _checks
from .._errors import FileError, InvalidArgumentError
from .._version import __version__
from .._write import write_all
from . import _drawing
from ._analysis import Subject, find_reference, plain, subjects
from ._figures import Figures
from ._html import Page, figures
from ._inputs import recordings
from ._tables import Table, tables

__all__ = ["report"]


def report(
    runs: Any, path: str | os.PathLike[str] = "report.html", *, title: str | None = None,
    reference: str | None = None, threshold: float = 0.1, bins: int = 10,
    figures: str | os.PathLike[str] | None = None,
    tables: str | os.PathLike[str] | None = None, transposed: Sequence[str] = (),
) -> Path:
    """Write a page that shows what grafting did. Needs matplotlib.

    Parameters
    ----------
    runs
        A `Recorder`, a `Recording`, a `Trainer`, a `graft.torch.Grafter` with a recorder; networks
        (`graft.Network`, torch modules, mappings of name -> array); the path of a recording (.npz),
        of weights (.safetensors, .pt, .pth) or of a trainer's checkpoint (a folder); or several of
        these, as a list or as a dictionary of name -> run, to be compared.
    path
        The page: one file that needs nothing else, and opens without a network.
    title
        "Grafting report" and the runs' names by default.
    reference
        The name of the run or network that fixes which filters count as valid and invalid in the
        cultivation table: the baseline. By default the first network that has weights.
    threshold
        A filter is invalid while its l1 norm is under this.
    bins
        Bins of the entropy, for networks that are measured here.
    figures
        A folder for the figures as PNG files; made if it is not there.
    tables
        A folder for the numbers: a CSV file each, and all of them in numbers.json.
    transposed
        In files of weights, and mappings: arrays whose filters lie along dimension 1, as in a
        transposed convolution; wildcards as in a shell.

    Returns
    -------
    pathlib.Path
        The page's.

    Raises
    ------
    InvalidArgumentError
        If nothing has been recorded, or no network is called `reference`.
    FileError, FormatError, UnsupportedError
        If a file cannot be read or written, or matplotlib is missing.

    Examples
    --------
    >>> graft.report({"baseline": "baseline.npz", "grafted": "grafted.npz"}, "report.html")
    """
    _drawing.require()
    target = Path(os.fsdecode(path))
    networks, base, threshold = prepare(runs, reference, threshold, bins, transposed)
    if title is None:
        names = list(dict.fromkeys(one.run for one in networks))
        title = "Grafting report" if len(names) == 1 else f"Grafting report: {', '.join(names)}"
    drawn, page = _compose(title, networks, base, threshold, figures is not None)
    targets: list[tuple[Path, Callable[[BinaryIO], object]]] = [
        (target, lambda file: file.write(page))]
    if figures is not None:
        folder = _folder(figures)
        for one in drawn:
            targets.append((
                folder / f"{one.name}.png", lambda file, png=one.png: file.write(png)))
    if tables is not None:
        targets += _numbers(_folder(tables), networks, base, threshold)
    write_all(targets)
    return target


def prepare(
    runs: Any, reference: str | None, threshold: float, bins: int, transposed: Sequence[str] = ()
) -> tuple[list[Subject], Subject, float]:
    """The networks of the runs, the reference among them, and the threshold, checked."""
    threshold = _checks.number(threshold, "threshold")
    if not 0 <= threshold < math.inf:
        raise InvalidArgumentError(f"threshold is {threshold}; it must be 0 or more")
    networks = subjects(recordings(runs, bins, transposed))
    return networks, find_reference(networks, reference), threshold


def _folder(path: str | os.PathLike[str]) -> Path:
    folder = Path(os.fsdecode(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be made: {error.strerror or error}") from error
    return folder


def _numbers(
    folder: Path, networks: list[Subject], reference: Subject, threshold: float
) -> Iterator[tuple[Path, Callable[[BinaryIO], object]]]:
    found: dict[str, Table] = tables(networks, reference, threshold)
    for name, table in found.items():
        yield folder / f"{name}.csv", lambda file, table=table: file.write(table.csv())
    document = {
        "graft": __version__, "threshold": threshold, "reference": reference.name,
        "runs": {one.run: {"settings": one.recording.settings, "sessions": one.recording.sessions}
                 for one in networks},
        **{name: table.to_list() for name, table in found.items()}}
    text = json.dumps(_clean(document), default=str).encode("utf-8", "backslashreplace")
    yield folder / "numbers.json", lambda file: file.write(text)


def _clean(value: Any) -> Any:
    """For JSON, which has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {str(key): _clean(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(one) for one in value]
    return plain(value)


def _compose(
    title: str, networks: list[Subject], reference: Subject, threshold: float, png: bool
) -> tuple[list[Any], bytes]:
    """The figures, and the page that they are in."""
    page = Page(title, networks, reference, threshold)
    draw = Figures(networks, threshold, png)
    curves, alpha, entropy = list(draw.curves()), list(draw.alpha()), list(draw.entropy())
    shares, changes, health = list(draw.shares()), list(draw.changes()), list(draw.health())
    page.add("networks", "Networks", page.summary())
    page.add("cultivation", "Cultivation", page.cultivation())
    page.add("curves", "Accuracy and loss", figures(curves))
    page.add("filters", "Filter map", page.filter_map())
    page.add("changes", "Back and dead", page.changes(), figures(changes))
    page.add("shares", "Thresholds", figures(shares), page.shares())
    page.add("alpha", "Alpha", figures(alpha))
    page.add("entropy", "Entropy", figures(entropy))
    page.add("health", "Dead and saturated layers", figures(health), page.scales())
    page.add("layers", "Layers", page.layers())
    page.add("settings", "Settings", page.settings())
    drawn = [*curves, *changes, *shares, *alpha, *entropy, *health]
    if png:
        drawn += draw.filter_map()
    return drawn, page.text()
