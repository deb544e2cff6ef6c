"""Recordings of one side, with live processes.

Nothing is asserted of times but that they are there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.regress.history import FINGERPRINT_FIELDS, fingerprint_of
from harness.regress.json_files import Scalar
from harness.regress.measuring.comparison_runner import (
    MIN_BLOCK_ROUNDS,
    ComparisonRunner,
    SamplingPlan,
    TimedBlock,
)
from harness.regress.record.measure_recording import Recording, time_blocks
from harness.regress.sides.side import Side
from harness.regress.sides.side_client import StepError
from harness.regress.sides.side_environment import Target
from harness.regress.sides.worker_answers import SideFacts
from tests.regress.sided import QUICK, Silent, steps_file, worker_spec

MACHINE: dict[str, Scalar] = {**dict.fromkeys(FINGERPRINT_FIELDS, "x"), "gpu": None}
FACTS = SideFacts(MACHINE, {"OMP_A": "1"}, {"numpy": "2.1"})


SPEC = worker_spec()


def target_of(path: Path) -> Target:
    """A file of steps in this environment."""
    return Target(Side("worktree", ".", "."), worker_spec(label="steps"), path, folder=path.parent)


def test_a_round_has_the_canary_beside_every_benchmark() -> None:
    """xC yC zC and then Cz Cy Cx.

    The canary's time is the median of those beside each benchmark.
    """
    order, times = [], iter([1.0, 10.0, 2.0, 20.0, 3.0, 60.0, 60.0, 3.0, 20.0, 2.0, 10.0, 1.0])

    class Fake:
        spec = SPEC

        def ask(self, do: str, name: str, n_steps: int) -> dict[str, float]:
            order.append(f"{name}{n_steps}")
            return {"time_s": next(times)}

    side, canary = Fake(), Fake()
    runner = ComparisonRunner((None,), (side,), QUICK)  # type: ignore[arg-type]
    runner.n_steps = {"x": 1, "y": 2, "z": 3, "c": 5}
    every = [("x", (side,)), ("y", (side,)), ("z", (side,)), ("c", (canary,))]
    found = runner._round(every)  # type: ignore[arg-type]
    assert " ".join(order) == "x1 c5 y2 c5 z3 c5 c5 z3 c5 y2 c5 x1"
    assert found == {"x": (1.0,), "y": (1.0,), "z": (1.0,), "c": (4.0,)}


def test_an_entry_has_the_medians_of_blocks_and_the_facts_that_count() -> None:
    """By hand; packages and variables stay out of the history."""
    first = TimedBlock({"x": ((0.1,), (0.3,), (0.2,))}, ((0.02,), (0.01,), (0.03,)))
    second = TimedBlock({"x": ((0.4,), (float("nan"),), (0.4,))}, ((0.04,),) * 3)
    entry = Recording(QUICK, (first, second), FACTS, 1.0).entry("r", "today", {"harness": "0.1"})
    assert entry.figures_s == {"x": (0.2, 0.4)}
    assert entry.canary_s == (0.02, 0.04)
    assert set(entry.machine) == {
        *(*FINGERPRINT_FIELDS, "cpu_capability", "system", "cuda", "numpy", "native_kernels"),
        "harness",
    }
    assert entry.fingerprint == fingerprint_of(MACHINE)


def test_blocks_are_timed_for_real(tmp_path: Path) -> None:
    """As many as wanted, with as many rounds of the canary as of each benchmark."""
    path = steps_file(tmp_path / "steps.py", one=3, two=1)
    watcher = Silent()
    found = time_blocks(target_of(path), SamplingPlan(0.001, 5), 2, watcher)
    assert len(found.blocks) == 2
    for block in found.blocks:
        assert {name: len(rounds) for name, rounds in block.rounds.items()} == {"one": 5, "two": 5}
        assert len(block.canary) == 5
        assert all(0 < time_s < 10 for (time_s,) in (*block.canary, *block.rounds["one"]))
    entry = found.entry("r", "today")
    assert len(entry.canary_s) == 2
    assert entry.relative("one") > 0
    assert entry.machine["threads"] == 1
    assert [said for said in watcher.said if isinstance(said, tuple)] == [
        (("one", "two"), ()),
        (0, 2, ("one", "two")),
        (1, 2, ("one", "two")),
    ]


def test_a_budget_leaves_one_block(tmp_path: Path) -> None:
    """At least, and of few rounds."""
    path = steps_file(tmp_path / "steps.py", one=1)
    sampling = SamplingPlan(0.001, 24, budget_s=0.01)
    found = time_blocks(target_of(path), sampling, 3, Silent())
    assert [len(block.canary) for block in found.blocks] == [MIN_BLOCK_ROUNDS]


def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    """As bad input."""
    path = tmp_path / "steps.py"
    path.write_text("def one():\n    return None, lambda: [][0], 1")
    with pytest.raises(StepError, match=r"steps: one: expected steps.*IndexError") as caught:
        time_blocks(target_of(path), QUICK, 2, Silent())
    assert caught.value.exit_code == 2
