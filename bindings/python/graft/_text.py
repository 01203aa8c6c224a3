"""Names are data, wherever they are shown: in a terminal, in a table, in a cell of a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

#: What a spreadsheet takes for the beginning of a formula, in both widths that it reads.
_FORMULA = tuple("=+-@＝＋－＠")


def printable(text: str) -> str:
    """The text with control characters, and whatever else does not print, as escapes.

    A name in a file could otherwise move the cursor, colour the screen, or pass for another.
    """
    return "".join(
        character if character.isprintable() else character.encode(
            "unicode_escape", "surrogatepass").decode("ascii")
        for character in text)


def joined(lines: Iterable[str]) -> str:
    """Lines of text that may have names in them."""
    return "\n".join(map(printable, lines))


def cell(value: Any) -> Any:
    """A value as a cell of a CSV file; numbers as they are.

    Text has its control characters, line breaks among them, as escapes, and an apostrophe before
    what a spreadsheet would take for a formula.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip(" '").startswith(_FORMULA) else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a head; the first to the left, the others to the right."""
    lines = [list(head), *([printable(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines)
