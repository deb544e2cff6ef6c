"""docs/reliability.md: its table is that of the records, and these are of tests that are there."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from tests import tally
from tests.tally import ROOT, Entry, Tally


def test_page_agrees_with_the_records() -> None:
    """The table is what the records give, so that no number in it was written by hand."""
    text = tally.PAGE.read_text(encoding="utf-8")
    assert tally.page(text, tally.read(tally.RECORDS)) == text


def test_records_are_of_tests_that_are_there() -> None:
    """Each record names a test of this version, and each test that counts faults has a record."""
    recorded = {each.test.partition("[")[0] for each in tally.read(tally.RECORDS)}
    there = {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(
            r"^def (test_\w+)\([^)]*\btally: Tally", path.read_text(), re.MULTILINE
        )
    }
    assert recorded == there


def test_nothing_was_lost() -> None:
    """What is promised was kept, each time."""
    assert [each for each in tally.read(tally.RECORDS) if each.lost or each.injected < 1] == []


def test_counts_are_added() -> None:
    """A test's parameters are one row, other promises another; all are added up at the end."""
    entries = [
        Entry("kill", "stays", "tests/a.py::test_a[1]", 3, 0),
        Entry("kill", "stays", "tests/a.py::test_a[2-x]", 4, 1),
        Entry("kill", "ends", "tests/a.py::test_a[1]", 5, 0),
    ]
    assert tally.table(entries).splitlines()[2:] == [
        "| kill | stays | 7 | 1 | `tests/a.py::test_a` |",
        "| kill | ends | 5 | 0 | `tests/a.py::test_a` |",
        "| **all** | | **12** | **1** | |",
    ]


def test_a_block_that_raises_is_lost() -> None:
    """Faults are counted one by one, and added up also where the last one ends the test."""
    kept = Tally("test")
    with suppress(ZeroDivisionError), kept.each("kill", "stays") as count:
        for number in (2, 1, 0):
            with count.one():
                assert 2 / number
    assert kept.entries == [Entry("kill", "stays", "test", injected=3, lost=1)]


def test_stored_where_it_is_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Records are appended to the file that the environment names, and read back.

    Without it nothing is written.
    """
    path = tmp_path_factory.mktemp("tally") / "faults.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tally.STORE, str(path))
        for number in (1, 2):
            kept = Tally(f"test_{number}")
            kept.add("kill", "stays", injected=number, lost=0)
            kept.store()
        patch.delenv(tally.STORE)
        kept.store()
    assert [(each.test, each.injected) for each in tally.read(path)] == [
        ("test_1", 1),
        ("test_2", 2),
    ]
