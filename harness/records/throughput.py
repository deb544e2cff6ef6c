"""throughput.csv and throughput.json: what harness.timing answered, as a table and as pytest-benchmark's JSON.

It measures nothing. The raw time of every block is kept in the JSON file.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.columns import SCHEMA, THROUGHPUT_COLUMNS
from harness.records.files import write_csv, write_json

_VERSION = "5.1.0"  # of the pytest-benchmark whose schema this is


def remove_throughput(directory: Path) -> None:
    """Remove throughput.csv and throughput.json, if they are there: what they hold is of another session's winners."""
    for name in ("throughput.csv", "throughput.json"):
        (directory / name).unlink(missing_ok=True)


def write_throughput(directory: Path, answers: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write throughput.csv and throughput.json from answers of harness.timing, by origin ("winner", "grid").

    A benchmark named `<task>/<cell>/...` belongs to those labels, which may be variants. One that failed has a
    row with its reason and no numbers, and no entry in the JSON file. Returns the path of the table.
    """
    directory = Path(directory)
    rows, benchmarks = [], []
    machine: dict[str, Any] = {}
    for origin, answer in answers.items():
        machine |= answer.get("machine", {})
        for result in answer["results"]:
            row = _row(origin, result)
            rows.append(row)
            if result.get("step_times_s"):
                benchmarks.append(_benchmark(row, result))
    write_json(
        directory / "throughput.json",
        {
            "machine_info": machine,
            "commit_info": {"id": None, "dirty": None, "branch": None},
            "benchmarks": benchmarks,
            "datetime": dt.datetime.now(dt.UTC).isoformat(),
            "version": _VERSION,
            "schema": SCHEMA,
            "matrix_products": {
                origin: answer.get("matrix_products", {}) for origin, answer in answers.items()
            },
        },
    )
    return write_csv(directory / "throughput.csv", THROUGHPUT_COLUMNS, rows)


def _row(origin: str, result: Mapping[str, Any]) -> dict[str, Any]:
    parts = str(result["name"]).split("/")
    labels = {"task": parts[0], "cell": parts[1]} if len(parts) > 2 else {}
    known = {column: result.get(column) for column in THROUGHPUT_COLUMNS}
    return known | {
        "benchmark": result["name"],
        **labels,
        "origin": origin,
        "reason": result.get("error") or "",
    }


def _benchmark(row: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of pytest-benchmark's file: a round is a block, its time that of one step."""
    keys = ("task", "cell", "device", "hidden_size", "num_layers", "sequence_length", "batch_size")
    return {
        "group": f"{row['origin']} {row['device']}",
        "name": row["benchmark"],
        "fullname": row["benchmark"],
        "params": {key: row[key] for key in keys},
        "param": row["benchmark"],
        "extra_info": {
            key: value
            for key, value in row.items()
            if key not in keys and key not in ("benchmark", "reason")
        },
        "options": {
            "timer": "monotonic",
            "warmup": True,
            "min_rounds": len(result["step_times_s"]),
        },
        "stats": block_statistics(result["step_times_s"], result.get("n_steps_per_block", 1)),
    }


def block_statistics(times_s: Sequence[float], n_steps: int) -> dict[str, Any]:
    """All the statistics that pytest-benchmark's tools look for, of one or more times in seconds.

    Quartiles are Tukey's hinges; outliers are counted as "<beyond one deviation>;<beyond 1.5 interquartile ranges>".
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
