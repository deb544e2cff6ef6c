"""How many trials an hour does a CUDA device train, step by step and as captured CUDA graphs?

    python -m benchmarks.captured_trials [--window 40] [--out results/reference/captured_trials]

For 1, 2, 4 and 8 processes at once, plain and captured in turn: each process trains the trials of
one fixed list, of the quickstart's sizes and its whole budget, until the window is over. A trial's
share of an hour is the time from the first trial's start to the last one's end, divided by the
number of trials. The start of a trial's process is not in it and is recorded by itself. At the end,
the last losses of equal trials are compared. With the default window it takes about 7 minutes.

Writes results.json, with the card's name. Nothing else should run on the card meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from harness.machine import configure_process, cpu_model, keep_memory
from harness.records import write_text
from harness.training.model import ModelConfig
from harness.training.training_loop import Training, TrainingConfig

ROOT = Path(__file__).parents[1]
WAYS = ("plain", "captured")
WORKERS = (1, 2, 4, 8)
TASK, CELLS = "temporal_order", ("rnn", "gru", "lstm")
WHOLE_S = 480.0  # all of it
START_S = 60.0  # a process that is not ready by then has failed


def trial(index: int, device: str) -> TrainingConfig:
    """The trial of that number, of the quickstart's space. All are trained to the end."""
    draws = np.random.default_rng(index)
    length = round(float(np.exp(draws.uniform(np.log(10), np.log(200)))))
    hidden_size = round(float(np.exp(draws.uniform(np.log(8), np.log(32)))))
    model = ModelConfig(
        TASK, CELLS[index % len(CELLS)], hidden_size, int(draws.integers(1, 3)), length
    )
    rate = float(np.exp(draws.uniform(np.log(1e-3), np.log(3e-2))))
    return TrainingConfig(model, rate, seed=index, stop_when_solved=False, device=device)


def work(way: str, device: str, window_s: float, first: int) -> None:
    """A process: train one trial to warm up, say so, wait for a line, and train trials."""
    configure_process()
    keep_memory()
    list(Training(trial(first, device), capture=way == "captured").evaluations())
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    start, ends, losses, kinds = time.monotonic(), [], {}, []
    index = first
    while time.monotonic() - start < window_s:
        training = Training(trial(index, device), capture=way == "captured")
        *_, last = training.evaluations()
        ends.append(time.monotonic() - start)
        losses[index] = last.loss
        kinds.append(training.step_kind())
        index += 1
    print(json.dumps({"ends": ends, "losses": losses, "kinds": kinds}), flush=True)


def measure(way: str, n_workers: int, device: str, window_s: float) -> dict[str, Any]:
    """So many processes at once, from the moment at which all are ready."""
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.captured_trials", "--way", way]
    command += ["--device", device, "--window", str(window_s)]
    processes = [
        subprocess.Popen(
            [*command, "--first", str(1000 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(n_workers)
    ]
    try:
        for process in processes:
            _read(process)
        start_s = time.monotonic() - started
        for process in processes:
            stdin = cast("Any", process.stdin)
            stdin.write("\n")
            stdin.flush()
        found = [_read(process) for process in processes]
        for process in processes:
            process.wait(START_S)
    finally:
        for process in processes:
            process.kill()
    rate = sum(len(each["ends"]) / each["ends"][-1] for each in found)
    return {
        "way": way,
        "workers": n_workers,
        "trials_per_hour": round(3600 * rate),
        "n_trials": sum(len(each["ends"]) for each in found),
        "start_s": round(start_s, 2),
        "step_kinds": dict(Counter(kind for each in found for kind in each["kinds"])),
        "losses": {index: loss for each in found for index, loss in each["losses"].items()},
    }


def _read(process: subprocess.Popen[str]) -> Any:
    line = cast("Any", process.stdout).readline()
    if not line:
        raise SystemExit("captured_trials: a process ended early; its error is above")
    return json.loads(line)


def rows(device: str, window_s: float) -> Iterator[dict[str, Any]]:
    """All measurements, as many as the whole time allows."""
    end = time.monotonic() + WHOLE_S
    for n_workers in WORKERS:
        for way in WAYS:
            if time.monotonic() + window_s + START_S / 2 > end:
                return
            found = measure(way, n_workers, device, window_s)
            print(f"{n_workers} x {way}: {found['trials_per_hour']:,} trials an hour", flush=True)
            yield found


def loss_differences(found: list[dict[str, Any]]) -> list[float]:
    """Absolute differences of the last losses of trials that were trained both ways."""
    known: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for row in found:
        known[row["way"]].update(row.pop("losses"))
    plain, captured = (known[way] for way in WAYS)
    return sorted(abs(plain[index] - captured[index]) for index in plain.keys() & captured.keys())


def main() -> None:
    """Measure and write, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=float, default=40.0, help="seconds of each measurement")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "reference" / "captured_trials"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "captured_trials: no CUDA device was found, so there is nothing to measure"
        )
    if given.way:
        work(given.way, given.device, given.window, given.first)
        return
    found = list(rows(given.device, given.window))
    differences = loss_differences(found)
    record = {
        "card": torch.cuda.get_device_name(given.device),
        "cpu": cpu_model(),
        "torch": torch.__version__,
        "window_s": given.window,
        "measurements": found,
        "n_equal_trials": len(differences),
        "median_loss_difference": differences[len(differences) // 2] if differences else None,
        "largest_loss_difference": differences[-1] if differences else None,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(given.out / "results.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
