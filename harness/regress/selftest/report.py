"""The report of a selftest, from selftest.json and runs.jsonl. Times nothing."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import harness
from harness.columns import seconds
from harness.regress.json_files import EstimateRecord
from harness.regress.report_parts import (
    estimated_change,
    interval_of_change,
    percent_text,
    rerun_section,
    shown_facts,
    write_regress_report,
)
from harness.regress.selftest import rate_figures
from harness.regress.selftest.selftest_files import (
    SelftestRecord,
    SelftestRun,
    read_runs,
    read_selftest,
)
from harness.regress.verdict.resampling import Rate, Rates
from harness.regress.verdict.verdicts import BenchmarkVerdict
from harness.rendering.document import Column, Paragraph, Picture, Report, Section, Table
from harness.rendering.messages import Messages, load_messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext
from harness.rendering.sections.machine import machine_section

SELFTEST_FIGURES: Final = ("rates", "blocks")
RUN_VERDICTS: Final[tuple[BenchmarkVerdict, ...]] = (
    *("ok", "regression", "inconclusive", "contaminated"),
)
"""The verdicts that a run can have: no benchmark is ever missing."""


def render_selftest(directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ beside selftest.json.

    Raises InputError where there is none, or a broken one.
    """
    directory = Path(directory)
    record, runs = read_selftest(directory), read_runs(directory)
    build = functools.partial(_report, record, runs)
    return write_regress_report(directory, language, record.names, build)


def answer_selftest(record: SelftestRecord, language: str = "en") -> str:
    """The answer at the top of the report, as one text."""
    return " ".join(_sentences(load_messages(language), record))


def _report(record: SelftestRecord, runs: Sequence[SelftestRun], context: ReportContext) -> Report:
    messages = context.messages
    return Report(
        language=messages.language,
        title=messages("selftest.title"),
        question=messages("selftest.question"),
        answer=_sentences(messages, record),
        opening=(_rates(context, record),),
        sections=(
            _runs(context, record, runs),
            _blocks(context, record, runs),
            _choice(context, record),
            _method(context, record, runs),
            machine_section(context, shown_facts(record.machine)),
            rerun_section(context, record.command, "compare", files=messages("selftest.files")),
        ),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=SELFTEST_FIGURES,
    )


# --- The answer -------------------------------------------------------------------------------


def _sentences(messages: Messages, record: SelftestRecord) -> tuple[str, ...]:
    """False alarms, what was found of each slow-down, and what to choose."""
    same, *slower = record.rates
    sentences = [
        messages(
            "selftest.answer.alike",
            runs=_rate(messages, same.runs.false_regression),
            replays=_rate(messages, same.replay.false_regression if same.replay else None),
        )
    ]
    for case in slower:
        effect, detect = (
            percent_text(messages, each) for each in (case.runs.effect, case.runs.detect)
        )
        replays = _rate(messages, case.replay.found if case.replay else None)
        if case.runs.found.n:
            runs = _rate(messages, case.runs.found)
            text = messages(
                "selftest.answer.slower", effect=effect, detect=detect, runs=runs, replays=replays
            )
        else:
            text = messages(
                "selftest.answer.replayed", effect=effect, detect=detect, replays=replays
            )
        sentences.append(text)
    advice = record.advice
    if advice.detect is not None:
        sentences.append(
            messages("selftest.answer.choose", detect=percent_text(messages, advice.detect))
        )
    elif advice.tried:
        most = percent_text(messages, advice.tried[-1][0].detect)
        sentences.append(messages("selftest.answer.too_noisy", detect=most))
    else:
        sentences.append(messages("selftest.answer.too_few"))
    return (" ".join(sentences),)


def _rate(messages: Messages, rate: Rate | None) -> str:
    """`k of n (low - high)`, exact."""
    if rate is None or rate.low is None or rate.high is None:
        return messages("not_measured")
    high = messages("percent", value=f"{100 * rate.high:.3g}")
    interval = messages("range", low=f"{100 * rate.low:.3g}", high=high)
    return messages("selftest.rate", k=f"{rate.k:,}", n=f"{rate.n:,}", interval=interval)


# --- Its parts --------------------------------------------------------------------------------


def _rates(context: ReportContext, record: SelftestRecord) -> Picture:
    messages = context.messages
    rows, texts = [], []
    for case in record.rates:
        which = "found" if case.runs.effect else "false_regression"
        runs, replay = _counted(case.runs), _counted(case.replay) if case.replay else None
        name = _case(messages, case.runs)
        rows.append(rate_figures.RateRow(name, runs, replay))
        texts.append(
            (
                name,
                percent_text(messages, case.runs.detect),
                messages("none") if case.measured is None else _estimate(messages, case.measured),
                messages.of("selftest.counted", which),
                _rate(messages, runs),
                _rate(messages, replay),
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
    caption = messages("selftest.caption", blocks=f"{record.n_blocks:,}")
    return Picture("rates", drawing, messages("selftest.description"), caption, table)


def _counted(rates: Rates) -> Rate:
    """Of runs with a slow-down those that found it, of others those with a false REGRESSION."""
    return rates.found if rates.effect else rates.false_regression


def _case(messages: Messages, rates: Rates) -> str:
    detect = percent_text(messages, rates.detect)
    if not rates.effect:
        return messages("selftest.alike", detect=detect)
    return messages("selftest.slower", effect=percent_text(messages, rates.effect), detect=detect)


def _estimate(messages: Messages, found: EstimateRecord) -> str:
    text = estimated_change(messages, found)
    return text if found.low is None else f"{text} ({interval_of_change(messages, found)})"


def _runs(context: ReportContext, record: SelftestRecord, runs: Sequence[SelftestRun]) -> Section:
    """How each kind of run came out."""
    messages = context.messages
    rows = []
    for case in record.rates:
        settings = (case.runs.effect, case.runs.detect)
        made = [run for run in runs if (run.effect, run.detect) == settings]
        counts = Counter(run.verdict for run in made)
        times = [run.wall_time_s for run in made]
        rows.append(
            (
                _case(messages, case.runs),
                str(len(made)),
                *(str(counts[verdict]) for verdict in RUN_VERDICTS),
                seconds(sorted(times)[len(times) // 2]) if times else messages("none"),
            )
        )
    columns = (
        Column(messages("selftest.column.case")),
        context.column("n_runs"),
        *(Column(messages.of("compare.verdict", verdict), "number") for verdict in RUN_VERDICTS),
        Column(messages("selftest.column.time"), "number"),
    )
    text = Paragraph(messages("selftest.runs.text"))
    return Section("runs", messages("selftest.runs.title"), (text, Table(columns, tuple(rows))))


def _blocks(context: ReportContext, record: SelftestRecord, runs: Sequence[SelftestRun]) -> Section:
    """How far blocks of the same code lie apart."""
    messages = context.messages
    alike = [block for run in runs if run.slowed is None for block in run.ratios]
    named = {name: [block.value(name) for block in alike] for name in record.names}
    canary = messages("compare.canary_row")
    deviations = [*record.deviation.values(), record.canary_deviation]
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
        strips, messages("compare.axis"), messages("percent", value="{value}"), record.detect
    )
    columns = (
        Column(messages("column.benchmark")),
        Column(messages("selftest.column.deviation"), "number"),
        context.column("n_blocks"),
    )
    rows = tuple((name, text, str(len(values))) for name, values, text in shown)
    caption = messages("selftest.blocks.caption", detect=percent_text(messages, record.detect))
    table = Table(columns, rows, messages("selftest.blocks.note"))
    picture = Picture("blocks", drawing, messages("selftest.blocks.description"), caption, table)
    return Section("blocks", messages("selftest.blocks.title"), (picture,))


def _choice(context: ReportContext, record: SelftestRecord) -> Section:
    """What `--detect` can be held, by replay."""
    messages = context.messages
    tried = record.advice.tried
    title = messages("selftest.choice.title")
    if not tried:
        return context.not_measured("choice", title, messages("selftest.answer.too_few"))
    rows = [
        (
            percent_text(messages, same.detect),
            _rate(messages, same.false_regression),
            _rate(messages, same.all_ok),
            _rate(messages, slower.found),
            messages("none") if same.mean_blocks is None else f"{same.mean_blocks:.1f}",
        )
        for same, slower in tried
    ]
    names = ("detect", "false", "all_ok", "found", "mean_blocks")
    columns = tuple(Column(messages.of("selftest.column", name)) for name in names)
    text = Paragraph(messages("selftest.choice.text"))
    return Section("choice", title, (text, Table(columns, tuple(rows))))


def _method(context: ReportContext, record: SelftestRecord, runs: Sequence[SelftestRun]) -> Section:
    messages = context.messages
    loads = sorted(run.load for run in runs if run.load is not None)
    said = [
        messages(
            "selftest.method.text",
            names=messages.listed(record.names),
            time=seconds(record.wall_time_s),
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
