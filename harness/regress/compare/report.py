"""The report of a comparison, from comparison.json. Times nothing."""

from __future__ import annotations

import functools
from pathlib import Path
from statistics import median
from typing import Final

import harness
from harness.columns import seconds, significant, size_in_bytes
from harness.regress.compare.comparison_files import (
    ComparisonRecord,
    FindingRecord,
    read_comparison,
)
from harness.regress.json_files import EstimateRecord
from harness.regress.measuring.slowdown_causes import native_difference
from harness.regress.report_parts import (
    estimated_change,
    interval_of_change,
    or_dash,
    p_value_text,
    percent_text,
    rerun_section,
    shown_facts,
    write_regress_report,
)
from harness.rendering.document import (
    BulletList,
    Column,
    ContentBlock,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
)
from harness.rendering.figures import forest_plot
from harness.rendering.messages import Messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext
from harness.rendering.sections.machine import machine_section

COMPARISON_FIGURES: Final = ("forest",)


def render_comparison(directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ beside comparison.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    record = read_comparison(directory)
    names = [*(each.name for each in record.findings), record.base.label, record.head.label]
    return write_regress_report(directory, language, names, functools.partial(_report, record))


def _report(record: ComparisonRecord, context: ReportContext) -> Report:
    messages = context.messages
    base, head = record.base.label, record.head.label
    found = (_causes(context, record), _memory(context, record), _method(context, record))
    files = messages("compare.command.files")
    return Report(
        language=messages.language,
        title=messages("compare.title", base=base, head=head),
        question=messages("compare.question", base=base, head=head),
        answer=_sentences(messages, record),
        opening=(_picture(context, record),),
        sections=(
            *(section for section in found if section is not None),
            machine_section(context, shown_facts(record.facts.base)),
            rerun_section(context, record.command, "compare", files=files),
        ),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=COMPARISON_FIGURES,
    )


def _sentences(messages: Messages, record: ComparisonRecord) -> tuple[str, ...]:
    """The verdict, each kind of finding in a sentence, what is accepted, and the canary."""
    detect = percent_text(messages, record.detect)
    sentences = [messages.of("compare.answer", record.verdict, detect=detect)]
    if native := native_difference(record.differences):
        sentences.append(messages("compare.native", base=native.base, head=native.head))
    for verdict in ("regression", "missing", "inconclusive"):
        found = [each for each in record.findings if each.verdict == verdict]
        if found and (verdict != record.verdict or verdict != "inconclusive"):
            listed = messages.listed(_with_change(messages, each) for each in found)
            sentences.append(messages.of("compare.found", verdict, names=listed))
    if faster := [_with_change(messages, each) for each in record.findings if each.improved]:
        sentences.append(messages.of("compare.found", "faster", names=messages.listed(faster)))
    sentences += [
        messages("compare.accepted", name=each.name, reason=each.accepted)
        for each in record.findings
        if each.accepted
    ]
    ratio = record.canary.ratio
    if ratio.value is not None:
        moved, interval = estimated_change(messages, ratio), interval_of_change(messages, ratio)
        sentences.append(messages("compare.canary", change=moved, interval=interval))
    return (" ".join(sentences),)


def _with_change(messages: Messages, found: FindingRecord) -> str:
    if found.ratio.value is None:
        return found.name
    change = estimated_change(messages, found.ratio)
    return messages("compare.with_change", name=found.name, change=change)


def _picture(context: ReportContext, record: ComparisonRecord) -> Picture:
    messages, detect = context.messages, record.detect
    rows = []
    for each in record.findings:
        text = messages.of("compare.verdict", each.verdict)
        rows.append(_row(each.name, each.ratio, text, stands_out=each.is_failure))
    canary = record.canary
    text = messages("compare.moved" if canary.moved else "compare.still")
    name = messages("compare.canary_row")
    rows.append(_row(name, canary.ratio, text, stands_out=canary.moved, is_quiet=True))
    axis = forest_plot.ForestAxis(
        label=messages("compare.axis"),
        change=messages("percent", value="{value}"),
        detect=detect,
        floor=detect / 2,
        detect_label=messages("compare.detect"),
    )
    caption = messages("compare.caption", n=record.n_blocks, detect=percent_text(messages, detect))
    drawing = forest_plot.forest(rows, axis)
    table = _table(context, record)
    return Picture("forest", drawing, messages("compare.description"), caption, table)


def _row(
    name: str, ratio: EstimateRecord, text: str, *, stands_out: bool, is_quiet: bool = False
) -> forest_plot.ForestRow:
    value, low, high = (
        None if each is None else each - 1 for each in (ratio.value, ratio.low, ratio.high)
    )
    return forest_plot.ForestRow(name, value, low, high, text, stands_out, is_quiet)


def _table(context: ReportContext, record: ComparisonRecord) -> Table:
    messages = context.messages
    rows = [
        (
            each.name,
            _speed(messages, each.base_sequences_per_second),
            _speed(messages, each.head_sequences_per_second),
            estimated_change(messages, each.ratio),
            interval_of_change(messages, each.ratio),
            p_value_text(messages, each.p_value),
            str(each.ratio.n),
            messages.of("compare.verdict", each.verdict),
            messages.of("compare.reason", each.reason),
        )
        for each in record.findings
    ]
    canary, none = record.canary, messages("none")
    rows.append(
        (
            *(messages("compare.canary_row"), none, none),
            estimated_change(messages, canary.ratio),
            interval_of_change(messages, canary.ratio),
            p_value_text(messages, canary.p_value),
            str(canary.ratio.n),
            messages("compare.moved" if canary.moved else "compare.still"),
            none,
        )
    )
    numbers = ("base_speed", "head_speed", "change", "interval", "p_value", "n_blocks")
    columns = (
        Column(messages("column.benchmark")),
        *(context.column(name) for name in numbers),
        Column(messages("column.verdict")),
        Column(messages("column.reason")),
    )
    return Table(columns, tuple(rows), messages("compare.note"))


def _causes(context: ReportContext, record: ComparisonRecord) -> Section | None:
    """After a regression: operators whose time grew, and differences of the environments."""
    messages = context.messages
    if not record.operators:
        return None
    blocks: list[ContentBlock] = []
    for name, operators in record.operators.items():
        if not operators:
            blocks.append(Paragraph(messages("compare.why.no_operators", name=name)))
            continue
        rows = [
            (
                each.operator,
                *map(seconds, (each.base_s, each.head_s, each.head_s - each.base_s)),
            )
            for each in operators
        ]
        names = ("base_time", "head_time", "grown")
        columns = (Column(messages("column.operator")), *(context.column(each) for each in names))
        blocks.append(Paragraph(messages("compare.why.operators", name=name)))
        blocks.append(Table(columns, tuple(rows), messages("compare.why.note")))
    differs = tuple(
        (each.name, or_dash(messages, each.base), or_dash(messages, each.head))
        for each in record.differences
    )
    if differs:
        names = ("property", "base_value", "head_value")
        columns = tuple(Column(messages(f"column.{name}")) for name in names)
        blocks += [Paragraph(messages("compare.why.differs")), Table(columns, differs)]
    else:
        blocks.append(Paragraph(messages("compare.why.alike")))
    return Section("why", messages("compare.why.title"), tuple(blocks))


def _memory(context: ReportContext, record: ComparisonRecord) -> Section | None:
    messages = context.messages
    rows = [
        (
            each.name,
            size_in_bytes(each.base_bytes or 0),
            size_in_bytes(each.head_bytes or 0),
            messages("percent", value=f"{100 * each.growth:+.1f}"),
            messages.of("compare.memory", each.verdict),
        )
        for each in record.memory
        if each.growth is not None
    ]
    if not rows:
        return None
    numbers = (context.column(name) for name in ("base_memory", "head_memory", "change"))
    columns = (Column(messages("column.benchmark")), *numbers, Column(messages("column.verdict")))
    kinds = [each.kind for each in record.memory if each.growth is not None]
    about = "cuda" if kinds[0] == "cuda_allocator" else "cpu"
    text = Paragraph(messages.of("compare.memory.about", about))
    return Section("memory", messages("compare.memory.title"), (text, Table(columns, tuple(rows))))


def _method(context: ReportContext, record: ComparisonRecord) -> Section:
    messages = context.messages
    tests = [str(test.n_blocks) for test in record.rules.looks if test.alpha > 0]
    text = messages(
        "compare.method.text",
        slice=seconds(record.pace.slice_s),
        rounds=round(median([len(block.canary) for block in record.blocks] or [0])),
        pinned=messages("compare.method.pinned") if record.pinned else "",
        blocks=record.n_blocks,
        tests=messages.listed(tests),
        detect=percent_text(messages, record.detect),
        least=percent_text(messages, record.detect / 2),
        time=seconds(record.wall_time_s),
    )
    notes = [*record.notes]
    notes += [messages("compare.method.added", name=name) for name in record.only_in_head]
    blocks: list[ContentBlock] = [Paragraph(text)]
    if notes:
        blocks.append(BulletList(tuple(notes)))
    return Section("method", messages("compare.method.title"), tuple(blocks))


def _speed(messages: Messages, value: float | None) -> str:
    return messages("not_measured") if value is None else significant(value)
