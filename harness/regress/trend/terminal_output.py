"""The result of a trend: its answer and the table of change points, also as Markdown."""

from __future__ import annotations

from typing import Final

from harness.regress.terminal_output import (
    ProgressConsole,
    markdown_table,
    markdown_text,
    n_recordings,
    open_progress_console,
    p_text,
)
from harness.regress.trend.trend_file import TrendRecord

CHANGE_HEADS: Final = ("benchmark", "revision", "recorded", "change", "p", "fingerprint")


def show_trend(record: TrendRecord, answer: str, report: str, *, on_stderr: bool) -> None:
    """Show the table of change points, the answer, and where the report is."""
    with open_progress_console(ProgressConsole, on_stderr=on_stderr) as console:
        if rows := change_rows(record):
            console.print_table(CHANGE_HEADS, rows)
        for text in (answer, f"report: {report}"):
            console.print(text)


def change_rows(record: TrendRecord) -> list[tuple[str, ...]]:
    """All change points as rows of texts, by machine, in the order of their recordings."""
    return [
        (
            benchmark.name,
            machine.revisions[change.position],
            machine.recorded[change.position].partition("T")[0],  # its day
            f"{100 * (change.ratio - 1):+.1f} %",
            p_text(change.p_value),
            machine.fingerprint,
        )
        for machine in record.machines
        for benchmark, change in machine.changes
    ]


def trend_markdown(record: TrendRecord, answer: str) -> str:
    """The answer and the change points for a CI's step summary."""
    n = sum(len(machine.revisions) for machine in record.machines)
    lines = [f"### Trend over {n_recordings(n)}", "", markdown_text(answer)]
    if rows := change_rows(record):
        lines += ["", *markdown_table(CHANGE_HEADS, rows)]
    return "\n".join(lines) + "\n"
