"""Sphinx's settings for the guide: make docs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import graft  # noqa: E402

project = "Graft"
author = copyright = "the authors of Graft"
version = release = graft.__version__

extensions = [
    "breathe", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["requirements.txt", "images"]

# ---- pages ---------------------------------------------------------------------------------------

myst_heading_anchors = 3  # the anchors that GitHub gives headings
highlight_language = "none"
# A block's language may be followed by a word for the tests.
myst_fence_as_directive: set[str] = set()


def link_inside(page: Path, text: str) -> str:
    """Links to files of the repository that are no pages: headers to their reference, others to
    plain text, since the site does not carry them."""

    def replaced(match: re.Match[str]) -> str:
        label, target = match[1], (page.parent / match[2].partition("#")[0]).resolve()
        if target.is_relative_to(DOCS):
            return match[0]
        if target.parent == ROOT / "Include" / "graft":
            depth = len(page.relative_to(DOCS).parts) - 1
            return f"[{label}]({'../' * depth}reference/c/{target.stem}.rst)"
        return label

    return re.sub(r"(?<!!)\[([^]]+)\]\((?!https?:|#)([^)\s]+)\)", replaced, text)


def setup(app) -> None:
    def read(app, name: str, source: list[str]) -> None:
        page = Path(app.env.doc2path(name))
        if page.suffix == ".md":
            source[0] = link_inside(page, source[0])

    app.connect("source-read", read)


# ---- reference -----------------------------------------------------------------------------------

breathe_projects = {"graft": str(ROOT / "build" / "doxygen" / "xml")}
breathe_default_project = "graft"
breathe_domain_by_extension = {"h": "c", "hpp": "cpp"}

# The frameworks are not needed to read what the adapters say of themselves.
autodoc_mock_imports = ["jax", "keras", "lightning", "pytorch_lightning", "torch"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
default_role = "py:obj"  # `name` in a docstring: a link where there is such a name

# ---- the site ------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"Graft {version}"
html_show_sourcelink = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"
