"""A forest plot: changes with their intervals, one above the other. Knows no comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.columns import TrialStatus
from harness.rendering import theme


@dataclasses.dataclass(frozen=True)
class ForestRow:
    """One row of the plot: a relative change of time (0.05 is 5 % slower) and its interval.

    None: not measured. `stands_out` draws the row in the colour of a failure, `is_quiet` in grey.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    stands_out: bool = False
    is_quiet: bool = False


@dataclasses.dataclass(frozen=True)
class ForestAxis:
    """The axis of the plot: its label, the format of a change, and two marked values.

    `detect_label` is written above the line at `detect`.
    """

    label: str
    change: str
    detect: float
    floor: float
    detect_label: str


def forest(rows: Sequence[ForestRow], axis: ForestAxis) -> Figure:
    """Draw the rows, the first on top. Call it inside `theme.style`."""
    drawing = theme.figure(0.36 * len(rows) + 0.95)
    axes = drawing.subplots()
    for y, row in enumerate(rows):
        _draw(axes, y, row)
    low, high = _range(rows, axis)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.75)
    axes.axvline(0, color=theme.MUTED.light, linewidth=1.0, zorder=1)
    for at, dash in ((axis.floor, (0, (1.3, 1.5))), (axis.detect, (0, (5, 1.6)))):
        axes.axvline(at, color=theme.FAINT.light, linewidth=1.1, linestyle=dash, zorder=1)
    axes.annotate(
        axis.detect_label,
        (axis.detect, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=theme.MUTED.light,
        fontsize=theme.FONT_SIZE - 1.5,
    )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=theme.INK.light)
    axes.grid(visible=False)
    axes.set_xlabel(axis.label)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _change(axis, value)))
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(rows)), [row.text for row in rows])
    beside.tick_params(axis="y", length=0, labelcolor=theme.MUTED.light)
    beside.spines["right"].set_visible(False)
    for tick, row in zip(beside.get_yticklabels(), rows, strict=True):
        if row.stands_out:
            tick.set(color=theme.STATUS_COLOURS[TrialStatus.DIVERGED].light, fontweight="bold")
    return drawing


def _draw(axes: Axes, y: int, row: ForestRow) -> None:
    if row.value is None:
        return
    colour = theme.INK
    if row.is_quiet:
        colour = theme.MUTED
    if row.stands_out:
        colour = theme.STATUS_COLOURS[TrialStatus.DIVERGED]
    if row.low is not None and row.high is not None:
        axes.plot(
            (row.low, row.high), (y, y), color=colour.light, linewidth=2.2, solid_capstyle="butt"
        )
    face = "white" if row.is_quiet else colour.light
    axes.plot([row.value], [y], "D" if row.is_quiet else "o", color=colour.light, mfc=face, ms=6)


def _change(axis: ForestAxis, value: float) -> str:
    """The text of a tick. 0 has no sign."""
    rounded = round(100 * value, 6)
    return axis.change.format(value=f"{rounded:+g}" if rounded else "0")


def _range(rows: Sequence[ForestRow], axis: ForestAxis) -> tuple[float, float]:
    """The range of everything drawn, with 0 and `detect` inside, plus a margin."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    low, high = min([*ends, 0.0]), max([*ends, axis.detect])
    margin = 0.06 * (high - low)
    return low - margin, high + margin
