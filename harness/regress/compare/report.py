"""The report of a comparison of two sides, from comparison.json. Times nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import harness
from harness.columns import seconds, significant, size_in_bytes
from harness.regress.compare.records import read_comparison
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
from harness.rendering.figures import forest_plot
from harness.rendering.render import Answer
from harness.rendering.report_context import ReportContext, command
from harness.rendering.sections.machine import machine

FIGURES = ("forest",)
Plain = Mapping[str, Any]


def render_comparison(directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md and figures/ beside comparison.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    plain = read_comparison(directory)
    words = messages.load(language)
    drawn = [*words.texts.values(), *_names(plain), plain["base"]["label"], plain["head"]["label"]]
    page = ReportContext(words, {}, fonts.choose(drawn), command(directory), (), ())
    with theme.style(page.fonts.families):
        return render.write(_report(page, plain), page, directory, ())


def _names(plain: Plain) -> list[str]:
    return [str(each["name"]) for each in plain["findings"]]


def _report(page: ReportContext, plain: Plain) -> Report:
    words = page.messages
    base, head = (str(plain[side]["label"]) for side in ("base", "head"))
    sections = [_why(page, plain), _memory(page, plain), _method(page, plain)]
    return Report(
        language=words.language,
        title=words("compare.title", base=base, head=head),
        question=words("compare.question", base=base, head=head),
        answer=_sentences(page, plain),
        opening=(_picture(page, plain),),
        sections=(
            *(section for section in sections if section is not None),
            machine(page, _facts(plain)),
            _command(page, plain),
        ),
        command=page.command,
        footer=words("page.made_by", version=harness.__version__),
        figures=FIGURES,
    )


def _sentences(page: ReportContext, plain: Plain) -> tuple[str, ...]:
    """The verdict, each kind of finding in a sentence, the canary, and what is accepted."""
    words = page.messages
    detect = _percent(page, plain["detect"])
    said = [words.of("compare.answer", plain["verdict"], detect=detect)]
    for verdict in ("regression", "missing", "inconclusive"):
        found = [each for each in plain["findings"] if each["verdict"] == verdict]
        if found and (verdict != plain["verdict"] or verdict != "inconclusive"):
            listed = words.listed(_with_change(page, each) for each in found)
            said.append(words.of("compare.found", verdict, names=listed))
    faster = [_with_change(page, each) for each in plain["findings"] if each["improved"]]
    if faster:
        said.append(words.of("compare.found", "faster", names=words.listed(faster)))
    said += [
        words("compare.accepted", name=each["name"], reason=each["accepted"])
        for each in plain["findings"]
        if each["accepted"]
    ]
    ratio = plain["canary"]["ratio"]
    if ratio["value"] is not None:
        said.append(
            words("compare.canary", change=_change(page, ratio), interval=_ends(page, ratio))
        )
    return (" ".join(said),)


def _with_change(page: ReportContext, found: Plain) -> str:
    if found["ratio"]["value"] is None:
        return str(found["name"])
    change = _change(page, found["ratio"])
    return page.messages("compare.with_change", name=found["name"], change=change)


def _picture(page: ReportContext, plain: Plain) -> Picture:
    words, detect = page.messages, plain["detect"]
    rows = []
    for each in plain["findings"]:
        fails = each["verdict"] in ("regression", "missing") and not each["accepted"]
        text = words.of("compare.verdict", each["verdict"])
        rows.append(_row(each["name"], each["ratio"], text, stands_out=fails))
    canary = plain["canary"]
    text = words("compare.moved" if canary["moved"] else "compare.still")
    name = words("compare.canary_row")
    rows.append(_row(name, canary["ratio"], text, stands_out=canary["moved"], is_quiet=True))
    axis = forest_plot.Axis(
        label=words("compare.axis"),
        change=words("percent", value="{value}"),
        detect=detect,
        floor=detect / 2,
        detect_label=words("compare.detect"),
    )
    caption = words("compare.caption", n=plain["n_blocks"], detect=_percent(page, detect))
    drawing = forest_plot.forest(rows, axis)
    return Picture("forest", drawing, words("compare.description"), caption, _table(page, plain))


def _row(
    name: str, ratio: Plain, text: str, *, stands_out: bool = False, is_quiet: bool = False
) -> forest_plot.Row:
    value, low, high = (
        None if ratio[key] is None else ratio[key] - 1 for key in ("value", "low", "high")
    )
    return forest_plot.Row(name, value, low, high, text, stands_out, is_quiet)


def _table(page: ReportContext, plain: Plain) -> Table:
    words = page.messages
    rows = [
        (
            each["name"],
            *(_speed(page, each[f"{side}_sequences_per_second"]) for side in ("base", "head")),
            _change(page, each["ratio"]),
            _ends(page, each["ratio"]),
            words("none") if each["p_value"] is None else significant(each["p_value"], 2),
            str(each["ratio"]["n"]),
            words.of("compare.verdict", each["verdict"]),
            words.of("compare.reason", each["reason"]),
        )
        for each in plain["findings"]
    ]
    canary = plain["canary"]
    ratio, none = canary["ratio"], words("none")
    moved = words("compare.moved" if canary["moved"] else "compare.still")
    p_value = significant(canary["p_value"], 2)
    last = (words("compare.canary_row"), none, none, _change(page, ratio), _ends(page, ratio))
    rows.append((*last, p_value, str(ratio["n"]), moved, none))
    numbers = ("base_speed", "head_speed", "change", "interval", "p_value", "n_blocks")
    columns = (
        Column(words("column.benchmark")),
        *(page.column(name) for name in numbers),
        Column(words("column.verdict")),
        Column(words("column.reason")),
    )
    return Table(columns, tuple(rows), words("compare.note"))


def _why(page: ReportContext, plain: Plain) -> Section | None:
    """Where there is a regression.

    What differs between the environments, and the operators that grew most.
    """
    words = page.messages
    if not plain["operators"]:
        return None
    blocks: list[Block] = []
    for name, operators in plain["operators"].items():
        if not operators:
            blocks.append(Paragraph(words("compare.why.no_operators", name=name)))
            continue
        rows = [
            (
                each["operator"],
                *(seconds(each[f"{side}_s"]) for side in ("base", "head")),
                seconds(each["head_s"] - each["base_s"]),
            )
            for each in operators
        ]
        blocks.append(Paragraph(words("compare.why.operators", name=name)))
        names = ("base_time", "head_time", "grown")
        columns = (Column(words("column.operator")), *(page.column(each) for each in names))
        blocks.append(Table(columns, tuple(rows), words("compare.why.note")))
    differs = [
        (each["name"], *(words("none") if each[s] is None else each[s] for s in ("base", "head")))
        for each in plain["differences"]
    ]
    if differs:
        columns = tuple(
            Column(words(f"column.{name}")) for name in ("property", "base_value", "head_value")
        )
        blocks += [Paragraph(words("compare.why.differs")), Table(columns, tuple(differs))]
    else:
        blocks.append(Paragraph(words("compare.why.alike")))
    return Section("why", words("compare.why.title"), tuple(blocks))


def _memory(page: ReportContext, plain: Plain) -> Section | None:
    words = page.messages
    known = [each for each in plain["memory"] if each["growth"] is not None]
    if not known:
        return None
    rows = [
        (
            each["name"],
            *(size_in_bytes(each[f"{side}_bytes"]) for side in ("base", "head")),
            words("percent", value=f"{100 * each['growth']:+.1f}"),
            words.of("compare.memory", each["verdict"]),
        )
        for each in known
    ]
    numbers = (page.column(name) for name in ("base_memory", "head_memory", "change"))
    columns = (Column(words("column.benchmark")), *numbers, Column(words("column.verdict")))
    kind = "cuda" if known[0]["kind"] == "cuda_allocator" else "cpu"
    text = Paragraph(words.of("compare.memory.about", kind))
    return Section("memory", words("compare.memory.title"), (text, Table(columns, tuple(rows))))


def _method(page: ReportContext, plain: Plain) -> Section:
    words, rules, pace = page.messages, plain["rules"], plain["pace"]
    looks = [str(look["n_blocks"]) for look in rules["looks"] if look["alpha"] > 0]
    said = words(
        "compare.method.text",
        slice=seconds(pace["slice_s"]),
        rounds=round(median(len(block["canary"]) for block in plain["blocks"] or [{"canary": ()}])),
        pinned=words("compare.method.pinned") if plain.get("pinned") else "",
        blocks=plain["n_blocks"],
        looks=words.listed(looks),
        detect=_percent(page, plain["detect"]),
        floor=_percent(page, plain["detect"] / 2),
        time=seconds(plain["wall_time_s"]),
    )
    notes = [*plain.get("notes", ())]
    notes += [words("compare.method.added", name=name) for name in plain["only_in_head"]]
    blocks: list[Block] = [Paragraph(said)]
    if notes:
        blocks.append(BulletList(tuple(notes)))
    return Section("method", words("compare.method.title"), tuple(blocks))


def _facts(plain: Plain) -> dict[str, Any]:
    """Base's facts; where head's differ, "why" has them, and both files."""
    facts = plain["facts"]["base"]
    return {key: facts[key] for key in facts if key not in ("settings", "cpu_flags")}


def _command(page: ReportContext, plain: Plain) -> Section:
    words = page.messages
    blocks: list[Block] = []
    if plain.get("command"):
        blocks += [Paragraph(words("compare.command.run")), Code(plain["command"])]
    blocks += [Paragraph(words("compare.command.report")), Code(page.command)]
    blocks.append(Paragraph(words("compare.command.files"), quiet=True))
    return Section("command", words("command.title"), tuple(blocks))


def _change(page: ReportContext, ratio: Plain) -> str:
    if ratio["value"] is None:
        return page.messages("not_measured")
    return page.messages("percent", value=f"{100 * (ratio['value'] - 1):+.1f}")


def _ends(page: ReportContext, ratio: Plain) -> str:
    if ratio["low"] is None:
        return page.messages("none")
    low, high = (f"{100 * (ratio[end] - 1):+.1f}" for end in ("low", "high"))
    return page.messages("range", low=low, high=page.messages("percent", value=high))


def _percent(page: ReportContext, share: float) -> str:
    return page.messages("percent", value=f"{100 * share:g}")


def _speed(page: ReportContext, value: float | None) -> str:
    return page.messages("not_measured") if value is None else significant(value)
