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
from harness.rendering.render import Answer
from harness.rendering.sections.machine import machine
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


def render(records: StudyRecords, directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md, paper.tex and figures/ into `directory`.

    Figures that no longer apply are removed.

    The same records give the same bytes on the same machine. Raises InputError for a language
    without texts.
    """
    directory = Path(directory)
    page = study_context(records, directory, language)
    with theme.style(page.fonts.families):
        written = rendering.write(_report(page), page, directory, page.summary.missing)
    write_text(directory / "paper.tex", latex.text(page))
    return written


def _report(page: StudyContext) -> Report:
    summary, words = page.summary, page.words
    pictures = [opening.picture(page)]
    if compared := checks(summary):
        pictures.insert(0, published_numbers.picture(page, compared))
    opened = [each for each in pictures if each is not None]
    curves = learning_curves.picture(page)
    body = [
        published_numbers.section(page, compared),
        memory_spans.section(page),
        memory_spans.claims(page),
        extrapolation.section(page),
        learning_curves.section(page, curves if opened else None),
        speed.tradeoff(page),
        latency.section(page),
        speed.throughput(page),
        winners.section(page),
        sensitivity.section(page),
        expected_best.section(page),
        gradients.section(page),
        gates.section(page),
        time_scales.section(page),
        failed_trials.section(page),
    ]
    found = [section for section in body if section is not None and not section.absent]
    absent = [section for section in body if section is not None and section.absent]
    if not opened and curves is not None:  # nothing was confirmed: the picture is how losses fell
        opened = [curves]
        absent = [section for section in absent if section.key != "learning"]
    closed = [caveats.caveats(page), machine(page, summary.records.machine), caveats.command(page)]
    closed.append(latex.section(page))
    return Report(
        language=words.language,
        title=words("page.title", name=summary.records.spec.study.name),
        question=summary.records.spec.study.question,
        answer=opening.sentences(page),
        opening=tuple(opened),
        sections=(*found, *page.left_out(absent), *closed),
        command=page.command,
        figures=FIGURES,
        footer=words("page.made_by", version=harness.__version__),
    )
