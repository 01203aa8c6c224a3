"""Matplotlib's figures as SVG that follows the page's colours and fonts, and as PNG.

No pyplot and no global settings: the caller may be drawing figures of its own.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._text import printable
from .._errors import UnsupportedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: Lines of networks; told apart on white and on black, and by those who see red as green.
COLOURS = ("#2f7ed8", "#e0702a", "#2a9d6f", "#c2508f", "#8f73d9", "#a58a1f", "#3aa6b9", "#888888")
DASHES = ((), (6, 2), (2, 2), (8, 2, 2, 2))
#: Panels of a figure that has one for each network.
MOST = 8
#: Becomes the page's text colour.
INK = "#0a0b0c"
#: Pixels of a point on the page.
_SCALE = 1.6
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "graft", "text.parse_math": False, "font.size": 9.0,
    "font.family": "sans-serif", "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "axes.titlesize": 9.0, "axes.facecolor": "none",
    "legend.frameon": False, "axes.grid": False, "lines.linewidth": 1.5, "savefig.dpi": 150.0,
    "axes.xmargin": 0.012,
    "path.simplify": True, "path.simplify_threshold": 0.5}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes
    ----------
    name : str
        Of its file.
    title, note : str
        What it shows, and how to read it.
    svg : str
    png : bytes
    """

    name: str
    title: str
    note: str
    svg: str
    png: bytes


def style(index: int) -> tuple[str, tuple[int, ...]]:
    """Colour and dashes of a network's lines."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def require() -> None:
    """Say what is missing before anything is computed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UnsupportedError(
            "a report's figures need matplotlib (pip install 'filtergraft[report]')") from None


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def draw(
    name: str, title: str, note: str, size: tuple[float, float],
    paint: Callable[[Canvas], object], png: bool,
) -> Figure:
    """Draw a figure; inches, at 72 points each."""
    import warnings

    from matplotlib.figure import Figure as Canvas

    with _styled(), warnings.catch_warnings():
        # Names in scripts that Matplotlib's own font lacks: the browser's has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas = Canvas(figsize=size, layout="constrained")
        canvas.patch.set_alpha(0)
        paint(canvas)
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        raster = io.BytesIO()
        if png:
            canvas.savefig(raster, format="png", facecolor="white")
    return Figure(name, title, note, _inline(text.getvalue(), name, title), raster.getvalue())


def _inline(text: str, name: str, title: str) -> str:
    """The drawing's element alone; its ids made its own, its text colour the page's."""
    import html

    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    width = re.search(r'width="([\d.]+)pt"', text)
    across = float(width[1]) if width else 500.0
    text = re.sub(r"<svg[^>]*viewBox=\"([^\"]*)\"[^>]*>",
                  f'<svg viewBox="\\1" style="width:{across * _SCALE:.0f}px" role="img" '
                  f'aria-label="{html.escape(title)}" xmlns:xlink="http://www.w3.org/1999/xlink">',
                  text, count=1, flags=re.S)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href=")#', rf"\g<1>#{name}-", text)
    text = text.replace("url(#", f"url(#{name}-")
    text = re.sub(r">\s*\n\s*<", "><", text)
    return text.replace(INK, "currentColor")


# ---- parts of figures ----------------------------------------------------------------------------


def label(text: str, most: int = 28) -> str:
    """A name as a figure has room for it; its end tells more than its beginning."""
    text = printable(text)
    return text if len(text) <= most else f"…{text[1 - most:]}"


def layer_label(name: str) -> str:
    """A layer's name without what all of them have."""
    for ending in (".weight", ".kernel", "/kernel"):
        name = name.removesuffix(ending)
    return label(name, 24)


def panel_title(name: str, width: int, lines: int = 3) -> str:
    """A name over a narrow panel, on several lines of so many characters."""
    wrapped = textwrap.wrap(printable(name), width)
    if len(wrapped) <= lines:
        return "\n".join(wrapped)
    return "\n".join(textwrap.wrap(label(name, lines * width * 2 // 3), width)[:lines])


def grid(axes: Axes) -> None:
    """Faint lines across."""
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)


def whole_epochs(axes: Axes, most: int = 8) -> None:
    """Ticks of an axis of epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))


def legend(canvas: Canvas, handles: Sequence[Any], columns: int = 4) -> None:
    """Under a figure, outside of its axes."""
    canvas.legend(handles=list(handles), loc="outside lower center", fontsize=8.5,
                  ncols=min(columns, len(handles)), handlelength=2.4)


def key(name: str, colour: str, dashes: Sequence[int] = (), **more: Any) -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    line = Line2D([], [], color=colour, label=label(name, 40), **more)
    if dashes:
        line.set_dashes(dashes)
    return line


def heat(
    canvas: Canvas, panels: Sequence[tuple[str, np.ndarray, np.ndarray]], rows: Sequence[str],
    bar: str, limits: tuple[float, float], colours: str,
) -> None:
    """Heat maps side by side, two a line: rows of names, columns of epochs (panel: title, epochs,
    rows x epochs). Where there is no value nothing is drawn."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    across = min(2, len(panels))
    down = -(-len(panels) // across)
    grid_of_axes = canvas.subplots(down, across, squeeze=False, sharey=True)
    image: Any = None
    for index, (title, epochs, values) in enumerate(panels):
        axes = grid_of_axes[index // across][index % across]
        image = axes.imshow(values, aspect="auto", interpolation="none", cmap=colours,
                            vmin=limits[0], vmax=limits[1])
        axes.set_title(label(title, 40), loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(
            lambda at, _, epochs=epochs: str(epochs[int(at)]) if 0 <= at < len(epochs) else ""))
        axes.set_xlabel("epoch")
        every = max(1, -(-len(rows) // 32))
        axes.set_yticks(range(0, len(rows), every), rows[::every], fontsize=7)
        axes.tick_params(length=2)
    for index in range(len(panels), down * across):
        grid_of_axes[index // across][index % across].set_axis_off()
    canvas.colorbar(image, ax=grid_of_axes, label=bar, fraction=0.04, pad=0.02, aspect=30)


def heat_size(panels: int, rows: int) -> tuple[float, float]:
    """Of a figure of heat maps."""
    return 8.2 if panels > 1 else 6.2, (0.9 + min(max(rows * 0.17, 0.8), 5.5)) * -(-panels // 2)
