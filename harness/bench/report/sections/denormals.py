"""Vanishing gradients: shares of denormal and zero entries, and the gain of flushing denormals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness import stats
from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import KEPT, TUNED, ThroughputRow, shape_of
from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import ValueRange, draw_curve
from harness.rendering.figures.ticks import set_size_axis


@dataclasses.dataclass(frozen=True)
class _Point:
    """One cell at one length and initialisation.

    `gain`: the time of a step that keeps denormals divided by that of one that flushes them.
    """

    cell: str
    initialization: str
    length: float
    row: ThroughputRow
    gain: stats.Estimate

    @property
    def denormal(self) -> float:
        """Share of gradient entries that are denormal."""
        return float(self.row["denormal_fraction"])

    @property
    def zero(self) -> float:
        """Share of gradient entries that are zero."""
        return float(self.row["zero_fraction"])


NOT_TIMED = stats.Estimate(None, None, 0)


def section(context: BenchContext) -> Section:
    """Sentences on the longest length, and a figure: shares above, gains below."""
    messages = context.messages
    title = messages("denormals.title")
    points = _points(context)
    if not points:
        return context.not_measured("denormals", title, messages("denormals.absent"))
    said = [text for name in _initializations(points) if (text := _sentence(context, points, name))]
    blocks = [Paragraph(messages("denormals.intro")), Paragraph(" ".join(said))]
    return Section("denormals", title, (*blocks[: 2 if said else 1], _picture(context, points)))


def _points(context: BenchContext) -> list[_Point]:
    """Steps on the CPU with a known share or gain, at the sizes with the most lengths."""
    timings = context.timings
    steps = [row for row in timings.steps if not str(row["device"]).startswith("cuda")]
    kept: dict[tuple[str, object], ThroughputRow] = {
        (row["cell"], shape_of(row)): row for row in steps if row["variant"] == KEPT
    }
    chosen: dict[tuple[str, object], ThroughputRow] = {}
    for row in sorted(steps, key=lambda row: row["variant"] != TUNED):  # flushed ones first
        known = not math.isnan(row["denormal_fraction"])
        if known or (row["variant"] == TUNED and (row["cell"], shape_of(row)) in kept):
            chosen.setdefault((row["cell"], shape_of(row)), row)
    found = []
    for each in timings.along("sequence_length", list(chosen.values())):
        slow = kept.get((each["cell"], shape_of(each)))
        gain = timings.ratio(slow, each) if slow and each["variant"] == TUNED else NOT_TIMED
        length, name = float(each["sequence_length"]), str(each["initialization"])
        found.append(_Point(str(each["cell"]), name, length, each, gain))
    order = {cell: i for i, cell in enumerate(context.cells)}
    return sorted(found, key=lambda point: (point.length, order[point.cell]))


def _initializations(points: Sequence[_Point]) -> list[str]:
    """The initialisations, the one with the most denormals first."""
    names = dict.fromkeys(point.initialization for point in points)

    def most(name: str) -> float:
        shares = [p.denormal + p.zero for p in points if p.initialization == name]
        return max((share for share in shares if not math.isnan(share)), default=0.0)

    return sorted(names, key=lambda name: -most(name))


def _sentence(context: BenchContext, points: Sequence[_Point], name: str) -> str:
    """Shares and gains of each cell at the longest length, for one initialisation."""
    messages = context.messages
    own = [point for point in points if point.initialization == name]
    longest = [point for point in own if point.length == own[-1].length]
    length = context.number("sequence_length", own[-1].length)
    said = []
    known = [point for point in longest if not math.isnan(point.denormal + point.zero)]
    if any(point.denormal + point.zero for point in known):
        shares = messages.listed(
            messages(
                "denormals.share",
                cell=point.cell,
                denormal=context.number("denormal_fraction", point.denormal),
                zero=context.number("zero_fraction", point.zero),
            )
            for point in known
        )
        said.append(messages("denormals.at", length=length, initialization=name, shares=shares))
    elif known:
        cells = messages.listed(point.cell for point in known)
        said.append(messages("denormals.at_none", length=length, initialization=name, cells=cells))
    shown = [p for p in longest if p.gain.interval is not None and p.gain.interval.low > 1]
    if shown:
        gains = messages.listed(
            messages("bench.of_cell", cell=point.cell, value=context.times(*_ends(point)))
            for point in shown
        )
        key = "denormals.wins" if known else "denormals.wins_at"
        said.append(messages(key, length=length, initialization=name, gains=gains))
    elif any(point.gain.value is not None for point in longest):
        key = "denormals.wins_nothing" if known else "denormals.wins_nothing_at"
        said.append(messages(key, length=length, initialization=name))
    return " ".join(said)


# --- The picture ------------------------------------------------------------------------------


def _picture(context: BenchContext, points: Sequence[_Point]) -> Picture:
    messages = context.messages
    names = _initializations(points)
    kinds: list[tuple[str, Callable[[_Point], ValueRange]]] = [
        ("denormal", lambda point: (point.denormal,) * 3),
        ("zero", lambda point: (point.zero,) * 3),
        ("gain", _ends),
    ]
    kinds = [kind for kind in kinds if any(not math.isnan(kind[1](p)[0]) for p in points)]
    drawing, panels = theme.grid(
        len(names) * len(kinds), columns=len(names), height=1.95, sharey="row", sharex=True
    )
    placed = {}
    for i, (kind, value) in enumerate(kinds):
        for j, name in enumerate(names):
            axes = panels[i * len(names) + j]
            own = [point for point in points if point.initialization == name]
            placed[axes] = _draw(context, axes, own, value)
            _scale(context, axes, kind, points)
            if i == 0:
                axes.set_title(name)
            if i == len(kinds) - 1:
                axes.set_xlabel(messages("throughput.x_sequence_length"))
        panels[i * len(names)].set_ylabel(messages.of("denormals.y", kind))
    direct_labels.label_line_ends(drawing, placed)
    first = points[0].row
    caption = messages(
        "denormals.caption",
        hidden=context.number("hidden_size", first["hidden_size"]),
        batch=context.number("batch_size", first["batch_size"]),
    )
    table = _table(context, points)
    return Picture("denormals", drawing, messages("denormals.description"), caption, table)


def _ends(point: _Point) -> ValueRange:
    """The gain and its interval; NaN if it is unknown."""
    if point.gain.value is None:
        return math.nan, math.nan, math.nan
    between = point.gain.interval
    low, high = (between.low, between.high) if between else (point.gain.value,) * 2
    return point.gain.value, low, high


def _draw(
    context: BenchContext,
    axes: Axes,
    points: Sequence[_Point],
    value: Callable[[_Point], ValueRange],
) -> list[direct_labels.LineEnd]:
    ends = []
    for cell in context.cells:
        own = [(p.length, value(p)) for p in points if p.cell == cell]
        if own := [point for point in own if not math.isnan(point[1][0])]:
            ends.append(draw_curve(axes, cell, context.styles[cell], own, markersize=5))
    return ends


def _scale(context: BenchContext, axes: Axes, kind: str, points: Sequence[_Point]) -> None:
    lengths = sorted({point.length for point in points})
    set_size_axis(context, axes, "sequence_length", lengths, 0.2)
    if kind == "gain":
        axes.axhline(1.0, color=theme.FAINT.light, linewidth=1.2, zorder=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda at, _: context.messages("denormals.tick", value=f"{at:g}"))
        )
        return
    shares = [p.denormal if kind == "denormal" else p.zero for p in points]
    top = max((share for share in shares if not math.isnan(share)), default=0.0)
    axes.set_ylim(-0.04 * max(top, 0.05), 1.12 * max(top, 0.05))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: context.percent(at)))


def _table(context: BenchContext, points: Sequence[_Point]) -> Table:
    rows = []
    order = {name: i for i, name in enumerate(_initializations(points))}
    for point in sorted(points, key=lambda point: order[point.initialization]):
        between = point.gain.interval
        rows.append(
            (
                point.initialization,
                context.number("sequence_length", point.length),
                point.cell,
                context.number("denormal_fraction", point.denormal),
                context.number("zero_fraction", point.zero),
                context.number("speedup", point.gain.value),
                context.ends(between.low, between.high) if between else context.messages("none"),
            )
        )
    columns = (
        Column(context.messages("column.initialization"), "group"),
        context.column("sequence_length"),
        Column(context.messages("column.cell"), "cell"),
        *(context.column(name) for name in ("denormal_fraction", "zero_fraction")),
        *(context.column(name) for name in ("flushing_wins", "interval")),
    )
    return Table(columns, tuple(rows), context.messages("denormals.note"))
