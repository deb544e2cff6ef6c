"""harness.metric_definitions: skill, solved, remembered steps, gradients and objectives."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import metric_definitions
from harness.metric_definitions import OBJECTIVES, Outcome

NAN = float("nan")


SOLVED = Outcome(
    lag=79,
    loss=0.2,
    skill=0.8,
    solved=True,
    sequences_to_solve=4_800,
    chance_loss=math.log(4),
    budget=20_000,
)


UNSOLVED = dataclasses.replace(SOLVED, skill=0.5, solved=False, sequences_to_solve=None)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (1.5, -0.5), (9.0, -1.0), (-5.0, 1.0)],
)
def test_skill_is_the_share_of_the_chance_loss_that_is_gone(loss: float, expected: float) -> None:
    """Skill is 1 - loss / chance_loss, clipped to [-1, 1]."""
    assert metric_definitions.skill(loss, 1.0) == expected


@pytest.mark.parametrize("loss", [NAN, math.inf, -math.inf])
def test_skill_of_a_diverged_run(loss: float) -> None:
    """A NaN or infinite loss has skill -1."""
    assert metric_definitions.skill(loss, 1.0) == -1.0


@pytest.mark.parametrize("chance_loss", [0.0, -1.0, NAN, math.inf])
def test_skill_refuses_an_impossible_chance_loss(chance_loss: float) -> None:
    """A chance loss must be finite and positive."""
    with pytest.raises(ValueError, match="'chance_loss' must be finite and positive"):
        metric_definitions.skill(0.1, chance_loss)


@pytest.mark.parametrize(
    ("accuracy", "expected"), [(0.99, True), (1.0, True), (0.9899, False), (NAN, False)]
)
def test_solved_from_ninety_nine_percent_on(accuracy: float, expected: bool) -> None:
    """Solved means an accuracy of at least 0.99; NaN is not solved."""
    assert metric_definitions.is_solved(accuracy) is expected


@pytest.mark.parametrize(
    ("skill", "solved", "expected"),
    [(0.6, True, 100.0), (0.6, False, 30.0), (-0.5, False, 0.0), (NAN, False, 0.0)],
)
def test_remembered_steps_by_hand(skill: float, solved: bool, expected: float) -> None:
    """Solved counts the whole lag, unsolved half of the skill's share of it."""
    assert metric_definitions.remembered_steps(100, skill, solved) == pytest.approx(expected)


@given(lag=st.integers(1, 10_000), skill=st.floats(-1, 1))
def test_half_knowledge_never_outranks_mastery_of_more_than_half(lag: int, skill: float) -> None:
    """An unsolved lag is worth at most a solved one of half its length."""
    assert metric_definitions.remembered_steps(
        lag, skill, False
    ) <= metric_definitions.remembered_steps(lag / 2, 0.0, True)


def test_objectives_of_a_solved_trial() -> None:
    """Each objective takes its own number from a solved trial."""
    assert {name: OBJECTIVES[name].value(SOLVED) for name in OBJECTIVES} == {
        "remembered_steps": 79.0,
        "skill": 0.8,
        "loss": 0.2,
        "sequences_to_solve": 4_800.0,
    }


def test_objectives_of_an_unsolved_trial() -> None:
    """An unsolved trial gets half-skilled steps, and a number of sequences beyond the budget."""
    assert OBJECTIVES["remembered_steps"].value(UNSOLVED) == pytest.approx(79 * 0.25)
    assert OBJECTIVES["sequences_to_solve"].value(UNSOLVED) == 30_000


def test_worst_values_are_those_of_the_design() -> None:
    """The worst values are 0, -1, 2 L0 and 2 x budget."""
    worst = {name: OBJECTIVES[name].worst(1.5, 1_000) for name in OBJECTIVES}
    assert worst == {
        "remembered_steps": 0.0,
        "skill": -1.0,
        "loss": 3.0,
        "sequences_to_solve": 2_000.0,
    }


anything = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@given(loss=anything, skill=st.one_of(st.floats(-1, 1), st.just(NAN)), to_solve=st.none())
def test_no_finished_trial_is_worse_than_the_worst(
    name: str, loss: Any, skill: Any, to_solve: Any
) -> None:
    """A finished trial is never NaN and never worse than one that diverged."""
    outcome = dataclasses.replace(
        UNSOLVED, loss=loss, skill=skill, sequences_to_solve=to_solve, chance_loss=1.5
    )
    objective = OBJECTIVES[name]
    value, worst = objective.value(outcome), objective.worst(1.5, outcome.budget)
    assert value >= worst if objective.direction == "maximize" else value <= worst


def test_a_nearer_miss_is_better() -> None:
    """Among unsolved trials, more skill asks for fewer sequences, never fewer than the budget."""
    values = [
        OBJECTIVES["sequences_to_solve"].value(dataclasses.replace(UNSOLVED, skill=skill))
        for skill in (-1.0, 0.0, 0.5, 1.0)
    ]
    assert values == [40_000, 40_000, 30_000, 20_000]


def test_a_nan_number_of_sequences_is_no_solution() -> None:
    """NaN sequences_to_solve, as a table reads an empty cell, means unsolved."""
    outcome = dataclasses.replace(UNSOLVED, sequences_to_solve=NAN)
    assert OBJECTIVES["sequences_to_solve"].value(outcome) == 30_000


def test_decay_per_step_is_the_slope_of_the_logarithm() -> None:
    """Gains of 0.5 ** k decay by 0.5 a step.

    What is 0 or unknown is left out, and one gain has no slope.
    """
    lags = [1, 2, 3, 5]
    gains = [lag * math.log10(0.5) for lag in lags]
    assert metric_definitions.decay_per_step(lags, gains) == pytest.approx(0.5)
    assert metric_definitions.decay_per_step(
        lags, [gains[0], NAN, -math.inf, gains[3]]
    ) == pytest.approx(0.5)
    assert metric_definitions.decay_per_step(lags, [gains[0], NAN, NAN, -math.inf]) is None


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([-1.0, -4.0, -2.0, -5.0], 7),
        ([-1.0, -4.0, -4.0, -math.inf], 3),
        ([-4.0, -4.0, -4.0, -4.0], 1),
        ([-4.0, -4.0, -4.0, -1.0], None),
        ([-4.0, NAN, -4.0, -4.0], 5),
        ([-4.0, -4.0, -4.0, NAN], None),
    ],
)
def test_lag_below_is_where_a_gain_stays(gains: Any, expected: int | None) -> None:
    """A gain that comes back over the threshold, or is unknown, has not stayed under it."""
    assert metric_definitions.lag_below([1, 3, 5, 7], gains, 1e-3) == expected


def test_float32_resolution_is_that_of_float32() -> None:
    """1 and the next float32 above it differ by it."""
    assert np.finfo(np.float32).eps == metric_definitions.FLOAT32_RESOLUTION


@pytest.mark.parametrize(("gate", "steps"), [(0.0, 1.0), (0.5, 2.0), (0.9, 10.0), (0.99, 100.0)])
def test_time_scale(gate: float, steps: float) -> None:
    """1 / (1 - g)."""
    assert metric_definitions.time_scale(gate) == pytest.approx(steps)


def test_time_scale_at_its_ends() -> None:
    """A gate at 1 has a finite one, an unknown gate an unknown one."""
    assert 1e15 < metric_definitions.time_scale(1.0) < math.inf
    assert math.isnan(metric_definitions.time_scale(NAN))
