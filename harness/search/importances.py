"""How much each searched parameter decides which trials are the best: PED-ANOVA, as Optuna computes it.

It never reads or writes the storage of a study: it takes plain values and builds a study in memory.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import optuna

from harness.parameters import Choice, Fixed, Parameter, Range, Value

LEAST_TRIALS = 30
_LEAST_TOP = 5  # "at least 5 trials above target_quantile": Optuna's PedAnovaImportanceEvaluator
_TARGET_QUANTILE = 0.1  # Optuna 5.0's default; the best tenth


@dataclasses.dataclass(frozen=True)
class Importances:
    """Shares that sum to 1, the most important first, or why there are none.

    `n_trials` counts the trials with a finite value, `n_best` those that count as the best.
    `missing` is None, "too_few" (fewer than `LEAST_TRIALS`), "tied" (so many trials share the best
    value that best and rest can't be told apart), or "nothing_searched".
    """

    shares: Mapping[str, float]
    n_trials: int
    n_best: int
    missing: Literal["too_few", "tied", "nothing_searched"] | None = None


def importances(
    trials: Sequence[tuple[Mapping[str, Value], float]],
    parameters: Mapping[str, Parameter],
    *,
    maximize: bool,
    least_trials: int = LEAST_TRIALS,
) -> Importances:
    """Importance of each parameter for being among the best tenth of the trials.

    Each trial is (values by parameter, objective); an objective that is not finite is left out.
    Parameters with one value only are not looked at. With tied objectives PED-ANOVA would return
    equal shares as if it had measured them: then `missing` says so. Source: Watanabe et al. 2023,
    arXiv 2304.10255.
    """
    valid = [(values, objective) for values, objective in trials if math.isfinite(objective)]
    distributions = {name: _distribution(each) for name, each in parameters.items()}
    varied = {name: each for name, each in distributions.items() if not each.single()}
    if not varied:
        return Importances({}, len(valid), 0, "nothing_searched")
    if len(valid) < least_trials:
        return Importances({}, len(valid), 0, "too_few")
    quantile = max(_TARGET_QUANTILE, _LEAST_TOP / len(valid))
    n_best = _n_best([objective for _, objective in valid], quantile, maximize=maximize)
    if n_best > len(valid) / 2:
        return Importances({}, len(valid), n_best, "tied")
    study = _study(valid, varied, maximize=maximize)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=quantile, region_quantile=1.0, evaluate_on_local=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of regimes of a parameter that few trials have
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=True)
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return Importances({name: float(share) for name, share in ranked}, len(valid), n_best)


def _n_best(objectives: Sequence[float], quantile: float, *, maximize: bool) -> int:
    """Number of trials at the quantile's value or better, ties included, as PED-ANOVA takes them."""
    losses = sorted(-value if maximize else value for value in objectives)
    cutoff = losses[math.ceil(quantile * len(losses)) - 1]
    return sum(loss <= cutoff for loss in losses)


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    match parameter:
        case Choice(options):
            return optuna.distributions.CategoricalDistribution(options)
        case Range(int(low), int(high), log):
            return optuna.distributions.IntDistribution(low, high, log=log)
        case Range(low, high, log):
            return optuna.distributions.FloatDistribution(low, high, log=log)
        case Fixed(value):
            return optuna.distributions.CategoricalDistribution((value,))


def _study(
    trials: Sequence[tuple[Mapping[str, Value], float]],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
    *,
    maximize: bool,
) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.NopPruner(),
            direction="maximize" if maximize else "minimize",
        )
        for values, objective in trials:
            known = {name: values[name] for name in distributions if name in values}
            study.add_trial(
                optuna.trial.create_trial(
                    params=known,
                    distributions={name: distributions[name] for name in known},
                    value=objective,
                )
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study
