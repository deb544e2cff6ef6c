"""The cost of longer sequences: step time against length, with the exponent of a power law."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness import stats
from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import ThroughputRow, ordered
from harness.columns import seconds, whole
from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import draw_curve
from harness.rendering.figures.ticks import set_size_axis

# Two points lie on any power law.
MIN_LENGTHS = 3
STEP_TIME = ("step_time_s", "step_time_low_s", "step_time_high_s")


@dataclasses.dataclass(frozen=True)
class _Growth:
    """Steps of one cell on one device, at ascending lengths, and the power law through them.

    The steps differ in nothing but length.
    """

    device: str
    cell: str
    rows: tuple[ThroughputRow, ...]
    law: stats.PowerLaw


def section(context: BenchContext) -> Section:
    """A sentence on the cost of twice the length, a log-log figure with the fits, a table."""
    messages = context.messages
    title = messages("lengths.title")
    found = [growth for device in context.timings.devices for growth in _growths(context, device)]
    if not found:
        reason = messages("lengths.absent", least=MIN_LENGTHS)
        return context.not_measured("lengths", title, reason)
    devices = list(dict.fromkeys(growth.device for growth in found))
    said = [context.on(d, _sentence(context, [g for g in found if g.device == d])) for d in devices]
    drawing, panels = theme.grid(
        len(devices), columns=2, height=3.0 if len(devices) == 1 else 2.7, sharey=False
    )
    ends = {}
    for axes, device in zip(panels, devices, strict=True):
        if context.many_devices:
            axes.set_title(context.device(device))
        ends[axes] = _draw(context, axes, [growth for growth in found if growth.device == device])
        axes.set_xlabel(messages("throughput.x_sequence_length"))
    panels[0].set_ylabel(messages("lengths.y"))
    direct_labels.label_line_ends(drawing, ends)
    first = found[0].rows[0]
    caption = messages(
        "lengths.caption",
        variant=first["variant"],
        hidden=context.number("hidden_size", first["hidden_size"]),
        batch=context.number("batch_size", first["batch_size"]),
        initialization=first["initialization"],
    )
    picture = Picture(
        "lengths", drawing, messages("lengths.description"), caption, _table(context, found)
    )
    return Section("lengths", title, (Paragraph(" ".join(said)), picture))


def _growths(context: BenchContext, device: str) -> list[_Growth]:
    timings = context.timings
    rows = timings.along("sequence_length", timings.comparable(device))
    found = []
    for cell, own in ordered(rows, context.cells):
        ascending = tuple(sorted(own, key=lambda row: float(row["sequence_length"])))
        if (law := timings.growth(ascending)) is not None:
            found.append(_Growth(device, cell, ascending, law))
    return found


def _sentence(context: BenchContext, found: Sequence[_Growth]) -> str:
    """A sentence: the cost of twice the length, for each cell of a device."""
    messages = context.messages
    items = [
        messages("bench.of_cell", cell=growth.cell, value=context.times(*_doubling(growth.law)))
        for growth in found
    ]
    lengths = [float(row["sequence_length"]) for growth in found for row in growth.rows]
    said = messages(
        "lengths.doubling",
        items=messages.listed(items),
        low=context.number("sequence_length", min(lengths)),
        high=context.number("sequence_length", max(lengths)),
    )
    miss = max(growth.law.largest_miss for growth in found)
    return said + " " + messages("lengths.miss", miss=context.percent(miss))


def _doubling(law: stats.PowerLaw) -> tuple[float, float, float]:
    """The time at twice the length as a multiple, with its interval; NaN without one."""
    if law.interval is None:
        return 2**law.exponent, float("nan"), float("nan")
    return 2**law.exponent, 2**law.interval.low, 2**law.interval.high


def _draw(
    context: BenchContext, axes: Axes, found: Sequence[_Growth]
) -> list[direct_labels.LineEnd]:
    axes.set_yscale("log")
    ends = []
    for growth in found:
        style = context.styles[growth.cell]
        at = np.array([float(row["sequence_length"]) for row in growth.rows])
        fitted = growth.law.factor * at**growth.law.exponent
        axes.plot(at, fitted, color=style.colour, linestyle=style.line, linewidth=1.5, alpha=0.75)
        ranges = [[float(row[name]) for name in STEP_TIME] for row in growth.rows]
        points = [(x, (value, low, high)) for x, (value, low, high) in zip(at, ranges, strict=True)]
        draw_curve(axes, growth.cell, style, points, linestyle="none")
        ends.append(
            direct_labels.LineEnd(float(at[-1]), float(fitted[-1]), growth.cell, style.colour)
        )
    lengths = sorted({float(row["sequence_length"]) for growth in found for row in growth.rows})
    set_size_axis(context, axes, "sequence_length", lengths, 0.09)
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: _axis_seconds(at)))
    return ends


def _axis_seconds(value: float) -> str:
    """A duration for an axis: 20 ms, not 20.0 ms."""
    number, unit = seconds(value).split(" ")
    return f"{float(number.replace(',', '')):g} {unit}"


def _table(context: BenchContext, found: Sequence[_Growth]) -> Table:
    rows = []
    for growth in found:
        lengths = [context.number("sequence_length", row["sequence_length"]) for row in growth.rows]
        value, low, high = _doubling(growth.law)
        rows.append(
            (
                *context.lead(growth.device, growth.cell),
                context.messages.listed(lengths),
                context.number("exponent", growth.law.exponent),
                context.interval("exponent", growth.law.interval),
                context.number("speedup", value),
                context.ends(low, high),
                context.percent(growth.law.largest_miss),
                whole(min(len(context.timings.times(row)) for row in growth.rows)),
            )
        )
    columns = (
        *context.lead_columns(),
        Column(context.messages("column.lengths")),
        *(context.column(name) for name in ("exponent", "interval", "doubling", "interval")),
        *(context.column(name) for name in ("largest_miss", "n_blocks")),
    )
    return Table(columns, tuple(rows), context.messages("lengths.note"))
