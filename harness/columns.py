"""Every number and status of the results, once: kind, bounds, unit, direction, format, meaning.

The registry COLUMNS gives the headers of the result files, how they are read and checked, and how
reports show a number. A new column is one entry. This module imports only the standard library.
"""

import difflib
import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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

RESULTS_SCHEMA: Final = 1
"""Version of the result files, in machine.json. A file of another version is refused."""

TRIALS, CONFIRMATION, EXTRAPOLATION = "trials.csv", "confirmation.csv", "extrapolation.csv"
EVALUATIONS, RETRIES = "evaluations.csv", "retries.csv"
THROUGHPUT, INFERENCE = "throughput.csv", "inference.csv"

RUN_FILES = (TRIALS, CONFIRMATION)
TIMING_FILES = (THROUGHPUT, INFERENCE)
SCORED_FILES = (*RUN_FILES, EVALUATIONS, EXTRAPOLATION)
STUDY_FILES = (*SCORED_FILES, RETRIES)

ColumnKind = Literal["text", "truth", "seed", "integer", "number"]
"""How a column is read: an integer is never empty; all others may be."""

LARGEST_WHOLE: Final = 2**53
"""Above it a float no longer tells whole numbers apart."""


@dataclass(frozen=True)
class Bounds:
    """What the numbers of a column may be. An empty cell is allowed unless `needed`."""

    low: float = 0.0
    high: float = LARGEST_WHOLE
    whole: bool = False
    needed: bool = False
    or_infinite: bool = False

    def describe(self) -> str:
        """The bounds in words, for an error message."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}" + (", never empty" * self.needed)

    def accepts(self, value: float) -> bool:
        """Whether a cell may hold the value; NaN is an empty cell."""
        if math.isnan(value):
            return not self.needed
        if self.or_infinite and math.isinf(value):
            return True
        return self.low <= value <= self.high and (not self.whole or value == int(value))


NOT_NEGATIVE: Final = Bounds()
COUNT: Final = Bounds(whole=True)
SIZE: Final = Bounds(low=1, whole=True)
SHARE: Final = Bounds(high=1)
POSITIVE: Final = Bounds(low=1e-15, high=1e15)  # drawn on logarithmic axes
FLOAT32: Final = Bounds(low=-4e38, high=4e38, or_infinite=True)


@dataclass(frozen=True)
class ResultColumn:
    """One number or word of the results: what it means, and how it is read, checked and shown.

    `files` are the result files that have it. Those of `added_later` may lack it, because earlier
    versions did not write it. In those of `needed_in` it is never empty. `unit` is "" for a pure
    number; `direction` says which way is better; `format` gives the text of a known value. A number
    that is in no file is shown in reports only.
    """

    name: str
    doc: str
    kind: ColumnKind = "number"
    unit: str = ""
    direction: Direction | None = None
    format: Callable[[float], str] = significant
    bounds: Bounds | None = None
    files: tuple[str, ...] = ()
    added_later: tuple[str, ...] = ()
    needed_in: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The head of the column in a report, unless the language's messages have another."""
        words = re.sub(r"^(num|n)_|_(s|us|bytes|per_second)$", "", self.name).replace("_", " ")
        words = words[0].upper() + words[1:]
        if self.name.endswith("_per_second"):
            return f"{words}/s"
        needs_unit = self.unit and self.format not in UNIT_IN_TEXT and self.unit not in self.name
        return f"{words}, {self.unit}" if needs_unit else words

    def bounds_in(self, file: str) -> Bounds | None:
        """What its numbers may be in that file; None for anything."""
        if self.bounds is None or file not in self.needed_in:
            return self.bounds
        return replace(self.bounds, needed=True)

    def text(self, value: float | None) -> str:
        """The value for a reader, without its unit; None and NaN give "not measured".

        Durations, sizes in bytes and percentages carry their unit, because it is scaled.
        """
        if value is None or math.isnan(value):
            return NOT_MEASURED
        return self.format(value)

    def text_with_unit(self, value: float | None) -> str:
        """The value for a reader, with its unit; None and NaN give "not measured"."""
        text = self.text(value)
        if text == NOT_MEASURED or self.format in UNIT_IN_TEXT or not self.unit:
            return text
        return f"{text} {self.unit}"


UNIT_IN_TEXT: Final = (seconds, size_in_bytes, percent, yes_or_no)
"""Formats whose text has the unit, or needs none."""


def _text(name: str, doc: str, *files: str, added_later: tuple[str, ...] = ()) -> ResultColumn:
    return ResultColumn(name, doc, "text", files=files, added_later=added_later)


def _two_digits(value: float) -> str:
    return significant(value, 2)


def _registry(*columns: ResultColumn) -> Mapping[str, ResultColumn]:
    return MappingProxyType({column.name: column for column in columns})


# A file has its columns in this order, except for those of LEADING.
COLUMNS: Final[Mapping[str, ResultColumn]] = _registry(
    # Which run, trial or benchmark.
    _text("benchmark", "Name of a benchmark.", *TIMING_FILES),
    _text("phase", "search or confirm.", EVALUATIONS, RETRIES),
    _text("task", "Name of the task.", *STUDY_FILES, *TIMING_FILES),
    _text("cell", "Name of the cell.", *STUDY_FILES, *TIMING_FILES),
    ResultColumn(
        "repeat",
        "Which search of the (task, cell), from 0.",
        "integer",
        bounds=Bounds(high=1e06, whole=True, needed=True),
        files=STUDY_FILES,
    ),
    ResultColumn(
        "number",
        "Slot of the trial in its search, from 0.",
        "integer",
        bounds=Bounds(high=1e09, whole=True, needed=True),
        files=STUDY_FILES,
    ),
    _text("configuration", "Hash of the hyperparameters.", CONFIRMATION),
    _text("end", "How the trial ended: a TrialStatus.", *RUN_FILES, RETRIES),
    _text("device", "cpu or cuda:I.", *TIMING_FILES),
    _text("device_name", "Name of the processor or the card.", *TIMING_FILES),
    _text("origin", "bench; in a study winner or grid.", *TIMING_FILES),
    _text("variant", "How the step was run.", THROUGHPUT, added_later=(THROUGHPUT,)),
    _text("dtype", "Type of the weights.", INFERENCE),
    _text("measure", "What was timed.", *TIMING_FILES, added_later=(THROUGHPUT,)),
    # What was trained or timed.
    ResultColumn(
        "hidden_size",
        "Width of each layer's hidden state.",
        unit="units",
        format=whole,
        bounds=SIZE,
        files=(*RUN_FILES, *TIMING_FILES),
    ),
    ResultColumn(
        "num_layers",
        "Recurrent layers on top of each other.",
        unit="layers",
        format=whole,
        bounds=SIZE,
        files=(*RUN_FILES, *TIMING_FILES),
    ),
    ResultColumn(
        "learning_rate",
        "Step size of the optimiser.",
        bounds=Bounds(low=-math.inf, high=math.inf),
        files=RUN_FILES,
    ),
    ResultColumn(
        "sequence_length",
        "Length of one sequence, without steps that a task adds.",
        unit="steps",
        format=whole,
        bounds=SIZE,
        files=(*STUDY_FILES, *TIMING_FILES),
        needed_in=(CONFIRMATION,),
    ),
    ResultColumn(
        "batch_size",
        "Sequences in one training step.",
        unit="sequences",
        format=whole,
        bounds=SIZE,
        files=(THROUGHPUT,),
    ),
    _text(
        "initialization",
        "How the first weights were set.",
        *RUN_FILES,
        *TIMING_FILES,
        added_later=(THROUGHPUT,),
    ),
    ResultColumn("seed", "Seed of the run.", "seed", files=STUDY_FILES),
    ResultColumn(
        "num_parameters",
        "Trained numbers, including the head's.",
        unit="parameters",
        format=whole,
        bounds=COUNT,
        files=(*RUN_FILES, *TIMING_FILES),
    ),
    # How a benchmark was timed.
    ResultColumn(
        "n_threads",
        "Threads of a process.",
        format=whole,
        bounds=COUNT,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "n_processes",
        "Processes that ran at the same time.",
        format=whole,
        bounds=COUNT,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "n_calls",
        "Timed calls, each alone.",
        unit="calls",
        format=whole,
        bounds=COUNT,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "n_blocks",
        "Timed blocks behind a median.",
        unit="blocks",
        format=whole,
        bounds=COUNT,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "steady",
        "Whether the last blocks of the warm-up agree within 2 %.",
        "truth",
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "step_time_s",
        "Median time of one training step.",
        unit="s",
        direction="minimize",
        format=seconds,
        bounds=POSITIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "step_time_low_s",
        "Lower end of the median step time's interval.",
        unit="s",
        direction="minimize",
        format=seconds,
        bounds=POSITIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "step_time_high_s",
        "Upper end of the median step time's interval.",
        unit="s",
        direction="minimize",
        format=seconds,
        bounds=POSITIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "host_time_s",
        "Median time of a step by the wall clock.",
        unit="s",
        format=seconds,
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    # How fast it answers.
    ResultColumn(
        "median_us",
        "Median time of a call, one sequence at a time.",
        unit="us",
        direction="minimize",
        bounds=POSITIVE,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "median_low_us", "Lower end of the median's interval.", bounds=POSITIVE, files=(INFERENCE,)
    ),
    ResultColumn(
        "median_high_us", "Upper end of the median's interval.", bounds=POSITIVE, files=(INFERENCE,)
    ),
    ResultColumn(
        "p99_us",
        "Time of a call that 99 of 100 calls do not exceed.",
        unit="us",
        direction="minimize",
        bounds=POSITIVE,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "p99_low_us", "Lower end of the percentile's interval.", bounds=POSITIVE, files=(INFERENCE,)
    ),
    ResultColumn(
        "p99_high_us",
        "Upper end of the percentile's interval.",
        bounds=POSITIVE,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "weights_bytes",
        "Weights and buffers in memory.",
        unit="bytes",
        direction="minimize",
        format=size_in_bytes,
        bounds=COUNT,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "state_bytes",
        "State of one sequence.",
        unit="bytes",
        direction="minimize",
        format=size_in_bytes,
        bounds=COUNT,
        files=(INFERENCE,),
    ),
    ResultColumn(
        "output_error",
        "Relative error of the outputs against float64.",
        direction="minimize",
        bounds=FLOAT32,
        files=(INFERENCE,),
    ),
    # What was learned.
    ResultColumn(
        "factor",
        "How many times as long as the trained length.",
        bounds=Bounds(low=2, high=1e6, whole=True, needed=True),
        files=(EXTRAPOLATION,),
    ),
    ResultColumn(
        "evaluated_length",
        "Length of the evaluated sequences.",
        unit="steps",
        format=whole,
        bounds=SIZE,
        files=(EXTRAPOLATION,),
    ),
    ResultColumn(
        "evaluated_lag",
        "Lag at the evaluated length.",
        unit="steps",
        format=whole,
        bounds=COUNT,
        files=(EXTRAPOLATION,),
    ),
    ResultColumn(
        "lag",
        "Steps from the earliest input that matters to the output that needs it.",
        unit="steps",
        format=whole,
        bounds=COUNT,
        files=RUN_FILES,
    ),
    ResultColumn(
        "loss",
        "Mean loss on evaluation data.",
        direction="minimize",
        bounds=FLOAT32,
        files=SCORED_FILES,
    ),
    ResultColumn(
        "skill",
        "1 - loss / chance_loss, clipped to [-1, 1]; diverged: -1.",
        direction="maximize",
        bounds=Bounds(low=-1, high=1),
        files=SCORED_FILES,
    ),
    ResultColumn(
        "accuracy",
        "Share of predictions that are right.",
        direction="maximize",
        format=percent,
        bounds=SHARE,
        files=SCORED_FILES,
    ),
    ResultColumn(
        "solved",
        "Whether the accuracy is at least 0.99.",
        "truth",
        direction="maximize",
        format=yes_or_no,
        files=(*RUN_FILES, EXTRAPOLATION),
    ),
    ResultColumn(
        "remembered_steps",
        "lag x (1 if solved, else half of the skill): what a search climbs.",
        unit="steps",
        direction="maximize",
        bounds=NOT_NEGATIVE,
        files=RUN_FILES,
    ),
    ResultColumn(
        "sequences_to_solve",
        "Training sequences until an evaluation first finds the task solved.",
        unit="sequences",
        direction="minimize",
        format=whole,
        bounds=COUNT,
        files=RUN_FILES,
    ),
    ResultColumn(
        "sequences_seen",
        "Training sequences seen in all.",
        unit="sequences",
        format=whole,
        bounds=COUNT,
        files=(*RUN_FILES, EVALUATIONS),
        needed_in=(EVALUATIONS,),
    ),
    # How fast it trains.
    ResultColumn(
        "train_time_s",
        "Time of a trial's training steps.",
        unit="s",
        direction="minimize",
        format=seconds,
        bounds=NOT_NEGATIVE,
        files=RUN_FILES,
    ),
    ResultColumn(
        "sequences_per_second",
        "Sequences trained on in a second.",
        unit="sequences/s",
        direction="maximize",
        bounds=POSITIVE,
        files=(*RUN_FILES, THROUGHPUT),
    ),
    ResultColumn(
        "tokens_per_second",
        "Time steps trained on in a second.",
        unit="tokens/s",
        direction="maximize",
        bounds=POSITIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "gflops_per_second",
        "Arithmetic of cell and head, by formula, in a second.",
        unit="GFLOP/s",
        direction="maximize",
        bounds=NOT_NEGATIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "fraction_of_peak",
        "gflops_per_second as a share of peak_gflops_per_second.",
        direction="maximize",
        format=percent,
        bounds=NOT_NEGATIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "peak_gflops_per_second",
        "Rate of a matrix product on the same machine in the same run.",
        unit="GFLOP/s",
        direction="maximize",
        bounds=NOT_NEGATIVE,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "bytes_per_step",
        "Least traffic of a step, by formula.",
        unit="bytes",
        format=size_in_bytes,
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "copy_bytes_per_second",
        "Rate of a large copy, of all processes together.",
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "latency_bound_s",
        "Least time of a step, by the latency of one time step.",
        unit="s",
        format=seconds,
        bounds=NOT_NEGATIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "speedup",
        "Times the speed of `plain` at the same shape.",
        direction="maximize",
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "speedup_low",
        "Lower end of the speed-up's interval.",
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "speedup_high",
        "Upper end of the speed-up's interval.",
        bounds=POSITIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "loss_error",
        "Relative error of the loss against float64.",
        bounds=FLOAT32,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "gradient_error",
        "Relative error of the gradients against float64.",
        bounds=FLOAT32,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "denormal_fraction",
        "Share of gradient entries that are denormal.",
        format=percent,
        bounds=SHARE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "zero_fraction",
        "Share of gradient entries that are zero.",
        format=percent,
        bounds=SHARE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "compile_time_s",
        "Time that compiling took, once.",
        unit="s",
        direction="minimize",
        format=seconds,
        bounds=NOT_NEGATIVE,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "graph_breaks",
        "Places where the compiler fell back to Python.",
        direction="minimize",
        format=whole,
        bounds=COUNT,
        files=(THROUGHPUT,),
        added_later=(THROUGHPUT,),
    ),
    ResultColumn(
        "peak_memory_bytes",
        "CUDA: the most that the allocator held. CPU: high-water mark.",
        unit="bytes",
        direction="minimize",
        format=size_in_bytes,
        bounds=COUNT,
        files=(THROUGHPUT,),
    ),
    ResultColumn(
        "all_steps_loss",
        "Mean loss over all steps; steps that are not scored count as known.",
        direction="minimize",
        bounds=FLOAT32,
        files=RUN_FILES,
        added_later=RUN_FILES,
    ),
    _text(
        "reason",
        "Why there are no numbers, or why the trial ended.",
        *RUN_FILES,
        *TIMING_FILES,
        RETRIES,
    ),
    # In no file: numbers that reports compute.
    ResultColumn("chance_loss", "Loss of the best constant prediction."),
    ResultColumn(
        "solved_share", "Share of runs that solve the task.", direction="maximize", format=percent
    ),
    ResultColumn(
        "memory_span",
        "Largest lag, and all below, at which half of the runs solve the task.",
        unit="steps",
        direction="maximize",
        format=whole,
    ),
    ResultColumn(
        "reliable_span",
        "Largest lag, and all below, at which nine tenths of the runs do.",
        unit="steps",
        direction="maximize",
        format=whole,
    ),
    ResultColumn(
        "probability_longer",
        "Probability that a search of one cell ends longer than one of the other.",
        format=percent,
    ),
    ResultColumn(
        "expected_best",
        "Expected best value after so many trials.",
        unit="steps",
        direction="maximize",
    ),
    ResultColumn(
        "importance", "Share of the objective's variation due to a parameter.", format=percent
    ),
    ResultColumn(
        "diverged_share", "Share of trials whose loss became NaN or infinite.", format=percent
    ),
    ResultColumn(
        "gradient_gain", "Spectral norm of d state_T / d state_(T-k): what survives k steps."
    ),
    ResultColumn("gate", "Opening of a gate: 0 lets nothing through, 1 lets all through."),
    ResultColumn(
        "time_scale",
        "1 / (1 - memory gate): steps for which a unit keeps a value.",
        unit="steps",
        format=_two_digits,
    ),
    ResultColumn(
        "flops_per_byte",
        "Arithmetic of a step for each byte it moves, by formula.",
        unit="FLOP/byte",
    ),
    ResultColumn(
        "fraction_of_limit",
        "Least time by the nearest limit, as a share of the time taken.",
        direction="maximize",
        format=percent,
    ),
    ResultColumn("exponent", "Power of x with which a time grows."),
    ResultColumn("n_runs", "Runs behind an estimate.", unit="runs", format=whole),
)

LEADING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        EVALUATIONS: (
            *("phase", "task", "cell", "repeat", "number"),
            *("sequence_length", "seed", "sequences_seen"),
        ),
        RETRIES: ("phase", "task", "cell", "repeat", "number", "sequence_length", "seed"),
        THROUGHPUT: (
            *("benchmark", "task", "cell", "device", "device_name", "origin"),
            *("variant", "measure", "initialization"),
        ),
        INFERENCE: (
            *("benchmark", "task", "cell", "device", "device_name", "origin"),
            *("dtype", "measure", "initialization"),
        ),
    }
)
"""The first columns of files that have them in another order than COLUMNS."""


def columns_of(file: str, searched_keys: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns of a result file, in order.

    In trials.csv and confirmation.csv, searched keys without a column follow `initialization`.
    """
    leading = LEADING.get(file, ())
    others = [each.name for each in COLUMNS.values() if file in each.files]
    names = [*leading, *(name for name in others if name not in leading)]
    at = names.index("initialization") + 1 if file in RUN_FILES else len(names)
    searched = dict.fromkeys(key for key in searched_keys if key not in names)
    return (*names[:at], *searched, *names[at:])


def column(name: str) -> ResultColumn:
    """The column of that name; ValueError for an unknown one, proposing the nearest."""
    if name in COLUMNS:
        return COLUMNS[name]
    nearest = difflib.get_close_matches(name, COLUMNS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"'column' must be one of the registered columns (got {name!r}){hint}")
