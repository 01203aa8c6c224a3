"""The pages of the guide as the tests see them: blocks of code, headings, links.

A block's language may be followed by a word that says what the tests do with it:

    python, sh         run, a page's blocks one after another in one folder
    c, cpp, swift      a whole program: compiled and run; `c program.c` is written under that name,
                       for a later block to build
    sh checked         not run (it installs, or takes minutes): what it names must exist
    text output        what the block before printed, or a part of it
    text               a drawing
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"),
    ROOT / "bindings" / "python" / "README.md"])


@dataclass(frozen=True)
class Block:
    """A fenced or indented block of code; `line` is that of its first line, from 1."""

    line: int
    language: str
    word: str
    code: str


@dataclass(frozen=True)
class Link:
    """A link or an image; `target` as it is written."""

    line: int
    target: str


def name(page: Path) -> str:
    """A page's path within the repository."""
    return page.relative_to(ROOT).as_posix()


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks(page: Path) -> list[Block]:
    """A page's code, from the top to the bottom. An indented block has language ""."""
    found = []
    for token in _tokens(page):
        if token.type in ("fence", "code_block"):
            language, _, word = token.info.strip().partition(" ")
            start = token.map[0] + (2 if token.type == "fence" else 1)
            found.append(Block(start, language, word, token.content))
    return found


def links(page: Path) -> list[Link]:
    """A page's links and images."""
    found = []
    for token in _tokens(page):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                found.append(Link(token.map[0] + 1, str(target)))
    return found


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    found: set[str] = set()
    tokens = _tokens(page)
    for token, inline in zip(tokens, tokens[1:]):
        if token.type == "heading_open":
            text = "".join(child.content for child in inline.children or []
                           if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            numbered, count = slug, 1
            while numbered in found:
                numbered, count = f"{slug}-{count}", count + 1
            found.add(numbered)
    return found
