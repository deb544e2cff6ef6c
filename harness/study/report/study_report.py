"""The report of a study: which sections it has, in which order, and paper.tex beside it.

Trains nothing.
"""

from __future__ import annotations

from pathlib import Path

import harness
from harness.records import StudyRecords, write_text
from harness.rendering import render as rendering
from harness.rendering import theme
from harness.rendering.document import Report
from harness.rendering.render import WrittenReport
from harness.rendering.sections.machine import machine_section
from harness.study.report.published_summary import checks
from harness.study.report.sections import answer as opening
from harness.study.report.sections import (
    caveats,
    expected_best,
    extrapolation,
    failed_trials,
    gates,
    gradients,
    latency,
    latex,
    learning_curves,
    memory_spans,
    published_numbers,
    sensitivity,
    speed,
    time_scales,
    winners,
)
from harness.study.report.study_context import StudyContext, study_context

FIGURES = (
    "published",
    "memory",
    "extrapolation",
    "learning",
    "memory_speed",
    "latency",
    "throughput",
    "importances",
    "slices",
    "expected_best",
    "gradient_gain",
    "gates",
    "time_scales",
    "ends",
)


def answer(records: StudyRecords, language: str = "en") -> str:
    """The answer in a few sentences, as the report opens and as the terminal shows it.

    Draws nothing.
    """
    return " ".join(opening.sentences(study_context(records, Path(records.directory), language)))


def render(records: StudyRecords, directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md, paper.tex and figures/ into `directory`.

    Figures that no longer apply are removed.

    The same records give the same bytes on the same machine. Raises InputError for a language
    without texts.
    """
    directory = Path(directory)
    context = study_context(records, directory, language)
    with theme.style(context.fonts.families):
        written = rendering.write_report_files(
            _report(context), context, directory, context.summary.missing
        )
    write_text(directory / "paper.tex", latex.text(context))
    return written


def _report(context: StudyContext) -> Report:
    summary, messages = context.summary, context.messages
    pictures = [opening.picture(context)]
    if compared := checks(summary):
        pictures.insert(0, published_numbers.picture(context, compared))
    opened = [each for each in pictures if each is not None]
    curves = learning_curves.picture(context)
    body = [
        published_numbers.section(context, compared),
        memory_spans.section(context),
        memory_spans.claims(context),
        extrapolation.section(context),
        learning_curves.section(context, curves if opened else None),
        speed.tradeoff(context),
        latency.section(context),
        speed.throughput(context),
        winners.section(context),
        sensitivity.section(context),
        expected_best.section(context),
        gradients.section(context),
        gates.section(context),
        time_scales.section(context),
        failed_trials.section(context),
    ]
    found = [section for section in body if section is not None and not section.absent]
    absent = [section for section in body if section is not None and section.absent]
    if not opened and curves is not None:  # nothing was confirmed: the picture is how losses fell
        opened = [curves]
        absent = [section for section in absent if section.key != "learning"]
    closed = [
        caveats.caveats(context),
        machine_section(context, summary.records.machine),
        caveats.command(context),
    ]
    closed.append(latex.section(context))
    return Report(
        language=messages.language,
        title=messages("page.title", name=summary.records.spec.study.name),
        question=summary.records.spec.study.question,
        answer=opening.sentences(context),
        opening=tuple(opened),
        sections=(*found, *context.left_out(absent), *closed),
        command=context.command,
        figures=FIGURES,
        footer=messages("page.made_by", version=harness.__version__),
    )
