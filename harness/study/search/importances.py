"""How much each searched parameter decides which trials are the best: Optuna's PED-ANOVA.

Never reads the storage of a study: it takes plain values.
"""

import dataclasses
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Literal

import optuna

from harness.hyperparameters import Parameter, Value
from harness.study.search.search_space import to_distribution

LEAST_TRIALS = 30
# "at least 5 trials above target_quantile": Optuna's PedAnovaImportanceEvaluator
_LEAST_TOP = 5
# The best tenth: the default of Optuna 5.0
_TARGET_QUANTILE = 0.1


@dataclasses.dataclass(frozen=True)
class Importances:
    """Shares that sum to 1, the most important first, or why there are none.

    `n_trials` counts the trials with a finite value, `n_best` those that count as the best.
    `without` has, for each group, the shares without the trials of that group.
    `missing` is None, "too_few" (fewer than `LEAST_TRIALS`), "tied" (so many trials share the best
    value that best and rest cannot be distinguished), or "nothing_searched".
    """

    shares: Mapping[str, float]
    n_trials: int
    n_best: int
    without: tuple[Mapping[str, float], ...] = ()
    missing: Literal["too_few", "tied", "nothing_searched"] | None = None


def importances(
    trials: Sequence[tuple[Mapping[str, Value], float]],
    parameters: Mapping[str, Parameter],
    *,
    maximize: bool,
    groups: Sequence[int] = (),
    least_trials: int = LEAST_TRIALS,
) -> Importances:
    """Importance of each parameter for being among the best tenth of the trials.

    Each trial is (values by parameter, objective). A trial whose objective is not finite and a
    parameter with one value only are left out. With tied objectives PED-ANOVA would return equal
    shares as if it had measured them; then `missing` is "tied". `groups` is one number for each
    trial; with it the result also has the shares without each group, for a jackknife. Source:
    Watanabe et al. 2023, arXiv 2304.10255.
    """
    distributions = {name: to_distribution(each) for name, each in parameters.items()}
    varied = {name: each for name, each in distributions.items() if not each.single()}
    labels = groups or [0] * len(trials)
    valid = [
        (_frozen(number, values, objective, varied), group)
        for number, ((values, objective), group) in enumerate(zip(trials, labels, strict=True))
        if math.isfinite(objective)
    ]
    every = [trial for trial, _ in valid]
    if not varied:
        return Importances({}, len(valid), 0, missing="nothing_searched")
    if len(valid) < least_trials:
        return Importances({}, len(valid), 0, missing="too_few")
    n_best = _n_best(every, maximize=maximize)
    if n_best > len(valid) / 2:
        return Importances({}, len(valid), n_best, missing="tied")
    without = tuple(
        _shares([trial for trial, label in valid if label != group], maximize=maximize)
        for group in (sorted(set(groups)) if groups else ())
    )
    return Importances(_shares(every, maximize=maximize), len(valid), n_best, without)


class _GivenTrials(optuna.Study):
    """A study in memory with these trials. Adding them one by one would copy each deeply."""

    def __init__(self, trials: Sequence[optuna.trial.FrozenTrial], *, maximize: bool) -> None:
        storage = optuna.storages.InMemoryStorage()
        directions = optuna.study.StudyDirection
        storage.create_new_study(
            [directions.MAXIMIZE if maximize else directions.MINIMIZE], "given"
        )
        super().__init__("given", storage)
        self._given = list(trials)

    def get_trials(
        self,
        deepcopy: bool = True,  # Optuna's signature
        states: Container[optuna.trial.TrialState] | None = None,
    ) -> list[optuna.trial.FrozenTrial]:
        del deepcopy
        return [trial for trial in self._given if states is None or trial.state in states]


def _frozen(
    number: int,
    values: Mapping[str, Value],
    objective: float,
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
) -> optuna.trial.FrozenTrial:
    known = {name: values[name] for name in distributions if name in values}
    return optuna.trial.FrozenTrial(
        number=number,
        trial_id=number,
        state=optuna.trial.TrialState.COMPLETE,
        value=objective,
        params=known,
        distributions={name: distributions[name] for name in known},
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _shares(trials: Sequence[optuna.trial.FrozenTrial], *, maximize: bool) -> dict[str, float]:
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=_quantile(len(trials)), region_quantile=1.0, evaluate_on_local=True
    )
    verbosity = optuna.logging.get_verbosity()
    # The study is made to be read: its creation is not worth a message
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Optuna warns of a parameter that few trials have
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(
                _GivenTrials(trials, maximize=maximize), evaluator=evaluator, normalize=True
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return {name: float(share) for name, share in ranked}


def _quantile(n_trials: int) -> float:
    return min(max(_TARGET_QUANTILE, _LEAST_TOP / n_trials), 0.5)


def _n_best(trials: Sequence[optuna.trial.FrozenTrial], *, maximize: bool) -> int:
    """Number of trials at the quantile's value or better, ties included, as in PED-ANOVA."""
    sign = -1.0 if maximize else 1.0
    losses = sorted(sign * float(trial.value or 0.0) for trial in trials)
    cutoff = losses[math.ceil(_quantile(len(losses)) * len(losses)) - 1]
    return sum(loss <= cutoff for loss in losses)
