"""throughput and inference, .csv and .json: the answers of harness.timing.

The JSON files are those of pytest-benchmark and hold the raw time of every block, or call.
Measures nothing.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.columns import RESULTS_SCHEMA, columns_of
from harness.records.atomic_write import write_csv, write_json

if TYPE_CHECKING:  # harness.timing imports torch, for which a report does not wait
    from harness.timing.timing_results import (
        BenchmarkResult,
        InferenceAnswer,
        InferenceResult,
        TrainingAnswer,
    )

_VERSION = "5.1.0"  # of the pytest-benchmark whose schema this is
INFERENCE_PARAMS = (
    *("task", "cell", "device", "dtype", "measure", "initialization"),
    *("hidden_size", "num_layers", "sequence_length"),
)
PARAMS = (
    *("task", "cell", "device", "variant", "measure", "initialization"),
    *("hidden_size", "num_layers", "sequence_length", "batch_size"),
)
"""The parameters that distinguish the benchmarks of a file.

`pytest-benchmark compare --group-by=param:<one of them>`.
"""


def remove_throughput(directory: Path) -> None:
    """Remove both tables and their JSON files, which belong to earlier winners."""
    for name in ("throughput.csv", "throughput.json", "inference.csv", "inference.json"):
        (directory / name).unlink(missing_ok=True)


def write_throughput(
    directory: Path,
    answers: Mapping[str, TrainingAnswer],
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Write throughput.csv and throughput.json; returns the path of the table.

    `answers` are by origin ("winner", "grid", "bench"). A benchmark named `<task>/<cell>/...`
    belongs to those labels, which may be variants of a study. One that failed or is unavailable on
    this machine has a row with the reason and no numbers, and no entry in the JSON file. `machine`,
    the fingerprint, becomes part of its machine_info.
    """
    rows, entries = [], []
    for origin, answer in answers.items():
        for result in answer.results:
            row = _row(columns_of("throughput.csv"), origin, result)
            rows.append(row)
            if result.timed is not None:
                times = result.timed.times
                found = block_statistics(times.step_times_s, times.n_steps_per_block)
                entries.append(_entry(row, PARAMS, found))
    limits = {
        name: {origin: answer.to_json()[name] for origin, answer in answers.items()}
        for name in ("matrix_products", "copies", "latencies")
    }
    _write_entries(directory / "throughput.json", answers, machine, entries, limits)
    return write_csv(directory / "throughput.csv", columns_of("throughput.csv"), rows)


def write_inference(
    directory: Path,
    answers: Mapping[str, InferenceAnswer],
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Write inference.csv and inference.json, as `write_throughput` does; a round is one call."""
    rows, entries = [], []
    for origin, answer in answers.items():
        for result in answer.results:
            row = _row(columns_of("inference.csv"), origin, result)
            rows.append(row)
            if result.timed is not None:
                times = [time / 1e9 for time in result.timed.call_times_ns]
                entries.append(_entry(row, INFERENCE_PARAMS, block_statistics(times, 1)))
    _write_entries(directory / "inference.json", answers, machine, entries, {})
    return write_csv(directory / "inference.csv", columns_of("inference.csv"), rows)


def _write_entries(
    path: Path,
    answers: Mapping[str, TrainingAnswer] | Mapping[str, InferenceAnswer],
    machine: Mapping[str, Any] | None,
    entries: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> None:
    """Write pytest-benchmark's JSON, with keys of ours beside its own."""
    facts = dict(machine or {})
    for answer in answers.values():
        facts |= answer.machine.to_json()
    write_json(
        path,
        {
            "machine_info": facts,
            "commit_info": {"id": None, "dirty": None, "branch": None},
            "benchmarks": list(entries),
            "datetime": dt.datetime.now(dt.UTC).isoformat(),
            "version": _VERSION,
            "schema": RESULTS_SCHEMA,
            **more,
        },
    )


def _row(
    columns: Sequence[str], origin: str, result: BenchmarkResult | InferenceResult
) -> dict[str, Any]:
    plain = result.to_json()
    parts = result.benchmark.name.split("/")
    labels = {"task": parts[0], "cell": parts[1]} if len(parts) > 2 else {}
    return {column: plain.get(column) for column in columns} | {
        "benchmark": result.benchmark.name,
        **labels,
        "origin": origin,
        "reason": result.error or result.unavailable,
    }


def _entry(
    row: Mapping[str, Any], params: Sequence[str], statistics: Mapping[str, Any]
) -> dict[str, Any]:
    """One entry of pytest-benchmark's file: a round is a block, its time that of one step."""
    return {
        "group": f"{row['origin']} {row['device']}",
        "name": row["benchmark"],
        "fullname": row["benchmark"],
        "params": {key: row[key] for key in params},
        "param": row["benchmark"],
        "extra_info": {
            key: value
            for key, value in row.items()
            if key not in params and key not in ("benchmark", "reason")
        },
        "options": {
            "timer": "monotonic",
            "warmup": True,
            "min_rounds": statistics["rounds"],
        },
        "stats": statistics,
    }


def block_statistics(times_s: Sequence[float], n_steps: int) -> dict[str, Any]:
    """The statistics that pytest-benchmark's tools read, of one or more times in seconds.

    Quartiles are Tukey's hinges; outliers are counted as "<beyond one deviation>;<beyond 1.5
    interquartile ranges>".
    """
    ascending = sorted(times_s)
    n = len(ascending)
    mean = statistics.fmean(ascending)
    deviation = statistics.stdev(ascending) if n > 1 else 0.0
    half = ascending[: (n + 1) // 2], ascending[n // 2 :]
    q1, q3 = statistics.median(half[0]), statistics.median(half[1])
    spread = q3 - q1
    within = [time for time in ascending if q1 - 1.5 * spread <= time <= q3 + 1.5 * spread]
    n_far = sum(not mean - deviation <= time <= mean + deviation for time in ascending)
    return {
        "min": ascending[0],
        "max": ascending[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": n,
        "median": statistics.median(ascending),
        "iqr": spread,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": n - len(within),
        "stddev_outliers": n_far,
        "outliers": f"{n_far};{n - len(within)}",
        "ld15iqr": within[0],
        "hd15iqr": within[-1],
        "ops": 1 / mean,
        "total": sum(ascending),
        "data": list(times_s),
        "iterations": n_steps,
    }
