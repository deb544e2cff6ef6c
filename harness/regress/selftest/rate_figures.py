"""The figures of a selftest: rates with their intervals, and every block of the same code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.regress.verdict.resampling import Rate
from harness.rendering import theme

ROW_OFFSET = 0.16
"""Runs are drawn above the middle of a row and replays below, by this share of its height."""


@dataclasses.dataclass(frozen=True)
class RateRow:
    """One row of the plot of rates: those of runs and of replays; None, or n = 0: not measured."""

    name: str
    runs: Rate | None
    replays: Rate | None


@dataclasses.dataclass(frozen=True)
class Strip:
    """Blocks of one benchmark, head's time over base's less 1; `text` is their deviation."""

    name: str
    values: Sequence[float]
    text: str
    is_quiet: bool = False


def rates(rows: Sequence[RateRow], label: str, percent: str, legend: tuple[str, str]) -> Figure:
    """Draw the rows, the first on top; `legend` names runs and replays.

    Call it in a theme's style.
    """
    drawing = theme.figure(0.5 * len(rows) + 1.25)
    axes = drawing.subplots()
    for y, row in enumerate(rows):
        axes.axhline(y, color=theme.RULE.light, linewidth=1.0, zorder=0)
        _draw_rate(axes, y - ROW_OFFSET, row.runs, is_replayed=False)
        _draw_rate(axes, y + ROW_OFFSET, row.replays, is_replayed=True)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=theme.INK.light)
    axes.grid(visible=False)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent.format(value=f"{100 * x:g}")))
    for is_replayed, text in enumerate(legend):
        colour = (theme.INK, theme.MUTED)[is_replayed].light
        face = "white" if is_replayed else colour
        marker = "D" if is_replayed else "o"
        axes.plot([], [], marker, color=colour, mfc=face, ms=6, label=text)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, borderpad=0)
    return drawing


def strips(rows: Sequence[Strip], label: str, percent: str, detect: float) -> Figure:
    """Draw each block as a dot, a row a benchmark, with dashed lines at `detect` either way.

    Call it in a theme's style.
    """
    drawing = theme.figure(0.5 * len(rows) + 0.95)
    axes = drawing.subplots()
    axes.axvline(0, color=theme.MUTED.light, linewidth=1.0, zorder=1)
    for at in (-detect, detect):
        axes.axvline(at, color=theme.FAINT.light, linewidth=1.1, linestyle=(0, (5, 1.6)), zorder=1)
    spread = np.random.default_rng(0)  # so that dots of one value don't hide each other
    for y, row in enumerate(rows):
        colour = (theme.MUTED if row.is_quiet else theme.INK).light
        heights = y + spread.uniform(-0.22, 0.22, len(row.values))
        axes.plot(row.values, heights, "o", color=colour, ms=3.2, mew=0, alpha=0.45)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    most = max([detect, *(abs(value) for row in rows for value in row.values)])
    axes.set_xlim(-1.06 * most, 1.06 * most)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=theme.INK.light)
    axes.grid(visible=False)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(percent, x)))
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(rows)), [row.text for row in rows])
    beside.tick_params(axis="y", length=0, labelcolor=theme.MUTED.light)
    beside.spines["right"].set_visible(False)
    return drawing


def _draw_rate(axes: Axes, y: float, rate: Rate | None, *, is_replayed: bool) -> None:
    if rate is None or rate.low is None or rate.high is None:
        return
    colour = (theme.MUTED if is_replayed else theme.INK).light
    axes.plot((rate.low, rate.high), (y, y), color=colour, linewidth=2.2, solid_capstyle="butt")
    face, marker = ("white", "D") if is_replayed else (colour, "o")
    axes.plot([rate.value], [y], marker, color=colour, mfc=face, ms=6, clip_on=False)


def _signed(percent: str, value: float) -> str:
    rounded = round(100 * value, 6)
    return percent.format(value=f"{rounded:+g}" if rounded else "0")
