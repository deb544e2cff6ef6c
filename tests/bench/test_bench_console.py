"""harness.bench.terminal_output: what a person sees of a bench, on a terminal and in a log."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import config as specs
from harness.bench.run import BenchOutcome
from harness.bench.terminal_output import BenchConsole
from harness.cells import CELLS
from tests.timed import inference_answer, training_answer

GRID: dict[str, Any] = {
    "grid": {"name": "small"},
    "compare": {"cells": ["rnn", "lstm"], "variants": ["plain", "tuned", "tf32"]},
    "shape": {"hidden_size": 16},
    "vary": [{"hidden_size": [8, 16]}],
    "inference": {"n_calls": 5},
}
SPEC = specs.parse_grid(GRID, "small.toml")
GROUPS = specs.training_groups(SPEC, CELLS, "cpu")
Told = tuple[BenchConsole, Callable[[], str]]


def told(*, terminal: bool = False) -> Told:
    """A console of the small grid, and what it has printed so far."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    return BenchConsole(SPEC, console), file.getvalue


def outcome(results: Sequence[Any]) -> BenchOutcome:
    """A finished bench."""
    return BenchOutcome(
        Path("results/small"),
        Path("results/small/throughput.json"),
        tuple(results),
        Path("results/small/report.html"),
    )


def test_a_log_has_a_line_for_each_group_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left follows from the benchmarks so far: 6 of 12 in 100 s leave 100 s."""
    clock = iter([0.0, 100.0])
    monkeypatch.setattr("harness.bench.terminal_output.time.monotonic", lambda: next(clock))
    console, said = told()
    console.begin(GROUPS, kept=3)
    for group in GROUPS:
        console.step(group, "interleaved blocks")
        console.finished(group, training_answer({"benchmarks": group.benchmarks}))
    lines = said().splitlines()
    assert lines == [
        "Measuring small: 12 benchmarks in 2 groups, 3 of 5 groups measured before",
        "1 of 2: hidden size 8, 1 layer, length 100, batch 32 on cpu, about 2 min left",
        "2 of 2: hidden size 16, 1 layer, length 100, batch 32 on cpu",
    ]


def test_a_terminal_has_a_bar_that_moves_only_when_something_happens() -> None:
    """No thread redraws it: that would run beside what is measured."""
    console, said = told(terminal=True)
    console.begin(GROUPS, kept=0)
    assert console.live is not None
    assert console.live.live.auto_refresh is False
    console.step(GROUPS[0], "warm-up of [a]")
    console.finished(GROUPS[0], training_answer({"benchmarks": GROUPS[0].benchmarks}))
    console.close()
    assert "0/2 groups" in said()
    assert "warm-up of [a]" in said()
    assert "1/2 groups, about 1 s left" in said()


def test_what_failed_is_said_but_not_without_end() -> None:
    """Ten failures are told as they come, all are counted at the end."""
    console, said = told()
    console.begin(GROUPS, kept=0)
    answer = training_answer({"benchmarks": GROUPS[0].benchmarks})
    failed = dataclasses.replace(answer.results[0], timed=None, error="no [memory]")
    console.finished(GROUPS[0], dataclasses.replace(answer, results=(failed,) * 12))
    assert said().count("no [memory]") == 10
    console.done_with(outcome([]))
    assert "12 benchmarks failed; run the same command to try their groups again" in said()


def test_what_failed_is_said_in_printable_letters() -> None:
    """An exception's text may hold letters that a terminal obeys."""
    console, said = told()
    console.begin(GROUPS, kept=0)
    answer = training_answer({"benchmarks": GROUPS[0].benchmarks})
    failed = dataclasses.replace(answer.results[0], timed=None, error="\x9b31m\u202e")
    console.finished(GROUPS[0], dataclasses.replace(answer, results=(failed,)))
    assert "\\x9b31m\\u202e" in said()


def test_the_table_at_the_end_is_of_the_grids_own_shape() -> None:
    """Each cell and variant with its rate and its speed-up with the interval.

    What is not to be had was noted before.
    """
    console, said = told()
    rows = [
        row for group in GROUPS for row in training_answer({"benchmarks": group.benchmarks}).results
    ]
    console.done_with(outcome(rows))
    text = said()
    assert (
        "training step at hidden size 16, num layers 1, sequence length 100, batch size 32" in text
    )
    (line,) = (line for line in text.splitlines() if "lstm" in line and "tuned" in line)
    assert "3,140" in line  # 32 sequences in 0.0102 s
    assert "1.50 (1.40 to 1.60)" in line
    assert "tf32" not in text
    assert "tables: results/small/throughput.csv" in text.replace("\\", "/")
    assert "report: results/small/report.html" in text.replace("\\", "/")


def test_another_shape_is_shown_where_the_own_was_not_measured() -> None:
    """A grid need not time its own point."""
    console, said = told()
    console.done_with(outcome(training_answer({"benchmarks": GROUPS[0].benchmarks}).results))
    assert "hidden size 8" in said()


def test_the_table_of_calls() -> None:
    """Inference shows the step's latency, its tail and the bytes of its weights."""
    console, said = told()
    groups = specs.inference_groups(SPEC, CELLS)
    rows = [
        row
        for group in groups
        for row in inference_answer({"benchmarks": group.benchmarks, "n_calls": 5}).results
    ]
    console.done_with(outcome(rows))
    (line,) = (line for line in said().splitlines() if "lstm" in line and "bfloat16" in line)
    assert "no bfloat16 here" in line
    (line,) = (
        line
        for line in said().splitlines()
        if "rnn" in line and "float32" in line and "b" not in line
    )
    assert "400" in line
    assert "step at hidden size 16, num layers 1" in said()
