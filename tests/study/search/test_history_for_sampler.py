"""harness.study.search.history_for_sampler: which finished trials a sampler sees."""

from __future__ import annotations

import random
from collections.abc import Sequence

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from harness.columns import Direction
from harness.study.search.history_for_sampler import SamplerHistory
from harness.study.storage.trial_ledger import VIOLATION

TrialEnd = tuple[TrialState, float, float]
ENDS = st.tuples(
    st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]),
    st.floats(-5, 5),
    st.sampled_from([0.0, 0.0, 1.0]),
)


def filled(
    ends: Sequence[TrialEnd], direction: Direction, order: Sequence[int] = ()
) -> SamplerHistory:
    """A history with these ends, in this order, that selects ten trials and the three best."""
    history = SamplerHistory(direction, limit=10, n_best=3)
    study = optuna.create_study(storage=history, direction=direction)
    running = [study.ask() for _ in ends]
    for slot in order or range(len(ends)):
        (state, value, violation), trial_id = ends[slot], running[slot]._trial_id
        history.set_trial_system_attr(trial_id, VIOLATION, violation)
        values = None if state is TrialState.FAIL else [value]
        history.set_trial_state_values(trial_id, state, values)
    return history


@given(st.lists(ENDS, max_size=60), st.sampled_from(["minimize", "maximize"]))
def test_the_best_are_shown_and_never_too_many(ends: list[TrialEnd], direction: Direction) -> None:
    """A short history is selected whole, of a long one `limit` trials with the best valid ones."""
    chosen = filled(ends, direction).selection()
    assert len(chosen) == min(10, len(ends))
    assert chosen <= set(range(len(ends)))
    well = [
        (value if direction == "minimize" else -value, slot)
        for slot, (state, value, violation) in enumerate(ends)
        if state is TrialState.COMPLETE and violation == 0
    ]
    assert {slot for _, slot in sorted(well)[:3]} <= chosen


@given(st.lists(ENDS, min_size=11, max_size=60), st.randoms(use_true_random=False))
def test_the_order_of_the_ends_does_not_count(ends: list[TrialEnd], chance: random.Random) -> None:
    """The selection depends on the finished slots, not on which ended first."""
    order = chance.sample(range(len(ends)), len(ends))
    assert filled(ends, "minimize", order).selection() == filled(ends, "minimize").selection()


def test_others_are_spread_evenly() -> None:
    """Beside the best, the slots shown keep an even distance, from the first on."""
    ends = [(TrialState.COMPLETE, float(slot), 0.0) for slot in range(73)]
    assert sorted(filled(ends, "minimize").selection()) == [0, 1, 2, *range(3, 73, 10)]


@pytest.mark.parametrize("n", [5, 30])
def test_what_a_reader_sees(n: int) -> None:
    """While bounded, a reader sees the selection and whatever has not finished.

    Then everything again.
    """
    history = SamplerHistory("minimize", limit=10, n_best=3)
    study = optuna.create_study(storage=history)
    for slot in range(n):
        study.add_trial(create_trial(value=float(slot)))
    running = study.ask().number
    with history.limited():
        seen = {each.number for each in study.get_trials(deepcopy=False)}
        assert seen == {*history.selection(), running}
    assert len(study.get_trials(deepcopy=False)) == n + 1
