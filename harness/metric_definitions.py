"""What skill, solved, remembered steps and the objectives of a search are. Pure functions.

Measures nothing, aggregates nothing (see harness.stats), and imports only the standard library.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from harness.columns import Direction

SOLVED_ACCURACY: Final = 0.99
"""A run has solved its task from this accuracy on."""


def skill(loss: float, chance_loss: float) -> float:
    """How much of the chance loss is gone: 1 - loss / chance_loss, clipped to [-1, 1].

    1 is perfect, 0 the best constant prediction. A NaN or infinite loss (a diverged run) has skill
    -1. ValueError unless chance_loss is finite and positive.
    """
    if not (math.isfinite(chance_loss) and chance_loss > 0):
        raise ValueError(f"'chance_loss' must be finite and positive (got {chance_loss!r})")
    if not math.isfinite(loss):
        return -1.0
    return min(max(1.0 - loss / chance_loss, -1.0), 1.0)


def is_solved(accuracy: float) -> bool:
    """Whether `accuracy`, a share in [0, 1], is at least SOLVED_ACCURACY; NaN is not."""
    return accuracy >= SOLVED_ACCURACY


def remembered_steps(lag: float, skill: float, solved: bool) -> float:
    """Remembered steps: lag x (1 if solved else max(skill, 0) / 2); a NaN skill counts as none.

    It steers a search whose sequence_length is free: half-knowledge of a long sequence never
    outranks mastery of one more than half as long.
    """
    if solved:
        return float(lag)
    return lag * max(skill, 0.0) / 2 if math.isfinite(skill) else 0.0


# --- Gradients and gates ----------------------------------------------------------------------

FORGOTTEN: Final = 1e-3
"""A gradient gain under this is a thousandth.

What lies so far back is hardly heard by the weights.
"""

FLOAT32_RESOLUTION: Final = 2.0**-23
"""The distance from 1 to the next float32: what is smaller is lost when it is added to 1."""


def decay_per_step(lags: Sequence[float], log10_gain: Sequence[float]) -> float | None:
    """The factor by which a gradient gain changes in a step: least squares on its logarithm.

    Gains that are not finite are left out; None with fewer than two others.
    """
    known = [pair for pair in zip(lags, log10_gain, strict=True) if math.isfinite(pair[1])]
    if len(known) < 2:
        return None
    slope = statistics.linear_regression(*zip(*known, strict=True)).slope
    return float(10.0**slope)


def lag_below(
    lags: Sequence[int], log10_gain: Sequence[float], threshold: float = FORGOTTEN
) -> int | None:
    """The first of the lags (ascending) from which on the gain stays under `threshold`.

    None if it is not under it at the last lag, and without lags. A NaN gain is not known to be
    under anything.
    """
    first = None
    for lag, gain in zip(lags, log10_gain, strict=True):
        if not gain < math.log10(threshold):
            first = None
        elif first is None:
            first = lag
    return first


def time_scale(memory_gate: float) -> float:
    """Steps for which a unit keeps a value, 1 / (1 - memory_gate).

    2 for a gate at 0.5, 100 for one at 0.99.

    A gate at 1 keeps for ever; its time scale is that of the largest number below 1, 9e15. NaN
    gives NaN.
    """
    return 1.0 / max(1.0 - memory_gate, 2.0**-53) if not math.isnan(memory_gate) else math.nan


# --- Objectives of a search -------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a finished trial reached, as an objective needs it.

    `budget` is the trial's training budget in sequences; `sequences_to_solve` is None if no
    evaluation found the task solved.
    """

    lag: float
    loss: float
    skill: float
    solved: bool
    sequences_to_solve: float | None
    chance_loss: float
    budget: int


@dataclass(frozen=True)
class Objective:
    """What a search optimises: one number of a trial and the worst that number can be.

    `worst(chance_loss, budget)` is what a trial that diverged, ran out of time or out of memory is
    told as; `value(outcome)` is that of a finished trial, never worse than `worst` and never NaN.
    `reachable(lag, sequences_seen)` is the best that a trial may still find which has not solved
    its task by then; infinite where nothing is known of it.
    """

    name: str
    direction: Direction
    worst: Callable[[float, int], float]
    value: Callable[[Outcome], float]
    reachable: Callable[[float, int], float]


def _loss_value(outcome: Outcome) -> float:
    worst = 2 * outcome.chance_loss
    return min(outcome.loss, worst) if math.isfinite(outcome.loss) else worst


def _sequences_value(outcome: Outcome) -> float:
    """An unsolved trial lies between budget and 2 x budget: the nearer to solved, the better."""
    to_solve = outcome.sequences_to_solve
    if to_solve is not None and math.isfinite(to_solve):
        return float(to_solve)
    known = max(outcome.skill, 0.0) if math.isfinite(outcome.skill) else 0.0
    return outcome.budget * (2.0 - known)


OBJECTIVES: Final[Mapping[str, Objective]] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            Objective(
                "remembered_steps",
                "maximize",
                lambda _chance_loss, _budget: 0.0,
                lambda outcome: remembered_steps(outcome.lag, outcome.skill, outcome.solved),
                lambda lag, _seen: lag,
            ),
            Objective(
                "skill",
                "maximize",
                lambda _chance_loss, _budget: -1.0,
                lambda outcome: outcome.skill if math.isfinite(outcome.skill) else -1.0,
                lambda _lag, _seen: math.inf,
            ),
            Objective(
                "loss",
                "minimize",
                lambda chance_loss, _budget: 2 * chance_loss,
                _loss_value,
                lambda _lag, _seen: -math.inf,
            ),
            Objective(
                "sequences_to_solve",
                "minimize",
                lambda _chance_loss, budget: 2.0 * budget,
                _sequences_value,
                lambda _lag, seen: float(seen),
            ),
        )
    }
)
