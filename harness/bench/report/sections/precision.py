"""The error of each variant against a float64 reference, and the time of compiling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import ThroughputRow
from harness.columns import whole
from harness.rendering.document import Column, ContentBlock, Paragraph, Section, Table


def section(context: BenchContext) -> Section:
    """A table of the largest errors of each variant, and one of compile times and graph breaks."""
    messages = context.messages
    title = messages("precision.title")
    found = [(name, rows) for name, rows in _groups(context) if _largest(rows, "loss_error")]
    compiled = [row for row in context.timings.timed if row["compile_time_s"] > 0]
    if not found and not compiled:
        return context.not_measured("precision", title, messages("precision.absent"))
    blocks: list[ContentBlock] = []
    if found:
        blocks += [Paragraph(messages("precision.intro")), _errors(context, found)]
    if compiled:
        blocks += [Paragraph(messages("precision.compiled")), _compiled(context, compiled)]
    return Section("precision", title, tuple(blocks))


def _groups(context: BenchContext) -> list[tuple[tuple[str, str], list[ThroughputRow]]]:
    timings = context.timings
    found = []
    for key in itertools.product(timings.devices, timings.variants):
        rows: list[ThroughputRow] = [
            row for row in timings.rows if (row["device"], row["variant"]) == key
        ]
        if rows:
            found.append((key, rows))
    return found


def _largest(rows: Sequence[ThroughputRow], name: str) -> ThroughputRow | None:
    """The row with the largest error; None if no error is known."""
    known = [row for row in rows if not math.isnan(row[name])]
    return max(known, key=lambda row: float(row[name]), default=None)


def _errors(
    context: BenchContext, found: Sequence[tuple[tuple[str, str], list[ThroughputRow]]]
) -> Table:
    texts = []
    for (device, variant), rows in found:
        n = sum(not math.isnan(row["loss_error"]) for row in rows)
        lead = (device, variant) if context.many_devices else (variant,)
        errors = []
        for name in ("loss_error", "gradient_error"):
            row = _largest(rows, name)
            errors.append(context.number(name, None if row is None else row[name]))
            errors.append("" if row is None else str(row["cell"]))
        texts.append((*lead, *errors, whole(n)))
    devices = (Column(context.messages("column.device"), "group"),) if context.many_devices else ()
    cell = Column(context.messages("column.of_cell"), "cell")
    columns = (
        *devices,
        Column(context.messages("column.variant")),
        *(context.column("loss_error"), cell, context.column("gradient_error"), cell),
        context.column("n_rows"),
    )
    return Table(columns, tuple(texts), context.messages("precision.note"))


def _compiled(context: BenchContext, rows: Sequence[ThroughputRow]) -> Table:
    texts = tuple(
        (
            *context.lead(str(row["device"]), str(row["cell"])),
            *context.shape_cells(row),
            context.number("compile_time_s", row["compile_time_s"]),
            context.number("graph_breaks", row["graph_breaks"]),
        )
        for row in rows
    )
    columns = (
        *context.lead_columns(),
        *context.shape_columns(),
        *(context.column(name) for name in ("compile_time_s", "graph_breaks")),
    )
    return Table(columns, texts, context.messages("precision.compiled_note"))
