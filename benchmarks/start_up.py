"""How long a command takes to say something: --help, --dry-run, and the first trial of a study.

    python -m benchmarks.start_up [--rounds 5]

Each is a fresh process, all of them in turn; beside them, in the same run, an interpreter that
imports torch and ends. "First trial" is from the command's start to the moment at which the storage
says that the trial has begun, with its worker ready; "first result" to its end, after one step of
training. Bounds: 0.3 s, 2.5 s, 4 s.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.machine import cpu_model, num_cores

STUDY = [sys.executable, "-m", "harness.study"]
SMALL = [
    *("quickstart", "--trials", "1"),
    *("--set", 'compare.cells=["lstm"]', "--set", 'compare.tasks=["temporal_order"]'),
    *("--set", "search.repeats=1", "--set", "confirm.seeds=0", "--set", "throughput.enabled=false"),
    *("--set", "training.sequences=32", "--set", "training.evaluate_every=32"),
]


def seconds(command: list[str]) -> float:
    """How long a command takes to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_trial() -> tuple[float, float]:
    """Seconds from the command's start to its first trial's start and end."""
    with tempfile.TemporaryDirectory() as folder:
        started = dt.datetime.now()  # noqa: DTZ005  # Optuna stores local time, without a zone
        subprocess.run(
            [*STUDY, *SMALL, "--results", folder],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (database,) = Path(folder).rglob("study.db")
        with sqlite3.connect(database) as connection:
            row = connection.execute("select datetime_start, datetime_complete from trials")
            begun, ended = (dt.datetime.fromisoformat(each) for each in row.fetchone())
    return (begun - started).total_seconds(), (ended - started).total_seconds()


def main() -> None:
    """Measure all in turn, and print medians with the least and the greatest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    found: dict[str, list[float]] = {}
    for _ in range(parser.parse_args().rounds):
        for name, command in (
            ("import torch", [sys.executable, "-c", "import torch"]),
            ("--help", [*STUDY, "--help"]),
            ("--dry-run", [*STUDY, "quickstart", "--dry-run"]),
        ):
            found.setdefault(name, []).append(seconds(command))
        begun, ended = first_trial()
        found.setdefault("first trial", []).append(begun)
        found.setdefault("first result", []).append(ended)
    print(f"{cpu_model()}, {num_cores()} cores, Python {sys.version.split()[0]}")
    for name, each in found.items():
        print(
            f"{name:<14} median {statistics.median(each):5.2f} s ({min(each):.2f} to {max(each):.2f})"
        )


if __name__ == "__main__":
    main()
