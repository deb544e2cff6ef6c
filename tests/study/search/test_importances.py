from __future__ import annotations

import math
import random
from typing import Any

import pytest

from harness.hyperparameters import Choice, Fixed, Range
from harness.study.search.importances import LEAST_TRIALS, importances

SPACE: dict[str, Any] = {
    "learning_rate": Range(1e-3, 3e-2, log=True),
    "hidden_size": Range(8, 32, log=True),
    "initialization": Choice(("pytorch", "orthogonal", "chrono")),
    "num_layers": Fixed(1),
}


def draw(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many random configurations."""
    rng = random.Random(seed)
    return [
        {
            "learning_rate": 10 ** rng.uniform(-3, -1.53),
            "hidden_size": rng.randint(8, 32),
            "initialization": rng.choice(("pytorch", "orthogonal", "chrono")),
            "num_layers": 1,
        }
        for _ in range(n)
    ]


@pytest.mark.parametrize("maximize", [True, False])
def test_the_parameter_that_decides_is_found(maximize: bool) -> None:
    """The only parameter that decides the objective gets most of the importance."""
    sign = 1 if maximize else -1
    trials = [(values, sign * math.log(values["learning_rate"])) for values in draw(100)]
    found = importances(trials, SPACE, maximize=maximize)
    assert found.missing is None
    assert next(iter(found.shares)) == "learning_rate"
    assert found.shares["learning_rate"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1)


def test_a_fixed_parameter_is_not_looked_at() -> None:
    """What is not searched has no importance."""
    trials = [(values, float(i)) for i, values in enumerate(draw(40))]
    assert "num_layers" not in importances(trials, SPACE, maximize=True).shares


def test_too_few_trials_give_no_importance() -> None:
    """Below thirty valid trials there is nothing but the reason; NaN is no valid trial."""
    trials = [(values, float(i)) for i, values in enumerate(draw(LEAST_TRIALS - 1))]
    found = importances([*trials, (draw(1)[0], math.nan)], SPACE, maximize=True)
    assert (found.missing, found.n_trials, dict(found.shares)) == ("too_few", LEAST_TRIALS - 1, {})


def test_tied_objectives_are_said_to_be_tied() -> None:
    """PED-ANOVA would return equal shares for tied values: here they are called tied instead."""
    found = importances([(values, 0.0) for values in draw(50)], SPACE, maximize=True)
    assert (found.missing, found.n_best, dict(found.shares)) == ("tied", 50, {})


def test_nothing_searched_is_said() -> None:
    """A study of fixed values has no importances, however many trials it has."""
    trials = [(values, float(i)) for i, values in enumerate(draw(50))]
    assert (
        importances(trials, {"num_layers": Fixed(1)}, maximize=True).missing == "nothing_searched"
    )


def test_each_group_is_left_out_once() -> None:
    """The shares without a group are those of the other trials alone."""
    drawn = [(values, math.log(values["learning_rate"])) for values in draw(90)]
    groups = [i % 3 for i in range(90)]
    found = importances(drawn, SPACE, maximize=True, groups=groups)
    rest = [trial for trial, group in zip(drawn, groups, strict=True) if group != 1]
    assert len(found.without) == 3
    assert found.without[1] == importances(rest, SPACE, maximize=True).shares


def test_a_trial_may_lack_a_parameter() -> None:
    """A hyperparameter that only some trials have costs those trials nothing."""
    trials = [(values, float(i)) for i, values in enumerate(draw(60))]
    for values, _ in trials[::2]:
        del values["initialization"]
    found = importances(trials, SPACE, maximize=True)
    assert sum(found.shares.values()) == pytest.approx(1)
