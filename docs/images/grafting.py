"""Draws the picture of docs/grafting.md: one graft of one layer, the coefficient, and the ring.

    PYTHONPATH=bindings/python build/venv/bin/python docs/images/grafting.py

The two layers are made up; what becomes of them is the library's own doing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

import graft

ROWS, COLUMNS = 4, 4
THRESHOLD = 0.1
INK, ORANGE, BLUE, GREY = "#222222", "#D55E00", "#0072B2", "#8a8a8a"


def layer(seed: int, dead: list[int]) -> np.ndarray:
    """Sixteen filters of 3 x 3, some of which training has left for dead."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((ROWS * COLUMNS, 1, 3, 3)) * rng.uniform(0.3, 1, (16, 1, 1, 1))
    weights[dead] *= 0.004
    return weights.astype(np.float32)


def draw_layer(axes: Axes, weights: np.ndarray, title: str, below: str, colour: str) -> None:
    """A layer's filters as small images; invalid ones black."""
    norms = graft.filter_norms(weights)
    for index, filter in enumerate(weights[:, 0]):
        row, column = divmod(index, COLUMNS)
        left, top = 4 * column, 4 * row
        if norms[index] < THRESHOLD:
            axes.add_patch(Rectangle((left, top), 3, 3, color="black"))
            continue
        axes.imshow(
            filter, cmap="PuOr", vmin=-2, vmax=2, extent=(left, left + 3, top + 3, top), zorder=2)
        axes.add_patch(Rectangle((left, top), 3, 3, fill=False, color=GREY, lw=0.6, zorder=3))
    axes.set_xlim(-0.3, 4 * COLUMNS - 0.7)
    axes.set_ylim(4 * ROWS - 0.7, -0.3)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10.5, pad=5, color=colour)
    axes.text(0.5, -0.04, below, transform=axes.transAxes, ha="center", va="top", fontsize=9.5)


def draw_coefficient(axes: Axes, gap: float, alphas: tuple[float, float]) -> None:
    """The share that a layer keeps, over how much more information it holds than its source."""
    difference = np.linspace(-0.12, 0.12, 481)
    for c, style in ((500, "-"), (50, (0, (5, 2))), (10, (0, (1.5, 1.5)))):
        share = [graft.coefficient(own, 0.0, c=float(c)) for own in difference]
        axes.plot(difference, share, color=INK, lw=1.6, linestyle=style, label=f"c = {c}")
    for sign, alpha, colour, name in ((-1, alphas[0], ORANGE, "1"), (1, alphas[1], BLUE, "2")):
        axes.plot(sign * gap, alpha, "o", color=colour, ms=8, zorder=5)
        axes.annotate(
            f"network {name}: {alpha:.2f}", (sign * gap, alpha), xytext=(0, sign * 15),
            textcoords="offset points", color=colour, fontsize=9.5, ha="center", va="center")
    axes.set_ylim(0.22, 0.79)
    axes.set_xlim(-0.12, 0.12)
    axes.set_yticks([0.3, 0.5, 0.7])
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("entropy of its own layer − entropy of the source's, nats")
    axes.set_ylabel("α, the share that it keeps")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.set_title("2  How much: more from the layer that holds more", loc="left",
                   fontweight="bold", fontsize=11)


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.15) -> None:
    axes.add_patch(FancyBboxPatch(
        (x, y - 0.22), width, 0.44, boxstyle="round,pad=0.04", fc=colour, ec="none"))
    axes.text(x + width / 2, y, text, ha="center", va="center", color="white", fontsize=9.5)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    axes.add_patch(FancyArrowPatch(
        start, end, arrowstyle="-|>", shrinkA=2, shrinkB=2,
        **{"color": INK, "lw": 1.4, "mutation_scale": 11, **style}))


def draw_ring(axes: Axes) -> None:
    """Three networks over two epochs: they train apart, and graft in a ring."""
    heights = [2.4, 1.5, 0.6]
    for k, y in enumerate(heights):
        axes.text(-0.15, y, f"network {k + 1}", ha="right", va="center", fontsize=9.5)
        for epoch in range(2):
            left = 2.75 * epoch
            box(axes, left, y, "train", GREY)
            arrow(axes, (left + 1.2, y), (left + 1.85, y))
            axes.add_patch(Circle((left + 2.02, y), 0.17, fc=BLUE, ec="none", zorder=3))
            arrow(axes, (left + 2.2, y), (left + 2.72, y))
    for epoch in range(2):
        x = 2.75 * epoch + 2.02
        for above, below in zip(heights, heights[1:]):
            arrow(axes, (x, above - 0.17), (x, below + 0.17), color=BLUE)
        arrow(axes, (x + 0.13, heights[-1] + 0.12), (x + 0.13, heights[0] - 0.12), color=BLUE,
              connectionstyle="arc3,rad=0.3", zorder=4)
        axes.text(x, 2.82, "graft", ha="center", color=BLUE, fontsize=9.5)
        axes.text(2.75 * epoch + 0.57, 2.82, f"epoch {epoch + 1}", ha="center", fontsize=9.5)
    for y in heights:
        axes.text(5.62, y, "…", ha="left", va="center", fontsize=12)
    box(axes, 6.0, heights[0], "deploy one", ORANGE, 1.35)
    axes.set_xlim(-1.2, 7.5)
    axes.set_ylim(0.1, 3.1)
    axes.set_axis_off()
    axes.set_title("3  When: after every epoch, around a ring", loc="left", fontweight="bold",
                   fontsize=11)


def draw(path: Path) -> None:
    networks = [{"conv": layer(11, [1, 4, 6, 11, 14])}, {"conv": layer(4, [3, 9])}]
    before = [network["conv"].copy() for network in networks]
    [row] = graft.graft(networks)
    alphas = tuple(entry.alpha for entry in row.networks)
    entropies = [entry.entropy_before for entry in row.networks]

    figure = plt.figure(figsize=(12, 7.2), dpi=150)
    upper, lower = figure.add_gridspec(
        2, 1, height_ratios=[1.05, 1], left=0.03, right=0.985, top=0.9, bottom=0.085, hspace=0.5)
    panels = [figure.add_subplot(cell) for cell in upper.subgridspec(
        1, 5, width_ratios=[1, 0.3, 1, 0.62, 1])]
    figure.text(0.03, 0.965, "1  One graft of one layer: a weighted mean of two networks' filters",
                fontweight="bold", fontsize=11, va="center")

    def holds(entropy: float, weights: np.ndarray) -> str:
        invalid = int((graft.filter_norms(weights) < THRESHOLD).sum())
        colour = " (black)" if invalid else ""
        return f"entropy {entropy:.2f} nats\n{invalid} of 16 filters invalid{colour}"

    draw_layer(panels[0], before[0], "network 1", holds(entropies[0], before[0]), ORANGE)
    draw_layer(panels[2], before[1], "network 2", holds(entropies[1], before[1]), BLUE)
    draw_layer(panels[4], networks[0]["conv"], "network 1, grafted",
               holds(row.networks[0].entropy_after, networks[0]["conv"]), ORANGE)
    for panel in (panels[1], panels[3]):
        panel.set_axis_off()
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
    panels[1].text(0.5, 0.5, "+", fontsize=20, ha="center", va="center")
    panels[3].text(0.5, 0.66, f"{alphas[0]:.2f} of the first,\n{1 - alphas[0]:.2f} of the second",
                   ha="center", va="bottom", fontsize=10)
    arrow(panels[3], (0.08, 0.5), (0.92, 0.5), lw=2, mutation_scale=16)
    left, right = (figure.add_subplot(cell) for cell in lower.subgridspec(
        1, 2, width_ratios=[1, 1.32], wspace=0.1))
    box_left = left.get_position()
    left.set_position([box_left.x0 + 0.035, box_left.y0, box_left.width - 0.035, box_left.height])
    draw_coefficient(left, entropies[1] - entropies[0], alphas)
    draw_ring(right)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
