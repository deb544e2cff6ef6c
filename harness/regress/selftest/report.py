"""The report of a selftest, from selftest.json and runs.jsonl. Times nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from harness.columns import seconds
from harness.regress.selftest import rate_figures
from harness.regress.selftest.records import Run, read_runs, read_selftest
from harness.rendering import fonts, messages, render, theme
from harness.rendering.document import Code, Column, Paragraph, Picture, Report, Section, Table
from harness.rendering.render import Answer
from harness.rendering.report_context import ReportContext, command
from harness.rendering.sections.machine import machine

FIGURES = ("rates", "blocks")
VERDICTS = ("ok", "regression", "inconclusive", "contaminated")
Plain = Mapping[str, Any]


def render_selftest(directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md and figures/ beside selftest.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    plain, runs = read_selftest(directory, done=True), read_runs(directory)
    words = messages.load(language)
    page = ReportContext(
        words,
        {},
        fonts.choose([*words.texts.values(), *plain["names"]]),
        command(directory),
        (),
        (),
    )
    with theme.style(page.fonts.families):
        return render.write(_report(page, plain, runs), page, directory, ())


def answer_selftest(plain: Plain, language: str = "en") -> str:
    """What the report says at its top, as one text."""
    return " ".join(_sentences(messages.load(language), plain))


def _report(page: ReportContext, plain: Plain, runs: Sequence[Run]) -> Report:
    words = page.messages
    facts = {key: plain["machine"][key] for key in plain["machine"] if key != "cpu_flags"}
    sections = (_runs(page, plain, runs), _blocks(page, plain, runs), _choice(page, plain))
    return Report(
        language=words.language,
        title=words("selftest.title"),
        question=words("selftest.question"),
        answer=_sentences(words, plain),
        opening=(_rates(page, plain),),
        sections=(*sections, _method(page, plain, runs), machine(page, facts), _again(page, plain)),
        command=page.command,
        footer=words("page.made_by", version=harness.__version__),
        figures=FIGURES,
    )


# --- The answer -------------------------------------------------------------------------------


def _sentences(words: messages.Messages, plain: Plain) -> tuple[str, ...]:
    """False alarms, what was found of each slow-down, and what to choose."""
    same, *slower = plain["rates"]
    said = [
        words(
            "selftest.answer.alike",
            runs=_rate(words, same["runs"]["false_regression"]),
            replays=_rate(words, same["replay"] and same["replay"]["false_regression"]),
        )
    ]
    for each in slower:
        effect, detect = (_percent(words, each["runs"][name]) for name in ("effect", "detect"))
        replays = _rate(words, each["replay"] and each["replay"]["found"])
        if each["runs"]["found"]["n"]:
            runs = _rate(words, each["runs"]["found"])
            told = words(
                "selftest.answer.slower", effect=effect, detect=detect, runs=runs, replays=replays
            )
        else:
            told = words("selftest.answer.replayed", effect=effect, detect=detect, replays=replays)
        said.append(told)
    advice = plain["advice"]
    if advice["detect"] is not None:
        said.append(words("selftest.answer.choose", detect=_percent(words, advice["detect"])))
    elif advice["tried"]:
        most = advice["tried"][-1][0]["detect"]
        said.append(words("selftest.answer.too_noisy", detect=_percent(words, most)))
    else:
        said.append(words("selftest.answer.too_few"))
    return (" ".join(said),)


def _rate(words: messages.Messages, rate: Plain | None) -> str:
    """`k of n (low to high)`, exact."""
    if rate is None or not rate["n"]:
        return words("not_measured")
    low, high = (f"{100 * rate[end]:.3g}" for end in ("low", "high"))
    between = words("range", low=low, high=words("percent", value=high))
    return words("selftest.rate", k=f"{rate['k']:,}", n=f"{rate['n']:,}", interval=between)


def _percent(words: messages.Messages, share: float) -> str:
    return words("percent", value=f"{100 * share:g}")


# --- Its parts --------------------------------------------------------------------------------


def _rates(page: ReportContext, plain: Plain) -> Picture:
    words = page.messages
    rows, texts = [], []
    for each in plain["rates"]:
        real, drawn = each["runs"], each["replay"]
        which = "found" if real["effect"] else "false_regression"
        name = _case(words, real)
        rows.append(rate_figures.Row(name, _share(real[which]), drawn and _share(drawn[which])))
        measured = each["measured"]
        texts.append(
            (
                name,
                _percent(words, real["detect"]),
                words("none") if measured is None else _estimate(words, measured),
                words.of("selftest.counted", which),
                _rate(words, real[which]),
                _rate(words, drawn and drawn[which]),
            )
        )
    columns = tuple(
        Column(words.of("selftest.column", name))
        for name in ("case", "detect", "measured", "counted", "runs", "replays")
    )
    drawing = rate_figures.rates(
        rows,
        words("selftest.axis"),
        words("percent", value="{value}"),
        (words("selftest.real"), words("selftest.replayed")),
    )
    table = Table(columns, tuple(texts), words("selftest.note"))
    caption = words("selftest.caption", blocks=f"{plain['n_blocks']:,}")
    return Picture("rates", drawing, words("selftest.description"), caption, table)


def _case(words: messages.Messages, real: Plain) -> str:
    detect = _percent(words, real["detect"])
    if not real["effect"]:
        return words("selftest.alike", detect=detect)
    return words("selftest.slower", effect=_percent(words, real["effect"]), detect=detect)


def _share(rate: Plain) -> rate_figures.Share | None:
    return (
        rate_figures.Share(rate["k"] / rate["n"], rate["low"], rate["high"]) if rate["n"] else None
    )


def _estimate(words: messages.Messages, found: Plain) -> str:
    value = words("percent", value=f"{100 * (found['value'] - 1):+.1f}")
    if found["low"] is None:
        return value
    low, high = (f"{100 * (found[end] - 1):+.1f}" for end in ("low", "high"))
    return f"{value} ({words('range', low=low, high=words('percent', value=high))})"


def _runs(page: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    """How each kind of run came out."""
    words = page.messages
    rows = []
    for each in plain["rates"]:
        kind = [
            run
            for run in runs
            if (run.effect, run.detect) == (each["runs"]["effect"], each["runs"]["detect"])
        ]
        counts = Counter(run.verdict for run in kind)
        times = [run.wall_time_s for run in kind]
        rows.append(
            (
                _case(words, each["runs"]),
                str(len(kind)),
                *(str(counts[verdict]) for verdict in VERDICTS),
                seconds(sorted(times)[len(times) // 2]) if times else words("none"),
            )
        )
    columns = (
        Column(words("selftest.column.case")),
        page.column("n_runs"),
        *(Column(words.of("compare.verdict", verdict), "number") for verdict in VERDICTS),
        Column(words("selftest.column.time"), "number"),
    )
    text = Paragraph(words("selftest.runs.text"))
    return Section("runs", words("selftest.runs.title"), (text, Table(columns, tuple(rows))))


def _blocks(page: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    """How far blocks of the same code lie apart."""
    words = page.messages
    alike = [block for run in runs if run.slowed is None for block in run.blocks]
    named = {name: [block.value(name) for block in alike] for name in plain["names"]}
    canary = words("compare.canary_row")
    deviations = [*plain["deviation"].values(), plain["canary_deviation"]]
    shown = []
    for (name, values), deviation in zip(
        [*named.items(), (canary, [block.canary for block in alike])], deviations, strict=True
    ):
        known = [math.expm1(value) for value in values if math.isfinite(value)]
        text = words("none") if deviation is None else f"± {100 * deviation:.2f}"
        shown.append((name, known, words("percent", value=text)))
    strips = [
        rate_figures.Strip(name, values, text, is_quiet=name == canary)
        for name, values, text in shown
    ]
    drawing = rate_figures.strips(
        strips, words("compare.axis"), words("percent", value="{value}"), plain["detect"]
    )
    columns = (
        Column(words("column.benchmark")),
        Column(words("selftest.column.deviation"), "number"),
        page.column("n_blocks"),
    )
    rows = tuple((name, text, str(len(values))) for name, values, text in shown)
    caption = words("selftest.blocks.caption", detect=_percent(words, plain["detect"]))
    table = Table(columns, rows, words("selftest.blocks.note"))
    picture = Picture("blocks", drawing, words("selftest.blocks.description"), caption, table)
    return Section("blocks", words("selftest.blocks.title"), (picture,))


def _choice(page: ReportContext, plain: Plain) -> Section:
    """What `--detect` can be held, by replay."""
    words = page.messages
    tried = plain["advice"]["tried"]
    title = words("selftest.choice.title")
    if not tried:
        return page.not_measured("choice", title, words("selftest.answer.too_few"))
    rows = [
        (
            _percent(words, same["detect"]),
            _rate(words, same["false_regression"]),
            _rate(words, same["all_ok"]),
            _rate(words, slower["found"]),
            f"{same['mean_blocks']:.1f}",
        )
        for same, slower in tried
    ]
    names = ("detect", "false", "all_ok", "found", "mean_blocks")
    columns = tuple(Column(words.of("selftest.column", name)) for name in names)
    text = Paragraph(words("selftest.choice.text"))
    return Section("choice", title, (text, Table(columns, tuple(rows))))


def _method(page: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    words = page.messages
    loads = sorted(run.load for run in runs if run.load is not None)
    said = [
        words(
            "selftest.method.text",
            names=words.listed(plain["names"]),
            time=seconds(plain["wall_time_s"]),
        )
    ]
    if loads:
        said.append(
            words(
                "selftest.method.load",
                low=f"{loads[0]:.1f}",
                middle=f"{loads[len(loads) // 2]:.1f}",
                high=f"{loads[-1]:.1f}",
            )
        )
    return Section("method", words("selftest.method.title"), tuple(map(Paragraph, said)))


def _again(page: ReportContext, plain: Plain) -> Section:
    words = page.messages
    blocks = (
        Paragraph(words("compare.command.run")),
        Code(plain["command"]),
        Paragraph(words("compare.command.report")),
        Code(page.command),
        Paragraph(words("selftest.files"), quiet=True),
    )
    return Section("command", words("command.title"), blocks)
