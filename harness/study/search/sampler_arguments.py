"""The arguments of samplers and pruners, all of them explicit, since Optuna's defaults change.

A report prints the same ones.

Plain values by name: this module imports nothing heavy.
"""

from __future__ import annotations

from typing import Any


def num_startup_trials(trials: int) -> int:
    """Random trials before TPE and GP look at the results: max(4, trials // 4)."""
    return max(4, trials // 4)


def sampler_arguments(sampler: str, trials: int) -> dict[str, Any]:
    """What the sampler is given, but for its seed and the sampler of last resort.

    Empty for random and grid.
    """
    startup = num_startup_trials(trials)
    known: dict[str, dict[str, Any]] = {
        "tpe": {
            "n_startup_trials": startup,
            "n_ei_candidates": 24,
            "multivariate": True,
            "group": False,
            "constant_liar": True,
        },
        "gp": {"n_startup_trials": startup, "deterministic_objective": False},
        "qmc": {"qmc_type": "sobol", "scramble": True},
    }
    return known.get(sampler, {})


def pruner_arguments(pruner: str, trials: int, budget: int, evaluate_every: int) -> dict[str, Any]:
    """What the pruner is given; resources are training sequences. Empty for none."""
    known: dict[str, dict[str, Any]] = {
        "median": {
            "n_startup_trials": num_startup_trials(trials),
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
    return known.get(pruner, {})
