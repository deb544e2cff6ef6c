"""Hundreds of simulated studies under faults, and the defects that such studies must find.

$SIMULATED_STUDIES says how many: some hundreds without it, 10,000 in `make torture`. A seed that
breaks a promise is printed; `python -m tests.study.simulator SEED` replays it with its trace.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from harness.columns import TrialStatus
from harness.study.coordinator import Coordinator
from harness.study.execution.fork_server import ForkServer
from harness.study.execution.prewarmed_server import ANSWER, ENDED
from harness.study.execution.worker_messages import ProcessEnded, TrialOutcome
from harness.study.search import optuna_trials
from harness.training.training_loop import Evaluation
from tests.study.simulator.lives import simulate
from tests.study.simulator.world import BrokenPromise
from tests.tally import Tally

N_STUDIES = int(os.environ.get("SIMULATED_STUDIES", "300"))
N_PARTS = 6  # side by side
FOUND_WITHIN = 1_000  # seeds, for each defect
PROMISE = "finished trials stay, none runs after the end, limits hold, the same tables"


def broken(seed: int) -> str:
    """What a seed breaks; empty where every promise is kept."""
    try:
        simulate(seed)
    except BrokenPromise as promise:
        return f"seed {seed}: {promise}"
    return ""


@pytest.mark.fault
@pytest.mark.timeout(60 + N_STUDIES)
@pytest.mark.parametrize("part", range(N_PARTS))
def test_simulated_studies(part: int, tally: Tally) -> None:
    """Whatever fails, and however often, a study ends as an undisturbed one does."""
    seeds = range(part, N_STUDIES, N_PARTS)
    found = [line for seed in seeds if (line := broken(seed))]
    tally.add(
        "a study under drawn faults (simulated)", PROMISE, injected=len(seeds), lost=len(found)
    )
    assert found == []


def a_failed_fork_is_a_crash(patch: pytest.MonkeyPatch) -> None:
    """A failed fork is told as exit code 1."""
    start = ForkServer.start

    def start_or_crash(self: ForkServer, number: int, descriptor: int) -> None:
        answer = self.answer
        self.answer = lambda data: answer(ANSWER.pack(ENDED, number, 1 << 8))
        start(self, number, descriptor)
        self.answer = answer

    patch.setattr(ForkServer, "start", start_or_crash)


def a_killed_trial_is_complete(patch: pytest.MonkeyPatch) -> None:
    """A process that ends without an outcome after what looks like the last evaluation is done."""
    ended = Coordinator._ended

    def ended_or_trained(self: Coordinator, number: int, running: Any, end: ProcessEnded) -> None:
        config = running.job.config
        for last in running.evaluations[-1:]:
            spent = last.sequences_seen + config.evaluate_every > config.sequences
            if last.finite and (spent or (last.solved and config.stop_when_solved)):
                self._finish(number, running, TrialOutcome(TrialStatus.COMPLETE))
                return
        ended(self, number, running, end)

    patch.setattr(Coordinator, "_ended", ended_or_trained)


def start_up_depends_on_the_total(patch: pytest.MonkeyPatch) -> None:
    """A quarter of all trials is random, so a search that has grown is another one."""
    patch.setattr(optuna_trials, "startup_trials_of", lambda storage, study_id, old: old)


def other_factors_are_not_measured(patch: pytest.MonkeyPatch) -> None:
    """A confirmation run is the same run whatever it is to be evaluated at."""
    patch.setattr(optuna_trials, "_confirmation_keys", lambda runs, factors, stored: tuple(runs))


def an_evaluation_counts_twice(patch: pytest.MonkeyPatch) -> None:
    """An evaluation that is sent twice is stored twice."""
    take = Coordinator._evaluation

    def take_all(self: Coordinator, number: int, running: Any, evaluation: Evaluation) -> None:
        before, running.evaluations = running.evaluations, []
        take(self, number, running, evaluation)
        running.evaluations = [*before, *running.evaluations]

    patch.setattr(Coordinator, "_evaluation", take_all)


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "1: a failed fork is a crash": a_failed_fork_is_a_crash,
    "2: a killed trial is complete": a_killed_trial_is_complete,
    "10: start-up trials depend on the total": start_up_depends_on_the_total,
    "10: other factors are not measured": other_factors_are_not_measured,
    "an evaluation counts twice": an_evaluation_counts_twice,
}
"""Defects that were in the harness, or could be, put back."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each defect that is put back breaks a promise within some seeds."""
    MUTATIONS[name](monkeypatch)
    found = next((seed for seed in range(FOUND_WITHIN) if broken(seed)), None)
    assert found is not None
