"""Optuna's pruners with every argument explicit, because Optuna's defaults change.

Never imports torch: the report prints the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

from harness.config import STARTUP_TRIALS

REDUCTION_FACTOR = 3  # of halving and hyperband

PRUNERS: Mapping[str, Callable[..., BasePruner]] = {
    "none": NopPruner,
    "bound": NopPruner,  # `SearchProposer.report` computes the bound
    "median": MedianPruner,
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
}
"""By the names of [search] pruner."""


def pruner_arguments(
    pruner: str, budget: int, evaluate_every: int, startup_trials: int = STARTUP_TRIALS
) -> dict[str, Any]:
    """The pruner's arguments by name, in training sequences. Empty for none and bound.

    Median prunes none before `startup_trials` trials are complete.
    """
    arguments: dict[str, dict[str, Any]] = {
        "median": {
            "n_startup_trials": startup_trials,
            "n_warmup_steps": budget // 4,
            "interval_steps": 1,
            "n_min_trials": 3,
        },
        "halving": {
            "min_resource": evaluate_every,
            "reduction_factor": REDUCTION_FACTOR,
            "min_early_stopping_rate": 0,
            "bootstrap_count": 0,
        },
        "hyperband": {
            "min_resource": evaluate_every,
            "max_resource": max(budget, evaluate_every),
            "reduction_factor": REDUCTION_FACTOR,
            "bootstrap_count": 0,
        },
    }
    return arguments.get(pruner, {})


def create_pruner(
    pruner: str, budget: int, evaluate_every: int, startup_trials: int = STARTUP_TRIALS
) -> BasePruner:
    """The pruner of a search; resources are training sequences."""
    return PRUNERS[pruner](**pruner_arguments(pruner, budget, evaluate_every, startup_trials))
