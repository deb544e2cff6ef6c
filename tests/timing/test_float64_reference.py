"""harness.timing.float64_reference.

Float64 references, deviations, and shares of denormal gradients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cells import CELLS
from harness.errors import HarnessError
from harness.machine import derive_seed
from harness.tasks import get_task
from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import build
from harness.timing.float64_reference import (
    Deviation,
    Reference,
    check,
    compute_reference,
    denormals_flushed,
    deviation,
)
from harness.training.model import build_model
from tests.known import known

BENCHMARK = Benchmark("one", "temporal_order", "gru", 8, 1, 20, batch_size=4)


@pytest.fixture
def flushed() -> Iterator[Any]:
    """Denormals flushed, as in a tuned worker, and kept again afterwards."""
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def test_the_reference_is_the_double_model(flushed: Any) -> None:
    """Loss and gradients equal those of the model by hand in float64."""
    found = compute_reference(BENCHMARK, seed=3)
    model = build_model(BENCHMARK.model, derive_seed(3, "weights")).double()
    generator = torch.Generator().manual_seed(derive_seed(3, "batches"))
    batch = get_task("temporal_order").sample(4, 20, generator)
    loss = torch.nn.functional.cross_entropy(model(batch.inputs.double()), batch.targets)
    loss.backward()
    loss = loss.detach()
    assert found.precision == "float64"
    assert found.loss == pytest.approx(float(loss), rel=1e-12)
    for ours, weight in zip(found.gradients, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-10, atol=1e-14)
    assert denormals_flushed()


def test_it_survives_a_file(tmp_path: Path) -> None:
    """What is saved is read back, without pickle."""
    found = compute_reference(BENCHMARK, seed=0)
    found.save(tmp_path / "reference.pt")
    read = Reference.load(tmp_path / "reference.pt")
    assert (read.loss, read.precision) == (found.loss, found.precision)
    assert all(map(torch.equal, read.gradients, found.gradients))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_float32_is_within_its_roundings(cell: str) -> None:
    """The step that training takes deviates by roundings only."""
    benchmark = dataclasses.replace(BENCHMARK, cell=cell)
    found = deviation(build(benchmark), "training_step", compute_reference(benchmark, 0))
    assert found.loss_error < 1e-5
    assert known(found.gradient_error) < 1e-4
    check(found, "float32", "float64")


def test_a_wrong_gate_is_found() -> None:
    """A step whose update gate is off is not timed."""
    reference = compute_reference(BENCHMARK, 0)
    work = build(BENCHMARK)
    gates = work.first_weights[1]  # the recurrent weights, which reset brings back
    gates.data[8:16] *= -1.0
    found = deviation(work, "training_step", reference)
    with pytest.raises(
        HarnessError, match=r"not timed: its (loss|gradients) differs? from float64 by"
    ):
        check(found, "float32", "float64")


def test_a_lost_backward_pass_is_found() -> None:
    """A gradient of zero is off by all of it."""
    reference = compute_reference(BENCHMARK, 0)
    work = build(BENCHMARK)
    work.forward.requires_grad_(requires_grad=False)
    work.forward.head.bias.requires_grad_()  # type: ignore[union-attr]
    with pytest.raises(HarnessError, match="its gradients differ"):
        check(deviation(work, "training_step", reference), "tf32", "float64")


@pytest.mark.parametrize("loss_error", [math.nan, math.inf, 1.0])
def test_what_is_no_number_is_no_agreement(loss_error: float) -> None:
    """NaN is not within any tolerance."""
    with pytest.raises(HarnessError, match="its loss differs from float64"):
        check(Deviation(loss_error, None), "float16", "float64")


def test_gradients_of_long_sequences_are_denormal_or_zero(flushed: Any) -> None:
    """With torch's weights the gradient to inputs 400 steps back underflows.

    Counted although this process flushes.
    """
    long = dataclasses.replace(BENCHMARK, sequence_length=400, hidden_size=16)
    found = compute_reference(long, 0)
    model = build_model(long.model, derive_seed(0, "weights"))
    generator = torch.Generator().manual_seed(derive_seed(0, "batches"))
    inputs = get_task("temporal_order").sample(4, 400, generator)
    leaf = inputs.inputs.double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model.double()(leaf), inputs.targets)
    (exact,) = torch.autograd.grad(loss, leaf)
    tiny, least = 2.0**-126, 2.0**-149
    sizes = exact.abs()
    expected = float(((sizes > least) & (sizes < tiny)).double().mean())
    assert expected > 0.01
    assert found.denormal_fraction == pytest.approx(expected, rel=0.3)
    assert found.zero_fraction == pytest.approx(float((sizes < least).double().mean()), abs=0.1)


def test_a_short_healthy_gradient_has_no_denormals() -> None:
    """Twenty steps lose nothing."""
    found = compute_reference(BENCHMARK, 0)
    assert (found.denormal_fraction, found.zero_fraction) == (0.0, 0.0)


class Stubborn(torch.nn.Module):
    """A cell that works in float32 only: it makes its own state."""

    def __init__(self, input_size: Any, hidden_size: Any, num_layers: Any) -> None:
        super().__init__()
        self.inward = torch.nn.Linear(input_size, hidden_size)
        self.size = hidden_size

    def forward(self, inputs: Any) -> Any:
        state = torch.zeros(len(inputs), self.size, dtype=torch.float32)
        states = []
        for step in range(inputs.shape[1]):
            state = torch.addmm(state, self.inward(inputs[:, step]), torch.eye(self.size))
            states.append(state)
        return torch.stack(states, dim=1)


def test_a_cell_without_float64_is_held_against_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that can't be computed in float64 has a float32 reference, and says so."""
    cell = dataclasses.replace(
        CELLS["rnn"],
        name="stubborn",
        factory=Stubborn,
        initializations={"pytorch": lambda *_: None},
    )
    monkeypatch.setitem(CELLS, "stubborn", cell)
    assert (
        compute_reference(dataclasses.replace(BENCHMARK, cell="stubborn"), 0).precision == "float32"
    )
