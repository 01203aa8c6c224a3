"""`python -m graft info`: what this installation is."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .._library import instructions, lib
from .._version import __version__
from .._text import printable


def add_to(commands: Any) -> None:
    command = commands.add_parser(
        "info", help="version, library and processor of this installation",
        description="Prints the version, the library's path, the instruction set that its loops "
        "use on this processor, and how many threads a call takes when it is not told.")
    command.set_defaults(run=run)


def threads() -> int:
    """What OpenMP takes for a call that asks for no number of threads."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    available = len(os.sched_getaffinity(0))
    return int(first) if first.isdecimal() and int(first) > 0 else available


def run(given: argparse.Namespace) -> int:
    for name, value in (
            ("version", __version__), ("library", printable(str(lib.path))),
            ("instructions", instructions()), ("threads", threads())):
        print(f"{name:<13} {value}")
    return 0
