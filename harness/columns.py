"""What each number of a study means.

Its unit, its direction, its text, and the definitions behind it.

One registry, METRICS, holds every number that a result file, a table or a figure shows. The
definitions that the rest of the package shares (skill, solved, remembered_steps, the objectives of
a search) are pure functions here, so that each exists once. This module never measures anything,
never aggregates (see harness.stats), and imports nothing but the standard library.
"""

import difflib
import enum
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Direction = Literal["maximize", "minimize"]
"""Which way is better."""


class TrialStatus(enum.StrEnum):
    """How a trial ended: the values of the column `end`, in the order of the reports."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    ERROR = "error"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"


PENALIZED: Final = frozenset((TrialStatus.DIVERGED, TrialStatus.TIMEOUT, TrialStatus.OUT_OF_MEMORY))
"""Trials for which the sampler gets the worst value of the objective. They are never the best."""

SOLVED_ACCURACY: Final = 0.99
"""A run has solved its task from this accuracy on."""

NOT_MEASURED: Final = "not measured"
"""The text of a number that is None or NaN. It is never shown as 0."""


# --- Text -------------------------------------------------------------------------------------


def significant(value: float, digits: int = 3) -> str:
    """Text of `value` with `digits` significant digits.

    Whole thousands are grouped by commas (12,300); below 1e-4 and from 1e9 on it is scientific
    (5.30e-5). NaN gives "not measured", infinity "infinite".
    """
    if math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0:
        return "0"
    mantissa, exponent_text = f"{value:.{digits - 1}e}".split("e")
    exponent = int(exponent_text)
    if not -4 <= exponent < 9:
        return f"{mantissa}e{exponent}"
    rounded = float(f"{mantissa}e{exponent}")
    return f"{rounded:,.{max(digits - 1 - exponent, 0)}f}"


def whole(value: float) -> str:
    """Text of a count, grouped by commas.

    A mean of counts is rounded to three significant digits.
    """
    if math.isfinite(value) and float(value).is_integer():
        return f"{int(value):,}"
    return significant(value)


def percent(value: float) -> str:
    """Text of a share in [0, 1] as a percentage, to a tenth where that is not zero.

    What rounds to nothing says so.
    """
    if not math.isfinite(value):
        return significant(value)
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def seconds(value: float) -> str:
    """Text of a duration in seconds with the unit that suits it: us, ms, s, min or h."""
    if not math.isfinite(value):
        return significant(value)
    for limit, size, unit in ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s")):
        if abs(value) < limit:
            return f"{significant(value / size)} {unit}"
    size, unit = (60.0, "min") if abs(value) < 7200 else (3600.0, "h")
    return f"{significant(value / size)} {unit}"


def size_in_bytes(value: float) -> str:
    """Text of a number of bytes with the binary unit that suits it: B, KiB, MiB, GiB or TiB."""
    if not math.isfinite(value):
        return significant(value)
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while abs(value) >= 1024 ** (power + 1) and power < len(units) - 1:
        power += 1
    return f"{significant(value / 1024**power)} {units[power]}"


def yes_or_no(value: float) -> str:
    """Text of a truth value, or of a mean of truth values as a percentage."""
    if value in (0, 1):
        return "yes" if value else "no"
    return percent(value)


# --- The registry -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """What one number means.

    `unit` is "" for a pure number; `direction` says which way is better, None where neither is;
    `format` gives the text of a value that is known.
    """

    name: str
    unit: str
    direction: Direction | None
    description: str
    format: Callable[[float], str] = significant

    def text(self, value: float | None) -> str:
        """The value as a person reads it, without its unit; None and NaN give "not measured".

        Durations, sizes in bytes and percentages carry their unit, because it is scaled.
        """
        if value is None or math.isnan(value):
            return NOT_MEASURED
        return self.format(value)

    def text_with_unit(self, value: float | None) -> str:
        """The value as a person reads it, with its unit; None and NaN give "not measured"."""
        text = self.text(value)
        carries_unit = self.format in (seconds, size_in_bytes, percent, yes_or_no)
        if text == NOT_MEASURED or carries_unit or not self.unit:
            return text
        return f"{text} {self.unit}"


def _registry(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


METRICS: Final[Mapping[str, Metric]] = _registry(
    # The configuration of a trial.
    Metric("hidden_size", "units", None, "Width of each layer's hidden state.", whole),
    Metric("num_layers", "layers", None, "Recurrent layers on top of each other.", whole),
    Metric("num_parameters", "parameters", None, "Trained numbers, the head's included.", whole),
    Metric("learning_rate", "", None, "Step size of the optimiser."),
    Metric("batch_size", "sequences", None, "Sequences in one training step.", whole),
    Metric(
        "sequence_length",
        "steps",
        None,
        "Length of one sequence, without steps that a task adds.",
        whole,
    ),
    Metric(
        "lag",
        "steps",
        None,
        "Steps between the earliest input that matters and the output that needs it.",
        whole,
    ),
    # What a trial learned.
    Metric("loss", "", "minimize", "Mean loss on evaluation data."),
    Metric(
        "all_steps_loss",
        "",
        "minimize",
        "Mean loss over all steps of a sequence, those that are not scored counted as known.",
    ),
    Metric("chance_loss", "", None, "Loss of the best constant prediction."),
    Metric("skill", "", "maximize", "1 - loss / chance_loss, clipped to [-1, 1]; diverged: -1."),
    Metric("accuracy", "", "maximize", "Share of predictions that are right.", percent),
    Metric("solved", "", "maximize", "Whether the accuracy is at least 0.99.", yes_or_no),
    Metric("solved_share", "", "maximize", "Share of runs that solve the task.", percent),
    Metric(
        "remembered_steps",
        "steps",
        "maximize",
        "lag x (1 if solved, else half of the skill): what a search climbs, not the answer.",
    ),
    Metric(
        "memory_span",
        "steps",
        "maximize",
        "Largest lag at which at least half of the runs solve the task, there and below.",
        whole,
    ),
    Metric(
        "reliable_span",
        "steps",
        "maximize",
        "Largest lag at which at least nine tenths of the runs solve the task, there and below.",
        whole,
    ),
    Metric(
        "sequences_to_solve",
        "sequences",
        "minimize",
        "Training sequences seen until an evaluation first finds the task solved.",
        whole,
    ),
    Metric("sequences_seen", "sequences", None, "Training sequences seen in all.", whole),
    Metric(
        "probability_longer",
        "",
        None,
        "Probability that one search of this cell remembers longer than one of the other.",
        percent,
    ),
    Metric("expected_best", "steps", "maximize", "Expected best value after so many trials."),
    Metric(
        "importance", "", None, "Share of the objective's variation due to a parameter.", percent
    ),
    Metric(
        "diverged_share",
        "",
        None,
        "Share of trials whose loss became NaN or infinite, of those that say something.",
        percent,
    ),
    Metric(
        "gradient_gain",
        "",
        None,
        "Spectral norm of d state_T / d state_(T-k): how much of a gradient survives k steps.",
    ),
    # How fast it trained.
    Metric("gate", "", None, "Opening of a gate: 0 lets nothing through, 1 all."),
    Metric(
        "time_scale",
        "steps",
        None,
        "1 / (1 - memory gate): steps for which a unit keeps a value.",
        lambda value: significant(value, 2),
    ),
    Metric("train_time_s", "s", "minimize", "Time of a trial's training steps.", seconds),
    Metric("step_time_s", "s", "minimize", "Median time of one training step.", seconds),
    Metric(
        "step_time_low_s", "s", "minimize", "Lower end of the median step time's interval.", seconds
    ),
    Metric(
        "step_time_high_s",
        "s",
        "minimize",
        "Upper end of the median step time's interval.",
        seconds,
    ),
    Metric("sequences_per_second", "sequences/s", "maximize", "Sequences trained on in a second."),
    Metric("tokens_per_second", "tokens/s", "maximize", "Time steps trained on in a second."),
    Metric(
        "gflops_per_second",
        "GFLOP/s",
        "maximize",
        "Arithmetic that the cell and head need, by formula, in a second.",
    ),
    Metric(
        "peak_gflops_per_second",
        "GFLOP/s",
        "maximize",
        "Rate of a matrix product on the same machine in the same run.",
    ),
    Metric(
        "fraction_of_peak",
        "",
        "maximize",
        "gflops_per_second as a share of peak_gflops_per_second.",
        percent,
    ),
    Metric(
        "peak_memory_bytes",
        "bytes",
        "minimize",
        "CUDA: most that the allocator held. CPU: the process's high-water mark.",
        size_in_bytes,
    ),
    Metric("speedup", "", "maximize", "Times the speed of `plain` at the same shape."),
    Metric("bytes_per_step", "bytes", None, "Least traffic of a step, by formula.", size_in_bytes),
    Metric(
        "flops_per_byte",
        "FLOP/byte",
        None,
        "Arithmetic of a step for each byte it moves, by formula.",
    ),
    Metric(
        "fraction_of_limit",
        "",
        "maximize",
        "Time that the nearest limit allows, as a share of the time taken.",
        percent,
    ),
    Metric("denormal_fraction", "", None, "Share of denormal gradient entries.", percent),
    Metric("zero_fraction", "", None, "Share of gradient entries that are zero.", percent),
    Metric("loss_error", "", None, "Relative error of the loss against float64."),
    Metric("gradient_error", "", None, "Relative error of the gradients against float64."),
    Metric("compile_time_s", "s", "minimize", "Time that compiling took, once.", seconds),
    Metric("graph_breaks", "", "minimize", "Places where the compiler gave up and went on.", whole),
    Metric("exponent", "", None, "Power of x with which a time grows."),
    Metric("n_blocks", "blocks", None, "Timed blocks behind a median.", whole),
    Metric("n_runs", "runs", None, "Runs behind an estimate.", whole),
    # How fast it answers.
    Metric("median_us", "us", "minimize", "Median time of a call, one sequence at a time."),
    Metric("p99_us", "us", "minimize", "Time that 99 of 100 calls do not exceed."),
    Metric("weights_bytes", "bytes", "minimize", "Weights and buffers as held.", size_in_bytes),
    Metric("state_bytes", "bytes", "minimize", "State of one sequence.", size_in_bytes),
    Metric("output_error", "", "minimize", "Relative error of the outputs against float64."),
    Metric("n_calls", "calls", None, "Calls timed, each alone.", whole),
)


def metric(name: str) -> Metric:
    """The metric of that name; ValueError for an unknown one, proposing the nearest."""
    if name in METRICS:
        return METRICS[name]
    nearest = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"'metric' must be one of the registered metrics (got {name!r}){hint}")


# --- Definitions ------------------------------------------------------------------------------


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
    """The factor by which a gradient gain changes a step, by least squares on its logarithm against lag.

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
