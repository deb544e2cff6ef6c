"""The report of a history, from trend.json.

For each machine its series, their levels and where they changed. Records nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import harness
from harness.columns import significant
from harness.regress.trend.change_points import ALPHA, ChangePoint
from harness.regress.trend.records import TrendRecord, read_trend
from harness.regress.trend.trend_series import LEAST_RECORDINGS, Line, MachineTrend, differing
from harness.rendering import fonts, messages, render, theme
from harness.rendering.document import (
    Block,
    BulletList,
    Code,
    Column,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
)
from harness.rendering.figures import small_multiples
from harness.rendering.render import Answer
from harness.rendering.report_context import ReportContext, command
from harness.rendering.sections.machine import machine as machine_section

MOST_MACHINES = 6  # drawn; --fingerprint draws any other
MOST_PANELS = 18
PREFIX = "trend-"


def render_trend(directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md and figures/ beside trend.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    record = read_trend(directory)
    words = messages.load(language)
    drawn = [*words.texts.values()]
    for one in record.machines:
        drawn += [*(line.name for line in one.lines), *one.revisions]
    page = ReportContext(words, {}, fonts.choose(drawn), command(directory), (), ())
    before = tuple(path.stem for path in (directory / "figures").glob(f"{PREFIX}*.svg"))
    with theme.style(page.fonts.families):
        return render.write(_report(page, record, before), page, directory, ())


def answer_trend(record: TrendRecord, language: str = "en") -> str:
    """What the report says at its top, as one text."""
    words = messages.load(language)
    return " ".join(_sentences(words, record))


def _report(page: ReportContext, record: TrendRecord, before: tuple[str, ...]) -> Report:
    words = page.messages
    drawn, rest = record.machines[:MOST_MACHINES], record.machines[MOST_MACHINES:]
    sections = [_section(page, one, drawn[i - 1] if i else None, i) for i, one in enumerate(drawn)]
    if rest:
        sections.append(_others(page, rest))
    newest = record.machines[0].machine
    facts = {name: newest[name] for name in newest if name != "cpu_flags"}
    return Report(
        language=words.language,
        title=words("trend.title", history=record.history),
        question=words("trend.question"),
        answer=_sentences(words, record),
        opening=(_changes(page, drawn),),
        sections=(
            *sections,
            _method(page, record),
            machine_section(page, facts),
            _command(page, record),
        ),
        command=page.command,
        footer=words("page.made_by", version=harness.__version__),
        figures=before,
    )


# --- The answer -------------------------------------------------------------------------------


def _sentences(words: messages.Messages, record: TrendRecord) -> tuple[str, ...]:
    """A paragraph for each machine, the newest first; then what was left out."""
    drawn = record.machines[:MOST_MACHINES]
    said = [_sentence(words, one, of_many=len(record.machines) > 1) for one in drawn]
    rest = len(record.machines) - len(drawn)
    if rest:
        said.append(words("trend.answer.more", n=rest))
    if record.n_left_out:
        said.append(words("trend.answer.left_out", n=record.n_left_out))
    if record.torn_bytes:
        said.append(words("trend.answer.torn", n=record.torn_bytes))
    return tuple(said)


def _sentence(words: messages.Messages, found: MachineTrend, *, of_many: bool) -> str:
    n = words.of(
        "trend.recordings", "one" if len(found.revisions) == 1 else "many", n=len(found.revisions)
    )
    where = words("trend.answer.here")
    if of_many:
        where = words("trend.answer.there", name=_name(words, found))
    if len(found.revisions) < LEAST_RECORDINGS:
        return words("trend.answer.few", n=n, where=where, least=LEAST_RECORDINGS)
    if not found.changes:
        return words("trend.answer.none", n=n, where=where)
    changed = [
        words(
            "trend.answer.slower" if change.ratio > 1 else "trend.answer.faster",
            name=line.name,
            change=_size(words, change),
            revision=found.revisions[change.position],
        )
        for line, change in found.changes
    ]
    text = words("trend.answer.changed", n=n, where=where, changes=words.listed(changed))
    if all(line.changes for line in found.lines):
        return text
    return f"{text} {words('trend.answer.others')}"


def _name(words: messages.Messages, found: MachineTrend) -> str:
    cpu, torch = (str(found.machine.get(name)) for name in ("cpu", "torch"))
    gpu = found.machine.get("gpu")
    return words("trend.machine", cpu=gpu or cpu, torch=torch, fingerprint=found.fingerprint)


# --- Sections ---------------------------------------------------------------------------------


def _changes(page: ReportContext, drawn: Sequence[MachineTrend]) -> Block:
    """All change points in one table."""
    words = page.messages
    rows = [
        (
            line.name,
            found.revisions[change.position],
            _day(found.recorded[change.position]),
            _change(words, change),
            significant(change.p_value, 2),
            found.fingerprint,
        )
        for found in drawn
        for line, change in found.changes
    ]
    if not rows:
        return Paragraph(words("trend.no_changes"))
    columns = (
        Column(words("column.benchmark")),
        Column(words("column.revision")),
        Column(words("column.recorded")),
        page.column("change"),
        page.column("p_value"),
        Column(words("column.fingerprint")),
    )
    return Table(columns, tuple(rows), words("trend.changes_note"))


def _section(
    page: ReportContext, found: MachineTrend, newer: MachineTrend | None, i: int
) -> Section:
    words = page.messages
    n = len(found.revisions)
    first, last = (_day(found.recorded[place]) for place in (0, -1))
    key = "one" if n == 1 else "many"
    said = words.of(
        "trend.about",
        key,
        n=n,
        first=found.revisions[0],
        last=found.revisions[-1],
        start=first,
        end=last,
    )
    blocks: list[Block] = [Paragraph(said)]
    if newer is not None:
        differs = differing(found.machine, newer.machine)
        items = (
            words(
                "trend.differs",
                name=words.of("machine", name),
                before=before or words("none"),
                after=after or words("none"),
            )
            for name, before, after in differs
        )
        blocks += [
            Paragraph(words("trend.not_joined", name=_name(words, newer))),
            BulletList(tuple(items)),
        ]
    blocks.append(_picture(page, found))
    return Section(f"machine-{i}", _name(words, found), tuple(blocks))


def _picture(page: ReportContext, found: MachineTrend) -> Picture:
    words = page.messages
    changed_first = sorted(found.lines, key=lambda line: not line.changes)
    kept = {line.name for line in changed_first[:MOST_PANELS]}
    lines = [line for line in found.lines if line.name in kept]
    titles, alike = _titles([line.name for line in lines])
    panels = [_panel(words, found, line, title) for line, title in zip(lines, titles, strict=True)]
    frame = small_multiples.Frame(
        labels=found.revisions,
        x_label=words("trend.x"),
        y_label=words("trend.y"),
        change=words("percent", value="{value}"),
    )
    caption = words("trend.caption")
    if alike:
        caption = f"{caption} {words('trend.alike', parts=words.listed(alike))}"
    if len(panels) < len(found.lines):
        caption = f"{caption} {words('trend.panels', n=len(panels), of=len(found.lines))}"
    return Picture(
        PREFIX + found.fingerprint,
        small_multiples.multiples(panels, frame),
        words("trend.description", n=len(found.revisions)),
        caption,
        _levels(page, found),
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
    words: messages.Messages, found: MachineTrend, line: Line, title: str
) -> small_multiples.Panel:
    levels = line.levels
    steps = [
        small_multiples.Step(each.start, each.end, each.value / levels[0].value) for each in levels
    ]
    marks = [
        small_multiples.Mark(
            change.position,
            _change(words, change),
            found.revisions[change.position],
            worse=change.ratio > 1,
        )
        for change in line.changes
    ]
    return small_multiples.Panel(title, line.relative(), steps, marks)


def _levels(page: ReportContext, found: MachineTrend) -> Table:
    words = page.messages
    rows = []
    for line in found.lines:
        levels = line.levels
        if not levels:
            none = words("none")
            rows.append((line.name, "0", words("not_measured"), words("not_measured"), none, none))
            continue
        first, last = levels[0].value, levels[-1].value
        ratio = last / first
        rows.append(
            (
                line.name,
                str(line.n_known),
                significant(first),
                significant(last),
                _percent(words, ratio) if line.changes else words("none"),
                str(len(line.changes)),
            )
        )
    numbers = ("n_recordings", "first_level", "last_level", "change", "n_changes")
    columns = (Column(words("column.benchmark")), *(page.column(name) for name in numbers))
    return Table(columns, tuple(rows), words("trend.levels_note"))


def _others(page: ReportContext, rest: Sequence[MachineTrend]) -> Section:
    """Machines that are not drawn."""
    words = page.messages
    rows = [
        (
            _name(words, found),
            str(len(found.revisions)),
            _day(found.recorded[-1]),
            str(len(found.changes)),
        )
        for found in rest
    ]
    columns = (
        Column(words("column.machine")),
        page.column("n_recordings"),
        Column(words("column.recorded")),
        page.column("n_changes"),
    )
    blocks = (Paragraph(words("trend.others_about")), Table(columns, tuple(rows)))
    return Section("others", words("trend.others_title"), blocks)


def _method(page: ReportContext, record: TrendRecord) -> Section:
    words = page.messages
    text = words("trend.method.text", alpha=f"{100 * ALPHA:g}", seed=record.seed)
    return Section(
        "method",
        words("trend.method.title"),
        (Paragraph(text), Paragraph(words("trend.method.caveat"))),
    )


def _command(page: ReportContext, record: TrendRecord) -> Section:
    words = page.messages
    blocks: list[Block] = []
    if record.command:
        blocks += [Paragraph(words("trend.command.run")), Code(record.command)]
    blocks += [Paragraph(words("trend.command.report")), Code(page.command)]
    return Section("command", words("command.title"), tuple(blocks))


# --- Texts ------------------------------------------------------------------------------------


def _change(words: messages.Messages, change: ChangePoint) -> str:
    return _percent(words, change.ratio)


def _percent(words: messages.Messages, ratio: float) -> str:
    return words("percent", value=f"{100 * (ratio - 1):+.1f}")


def _size(words: messages.Messages, change: ChangePoint) -> str:
    return words("percent", value=f"{100 * abs(change.ratio - 1):.1f}")


def _day(recorded: str) -> str:
    """A date without its time, as `record` writes it; any other text as it is."""
    return recorded.partition("T")[0] if recorded[10:11] == "T" else recorded
