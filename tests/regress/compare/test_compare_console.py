"""The terminal and the step summary of a comparison."""

from __future__ import annotations

import dataclasses
import io

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from harness.regress.compare.comparison_files import ComparisonRecord, comparison_record
from harness.regress.compare.terminal_output import (
    COMPARISON_HEADS,
    CompareConsole,
    comparison_markdown,
    comparison_rows,
    conclusion,
    remarks,
)
from harness.regress.terminal_output import p_text
from tests.regress.compare.test_comparison_files import SIDES, comparison


@pytest.fixture
def record() -> ComparisonRecord:
    """A comparison in which lstm is slower and old is missing."""
    return comparison_record(comparison(), SIDES, 4, notes=("a [note]",))


def shown(record: ComparisonRecord) -> str:
    """What a log shows."""
    console = CompareConsole(Console(file=io.StringIO(), width=120))
    console.begin(["lstm"], ["old"])
    for n_done in range(6):
        console.block(n_done, 10, ["lstm"])
    console.done(record, "results/regress/a")
    assert isinstance(console.console.file, io.StringIO)
    return console.console.file.getvalue()


def test_a_log_has_few_lines_and_a_table(record: ComparisonRecord) -> None:
    """A line for five blocks; ratio, interval, p and verdict of each benchmark, and the canary."""
    text = shown(record)
    assert "head lacks old" in text
    assert [line for line in text.splitlines() if line.startswith("block")] == [
        line for line in text.splitlines() if line.startswith(("block 1 of 10", "block 6 of 10"))
    ]
    assert "+10.0 %" in text
    assert "REGRESSION: slower, and fresh blocks agree" in text
    assert "canary" in text
    assert "MISSING: head lacks old" in text
    assert "files: results/regress/a" in text


def test_a_regression_says_why(record: ComparisonRecord) -> None:
    """What differs, what grew, memory, what is new, and notes."""
    assert remarks(record) == [
        "memory of lstm: +10.0 % (1,000 B to 1.07 KiB)",
        "only head has new: not compared",
        "a [note]",
        "differs: threads: 1 -> 2",
        "differs: package numpy: 2.1 -> 2.2",
        "grew most in lstm: aten::lstm 10000 -> 20000 µs",
    ]


def test_the_step_summary_is_a_table(record: ComparisonRecord) -> None:
    """Markdown that renders: a row for each benchmark and the canary, names as they are."""
    first = dataclasses.replace(record.findings[0], name="a|b*c*<i>")
    record = dataclasses.replace(record, findings=(first, *record.findings[1:]))
    html = MarkdownIt().enable("table").render(comparison_markdown(record))
    assert html.count("<tr>") == 1 + 4 + 1
    assert "a|b*c*&lt;i&gt;" in html
    assert "<h3>MISSING: head lacks old</h3>" in html
    assert len(COMPARISON_HEADS) == html.count("<th") - html.count("<thead")


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        ("ok", "no benchmark is slower by 5 %"),
        ("regression", "lstm, memory of lstm regressed"),
        ("inconclusive", "too noisy"),
        ("contaminated", "do not trust these results"),
        ("missing", "head lacks old"),
    ],
)
def test_each_verdict_is_a_sentence(record: ComparisonRecord, verdict: str, says: str) -> None:
    """One that names what it is about."""
    assert says in conclusion(dataclasses.replace(record, verdict=verdict))  # type: ignore[arg-type]


def test_what_is_accepted_is_shown() -> None:
    """In its row, and with its reason."""
    found = comparison({"lstm": "worth it", "old": "of no use"})
    record = comparison_record(found, SIDES, 0)
    assert [texts[-1] for texts, _ in comparison_rows(record)] == [
        "REGRESSION, accepted",
        "OK",
        "OK",
        "MISSING, accepted",
        "still",
    ]
    assert "lstm accepted: worth it" in remarks(record)


def test_p_values_have_few_digits() -> None:
    """Small ones as powers of ten."""
    assert [p_text(p) for p in (0.5, 0.00098, 1e-6)] == ["0.500", "9.8e-04", "1.0e-06"]
