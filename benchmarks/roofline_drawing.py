"""The picture of `make bench-layers`: each pass under the roofline, and the step by operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

FORWARD, BACKWARD, INK, GREY = "#0072B2", "#D55E00", "#222222", "#8a8a8a"


def draw(found: dict[str, Any], path: Path) -> Path:
    """A line of two panels for each network."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, grid = plt.subplots(
        len(found), 2, figsize=(11.5, 4 * len(found)), squeeze=False, layout="constrained",
        gridspec_kw={"width_ratios": [3, 2]})
    for (roof, parts), (name, (passes, rows, step, can)) in zip(grid, found.items()):
        draw_roof(roof, name, passes, can)
        draw_parts(parts, name, rows, step)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_roof(axes: Axes, name: str, passes: list[Any], can: Any) -> None:
    shown = [one for one in passes if one.operations > 0 and one.seconds > 0]
    intensities = [one.operations / one.bytes for one in shown]
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    axes.plot(x, np.minimum(can.float32, x * can.copy) / 1e9, color=INK, linewidth=1.4)
    longest = max(one.seconds for one in shown)
    for direction, colour in (("forward", FORWARD), ("backward", BACKWARD)):
        some = [(at, one) for at, one in zip(intensities, shown) if one.direction == direction]
        axes.scatter(
            [at for at, _ in some], [one.operations / one.seconds / 1e9 for _, one in some],
            s=[12 + 110 * one.seconds / longest for _, one in some], color=colour, alpha=0.55,
            linewidths=0, label=direction)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte that has to move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(
        f"{name}: convolutions and linear layers under the roof of this machine\n"
        "(area: time)", loc="left", fontsize=10.5)
    legend = axes.legend(frameon=False, loc="lower right")
    for handle in legend.legend_handles:
        handle.set_sizes([50])


def draw_parts(axes: Axes, name: str, rows: list[dict[str, Any]], step: float) -> None:
    shown = rows[:10]
    places = range(len(shown))
    shares = [100 * row["seconds"] / step for row in shown]
    colours = [
        FORWARD if row["operation"].endswith("forward") else
        BACKWARD if row["operation"].endswith("backward") else GREY for row in shown]
    axes.barh(places, shares, color=colours, height=0.7)
    axes.set_yticks(places, [row["operation"] for row in shown])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    for place, share in zip(places, shares):
        axes.annotate(f"{share:.1f} %", (share, place), (4, 0), textcoords="offset points",
                      va="center", fontsize=9)
    axes.set_xlim(0, max(shares) * 1.2)
    axes.set_title(f"{name}: a step of {step * 1e3:.0f} ms, per cent", loc="left", fontsize=10.5)
