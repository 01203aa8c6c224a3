"""The command line: `python -m graft info | report | apply`. See docs/command-line.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .._errors import GraftError
from .._version import __version__
from . import _apply, _info, _report
from .._text import printable

_ENDING = """\
exit status: 0 done; 1 a file or its weights would not do (the message says which and why);
2 the command was not understood; 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m graft", description="Filter grafting on files of weights.",
        epilog=_ENDING, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"graft {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_info, _report, _apply):
        command.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        status = int(given.run(given))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # what reads our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (GraftError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
