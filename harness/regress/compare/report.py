"""The report of a comparison of two sides, from comparison.json. Times nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import harness
from harness.columns import seconds, significant, size_in_bytes
from harness.regress.compare.records import read_comparison
from harness.rendering import fonts, render, theme
from harness.rendering.document import (
    BulletList,
    Code,
    Column,
    ContentBlock,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
)
from harness.rendering.figures import forest_plot
from harness.rendering.messages import load_messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext, report_command
from harness.rendering.sections.machine import machine_section

FIGURES = ("forest",)
Plain = Mapping[str, Any]


def render_comparison(directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ beside comparison.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    plain = read_comparison(directory)
    messages = load_messages(language)
    drawn = [
        *messages.texts.values(),
        *_names(plain),
        plain["base"]["label"],
        plain["head"]["label"],
    ]
    context = ReportContext(messages, {}, fonts.choose(drawn), report_command(directory), (), ())
    with theme.style(context.fonts.families):
        return render.write_report(_report(context, plain), context, directory, ())


def _names(plain: Plain) -> list[str]:
    return [str(each["name"]) for each in plain["findings"]]


def _report(context: ReportContext, plain: Plain) -> Report:
    messages = context.messages
    base, head = (str(plain[side]["label"]) for side in ("base", "head"))
    sections = [_why(context, plain), _memory(context, plain), _method(context, plain)]
    return Report(
        language=messages.language,
        title=messages("compare.title", base=base, head=head),
        question=messages("compare.question", base=base, head=head),
        answer=_sentences(context, plain),
        opening=(_picture(context, plain),),
        sections=(
            *(section for section in sections if section is not None),
            machine_section(context, _facts(plain)),
            _command(context, plain),
        ),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=FIGURES,
    )


def _sentences(context: ReportContext, plain: Plain) -> tuple[str, ...]:
    """The verdict, each kind of finding in a sentence, the canary, and what is accepted."""
    messages = context.messages
    detect = _percent(context, plain["detect"])
    said = [messages.of("compare.answer", plain["verdict"], detect=detect)]
    for verdict in ("regression", "missing", "inconclusive"):
        found = [each for each in plain["findings"] if each["verdict"] == verdict]
        if found and (verdict != plain["verdict"] or verdict != "inconclusive"):
            listed = messages.listed(_with_change(context, each) for each in found)
            said.append(messages.of("compare.found", verdict, names=listed))
    faster = [_with_change(context, each) for each in plain["findings"] if each["improved"]]
    if faster:
        said.append(messages.of("compare.found", "faster", names=messages.listed(faster)))
    said += [
        messages("compare.accepted", name=each["name"], reason=each["accepted"])
        for each in plain["findings"]
        if each["accepted"]
    ]
    ratio = plain["canary"]["ratio"]
    if ratio["value"] is not None:
        said.append(
            messages(
                "compare.canary", change=_change(context, ratio), interval=_ends(context, ratio)
            )
        )
    return (" ".join(said),)


def _with_change(context: ReportContext, found: Plain) -> str:
    if found["ratio"]["value"] is None:
        return str(found["name"])
    change = _change(context, found["ratio"])
    return context.messages("compare.with_change", name=found["name"], change=change)


def _picture(context: ReportContext, plain: Plain) -> Picture:
    messages, detect = context.messages, plain["detect"]
    rows = []
    for each in plain["findings"]:
        fails = each["verdict"] in ("regression", "missing") and not each["accepted"]
        text = messages.of("compare.verdict", each["verdict"])
        rows.append(_row(each["name"], each["ratio"], text, stands_out=fails))
    canary = plain["canary"]
    text = messages("compare.moved" if canary["moved"] else "compare.still")
    name = messages("compare.canary_row")
    rows.append(_row(name, canary["ratio"], text, stands_out=canary["moved"], is_quiet=True))
    axis = forest_plot.ForestAxis(
        label=messages("compare.axis"),
        change=messages("percent", value="{value}"),
        detect=detect,
        floor=detect / 2,
        detect_label=messages("compare.detect"),
    )
    caption = messages("compare.caption", n=plain["n_blocks"], detect=_percent(context, detect))
    drawing = forest_plot.forest(rows, axis)
    return Picture(
        "forest", drawing, messages("compare.description"), caption, _table(context, plain)
    )


def _row(
    name: str, ratio: Plain, text: str, *, stands_out: bool = False, is_quiet: bool = False
) -> forest_plot.ForestRow:
    value, low, high = (
        None if ratio[key] is None else ratio[key] - 1 for key in ("value", "low", "high")
    )
    return forest_plot.ForestRow(name, value, low, high, text, stands_out, is_quiet)


def _table(context: ReportContext, plain: Plain) -> Table:
    messages = context.messages
    rows = [
        (
            each["name"],
            *(_speed(context, each[f"{side}_sequences_per_second"]) for side in ("base", "head")),
            _change(context, each["ratio"]),
            _ends(context, each["ratio"]),
            messages("none") if each["p_value"] is None else significant(each["p_value"], 2),
            str(each["ratio"]["n"]),
            messages.of("compare.verdict", each["verdict"]),
            messages.of("compare.reason", each["reason"]),
        )
        for each in plain["findings"]
    ]
    canary = plain["canary"]
    ratio, none = canary["ratio"], messages("none")
    moved = messages("compare.moved" if canary["moved"] else "compare.still")
    p_value = significant(canary["p_value"], 2)
    last = (
        messages("compare.canary_row"),
        none,
        none,
        _change(context, ratio),
        _ends(context, ratio),
    )
    rows.append((*last, p_value, str(ratio["n"]), moved, none))
    numbers = ("base_speed", "head_speed", "change", "interval", "p_value", "n_blocks")
    columns = (
        Column(messages("column.benchmark")),
        *(context.column(name) for name in numbers),
        Column(messages("column.verdict")),
        Column(messages("column.reason")),
    )
    return Table(columns, tuple(rows), messages("compare.note"))


def _why(context: ReportContext, plain: Plain) -> Section | None:
    """Where there is a regression.

    What differs between the environments, and the operators that grew most.
    """
    messages = context.messages
    if not plain["operators"]:
        return None
    blocks: list[ContentBlock] = []
    for name, operators in plain["operators"].items():
        if not operators:
            blocks.append(Paragraph(messages("compare.why.no_operators", name=name)))
            continue
        rows = [
            (
                each["operator"],
                *(seconds(each[f"{side}_s"]) for side in ("base", "head")),
                seconds(each["head_s"] - each["base_s"]),
            )
            for each in operators
        ]
        blocks.append(Paragraph(messages("compare.why.operators", name=name)))
        names = ("base_time", "head_time", "grown")
        columns = (Column(messages("column.operator")), *(context.column(each) for each in names))
        blocks.append(Table(columns, tuple(rows), messages("compare.why.note")))
    differs = [
        (
            each["name"],
            *(messages("none") if each[s] is None else each[s] for s in ("base", "head")),
        )
        for each in plain["differences"]
    ]
    if differs:
        columns = tuple(
            Column(messages(f"column.{name}")) for name in ("property", "base_value", "head_value")
        )
        blocks += [Paragraph(messages("compare.why.differs")), Table(columns, tuple(differs))]
    else:
        blocks.append(Paragraph(messages("compare.why.alike")))
    return Section("why", messages("compare.why.title"), tuple(blocks))


def _memory(context: ReportContext, plain: Plain) -> Section | None:
    messages = context.messages
    known = [each for each in plain["memory"] if each["growth"] is not None]
    if not known:
        return None
    rows = [
        (
            each["name"],
            *(size_in_bytes(each[f"{side}_bytes"]) for side in ("base", "head")),
            messages("percent", value=f"{100 * each['growth']:+.1f}"),
            messages.of("compare.memory", each["verdict"]),
        )
        for each in known
    ]
    numbers = (context.column(name) for name in ("base_memory", "head_memory", "change"))
    columns = (Column(messages("column.benchmark")), *numbers, Column(messages("column.verdict")))
    kind = "cuda" if known[0]["kind"] == "cuda_allocator" else "cpu"
    text = Paragraph(messages.of("compare.memory.about", kind))
    return Section("memory", messages("compare.memory.title"), (text, Table(columns, tuple(rows))))


def _method(context: ReportContext, plain: Plain) -> Section:
    messages, rules, pace = context.messages, plain["rules"], plain["pace"]
    looks = [str(look["n_blocks"]) for look in rules["looks"] if look["alpha"] > 0]
    said = messages(
        "compare.method.text",
        slice=seconds(pace["slice_s"]),
        rounds=round(median(len(block["canary"]) for block in plain["blocks"] or [{"canary": ()}])),
        pinned=messages("compare.method.pinned") if plain.get("pinned") else "",
        blocks=plain["n_blocks"],
        looks=messages.listed(looks),
        detect=_percent(context, plain["detect"]),
        floor=_percent(context, plain["detect"] / 2),
        time=seconds(plain["wall_time_s"]),
    )
    notes = [*plain.get("notes", ())]
    notes += [messages("compare.method.added", name=name) for name in plain["only_in_head"]]
    blocks: list[ContentBlock] = [Paragraph(said)]
    if notes:
        blocks.append(BulletList(tuple(notes)))
    return Section("method", messages("compare.method.title"), tuple(blocks))


def _facts(plain: Plain) -> dict[str, Any]:
    """Base's facts; where head's differ, "why" has them, and both files."""
    facts = plain["facts"]["base"]
    return {key: facts[key] for key in facts if key not in ("settings", "cpu_flags")}


def _command(context: ReportContext, plain: Plain) -> Section:
    messages = context.messages
    blocks: list[ContentBlock] = []
    if plain.get("command"):
        blocks += [Paragraph(messages("compare.command.run")), Code(plain["command"])]
    blocks += [Paragraph(messages("compare.command.report")), Code(context.command)]
    blocks.append(Paragraph(messages("compare.command.files"), quiet=True))
    return Section("command", messages("command.title"), tuple(blocks))


def _change(context: ReportContext, ratio: Plain) -> str:
    if ratio["value"] is None:
        return context.messages("not_measured")
    return context.messages("percent", value=f"{100 * (ratio['value'] - 1):+.1f}")


def _ends(context: ReportContext, ratio: Plain) -> str:
    if ratio["low"] is None:
        return context.messages("none")
    low, high = (f"{100 * (ratio[end] - 1):+.1f}" for end in ("low", "high"))
    return context.messages("range", low=low, high=context.messages("percent", value=high))


def _percent(context: ReportContext, share: float) -> str:
    return context.messages("percent", value=f"{100 * share:g}")


def _speed(context: ReportContext, value: float | None) -> str:
    return context.messages("not_measured") if value is None else significant(value)
