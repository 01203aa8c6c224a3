"""Text for a terminal: tables, and names from files that may hold anything."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """The text with control characters, and whatever else does not print, as escapes.

    A name in a file could otherwise move the cursor, colour the screen, or pass for another.
    """
    return "".join(
        character if character.isprintable() else character.encode(
            "unicode_escape", "surrogatepass").decode("ascii")
        for character in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a head; the first to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines)
