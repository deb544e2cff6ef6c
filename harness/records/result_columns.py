"""The columns of the result files, in order, and what each holds. Knows nothing but names."""

from __future__ import annotations

from collections.abc import Iterable

# Of the whole set of files; kept in machine.json, a later program refuses what it cannot read
SCHEMA = 1

RESULT = (
    "seed",
    "num_parameters",
    "lag",
    "loss",
    "skill",
    "accuracy",
    "solved",
    "remembered_steps",
    "sequences_to_solve",
    "sequences_seen",
    "train_time_s",
    "sequences_per_second",
    "all_steps_loss",
    "reason",
)
PARAMETERS = ("hidden_size", "num_layers", "learning_rate", "sequence_length", "initialization")
SLOT = ("task", "cell", "repeat", "number")
EVALUATION_COLUMNS = (
    "phase",
    "task",
    "cell",
    "repeat",
    "number",
    "sequence_length",
    "seed",
    "sequences_seen",
    "loss",
    "skill",
    "accuracy",
)
EXTRAPOLATION_COLUMNS = (
    *SLOT,
    "sequence_length",
    "seed",
    "factor",
    "evaluated_length",
    "evaluated_lag",
    "loss",
    "skill",
    "accuracy",
    "solved",
)
THROUGHPUT_COLUMNS = (
    "benchmark",
    "task",
    "cell",
    "device",
    "device_name",
    "origin",
    "variant",
    "measure",
    "initialization",
    "hidden_size",
    "num_layers",
    "sequence_length",
    "batch_size",
    "num_parameters",
    "n_threads",
    "n_processes",
    "n_blocks",
    "steady",
    "step_time_s",
    "step_time_low_s",
    "step_time_high_s",
    "host_time_s",
    "sequences_per_second",
    "tokens_per_second",
    "gflops_per_second",
    "fraction_of_peak",
    "peak_gflops_per_second",
    "bytes_per_step",
    "copy_bytes_per_second",
    "latency_bound_s",
    "speedup",
    "speedup_low",
    "speedup_high",
    "loss_error",
    "gradient_error",
    "denormal_fraction",
    "zero_fraction",
    "compile_time_s",
    "graph_breaks",
    "peak_memory_bytes",
    "reason",
)
INFERENCE_COLUMNS = (
    "benchmark",
    "task",
    "cell",
    "device",
    "device_name",
    "origin",
    "dtype",
    "measure",
    "initialization",
    "hidden_size",
    "num_layers",
    "sequence_length",
    "num_parameters",
    "n_calls",
    "median_us",
    "median_low_us",
    "median_high_us",
    "p99_us",
    "p99_low_us",
    "p99_high_us",
    "weights_bytes",
    "state_bytes",
    "output_error",
    "reason",
)
LATER = frozenset(("all_steps_loss",))  # what files of earlier versions lack: read as empty cells
LATER_IN = {
    "throughput.csv": frozenset(
        (
            *("variant", "measure", "initialization", "n_threads", "n_processes", "host_time_s"),
            *("bytes_per_step", "copy_bytes_per_second", "latency_bound_s"),
            *("speedup", "speedup_low", "speedup_high", "loss_error", "gradient_error"),
            *("denormal_fraction", "zero_fraction", "compile_time_s", "graph_breaks", "steady"),
        )
    ),
}
"""The same for one file alone."""
RETRY_COLUMNS = ("phase", *SLOT, "sequence_length", "seed", "end", "reason")
TRUTHS = frozenset(("solved", "steady"))  # true, false or nothing
TEXT = frozenset(
    (
        "task",
        "cell",
        "end",
        "initialization",
        "reason",
        "configuration",
        "phase",
        "benchmark",
        "device",
        "device_name",
        "origin",
        "variant",
        "measure",
        "dtype",
    )
)
COUNTS = frozenset(("repeat", "number"))  # always known


def trial_columns(searched_keys: Iterable[str] = ()) -> tuple[str, ...]:
    """Columns of trials.csv, in order.

    Keys that are searched beyond the usual five stand after `initialization`.
    """
    return (*SLOT, "end", *PARAMETERS, *_others(searched_keys), *RESULT)


def confirmation_columns(searched_keys: Iterable[str] = ()) -> tuple[str, ...]:
    """Columns of confirmation.csv.

    Those of trials.csv, with the hash of the configuration before `end`.
    """
    columns = trial_columns(searched_keys)
    return (*SLOT, "configuration", *columns[len(SLOT) :])


def _others(searched_keys: Iterable[str]) -> tuple[str, ...]:
    usual = {*SLOT, "end", *PARAMETERS, *RESULT}
    return tuple(dict.fromkeys(key for key in searched_keys if key not in usual))
