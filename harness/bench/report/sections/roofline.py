"""The limits of each step: arithmetic, bytes, and the latency of consecutive time steps."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import (
    LIMITS,
    ThroughputRow,
    flops_per_byte,
    ordered,
    step_limits,
)
from harness.rendering import theme
from harness.rendering.document import Column, ContentBlock, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import short_number


def section(context: BenchContext) -> Section:
    """A roofline for each device, and a table of the limits of every timed training step."""
    messages, timings = context.messages, context.timings
    title = messages("limits.title")
    placed = {
        device: [row for row in timings.comparable(device) if _is_placed(row)]
        for device in timings.devices
    }
    placed = {device: rows for device, rows in placed.items() if rows}
    known = [row for row in timings.steps if step_limits(row).nearest is not None]
    if not known:
        return context.not_measured("limits", title, messages("limits.absent"))
    blocks: list[ContentBlock] = [Paragraph(messages("limits.intro"))]
    table = _table(context, known)
    if placed:
        blocks.append(_picture(context, placed, table))
    else:
        blocks.append(Table(table.columns, table.rows, table.note, folded=len(table.rows) > 12))
    return Section("limits", title, tuple(blocks))


def _is_placed(row: ThroughputRow) -> bool:
    """Whether a row has a point in the roofline."""
    numbers = (row["peak_gflops_per_second"], row["copy_bytes_per_second"], flops_per_byte(row))
    return all(math.isfinite(number) and number > 0 for number in numbers)


def _picture(
    context: BenchContext, placed: dict[str, list[ThroughputRow]], table: Table
) -> Picture:
    messages = context.messages
    drawing, panels = theme.grid(
        len(placed), columns=2, height=3.6 if len(placed) == 1 else 3.1, sharey=False
    )
    spots, slanted = {}, {}
    for axes, (device, rows) in zip(panels, placed.items(), strict=True):
        if context.many_devices:
            axes.set_title(context.device(device))
        slanted[axes] = _roofs(context, axes, rows)
        spots[axes] = _points(context, axes, rows)
        axes.set_xlabel(messages("limits.x"))
    panels[0].set_ylabel(messages("limits.y"))
    if any(_bounded(row) for rows in placed.values() for row in rows):
        dash = Line2D(
            [], [], color=theme.MUTED.light, marker="_", markersize=11, mew=1.6, ls="none"
        )
        drawing.legend([dash], [messages("limits.latency_mark")], loc="outside lower right")
    direct_labels.label_points(drawing, spots)
    for axes, name in slanted.items():
        _turn(axes, name)
    variant = next(iter(placed.values()))[0]["variant"]
    caption = messages("limits.caption", variant=variant)
    return Picture("roofline", drawing, messages("limits.description"), caption, table)


def _bounded(row: ThroughputRow) -> bool:
    """Whether latency is the nearest limit of a step: its bound is then below the roofs."""
    return step_limits(row).nearest == "latency"


def _at_latency(row: ThroughputRow) -> float:
    """GFLOP/s of a step whose time steps took no longer than those of the smallest model."""
    work = float(row["gflops_per_second"]) * float(row["step_time_s"])
    return work / float(row["latency_bound_s"])


def _roofs(context: BenchContext, axes: Axes, rows: Sequence[ThroughputRow]) -> Annotation:
    """Draw the two roofs: the rates of this run's large matrix product and large copy.

    Returns the name of the slanted roof, which is turned after the panel has its final size.
    """
    peak = statistics.median(float(row["peak_gflops_per_second"]) for row in rows)
    rate = statistics.median(float(row["copy_bytes_per_second"]) for row in rows) / 1e9
    at = [flops_per_byte(row) for row in rows]
    ridge = peak / rate
    left, right = min(*at, ridge) / 2, max(*at, ridge) * 4
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(
        [left, ridge, right],
        [rate * left, peak, peak],
        color=theme.MUTED.light,
        linewidth=1.6,
        solid_joinstyle="miter",
        zorder=1,
    )
    lowest = min(float(row["gflops_per_second"]) for row in rows)
    axes.set_xlim(left, right)
    axes.set_ylim(min(lowest, rate * left) / 2, peak * 2.6)
    text = context.messages(
        "limits.roof_arithmetic", rate=context.number("gflops_per_second", peak)
    )
    _beside(axes, text, (ridge, peak), (4, 5), "left")
    text = context.messages("limits.roof_bytes", rate=context.number("gflops_per_second", rate))
    slanted = _beside(axes, text, (left, rate * left), (8, 13), "left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))
    return slanted


def _beside(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], side: str
) -> Annotation:
    """Write a name beside a roof."""
    return axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        ha=side,
        color=theme.MUTED.light,
        fontsize=theme.FONT_SIZE - 1,
    )


def _turn(axes: Axes, name: Annotation) -> None:
    """Turn a name to slope 1 on the logarithmic axes of its panel."""
    x, y = name.xy
    start, end = axes.transData.transform([(x, y), (2 * x, 2 * y)])
    name.set_rotation(math.degrees(math.atan2(end[1] - start[1], end[0] - start[0])))
    name.set_rotation_mode("anchor")


def _points(
    context: BenchContext, axes: Axes, rows: Sequence[ThroughputRow]
) -> list[direct_labels.LabelledPoint]:
    spots = []
    for cell, own in ordered(rows, context.cells):
        style = context.styles[cell]
        for row in own:
            if _bounded(row):
                x, y, top = flops_per_byte(row), float(row["gflops_per_second"]), _at_latency(row)
                axes.plot([x, x], [y, top], color=style.colour, linewidth=0.9, alpha=0.3, zorder=2)
                axes.plot(x, top, marker="_", color=style.colour, markersize=11, mew=1.6, zorder=2)
        axes.plot(
            [flops_per_byte(row) for row in own],
            [float(row["gflops_per_second"]) for row in own],
            linestyle="none",
            marker=style.marker,
            color=style.colour,
            markersize=6.5,
            markeredgecolor="none",
            alpha=0.85,
            zorder=3,
        )
        best = max(own, key=lambda row: float(row["gflops_per_second"]))
        y = float(best["gflops_per_second"])
        spots.append(direct_labels.LabelledPoint(flops_per_byte(best), y, y, y, cell, style.colour))
    return spots


def _table(context: BenchContext, rows: Sequence[ThroughputRow]) -> Table:
    """The share of each limit that every training step reaches, and its nearest limit."""
    messages, texts = context.messages, []
    hosted = any(str(row["device"]).startswith("cuda") for row in rows)
    for device, variant in itertools.product(context.timings.devices, context.timings.variants):
        for row in rows:
            if (row["device"], row["variant"]) != (device, variant):
                continue
            bound = step_limits(row)
            nearest = bound.nearest or ""
            host = (context.number("step_time_s", row["host_time_s"]),) if hosted else ()
            texts.append(
                (
                    *context.lead(device, str(row["cell"])),
                    variant,
                    *context.shape_cells(row),
                    context.number("step_time_s", row["step_time_s"]),
                    *host,
                    context.number("flops_per_byte", flops_per_byte(row)),
                    context.number("gflops_per_second", row["gflops_per_second"]),
                    *(context.number("fraction_of_limit", bound.fraction(name)) for name in LIMITS),
                    messages.of("limits.name", nearest),
                )
            )
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *context.shape_columns(),
        context.column("step_time_s"),
        *((context.column("host_time_s"),) if hosted else ()),
        *(context.column(name) for name in ("flops_per_byte", "gflops_per_second")),
        *(context.column(name) for name in ("of_arithmetic", "of_bytes", "of_latency")),
        Column(messages("column.nearest")),
    )
    return Table(columns, tuple(texts), messages("limits.note"))
