"""Estimates whether the disk has space for a study. Returns a remark, never an error."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.config import StudySpec, count_trials
from harness.config.feasibility import KnownTask
from harness.hyperparameters import numbers_of

# Measured on the reference studies and doubled: what is written is there twice until it is renamed.
BASE_BYTES = 40 << 20  # an empty database and its log, the report and its figures
TRIAL_BYTES = 6_000
EVALUATION_BYTES = 500


def needed_bytes(spec: StudySpec, tasks: Mapping[str, KnownTask]) -> int:
    """An estimate of all that a study writes: database, tables, report and weights."""
    searched, confirmed = count_trials(spec, tasks)
    evaluations = weights = 0.0
    for task, cell in spec.pairs:
        largest = {
            name: max([1.0, *numbers_of(each)])
            for name, each in spec.parameters(task, cell).items()
            if all(isinstance(value, int | float) for value in each.values())
        }
        every = min(numbers_of(spec.parameters(task, cell)["evaluate_every"]))
        evaluations = max(evaluations, largest["sequences"] / every)
        hidden, layers = largest.get("hidden_size", 1.0), largest.get("num_layers", 1.0)
        size = max(largest["num_parameters"], 8 * hidden * hidden * layers)  # an LSTM's
        weights += 2 * 4 * size  # float32, before and after training
    trials = searched + confirmed
    return BASE_BYTES + round(weights + trials * (TRIAL_BYTES + evaluations * EVALUATION_BYTES))


def low_disk(folder: Path, needed: int) -> str:
    """A remark where the disk of `folder` has less free space; empty where it has enough.

    Also empty where the system does not report the free space.
    """
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return ""
    if free >= needed:
        return ""
    return (
        f"little space on the disk: {_size(free)} are free in {there}, and this study may write about "
        f"{_size(needed)}; if it fills up, free some and run the same command again"
    )


def _size(n_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes / 1e3:,.1f} kB"
