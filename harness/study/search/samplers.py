"""Optuna's samplers with every argument explicit, because Optuna's defaults change.

Never imports torch: the report prints the same arguments.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from harness.config import STARTUP_TRIALS

MOST_SHUFFLED = 1_000_000
"""Points of a grid that is shuffled whole, in a second; of a larger one, points are drawn."""


def old_startup_trials(trials: int) -> int:
    """Random trials of a search that an older version began, when it had so many trials in all."""
    return max(STARTUP_TRIALS, trials // 4)


def sampler_arguments(sampler: str, startup_trials: int = STARTUP_TRIALS) -> dict[str, Any]:
    """The sampler's arguments by name, without its seed and its sampler of last resort.

    TPE and GP propose `startup_trials` random trials before they use the results. Empty for random
    and grid.
    """
    arguments: dict[str, dict[str, Any]] = {
        "tpe": {
            "n_startup_trials": startup_trials,
            "n_ei_candidates": 24,
            "multivariate": True,
            "group": False,
            "constant_liar": True,
        },
        "gp": {"n_startup_trials": startup_trials, "deterministic_objective": False},
        "qmc": {"qmc_type": "sobol", "scramble": True},
    }
    return arguments.get(sampler, {})


def create_sampler(sampler: str, arguments: Mapping[str, Any], seed: int) -> BaseSampler:
    """A sampler for one proposal.

    Random where `sampler` has a fixed sequence of points (`point_sequence`).
    """
    if sampler == "tpe":
        return TPESampler(**arguments, seed=seed)
    if sampler == "gp":
        return GPSampler(
            **arguments,
            seed=seed,
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
    return RandomSampler(seed=seed)


def point_sequence(
    sampler: str, trials: int, distributions: Mapping[str, BaseDistribution], seed: int
) -> list[dict[str, Any]]:
    """The points of a grid, in random order, or of a QMC sequence, slot by slot.

    Empty for the other samplers.
    """
    if sampler == "grid":
        return _grid_points(
            {name: _options(each) for name, each in distributions.items()}, trials, seed
        )
    if sampler != "qmc":
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sequence = QMCSampler(
            **sampler_arguments(sampler),
            seed=seed,
            independent_sampler=RandomSampler(seed=seed),
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
    study = optuna.create_study(sampler=sequence)
    points = []
    for _ in range(trials):
        trial = study.ask(dict(distributions))
        points.append(dict(trial.params))
        study.tell(trial, 0.0)
    return points


def _grid_points(
    options: Mapping[str, Sequence[Any]], trials: int, seed: int
) -> list[dict[str, Any]]:
    """The first points of a grid in random order. The grid itself is never built.

    The order depends on the seed alone: more trials prolong it.
    """
    points = []
    for rest in _random_order(math.prod(map(len, options.values())), trials, seed):
        digits = []
        for values in reversed([*options.values()]):  # the last hyperparameter varies fastest
            rest, digit = divmod(rest, len(values))  # noqa: PLW2901
            digits.append(values[digit])
        points.append(dict(zip(options, reversed(digits), strict=True)))
    return points


def _random_order(size: int, number: int, seed: int) -> list[int]:
    """The first `number` of the numbers below `size` in random order, or all of them."""
    generator = random.Random(seed)
    if size <= MOST_SHUFFLED:
        order = list(range(size))
        generator.shuffle(order)
        return order[:number]
    drawn: dict[int, None] = {}
    while len(drawn) < min(number, size):
        drawn[generator.randrange(size)] = None  # random.sample takes no size above 2^63
    return list(drawn)


def _options(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return (distribution.low,)  # type: ignore[attr-defined]  # a single-value range
