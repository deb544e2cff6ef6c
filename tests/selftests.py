"""A selftest's runs made up: blocks of a known noise, so that what is counted is known too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.regress.json_files import Scalar
from harness.regress.measuring.blocks import BlockRatios
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.selftest.run import SelftestOptions, plan_runs, summary
from harness.regress.selftest.selftest_files import (
    RUNS_FILE,
    Injected,
    RunConditions,
    SelftestRecord,
    SelftestSettings,
    append_run,
    read_runs,
    selftest_run,
    write_selftest,
)
from harness.regress.verdict.decision_rules import rules_for
from harness.regress.verdict.resampling import run_through, slowed
from harness.regress.verdict.verdicts import Family

NAMES = ("gru/h16", "lstm/h16", "rnn/h16")
MACHINE: Mapping[str, Scalar] = {"cpu": "A processor", "cpu_flags": "avx2", "cores": 2} | {  # type: ignore[assignment]
    "torch": "2.13.0",
    "blas": "mkl",
    "threads": 1,
    "python": "3.11.7",
    "gpu": None,
}
EFFECTS: dict[str, Any] = {0.03: 2, 0.05: 4, 0.1: 0}  # type: ignore[dict-item]


def settings(n_alike: int = 6) -> SelftestSettings:
    """What selftest.json holds before anything is timed."""
    return SelftestSettings(
        names=NAMES,
        detect=0.05,
        effects=tuple(EFFECTS.items()),  # type: ignore[arg-type]
        n_alike=n_alike,
        pace=SamplingPlan(),
        machine=dict(MACHINE),
    )


def make_runs(folder: Path, noise: float = 0.007, n_alike: int = 6) -> tuple[Injected, ...]:
    """Write runs.jsonl, each run as far as the rules let it go."""
    generator = np.random.default_rng(0)
    planned = plan_runs(NAMES, EFFECTS, 0.05, n_alike)  # type: ignore[arg-type]
    for each in planned:
        drawn = []
        for values in generator.normal(0, noise, (25, len(NAMES) + 1)).tolist():
            block = BlockRatios(dict(zip(NAMES, values[1:], strict=True)), values[0])
            drawn.append(slowed(block, each.slowed, each.effect) if each.slowed else block)
        outcome = run_through(drawn, Family(NAMES), rules_for(len(NAMES), each.detect))
        conditions = RunConditions(60.0, 1.5, "2026-11-27T12:00:00+00:00")
        run = selftest_run(each, outcome, drawn[: outcome.n_blocks], conditions)
        append_run(folder / RUNS_FILE, run)
    return planned


def make_selftest(folder: Path, noise: float = 0.007, n_alike: int = 6) -> SelftestRecord:
    """A folder of a selftest that is done; returns what selftest.json holds."""
    make_runs(folder, noise, n_alike)
    options = SelftestOptions(n_replays=50, command="python -m harness.regress selftest")
    record = summary(read_runs(folder), settings(n_alike), options)
    write_selftest(folder, record)
    return record
