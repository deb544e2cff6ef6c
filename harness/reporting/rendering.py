"""From the records of a study to its report: report.html, report.md, paper.tex and figures/. Trains nothing, loads nothing from a network."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

import harness
from harness.records import StudyRecords, write_bytes, write_text
from harness.reporting import catalogue, fonts, markup, theme
from harness.reporting.document import Picture, Points, Report, Section
from harness.reporting.page import Page
from harness.reporting.published import checks
from harness.reporting.sections import (
    budget,
    closing,
    ends,
    extrapolation,
    gates,
    gradients,
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
from harness.reporting.summary import Summary

PNG_DPI = 160
FIGURES = (
    "published",
    "memory",
    "extrapolation",
    "learning",
    "memory_speed",
    "throughput",
    "importances",
    "slices",
    "expected_best",
    "gradient_gain",
    "gates",
    "time_scales",
    "ends",
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a report says at its top, where it lies, and which (task, cell) have no valid result."""

    text: str
    html: Path
    markdown: Path
    missing: tuple[tuple[str, str], ...]


def answer(records: StudyRecords, language: str = "en") -> str:
    """The answer in a few sentences, as the report opens and as the terminal shows it. Draws nothing."""
    return " ".join(opening.sentences(_page(records, Path(records.directory), language)))


def render(records: StudyRecords, directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md, paper.tex and figures/ into `directory`; figures that no longer apply are removed.

    The same records give the same bytes on the same machine. Raises InputError for a language without texts.
    """
    directory = Path(directory)
    page = _page(records, directory, language)
    with theme.style(page.fonts.families):
        report = _report(page)
        drawings = {picture.name: _saved(picture, directory) for picture in report.pictures()}
    for name in FIGURES:
        if name not in drawings:
            for suffix in (".svg", ".png"):
                (directory / "figures" / (name + suffix)).unlink(missing_ok=True)
    write_text(directory / "paper.tex", paper.text(page))
    html = write_text(directory / "report.html", _html(page, report, drawings))
    markdown = write_text(directory / "report.md", _markdown(page, report))
    return Answer(" ".join(report.answer), html, markdown, page.summary.missing)


def _page(records: StudyRecords, directory: Path, language: str) -> Page:
    words = catalogue.load(language)
    spec = records.spec
    drawn = [
        *spec.compare.tasks,
        *spec.compare.cells,
        *records.trials.columns,
        *words.texts.values(),
    ]
    if records.throughput is not None:
        drawn += [str(name) for name in records.throughput["device"].unique()]
    drawn += [
        str(option)
        for pair in spec.pairs
        for parameter in spec.parameters(*pair).values()
        for option in parameter.values()
    ]
    return Page(
        summary=Summary(records),
        words=words,
        marks=theme.marks(spec.compare.cells),
        fonts=fonts.choose(drawn),
        command=f"python -m harness.report {_shown(directory)}",
    )


def _shown(directory: Path) -> str:
    """A folder as a command names it: relative to where we are, if it lies there."""
    here, there = Path.cwd().resolve(), directory.resolve()
    path = there.relative_to(here) if there.is_relative_to(here) else directory
    text = path.as_posix()
    plain = all(letter.isalnum() or letter in "/._-+:" for letter in text)
    return text if plain else "'" + text.replace("'", "'\\''") + "'"


def _report(page: Page) -> Report:
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
    closed = [closing.caveats(page), closing.machine(page), closing.command(page)]
    closed.append(paper.section(page))
    return Report(
        language=words.language,
        title=words("page.title", name=summary.records.spec.study.name),
        question=summary.records.spec.study.question,
        answer=opening.sentences(page),
        opening=tuple(opened),
        sections=(*found, *_not_measured(page, absent), *closed),
        command=page.command,
        footer=words("page.made_by", version=harness.__version__),
    )


def _not_measured(page: Page, absent: Sequence[Section]) -> tuple[Section, ...]:
    """What this study did not measure, in one place."""
    if not absent:
        return ()
    items = (page.words("absent.item", title=one.title, reason=one.absent) for one in absent)
    return (Section("absent", page.words("absent.title"), (Points(tuple(items)),)),)


def _saved(picture: Picture, directory: Path) -> str:
    """Write the SVG and the PNG of a figure; returns the SVG for the page."""
    svg = _drawn(picture.figure, "svg").decode()
    write_text(directory / "figures" / f"{picture.name}.svg", markup.standalone_svg(svg))
    write_bytes(directory / "figures" / f"{picture.name}.png", _drawn(picture.figure, "png"))
    return markup.inline_svg(svg, picture.name, str(escape(picture.description)))


def _drawn(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(file, format=kind, dpi=PNG_DPI, facecolor="white", metadata=metadata)
    return file.getvalue()


def _environment(*, page: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reporting"),
        autoescape=page,  # noqa: S701  # Markdown has an escape filter of its own
        finalize=markup.unbroken if page else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _html(page: Page, report: Report, drawings: dict[str, str]) -> str:
    environment = _environment(page=True)
    style = resources.files("harness.reporting").joinpath("templates/report.css").read_text("utf-8")
    return environment.get_template("report.html.jinja").render(
        report=report,
        words=page.words,
        colours=theme.COLOURS,
        slots={cell: mark.slot for cell, mark in page.marks.items()},
        style=Markup(style),  # noqa: S704  # ours, from the package
        drawings={
            name: Markup(svg)  # noqa: S704  # matplotlib escapes the texts that it writes
            for name, svg in drawings.items()
        },
    )


def _markdown(page: Page, report: Report) -> str:
    environment = _environment(page=False)
    environment.filters["md"] = markup.escape_markdown
    environment.filters["lines"] = lambda text: markup.printable(text).replace("```", "'''")
    environment.filters["line"] = lambda text: " ".join(str(text).replace("```", "'''").split())
    return environment.get_template("report.md.jinja").render(report=report, words=page.words)
