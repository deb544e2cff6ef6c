"""The terminal and the step summary of a recording and of a trend."""

from __future__ import annotations

import io
from typing import Any

from markdown_it import MarkdownIt
from rich.console import Console

from harness.regress.trend.console import (
    CHANGE_HEADS,
    RECORD_HEADS,
    RecordConsole,
    change_rows,
    record_markdown,
    record_remarks,
    record_rows,
    trend_markdown,
)
from harness.regress.trend.history import History
from harness.regress.trend.record import shown
from tests.regress.trend.test_history import OTHER, entry


def plain(*before: Any, lstm: float | None = 0.33, torn_bytes: int = 0) -> dict[str, Any]:
    """A recording after others."""
    found = shown(entry("a1b2", lstm), History(before))
    return {**found, "history": "h.jsonl", "torn_bytes": torn_bytes}


def test_a_log_has_a_table_and_says_where_it_was_recorded() -> None:
    """A benchmark a row, the canary last."""
    console = RecordConsole(Console(file=io.StringIO(), width=120))
    console.begin(["lstm"], ())
    console.block(0, 5, ["lstm"])
    console.done(plain(entry("r1"), entry("r2")))
    assert isinstance(console.lines.console.file, io.StringIO)
    text = console.lines.console.file.getvalue()
    assert "Recording 1 benchmark\n" in text
    assert "block 1 of 5, 1 benchmarks" in text
    assert "+10.0 %" in text
    assert "recorded: a1b2 as number 3 of fingerprint" in text


def test_what_was_not_measured_is_said() -> None:
    """And is never 0."""
    (row, canary) = record_rows(plain(entry("r1"), lstm=None))
    assert row == ("lstm", "not measured", "not measured", "", "")
    assert canary == ("canary", "110 ms", "", "27.3 %", "")


def test_what_it_stands_beside_is_said() -> None:
    """Nothing, recordings of this machine, of this and others, or only of others.

    Then what differs from the newest.
    """
    first = record_remarks(plain(torn_bytes=7))
    assert first[:2] == [
        "the first recording: there is nothing to compare it with",
        "a torn last line of 7 bytes was cut off",
    ]
    both = record_remarks(plain(entry("r1"), entry("o", 0.1, OTHER)))
    assert both[0].startswith("change: against the recording before of this machine")
    assert both[1] == "left out: one recording of other machines or environments"
    newest = {**OTHER, "cores": 64, "gpu": "a card"}
    others = record_remarks(
        plain(entry("n", 0.1, newest), entry("o", 0.1, OTHER), entry("n", 0.1, newest))
    )
    assert others[0].startswith("ANOTHER MACHINE OR ENVIRONMENT: none of the 3 recordings")
    assert [line.partition(": ")[2] for line in others[1:-1]] == [
        "cores: 64 -> 2",
        "torch: 2.13.0 -> 2.12.1",
        "gpu: a card -> none",
    ]


def test_the_step_summaries_are_tables() -> None:
    """Markdown that renders, names as they are."""
    recorded = plain(entry("r1"))
    recorded["benchmarks"][0]["name"] = "a|b*c*<i>"
    html = MarkdownIt().enable("table").render(record_markdown(recorded))
    assert html.count("<tr>") == 1 + 2
    assert html.count("<th") - html.count("<thead") == len(RECORD_HEADS)
    assert "a|b*c*&lt;i&gt;" in html
    change = {"position": 1, "ratio": 0.9, "p_value": 0.0002}
    machine = {"revisions": ["r1", "r2"], "recorded": ["x", "2026-01-02T03:04:05"]}
    machine |= {"fingerprint": "f", "benchmarks": [{"name": "a|b", "changes": [change]}]}
    assert change_rows({"machines": [machine]}) == [
        ("a|b", "r2", "2026-01-02", "-10.0 %", "2.0e-04", "f")
    ]
    html = MarkdownIt().enable("table").render(trend_markdown({"machines": [machine]}, "It *did*."))
    assert html.count("<th") - html.count("<thead") == len(CHANGE_HEADS)
    assert "<p>It *did*.</p>" in html
