"""The search space of a study as Optuna distributions.

Never samples, and never imports torch: the report computes importances from it.
"""

from __future__ import annotations

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from harness.config import StudySpec
from harness.hyperparameters import KINDS, SPACE, Choice, Fixed, Parameter, Range


def suggested(spec: StudySpec, task: str, cell: str) -> dict[str, Parameter]:
    """The parameters that Optuna sees: all of [space], fixed ones too, and other searched ones."""
    return {
        name: parameter
        for name, parameter in spec.parameters(task, cell).items()
        if name in SPACE or name not in KINDS or not isinstance(parameter, Fixed)
    }


def suggested_distributions(spec: StudySpec, task: str, cell: str) -> dict[str, BaseDistribution]:
    """The Optuna distribution of each suggested parameter."""
    return {name: to_distribution(each) for name, each in suggested(spec, task, cell).items()}


def to_distribution(parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution of one parameter; of a fixed one it holds a single value."""
    values = parameter.values()
    low, high = values[0], values[-1]
    if isinstance(parameter, Choice) or isinstance(low, str | bool):
        return CategoricalDistribution(values)
    log = isinstance(parameter, Range) and parameter.log
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)
