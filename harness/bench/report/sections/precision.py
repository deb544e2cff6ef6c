"""Each variant against a float64 reference before it was timed, and what compiling took."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import Row
from harness.columns import whole
from harness.rendering.document import Block, Column, Paragraph, Section, Table


def section(page: BenchContext) -> Section:
    """The largest errors of each variant.

    The time and the graph breaks of those that were compiled.
    """
    words = page.messages
    title = words("precision.title")
    found = [(name, rows) for name, rows in _groups(page) if _largest(rows, "loss_error")]
    compiled = [row for row in page.timings.timed if row["compile_time_s"] > 0]
    if not found and not compiled:
        return page.not_measured("precision", title, words("precision.absent"))
    blocks: list[Block] = []
    if found:
        blocks += [Paragraph(words("precision.intro")), _errors(page, found)]
    if compiled:
        blocks += [Paragraph(words("precision.compiled")), _compiled(page, compiled)]
    return Section("precision", title, tuple(blocks))


def _groups(page: BenchContext) -> list[tuple[tuple[str, str], list[Row]]]:
    timings = page.timings
    found = []
    for key in itertools.product(timings.devices, timings.variants):
        rows: list[Row] = [row for row in timings.rows if (row["device"], row["variant"]) == key]
        if rows:
            found.append((key, rows))
    return found


def _largest(rows: Sequence[Row], name: str) -> Row | None:
    """The row with the largest error; None where none is known."""
    known = [row for row in rows if not math.isnan(row[name])]
    return max(known, key=lambda row: float(row[name]), default=None)


def _errors(page: BenchContext, found: Sequence[tuple[tuple[str, str], list[Row]]]) -> Table:
    texts = []
    for (device, variant), rows in found:
        n = sum(not math.isnan(row["loss_error"]) for row in rows)
        lead = (device, variant) if page.many_devices else (variant,)
        errors = []
        for name in ("loss_error", "gradient_error"):
            row = _largest(rows, name)
            errors.append(page.number(name, None if row is None else row[name]))
            errors.append("" if row is None else str(row["cell"]))
        texts.append((*lead, *errors, whole(n)))
    devices = (Column(page.messages("column.device"), "group"),) if page.many_devices else ()
    cell = Column(page.messages("column.of_cell"), "cell")
    columns = (
        *devices,
        Column(page.messages("column.variant")),
        *(page.column("loss_error"), cell, page.column("gradient_error"), cell),
        page.column("n_rows"),
    )
    return Table(columns, tuple(texts), page.messages("precision.note"))


def _compiled(page: BenchContext, rows: Sequence[Row]) -> Table:
    texts = tuple(
        (
            *page.lead(str(row["device"]), str(row["cell"])),
            *page.shape_cells(row),
            page.number("compile_time_s", row["compile_time_s"]),
            page.number("graph_breaks", row["graph_breaks"]),
        )
        for row in rows
    )
    columns = (
        *page.lead_columns(),
        *page.shape_columns(),
        *(page.column(name) for name in ("compile_time_s", "graph_breaks")),
    )
    return Table(columns, texts, page.messages("precision.compiled_note"))
