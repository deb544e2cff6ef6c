"""throughput and inference, .csv and .json.

What harness.timing answered, as a table and as pytest-benchmark's JSON.

It measures nothing. The raw time of every block, or call, is kept in the JSON file.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.atomic_write import write_csv, write_json
from harness.records.result_columns import INFERENCE_COLUMNS, SCHEMA, THROUGHPUT_COLUMNS

_VERSION = "5.1.0"  # of the pytest-benchmark whose schema this is
INFERENCE_PARAMS = (
    *("task", "cell", "device", "dtype", "measure", "initialization"),
    *("hidden_size", "num_layers", "sequence_length"),
)
PARAMS = (
    *("task", "cell", "device", "variant", "measure", "initialization"),
    *("hidden_size", "num_layers", "sequence_length", "batch_size"),
)
"""What tells the benchmarks of a file apart.

`pytest-benchmark compare --group-by=param:<one of them>`.
"""


def remove_throughput(directory: Path) -> None:
    """Remove the files of both, if they are there.

    What they hold is of another session's winners.
    """
    for name in ("throughput.csv", "throughput.json", "inference.csv", "inference.json"):
        (directory / name).unlink(missing_ok=True)


def write_throughput(
    directory: Path,
    answers: Mapping[str, Mapping[str, Any]],
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Write throughput.csv and throughput.json from answers of harness.timing, by origin ("winner", "grid", "bench").

    A benchmark named `<task>/<cell>/...` belongs to those labels, which may be variants. One that
    failed, or is not to be had here, has a row with its reason and no numbers, and no entry in the
    JSON file. `machine` is the fingerprint, which goes into its machine_info. Returns the path of
    the table.
    """
    rows, entries = [], []
    for origin, answer in answers.items():
        for result in answer["results"]:
            row = _row(THROUGHPUT_COLUMNS, origin, result)
            rows.append(row)
            if result.get("step_times_s"):
                times, n_steps = result["step_times_s"], result.get("n_steps_per_block", 1)
                entries.append(_entry(row, PARAMS, block_statistics(times, n_steps)))
    limits = {
        name: {origin: answer[name] for origin, answer in answers.items() if name in answer}
        for name in ("matrix_products", "copies", "latencies")
    }
    _write_entries(directory / "throughput.json", answers, machine, entries, limits)
    return write_csv(directory / "throughput.csv", THROUGHPUT_COLUMNS, rows)


def write_inference(
    directory: Path,
    answers: Mapping[str, Mapping[str, Any]],
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Write inference.csv and inference.json from answers of harness.timing in inference mode, as `write_throughput` does.

    In the JSON file a round is one call.
    """
    rows, entries = [], []
    for origin, answer in answers.items():
        devices = answer.get("machine", {}).get("devices", {})
        for result in answer["results"]:
            row = _row(INFERENCE_COLUMNS, origin, result)
            row["device_name"] = row["device_name"] or devices.get(row["device"])
            rows.append(row)
            if result.get("call_times_ns"):
                times = [time / 1e9 for time in result["call_times_ns"]]
                entries.append(_entry(row, INFERENCE_PARAMS, block_statistics(times, 1)))
    _write_entries(directory / "inference.json", answers, machine, entries, {})
    return write_csv(directory / "inference.csv", INFERENCE_COLUMNS, rows)


def _write_entries(
    path: Path,
    answers: Mapping[str, Mapping[str, Any]],
    machine: Mapping[str, Any] | None,
    entries: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> None:
    """A file of pytest-benchmark's schema; keys of ours stand beside its own."""
    facts = dict(machine or {})
    for answer in answers.values():
        facts |= answer.get("machine", {})
    write_json(
        path,
        {
            "machine_info": facts,
            "commit_info": {"id": None, "dirty": None, "branch": None},
            "benchmarks": list(entries),
            "datetime": dt.datetime.now(dt.UTC).isoformat(),
            "version": _VERSION,
            "schema": SCHEMA,
            **more,
        },
    )


def _row(columns: Sequence[str], origin: str, result: Mapping[str, Any]) -> dict[str, Any]:
    parts = str(result["name"]).split("/")
    labels = {"task": parts[0], "cell": parts[1]} if len(parts) > 2 else {}
    return {column: result.get(column) for column in columns} | {
        "benchmark": result["name"],
        **labels,
        "origin": origin,
        "reason": result.get("error") or result.get("unavailable") or "",
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
    """All the statistics that pytest-benchmark's tools look for, of one or more times in seconds.

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
