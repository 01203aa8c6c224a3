"""`python -m graft apply`: grafts networks that lie in files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import _method
from .._errors import (
    FileError, InvalidArgumentError, ShapeMismatchError, UnsupportedError)
from .._plan import Plan
from .._report import Report
from .._write import write_all
from . import _structure
from ._files import Weights, read
from ._order import in_order
from ._safetensors import Bfloat16Bits
from .._text import printable, table

_OF_MANY = ("mean", "others")  # sources that are no single file


def add_to(commands: Any) -> None:
    command = commands.add_parser(
        "apply", help="graft files of weights",
        description="Grafts K networks of one structure: each receives from the file before it, "
        "the first from the last. The files that were read stay as they are; metadata, and all "
        "that is not grafted, is kept. Results are renamed into place when all are written.",
        epilog="example: python -m graft apply a.safetensors b.safetensors --output grafted")
    add = command.add_argument
    add("files", nargs="+", type=Path, metavar="MODEL",
        help=".safetensors, or .pt of plain tensors; two or more")
    add("--output", nargs="+", type=Path, metavar="PATH",
        help="a folder, or a file for each MODEL")
    add("--source", default="ring",
        help="where from: ring (default), mean, others, exponential, internal, noise, or for each "
        "file the number of the one that it receives from, such as 3,1,2")
    add("--weighting", default="entropy",
        help="how much: entropy (default), filter_entropy, l1, or the share from 0 to 1 that "
        "everything keeps")
    add("--a", type=float, default=0.4, help="range of the adaptive share (default 0.4)")
    add("--c", type=float, default=500.0, help="steepness of the adaptive share (default 500)")
    add("--bins", type=int, default=10, help="bins of the entropy (default 10)")
    add("--threshold", type=float, default=0.1,
        help="a filter whose l1 norm is under this is invalid (default 0.1)")
    add("--compatibility", action="store_true",
        help="bins and rounding of the authors' published code")
    add("--keep-zeros", action="store_true", help="what is 0 stays 0: pruned files stay pruned")
    add("--step", type=int, default=0,
        help="grafts before this one (for exponential), or the epoch (for noise)")
    add("--exclude", action="append", default=[], metavar="NAME",
        help="leave this array alone; wildcards as in a shell; may be repeated")
    add("--order", metavar="FILE",
        help="a name a line in the order that the network runs in, or a .pt with that order, or "
        "'stored'; needed for files that are sorted by name")
    add("--plan", action="store_true", help="print what follows what")
    add("--dry-run", action="store_true", help="print what would happen; write nothing")
    add("--force", action="store_true", help="replace files that exist")
    _structure.add_to(command)
    command.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    if len(given.files) < 2:
        raise InvalidArgumentError("apply needs two files or more")
    _structure.check(given)
    outputs = [] if given.dry_run else _outputs(given.files, given.output, given.force)
    loaded = [read(path) for path in given.files]
    structure = _structure.from_options(given)
    if structure is None:
        networks = [in_order(loaded[0], given.order), *(one.tensors for one in loaded[1:])]
    else:
        networks = [structure.in_order(one) for one in loaded]
    _check_alike(given.files, networks)
    _check_types(loaded, given.exclude)
    plan = Plan(networks[0]) if structure is None else structure.plan()
    _exclude(plan, given.exclude)
    if given.plan:
        print(_plan_text(plan) + "\n")
    aligned = structure.align(networks) if structure is not None and given.align else []
    report = _method.graft(
        networks, plan, _source(given.source), _weighting(given.weighting), given.a, given.c,
        given.bins, given.threshold, dry_run=given.dry_run, compatibility=given.compatibility,
        keep_zeros=given.keep_zeros, step=given.step)
    if structure is not None and given.statistics is not None:
        structure.renew_statistics(networks)
    if not given.dry_run:
        _make_folders(outputs)
        write_all([(path, one.write) for path, one in zip(outputs, loaded)])
    print(_text(report, given.files, given.source))
    for line in aligned:
        print(printable(line))
    for path in outputs:
        print(f"wrote {printable(str(path))}")
    return 0


def _source(text: str) -> str | list[int]:
    """A source's name, or files' numbers, which people count from 1."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        return text
    return [int(part) - 1 for part in parts]


def _weighting(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _outputs(files: Sequence[Path], given: Sequence[Path] | None, force: bool) -> list[Path]:
    """A path for each result."""
    if not given:
        raise InvalidArgumentError("--output is missing: a folder, or a file for each MODEL")
    if len(given) == len(files):
        outputs = list(given)
    elif len(given) == 1:
        outputs = [given[0] / path.name for path in files]
    else:
        raise InvalidArgumentError(
            f"--output has {len(given)} paths for {len(files)} files; give a folder, or one each")
    seen: set[Path] = set()
    for path, source in zip(outputs, files):
        if path.resolve() in seen:
            raise InvalidArgumentError(
                f"two results would be written to {path}; give --output a file for each MODEL")
        seen.add(path.resolve())
        if path.suffix != source.suffix:
            raise InvalidArgumentError(
                f"{path} is written in the format of {source}; end its name in {source.suffix!r}")
        if path.is_dir():
            raise FileError(f"{path} is a folder; a file would be written there")
        if path.exists() and not force:
            raise FileError(f"{path} exists; --force replaces it")
    return outputs


def _make_folders(outputs: Sequence[Path]) -> None:
    for path in outputs:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{path.parent} cannot be made: {error.strerror or error}") from error


def _check_alike(files: Sequence[Path], networks: Sequence[dict[str, Any]]) -> None:
    """The library compares too, but knows networks by number, and not the files' names."""
    first = networks[0]
    for path, network in zip(files[1:], networks[1:]):
        for name, array in first.items():
            if name not in network:
                raise ShapeMismatchError(f"{path} lacks {name!r}, which {files[0]} has")
            other = network[name]
            if tuple(other.shape) != tuple(array.shape) or other.dtype != array.dtype:
                raise ShapeMismatchError(
                    f"{name!r} is {_kind(array)} in {files[0]} and {_kind(other)} in {path}")
        for name in network:
            if name not in first:
                raise ShapeMismatchError(f"{path} has {name!r}, which {files[0]} lacks")


def _kind(array: Any) -> str:
    return f"{str(array.dtype).removeprefix('torch.')} of shape {list(array.shape)}"


def _check_types(loaded: Sequence[Weights], exclude: Sequence[str]) -> None:
    for one in loaded:
        unknown = dict(one.opaque)
        unknown.update((name, "BF16, for which ml_dtypes is not installed")
                       for name, array in one.tensors.items() if isinstance(array, Bfloat16Bits))
        for name, dtype in unknown.items():
            if not any(fnmatchcase(name, pattern) for pattern in exclude):
                raise UnsupportedError(
                    f"{one.path}: {name!r} is of type {dtype}, which cannot be grafted; "
                    "--exclude leaves it alone")


def _exclude(plan: Plan, patterns: Sequence[str]) -> None:
    """Leave arrays alone; what followed one of them is left alone too."""
    for pattern in patterns:
        named = {entry.name for entry in plan if fnmatchcase(entry.name, pattern)}
        if not named:
            raise InvalidArgumentError(f"--exclude {pattern} fits no array")
        for entry in [one for one in plan if one.feeder in named]:
            plan.set(entry.index, "leave")
        for name in named:
            plan.set(name, "leave")


def _plan_text(plan: Plan) -> str:
    rows = [(entry.name, entry.role, entry.rule, entry.feeder or "")
            for entry in plan]
    return table(("tensor", "role", "rule", "feeder"), rows)


def _text(report: Report, files: Sequence[Path], source: str) -> str:
    head = ("layer", "file", "from", "alpha", "entropy", "after", "filters", "invalid", "after")
    rows = []
    for layer in report:
        for k, entry in enumerate(layer.networks):
            rows.append((
                layer.name if k == 0 else "", str(k + 1),
                source if source in _OF_MANY else str(entry.source + 1),
                f"{entry.alpha:.4f}", f"{entry.entropy_before:.4f}", f"{entry.entropy_after:.4f}",
                str(layer.filters), str(entry.invalid_before), str(entry.invalid_after)))
    names = "\n".join(f"{k + 1}  {printable(str(path))}" for k, path in enumerate(files))
    return f"{names}\n\n{table(head, rows)}\n"
