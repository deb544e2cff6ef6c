"""Small multiples of series: one panel for each, with points, levels and changes of level."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.columns import TrialStatus
from harness.rendering import theme

FASTER = theme.CELL_COLOURS[2]
SLOWER = theme.STATUS_COLOURS[TrialStatus.DIVERGED]
# The least half height of a panel: noise of 0.1 % shall not fill it.
LEAST_RANGE = 0.03
# In median absolute deviations. Points further from their level are drawn at the edge.
USUAL_DEVIATIONS = 8.0
LONGEST_LABEL = 12
# Width of the text of a change as a share of a panel, by number of columns.
TEXT_WIDTHS = {1: 0.09, 2: 0.18, 3: 0.30}
# Letters of a title that fit above a panel, by number of columns.
TITLE_LENGTHS = {1: 90, 2: 42, 3: 26}
MAX_TEXT_ROWS = 3


@dataclasses.dataclass(frozen=True)
class LevelSpan:
    """A stretch of positions [start, end) at one level."""

    start: int
    end: int
    value: float


@dataclasses.dataclass(frozen=True)
class LevelChange:
    """A change of level: the first position of the new level, the change, and its revision.

    `worse` is true if the new level is slower.
    """

    position: int
    change: str
    revision: str
    worse: bool


@dataclasses.dataclass(frozen=True)
class Panel:
    """One series: values by position, relative to its first level. NaN: no value."""

    name: str
    values: Sequence[float]
    steps: Sequence[LevelSpan]
    marks: Sequence[LevelChange]


@dataclasses.dataclass(frozen=True)
class Frame:
    """What the panels share: a label for each position, axis labels, the format of a change."""

    labels: Sequence[str]
    x_label: str
    y_label: str
    change: str


def multiples(panels: Sequence[Panel], frame: Frame) -> Figure:
    """Draw the panels, all with one y range. Call it inside `theme.style`."""
    n_columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    panels = [
        dataclasses.replace(panel, name=_cut(panel.name, TITLE_LENGTHS[n_columns]))
        for panel in panels
    ]
    height = 2.9 if n_columns == 1 else 2.1
    drawing, every = theme.grid(len(panels), columns=n_columns, height=height, sharey="all")
    low, high = _range(panels)
    for i, (axes, panel) in enumerate(zip(every, panels, strict=True)):
        _draw(axes, panel, (low, high))
        for mark, place in zip(panel.marks, _places(panel, TEXT_WIDTHS[n_columns]), strict=True):
            _mark(axes, mark, *place)
        is_last = i + n_columns >= len(panels)
        _label_x(axes, frame, shown=is_last)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent(frame, value)))
    every[0].set_ylim(low, high)
    drawing.supxlabel(frame.x_label, fontsize=theme.FONT_SIZE, color=theme.MUTED.light)
    drawing.supylabel(frame.y_label, fontsize=theme.FONT_SIZE, color=theme.MUTED.light)
    return drawing


def _draw(axes: Axes, panel: Panel, ends: tuple[float, float]) -> None:
    axes.set_title(panel.name)
    axes.axhline(1, color=theme.FAINT.light, linewidth=0.9, zorder=1)
    margin = 0.03 * (ends[1] - ends[0])
    for shown, marker in (
        ([v if ends[0] < v < ends[1] else math.nan for v in panel.values], "o"),
        ([ends[1] - margin if v >= ends[1] else math.nan for v in panel.values], "^"),
        ([ends[0] + margin if v <= ends[0] else math.nan for v in panel.values], "v"),
    ):
        if not all(map(math.isnan, shown)):
            size = _size(len(panel.values)) + (1.5 if marker != "o" else 0)
            axes.plot(
                range(len(shown)), shown, marker, color=theme.MUTED.light, ms=size, mew=0, zorder=2
            )
    for step in panel.steps:
        axes.plot(
            (step.start - 0.5, step.end - 0.5),
            (step.value, step.value),
            color=theme.INK.light,
            linewidth=1.8,
            solid_capstyle="butt",
            zorder=3,
        )


def _places(panel: Panel, width: float) -> list[tuple[bool, int]]:
    """For the text of each change: whether it is left of its line, and its row.

    The text covers as little as possible there.
    """
    n = len(panel.values)
    taken: list[tuple[int, float, float]] = []
    found = []
    for mark in panel.marks:
        x = (mark.position - 0.5) / n
        others = [(each.position - 0.5) / n for each in panel.marks if each is not mark]

        def cost(place: tuple[bool, int], x: float = x, others: Sequence[float] = others) -> float:
            low, high = _reach(x, width, is_left=place[0])
            outside = max(0.0, -low) + max(0.0, high - 1)
            crossed = sum(low < other < high for other in others)
            covered = sum(row == place[1] and low < b and a < high for row, a, b in taken)
            return 100 * outside + 10 * covered + crossed + 0.1 * place[1]

        best = min(
            ((side, row) for row in range(MAX_TEXT_ROWS) for side in (False, True)), key=cost
        )
        taken.append((best[1], *_reach(x, width, is_left=best[0])))
        found.append(best)
    return found


def _reach(x: float, width: float, *, is_left: bool) -> tuple[float, float]:
    return (x - width, x) if is_left else (x, x + width)


def _mark(axes: Axes, mark: LevelChange, is_left: bool, row: int) -> None:
    """Draw a change: a vertical line, and beside it the change and its revision."""
    colour = (SLOWER if mark.worse else FASTER).light
    x = mark.position - 0.5
    axes.axvline(x, color=colour, linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
    axes.annotate(
        f"{mark.change}\n{_cut(mark.revision, LONGEST_LABEL)}",
        (x, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-3 if is_left else 3, -2 - 21 * row),
        textcoords="offset points",
        ha="right" if is_left else "left",
        va="top",
        color=colour,
        fontsize=theme.FONT_SIZE - 2,
        linespacing=1.05,
        zorder=4,
    )


def _label_x(axes: Axes, frame: Frame, *, shown: bool) -> None:
    """Write the first and the last label, aligned inwards at the edges."""
    n = len(frame.labels)
    axes.set_xlim(-0.5 - 0.02 * n, n - 0.5 + 0.02 * n)
    places = [0] if n == 1 else [0, n - 1]
    axes.set_xticks(
        places, [_cut(frame.labels[place], LONGEST_LABEL) if shown else "" for place in places]
    )
    for place, tick in zip(places, axes.get_xticklabels(), strict=True):
        tick.set_horizontalalignment("center" if n <= 5 else "left" if place == 0 else "right")


def _range(panels: Sequence[Panel]) -> tuple[float, float]:
    """The range of the usual points of all panels, with space above for the texts of changes."""
    shown = [1 - LEAST_RANGE, 1 + LEAST_RANGE]
    for panel in panels:
        for step in panel.steps:
            own = [v for v in panel.values[step.start : step.end] if not math.isnan(v)]
            usual = USUAL_DEVIATIONS * median(abs(value - step.value) for value in own)
            shown += [step.value, *(v for v in own if abs(v - step.value) <= usual)]
    low, high = min(shown), max(shown)
    most = max((len(panel.marks) for panel in panels), default=0)
    space = 0.08 + 0.17 * min(most, 3)
    return low - 0.08 * (high - low), high + space * (high - low)


def _size(n: int) -> float:
    """Smaller points where there are many."""
    return 4.5 if n <= 20 else 3.2 if n <= 80 else 2.2


def _percent(frame: Frame, value: float) -> str:
    rounded = round(100 * (value - 1), 6)
    return frame.change.format(value=f"{rounded:+g}" if rounded else "0")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
