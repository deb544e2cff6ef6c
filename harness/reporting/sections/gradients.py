"""How much of a gradient survives k steps back, in an untrained and in a trained cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.reporting import labels, theme
from harness.reporting.document import Column, Picture, Section, Table
from harness.reporting.page import Page

THRESHOLD = -3.0  # log10: under a thousandth a step back is hardly heard (DESIGN: the lag where it falls under 1e-3)
STATES = ("initial", "trained")


def section(page: Page) -> Section:
    """log10 of the gradient gain against lag, a panel a task; an untrained cell dashed, a trained one solid."""
    words, summary = page.words, page.summary
    title = words("gradients.title")
    series = [
        one
        for one in _series(summary.records.diagnostics)
        if (one["task"], one["cell"]) in summary.pairs
    ]
    if not series:
        return page.not_measured("gradients", title, words("gradients.absent"))
    tasks = [task for task in summary.tasks if any(one["task"] == task for one in series)]
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.4)
    placed = {}
    for axes, task in zip(panels, tasks, strict=True):
        axes.axhline(THRESHOLD, color=theme.MUTED.light, linewidth=0.9, linestyle=(0, (2, 2)))
        ends: dict[str, labels.End] = {}
        for one in series:
            if one["task"] != task:
                continue
            mark = page.marks[one["cell"]]
            trained = one["state"] == "trained"
            lag, gain = _finite(one)
            if len(lag) == 0:
                continue
            axes.plot(
                lag,
                gain,
                color=mark.colour,
                linestyle="-" if trained else (0, (1.5, 1.6)),
                linewidth=1.9 if trained else 1.3,
            )
            if trained or one["cell"] not in ends:
                ends[one["cell"]] = labels.End(lag[-1], gain[-1], one["cell"], mark.colour)
        axes.set_ylim(bottom=_floor([one for one in series if one["task"] == task]))
        if page.many_tasks:
            axes.set_title(task)
        axes.set_xlabel(words("gradients.x"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_power))
        placed[axes] = list(ends.values())
    panels[0].set_ylabel(words("gradients.y"))
    labels.label_ends(drawing, placed)
    handles = [
        Line2D([], [], color=theme.MUTED.light, linestyle="-", label=words("gradients.trained")),
        Line2D(
            [],
            [],
            color=theme.MUTED.light,
            linestyle=(0, (1.5, 1.6)),
            label=words("gradients.initial"),
        ),
    ]
    drawing.legend(handles=handles, loc="outside upper left", ncols=2, handlelength=2.2)
    picture = Picture(
        "gradient_gain",
        drawing,
        words("gradients.description"),
        words("gradients.caption"),
        _table(page, series),
    )
    return Section("gradients", title, (picture,))


def _floor(series: Sequence[Mapping[str, Any]]) -> float:
    """Where the picture ends: it shows all of the trained cells, and the untrained ones down to 1e-12 at least."""
    lowest = {state: [0.0] for state in STATES}
    for one in series:
        lowest.setdefault(one["state"], [0.0]).extend(_finite(one)[1])
    deepest = min(gain for gains in lowest.values() for gain in gains)
    return min(THRESHOLD, max(deepest, min(-12.0, *lowest["trained"]))) - 0.6


def _power(value: float, _: object) -> str:
    digits = f"{value:.0f}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}" if value else "1"


def _series(diagnostics: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The measured gains; an entry without its parts is left out."""
    found = (diagnostics or {}).get("gradient_gain") or []
    parts = {"task", "cell", "state", "lag", "log10_gain"}
    return [one for one in found if isinstance(one, dict) and parts <= set(one)]


def _finite(one: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    pairs = [
        (float(lag), float(gain))
        for lag, gain in zip(one["lag"], one["log10_gain"], strict=False)
        if gain is not None and math.isfinite(gain)
    ]
    return [lag for lag, _ in pairs], [gain for _, gain in pairs]


def fitted_decay(lag: Sequence[float], gain: Sequence[float]) -> float:
    """Factor by which the gain changes a step: a least-squares line through log10 gain against lag; NaN under 3 points."""
    if len(lag) < 3:
        return math.nan
    slope = np.polyfit(np.asarray(lag), np.asarray(gain), 1)[0]
    return float(10.0**slope)


def lag_under(
    lag: Sequence[float], gain: Sequence[float], threshold: float = THRESHOLD
) -> float | None:
    """The first lag from which on log10 of the gain stays under the threshold; None if it is not under it at the last."""
    found = None
    for k, one in zip(reversed(lag), reversed(gain), strict=True):
        if one >= threshold:
            break
        found = k
    return found


def _table(page: Page, series: Sequence[Mapping[str, Any]]) -> Table:
    words = page.words
    rows = []
    for one in series:
        lag, gain = _finite(one)
        under = lag_under(lag, gain)
        decay = fitted_decay(lag, gain)
        at_end = f"10^{gain[-1]:.1f}" if gain else words("not_measured")
        rows.append(
            (
                *page.task_cells(one["task"], one["cell"]),
                words.of("gradients", str(one["state"])),
                words.of("gradients.of", str(one.get("of", "state"))),
                words("not_measured") if math.isnan(decay) else f"{decay:.3f}",
                words("never") if under is None else page.number("lag", under),
                at_end,
                page.number("lag", lag[-1] if lag else None),
            )
        )
    columns = (
        *page.task_columns(),
        Column(words("column.state")),
        Column(words("column.gain_of")),
        *(page.column(name) for name in ("decay", "lag_under", "gain_at_end", "lag_end")),
    )
    return Table(columns, tuple(rows), words("gradients.note"))
