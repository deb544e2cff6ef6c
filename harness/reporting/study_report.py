"""The report of a study: which sections it has, in which order, and paper.tex beside it. Trains nothing."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.records import StudyRecords, write_text
from harness.reporting import rendering, theme
from harness.reporting.document import Report
from harness.reporting.machine_facts import machine
from harness.reporting.published import checks
from harness.reporting.rendering import Answer
from harness.reporting.sections import (
    budget,
    closing,
    ends,
    extrapolation,
    gates,
    gradients,
    latency,
    learning,
    memory,
    opening,
    paper,
    published,
    sensitivity,
    speed,
    time_scales,
    winners,
)
from harness.reporting.study_page import StudyPage, study_page

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
    """The answer in a few sentences, as the report opens and as the terminal shows it. Draws nothing."""
    return " ".join(opening.sentences(study_page(records, Path(records.directory), language)))


def render(records: StudyRecords, directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md, paper.tex and figures/ into `directory`; figures that no longer apply are removed.

    The same records give the same bytes on the same machine. Raises InputError for a language without texts.
    """
    directory = Path(directory)
    page = study_page(records, directory, language)
    with theme.style(page.fonts.families):
        written = rendering.write(_report(page), page, directory, page.summary.missing)
    write_text(directory / "paper.tex", paper.text(page))
    return written


def _report(page: StudyPage) -> Report:
    summary, words = page.summary, page.words
    pictures = [opening.picture(page)]
    if compared := checks(summary):
        pictures.insert(0, published.picture(page, compared))
    opened = [each for each in pictures if each is not None]
    curves = learning.picture(page)
    body = [
        published.section(page, compared),
        memory.section(page),
        memory.claims(page),
        extrapolation.section(page),
        learning.section(page, curves if opened else None),
        speed.tradeoff(page),
        latency.section(page),
        speed.throughput(page),
        winners.section(page),
        sensitivity.section(page),
        budget.section(page),
        gradients.section(page),
        gates.section(page),
        time_scales.section(page),
        ends.section(page),
    ]
    found = [section for section in body if section is not None and not section.absent]
    absent = [section for section in body if section is not None and section.absent]
    if not opened and curves is not None:  # nothing was confirmed: the picture is how losses fell
        opened = [curves]
        absent = [section for section in absent if section.key != "learning"]
    closed = [closing.caveats(page), machine(page, summary.records.machine), closing.command(page)]
    closed.append(paper.section(page))
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
