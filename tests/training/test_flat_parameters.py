"""harness.training.flat_parameters: the same training, with all parameters in one vector."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.tasks import get_task
from harness.training import flat_parameters
from harness.training.flat_parameters import FlatOptimizer, can_be_flat
from harness.training.model import ModelConfig, build_model
from harness.training.optimizer_step import OPTIMIZERS, make_optimizer, training_step

TASK = get_task("delayed_recall")
CONFIG = ModelConfig("delayed_recall", "lstm", hidden_size=6, num_layers=2, sequence_length=8)


def stand_still(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser that changes nothing."""
    return torch.optim.SGD(parameters, lr=0.0)


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05, 1e6])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_training(name: str, max_grad_norm: float) -> None:
    """Every optimiser gives the parameters that it gives without, whatever is clipped."""
    plain = build_model(CONFIG, seed=1)
    model = copy.deepcopy(plain)
    sides = (
        (plain, make_optimizer(name, plain.parameters(), 0.01)),
        (model, FlatOptimizer(model.parameters(), lambda own: make_optimizer(name, own, 0.01))),
    )
    for step in range(12):
        batch = TASK.sample(5, 8, torch.Generator().manual_seed(step))
        losses = [
            float(training_step(each, optimizer, TASK, batch, max_grad_norm))
            for each, optimizer in sides
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for (key, one), other in zip(
        plain.state_dict().items(), model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fast_update_is_torchs_step(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Bit for bit, under a learning rate that changes, and with kernels Adam has a fast one."""
    found = []
    for kernels in (flat_parameters.KERNELS, {}):
        monkeypatch.setattr(flat_parameters, "KERNELS", kernels)
        model = build_model(CONFIG, seed=1)
        flat = FlatOptimizer(model.parameters(), lambda own: make_optimizer(name, own, 0.01))
        for step in range(8):
            flat.param_groups[0]["lr"] = 0.01 / (1 + step)
            batch = TASK.sample(5, 8, torch.Generator().manual_seed(step))
            training_step(model, flat, TASK, batch, 0.05)
        is_fast = flat.update != flat.optimizer.step
        assert is_fast == (bool(kernels) and name in ("adam", "adamw"))
        found.append(flat.vector.detach().clone())
    assert torch.equal(*found)


@given(
    norm=st.floats(1e-3, 1e3),
    max_norm=st.floats(1e-3, 1e3),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_the_norm_is_at_most_the_limit(norm: float, max_norm: float, sizes: list[int]) -> None:
    """Gradients are scaled as nn.utils.clip_grad_norm_ scales them."""
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    flat = FlatOptimizer(parameters, stand_still)
    torch.manual_seed(len(sizes))
    grads = [torch.randn(size) + 0.1 for size in sizes]
    total = torch.cat(grads).norm()
    for each, grad in zip(parameters, grads, strict=True):
        each.grad = grad / total * norm
    flat.step(max_norm)
    nn.utils.clip_grad_norm_(parameters, max_norm)
    assert float(flat.gradient.norm()) <= max_norm * (1 + 1e-5)
    expected = torch.cat([each.grad for each in parameters if each.grad is not None])
    torch.testing.assert_close(flat.gradient, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite(value: float) -> None:
    """It is not clipped away: the gradients are those of nn.utils.clip_grad_norm_."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    flat = FlatOptimizer(parameters, stand_still)
    parameters[0].grad, parameters[1].grad = torch.tensor([value, 1.0]), torch.ones(1)
    flat.step(1.0)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    expected = torch.cat([each.grad for each in parameters if each.grad is not None])
    torch.testing.assert_close(flat.gradient, expected, equal_nan=True)


def test_parameters_keep_their_names_shapes_and_values() -> None:
    """What is saved before is loaded after, and the reverse."""
    before = build_model(CONFIG, seed=1)
    model = build_model(CONFIG, seed=1)
    FlatOptimizer(model.parameters(), stand_still)
    assert list(model.state_dict()) == list(before.state_dict())
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other)
    model.load_state_dict(build_model(CONFIG, seed=2).state_dict())
    before.load_state_dict(model.state_dict())


def test_what_cannot_be_flat() -> None:
    """Parameters of two data types, or one parameter under two names that share memory."""
    assert can_be_flat(nn.Linear(2, 3))
    assert not can_be_flat(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2).double()))
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[0].weight.data = tied[1].weight.data
    assert not can_be_flat(tied)
