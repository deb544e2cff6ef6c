from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.config import STARTUP_TRIALS
from harness.study.search.history_for_sampler import SamplerHistory
from harness.study.search.propose_parameters import SearchPlan, SearchProposer
from tests.study.scripted import luck

SAMPLERS = ("tpe", "random", "gp", "qmc", "grid")
CONTINUOUS: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-3, 1e-1, log=True),
    "size": IntDistribution(2, 64, log=True),
    "kind": CategoricalDistribution(("a", "b")),
    "fixed": IntDistribution(3, 3),
}
LISTS: dict[str, BaseDistribution] = {
    "rate": CategoricalDistribution((0.1, 0.2, 0.3)),
    "size": CategoricalDistribution((2, 4)),
    "kind": CategoricalDistribution(("a", "b")),
    "fixed": IntDistribution(3, 3),
}


def space_of(sampler: str) -> dict[str, BaseDistribution]:
    """A space that the sampler can take."""
    return LISTS if sampler == "grid" else CONTINUOUS


def plan(sampler: str, *, trials: int = 12, seed: int = 0, pruner: str = "none") -> SearchPlan:
    """A plan of one search."""
    return SearchPlan(sampler, pruner, "maximize", trials, (seed, "task", "cell", 0), 320, 32)


def value_of(params: dict[str, Any]) -> float:
    """A number that depends on the parameters alone."""
    return luck(sorted(params.items()))


def propose(proposer: SearchProposer, slots: Sequence[int]) -> list[dict[str, Any]]:
    """Propose and tell slot after slot."""
    found = []
    for slot in slots:
        params = proposer.propose(slot)
        found.append(params)
        proposer.tell(slot, TrialState.COMPLETE, value_of(params), 0.0)
    return found


def restore(
    proposer: SearchProposer, slot: int, params: dict[str, Any], space: dict[str, Any]
) -> None:
    """Put a finished slot back, as the storage holds it."""
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=value_of(params),
        params=params,
        distributions=space,
        system_attrs={"constraints:ended": 0.0},
    )
    proposer.restore(slot, trial)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed(sampler: str) -> None:
    """The same seed, slot and history give the same proposer.

    Another seed gives others, and so does another slot.
    """
    space = space_of(sampler)
    first, second, other = (
        propose(SearchProposer(plan(sampler, seed=seed), space), range(6)) for seed in (0, 0, 1)
    )
    assert first == second != other
    assert len({repr(params) for params in first}) == len(first)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_resumed_at_every_slot(sampler: str) -> None:
    """A search that is restored before each slot proposes the same as an undisturbed one."""
    space = space_of(sampler)
    undisturbed = propose(SearchProposer(plan(sampler), space), range(8))
    for slot in range(8):
        proposer = SearchProposer(plan(sampler), space)
        for before in range(slot):
            restore(proposer, before, undisturbed[before], space)
        assert proposer.propose(slot) == undisturbed[slot]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_resumed_when_not_all_is_shown(sampler: str) -> None:
    """The same with a limited history, which then counts and is no random start."""

    def made(most: int) -> SearchProposer:
        proposer = SearchProposer(plan(sampler), CONTINUOUS)
        proposer.storage.limit, proposer.storage.n_best = most, 2
        return proposer

    undisturbed = propose(made(6), range(12))
    for slot in range(6, 12):
        proposer = made(6)
        for before in range(slot):
            restore(proposer, before, undisturbed[before], CONTINUOUS)
        assert proposer.propose(slot) == undisturbed[slot]
    whole = propose(made(100), range(12))
    assert whole[:7] == undisturbed[:7]
    assert whole[7:] != undisturbed[7:]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_history_counts(sampler: str) -> None:
    """After its random start the proposals of a sampler that learns depend on the history."""
    usual = propose(SearchProposer(plan(sampler), CONTINUOUS), range(7))
    proposer = SearchProposer(plan(sampler), CONTINUOUS)
    changed = []
    for slot in range(7):
        params = proposer.propose(slot)
        changed.append(params)
        proposer.tell(slot, TrialState.COMPLETE, -value_of(params), 0.0)
    startup = STARTUP_TRIALS
    assert changed[:startup] == usual[:startup]
    assert changed[startup:] != usual[startup:]


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid"])
def test_history_does_not_count(sampler: str) -> None:
    """Random points, the QMC sequence and the grid do not depend on what was found."""
    space = space_of(sampler)
    usual = propose(SearchProposer(plan(sampler), space), range(12))
    proposer = SearchProposer(plan(sampler), space)
    failed = []
    for slot in range(12):
        failed.append(proposer.propose(slot))
        proposer.tell(slot, TrialState.FAIL, None, 0.0)
    assert failed == usual


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_trials_go_on(sampler: str) -> None:
    """A longer search begins with the points of a shorter one."""
    space = space_of(sampler)
    longer = propose(SearchProposer(plan(sampler, trials=24), space), range(10))
    shorter = propose(SearchProposer(plan(sampler, trials=10), space), range(10))
    assert longer == shorter


@pytest.mark.parametrize("trials", [12, 40])
def test_grid_is_every_point_once(trials: int) -> None:
    """A grid of 12 points proposes each once and then ends, for any number of trials."""
    proposer = SearchProposer(plan("grid", trials=trials), LISTS)
    assert len(proposer.sequence) == 12
    found = propose(proposer, range(12))
    wanted = set(itertools.product((0.1, 0.2, 0.3), (2, 4), ("a", "b"), (3,)))
    assert {tuple(params[name] for name in LISTS) for params in found} == wanted


def test_grid_in_random_order() -> None:
    """A part of a grid is no corner of it.

    The first 6 points of 12 hold every value of each list.
    """
    found = propose(SearchProposer(plan("grid", trials=6), LISTS), range(6))
    for name in ("rate", "size", "kind"):
        assert {params[name] for params in found} == set(LISTS[name].choices)  # type: ignore[attr-defined]


def test_qmc_is_a_low_discrepancy_sequence() -> None:
    """64 points of the QMC sequence fill the unit interval more evenly than random ones.

    Each of 16 cells has some.
    """
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0.0, 1.0),
        "y": FloatDistribution(0.0, 1.0),
    }
    found = propose(SearchProposer(plan("qmc", trials=64), space), range(64))
    # the first point is independent of the sequence, and Optuna's sequence leaves out another
    counts = [0] * 16
    for params in found[1:]:
        counts[int(params["x"] * 16)] += 1
    assert min(counts) >= 3
    assert max(counts) <= 5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_warnings(sampler: str) -> None:
    """No sampler says on standard error that it is experimental, or anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(SearchProposer(plan(sampler, pruner="hyperband"), space_of(sampler)), range(6))


def test_learns_to_avoid_what_fails() -> None:
    """A region whose trials fail is proposed less often than by chance."""
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
    low = 0
    for seed in range(4):
        proposer = SearchProposer(plan("tpe", trials=24, seed=seed), space)
        for slot in range(24):
            x = float(proposer.propose(slot)["x"])
            failed = x > 0.3
            proposer.tell(slot, TrialState.COMPLETE, 0.0 if failed else x, 1.0 if failed else 0.0)
            low += x <= 0.3 and slot >= STARTUP_TRIALS
    assert low > 0.5 * 4 * 18  # by chance 0.3 of them


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_stays_inside(sampler: str) -> None:
    """Every proposal has every parameter, each inside its distribution."""
    space = space_of(sampler)
    for params in propose(SearchProposer(plan(sampler), space), range(6)):
        assert list(params) == list(space)
        for name, value in params.items():
            assert space[name]._contains(space[name].to_internal_repr(value))


def test_slots_in_order() -> None:
    """A slot that is left out is a mistake of the caller, and is refused."""
    proposer = SearchProposer(plan("random"), CONTINUOUS)
    with pytest.raises(ValueError, match=r"in order \(got 3"):
        proposer.propose(3)


def test_no_pruner_by_default() -> None:
    """Where no pruner is asked for none prunes, though Optuna's default would."""
    proposer = SearchProposer(plan("random"), CONTINUOUS)
    for slot in range(12):
        proposer.propose(slot)
        for step in range(0, 320, 32):
            assert not proposer.report(slot, step, -float(slot), 0.0)
        proposer.tell(slot, TrialState.COMPLETE, -float(slot), 0.0)


def reported(proposer: SearchProposer, slots: range, every: tuple[int, ...]) -> None:
    """Run trials that report at multiples of one of `every`, up to the budget or their pruning."""
    for slot in slots:
        params = proposer.propose(slot)
        steps = range(0, 320 + 1, every[slot % len(every)])
        for step in steps:
            value = math.nan if luck(slot, step) < 0.02 else luck(slot, "level") + step / 1_000
            if pruned := proposer.report(slot, step, value, 0.0):
                break
        state = TrialState.PRUNED if pruned and step != steps[-1] else TrialState.COMPLETE
        proposer.tell(slot, state, value_of(params), 0.0)


def restored(proposer: SearchProposer, trials: Sequence[FrozenTrial]) -> None:
    """Put trials back as the storage holds them: without what the pruner noted."""
    for slot, trial in enumerate(trials):
        stored = copy.deepcopy(trial)
        stored.system_attrs = {"constraints:ended": 0.0}
        proposer.restore(slot, stored)


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
@pytest.mark.parametrize("every", [(32,), (32, 48, 320), (20, 110)])
def test_restored_rungs(pruner: str, every: tuple[int, ...]) -> None:
    """Restored trials have the rungs of undisturbed ones, also where a report passes several."""
    asked = plan("random", trials=60, pruner=pruner)
    live = SearchProposer(asked, CONTINUOUS)
    reported(live, range(60), every)
    again = SearchProposer(asked, CONTINUOUS)
    restored(again, live.study.trials)
    found = [trial.system_attrs for trial in again.study.trials]
    assert found == [trial.system_attrs for trial in live.study.trials]
    assert any(trial.state is TrialState.PRUNED for trial in live.study.trials)


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_restoring_reads_no_other_trials(pruner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To restore a trial does not read the others: the time is linear in the number of trials."""
    asked = plan("random", trials=30, pruner=pruner)
    live = SearchProposer(asked, CONTINUOUS)
    reported(live, range(30), (32,))
    read: list[int] = []
    seen = SamplerHistory.get_all_trials

    def counted(history: SamplerHistory, *args: Any, **options: Any) -> list[FrozenTrial]:
        trials = seen(history, *args, **options)
        read.append(len(trials))
        return trials

    trials = live.study.trials
    monkeypatch.setattr(SamplerHistory, "get_all_trials", counted)
    restored(SearchProposer(asked, CONTINUOUS), trials)
    assert sum(read) == 0


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_a_trial_that_runs_again_is_pruned_alike(pruner: str) -> None:
    """A trial that is killed after some reports is pruned at the step where it would have been."""
    ends: list[list[int]] = []
    for killed in (False, True):
        proposer = SearchProposer(plan("random", pruner=pruner), CONTINUOUS)
        reported(proposer, range(8), (32,))
        proposer.propose(8)
        if killed:
            for step in (0, 32, 64, 96, 128):
                proposer.report(8, step, luck(step), 0.0)
            proposer.give_up(8)
        pruned = [step for step in range(0, 321, 32) if proposer.report(8, step, -1.0, 0.0)]
        ends.append(pruned)
    assert ends[0] == ends[1] != []
