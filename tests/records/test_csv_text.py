"""harness.records.csv_text: cells that no spreadsheet evaluates, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.records.csv_text import harmless_cell, original_text
from harness.records.result_tables import read_result_table
from harness.study import result_files
from tests.tally import Tally

FORMULAS = ("=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str, tally: Tally) -> None:
    """What begins a formula gets an apostrophe, which spreadsheets take for the mark of a text."""
    fault = "a text that a spreadsheet would evaluate, such as the label =1+1"
    with tally.each(fault, "stands as text in the CSV, and reads back") as count, count.one():
        assert harmless_cell(text) == f"'{text}"
        assert original_text(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "lstm", "'quoted'", "1-1", " =1", "tanh+bias"])
def test_other_text_is_as_it_is(text: str) -> None:
    """No apostrophe where none is needed, and none is taken away."""
    assert harmless_cell(text) == text == original_text(text)


@given(st.text() | st.text("'=+-@\t\r1"))
@example("'=1")
@example("''=1")
def test_every_text_reads_back(text: str) -> None:
    """Also one that begins with apostrophes itself."""
    assert original_text(harmless_cell(text)) == text


def test_labels_read_back_and_numbers_stay_numbers(tmp_path: Path) -> None:
    """A table: a label is harmless on the disk and whole when read; -0.5 is a number."""
    rows = [
        {
            "task": "adding",
            "cell": "=1+1",
            "repeat": 0,
            "number": 0,
            "end": "complete",
            "loss": 0.25,
            "skill": -0.5,
            "activation": "-tanh",
            "reason": "@x",
        }
    ]
    path = result_files.write_trials(tmp_path, rows, ["activation"])
    written = path.read_text().splitlines()[1].split(",")
    assert written[1] == "'=1+1"
    assert "-0.5" in written
    table = read_result_table(path)
    assert table is not None
    (read,) = table.to_dict("records")
    assert (read["cell"], read["reason"], read["activation"]) == ("=1+1", "@x", "-tanh")
    assert read["skill"] == -0.5
