"""The report's figures; `_filter_map` is the one that moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._record._layers import LEVELS, Structure
from ._analysis import Subject, changes, shares
from ._drawing import (
    INK,
    MOST,
    Figure,
    draw,
    grid,
    heat,
    heat_size,
    key,
    label,
    layer_label,
    legend,
    panel_title,
    style,
    whole_epochs,
)

_PAIRS = (("accuracy", "test_accuracy", "train_accuracy", "accuracy (%)", 100.0),
          ("loss", "test_loss", "train_loss", "loss", 1.0))
_OWN = {"test_accuracy", "train_accuracy", "test_loss", "train_loss"}


class Figures:
    """Draws what a set of networks has numbers for.

    Parameters
    ----------
    networks
    threshold
    png
        Whether to draw PNGs too.
    """

    def __init__(self, networks: list[Subject], threshold: float, png: bool) -> None:
        self._all = networks
        self._measured = [one for one in networks if len(one.epochs)]
        self._threshold = threshold
        self._png = png

    def _draw(self, name: str, title: str, note: str, size: tuple[float, float],
              paint: Any) -> Figure:
        return draw(name, title, note, size, paint, self._png)

    def _style(self, one: Subject) -> tuple[str, tuple[int, ...]]:
        return style(self._all.index(one))

    def _keys(self, networks: list[Subject]) -> list[Any]:
        return [key(one.name, *self._style(one)) for one in networks]

    def _line(self, axes: Any, one: Subject, x: Any, y: Any, **more: Any) -> None:
        """A line on top of one that is the same, as a graft of two makes it, is dashed."""
        colour, dashes = self._style(one)
        mark = {"marker": "o", "markersize": 4} if len(x) == 1 else {}
        hidden = any(
            np.array_equal(line.get_xdata(), x) and np.allclose(
                line.get_ydata(), y, rtol=0.01, equal_nan=True) for line in axes.lines)
        [line] = axes.plot(x, y, color=colour, **{**mark, **more})
        if "linestyle" not in more and (dashes or hidden):
            line.set_dashes((4, 4) if hidden else dashes)

    # ---- curves ----------------------------------------------------------------------------------

    def curves(self) -> Iterator[Figure]:
        """Accuracy, loss, and whatever else was logged."""
        for name, test, train, unit, factor in _PAIRS:
            if any(len(one.metric(metric)[0]) for one in self._all for metric in (test, train)):
                yield self._curve(name, test, train, unit, factor)
        others = list(dict.fromkeys(
            metric for one in self._all for metric in one.recording.metrics
            if metric not in _OWN and len(one.metric(metric)[0])))
        if others:
            yield self._others(others)

    def _curve(self, name: str, test: str, train: str, unit: str, factor: float) -> Figure:
        grafted = sorted({row.epoch for one in self._all for row in one.recording if row.grafted})

        def paint(canvas: Any) -> None:
            axes = canvas.subplots()
            for one in self._all:
                epochs, values = one.metric(train)
                self._line(axes, one, epochs, values * factor, linewidth=1.1, alpha=0.8,
                           linestyle=":")
                epochs, values = one.metric(test)
                self._line(axes, one, epochs, values * factor)
            keys = [*self._keys(self._all), key("training", INK, linestyle=":", linewidth=1.1)]
            if grafted:
                axes.plot(grafted, np.zeros(len(grafted)), "|", color=INK, alpha=0.6, markersize=7,
                          markeredgewidth=min(1.0, 50 / len(grafted)), clip_on=False,
                          transform=axes.get_xaxis_transform())
                keys.append(key("graft", INK, linestyle="", marker="|", markersize=7))
            axes.set_xlabel("epoch")
            axes.set_ylabel(unit)
            whole_epochs(axes)
            grid(axes)
            legend(canvas, keys)

        return self._draw(
            name, f"{name.capitalize()} over epochs",
            "Full lines: the test set; dotted: training. A mark on the axis is a graft.",
            (8.2, 3.6), paint)

    def _others(self, metrics: list[str]) -> Figure:
        def paint(canvas: Any) -> None:
            found = canvas.subplots(-(-len(metrics) // 3), 3, squeeze=False).ravel()
            for axes, metric in zip(found, metrics):
                for one in self._all:
                    self._line(axes, one, *one.metric(metric))
                axes.set_title(label(metric), loc="left")
                whole_epochs(axes)
                grid(axes)
            for axes in found[len(metrics):]:
                axes.set_axis_off()
            legend(canvas, self._keys(self._all))

        return self._draw(
            "logged", "What else was logged", "As it was logged, over the epochs.",
            (8.2, 0.5 + 1.7 * -(-len(metrics) // 3)), paint)

    # ---- grafts ----------------------------------------------------------------------------------

    def alpha(self) -> Iterator[Figure]:
        """Heat maps, one for each structure."""
        for number, networks in enumerate(_by_structure(
                [one for one in self._all if len(one.graft("alpha")[0])])):
            panels = [(one.name, *one.graft("alpha")) for one in networks[:MOST]]
            # The usual A = 0.4 reaches from 0.3 to 0.7; the colours' ends are too dark for it.
            reach = 1.4 * np.nanmax([0.2, *(np.abs(values - 0.5).max() for *_, values in panels)])
            names = [layer_label(layer.name) for layer in networks[0].structure.layers]
            yield self._draw(
                _numbered("alpha", number), "Alpha: how much each layer kept of its own",
                "1: all its own; 0: all its neighbour's; at ½ (pale) both alike. Purple layers "
                "held more information than their neighbour's, orange ones less. Of two networks "
                "each layer's shares add up to one.",
                heat_size(len(panels), len(names)),
                lambda canvas, panels=panels, names=names, reach=reach: heat(
                    canvas, [(title, epochs, values.T) for title, epochs, values in panels], names,
                    "alpha", (max(0.5 - reach, 0.0), min(0.5 + reach, 1.0)), "PuOr"))

    def entropy(self) -> Iterator[Figure]:
        """Of layers, around the last graft; of networks, over the epochs."""
        for number, networks in enumerate(_by_structure(
                [one for one in self._all if len(one.graft("alpha")[0]) or len(one.epochs)])):
            yield self._entropy_of_layers(networks[:MOST], number)
        if any(len(one.epochs) > 1 for one in self._measured):
            yield self._entropy_of_networks()

    def _entropy_of_layers(self, networks: list[Subject], number: int) -> Figure:
        names = [layer_label(layer.name) for layer in networks[0].structure.layers]
        any_graft = any(len(one.graft("alpha")[0]) for one in networks)

        def paint(canvas: Any) -> None:
            axes = canvas.subplots()
            x = np.arange(len(names))
            spread = min(0.7, 0.12 * (len(networks) - 1)) if len(names) < 60 else 0.0
            for index, one in enumerate(networks):
                at = x + (spread * (index / (len(networks) - 1) - 0.5) if len(networks) > 1 else 0)
                colour = self._style(one)[0]
                if len(one.graft("alpha")[0]):
                    before, after = (
                        one.graft(f"entropy_{when}")[1][-1] for when in ("before", "after"))
                    axes.vlines(at, before, after, color=colour, linewidth=1, alpha=0.7)
                    axes.plot(at, before, "o", color=colour, markersize=3.5, fillstyle="none",
                              markeredgewidth=0.9)
                    axes.plot(at, after, "o", color=colour, markersize=3.5)
                else:
                    axes.plot(at, one.entropy[-1], "o", color=colour, markersize=3.5)
            every = max(1, -(-len(names) // 40))
            axes.set_xticks(x[::every], names[::every], rotation=90, fontsize=7)
            axes.set_xlim(-0.8, len(names) - 0.2)
            axes.set_ylabel("entropy (nats)")
            grid(axes)
            keys = self._keys(networks)
            if any_graft:
                keys += [key("before", INK, linestyle="", marker="o", fillstyle="none",
                             markersize=4), key("after", INK, linestyle="", marker="o",
                                                markersize=4)]
            legend(canvas, keys)

        when = " before and after the last graft" if any_graft else ""
        return self._draw(
            _numbered("entropy-layers", number), f"Entropy of each layer{when}",
            "In nats, of the histogram of a layer's weights: the measure of how much information "
            "it holds, which decides alpha."
            + (" Of two networks the poorer should gain by a graft." if any_graft else ""),
            (8.2, 3.8), paint)

    def _entropy_of_networks(self) -> Figure:
        def paint(canvas: Any) -> None:
            axes = canvas.subplots()
            for one in self._measured:
                self._line(axes, one, one.epochs, one.entropy.sum(1))
            axes.set_xlabel("epoch")
            axes.set_ylabel("sum of the layers' entropies (nats)")
            whole_epochs(axes)
            grid(axes)
            legend(canvas, self._keys(self._measured))

        return self._draw(
            "entropy", "Total entropy over epochs",
            "The sum over the layers. In the paper it grows with the number of networks that are "
            "grafted.", (8.2, 3.2), paint)

    # ---- filters ---------------------------------------------------------------------------------

    def shares(self) -> Iterator[Figure]:
        """How much lies under each threshold, by filters and by slices."""
        if self._measured:
            found = [(one, shares(one)) for one in self._measured]
            over_time = any(len(one.epochs) > 1 for one in self._measured)
            yield self._draw(
                "shares", "Shares under the thresholds",
                "Top: filters, as the paper counts them (the l1 norm over all input channels). "
                "Bottom: 2-d slices, the k x k weights from one input channel to one filter. "
                "Slices are small, so their shares are larger: compare like with like.",
                (8.2, 4.2), lambda canvas: self._shares(canvas, found, over_time))

    def _shares(self, canvas: Any, found: list[tuple[Subject, Any]], over_time: bool) -> None:
        grid_of_axes = canvas.subplots(2, len(LEVELS), squeeze=False, sharex=True, sharey="row")
        for line, kind in enumerate(("filters", "slices")):
            for column, level in enumerate(LEVELS):
                axes = grid_of_axes[line][column]
                for index, (one, both) in enumerate(found):
                    values = 100 * getattr(both, kind)[:, column]
                    if over_time:
                        self._line(axes, one, one.epochs, values)
                    else:
                        axes.bar(index, values[-1], 0.7, color=self._style(one)[0])
                if line == 0:
                    axes.set_title(f"under {level:g}", loc="left")
                if not over_time:
                    axes.set_xticks([])
                elif line == 1:
                    axes.set_xlabel("epoch")
                    whole_epochs(axes, 4)
                grid(axes)
            top = grid_of_axes[line][0].get_ylim()[1]
            grid_of_axes[line][0].set_ylim(0, max(top, 1.0))
            grid_of_axes[line][0].set_ylabel(f"% of {'filters' if line == 0 else '2-d slices'}")
        legend(canvas, self._keys([one for one, _ in found]))

    def changes(self) -> Iterator[Figure]:
        """Filters that came back to life or died, epoch by epoch."""
        found = [(one, changes(one, self._threshold)) for one in self._measured
                 if len(one.epochs) > 1][:MOST]
        if not found:
            return

        def paint(canvas: Any) -> None:
            from matplotlib.ticker import MaxNLocator

            grid_of_axes = canvas.subplots(2, len(found), squeeze=False, sharex=True, sharey="row")
            for column, (one, what) in enumerate(found):
                top, bottom = grid_of_axes[:, column]
                top.set_title(panel_title(one.name, 72 // len(found)), loc="left")
                self._line(top, one, one.epochs, what.invalid)
                step = float(np.diff(one.epochs).min()) * 0.9
                for back, sign, colour in ((True, 1, "#2a9d6f"), (False, -1, "#c0392b")):
                    epochs, counts = np.unique(what.epochs[what.back == back], return_counts=True)
                    bottom.bar(epochs, sign * counts, step, color=colour)
                bottom.axhline(0, color=INK, linewidth=0.6)
                bottom.set_xlabel("epoch")
                whole_epochs(bottom, max(3, 12 // len(found)))
                grid(top)
                grid(bottom)
            grid_of_axes[0][0].set_ylabel("invalid filters")
            grid_of_axes[1][0].set_ylabel("died  |  came back")
            most = max(int(what.invalid.max()) for _, what in found)  # the panels share their scale
            grid_of_axes[0][0].set_ylim(0, 1.05 * max(most, 1))
            for axes in grid_of_axes[:, 0]:
                axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            grid_of_axes[1][0].yaxis.set_major_formatter(lambda at, _: f"{abs(at):g}")
            legend(canvas, [key("came back to life", "#2a9d6f", linewidth=6),
                            key("died", "#c0392b", linewidth=6)])

        yield self._draw(
            "changes", "Filters that came back to life, and that died",
            f"Top: filters under {self._threshold:g}. Bottom: how many crossed it between two "
            "recorded epochs, up (came back) or down (died).", (8.2, 4.0), paint)

    def filter_map(self) -> Iterator[Figure]:
        """The filter map of the last epoch, for files: the page has one that moves."""
        for number, networks in enumerate(_by_structure(self._measured)):
            networks = networks[:MOST]
            layers = networks[0].structure.layers
            yield self._draw(
                _numbered("filter-map", number), "Filter map", "",
                (min(3.2 * len(networks) + 1.6, 20.0), 1.0 + min(0.14 * len(layers), 12.0) + 0.6),
                lambda canvas, networks=networks: self._filter_map(canvas, networks))

    def _filter_map(self, canvas: Any, networks: list[Subject]) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm

        structure = networks[0].structure
        offsets = structure.offsets
        grids = []
        for one in networks:
            cells = np.full((len(structure.layers), max(
                layer.filters for layer in structure.layers)), np.nan)
            for index, layer in enumerate(structure.layers):
                cells[index, :layer.filters] = one.norms[-1, offsets[index]:offsets[index + 1]]
            grids.append(cells)
        largest = max(float(np.nanmax(cells)) for cells in grids)
        low = max(self._threshold, 1e-4)
        colours = colormaps["viridis"].with_extremes(under="black", bad=(0, 0, 0, 0))
        found = canvas.subplots(1, len(networks), squeeze=False, sharey=True)[0]
        for axes, one, cells in zip(found, networks, grids):
            shown = np.where(cells < np.float32(self._threshold), low / 2, np.maximum(cells, low))
            image = axes.imshow(np.ma.masked_invalid(shown), aspect="auto", interpolation="none",
                                cmap=colours, norm=LogNorm(low, max(largest, low * 1.01)))
            axes.set_title(label(one.name), loc="left")
            axes.set_xlabel("filter")
        names = [layer_label(layer.name) for layer in structure.layers]
        every = max(1, -(-len(names) // 60))
        found[0].set_yticks(range(0, len(names), every), names[::every], fontsize=6)
        canvas.colorbar(image, ax=found, label=f"l1 norm (black: under {self._threshold:g})",
                        fraction=0.04, pad=0.02)

    # ---- what a watch saw ------------------------------------------------------------------------

    def health(self) -> Iterator[Figure]:
        """Gradients by layer; units that never fire; activations near their limits."""
        yield from self._gradients()
        yield from self._activity()

    def _gradients(self) -> Iterator[Figure]:
        found = [(one, [row for row in one.recording if row.gradients is not None])
                 for one in self._all]
        found = [(one, rows) for one, rows in found if rows]
        for number, networks in enumerate(_by_structure([one for one, _ in found])):
            names = [layer_label(layer.name) for layer in networks[0].structure.layers]
            panels = []
            for one, rows in found:
                if one in networks[:MOST]:
                    values = np.array([
                        row.gradients[one.index] for row in rows if row.gradients is not None]).T
                    with np.errstate(divide="ignore", invalid="ignore"):
                        values = np.log10(values)
                    panels.append((one.name, np.array([row.epoch for row in rows]),
                                   np.where(np.isfinite(values), values, np.nan)))
            finite = np.concatenate([values[np.isfinite(values)] for *_, values in panels])
            if finite.size:
                low, high = float(finite.min()), float(finite.max())
                yield self._draw(
                    _numbered("gradients", number), "Gradients' norms by layer",
                    "log10 of the l2 norm, mean over an epoch's steps. Blank: no gradient at all. "
                    "A layer far darker than its neighbours learns next to nothing.",
                    heat_size(len(panels), len(names)),
                    lambda canvas, panels=panels, names=names, low=low, high=high: heat(
                        canvas, panels, names, "log10 of the norm", (low, max(high, low + 0.1)),
                        "cividis"))

    def _activity(self) -> Iterator[Figure]:
        found = [(one, [row for row in one.recording if row.activity]) for one in self._all]
        found = [(one, rows) for one, rows in found if rows]
        runs: dict[int, list[tuple[Subject, list[Any]]]] = {}
        for one, rows in found:
            runs.setdefault(id(one.recording), []).append((one, rows))
        for number, networks in enumerate(runs.values()):
            watched = networks[0][0].recording.watched
            names = [layer_label(name) for name, _ in watched]
            units = np.array([max(count, 1) for _, count in watched], float)
            for what, title, note in (
                    ("silent", "Dead units", "% of a layer's units that never fired in an epoch."),
                    ("saturated", "Saturated activations",
                     "% of a layer's activations near their limit.")):
                panels = []
                for one, rows in networks[:MOST]:
                    values = np.array([row.activity[what][one.index] for row in rows]).T
                    values = 100 * (values / units[:, None] if what == "silent" else values)
                    panels.append((one.name, np.array([row.epoch for row in rows]), values))
                yield self._draw(
                    _numbered(what, number), title, note, heat_size(len(panels), len(names)),
                    lambda canvas, panels=panels, names=names: heat(
                        canvas, panels, names, "%", (0.0, 100.0), "magma"))


def _by_structure(networks: list[Subject]) -> list[list[Subject]]:
    """Those that a figure can show in the same rows."""
    groups: list[tuple[Structure, list[Subject]]] = []
    for one in networks:
        for structure, group in groups:
            if structure.layers == one.structure.layers:
                group.append(one)
                break
        else:
            groups.append((one.structure, [one]))
    return [group for _, group in groups]


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}-{number + 1}"
