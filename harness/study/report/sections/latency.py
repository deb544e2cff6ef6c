"""Latency of one step, bytes and memory span of each winner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from harness.columns import COLUMNS, whole
from harness.rendering import theme
from harness.rendering.document import BulletList, ContentBlock, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.sections.inference import (
    inference_failures,
    inference_table,
    set_time_axis,
    time_texts,
)
from harness.stats import CellComparison
from harness.study.report.sections.memory_speed import span_point
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory

# Budgets are rounded up to these multiples of a power of ten.
BUDGET_STEPS = (1.0, 2.0, 5.0, 10.0)
# A larger number of a unit of bytes is written in the next unit.
LARGEST_OF_UNIT = 1000
SIZE_UNITS = ("B", "KiB", "MiB", "GiB")


@dataclasses.dataclass(frozen=True)
class Deployed:
    """A winner in float32: its row of inference.csv, and the memory of its cell."""

    row: Mapping[Any, Any]
    memory: Memory

    @property
    def cell(self) -> str:
        """Its cell's label."""
        return self.memory.cell

    @property
    def time_us(self) -> float:
        """Median time of one step."""
        return float(self.row["median_us"])

    @property
    def bytes_held(self) -> float:
        """Bytes of weights and state."""
        return float(self.row["weights_bytes"]) + float(self.row["state_bytes"])


def section(context: StudyContext) -> Section:
    """Latency, bytes and memory spans of the winners, and the best cell within each budget."""
    messages, summary = context.messages, context.summary
    title, table = messages("latency.title"), summary.records.inference
    if table is None or len(table) == 0:
        enabled = summary.records.spec.throughput.enabled
        reason = messages("latency.absent" if enabled else "latency.disabled")
        return context.not_measured("latency", title, reason)
    found = {task: deployed(context, task, table) for task in summary.tasks}
    found = {task: those for task, those in found.items() if those}
    blocks: list[ContentBlock] = []
    if found and summary.has_ladder:
        lines = tuple(
            line for task, those in found.items() for line in budget_sentences(context, task, those)
        )
        blocks += (
            [BulletList(lines), Paragraph(messages("latency.budgets"), quiet=True)] if lines else []
        )
        blocks.append(_picture(context, found))
    timed = table[table["median_us"].notna()]
    if len(timed):
        blocks.append(inference_table(context, timed, shapes=False, folded=bool(blocks)))
    return Section("latency", title, (*blocks, *inference_failures(context, table)))


def deployed(context: StudyContext, task: str, table: pd.DataFrame) -> list[Deployed]:
    """The winners on a task with a float32 step time and a memory span, in the study's order."""
    rows = table[(table["task"] == task) & table["median_us"].notna()]
    rows = rows[(rows["dtype"] == "float32") & (rows["measure"] == "step")]
    found = []
    for cell in context.cells:
        own, memory = rows[rows["cell"] == cell], context.summary.memory.get((task, cell))
        if len(own) and memory is not None and memory.span.value is not None:
            found.append(Deployed(own.iloc[0].to_dict(), memory))
    return found


def budget_sentences(context: StudyContext, task: str, winners: Sequence[Deployed]) -> list[str]:
    """The best cell within each budget, as far as the study's comparison shows it.

    A budget is the time and size of a winner, rounded up. One winner alone gives no sentence.
    """
    if len(winners) < 2:
        return []
    budgets = {(round_up(each.time_us), round_up_bytes(each.bytes_held)) for each in winners}
    sentences = []
    for time_us, size in sorted(budgets):
        within = [each for each in winners if each.time_us <= time_us and each.bytes_held <= size]
        text = _best(context, within, context.summary.comparisons.get(task, ()), (time_us, size))
        if context.many_tasks:
            text = context.messages("latency.of_task", task=task, sentence=text)
        sentences.append(text)
    return sentences


def round_up(value: float) -> float:
    """A positive number rounded up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in BUDGET_STEPS if step * power >= value * (1 - 1e-9))


def round_up_bytes(size: float) -> float:
    """Bytes rounded up to 1, 2 or 5 times a power of ten of their binary unit."""
    unit = 1.0
    while size > LARGEST_OF_UNIT * unit and unit < 1024.0 ** (len(SIZE_UNITS) - 1):
        unit *= 1024.0
    return round_up(max(size / unit, 1.0)) * unit


def _best(
    context: StudyContext,
    within: Sequence[Deployed],
    comparisons: Sequence[CellComparison],
    budget: tuple[float, float],
) -> str:
    """The sentence on the best of the winners within a budget."""
    messages = context.messages
    verdicts = {frozenset((each.first, each.second)): each for each in comparisons}

    def verdict(one: Deployed, other: Deployed) -> CellComparison | None:
        return verdicts.get(frozenset((one.cell, other.cell)))

    def longer(one: Deployed, other: Deployed) -> bool:
        found = verdict(one, other)
        return found is not None and found.longer == one.cell

    def named(each: Deployed) -> str:
        span = context.span(each.memory.span, each.memory.ladder)
        return messages("latency.cell", cell=each.cell, span=span)

    time, size = messages("latency.us", value=whole(budget[0])), _size(context, budget[1])
    if len(within) == 1:
        return messages("latency.alone", cell=named(within[0]), time=time, size=size)
    unbeaten = [one for one in within if not any(longer(other, one) for other in within)]
    best = max(unbeaten or within, key=lambda each: each.memory.span.value or 0.0)
    others = [each for each in within if each is not best]
    rivals = [each for each in others if not longer(best, each)]
    if not rivals:
        return messages("latency.best", cell=named(best), time=time, size=size)
    pairs = [verdict(best, each) for each in rivals]
    if any(pair is None or pair.verdict != "no_difference_shown" for pair in pairs):
        every = messages.listed([named(each) for each in within])
        return messages("latency.values", cells=every, time=time, size=size)
    cells = messages.listed([named(each) for each in (best, *rivals)])
    against = messages("latency.tied_or").join(each.cell for each in rivals)
    return messages(
        "latency.tied", cells=cells, cell=best.cell, others=against, time=time, size=size
    )


def _size(context: StudyContext, size: float) -> str:
    """The text of a budget of bytes, in its unit."""
    power = max(i for i in range(len(SIZE_UNITS)) if size >= 1024.0**i)
    return context.messages(
        "latency.size", value=whole(size / 1024.0**power), unit=SIZE_UNITS[power]
    )


def _picture(context: StudyContext, found: Mapping[str, Sequence[Deployed]]) -> Picture:
    """Memory span against the time of one step, a panel for each task."""
    messages, n = context.messages, len(found)
    drawing, panels = theme.grid(n, columns=2, height=3.1 if n == 1 else 2.5, sharey=False)
    spots, rows = {}, []
    for axes, (task, winners) in zip(panels, found.items(), strict=True):
        if context.many_tasks:
            axes.set_title(task)
        spots[axes] = _points(context, axes, winners)
        axes.set_xlabel(messages("latency.x"))
        rows += [_row(context, task, each) for each in winners]
    panels[0].set_ylabel(messages("latency.y"))
    direct_labels.label_points(drawing, spots)
    columns = (
        *context.task_columns(),
        *(context.column(name) for name in ("memory_span", "interval")),
        *(context.column(name) for name in ("median_us", "interval_median", "p99_us")),
        *(context.column(name) for name in ("weights_bytes", "state_bytes")),
        *(context.column(name) for name in ("hidden_size", "num_layers")),
    )
    return Picture(
        "latency",
        drawing,
        messages("latency.description"),
        messages("latency.caption"),
        Table(columns, tuple(rows), messages("latency.note_figure")),
    )


def _points(
    context: StudyContext, axes: Axes, winners: Sequence[Deployed]
) -> list[direct_labels.LabelledPoint]:
    axes.set_xscale("log")
    spots = []
    for each in winners:
        style, row = context.styles[each.cell], each.row
        at = (each.time_us, float(row["median_low_us"]), float(row["median_high_us"]))
        text = context.messages(
            "latency.point",
            cell=each.cell,
            span=context.span(each.memory.span, each.memory.ladder),
            size=COLUMNS["weights_bytes"].text(each.bytes_held),
        )
        spots.append(span_point(axes, each.memory, at, style, text))
    axes.margins(x=0.3, y=0.14)
    axes.set_ylim(bottom=0)
    set_time_axis(context, axes)
    return spots


def _row(context: StudyContext, task: str, each: Deployed) -> tuple[str, ...]:
    row, memory = each.row, each.memory
    return (
        *context.task_cells(task, each.cell),
        context.span(memory.span, memory.ladder),
        context.span_interval(memory.span, memory.ladder),
        *time_texts(context, row, "median"),
        context.number("p99_us", row["p99_us"]),
        *(context.number(name, row[name]) for name in ("weights_bytes", "state_bytes")),
        *(context.number(name, row[name]) for name in ("hidden_size", "num_layers")),
    )
