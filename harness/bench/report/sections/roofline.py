"""How far each step is from its limits.

The roofs of arithmetic and of bytes, and the latency of the eager steps that must follow each
other.
"""

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
from harness.bench.report.bench_summary import LIMITS, Row, flops_per_byte, limit, ordered
from harness.rendering import theme
from harness.rendering.document import Block, Column, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import short


def section(page: BenchContext) -> Section:
    """The roofline of each device, and the nearest limit of every timed training step."""
    words, timings = page.messages, page.timings
    title = words("limits.title")
    placed = {
        device: [row for row in timings.comparable(device) if _is_placed(row)]
        for device in timings.devices
    }
    placed = {device: rows for device, rows in placed.items() if rows}
    known = [row for row in timings.steps if limit(row).nearest is not None]
    if not known:
        return page.not_measured("limits", title, words("limits.absent"))
    blocks: list[Block] = [Paragraph(words("limits.intro"))]
    table = _table(page, known)
    if placed:
        blocks.append(_picture(page, placed, table))
    else:
        blocks.append(Table(table.columns, table.rows, table.note, folded=len(table.rows) > 12))
    return Section("limits", title, tuple(blocks))


def _is_placed(row: Row) -> bool:
    """Whether a row has a place under its roofs."""
    numbers = (row["peak_gflops_per_second"], row["copy_bytes_per_second"], flops_per_byte(row))
    return all(math.isfinite(number) and number > 0 for number in numbers)


def _picture(page: BenchContext, placed: dict[str, list[Row]], table: Table) -> Picture:
    words = page.messages
    drawing, panels = theme.grid(
        len(placed), columns=2, height=3.6 if len(placed) == 1 else 3.1, sharey=False
    )
    spots, slanted = {}, {}
    for axes, (device, rows) in zip(panels, placed.items(), strict=True):
        if page.many_devices:
            axes.set_title(page.device(device))
        slanted[axes] = _roofs(page, axes, rows)
        spots[axes] = _points(page, axes, rows)
        axes.set_xlabel(words("limits.x"))
    panels[0].set_ylabel(words("limits.y"))
    if any(_bounded(row) for rows in placed.values() for row in rows):
        mark = Line2D(
            [], [], color=theme.MUTED.light, marker="_", markersize=11, mew=1.6, ls="none"
        )
        drawing.legend([mark], [words("limits.latency_mark")], loc="outside lower right")
    direct_labels.label_spots(drawing, spots)
    for axes, name in slanted.items():
        _turn(axes, name)
    variant = next(iter(placed.values()))[0]["variant"]
    caption = words("limits.caption", variant=variant)
    return Picture("roofline", drawing, words("limits.description"), caption, table)


def _bounded(row: Row) -> bool:
    """Whether latency is the nearest limit of a step, so that its bound lies under the roofs."""
    return limit(row).nearest == "latency"


def _at_latency(row: Row) -> float:
    """GFLOP/s that a step would reach if it took no longer than its time steps at the latency of the smallest step."""
    work = float(row["gflops_per_second"]) * float(row["step_time_s"])
    return work / float(row["latency_bound_s"])


def _roofs(page: BenchContext, axes: Axes, rows: Sequence[Row]) -> Annotation:
    """What a step could reach at most at each FLOP per byte, from this run's own matrix product and copy.

    Returns the name of the slanted one, to be turned once the panel has its size.
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
    text = page.messages("limits.roof_arithmetic", rate=page.number("gflops_per_second", peak))
    _beside(axes, text, (ridge, peak), (4, 5), "left")
    text = page.messages("limits.roof_bytes", rate=page.number("gflops_per_second", rate))
    slanted = _beside(axes, text, (left, rate * left), (8, 13), "left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(page, value)))
    return slanted


def _beside(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], side: str
) -> Annotation:
    """A name beside a roof."""
    return axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        ha=side,
        color=theme.MUTED.light,
        fontsize=theme.SIZE - 1,
    )


def _turn(axes: Axes, name: Annotation) -> None:
    """Set a name along a line of slope 1 on the logarithmic axes of its panel."""
    x, y = name.xy
    start, end = axes.transData.transform([(x, y), (2 * x, 2 * y)])
    name.set_rotation(math.degrees(math.atan2(end[1] - start[1], end[0] - start[0])))
    name.set_rotation_mode("anchor")


def _points(page: BenchContext, axes: Axes, rows: Sequence[Row]) -> list[direct_labels.Spot]:
    spots = []
    for cell, own in ordered(rows, page.cells):
        mark = page.styles[cell]
        for row in own:
            if _bounded(row):
                x, y, top = flops_per_byte(row), float(row["gflops_per_second"]), _at_latency(row)
                axes.plot([x, x], [y, top], color=mark.colour, linewidth=0.9, alpha=0.3, zorder=2)
                axes.plot(x, top, marker="_", color=mark.colour, markersize=11, mew=1.6, zorder=2)
        axes.plot(
            [flops_per_byte(row) for row in own],
            [float(row["gflops_per_second"]) for row in own],
            linestyle="none",
            marker=mark.marker,
            color=mark.colour,
            markersize=6.5,
            markeredgecolor="none",
            alpha=0.85,
            zorder=3,
        )
        best = max(own, key=lambda row: float(row["gflops_per_second"]))
        y = float(best["gflops_per_second"])
        spots.append(direct_labels.Spot(flops_per_byte(best), y, y, y, cell, mark.colour))
    return spots


def _table(page: BenchContext, rows: Sequence[Row]) -> Table:
    """The share of each limit that every training step reaches, and which limit is nearest."""
    words, texts = page.messages, []
    hosted = any(str(row["device"]).startswith("cuda") for row in rows)
    for device, variant in itertools.product(page.timings.devices, page.timings.variants):
        for row in rows:
            if (row["device"], row["variant"]) != (device, variant):
                continue
            bound = limit(row)
            nearest = bound.nearest or ""
            host = (page.number("step_time_s", row["host_time_s"]),) if hosted else ()
            texts.append(
                (
                    *page.lead(device, str(row["cell"])),
                    variant,
                    *page.shape_cells(row),
                    page.number("step_time_s", row["step_time_s"]),
                    *host,
                    page.number("flops_per_byte", flops_per_byte(row)),
                    page.number("gflops_per_second", row["gflops_per_second"]),
                    *(page.number("fraction_of_limit", bound.fraction(name)) for name in LIMITS),
                    words.of("limits.name", nearest),
                )
            )
    columns = (
        *page.lead_columns(),
        Column(words("column.variant")),
        *page.shape_columns(),
        page.column("step_time_s"),
        *((page.column("host_time_s"),) if hosted else ()),
        *(page.column(name) for name in ("flops_per_byte", "gflops_per_second")),
        *(page.column(name) for name in ("of_arithmetic", "of_bytes", "of_latency")),
        Column(words("column.nearest")),
    )
    return Table(columns, tuple(texts), words("limits.note"))
