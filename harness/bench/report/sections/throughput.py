"""Tokens a second against hidden size and against length, a line for each cell, a row of panels for each device."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import Row
from harness.rendering.document import Block, Column, Picture, Section, Table
from harness.rendering.figures.shape_panels import (
    OTHER,
    Quantity,
    against_shape,
    speed,
    speed_range,
)

FEW_ROWS = 12  # a longer table opens on demand


def section(page: BenchContext) -> Section:
    """The picture where a size was varied; every training step in its table."""
    words, timings = page.messages, page.timings
    title = words("throughput.title")
    if not timings.steps:
        return page.not_measured("throughput", title, words("throughput.absent"))
    numbers = _table(page, timings.steps)
    rows = drawn(page, [row for device in timings.devices for row in timings.comparable(device)])
    sizes = tuple(name for name in OTHER if len({row[name] for row in rows}) > 1)
    if not sizes:
        table = Table(numbers.columns, numbers.rows, numbers.note, len(numbers.rows) > FEW_ROWS)
        return Section("throughput", title, (table,))
    quantity = Quantity(speed, words("throughput.y"))
    drawing = against_shape(page, pd.DataFrame(rows), quantity, sizes)
    caption = words(
        "throughput.caption_bench",
        machine=str(rows[0]["device_name"]),
        task=page.tasks[0],
        variant=rows[0]["variant"],
        batch=page.number("batch_size", rows[0]["batch_size"]),
    )
    picture = Picture("throughput", drawing, words("throughput.description"), caption, numbers)
    blocks: tuple[Block, ...] = (picture,)
    return Section("throughput", title, blocks)


def drawn(page: BenchContext, rows: Sequence[Row]) -> list[Row]:
    """The rows at the batch size and number of layers at which most were timed, the grid's own if it can be."""
    shape = page.records.grid.shape
    for key in ("batch_size", "num_layers"):
        values = [row[key] for row in rows]
        most = max(
            dict.fromkeys(values),
            key=lambda value: (values.count(value), value == getattr(shape, key)),
            default=None,
        )
        rows = [row for row in rows if row[key] == most]
    return list(rows)


def _table(page: BenchContext, rows: Sequence[Row]) -> Table:
    """Every timed training step, in every variant."""
    words, texts = page.messages, []
    for row in rows:
        value, low, high = speed(row)
        texts.append(
            (
                *page.lead(str(row["device"]), str(row["cell"])),
                str(row["variant"]),
                *page.shape_cells(row),
                page.number("step_time_s", row["step_time_s"]),
                page.number("tokens_per_second", value),
                speed_range(page, low, high),
                page.number("gflops_per_second", row["gflops_per_second"]),
                page.number("fraction_of_peak", row["fraction_of_peak"]),
                page.number("n_blocks", row["n_blocks"]),
            )
        )
    names = ("step_time_s", "tokens_per_second", "interval_speed", "gflops_per_second")
    columns = (
        *page.lead_columns(),
        Column(words("column.variant")),
        *page.shape_columns(),
        *(page.column(name) for name in (*names, "fraction_of_peak", "n_blocks")),
    )
    return Table(columns, tuple(texts), words("throughput.note"))
