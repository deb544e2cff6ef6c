"""A selftest's runs made up: blocks of a known noise, so that what is counted is known too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.regress.measuring.blocks import Block
from harness.regress.selftest.records import RUNS, append_run, read_runs, run_of, write_selftest
from harness.regress.selftest.run import Planned, SelftestOptions, plan, summary
from harness.regress.verdict.decision_rules import rules_for
from harness.regress.verdict.resampling import run_through, slowed
from harness.regress.verdict.verdicts import Family

NAMES = ("gru/h16", "lstm/h16", "rnn/h16")
MACHINE: Mapping[str, Any] = {"cpu": "A processor", "cpu_flags": "avx2", "cores": 2} | {
    "torch": "2.13.0",
    "blas": "mkl",
    "threads": 1,
    "python": "3.11.7",
    "gpu": None,
}
EFFECTS = {0.03: 2, 0.05: 4, 0.1: 0}


def settings(n_alike: int = 6) -> dict[str, Any]:
    """What selftest.json holds before anything is timed."""
    return {
        "names": list(NAMES),
        "detect": 0.05,
        "effects": [list(each) for each in EFFECTS.items()],
        "n_alike": n_alike,
        "pace": {"slice_s": 0.003, "n_rounds": 96, "budget_s": None},
        "machine": dict(MACHINE),
    }


def make_runs(folder: Path, noise: float = 0.007, n_alike: int = 6) -> tuple[Planned, ...]:
    """Write runs.jsonl, each run as far as the rules let it go."""
    generator = np.random.default_rng(0)
    planned = plan(NAMES, EFFECTS, 0.05, n_alike)
    for each in planned:
        drawn = []
        for values in generator.normal(0, noise, (25, len(NAMES) + 1)).tolist():
            block = Block(dict(zip(NAMES, values[1:], strict=True)), values[0])
            drawn.append(slowed(block, each.slowed, each.effect) if each.slowed else block)
        outcome = run_through(drawn, Family(NAMES), rules_for(len(NAMES), each.detect))
        line = run_of(each.number, (each.effect, each.slowed), each.detect, outcome)
        line |= {"wall_time_s": 60.0, "load": 1.5, "recorded": "2026-11-27T12:00:00+00:00"}
        append_run(folder / RUNS, line, tuple(drawn[: outcome.n_blocks]))
    return planned


def make_selftest(folder: Path, noise: float = 0.007, n_alike: int = 6) -> dict[str, Any]:
    """A folder of a selftest that is done; returns what selftest.json holds."""
    make_runs(folder, noise, n_alike)
    options = SelftestOptions(n_replays=50)
    plain = settings(n_alike)
    plain |= summary(read_runs(folder), NAMES, 0.05, tuple(EFFECTS), options)
    plain["command"] = "python -m harness.regress selftest"
    write_selftest(folder, plain)
    return plain
