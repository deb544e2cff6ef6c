"""The terminal and the step summary of a selftest."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from harness.regress.selftest.selftest_files import Injected
from harness.regress.selftest.terminal_output import (
    SELFTEST_HEADS,
    SelftestConsole,
    advice_text,
    deviation_text,
    selftest_markdown,
    selftest_rows,
)
from harness.regress.verdict.resampling import Advice
from tests.selftests import make_selftest


def test_a_line_a_run_then_a_table(tmp_path: Path) -> None:
    """What was injected, the verdict, how long it will take.

    Then rates with exact intervals, and the advice.
    """
    record = make_selftest(tmp_path)
    console = SelftestConsole(Console(file=io.StringIO(), width=140))
    console.plan(12, 3, ["gru/h16"])
    outcome = cast("Any", SimpleNamespace(verdict="regression", n_blocks=15))
    planned = Injected(3, 0.05, "gru/h16", 0.05)
    console.run(planned)
    console.block(1, 10, ["gru/h16"])
    console.verdict(planned, outcome, 71.0)
    console.replaying(60)
    console.done(record, "out/report.html")
    text = cast("io.StringIO", console.console.file).getvalue()
    assert "12 runs of 1 benchmarks, 3 of them kept from before" in text
    assert "run 4 of 12, gru/h16 5 % slower: REGRESSION after 15 blocks, 71 s; " in text
    assert "0 of 6 (0 to 45.9 %)" in text
    assert "4 of 4 (39.8 to 100 %)" in text
    assert "report: out/report.html" in text


def test_markdown_has_the_same(tmp_path: Path) -> None:
    """A table of as many columns, and two sentences."""
    record = make_selftest(tmp_path)
    text = selftest_markdown(record)
    assert f"| {' | '.join(SELFTEST_HEADS)} |" in text
    assert [len(row) for row in selftest_rows(record)] == [len(SELFTEST_HEADS)] * 4
    assert selftest_rows(record)[3][2:5:2] == ("not measured", "not measured")
    assert "A block of the same code deviates by" in text
    assert "Choose --detect" in text


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    """Without blocks there is no deviation; with too few, and on a noisy machine, no advice."""
    record = make_selftest(tmp_path)
    none = dataclasses.replace(record, deviation={"a": None}, n_blocks=0)
    said = "How much blocks deviate was not measured: no runs of the same code"
    assert deviation_text(none) == said
    few = dataclasses.replace(record, advice=Advice(None, ()))
    assert "Too few blocks" in advice_text(few)
    (rates, *_) = [case.runs for case in record.rates]
    rates = dataclasses.replace(rates, detect=0.2)
    noisy = dataclasses.replace(record, advice=Advice(None, ((rates, rates),)))
    assert "No --detect up to 20% works" in advice_text(noisy)
