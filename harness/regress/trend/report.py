"""The report of a history, from trend.json: series, levels and changes of each machine."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import harness
from harness.columns import significant
from harness.regress.history import differing
from harness.regress.report_parts import (
    change_text,
    or_dash,
    rerun_section,
    shown_facts,
    write_regress_report,
)
from harness.regress.trend.change_points import ALPHA, ChangePoint
from harness.regress.trend.trend_file import TrendRecord, read_trend
from harness.regress.trend.trend_series import (
    LEAST_RECORDINGS,
    BenchmarkTrend,
    MachineTrend,
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
from harness.rendering.figures import small_multiples
from harness.rendering.messages import Messages, load_messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext
from harness.rendering.sections.machine import machine_section

MAX_MACHINES = 6  # drawn; --fingerprint draws any other
MAX_PANELS = 18
FIGURE_PREFIX = "trend-"


def render_trend(directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ beside trend.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    record = read_trend(directory)
    names = [
        name
        for one in record.machines
        for name in (*(each.name for each in one.benchmarks), *one.revisions)
    ]
    before = tuple(path.stem for path in (directory / "figures").glob(f"{FIGURE_PREFIX}*.svg"))
    return write_regress_report(
        directory, language, names, functools.partial(_report, record, before)
    )


def answer_trend(record: TrendRecord, language: str = "en") -> str:
    """The answer at the top of the report, as one text."""
    messages = load_messages(language)
    return " ".join(_sentences(messages, record))


def _report(record: TrendRecord, before: tuple[str, ...], context: ReportContext) -> Report:
    messages = context.messages
    drawn, rest = record.machines[:MAX_MACHINES], record.machines[MAX_MACHINES:]
    sections = [
        _section(context, one, drawn[i - 1] if i else None, i) for i, one in enumerate(drawn)
    ]
    if rest:
        sections.append(_others(context, rest))
    return Report(
        language=messages.language,
        title=messages("trend.title", history=record.history),
        question=messages("trend.question"),
        answer=_sentences(messages, record),
        opening=(_changes(context, drawn),),
        sections=(
            *sections,
            _method(context, record),
            machine_section(context, shown_facts(record.machines[0].machine)),
            rerun_section(context, record.command, "trend"),
        ),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=before,
    )


# --- The answer -------------------------------------------------------------------------------


def _sentences(messages: Messages, record: TrendRecord) -> tuple[str, ...]:
    """A paragraph for each machine, the newest first; then what was left out."""
    drawn = record.machines[:MAX_MACHINES]
    sentences = [_sentence(messages, one, of_many=len(record.machines) > 1) for one in drawn]
    rest = len(record.machines) - len(drawn)
    if rest:
        sentences.append(messages("trend.answer.more", n=rest))
    if record.n_left_out:
        sentences.append(messages("trend.answer.left_out", n=record.n_left_out))
    if record.torn_bytes:
        sentences.append(messages("trend.answer.torn", n=record.torn_bytes))
    return tuple(sentences)


def _sentence(messages: Messages, found: MachineTrend, *, of_many: bool) -> str:
    n = messages.of(
        "trend.recordings", "one" if len(found.revisions) == 1 else "many", n=len(found.revisions)
    )
    where = messages("trend.answer.here")
    if of_many:
        where = messages("trend.answer.there", name=_name(messages, found))
    if len(found.revisions) < LEAST_RECORDINGS:
        return messages("trend.answer.few", n=n, where=where, least=LEAST_RECORDINGS)
    if not found.changes:
        return messages("trend.answer.none", n=n, where=where)
    changed = [
        messages(
            "trend.answer.slower" if change.ratio > 1 else "trend.answer.faster",
            name=line.name,
            change=_size(messages, change),
            revision=found.revisions[change.position],
        )
        for line, change in found.changes
    ]
    text = messages("trend.answer.changed", n=n, where=where, changes=messages.listed(changed))
    if all(line.changes for line in found.benchmarks):
        return text
    return f"{text} {messages('trend.answer.others')}"


def _name(messages: Messages, found: MachineTrend) -> str:
    cpu, torch = (str(found.machine.get(name)) for name in ("cpu", "torch"))
    gpu = found.machine.get("gpu")
    return messages("trend.machine", cpu=gpu or cpu, torch=torch, fingerprint=found.fingerprint)


# --- Sections ---------------------------------------------------------------------------------


def _changes(context: ReportContext, drawn: Sequence[MachineTrend]) -> ContentBlock:
    """All change points in one table."""
    messages = context.messages
    rows = [
        (
            line.name,
            found.revisions[change.position],
            _day(found.recorded[change.position]),
            change_text(messages, change.ratio),
            significant(change.p_value, 2),
            found.fingerprint,
        )
        for found in drawn
        for line, change in found.changes
    ]
    if not rows:
        return Paragraph(messages("trend.no_changes"))
    columns = (
        Column(messages("column.benchmark")),
        Column(messages("column.revision")),
        Column(messages("column.recorded")),
        context.column("change"),
        context.column("p_value"),
        Column(messages("column.fingerprint")),
    )
    return Table(columns, tuple(rows), messages("trend.changes_note"))


def _section(
    context: ReportContext, found: MachineTrend, newer: MachineTrend | None, i: int
) -> Section:
    messages = context.messages
    n = len(found.revisions)
    first, last = (_day(found.recorded[place]) for place in (0, -1))
    key = "one" if n == 1 else "many"
    sentences = messages.of(
        "trend.about",
        key,
        n=n,
        first=found.revisions[0],
        last=found.revisions[-1],
        start=first,
        end=last,
    )
    blocks: list[ContentBlock] = [Paragraph(sentences)]
    if newer is not None:
        items = (
            messages(
                "trend.differs",
                name=messages.of("machine", each.name),
                before=or_dash(messages, each.before),
                after=or_dash(messages, each.after),
            )
            for each in differing(found.machine, newer.machine)
        )
        blocks += [
            Paragraph(messages("trend.not_joined", name=_name(messages, newer))),
            BulletList(tuple(items)),
        ]
    blocks.append(_picture(context, found))
    return Section(f"machine-{i}", _name(messages, found), tuple(blocks))


def _picture(context: ReportContext, found: MachineTrend) -> Picture:
    messages = context.messages
    changed_first = sorted(found.benchmarks, key=lambda line: not line.changes)
    kept = {line.name for line in changed_first[:MAX_PANELS]}
    lines = [line for line in found.benchmarks if line.name in kept]
    titles, alike = _titles([line.name for line in lines])
    panels = [
        _panel(messages, found, line, title) for line, title in zip(lines, titles, strict=True)
    ]
    frame = small_multiples.Frame(
        labels=found.revisions,
        x_label=messages("trend.x"),
        y_label=messages("trend.y"),
        change=messages("percent", value="{value}"),
    )
    caption = messages("trend.caption")
    if alike:
        caption = f"{caption} {messages('trend.alike', parts=messages.listed(alike))}"
    if len(panels) < len(found.benchmarks):
        caption = f"{caption} {messages('trend.panels', n=len(panels), of=len(found.benchmarks))}"
    return Picture(
        FIGURE_PREFIX + found.fingerprint,
        small_multiples.multiples(panels, frame),
        messages("trend.description", n=len(found.revisions)),
        caption,
        _levels(context, found),
    )


def _titles(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names without those parts that all have in common, and these parts."""
    split = [name.split("/") for name in names]
    if len(names) < 2 or len({len(parts) for parts in split}) != 1:
        return list(names), []
    differ = [len(set(column)) > 1 for column in zip(*split, strict=True)]
    if not any(differ):
        return list(names), []
    titles = ["/".join(p for p, kept in zip(parts, differ, strict=True) if kept) for parts in split]
    return titles, [p for p, kept in zip(split[0], differ, strict=True) if not kept]


def _panel(
    messages: Messages, found: MachineTrend, line: BenchmarkTrend, title: str
) -> small_multiples.Panel:
    levels = line.levels
    steps = [
        small_multiples.LevelSpan(each.start, each.end, each.value / levels[0].value)
        for each in levels
    ]
    marks = [
        small_multiples.LevelChange(
            change.position,
            change_text(messages, change.ratio),
            found.revisions[change.position],
            worse=change.ratio > 1,
        )
        for change in line.changes
    ]
    return small_multiples.Panel(title, line.relative(), steps, marks)


def _levels(context: ReportContext, found: MachineTrend) -> Table:
    messages = context.messages
    rows = []
    for line in found.benchmarks:
        levels = line.levels
        if not levels:
            none = messages("none")
            rows.append(
                (line.name, "0", messages("not_measured"), messages("not_measured"), none, none)
            )
            continue
        first, last = levels[0].value, levels[-1].value
        ratio = last / first
        rows.append(
            (
                line.name,
                str(line.n_known),
                significant(first),
                significant(last),
                change_text(messages, ratio) if line.changes else messages("none"),
                str(len(line.changes)),
            )
        )
    numbers = ("n_recordings", "first_level", "last_level", "change", "n_changes")
    columns = (Column(messages("column.benchmark")), *(context.column(name) for name in numbers))
    return Table(columns, tuple(rows), messages("trend.levels_note"))


def _others(context: ReportContext, rest: Sequence[MachineTrend]) -> Section:
    """Machines that are not drawn."""
    messages = context.messages
    rows = [
        (
            _name(messages, found),
            str(len(found.revisions)),
            _day(found.recorded[-1]),
            str(len(found.changes)),
        )
        for found in rest
    ]
    columns = (
        Column(messages("column.machine")),
        context.column("n_recordings"),
        Column(messages("column.recorded")),
        context.column("n_changes"),
    )
    blocks = (Paragraph(messages("trend.others_about")), Table(columns, tuple(rows)))
    return Section("others", messages("trend.others_title"), blocks)


def _method(context: ReportContext, record: TrendRecord) -> Section:
    messages = context.messages
    text = messages("trend.method.text", alpha=f"{100 * ALPHA:g}", seed=record.seed)
    return Section(
        "method",
        messages("trend.method.title"),
        (Paragraph(text), Paragraph(messages("trend.method.caveat"))),
    )


def _size(messages: Messages, change: ChangePoint) -> str:
    return messages("percent", value=f"{100 * abs(change.ratio - 1):.1f}")


def _day(recorded: str) -> str:
    """A date without its time, as `record` writes it; any other text as it is."""
    return recorded.partition("T")[0] if recorded[10:11] == "T" else recorded
