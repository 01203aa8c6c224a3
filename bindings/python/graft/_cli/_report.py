"""`python -m graft report`: how much information each layer holds, its invalid filters, and a page
that shows what a run did to them."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import _method
from .._errors import GraftError, InvalidArgumentError, UnsupportedError
from .._write import write_all
from ._files import read
from ._safetensors import Bfloat16Bits
from .._text import cell, printable, table

LEVELS = (1.0, 0.1, 0.01, 0.001)  # the paper's


@dataclass(frozen=True)
class Row:
    """A layer of a file: entropy in nats, l1 norms of its filters, shares under `LEVELS`."""

    file: str
    layer: str
    filters: int
    entropy: float
    norm_min: float
    norm_mean: float
    norm_max: float
    invalid: int
    under_1: float
    under_0_1: float
    under_0_01: float
    under_0_001: float


def add_to(commands: Any) -> None:
    command = commands.add_parser(
        "report", help="entropy, l1 norms and invalid filters of each layer",
        description="Measures every array of two or more dimensions: its entropy in nats, the l1 "
        "norms of its filters, how many filters are invalid, and which share of them lies under 1, "
        "0.1, 0.01 and 0.001; of a recorded run, at its last epoch. --html compares all that is "
        "given on one page.")
    command.add_argument("files", nargs="+", type=Path, metavar="MODEL",
                         help=".safetensors, or .pt of plain tensors; a recording (.npz) of "
                         "graft.Recorder, or a folder that graft.Trainer saved")
    command.add_argument("--threshold", type=float, default=0.1,
                         help="a filter whose l1 norm is under this is invalid (default 0.1)")
    command.add_argument("--bins", type=int, default=10, help="bins of the entropy (default 10)")
    command.add_argument("--transposed", action="append", default=[], metavar="NAME",
                         help="filters of this array lie along dimension 1, as in a transposed "
                         "convolution; wildcards as in a shell; may be repeated")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write the rows as CSV")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    command.add_argument("--png", type=Path, metavar="FILE",
                         help="draw the filters' norms, invalid ones black (needs matplotlib)")
    page = command.add_argument_group("page", "what graft.report writes (needs matplotlib)")
    page.add_argument("--html", type=Path, metavar="FILE",
                      help="write a page that opens in any browser, without a network")
    page.add_argument("--title", help="the page's title")
    page.add_argument("--reference", metavar="NAME",
                      help="the run (a file's name without its ending) that fixes which filters "
                      "are valid in the cultivation table: the baseline (default: the first)")
    page.add_argument("--figures", type=Path, metavar="FOLDER", help="write its figures as PNG")
    page.add_argument("--tables", type=Path, metavar="FOLDER",
                      help="write its numbers as CSV files, and all as numbers.json")
    command.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    if not given.threshold >= 0:
        raise InvalidArgumentError(f"--threshold is {given.threshold}; it must be >= 0")
    if given.html is None:
        for option in ("title", "reference", "figures", "tables"):
            if getattr(given, option) is not None:
                raise InvalidArgumentError(f"--{option} is of the page: it needs --html FILE")
    rows: list[Row] = []
    norms: list[tuple[str, np.ndarray]] = []
    for path in given.files:
        measure = _recorded if path.suffix == ".npz" or path.is_dir() else _of_file
        for name, found in measure(path, given).items():
            print(_text(name, [row for row, _ in found]))
            rows += [row for row, _ in found]
            inside = f"{Path(name).name}: " if len(given.files) > 1 or name != str(path) else ""
            norms += [(f"{inside}{row.layer}", norm) for row, norm in found]
    targets = [(path, make) for path, make in (
        (given.csv, lambda file: file.write(_csv(rows))),
        (given.json, lambda file: file.write(_json(rows, given))),
        (given.png, lambda file: _picture(file, norms, given.threshold))) if path is not None]
    write_all(targets)
    if given.html is not None:
        from .._page import report

        page = report(
            given.files, given.html, title=given.title, reference=given.reference,
            threshold=given.threshold, bins=given.bins, figures=given.figures,
            tables=given.tables, transposed=given.transposed)
        print(printable(str(page)))
    return 0


def _of_file(
    path: Path, given: argparse.Namespace
) -> dict[str, list[tuple[Row, np.ndarray]]]:
    """A file's layers, and their filters' norms."""
    found = []
    for name, array in read(path).tensors.items():
        weights = _floats(array)
        if weights is None:
            continue
        axis = int(any(fnmatchcase(name, pattern) for pattern in given.transposed))
        try:
            found.append(_measure(str(path), name, weights, axis, given.threshold, given.bins))
        except GraftError as error:
            raise type(error)(f"{path}: {name}: {error}") from error
    if not found:
        raise UnsupportedError(f"{path} has no array of two or more dimensions to measure")
    return {str(path): found}


def _recorded(
    path: Path, given: argparse.Namespace
) -> dict[str, list[tuple[Row, np.ndarray]]]:
    """A run's layers at its last epoch, network by network."""
    from .._page import prepare

    networks, _, _ = prepare({str(path): path}, None, given.threshold, given.bins)
    several, tables = len(networks) > 1, {}
    for one in networks:
        name = f"{path}: {one.name}" if several else str(path)
        offsets = one.structure.offsets
        tables[name] = [
            (_row(name, layer.name, entropy, norms, given.threshold), norms)
            for layer, entropy, norms in zip(
                one.structure.layers, one.entropy[-1],
                np.split(one.norms[-1].astype(np.float64), offsets[1:-1]))]
    return tables


def _floats(array: Any) -> Any:
    """What is measured; half precision becomes float32, exactly. None for what is no layer."""
    if len(array.shape) < 2 or 0 in array.shape:
        return None
    if isinstance(array, Bfloat16Bits):
        return (np.asarray(array).astype(np.uint32) << 16).view(np.float32)
    if not isinstance(array, np.ndarray):  # torch's
        if not array.is_floating_point():
            return None
        return array.float() if array.element_size() < 4 else array
    if array.dtype.name in ("float16", "bfloat16"):
        return array.astype(np.float32)
    return array if array.dtype.kind == "f" else None


def _measure(
    file: str, name: str, weights: Any, axis: int, threshold: float, bins: int
) -> tuple[Row, np.ndarray]:
    norms = _method.filter_norms(weights, filter_axis=axis)
    return _row(file, name, _method.entropy(weights, bins), norms, threshold), norms


def _row(file: str, name: str, entropy: float, norms: np.ndarray, threshold: float) -> Row:
    under = [float(np.mean(norms < level)) for level in LEVELS]
    return Row(
        file, name, len(norms), float(entropy), float(norms.min()), float(norms.mean()),
        float(norms.max()), int(np.sum(norms < threshold)), *under)


def _text(name: str, rows: Sequence[Row]) -> str:
    head = ("layer", "filters", "entropy", "l1 min", "mean", "max", "invalid", "<1", "<0.1",
            "<0.01", "<0.001")
    lines = [
        (row.layer, str(row.filters), f"{row.entropy:.4f}", f"{row.norm_min:.4g}",
         f"{row.norm_mean:.4g}", f"{row.norm_max:.4g}", str(row.invalid), *_shares(row))
        for row in rows]
    filters = sum(row.filters for row in rows)

    def over_all(name: str) -> float:
        return sum(getattr(row, name) * row.filters for row in rows) / filters

    lines.append((
        "all", str(filters), f"{sum(row.entropy for row in rows):.4f}",
        f"{min(row.norm_min for row in rows):.4g}", f"{over_all('norm_mean'):.4g}",
        f"{max(row.norm_max for row in rows):.4g}", str(sum(row.invalid for row in rows)),
        *(f"{over_all(name):.1%}" for name in (
            "under_1", "under_0_1", "under_0_01", "under_0_001"))))
    return f"{printable(name)}\n{table(head, lines)}\n"


def _shares(row: Row) -> tuple[str, ...]:
    return tuple(
        f"{share:.1%}"
        for share in (row.under_1, row.under_0_1, row.under_0_01, row.under_0_001))


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: cell(value) for name, value in asdict(row).items()} for row in rows)
    return text.getvalue().encode()


def _json(rows: Sequence[Row], given: argparse.Namespace) -> bytes:
    document = {"threshold": given.threshold, "bins": given.bins,
                "layers": [asdict(row) for row in rows]}
    return (json.dumps(document, indent=1) + "\n").encode("utf-8")


def _picture(file: BinaryIO, layers: Sequence[tuple[str, np.ndarray]], threshold: float) -> None:
    """A row a layer, a cell a filter, coloured by l1 norm; filters under the threshold black."""
    try:
        import matplotlib
    except ImportError:
        raise UnsupportedError("--png needs matplotlib (pip install matplotlib)") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    widest = max(len(norms) for _, norms in layers)
    grid = np.full((len(layers), widest), np.nan)
    for line, (_, norms) in enumerate(layers):
        grid[line, :len(norms)] = np.log10(np.maximum(norms, 1e-12))
        grid[line, :len(norms)][norms < threshold] = -np.inf
    colours = pyplot.get_cmap("viridis").with_extremes(bad="white", under="black")
    finite = grid[np.isfinite(grid)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    figure, axes = pyplot.subplots(
        figsize=(9, min(1.5 + 0.22 * len(layers), 60)), layout="constrained")
    image = axes.imshow(
        np.ma.masked_where(np.isnan(grid), grid), aspect="auto", interpolation="nearest",
        cmap=colours, vmin=low, vmax=max(high, low + 1e-9))
    axes.set_yticks(range(len(layers)), [
        printable(name).replace("$", r"\$") for name, _ in layers], fontsize=6)
    axes.set_xlabel(f"filter (black: l1 norm under {threshold:g})")
    figure.colorbar(image, label="log10 of the l1 norm")
    figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)
