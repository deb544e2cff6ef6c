"""harness.timing.hardware_limits: matrix products, copies and the smallest steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.timing.benchmark_request import Benchmark
from harness.timing.hardware_limits import (
    ONEDNN,
    copy,
    copy_name,
    latency_bound_s,
    product,
    product_names,
    smallest,
)

BENCHMARK = Benchmark("one", "adding", "gru", 64, 3, 50, variant="bfloat16", measure="forward")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_matrix_product_is_counted_right(precision: str) -> None:
    """Torch counts as many operations in the product as it claims, in either precision."""
    subject = product("peak", "cpu", precision)  # type: ignore[arg-type]
    with FlopCounterMode(display=False) as counter:
        subject.step()
    assert counter.get_total_flops() == subject.flops


def test_onednn_multiplies_too() -> None:
    """A float32 step on a CPU is compared with oneDNN's product as well: all elements are sums."""
    names = product_names(Benchmark("one", "adding", "lstm", 8, 1, 10))
    assert names == tuple(f"matrix product, threads 1, float32, cpu{end}" for end in ("", ONEDNN))
    subject = product(names[1], "cpu", "float32")
    result = subject.step()
    assert isinstance(result, torch.Tensor)
    assert result.to_dense().shape == (1024, 1024)
    assert subject.flops == 2 * 1024**3


def test_a_copy_moves_what_it_claims() -> None:
    """The copy's bytes are those of its source and of its place."""
    subject = copy("copy", "cpu")
    place = subject.step()
    assert 2 * place.numel() * place.element_size() == subject.num_bytes  # type: ignore[attr-defined]
    assert float(place[-1]) == 1.0  # type: ignore[index]


def test_a_card_works_on_layers_side_by_side_and_a_processor_does_not() -> None:
    """(T + L - 1) latencies on CUDA, T L on a CPU."""
    assert latency_bound_s(2.0, 10, 3, "cuda:0") == 24.0
    assert latency_bound_s(2.0, 10, 3, "cpu") == 60.0


def test_variants_of_equal_threads_and_precision_share_a_product() -> None:
    """tuned and denormals_kept are held against one product; bfloat16 and plain against others."""

    def named(variant: Any) -> Any:
        benchmark = Benchmark("one", "adding", "gru", 8, 1, 10, variant=variant)
        return product_names(benchmark), copy_name(benchmark)

    assert named("tuned") == named("denormals_kept") == named("threads=1")
    assert len({named(each)[0] for each in ("tuned", "plain", "threads=2", "bfloat16")}) == 4
    assert named("tuned")[1] == named("bfloat16")[1] != named("plain")[1]


def test_the_smallest_step_keeps_cell_task_and_device() -> None:
    """It is a tuned training step of one sequence and one small layer."""
    found = smallest(BENCHMARK, "small", 64)
    assert (found.cell, found.task, found.device) == ("gru", "adding", "cpu")
    assert (found.hidden_size, found.num_layers, found.batch_size) == (8, 1, 1)
    assert (found.variant, found.measure, found.sequence_length) == ("tuned", "training_step", 64)
