"""harness.timing.flops: the formula against torch's own counter and against numbers by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.cells import CELLS, Cell
from harness.tasks import TASKS
from harness.timing.benchmark_request import Benchmark
from harness.timing.flops import step_bytes, step_flops, training_flops
from harness.training.model import ModelConfig

MODEL = ModelConfig("temporal_order", "lstm", hidden_size=16, num_layers=2, sequence_length=10)


def counted(
    gates: Any, task: Any, hidden_size: Any, num_layers: Any, batch_size: Any, n_steps: Any
) -> Any:
    """Products of a plain recurrence with that many gates, as torch counts them."""
    sizes = [task.input_size] + [hidden_size] * (num_layers - 1)
    kernels = [
        (
            torch.randn(size, gates * hidden_size, requires_grad=True),
            torch.randn(hidden_size, gates * hidden_size, requires_grad=True),
        )
        for size in sizes
    ]
    head = torch.randn(hidden_size, task.output_size, requires_grad=True)
    inputs = torch.randn(n_steps, batch_size, task.input_size, requires_grad=True)
    first = [torch.randn(batch_size, hidden_size, requires_grad=True) for _ in sizes]
    with FlopCounterMode(display=False) as counter:
        states, outputs = list(first), []
        for step in range(n_steps):
            below = inputs[step]
            for layer, (from_below, from_before) in enumerate(kernels):
                blocks = below @ from_below + states[layer] @ from_before
                states[layer] = torch.tanh(sum(blocks.chunk(gates, dim=1)))  # type: ignore[arg-type]
                below = states[layer]
            outputs.append(below)
        read = outputs if task.dense else outputs[-1:]
        torch.stack([state @ head for state in read]).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("task", ["temporal_order", "adding", "copy_memory"])
def test_the_formula_counts_what_torch_counts(cell: str, num_layers: int, task: str) -> None:
    """The formula equals torch's count of a plain recurrence's products, forward and backward."""
    model = ModelConfig(task, cell, hidden_size=7, num_layers=num_layers, sequence_length=12)
    oracle = counted(CELLS[cell].gates, TASKS[task], 7, num_layers, batch_size=3, n_steps=12)
    assert training_flops(model, batch_size=3, n_steps=12) == oracle


def test_an_lstm_by_hand() -> None:
    """3 * (2*4*16*(8+16) + 2*4*16*(16+16)) * 5 * 10 for the layers, 3 * 2*16*4*5 for the head."""
    assert training_flops(MODEL, batch_size=5, n_steps=10) == 3 * (3072 + 4096) * 50 + 3 * 640


def test_a_cell_that_does_not_say_its_gates_has_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOPs of a plug-in that does not declare them are not measured."""
    cell = Cell("secret", CELLS["lstm"].factory, None, CELLS["lstm"].initializations)
    monkeypatch.setitem(CELLS, "secret", cell)
    assert training_flops(dataclasses.replace(MODEL, cell="secret"), 5, 10) is None


def test_a_cell_that_tells_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in's own count is that of one step of one sequence forward.

    Training takes three times it, and the head.
    """
    cell = Cell("own", CELLS["lstm"].factory, 4, flops=lambda D, H, L: 1_000 * D + 10 * H + L)  # noqa: N803
    monkeypatch.setitem(CELLS, "own", cell)
    found = training_flops(dataclasses.replace(MODEL, cell="own"), 5, 10)
    assert found == 3 * (8_000 + 160 + 2) * 50 + 3 * 640


BENCHMARK = Benchmark("one", "temporal_order", "lstm", 16, 2, 10, batch_size=5)


def test_bytes_by_hand() -> None:
    """Weights and states of a small LSTM, each moved as often as a step must."""
    weights, states = 1_000, 5 * 10 * (8 + 2 * (4 + 1) * 16)
    forward = dataclasses.replace(BENCHMARK, measure="forward")
    both = dataclasses.replace(BENCHMARK, measure="forward_backward")
    assert step_bytes(forward, 10, weights) == 4 * (weights + states)
    assert step_bytes(both, 10, weights) == 4 * (3 * weights + 2 * states)
    # one pass to clip, seven for Adam; none and three for plain SGD that does not clip
    assert step_bytes(BENCHMARK, 10, weights) == 4 * (11 * weights + 2 * states)
    half = dataclasses.replace(forward, variant="bfloat16")  # float32 weights, states of two bytes
    assert step_bytes(half, 10, weights) == 4 * weights + 2 * states
    sgd = dataclasses.replace(BENCHMARK, optimizer="sgd", max_grad_norm=0.0)
    assert step_bytes(sgd, 10, weights) == 4 * (6 * weights + 2 * states)


def test_bytes_of_a_cell_of_unknown_gates_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that tells no gates has no bytes, rather than wrong ones."""
    cell = Cell("secret", CELLS["lstm"].factory, None, CELLS["lstm"].initializations)
    monkeypatch.setitem(CELLS, "secret", cell)
    assert step_bytes(dataclasses.replace(BENCHMARK, cell="secret"), 10, 1_000) is None


def test_forward_is_a_third() -> None:
    """A training step's operations are three passes, of which forward is one."""
    forward = dataclasses.replace(BENCHMARK, measure="forward")
    assert step_flops(BENCHMARK, 10) == 3 * step_flops(forward, 10)  # type: ignore[operator]
