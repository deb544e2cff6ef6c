"""The report of a study: its sections in their order, and the file paper.tex. Trains nothing."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.records import StudyRecords, write_text
from harness.rendering import render as rendering
from harness.rendering import theme
from harness.rendering.document import ContentBlock, Report
from harness.rendering.render import WrittenReport
from harness.rendering.sections.machine import machine_section
from harness.study.report.sections import answer as answer_section
from harness.study.report.sections import (
    caveats,
    claims,
    command,
    expected_best,
    extrapolation,
    failed_trials,
    gates,
    gradients,
    latency,
    latex,
    learning_curves,
    memory_spans,
    memory_speed,
    published_numbers,
    sensitivity,
    throughput,
    time_scales,
    winners,
)
from harness.study.report.study_context import StudyContext, study_context

# The sections with results, in the order of the report.
SECTIONS = (
    published_numbers,
    memory_spans,
    claims,
    extrapolation,
    learning_curves,
    memory_speed,
    latency,
    throughput,
    winners,
    sensitivity,
    expected_best,
    gradients,
    gates,
    time_scales,
    failed_trials,
)
STUDY_FIGURES = (
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
    """The answer in a few sentences, as the report and the terminal show it. Draws nothing."""
    context = study_context(records, Path(records.directory), language)
    return " ".join(answer_section.answer_sentences(context))


def render(records: StudyRecords, directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md, paper.tex and figures/ into `directory`.

    It removes old figures that the report no longer has. The same records give the same bytes on
    the same machine. Raises InputError for a language without texts.
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
    messages, records = context.messages, context.summary.records
    pictures = (
        published_numbers.published_picture(context),
        answer_section.shares_picture(context),
    )
    opening: tuple[ContentBlock, ...] = tuple(each for each in pictures if each is not None)
    sections = [each for part in SECTIONS if (each := part.section(context)) is not None]
    if not opening:  # Nothing was confirmed: the learning curves are the first figure.
        opening = next(each for each in sections if each.key == "learning").blocks
        sections = [each for each in sections if each.key != "learning" or each.absent]
    return Report(
        language=messages.language,
        title=messages("page.title", name=records.spec.study.name),
        question=records.spec.study.question,
        answer=answer_section.answer_sentences(context),
        opening=opening,
        sections=(
            *(each for each in sections if not each.absent),
            *context.left_out([each for each in sections if each.absent]),
            caveats.section(context),
            machine_section(context, records.machine),
            command.section(context),
            latex.section(context),
        ),
        command=context.command,
        figures=STUDY_FIGURES,
        footer=messages("page.made_by", version=harness.__version__),
    )
