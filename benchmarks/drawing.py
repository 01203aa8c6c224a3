"""The pictures of `make bench`: each case beside its goal, and how time grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

Row = dict[str, Any]
OURS, THEIRS, INK = "#D55E00", "#0072B2", "#222222"
DEPTHS = {"resnet20": 20, "resnet32": 32, "resnet44": 44, "resnet56": 56, "resnet110": 110}


def draw(rows: list[Row], target: Path) -> list[Path]:
    """Writes engine.png, and growth.png where something grows; returns what was written."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    drawn = [draw_goals(rows, target / "engine.png")]
    series = {name: points for name, points in growth(rows).items() if len(points) > 1}
    if series:
        drawn.append(draw_growth(series, target / "growth.png"))
    return drawn


def draw_goals(rows: list[Row], path: Path) -> Path:
    figure, (speed, memory) = plt.subplots(
        1, 2, figsize=(11, 1.6 + 0.24 * len(rows)), sharey=True, layout="constrained",
        gridspec_kw={"width_ratios": [3, 2]})
    places = range(len(rows))
    for axes, ratio, goal, met in (
        (speed, "ratio", "goal", "met"), (memory, "memory_ratio", "memory_goal", "memory_met"),
    ):
        values = [row[ratio] for row in rows]
        colours = [OURS if row[met] else "#F0C49B" for row in rows]
        axes.barh(places, values, color=colours, height=0.7)
        for place, row in zip(places, rows):
            axes.plot([row[goal]] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=1.6)
            axes.annotate(
                f"{row[ratio]:.2f}", (max(row[ratio], row[goal]), place), (5, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=INK)
        axes.axvline(1, color=THEIRS, linewidth=1)
        axes.set_xlim(0, max([1.05, *values, *(row[goal] for row in rows)]) * 1.12)
        axes.tick_params(axis="y", length=0)
    speed.set_yticks(places, [row["case"] for row in rows])
    speed.set_ylim(len(rows) - 0.4, -0.6)
    speed.set_title("Images a second, as a multiple of PyTorch's best", loc="left", fontsize=10.5)
    memory.set_title("Peak memory, as a share of PyTorch's least", loc="left", fontsize=10.5)
    figure.supxlabel(
        "dark: the goal (black line) is met, pale: it is not; blue line: PyTorch", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def growth(rows: list[Row]) -> dict[str, list[tuple[int, float, float]]]:
    """What grows: where, and images a second of ours and of PyTorch, in order."""
    series: dict[str, list[tuple[int, float, float]]] = {
        "batch": [], "threads": [], "K": [], "depth": []}
    for row in rows:
        point = (row["ours"], row["peer"])
        if row["growth"] is not None:
            series[row["growth"][0]].append((row["growth"][1], *point))
        elif row["case"] == "resnet20/train/float32":  # where all of them meet
            for name in ("batch", "threads"):
                series[name].append((row[name], *point))
        elif row["case"] == "resnet20/k2/float32":
            series["K"].append((2, *point))
        network, mode, dtype, *rest = row["case"].split("/")
        if network in DEPTHS and mode == "train" and dtype == "float32" and not rest:
            series["depth"].append((DEPTHS[network], *point))
    return {name: sorted(points) for name, points in series.items()}


LABELS = {
    "batch": ("images in a batch", "ResNet-20, training"),
    "threads": ("threads", "ResNet-20, training"),
    "K": ("networks in one trainer (PyTorch: as many processes)", "ResNet-20, all together"),
    "depth": ("layers", "ResNets, training"),
}


def draw_growth(series: dict[str, list[tuple[int, float, float]]], path: Path) -> Path:
    """Time an image, so that a straight line is growth in proportion."""
    columns = min(2, len(series))
    lines = -(-len(series) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(5.2 * columns, 3.4 * lines), squeeze=False, layout="constrained")
    panels: list[Axes] = list(grid.flat)
    for axes, (name, points) in zip(panels, series.items()):
        x = [point[0] for point in points]
        for column, colour, label in ((2, THEIRS, "PyTorch"), (1, OURS, "Graft")):
            milliseconds = [1000 / point[column] for point in points]
            axes.plot(x, milliseconds, "o-", color=colour, markersize=5, label=label)
        if name == "batch":
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter(lambda at, _: f"{at:g}")
        else:
            axes.set_ylim(0)
        axes.set_xticks(x, [str(one) for one in x])
        axes.minorticks_off()
        axes.margins(x=0.08)
        axes.set_xlabel(LABELS[name][0])
        axes.set_ylabel("ms an image")
        axes.legend(frameon=False, fontsize=9.5)
        axes.set_title(LABELS[name][1], loc="left", fontsize=10.5)
    for axes in panels[len(series):]:
        axes.set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
