"""The most memory that a training step held, against hidden size and length."""

from __future__ import annotations

import pandas as pd

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.sections.throughput import drawn
from harness.rendering.document import Column, Picture, Section, Table
from harness.rendering.figures.shape_panels import OTHER, Estimated, Quantity, Row, against_shape

MIB = 2.0**20


def section(page: BenchContext) -> Section:
    """The picture where a size was varied; every measured step in its table."""
    words, timings = page.messages, page.timings
    title = words("peak_memory.title")
    known = [row for row in timings.steps if row["peak_memory_bytes"] > 0]
    if not known:
        return page.not_measured("peak_memory", title, words("peak_memory.absent"))
    columns = (
        *page.lead_columns(),
        Column(words("column.variant")),
        *page.shape_columns(),
        page.column("peak_memory_bytes"),
    )
    texts = tuple(
        (
            *page.lead(str(row["device"]), str(row["cell"])),
            str(row["variant"]),
            *page.shape_cells(row),
            page.number("peak_memory_bytes", row["peak_memory_bytes"]),
        )
        for row in known
    )
    table = Table(columns, texts, words("peak_memory.note"))
    rows = [row for device in timings.devices for row in timings.comparable(device)]
    rows = drawn(page, [row for row in rows if row["peak_memory_bytes"] > 0])
    sizes = tuple(name for name in OTHER if len({row[name] for row in rows}) > 1)
    if not sizes:
        return Section("peak_memory", title, (table,))
    memory = Quantity(_mebibytes, words("peak_memory.y"), is_log=False)
    drawing = against_shape(page, pd.DataFrame(rows), memory, sizes)
    caption = words("peak_memory.caption", variant=rows[0]["variant"])
    picture = Picture("peak_memory", drawing, words("peak_memory.description"), caption, table)
    return Section("peak_memory", title, (picture,))


def _mebibytes(row: Row) -> Estimated:
    """Peak memory in MiB; one measurement has no interval."""
    value = float(row["peak_memory_bytes"]) / MIB
    return value, value, value
