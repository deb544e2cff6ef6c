"""Training throughput against hidden size and against sequence length."""

from __future__ import annotations

import pandas as pd

from harness.rendering.document import BulletList, Column, ContentBlock, Picture, Section, Table
from harness.rendering.figures.shape_panels import (
    Quantity,
    plot_against_shape,
    speed,
    speed_interval,
)
from harness.study.report.study_context import StudyContext


def section(context: StudyContext) -> Section:
    """Tokens per second against hidden size and sequence length, by device."""
    messages, summary = context.messages, context.summary
    title = messages("throughput.title")
    table = summary.records.throughput
    if table is None or len(table) == 0:
        enabled = summary.records.spec.throughput.enabled
        reason = messages("throughput.absent" if enabled else "throughput.disabled")
        return context.not_measured("throughput", title, reason)
    timed = table[table["tokens_per_second"].notna()]
    failed = table[table["tokens_per_second"].isna()]
    lines = tuple(
        messages("throughput.failed", benchmark=row["benchmark"], reason=row["reason"])
        for row in failed.to_dict("records")
    )
    tail: tuple[ContentBlock, ...] = (BulletList(lines),) if lines else ()
    numbers = _timed(context, timed)
    grid = timed[timed["origin"] == "grid"]
    task = next((task for task in summary.tasks if (grid["task"] == task).any()), None)
    if task is None:
        return Section("throughput", title, (numbers, *tail) if len(timed) else tail)
    grid = grid[grid["task"] == task]
    picture = Picture(
        "throughput",
        plot_against_shape(context, grid, Quantity(speed, messages("throughput.y"))),
        messages("throughput.description"),
        messages("throughput.caption", machine=str(grid["device_name"].iloc[0]), task=task),
        numbers,
    )
    return Section("throughput", title, (picture, *tail))


def _timed(context: StudyContext, table: pd.DataFrame) -> Table:
    """A row for every timed benchmark."""
    messages = context.messages
    rows = []
    for row in table.to_dict("records"):
        _, low, high = speed(row)
        rows.append(
            (
                *context.task_cells(str(row["task"]), str(row["cell"])),
                str(row["device"]),
                messages.of("origin", str(row["origin"])),
                *(
                    context.number(name, row[name])
                    for name in ("hidden_size", "num_layers", "sequence_length", "batch_size")
                ),
                context.number("step_time_s", row["step_time_s"]),
                context.number("tokens_per_second", row["tokens_per_second"]),
                speed_interval(context, low, high),
                context.number("gflops_per_second", row["gflops_per_second"]),
                context.number("fraction_of_peak", row["fraction_of_peak"]),
                context.number("n_blocks", row["n_blocks"]),
            )
        )
    names = ("hidden_size", "num_layers", "sequence_length", "batch_size", "step_time_s")
    more = (
        "tokens_per_second",
        "interval_speed",
        "gflops_per_second",
        "fraction_of_peak",
        "n_blocks",
    )
    columns = (
        *context.task_columns(),
        Column(messages("column.device")),
        Column(messages("column.origin")),
        *(context.column(name) for name in (*names, *more)),
    )
    return Table(columns, tuple(rows), messages("throughput.note"))
