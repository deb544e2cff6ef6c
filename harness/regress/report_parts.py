"""What the reports of compare, selftest and trend share: writing, sections and phrases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from harness.columns import significant
from harness.regress.json_files import EstimateRecord, Scalar
from harness.rendering import fonts, render, theme
from harness.rendering.document import Code, Paragraph, Report, Section
from harness.rendering.messages import Messages, load_messages
from harness.rendering.render import WrittenReport
from harness.rendering.report_context import ReportContext, report_command

_OMITTED: Final = ("settings", "cpu_flags")


def write_regress_report(
    directory: Path, language: str, names: Iterable[str], build: Callable[[ReportContext], Report]
) -> WrittenReport:
    """Build a report in its style and write report.html, report.md and figures/ into the folder.

    `names` are the texts that the figures show beside the messages: they decide the fonts.
    """
    messages = load_messages(language)
    chosen = fonts.choose([*messages.texts.values(), *names])
    context = ReportContext(messages, {}, chosen, report_command(directory), (), ())
    with theme.style(context.fonts.families):
        return render.write_report_files(build(context), context, directory, ())


def shown_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """The facts of a machine that a report shows."""
    return {name: value for name, value in facts.items() if name not in _OMITTED}


def rerun_section(context: ReportContext, typed: str, kind: str, *, files: str = "") -> Section:
    """How to make the result and the report again; `kind` is "compare" or "trend"."""
    messages = context.messages
    blocks: list[Paragraph | Code] = []
    if typed:
        blocks += [Paragraph(messages.of(f"{kind}.command", "run")), Code(typed)]
    blocks += [Paragraph(messages.of(f"{kind}.command", "report")), Code(context.command)]
    blocks += [Paragraph(files, quiet=True)] if files else []
    return Section("command", messages("command.title"), tuple(blocks))


# --- Texts ------------------------------------------------------------------------------------


def percent_text(messages: Messages, fraction: float) -> str:
    """A fraction as a percentage: 5 %."""
    return messages("percent", value=f"{100 * fraction:g}")


def change_text(messages: Messages, ratio: float) -> str:
    """A ratio as a change: +5.0 %."""
    return messages("percent", value=f"{100 * (ratio - 1):+.1f}")


def estimated_change(messages: Messages, ratio: EstimateRecord) -> str:
    """An estimated ratio as a change."""
    return messages("not_measured") if ratio.value is None else change_text(messages, ratio.value)


def interval_of_change(messages: Messages, ratio: EstimateRecord) -> str:
    """The interval of a ratio, as changes; a dash where there is none."""
    if ratio.low is None or ratio.high is None:
        return messages("none")
    low = f"{100 * (ratio.low - 1):+.1f}"
    return messages("range", low=low, high=change_text(messages, ratio.high))


def p_value_text(messages: Messages, p_value: float | None) -> str:
    """A p-value in two digits; a dash where there is none."""
    return messages("none") if p_value is None else significant(p_value, 2)


def or_dash(messages: Messages, value: Scalar) -> str:
    """A fact as a text; a dash where there is none."""
    return messages("none") if value in (None, "") else str(value)
