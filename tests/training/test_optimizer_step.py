"""harness.training.optimizer_step: one optimiser update, in the right order."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.tasks import Batch, get_task
from harness.tasks.delayed_recall import DelayedRecall
from harness.training.model import ModelConfig, SequenceModel, build_model
from harness.training.optimizer_step import OPTIMIZERS, make_optimizer, training_step

TASK = get_task("delayed_recall")
RATE = 0.5


def build() -> SequenceModel:
    """A small model."""
    return build_model(ModelConfig("delayed_recall", "lstm", 6, 2, 7), seed=0)


def draw(seed: int = 0) -> Batch:
    """A batch."""
    return TASK.sample(16, 7, torch.Generator().manual_seed(seed))


def gradient(model: SequenceModel, batch: Batch) -> list[Tensor]:
    """The loss's gradient by autograd, on a copy."""
    twin = copy.deepcopy(model)
    weights = list(twin.parameters())
    return list(torch.autograd.grad(TASK.loss(twin(batch.inputs), batch.targets), weights))


def weights_of(model: nn.Module) -> list[Tensor]:
    """A copy of the weights."""
    return [weight.detach().clone() for weight in model.parameters()]


def norm(tensors: list[Tensor]) -> float:
    """Their Euclidean norm, all together."""
    return sum((each.double() ** 2).sum().item() for each in tensors) ** 0.5  # type: ignore[no-any-return]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999, 1.001, 10.0, 0.0])
def test_sgd_goes_down_the_clipped_gradient(share: float) -> None:
    """The update is -learning_rate x gradient, shortened to max_grad_norm where it is longer.

    0 shortens nothing.
    """
    model, batch = build(), draw()
    before, wanted = weights_of(model), gradient(model, batch)
    length = norm(wanted)
    max_grad_norm = share * length
    training_step(
        model, make_optimizer("sgd", model.parameters(), RATE), TASK, batch, max_grad_norm
    )
    moved = [now - then for now, then in zip(weights_of(model), before, strict=True)]
    shrink = share if 0 < share < 1 else 1.0
    for each, slope in zip(moved, wanted, strict=True):
        assert torch.allclose(each, -RATE * shrink * slope, rtol=1e-3, atol=1e-6)
    assert norm(moved) / RATE == pytest.approx(shrink * length, rel=1e-3)
    if share:
        assert norm(moved) / RATE <= max_grad_norm * (1 + 1e-4)


@dataclasses.dataclass(frozen=True)
class Noted(DelayedRecall):
    """Delayed recall that notes when its loss is asked for, and when its gradient is."""

    events: list[str] = dataclasses.field(default_factory=list)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        self.events.append("loss")
        loss = super().loss(outputs, targets)
        loss.register_hook(lambda _: self.events.append("backward"))
        return loss


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
def test_the_order_of_a_step(monkeypatch: pytest.MonkeyPatch, max_grad_norm: float) -> None:
    """zero_grad, forward, loss, backward, clip, step; with max_grad_norm 0 there is no clipping."""
    task, model = Noted(), build()
    optimizer = make_optimizer("sgd", model.parameters(), RATE)
    real = nn.utils.clip_grad_norm_

    def note(name: str, function: Any) -> Any:
        def noted(*arguments: Any, **named: Any) -> Any:
            task.events.append(name)
            return function(*arguments, **named)

        return noted

    monkeypatch.setattr(optimizer, "zero_grad", note("zero_grad", optimizer.zero_grad))
    monkeypatch.setattr(optimizer, "step", note("step", optimizer.step))
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", note("clip", real))
    model.register_forward_pre_hook(lambda *_: task.events.append("forward"))
    training_step(model, optimizer, task, draw(), max_grad_norm)
    order = ["zero_grad", "forward", "loss", "backward", "clip", "step"]
    assert task.events == [each for each in order if each != "clip" or max_grad_norm]


def test_gradients_do_not_add_up() -> None:
    """The second step knows the second batch's gradient alone."""
    model = build()
    optimizer = make_optimizer("sgd", model.parameters(), RATE)
    training_step(model, optimizer, TASK, draw(0), 0.0)
    before, wanted = weights_of(model), gradient(model, draw(1))
    training_step(model, optimizer, TASK, draw(1), 0.0)
    for now, then, slope in zip(weights_of(model), before, wanted, strict=True):
        assert torch.allclose(now, then - RATE * slope, atol=1e-6)


def test_the_loss_is_that_before_the_update() -> None:
    """A number without a graph: the loss of the weights that the step found."""
    model, batch = build(), draw()
    expected = TASK.loss(model(batch.inputs), batch.targets).item()
    loss = training_step(model, make_optimizer("sgd", model.parameters(), RATE), TASK, batch, 1.0)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert TASK.loss(model(batch.inputs), batch.targets).item() < expected


PLAIN = {
    "adam": lambda weights: torch.optim.Adam(weights, 0.01, foreach=False),
    "adamw": lambda weights: torch.optim.AdamW(weights, 0.01, foreach=False),
    "sgd": lambda weights: torch.optim.SGD(weights, 0.01, foreach=False),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 0.01, foreach=False),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimiser_is_torchs_plain_one(name: str) -> None:
    """The fused optimiser moves the weights as torch's plainest does, over ten steps."""
    model, twin = build(), build()
    optimizer = make_optimizer(name, model.parameters(), 0.01)
    assert {id(w) for group in optimizer.param_groups for w in group["params"]} == {
        id(weight) for weight in model.parameters()
    }
    plain = PLAIN[name](twin.parameters())  # type: ignore[no-untyped-call]
    for seed in range(10):
        training_step(model, optimizer, TASK, draw(seed), 1.0)
        training_step(twin, plain, TASK, draw(seed), 1.0)
    for one, other in zip(weights_of(model), weights_of(twin), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert not all(map(torch.equal, weights_of(model), weights_of(build())))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimiser_lowers_the_loss(name: str) -> None:
    """Forty steps on one batch of a task that is easy at this length."""
    task = get_task("lesson")
    model = build_model(ModelConfig("lesson", "rnn", 6, 1, 4), seed=0)
    batch = task.sample(2, 4, torch.Generator())
    optimizer = make_optimizer(name, model.parameters(), {"sgd": 0.5}.get(name, 0.01))
    losses = [training_step(model, optimizer, task, batch, 1.0).item() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
