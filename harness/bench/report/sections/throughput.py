"""Tokens per second against hidden size and sequence length, a line for each cell."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import ThroughputRow
from harness.rendering.document import Column, ContentBlock, Picture, Section, Table
from harness.rendering.figures.shape_panels import (
    OTHER,
    Quantity,
    plot_against_shape,
    speed,
    speed_interval,
)

# A longer table opens on a click.
FEW_ROWS = 12


def section(context: BenchContext) -> Section:
    """A figure if a size was varied; a table of every training step."""
    messages, timings = context.messages, context.timings
    title = messages("throughput.title")
    if not timings.steps:
        return context.not_measured("throughput", title, messages("throughput.absent"))
    numbers = _table(context, timings.steps)
    rows = drawn(context, [row for device in timings.devices for row in timings.comparable(device)])
    sizes = tuple(name for name in OTHER if len({row[name] for row in rows}) > 1)
    if not sizes:
        table = Table(numbers.columns, numbers.rows, numbers.note, len(numbers.rows) > FEW_ROWS)
        return Section("throughput", title, (table,))
    quantity = Quantity(speed, messages("throughput.y"))
    drawing = plot_against_shape(context, pd.DataFrame(rows), quantity, sizes)
    caption = messages(
        "throughput.caption_bench",
        machine=str(rows[0]["device_name"]),
        task=context.tasks[0],
        variant=rows[0]["variant"],
        batch=context.number("batch_size", rows[0]["batch_size"]),
    )
    picture = Picture("throughput", drawing, messages("throughput.description"), caption, numbers)
    blocks: tuple[ContentBlock, ...] = (picture,)
    return Section("throughput", title, blocks)


def drawn(context: BenchContext, rows: Sequence[ThroughputRow]) -> list[ThroughputRow]:
    """The rows at the most frequent batch size and number of layers; in a tie, the grid's own."""
    shape = context.records.grid.shape
    for key in ("batch_size", "num_layers"):
        values = [row[key] for row in rows]
        most = max(
            dict.fromkeys(values),
            key=lambda value: (values.count(value), value == getattr(shape, key)),
            default=None,
        )
        rows = [row for row in rows if row[key] == most]
    return list(rows)


def _table(context: BenchContext, rows: Sequence[ThroughputRow]) -> Table:
    """Every timed training step, in every variant."""
    messages, texts = context.messages, []
    for row in rows:
        value, low, high = speed(row)
        texts.append(
            (
                *context.lead(str(row["device"]), str(row["cell"])),
                str(row["variant"]),
                *context.shape_cells(row),
                context.number("step_time_s", row["step_time_s"]),
                context.number("tokens_per_second", value),
                speed_interval(context, low, high),
                context.number("gflops_per_second", row["gflops_per_second"]),
                context.number("fraction_of_peak", row["fraction_of_peak"]),
                context.number("n_blocks", row["n_blocks"]),
            )
        )
    names = ("step_time_s", "tokens_per_second", "interval_speed", "gflops_per_second")
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *context.shape_columns(),
        *(context.column(name) for name in (*names, "fraction_of_peak", "n_blocks")),
    )
    return Table(columns, tuple(texts), messages("throughput.note"))
