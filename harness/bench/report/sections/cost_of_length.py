"""What a longer sequence costs.

The time of a step against length, with the exponent of a power law.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from harness import stats
from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import Row, ordered
from harness.columns import seconds, whole
from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import spaced

LEAST_LENGTHS = 3  # two lie on any power law


@dataclasses.dataclass(frozen=True)
class _Growth:
    """The steps of one cell on one device, at ascending lengths that differ in nothing else, and the power law through them."""

    device: str
    cell: str
    rows: tuple[Row, ...]
    law: stats.PowerLaw


def section(page: BenchContext) -> Section:
    """The exponents in words, log-log lines with their fits, and the table."""
    words = page.messages
    title = words("lengths.title")
    found = [growth for device in page.timings.devices for growth in _growths(page, device)]
    if not found:
        reason = words("lengths.absent", least=LEAST_LENGTHS)
        return page.not_measured("lengths", title, reason)
    devices = list(dict.fromkeys(growth.device for growth in found))
    said = [page.on(d, _sentence(page, [g for g in found if g.device == d])) for d in devices]
    drawing, panels = theme.grid(
        len(devices), columns=2, height=3.0 if len(devices) == 1 else 2.7, sharey=False
    )
    ends = {}
    for axes, device in zip(panels, devices, strict=True):
        if page.many_devices:
            axes.set_title(page.device(device))
        ends[axes] = _draw(page, axes, [growth for growth in found if growth.device == device])
        axes.set_xlabel(words("throughput.x_sequence_length"))
    panels[0].set_ylabel(words("lengths.y"))
    direct_labels.label_ends(drawing, ends)
    first = found[0].rows[0]
    caption = words(
        "lengths.caption",
        variant=first["variant"],
        hidden=page.number("hidden_size", first["hidden_size"]),
        batch=page.number("batch_size", first["batch_size"]),
        initialization=first["initialization"],
    )
    picture = Picture(
        "lengths", drawing, words("lengths.description"), caption, _table(page, found)
    )
    return Section("lengths", title, (Paragraph(" ".join(said)), picture))


def _growths(page: BenchContext, device: str) -> list[_Growth]:
    timings = page.timings
    rows = timings.along("sequence_length", timings.comparable(device))
    found = []
    for cell, own in ordered(rows, page.cells):
        ascending = tuple(sorted(own, key=lambda row: float(row["sequence_length"])))
        if (law := timings.growth(ascending)) is not None:
            found.append(_Growth(device, cell, ascending, law))
    return found


def _sentence(page: BenchContext, found: Sequence[_Growth]) -> str:
    """What twice the length costs, for each cell of a device."""
    words = page.messages
    items = [
        words("bench.of_cell", cell=growth.cell, value=page.times(*_doubling(growth.law)))
        for growth in found
    ]
    lengths = [float(row["sequence_length"]) for growth in found for row in growth.rows]
    said = words(
        "lengths.doubling",
        items=words.listed(items),
        low=page.number("sequence_length", min(lengths)),
        high=page.number("sequence_length", max(lengths)),
    )
    miss = max(growth.law.largest_miss for growth in found)
    return said + " " + words("lengths.miss", miss=page.percent(miss))


def _doubling(law: stats.PowerLaw) -> tuple[float, float, float]:
    """What twice the x costs, with the ends of its interval; NaN without one."""
    if law.interval is None:
        return 2**law.exponent, float("nan"), float("nan")
    return 2**law.exponent, 2**law.interval.low, 2**law.interval.high


def _draw(page: BenchContext, axes: Axes, found: Sequence[_Growth]) -> list[direct_labels.End]:
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = []
    for growth in found:
        mark = page.styles[growth.cell]
        at = np.array([float(row["sequence_length"]) for row in growth.rows])
        times = np.array([float(row["step_time_s"]) for row in growth.rows])
        fitted = growth.law.factor * at**growth.law.exponent
        axes.plot(at, fitted, color=mark.colour, linestyle=mark.line, linewidth=1.5, alpha=0.75)
        for x, row in zip(at, growth.rows, strict=True):
            between = [row["step_time_low_s"], row["step_time_high_s"]]
            axes.plot([x, x], between, color=mark.colour, alpha=0.4, linewidth=3)
        axes.plot(
            at,
            times,
            linestyle="none",
            color=mark.colour,
            marker=mark.marker,
            markeredgecolor="none",
        )
        ends.append(direct_labels.End(float(at[-1]), float(fitted[-1]), growth.cell, mark.colour))
    lengths = sorted({float(row["sequence_length"]) for growth in found for row in growth.rows})
    axes.xaxis.set_major_locator(FixedLocator(spaced(lengths, 0.09)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: page.number("sequence_length", at)))
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: _axis_seconds(at)))
    return ends


def _axis_seconds(value: float) -> str:
    """A duration as an axis has it: 20 ms, not 20.0 ms."""
    number, unit = seconds(value).split(" ")
    return f"{float(number.replace(',', '')):g} {unit}"


def _table(page: BenchContext, found: Sequence[_Growth]) -> Table:
    rows = []
    for growth in found:
        lengths = [page.number("sequence_length", row["sequence_length"]) for row in growth.rows]
        value, low, high = _doubling(growth.law)
        rows.append(
            (
                *page.lead(growth.device, growth.cell),
                page.messages.listed(lengths),
                page.number("exponent", growth.law.exponent),
                page.interval("exponent", growth.law.interval),
                page.number("speedup", value),
                page.ends(low, high),
                page.percent(growth.law.largest_miss),
                whole(min(len(page.timings.times(row)) for row in growth.rows)),
            )
        )
    columns = (
        *page.lead_columns(),
        Column(page.messages("column.lengths")),
        *(page.column(name) for name in ("exponent", "interval", "doubling", "interval")),
        *(page.column(name) for name in ("largest_miss", "n_blocks")),
    )
    return Table(columns, tuple(rows), page.messages("lengths.note"))
