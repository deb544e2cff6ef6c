"""Whether the groups of a bench fit into memory, by formula and before anything is built."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harness import machine, timing
from harness.cells import get_cell, num_parameters_of_stack
from harness.config import Group
from harness.errors import InputError, Shown
from harness.tasks import get_task
from harness.timing.benchmark_session import REFERENCE_VARIANT
from harness.timing.hardware_limits import COPY_BYTES

WORKER_BYTES = 220 * 10**6
"""Held by a live worker before anything large.

Resident memory of its own, without the libraries' pages that all workers share.
Measured on Linux with torch 2.13: 221 MB once the smallest LSTM was prepared, 298 MB where it was
compiled."""
CHECKED_BYTES = 20
"""For each weight, while a deployed model is held against float64.

Float32 of the model, its copy and the reference's, and float64.
"""
DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "int8": 1}


def check_memory(
    groups: Sequence[Group], mode: Literal["training", "inference"], where: str
) -> None:
    """Refuse the first group that cannot fit into the memory of its device.

    Raises InputError naming its largest benchmark.
    """
    available = functools.cache(machine.device_memory_bytes)
    always = {group.device: 0 for group in groups}
    if mode == "training" and "cpu" in always:
        always["cpu"] = _bytes_of_workers(groups)
    for group in groups:
        found = (_training if mode == "training" else _inference)(group)
        needed = always[group.device] + sum(found.values())
        if needed > available(group.device):
            largest = max(found, key=lambda name: found[name])
            raise InputError(
                where,
                "vary",
                expected=f"groups that fit into {available(group.device):,} bytes of memory of {group.device}",
                got=Shown(f"about {needed:,} bytes ({largest}, and what is held beside it)"),
                remedy="lower its sizes, or time fewer variants",
            )


def _training(group: Group) -> dict[str, int]:
    """The largest step of each variant, for each of its processes.

    All of a group stand ready at once.
    """
    largest: dict[str, tuple[int, str]] = {}
    for plain in group.benchmarks:
        variant = plain["variant"]
        if timing.unavailable(variant, group.device):
            continue
        copies = timing.parse_variant(variant).n_processes
        needed = copies * timing.step_bytes_needed(timing.Benchmark(**plain))
        largest[variant] = max(largest.get(variant, (0, "")), (needed, plain["name"]))
    return {name: needed for needed, name in largest.values()}


def _bytes_of_workers(groups: Sequence[Group]) -> int:
    """Of the processes that live side by side, and of the large copies that measure bandwidth.

    One for each number of threads.
    """
    pairs = {(each["variant"], group.device) for group in groups for each in group.benchmarks}
    names = {variant for variant, device in pairs if not timing.unavailable(variant, device)}
    variants = [timing.parse_variant(name) for name in sorted({*names, REFERENCE_VARIANT})]
    copied = {timing.parse_variant(name).n_threads for name in names}
    n_processes = sum(variant.n_processes for variant in variants)
    return n_processes * WORKER_BYTES + len(copied) * 2 * COPY_BYTES["cpu"]


def _inference(group: Group) -> dict[str, int]:
    """Each model's weights in its dtype, as all stand ready at once.

    Those of the largest as they are checked.
    """
    weights = {each["name"]: _num_weights(each) for each in group.benchmarks}
    held = {
        each["name"]: weights[each["name"]] * DTYPE_BYTES[each["dtype"]]
        for each in group.benchmarks
    }
    largest = max(weights, key=lambda name: weights[name])
    return {**held, largest: weights[largest] * CHECKED_BYTES}


def _num_weights(benchmark: Mapping[str, Any]) -> int:
    """Weights of the model's stack; a cell of unknown gates is taken to have four."""
    cell, task = get_cell(benchmark["cell"]), get_task(benchmark["task"])
    sizes = (task.input_size, benchmark["hidden_size"], benchmark["num_layers"])
    return num_parameters_of_stack(cell.gates or 4, *sizes)
