"""Comparisons with live processes.

Verdicts are asserted for large injected effects only, times never.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.processes.worker_client import WorkerSpec
from harness.regress.measuring.blocks import BlockRatios
from harness.regress.measuring.comparison_runner import (
    MIN_BLOCK_ROUNDS,
    CompareConfig,
    ComparisonResult,
    ComparisonRunner,
    SamplingPlan,
    TimedBlock,
    compare_targets,
)
from harness.regress.measuring.peak_memory import Footprint
from harness.regress.sides.side import Side
from harness.regress.sides.side_client import StepError, side_clients
from harness.regress.sides.side_environment import Target
from harness.regress.sides.worker_answers import LoadedSteps
from harness.regress.verdict.decision_rules import Rules, rules_for
from tests.regress.sided import FEW, QUICK, Silent, steps_file, worker_spec

HERE = Side("worktree", ".", ".")


def targets(base: Path, head: Path) -> tuple[Target, Target]:
    """Two files of steps in this environment."""
    return (
        Target(HERE, worker_spec(label="base"), base, folder=base.parent),
        Target(HERE, worker_spec(label="head"), head, folder=head.parent),
    )


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonResult, list[object]]:
    """Head does twice the matrix products, lacks one benchmark, and has a new one."""
    folder = tmp_path_factory.mktemp("slowed")
    base = steps_file(folder / "base.py", kept=100, dropped=1)
    head = steps_file(folder / "head.py", kept=200, added=1)
    watcher = Silent()
    asked = CompareConfig(accept=("dropped=was of no use",), sampling=QUICK, rules=FEW)
    return compare_targets(*targets(base, head), asked, watcher), watcher.said


@pytest.mark.nightly
@pytest.mark.alone
def test_more_work_is_a_regression(slowed: tuple[ComparisonResult, list[object]]) -> None:
    """Twice the same work, found after 3 blocks and confirmed by 2."""
    comparison, said = slowed
    finding, missing = comparison.outcome.findings
    assert (finding.name, finding.verdict, finding.reason) == ("kept", "regression", "confirmed")
    assert finding.ratio.value is not None
    assert 1.3 < finding.ratio.value < 3.0
    assert (missing.name, missing.verdict, missing.accepted) == (
        "dropped",
        "missing",
        "was of no use",
    )
    assert comparison.only_in_head == ("added",)
    assert comparison.verdict == "regression"
    assert comparison.exit_code() == 1
    assert (("kept",), ("dropped",)) in said
    assert (3, 5, ("kept",)) in said


@pytest.mark.alone
def test_the_profiler_says_what_grew(slowed: tuple[ComparisonResult, list[object]]) -> None:
    """Matrix products, by their operator; and the environments, which are one, do not differ."""
    (explained,) = slowed[0].explained
    assert explained.name == "kept"
    assert explained.operators[0].operator == "aten::mm"
    assert slowed[0].differences == ()


@pytest.mark.alone
def test_a_block_has_the_rounds_of_each_benchmark_and_the_canary(
    slowed: tuple[ComparisonResult, list[object]],
) -> None:
    """Seconds a step of both sides, as many rounds as asked for; memory of what both have."""
    comparison, _ = slowed
    assert len(comparison.blocks) == 5
    for block in comparison.blocks:
        assert set(block.rounds) == {"kept"}
        assert len(block.rounds["kept"]) == len(block.canary) == QUICK.n_rounds
        assert all(0 < time_s < 1 for both in block.canary for time_s in both)
    assert set(comparison.n_steps) == {"kept", "canary"}
    assert comparison.sequences["kept"] == 8
    assert [each.name for each in comparison.footprints] == ["kept"]


def test_a_round_is_ab_for_all_and_then_ba_for_all() -> None:
    """No slice follows one of its own process, and each side is first as often as second."""
    order = []

    class Fake:
        def __init__(self, side: str, time_s: float) -> None:
            self.side, self.time_s, self.spec = side, time_s, worker_spec()

        def ask(self, do: str, name: str, n_steps: int) -> dict[str, float]:
            order.append(f"{self.side} {name}")
            return {"time_s": self.time_s * n_steps}

    base, head = Fake("A", 1.0), Fake("B", 3.0)
    runner = ComparisonRunner((None, None), (base, head), QUICK)  # type: ignore[arg-type]
    runner.n_steps = {"x": 5, "y": 7}
    found = runner._round([("x", (base, head)), ("y", (base, head))])  # type: ignore[list-item]
    assert order == ["A x", "B x", "A y", "B y", "B x", "A x", "B y", "A y"]
    assert found == {"x": (1.0, 3.0), "y": (1.0, 3.0)}


def test_the_value_of_a_block_is_the_median_of_its_rounds() -> None:
    """Log of head over base, round by round; by hand."""
    rounds = tuple((1.0, ratio) for ratio in (1.0, 1.1, 1.2, 9.0, 1.1))
    block = TimedBlock({"x": rounds}, tuple((2.0, 2.0) for _ in range(5)))
    assert block.ratios == BlockRatios({"x": pytest.approx(math.log(1.1))}, 0.0)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("budget_s", "n_rounds"),
    [(None, 96), (1000.0, 96), (200.0, 30), (100.0, MIN_BLOCK_ROUNDS), (1.0, MIN_BLOCK_ROUNDS)],
)
def test_a_budget_makes_blocks_shorter(budget_s: float | None, n_rounds: int) -> None:
    """So that those ten that are left fit into 85 % of it.

    Each takes 2 s to set up, and a round takes half a second.
    """
    runner = ComparisonRunner((), (), SamplingPlan(budget_s=budget_s))
    runner.set_up_s, runner.round_s = 2.0, 0.5
    assert runner._n_rounds(10, runner.started) == n_rounds


def test_sides_of_one_environment_change_servers() -> None:
    """From block to block, each with the other's seat, so that errors still name the right side."""
    with side_clients((worker_spec(label="base"), worker_spec(label="head"))) as sides:
        runner = ComparisonRunner((), sides, QUICK)
        runner.canaries = ()
        runner._renew()
        assert runner.sides == sides[::-1]
        assert [client.spec.label for client in runner.sides] == ["base", "head"]


def test_sides_of_two_environments_have_new_servers() -> None:
    """A server can be only that of its own environment, so each block starts others."""
    other = dataclasses.replace(worker_spec(label="head"), environment={**os.environ, "A": "b"})
    with side_clients((worker_spec(label="base"), other)) as sides:
        before = [client.pid for client in sides]
        runner = ComparisonRunner((), sides, QUICK)
        runner.canaries = ()
        runner._renew()
        assert runner.sides == sides
        assert not {client.pid for client in sides} & set(before)


class Scripted:
    """Stands where a process does, and writes down who ran how many steps."""

    def __init__(self, name: str, environment: str, log: list[tuple[str, str, int]]) -> None:
        self.name, self.log = name, log
        self.spec = WorkerSpec(name, ("python", "worker"), {"environment": environment})

    def ask(self, do: str, name: str, n_steps: int) -> dict[str, float]:
        """A slice takes a second."""
        assert do == "slice"
        self.log.append((self.name, name, n_steps))
        return {"time_s": 1.0}


@pytest.mark.parametrize("other", ["same", "another"])
def test_nobody_has_the_luck_to_follow_its_own_environment(other: str) -> None:
    """With two environments head goes before each slice of base and of both canaries.

    With one nothing is put between.
    """
    log: list[tuple[str, str, int]] = []
    names = ("base", "head", "canary 0", "canary 1")
    base, head, *canaries = (
        Scripted(name, other if name == "head" else "same", log) for name in names
    )
    runner = ComparisonRunner((), (base, head), QUICK)  # type: ignore[arg-type]
    runner.n_steps = {"x": 3, "y": 2, "canary": 5}
    every = [("x", (base, head)), ("y", (base, head)), ("canary", tuple(canaries))]
    for _ in range(3):
        rounds = runner._round(every)  # type: ignore[arg-type]
        assert rounds == {"x": (1 / 3, 1 / 3), "y": (1 / 2, 1 / 2), "canary": (1 / 5, 1 / 5)}
    before = [(first[0], then[0]) for first, then in itertools.pairwise(log)]
    assert sum(n_steps > 1 for _, _, n_steps in log) == 3 * 12
    if other == "same":
        assert len(log) == 3 * 12
        return
    assert log[0] == ("head", "x", 1)
    assert {first for first, then in before if then != "head"} == {"head"}
    assert "head" not in {
        first
        for (first, then), (_, _, n) in zip(before, log[1:], strict=True)
        if then == "head" and n > 1
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_all_processes_of_a_block_keep_to_one_core() -> None:
    """Another one in the next block, if there are two; none where a side has several threads."""
    cores = sorted(os.sched_getaffinity(0))
    with side_clients((worker_spec(label="base"), worker_spec(label="head"))) as sides:
        runner = ComparisonRunner((), sides, QUICK)
        runner.canaries = ()
        for turn in range(2):
            for client in sides:
                client.fresh()
                client.ask("load", file="", paths=[], folder="")
            runner.n_blocks = turn
            runner._pin([LoadedSteps((), 1), LoadedSteps((), 2)])
            assert not runner.is_pinned
            runner.is_pinned = True
            runner._pin([LoadedSteps((), 1), LoadedSteps((), 1)])
            assert runner.is_pinned
            held = [client.ask("pin", turn=0)["core"] for client in sides]
            assert held == [cores[turn % len(cores)]] * 2


@pytest.fixture
def same(tmp_path: Path) -> Path:
    """A file of steps with one benchmark."""
    return steps_file(tmp_path / "same.py", one=3)


def test_code_against_itself_within_a_budget(same: Path) -> None:
    """Too few blocks for a test: always undecided, and all that was timed is kept."""
    asked = CompareConfig(
        sampling=SamplingPlan(slice_s=0.001, n_rounds=5, budget_s=0.5), memory=False
    )
    comparison = compare_targets(*targets(same, same), asked, Silent())
    (finding,) = comparison.outcome.findings
    assert (finding.verdict, finding.reason) == ("inconclusive", "out_of_budget")
    assert 1 <= len(comparison.blocks) < 10
    assert comparison.footprints == ()
    assert (comparison.exit_code(), comparison.exit_code(["inconclusive"])) == (0, 3)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("raise OSError('no data')", "head: expected steps that can be loaded.*OSError: no data"),
        ("def one(): return 1", "head: one: expected steps.*TypeError: one must return"),
        (
            "def one():\n    return None, lambda: [][0], 1",
            r"head: one: expected steps.*IndexError.*\(bad.py, line 2\)",
        ),
        (
            "import os\ndef one():\n    return None, lambda: os.abort(), 1",
            "head: one: expected steps.*killed by signal 6",
        ),
    ],
)
def test_steps_that_fail_are_named(same: Path, tmp_path: Path, body: str, match: str) -> None:
    """The side, the benchmark, and what was raised, as bad input."""
    bad = tmp_path / "bad.py"
    bad.write_text(body, encoding="utf-8")
    with pytest.raises(StepError, match=match) as caught:
        compare_targets(*targets(same, bad), CompareConfig(sampling=QUICK), Silent())
    assert caught.value.exit_code == 2


def test_nothing_in_common_is_missing(same: Path, tmp_path: Path) -> None:
    """All that base has is missing, and nothing is timed."""
    other = steps_file(tmp_path / "other.py", two=1)
    comparison = compare_targets(*targets(same, other), CompareConfig(sampling=QUICK), Silent())
    assert comparison.blocks == ()
    assert (comparison.verdict, comparison.exit_code()) == ("missing", 4)


def test_a_name_to_accept_must_be_one(same: Path) -> None:
    """Before anything is timed."""
    with pytest.raises(InputError, match="--accept: expected the name of a benchmark, got 'on'"):
        compare_targets(
            *targets(same, same), CompareConfig(accept=("on=reason",), sampling=QUICK), Silent()
        )


def test_a_revision_that_imports_the_working_tree_is_refused(tmp_path: Path) -> None:
    """Both sides would be the same code: here by a path that puts the working tree first."""
    for tree in ("working", "revision"):
        (tmp_path / tree / "lib").mkdir(parents=True)
        (tmp_path / tree / "lib" / "mine.py").write_text("")
        steps_file(tmp_path / tree / "steps.py", one=1)
    path = tmp_path / "revision" / "steps.py"
    added = f"import sys\nsys.path.insert(0, {str(tmp_path / 'working' / 'lib')!r})\nimport mine\n"
    path.write_text(added + path.read_text())
    base, head = targets(path, tmp_path / "working" / "steps.py")
    side = Side("revision", "main", "0" * 40)
    base = dataclasses.replace(
        base, side=side, watched=(tmp_path / "working", tmp_path / "revision")
    )
    with pytest.raises(InputError, match=r"lib/mine.py of the working tree.*--install"):
        compare_targets(base, head, CompareConfig(sampling=QUICK, memory=False), Silent())


# --- What came out ----------------------------------------------------------------------------


@pytest.fixture
def came_out(slowed: tuple[ComparisonResult, list[object]]) -> ComparisonResult:
    """A comparison whose only finding is OK."""
    comparison, _ = slowed
    finding = dataclasses.replace(comparison.outcome.findings[0], verdict="ok")
    outcome = dataclasses.replace(comparison.outcome, findings=(finding,))
    return dataclasses.replace(comparison, outcome=outcome, footprints=())


@pytest.mark.alone
@pytest.mark.parametrize(
    ("verdict", "more", "accepted", "code"),
    [
        ("ok", 5, None, 0),
        ("ok", 20, None, 1),
        ("ok", 20, "known", 0),
        ("inconclusive", 20, None, 1),
        ("missing", 20, None, 4),
        ("regression", 5, None, 1),
    ],
)
def test_memory_that_grew_on_cuda_fails_too(
    came_out: ComparisonResult, verdict: str, more: int, accepted: str | None, code: int
) -> None:
    """By 1 % and more, unless it is accepted; what is missing is graver."""
    finding = dataclasses.replace(came_out.outcome.findings[0], verdict=verdict)  # type: ignore[arg-type]
    outcome = dataclasses.replace(came_out.outcome, findings=(finding,))
    memory = (Footprint("kept", "cuda_allocator", 1000, 1000 + more, accepted),)
    found = dataclasses.replace(came_out, outcome=outcome, footprints=memory)
    assert found.exit_code() == code


def test_the_rules_are_those_of_the_design_unless_told() -> None:
    """FEW is for tests; a comparison's own has three looks."""
    assert isinstance(FEW, Rules)
    assert [look.n_blocks for look in rules_for(3).interim_tests] == [10, 15, 20, 25]
