"""What the headers declare: functions with their parameters, structs with their fields."""

from __future__ import annotations

import re
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[3] / "Include" / "graft"


def _declarations(path: Path) -> str:
    """A header without comments, preprocessor lines and the braces of extern "C"."""
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    return re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.M)


def _name(declarator: str) -> str:
    """`const int64_t shape[4]` is called shape."""
    return re.findall(r"\w+", re.sub(r"\[.*?\]", "", declarator))[-1]


def functions() -> dict[str, list[str]]:
    """Name -> names of the parameters, of every function in the headers."""
    found = {}
    for path in sorted(INCLUDE.glob("*.h")):
        for name, inner in re.findall(
                r"^[\w][\w\s*]*?\b(graft_\w+)\s*\(([^()]*)\)\s*;", _declarations(path), re.M):
            found[name] = [] if inner.strip() == "void" else [_name(p) for p in inner.split(",")]
    return found


def structs() -> dict[str, list[str]]:
    """Name -> names of the fields, of every struct in the headers."""
    found = {}
    for path in sorted(INCLUDE.glob("*.h")):
        for body, name in re.findall(
                r"typedef struct \w+ \{(.*?)\} (graft_\w+);", _declarations(path), re.S):
            found[name] = [
                _name(one) for line in body.split(";") if line.strip() for one in line.split(",")]
    return found
