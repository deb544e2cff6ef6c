"""Writes a report to its files: report.html, report.md and figures/.

The files load nothing from a network.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from harness.records import write_bytes, write_text
from harness.records.file_lock import refuse_link
from harness.rendering import escaping, theme
from harness.rendering.document import Picture, Report
from harness.rendering.report_context import ReportContext

PNG_DPI = 160


@dataclasses.dataclass(frozen=True)
class WrittenReport:
    """A report on disk: its answer, its two files, and the (task, cell) without a valid result."""

    text: str
    html: Path
    markdown: Path
    missing: tuple[tuple[str, str], ...]


def write_report_files(
    report: Report, context: ReportContext, directory: Path, missing: tuple[tuple[str, str], ...]
) -> WrittenReport:
    """Write report.html, report.md and figures/ into `directory`; remove figures it lacks.

    Call it inside the `theme.style` that the figures were drawn in. The same report gives the same
    bytes on the same machine. Raises InputError where figures/ is a link.
    """
    refuse_link(directory / "figures")
    drawings = {picture.name: _saved(picture, directory) for picture in report.pictures()}
    for name in report.figures:
        if name not in drawings:
            for suffix in (".svg", ".png"):
                (directory / "figures" / (name + suffix)).unlink(missing_ok=True)
    html = write_text(directory / "report.html", _html(context, report, drawings))
    markdown = write_text(directory / "report.md", _markdown(context, report))
    return WrittenReport(" ".join(report.answer), html, markdown, missing)


def _saved(picture: Picture, directory: Path) -> str:
    """Write the SVG and the PNG of a figure; return the SVG for the page."""
    svg = _drawn(picture.figure, "svg").decode()
    write_text(directory / "figures" / f"{picture.name}.svg", escaping.standalone_svg(svg))
    write_bytes(directory / "figures" / f"{picture.name}.png", _drawn(picture.figure, "png"))
    return escaping.inline_svg(svg, picture.name, str(escape(picture.description)))


def _drawn(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(file, format=kind, dpi=PNG_DPI, facecolor="white", metadata=metadata)
    return file.getvalue()


def _environment(*, is_html: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.rendering"),
        autoescape=is_html,  # noqa: S701  # Markdown has an escape filter of its own
        finalize=escaping.unbroken if is_html else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _html(context: ReportContext, report: Report, drawings: dict[str, str]) -> str:
    environment = _environment(is_html=True)
    style = resources.files("harness.rendering").joinpath("templates/report.css").read_text("utf-8")
    return environment.get_template("report.html.jinja").render(
        report=report,
        messages=context.messages,
        colours=_colours(drawings),
        slots={cell: each.slot for cell, each in context.styles.items()},
        style=Markup(style),  # noqa: S704  # ours, from the package
        drawings={
            name: Markup(svg)  # noqa: S704  # matplotlib escapes the texts that it writes
            for name, svg in drawings.items()
        },
    )


def _colours(drawings: Mapping[str, str]) -> tuple[theme.Colour, ...]:
    """The colours of a page: those for ratios only if a figure uses them."""
    return tuple(
        colour
        for colour in theme.COLOURS
        if colour not in theme.SCALE or any(f"--{colour.name})" in svg for svg in drawings.values())
    )


def _markdown(context: ReportContext, report: Report) -> str:
    environment = _environment(is_html=False)
    environment.filters["md"] = escaping.escape_markdown
    environment.filters["lines"] = lambda text: escaping.without_control_characters(text).replace(
        "```", "'''"
    )
    environment.filters["line"] = lambda text: " ".join(str(text).replace("```", "'''").split())
    return environment.get_template("report.md.jinja").render(
        report=report, messages=context.messages
    )
