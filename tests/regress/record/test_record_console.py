"""The terminal and the step summary of a recording."""

from __future__ import annotations

import dataclasses
import io

from markdown_it import MarkdownIt
from rich.console import Console

from harness.regress.history import HistoryEntry, SpeedHistory
from harness.regress.record.run import RecordOutcome, beside_earlier
from harness.regress.record.terminal_output import (
    RECORD_HEADS,
    RecordConsole,
    record_markdown,
    record_remarks,
    record_rows,
)
from tests.regress.test_history import OTHER, entry


def recorded(
    *before: HistoryEntry, lstm: float | None = 0.33, torn_bytes: int = 0
) -> RecordOutcome:
    """A recording after others."""
    found = beside_earlier(entry("a1b2", lstm), SpeedHistory(before))
    return dataclasses.replace(found, history="h.jsonl", torn_bytes=torn_bytes)


def test_a_log_has_a_table_and_says_where_it_was_recorded() -> None:
    """A benchmark a row, the canary last."""
    console = RecordConsole(Console(file=io.StringIO(), width=120))
    console.begin(["lstm"], ())
    console.block(0, 5, ["lstm"])
    console.done(recorded(entry("r1"), entry("r2")))
    assert isinstance(console.console.file, io.StringIO)
    text = console.console.file.getvalue()
    assert "Recording 1 benchmark\n" in text
    assert "block 1 of 5, 1 benchmarks" in text
    assert "+10.0 %" in text
    assert "recorded: a1b2 as number 3 of fingerprint" in text


def test_what_was_not_measured_is_said() -> None:
    """And is never 0."""
    (row, canary) = record_rows(recorded(entry("r1"), lstm=None))
    assert row == ("lstm", "not measured", "not measured", "", "")
    assert canary == ("canary", "110 ms", "", "27.3 %", "")


def test_what_it_stands_beside_is_said() -> None:
    """Nothing, recordings of this machine, of this and others, or only of others.

    Then what differs from the newest.
    """
    first = record_remarks(recorded(torn_bytes=7))
    assert first[:2] == [
        "the first recording: there is nothing to compare it with",
        "a torn last line of 7 bytes was cut off",
    ]
    both = record_remarks(recorded(entry("r1"), entry("o", 0.1, OTHER)))
    assert both[0].startswith("change: against the recording before of this machine")
    assert both[1] == "left out: one recording of other machines or environments"
    newest = {**OTHER, "cores": 64, "gpu": "a card"}
    others = record_remarks(
        recorded(entry("n", 0.1, newest), entry("o", 0.1, OTHER), entry("n", 0.1, newest))
    )
    assert others[0].startswith("ANOTHER MACHINE OR ENVIRONMENT: none of the 3 recordings")
    assert [line.partition(": ")[2] for line in others[1:-1]] == [
        "cores: 64 -> 2",
        "torch: 2.13.0 -> 2.12.1",
        "gpu: a card -> none",
    ]


def test_the_step_summary_is_a_table() -> None:
    """Markdown that renders, names as they are."""
    outcome = recorded(entry("r1"))
    odd = dataclasses.replace(outcome.benchmarks[0], name="a|b*c*<i>")
    text = record_markdown(dataclasses.replace(outcome, benchmarks=(odd,)))
    html = MarkdownIt().enable("table").render(text)
    assert html.count("<tr>") == 1 + 2
    assert html.count("<th") - html.count("<thead") == len(RECORD_HEADS)
    assert "a|b*c*&lt;i&gt;" in html
