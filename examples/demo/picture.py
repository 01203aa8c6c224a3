"""The demo's picture: accuracy and alpha over the epochs, and the paper's filter map."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from results import Result

# Okabe and Ito's palette, told apart by every kind of eye; dashes do it in print.
STYLES = {
    "baseline": dict(color="#555555", linestyle=(0, (4, 1.6))),
    "grafted": dict(color="#D55E00", linestyle="-"),
    "distilled": dict(color="#0072B2", linestyle="-"),
}
# Its darkest end is left out: invalid filters are black, and must not be taken for weak ones.
COLOURS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.2, 1.0, 256)))
INVALID = "black"


def draw(
    path: Path, results: list[Result], names: dict[str, str], threshold: float, title: str
) -> None:
    """Write the picture to a PNG file."""
    plt.rcParams.update({
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True,
    })
    figure = plt.figure(figsize=(12, 9.6), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.22], hspace=0.04)
    left, right = upper.subplots(1, 2)
    draw_accuracy(left, results, names)
    draw_alpha(right, results)
    maps = lower.subplots(1, len(names), sharey=True)
    draw_filter_maps(lower, list(np.atleast_1d(maps)), results, names, threshold)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def draw_accuracy(axes: Axes, results: list[Result], names: dict[str, str]) -> None:
    """Mean over the seeds, a band from the worst to the best of them.

    The axis is logarithmic in the error, so that the last points, which matter, can be seen.
    """
    worst, least = 0.0, 100.0
    for arm, name in names.items():
        errors = 100 - np.array([one.accuracy for one in results if one.arm == arm])
        errors = np.maximum(errors, 0.02)
        epochs = np.arange(1, errors.shape[1] + 1)
        style = STYLES[arm]
        axes.fill_between(
            epochs, errors.min(0), errors.max(0), color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(
            epochs, errors.mean(0), label=f"{name}: {100 - errors[:, -1].mean():.2f} % at the end",
            linewidth=1.9, **style)
        worst = max(worst, float(errors.max()))
        least = min(least, float(errors.min()))
    axes.set_yscale("log")
    axes.set_ylim(min(100.0, 1.1 * worst), 0.75 * least)
    ticks = [90, 50, 30, 20, 10, 5, 3, 2, 1, 0.5, 0.2, 0.1, 0.05]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(1, max(2, len(epochs)))
    axes.set_title("Test accuracy after every epoch")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, % (logarithmic in the error)")
    seeds = len(errors)
    legend = f"mean of {seeds} seeds, band from worst to best" if seeds > 1 else None
    axes.legend(
        loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", title=legend,
        fontsize=9, title_fontsize=9)


def draw_alpha(axes: Axes, results: list[Result]) -> None:
    """The coefficient of every layer of network 1, at the first seed of the grafted arm."""
    run = next(one for one in results if one.arm == "grafted")
    epochs, layers = run.alpha.shape
    image = axes.imshow(
        run.alpha.T, aspect="auto", interpolation="nearest", cmap="PuOr", vmin=0.3, vmax=0.7,
        extent=(0.5, epochs + 0.5, layers, 0))
    axes.set_yticks(np.arange(layers) + 0.5, [label(name) for name in run.norms], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(False)
    axes.set_title(f"Grafted: alpha of each layer (seed {run.seed})")
    axes.set_xlabel("epoch")
    axes.set_ylabel("layer")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=30)
    bar.set_label("share that network 1 keeps (2: the rest)")
    bar.outline.set_visible(False)
    bar.ax.grid(False)


def draw_filter_maps(
    figure: matplotlib.figure.SubFigure, axes: list[Axes], results: list[Result],
    names: dict[str, str], threshold: float,
) -> None:
    """A row for each layer, a cell for each filter, coloured by l1 norm; invalid ones black."""
    first = {arm: next(one for one in results if one.arm == arm) for arm in names}
    everything = np.concatenate([run.all_norms for run in first.values()])
    alive = everything[everything >= threshold]
    scale = LogNorm(max(threshold, float(np.quantile(alive, 0.02))), float(alive.max()))
    for panel, (arm, run) in zip(axes, first.items()):
        draw_filter_map(panel, run, scale, threshold)
        invalid = int((run.all_norms < threshold).sum())
        panel.set_title(f"{names[arm]}: {invalid} of {len(run.all_norms)} invalid")
    layers = list(first["baseline"].norms)
    axes[0].set_yticks(np.arange(len(layers)) + 0.5, [label(name) for name in layers], fontsize=8)
    axes[0].set_ylabel("layer")
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(scale, COLOURS), ax=axes, pad=0.01, aspect=34)
    bar.set_label("l1 norm of the filter")
    ticks = [digit * 10.0**power for power in range(-4, 4) for digit in (1, 2, 5)]
    bar.locator = FixedLocator([tick for tick in ticks if scale.vmin <= tick <= scale.vmax])
    bar.formatter = "{x:g}"
    bar.minorlocator = NullLocator()
    bar.update_ticks()
    bar.outline.set_visible(False)
    bar.ax.grid(False)
    seed = first["baseline"].seed
    figure.legend(
        handles=[Patch(facecolor=INVALID, label=f"invalid: l1 norm under {threshold:g}")],
        loc="outside lower center", frameon=False, title=f"a cell for each filter, seed {seed}",
        alignment="center")


def draw_filter_map(
    axes: Axes, run: Result, scale: LogNorm, threshold: float
) -> None:
    """Rows are of one length, so a layer of few filters has wide cells."""
    cells, faces = [], []
    for row, norms in enumerate(run.norms.values()):
        width = 1 / len(norms)
        for index, norm in enumerate(norms):
            cells.append(Rectangle((index * width, row + 0.07), width, 0.86))
            faces.append(INVALID if norm < threshold else COLOURS(scale(norm)))
    axes.add_collection(PatchCollection(
        cells, facecolors=faces, edgecolors="white", linewidths=0.35))
    axes.set_xlim(0, 1)
    axes.set_ylim(len(run.norms), 0)
    axes.set_xticks([])
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def label(name: str) -> str:
    """layer1.0.conv1.weight -> 1.0 conv1"""
    short = name.removesuffix(".weight").removeprefix("layer")
    return short.replace(".conv", " conv")
