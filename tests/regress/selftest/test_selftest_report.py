"""The report of a selftest, from made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.regress.selftest.report import render_selftest
from harness.regress.selftest.selftest_files import SELFTEST_FILE, write_selftest
from harness.report.dispatch import render_folder
from harness.report.index import write_index
from tests.rendering.pages import visible_text
from tests.selftests import make_selftest, settings


def test_it_opens_with_false_alarms_and_what_was_found(tmp_path: Path) -> None:
    """A sentence each, exact intervals, what was only replayed, what to choose."""
    make_selftest(tmp_path, noise=0.004)
    answer = render_selftest(tmp_path)
    assert answer.text.startswith(
        "Of runs with the same code on both sides 0 of 6 (0 – 45.9 %) said REGRESSION; by replay 0 of 50 "
    )
    assert "A slow-down of 5 % was found with --detect 5 % in 4 of 4 (39.8 – 100 %)" in answer.text
    assert "A slow-down of 10 %, with --detect 5 %, was only replayed" in answer.text
    assert "On this machine choose --detect" in answer.text
    text = visible_text(answer.html.read_text("utf-8"))
    for part in ("Which --detect works on this machine", "How the runs came out", "lstm/h16"):
        assert part in text
    assert sorted(path.name for path in (tmp_path / "figures").glob("*.svg")) == [
        "blocks.svg",
        "rates.svg",
    ]


@pytest.mark.parametrize(
    ("noise", "n_alike", "said"),
    [(0.005, 1, "There are too few blocks"), (0.4, 6, "No --detect up to 20 % works")],
)
def test_no_choice_is_said(tmp_path: Path, noise: float, n_alike: int, said: str) -> None:
    """Where there are too few blocks, and where the machine is too noisy."""
    make_selftest(tmp_path, noise, n_alike)
    assert said in render_selftest(tmp_path).text


def test_it_is_drawn_again_as_any_folder_and_listed(tmp_path: Path) -> None:
    """By harness.report, and in the index with its answer and command."""
    folder = tmp_path / "reference" / "regress_selftest"
    folder.mkdir(parents=True)
    make_selftest(folder)
    assert render_folder(folder).html.is_file()
    index = write_index(tmp_path).read_text("utf-8")
    assert "regress_selftest" in index
    assert "How often is a verdict of a comparison wrong on this machine" in index
    assert "python -m harness.regress selftest" in index


def test_one_that_is_not_done_has_no_report(tmp_path: Path) -> None:
    """It is named, and how to go on."""
    write_selftest(tmp_path, settings())
    assert (tmp_path / SELFTEST_FILE).is_file()
    with pytest.raises(InputError, match="a selftest that is done"):
        render_folder(tmp_path)
