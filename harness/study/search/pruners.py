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

PRUNERS: Mapping[str, Callable[..., BasePruner]] = {
    "none": NopPruner,
    "bound": NopPruner,  # `SearchProposer.report` computes the bound
    "median": MedianPruner,
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
}
"""By the names of [search] pruner."""


def pruner_arguments(
    pruner: str, n_startup_trials: int, budget: int, evaluate_every: int
) -> dict[str, Any]:
    """The pruner's arguments by name, in training sequences. Empty for none and bound."""
    arguments: dict[str, dict[str, Any]] = {
        "median": {
            "n_startup_trials": n_startup_trials,
            "n_warmup_steps": budget // 4,
            "interval_steps": 1,
            "n_min_trials": 3,
        },
        "halving": {
            "min_resource": evaluate_every,
            "reduction_factor": 3,
            "min_early_stopping_rate": 0,
            "bootstrap_count": 0,
        },
        "hyperband": {
            "min_resource": evaluate_every,
            "max_resource": max(budget, evaluate_every),
            "reduction_factor": 3,
            "bootstrap_count": 0,
        },
    }
    return arguments.get(pruner, {})


def create_pruner(
    pruner: str, n_startup_trials: int, budget: int, evaluate_every: int
) -> BasePruner:
    """The pruner of a search; resources are training sequences."""
    arguments = pruner_arguments(pruner, n_startup_trials, budget, evaluate_every)
    return PRUNERS[pruner](**arguments)
