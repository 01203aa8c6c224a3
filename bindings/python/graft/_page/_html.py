"""The page: one file that needs nothing else, and asks nothing of a network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from .._text import printable
from .._record._layers import LEVELS
from .._version import __version__
from ._analysis import Subject, changes, cultivation, place, shares
from ._drawing import COLOURS, DASHES, MOST, Figure
from ._filter_map import pack

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_MOST_ROWS = 200
#: A batch norm's scale under this does next to nothing.
_NEAR_ZERO = 2


class Page:
    """Collects sections, and writes them down.

    Parameters
    ----------
    title
    networks
    reference
    threshold
    """

    def __init__(self, title: str, networks: list[Subject], reference: Subject,
                 threshold: float) -> None:
        self._title = title
        self._networks = networks
        self._measured = [one for one in networks if len(one.epochs)]
        self._reference = reference
        self._threshold = threshold
        self._sections: list[tuple[str, str, str]] = []

    def add(self, name: str, title: str, *parts: str) -> None:
        """A section, unless nothing is in it."""
        body = "\n".join(part for part in parts if part)
        if body:
            self._sections.append((name, title, body))

    def text(self) -> bytes:
        """All of it."""
        title = _text(self._title)
        links = "".join(f'<a href="#{name}">{_text(short)}</a>'
                        for name, short, _ in self._sections)
        sections = "\n".join(
            f'<section id="{name}"><h2>{_text(head)}</h2>\n{body}</section>'
            for name, head, body in self._sections)
        page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="generator" content="graft {__version__}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{_asset("page.css")}</style></head>
<body><header><h1>{title}</h1>
<p class="lead">{_text(self._lead())}</p>
<nav>{links}</nav></header>
<main>{sections}</main>
<script>{_asset("filter_map.js")}</script>
</body></html>
"""
        return page.encode("utf-8", "backslashreplace")

    def _lead(self) -> str:
        runs = list(dict.fromkeys(one.run for one in self._networks))
        last = max(one.recording.last for one in self._networks)
        grafts = max(sum(row.grafted for row in one.recording) for one in self._networks)
        words = [_count(len(self._networks), "network")]
        if len(runs) > 1:
            words.append(_count(len(runs), "run"))
        if last > 0:
            words.append(_count(last, "epoch"))
        if grafts:
            words.append(_count(grafts, "graft"))
        if len(self._networks) > MOST:
            words[0] += f" (figures with a panel for each show the first {MOST})"
        return (", ".join(words) + f". A filter is invalid while its l1 norm is under "
                f"{self._threshold:g}.")

    # ---- sections --------------------------------------------------------------------------------

    def summary(self) -> str:
        """A line for each network."""
        rows = []
        for one in self._networks:
            tested, losses = one.metric("test_accuracy")[1], one.metric("test_loss")[1]
            accuracies = (_percent(tested[-1]), _percent(tested.max())) if len(tested) else ("", "")
            entropy = invalid = slices = ""
            if len(one.epochs):
                dead = int((one.norms[-1] < np.float32(self._threshold)).sum())
                filters = one.structure.filters
                invalid = f"{dead} of {filters} ({100 * dead / filters:.1f} %)"
                entropy = f"{one.entropy[-1].sum():.2f}"
                share = shares(one).slices[-1, 1]
                slices = "" if math.isnan(share) else f"{100 * share:.1f} %"
            rows.append((one.name, *accuracies, f"{losses[-1]:.4f}" if len(losses) else "",
                         invalid, slices, entropy))
        head = ("network", "last test accuracy", "best", "last test loss", "invalid filters",
                "2-d slices under 0.1", "entropy (nats)")
        keep = [column for column in range(len(head)) if column == 0 or any(
            row[column] for row in rows)]
        note = ""
        if 2 in keep:
            note = _note("The last accuracy is the one to report; the best epoch was chosen on the "
                         "test set.")
        return _table([head[column] for column in keep],
                      [[row[column] for column in keep] for row in rows]) + note

    def cultivation(self) -> str:
        """The paper's table."""
        rows = cultivation(self._networks, self._reference, self._threshold)
        if len(rows) < 2:
            return ""
        base, known = rows[0], any(not math.isnan(row.accuracy) for row in rows)
        for row in rows:
            if row.network == self._reference.name:
                base = row
        shown, marked = [], []
        for row in rows:
            cells = [row.network, _compared(row.valid, base.valid, row is base),
                     _compared(row.invalid, base.invalid, row is base)]
            if known:
                cells.append(_percent(row.accuracy))
            marked.append(row is base)
            shown.append(cells)
        head = ["network", f"valid filters ({base.valid_filters})",
                f"invalid filters ({base.invalid_filters})",
                *(["last test accuracy"] if known else [])]
        others = len(self._measured) - len(rows)
        left = _note(f"Of another structure, and not in the table: {_count(others, 'network')}."
                     ) if others else ""
        empty = "" if base.invalid_filters else _note(
            f"{printable(base.network)} has no filter under {self._threshold:g}: nothing there for "
            "grafting to revive. Train longer, or raise the threshold.")
        return _note(
            "Mean l1 norm over two sets of filters: those that are valid, and those that are "
            f"invalid, in {printable(base.network)} (the reference) at its last epoch. The same "
            "two sets are looked at in every network. Where grafting worked the invalid set "
            "grows; where distillation made up for what grafting took, the valid set does too. "
            "Other filters may have died instead: see how many are invalid above."
        ) + _table(head, shown, marked) + empty + left

    def filter_map(self) -> str:
        """The data and the places that filter_map.js fills."""
        if not self._measured:
            return ""
        told = pack(self._networks, self._threshold)
        told["colours"], told["dashes"] = [], []
        for index, one in enumerate(self._networks):
            if len(one.epochs):
                told["colours"].append(COLOURS[index % len(COLOURS)])
                told["dashes"].append(
                    " ".join(map(str, DASHES[index // len(COLOURS) % len(DASHES)])) or "none")
                told["networks"][len(told["colours"]) - 1]["name"] = printable(one.name)
        told["structures"] = [
            [[printable(name), filters] for name, filters in layers]
            for layers in told["structures"]]
        choices = "".join(
            f'<option value="{level!r}">{level:g}</option>' for level in told["levels"])
        # In a script only "<" could end it, or open a comment.
        data = json.dumps(told, separators=(",", ":")).replace("<", "\\u003c")
        return _note(
            "A row for each layer, a cell for each filter; black: invalid. Long layers go on in "
            "the next line. Move over a cell for its norm; click it to follow that filter.") + f"""
<div id="filter-map"><div class="controls">
<div class="time" data-part="time"><button type="button" data-part="play">▶ play</button>
<input type="range" data-part="slider" min="0" value="0" aria-label="epoch">
<output>epoch <span data-part="epoch"></span></output></div>
<label>black under <select data-part="threshold">{choices}</select></label>
<canvas data-part="scale" role="img" aria-label="colours of l1 norms"></canvas></div>
<noscript><p>The filter map needs JavaScript.</p></noscript>
<div data-part="panels"></div><div data-part="history" hidden></div>
<div data-part="tooltip" hidden></div></div>
<script type="application/json" id="filter-map-data">{data}</script>"""

    def shares(self) -> str:
        """The last epoch's shares."""
        rows = []
        for one in self._measured:
            both = shares(one)
            rows += [(one.name, "filters", *map(_percent, both.filters[-1]))]
            if not np.isnan(both.slices[-1]).any():
                rows += [("", "2-d slices", *map(_percent, both.slices[-1]))]
        return _table(("network", "of all", *(f"under {level:g}" for level in LEVELS)), rows)

    def changes(self) -> str:
        """What became of filters, and which ones crossed the threshold when."""
        fates, events = [], []
        for one in self._measured:
            if len(one.epochs) < 2:
                continue
            found = changes(one, self._threshold)
            dead = one.norms[-1] < np.float32(self._threshold)
            fate = found.fate(one.structure.filters, dead)
            fates.append((one.name, *(str(int((fate == what).sum())) for what in (
                "valid", "back", "died", "invalid"))))
            for epoch, number, back in zip(
                    found.epochs.tolist(), found.filters.tolist(), found.back):
                layer, filter_ = place(one.structure, number)
                events.append((layer, str(filter_), "came back" if back else "died",
                               one.name, str(epoch)))
        if not fates:
            return ""
        head = ("network", "valid throughout", "came back, valid at the end",
                "died, invalid at the end", "invalid throughout")
        text = _table(head, fates)
        if events:
            events.sort(key=lambda row: int(row[4]))
            more = f", the first {_MOST_ROWS}" if len(events) > _MOST_ROWS else ""
            text += (f"<details><summary>Which and when ({len(events)} changes{more})</summary>"
                     + _table(("layer", "filter", "what", "network", "epoch"),
                              events[:_MOST_ROWS]) + "</details>")
        return text

    def scales(self) -> str:
        """Batch norms of which scales are near zero."""
        rows = []
        level = LEVELS[_NEAR_ZERO]
        total = 0
        for one in self._measured:
            if one.last is None:
                continue
            for index, (name, count) in enumerate(one.structure.scales):
                total += 1
                under = int(one.last.scales[one.index, index, _NEAR_ZERO])
                if under:
                    rows.append((name, one.name, f"{under} of {count}",
                                 f"{one.last.scale_means[one.index, index]:.4g}", under / count))
        if not total:
            return ""
        head = "<h3>Batch norms with scales near zero</h3>" + _note(
            f"Under {level:g} in absolute value, at the last epoch: what they scale contributes "
            "next to nothing.")
        if not rows:
            return head + f"<p>None, in {total} batch norms.</p>"
        rows.sort(key=lambda row: -row[4])
        return head + _table(("batch norm", "network", "near zero", "mean scale"),
                             [row[:4] for row in rows[:_MOST_ROWS]])

    def layers(self) -> str:
        """Every layer of every network at its last epoch."""
        text = ""
        for one in self._measured:
            offsets = one.structure.offsets
            rows = []
            for index, layer in enumerate(one.structure.layers):
                norms = one.norms[-1, offsets[index]:offsets[index + 1]].astype(np.float64)
                rows.append((
                    layer.name, str(layer.filters), f"{one.entropy[-1, index]:.3f}",
                    f"{norms.min():.3g}", f"{norms.mean():.3g}", f"{norms.max():.3g}",
                    str(int((norms < np.float32(self._threshold)).sum()))))
            text += f"<details><summary>{_text(one.name)}</summary>" + _table(
                ("layer", "filters", "entropy", "l1 min", "mean", "max", "invalid"), rows
            ) + "</details>"
        return text

    def settings(self) -> str:
        """What repeats it: commands, versions, seeds, settings."""
        text = ""
        several = len({one.run for one in self._networks}) > 1
        for run, recording in {one.run: one.recording for one in self._networks}.items():
            body = ""
            for index, session in enumerate(recording.sessions):
                if index:
                    body += "<p>Resumed:</p>"
                if session.get("command"):
                    body += f"<pre>{_text(str(session['command']))}</pre>"
                body += _settings({key: value for key, value in session.items()
                                   if key != "command"})
            if recording.settings:
                body += _settings(recording.settings)
            if body:
                text += (f"<h3>{_text(run)}</h3>" if several else "") + body
        return text


def figures(drawn: Iterable[Figure]) -> str:
    """Figures under their titles."""
    return "\n".join(
        f'<h3>{_text(one.title)}</h3>{_note(one.note)}<figure class="chart scroll" '
        f'id="figure-{one.name}">{one.svg}</figure>' for one in drawn)


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text("utf-8")


def _text(text: str) -> str:
    return html.escape(printable(text))


def _note(text: str) -> str:
    return f'<p class="note">{_text(text)}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]],
           marked: Sequence[bool] | None = None) -> str:
    """Cells are text, but for what is `Markup`."""
    def cell(value: str) -> str:
        return value if isinstance(value, Markup) else _text(value)

    lines = "".join(
        ('<tr class="reference">' if marked and marked[index] else "<tr>")
        + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>\n"
        for index, row in enumerate(rows))
    return ('<div class="scroll"><table><thead><tr>'
            + "".join(f"<th>{_text(name)}</th>" for name in head)
            + f"</tr></thead><tbody>\n{lines}</tbody></table></div>")


class Markup(str):
    """Is HTML already."""


def _compared(value: float, base: float, is_base: bool) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:.3f}"
    if is_base or not base or math.isnan(base):
        return text
    ratio = value / base
    factor = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.3g}"
    return Markup(f'{text} <span class="change">×{factor}</span>')


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.2f} %"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _settings(values: dict[str, Any], inside: str = "") -> str:
    rows = list(_flat(values, inside))
    lines = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>\n"
                    for name, value in rows)
    return f'<div class="scroll"><table class="text"><tbody>{lines}</tbody></table></div>'


def _flat(values: dict[str, Any], inside: str) -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = f"{inside}{str(key).replace('_', ' ')}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value))
        else:
            yield name, "–" if value is None else str(value)
