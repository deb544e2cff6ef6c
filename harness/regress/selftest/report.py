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
from harness.rendering import fonts, render, theme
from harness.rendering.document import Code, Column, Paragraph, Picture, Report, Section, Table
from harness.rendering.messages import Messages, load_messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext, report_command
from harness.rendering.sections.machine import machine_section

FIGURES = ("rates", "blocks")
VERDICTS = ("ok", "regression", "inconclusive", "contaminated")
Plain = Mapping[str, Any]


def render_selftest(directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ beside selftest.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    plain, runs = read_selftest(directory, done=True), read_runs(directory)
    messages = load_messages(language)
    context = ReportContext(
        messages,
        {},
        fonts.choose([*messages.texts.values(), *plain["names"]]),
        report_command(directory),
        (),
        (),
    )
    with theme.style(context.fonts.families):
        return render.write_report(_report(context, plain, runs), context, directory, ())


def answer_selftest(plain: Plain, language: str = "en") -> str:
    """What the report says at its top, as one text."""
    return " ".join(_sentences(load_messages(language), plain))


def _report(context: ReportContext, plain: Plain, runs: Sequence[Run]) -> Report:
    messages = context.messages
    facts = {key: plain["machine"][key] for key in plain["machine"] if key != "cpu_flags"}
    sections = (_runs(context, plain, runs), _blocks(context, plain, runs), _choice(context, plain))
    return Report(
        language=messages.language,
        title=messages("selftest.title"),
        question=messages("selftest.question"),
        answer=_sentences(messages, plain),
        opening=(_rates(context, plain),),
        sections=(
            *sections,
            _method(context, plain, runs),
            machine_section(context, facts),
            _again(context, plain),
        ),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=FIGURES,
    )


# --- The answer -------------------------------------------------------------------------------


def _sentences(messages: Messages, plain: Plain) -> tuple[str, ...]:
    """False alarms, what was found of each slow-down, and what to choose."""
    same, *slower = plain["rates"]
    said = [
        messages(
            "selftest.answer.alike",
            runs=_rate(messages, same["runs"]["false_regression"]),
            replays=_rate(messages, same["replay"] and same["replay"]["false_regression"]),
        )
    ]
    for each in slower:
        effect, detect = (_percent(messages, each["runs"][name]) for name in ("effect", "detect"))
        replays = _rate(messages, each["replay"] and each["replay"]["found"])
        if each["runs"]["found"]["n"]:
            runs = _rate(messages, each["runs"]["found"])
            told = messages(
                "selftest.answer.slower", effect=effect, detect=detect, runs=runs, replays=replays
            )
        else:
            told = messages(
                "selftest.answer.replayed", effect=effect, detect=detect, replays=replays
            )
        said.append(told)
    advice = plain["advice"]
    if advice["detect"] is not None:
        said.append(messages("selftest.answer.choose", detect=_percent(messages, advice["detect"])))
    elif advice["tried"]:
        most = advice["tried"][-1][0]["detect"]
        said.append(messages("selftest.answer.too_noisy", detect=_percent(messages, most)))
    else:
        said.append(messages("selftest.answer.too_few"))
    return (" ".join(said),)


def _rate(messages: Messages, rate: Plain | None) -> str:
    """`k of n (low to high)`, exact."""
    if rate is None or not rate["n"]:
        return messages("not_measured")
    low, high = (f"{100 * rate[end]:.3g}" for end in ("low", "high"))
    between = messages("range", low=low, high=messages("percent", value=high))
    return messages("selftest.rate", k=f"{rate['k']:,}", n=f"{rate['n']:,}", interval=between)


def _percent(messages: Messages, share: float) -> str:
    return messages("percent", value=f"{100 * share:g}")


# --- Its parts --------------------------------------------------------------------------------


def _rates(context: ReportContext, plain: Plain) -> Picture:
    messages = context.messages
    rows, texts = [], []
    for each in plain["rates"]:
        real, drawn = each["runs"], each["replay"]
        which = "found" if real["effect"] else "false_regression"
        name = _case(messages, real)
        rows.append(rate_figures.Row(name, _share(real[which]), drawn and _share(drawn[which])))
        measured = each["measured"]
        texts.append(
            (
                name,
                _percent(messages, real["detect"]),
                messages("none") if measured is None else _estimate(messages, measured),
                messages.of("selftest.counted", which),
                _rate(messages, real[which]),
                _rate(messages, drawn and drawn[which]),
            )
        )
    columns = tuple(
        Column(messages.of("selftest.column", name))
        for name in ("case", "detect", "measured", "counted", "runs", "replays")
    )
    drawing = rate_figures.rates(
        rows,
        messages("selftest.axis"),
        messages("percent", value="{value}"),
        (messages("selftest.real"), messages("selftest.replayed")),
    )
    table = Table(columns, tuple(texts), messages("selftest.note"))
    caption = messages("selftest.caption", blocks=f"{plain['n_blocks']:,}")
    return Picture("rates", drawing, messages("selftest.description"), caption, table)


def _case(messages: Messages, real: Plain) -> str:
    detect = _percent(messages, real["detect"])
    if not real["effect"]:
        return messages("selftest.alike", detect=detect)
    return messages("selftest.slower", effect=_percent(messages, real["effect"]), detect=detect)


def _share(rate: Plain) -> rate_figures.Share | None:
    return (
        rate_figures.Share(rate["k"] / rate["n"], rate["low"], rate["high"]) if rate["n"] else None
    )


def _estimate(messages: Messages, found: Plain) -> str:
    value = messages("percent", value=f"{100 * (found['value'] - 1):+.1f}")
    if found["low"] is None:
        return value
    low, high = (f"{100 * (found[end] - 1):+.1f}" for end in ("low", "high"))
    return f"{value} ({messages('range', low=low, high=messages('percent', value=high))})"


def _runs(context: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    """How each kind of run came out."""
    messages = context.messages
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
                _case(messages, each["runs"]),
                str(len(kind)),
                *(str(counts[verdict]) for verdict in VERDICTS),
                seconds(sorted(times)[len(times) // 2]) if times else messages("none"),
            )
        )
    columns = (
        Column(messages("selftest.column.case")),
        context.column("n_runs"),
        *(Column(messages.of("compare.verdict", verdict), "number") for verdict in VERDICTS),
        Column(messages("selftest.column.time"), "number"),
    )
    text = Paragraph(messages("selftest.runs.text"))
    return Section("runs", messages("selftest.runs.title"), (text, Table(columns, tuple(rows))))


def _blocks(context: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    """How far blocks of the same code lie apart."""
    messages = context.messages
    alike = [block for run in runs if run.slowed is None for block in run.blocks]
    named = {name: [block.value(name) for block in alike] for name in plain["names"]}
    canary = messages("compare.canary_row")
    deviations = [*plain["deviation"].values(), plain["canary_deviation"]]
    shown = []
    for (name, values), deviation in zip(
        [*named.items(), (canary, [block.canary for block in alike])], deviations, strict=True
    ):
        known = [math.expm1(value) for value in values if math.isfinite(value)]
        text = messages("none") if deviation is None else f"± {100 * deviation:.2f}"
        shown.append((name, known, messages("percent", value=text)))
    strips = [
        rate_figures.Strip(name, values, text, is_quiet=name == canary)
        for name, values, text in shown
    ]
    drawing = rate_figures.strips(
        strips, messages("compare.axis"), messages("percent", value="{value}"), plain["detect"]
    )
    columns = (
        Column(messages("column.benchmark")),
        Column(messages("selftest.column.deviation"), "number"),
        context.column("n_blocks"),
    )
    rows = tuple((name, text, str(len(values))) for name, values, text in shown)
    caption = messages("selftest.blocks.caption", detect=_percent(messages, plain["detect"]))
    table = Table(columns, rows, messages("selftest.blocks.note"))
    picture = Picture("blocks", drawing, messages("selftest.blocks.description"), caption, table)
    return Section("blocks", messages("selftest.blocks.title"), (picture,))


def _choice(context: ReportContext, plain: Plain) -> Section:
    """What `--detect` can be held, by replay."""
    messages = context.messages
    tried = plain["advice"]["tried"]
    title = messages("selftest.choice.title")
    if not tried:
        return context.not_measured("choice", title, messages("selftest.answer.too_few"))
    rows = [
        (
            _percent(messages, same["detect"]),
            _rate(messages, same["false_regression"]),
            _rate(messages, same["all_ok"]),
            _rate(messages, slower["found"]),
            f"{same['mean_blocks']:.1f}",
        )
        for same, slower in tried
    ]
    names = ("detect", "false", "all_ok", "found", "mean_blocks")
    columns = tuple(Column(messages.of("selftest.column", name)) for name in names)
    text = Paragraph(messages("selftest.choice.text"))
    return Section("choice", title, (text, Table(columns, tuple(rows))))


def _method(context: ReportContext, plain: Plain, runs: Sequence[Run]) -> Section:
    messages = context.messages
    loads = sorted(run.load for run in runs if run.load is not None)
    said = [
        messages(
            "selftest.method.text",
            names=messages.listed(plain["names"]),
            time=seconds(plain["wall_time_s"]),
        )
    ]
    if loads:
        said.append(
            messages(
                "selftest.method.load",
                low=f"{loads[0]:.1f}",
                middle=f"{loads[len(loads) // 2]:.1f}",
                high=f"{loads[-1]:.1f}",
            )
        )
    return Section("method", messages("selftest.method.title"), tuple(map(Paragraph, said)))


def _again(context: ReportContext, plain: Plain) -> Section:
    messages = context.messages
    blocks = (
        Paragraph(messages("compare.command.run")),
        Code(plain["command"]),
        Paragraph(messages("compare.command.report")),
        Code(context.command),
        Paragraph(messages("selftest.files"), quiet=True),
    )
    return Section("command", messages("command.title"), blocks)
