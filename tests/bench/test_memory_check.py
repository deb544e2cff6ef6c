"""harness.bench.memory_check: what a group holds at once, by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from harness import machine
from harness.bench.memory_check import WORKER_BYTES, check_memory
from harness.bench.run import BenchOptions, check_bench, plan_groups
from harness.cells import CELLS
from harness.config import parse_grid
from harness.errors import InputError
from harness.timing import Benchmark, step_bytes_needed

COPY = 2 * 256 * 2**20  # the tensor that is copied, and the place that it is copied to


def needed(
    monkeypatch: pytest.MonkeyPatch,
    variants: Sequence[str] = ("tuned",),
    mode: Literal["training", "inference"] = "training",
    devices: Sequence[str] = ("cpu",),
    **changes: Any,
) -> int:
    """The bytes that a machine with too little memory names."""
    monkeypatch.setattr(machine, "device_memory_bytes", lambda _device: 1)
    grid = {"grid": {"name": "a"}, "compare": {"cells": ["lstm"], "variants": [*variants]}}
    spec = parse_grid(grid | changes, "a.toml")
    with pytest.raises(InputError) as refused:
        check_memory(plan_groups(spec, devices, mode), mode, "a.toml")
    found = re.search(r"about ([\d,]+) bytes", str(refused.value))
    assert found is not None
    return int(found.group(1).replace(",", ""))


def step(hidden_size: int = 32) -> int:
    """Bytes of one training step of the grid's own shape."""
    return step_bytes_needed(Benchmark("a", "temporal_order", "lstm", hidden_size, 1, 100))


def test_all_variants_of_a_group_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each variant and the reference, a copy for each thread count, and the steps."""
    alone = needed(monkeypatch)
    assert alone == step() + 2 * WORKER_BYTES + COPY
    assert needed(monkeypatch, ["tuned", "denormals_kept"]) == alone + step()
    assert needed(monkeypatch, ["tuned", "plain"]) == alone + step() + WORKER_BYTES + COPY
    assert needed(monkeypatch, ["tuned", "processes=3"]) == alone + 3 * (step() + WORKER_BYTES)


def test_what_is_not_to_be_had_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of CUDA stand in no process of a CPU."""
    assert needed(monkeypatch, ["tuned", "tf32", "cuda_graph"]) == needed(monkeypatch)


def test_the_largest_step_of_a_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a group's cells and measures one step runs at a time; groups follow each other."""
    both = {
        "cells": ["lstm", "rnn"],
        "variants": ["tuned"],
        "measures": ["training_step", "forward"],
    }
    assert needed(monkeypatch, compare=both) == needed(monkeypatch)
    assert needed(monkeypatch, vary=[{"hidden_size": [32, 64]}]) == needed(monkeypatch)
    monkeypatch.setattr(machine, "device_memory_bytes", lambda _device: alone)  # type: ignore[has-type]
    grid = {"grid": {"name": "a"}, "compare": {"cells": ["lstm"], "variants": ["tuned"]}}
    alone = step(64) + 2 * WORKER_BYTES + COPY
    fits = parse_grid({**grid, "vary": [{"hidden_size": [32, 64]}]}, "a.toml")
    assert len(check_bench(fits, BenchOptions(results=None))) == 2  # type: ignore[arg-type]
    more = parse_grid({**grid, "vary": [{"hidden_size": [32, 64, 65]}]}, "a.toml")
    with pytest.raises(InputError, match="h65"):
        check_bench(more, BenchOptions(results=None))  # type: ignore[arg-type]


def test_a_card_holds_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes hold in the machine's memory is not on the card."""
    variants = ["tuned", "processes=2"]
    monkeypatch.setattr("harness.timing.unavailable", lambda _variant, _device: "")
    assert needed(monkeypatch, variants, devices=["cuda:0"]) == 3 * step()


def test_inference_holds_every_model_and_checks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty bytes a weight while a model is checked, beside the others.

    Two of float32, bfloat16 and int8 each, less one.
    """
    weights = sum(each.numel() for each in CELLS["lstm"].factory(8, 32, 1).parameters())
    found = needed(monkeypatch, mode="inference")
    assert found == weights * (20 + 4 + 2 * 2 + 2 * 1)
