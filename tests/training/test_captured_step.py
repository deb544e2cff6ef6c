"""harness.training.captured_step: steps that a CUDA device replays.

What does not need a device is tested on the CPU: what a capture must leave as it was, what cannot
be captured, and a trial that cannot.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import cells
from harness.cells import CELLS, Cell
from harness.tasks import Batch, get_task
from harness.training.captured_step import (
    CapturedRun,
    CapturedStep,
    CaptureError,
    Replayed,
    Snapshot,
    host_state,
    refuse_changes,
)
from harness.training.model import ModelConfig, build_model
from harness.training.optimizer_step import OPTIMIZERS, make_optimizer, training_step
from harness.training.training_loop import Evaluation, Training, TrainingConfig

TASK = get_task("delayed_recall")
CONFIG = ModelConfig("delayed_recall", "gru", hidden_size=6, num_layers=2, sequence_length=7)
TRIAL = TrainingConfig(CONFIG, 0.02, seed=0, batch_size=16, sequences=328, evaluate_every=160)


def draw(seed: int = 0) -> Batch:
    """A batch of 16."""
    return TASK.sample(16, 7, torch.Generator().manual_seed(seed))


def weights_of(model: nn.Module) -> list[Tensor]:
    """A copy of the weights."""
    return [weight.detach().clone() for weight in model.parameters()]


class Noisy(nn.Module):
    """A layer with a buffer, dropout, and things that a step may change outside of tensors."""

    seen: Tensor

    def __init__(self, change: Callable[[Noisy], object]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.dropout = nn.Dropout(0.5)
        self.calls, self.history, self.change = 0, [0.0], change

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch_size, 2)."""
        self.change(self)
        outputs: Tensor = self.linear(self.dropout(inputs))
        return outputs


def nothing(_: Noisy) -> None:
    """Change nothing."""


# ------------------------------------------------------------------------------ before and after


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_warm_up_leaves_no_trace(name: str) -> None:
    """Training after three steps that were taken back is, bit for bit, training without them."""
    found = []
    for warms_up in (False, True):
        model = build_model(CONFIG, seed=0)
        optimizer = make_optimizer(name, model.parameters(), 0.01)
        if warms_up:
            before = Snapshot(model, optimizer)
            for seed in range(3):
                training_step(model, optimizer, TASK, draw(10 + seed), 1.0)
            before.restore()
            assert all(weight.grad is None for weight in model.parameters())
        for seed in range(5):
            training_step(model, optimizer, TASK, draw(seed), 1.0)
        found.append(weights_of(model))
    assert all(map(torch.equal, *found))


def test_buffers_attributes_and_random_numbers_come_back() -> None:
    """Also a list that was added to, a buffer that was replaced, and all three generators."""

    def change(module: Noisy) -> None:
        module.calls += 1
        module.history.append(random.random())
        module.seen = module.seen + float(np.random.rand())  # noqa: NPY002

    model = Noisy(change)
    buffer, history = model.seen, model.history
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = Snapshot(model, None)
    first = model(torch.ones(4, 3))
    drawn = [float(model.seen), *model.history]
    before.restore()
    assert (model.calls, model.history, float(model.seen)) == (0, [0.0], 0.0)
    assert model.seen is buffer
    assert model.history is history
    again = model(torch.ones(4, 3))
    assert torch.equal(first, again)
    assert [float(model.seen), *model.history] == drawn


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: random.random(), "each step draws random numbers on the host"),
        (lambda _: np.random.rand(), "each step draws random numbers on the host"),  # noqa: NPY002
        (lambda _: torch.rand(1), "each step draws random numbers on the host"),
        (lambda own: setattr(own, "calls", own.calls + 1), "each step changes calls"),
        (lambda own: setattr(own, "more", 1), "each step changes more"),
        (lambda own: setattr(own, "seen", own.seen + 1), "each step replaces a weight or a buffer"),
        (
            lambda own: setattr(own.linear.weight, "data", own.linear.weight.data.clone()),
            "each step replaces a weight or a buffer",
        ),
    ],
)
def test_what_a_replay_would_not_do(change: Callable[[Noisy], object], said: str) -> None:
    """Python's part of a step happens once, in the capture: so it must change nothing."""
    model = Noisy(change).eval()
    kept = [model.linear.weight.data, model.seen]  # so that no address is used again
    before = host_state(model)
    model(torch.ones(4, 3))
    with pytest.raises(CaptureError, match=f"^{said}$"):
        refuse_changes(before, host_state(model))
    del kept


def test_a_step_that_changes_tensors_alone_may_be_captured() -> None:
    """An update of the weights, and of a buffer in place, is what a replay repeats."""
    model = Noisy(lambda own: own.seen.add_(1)).eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = host_state(model)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    refuse_changes(before, host_state(model))


def test_a_batch_of_another_shape_or_type_is_not_replayed() -> None:
    """It would be copied into a place that it does not fill."""
    place = draw()
    captured = CapturedRun(graph=None, place=place, result=None)  # type: ignore[arg-type]
    assert captured.suits(draw(1))
    assert not captured.suits(draw(1)[:15])
    assert not captured.suits(Batch(place.inputs, place.targets.int()))


# -------------------------------------------------------------------- where nothing can be captured


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_step_that_cannot_be_captured_is_the_plain_step(name: str) -> None:
    """Bit for bit, at a learning rate that changes; the reason is kept."""
    model, twin = build_model(CONFIG, seed=0), build_model(CONFIG, seed=0)
    step = CapturedStep(model, name, TASK, 1.0, 0.01)
    optimizer = make_optimizer(name, twin.parameters(), 0.01)
    for seed in range(6):
        rate = 0.01 / (1 + seed)
        optimizer.param_groups[0]["lr"] = rate
        loss, expected = (
            step(draw(seed), rate),
            training_step(twin, optimizer, TASK, draw(seed), 1.0),
        )
        assert torch.equal(loss, expected)
    assert all(map(torch.equal, weights_of(model), weights_of(twin)))
    assert step.replayed.captured is None
    assert step.replayed.refusal == "CUDA graphs need a CUDA device, and the batch is on cpu"


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_schedule_in_a_tensor_is_that_of_numbers(name: str) -> None:
    """A learning rate that is written into a tensor of no dimensions gives the same weights."""
    found = []
    for as_tensor in (False, True):
        model = build_model(CONFIG, seed=0)
        rate = torch.tensor(0.01)
        optimizer = make_optimizer(name, model.parameters(), rate if as_tensor else 0.01)
        for seed in range(6):
            now = 0.01 * (1 + math.cos(seed)) / 2
            rate.fill_(now)
            if not as_tensor:
                optimizer.param_groups[0]["lr"] = now
            training_step(model, optimizer, TASK, draw(seed), 1.0)
        found.append(weights_of(model))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_an_error_of_the_function_itself_is_raised() -> None:
    """What fails with and without a capture is not hidden by the attempt."""

    def fail(_: Batch) -> Tensor:
        raise ValueError("no such step")

    replayed = Replayed(fail, build_model(CONFIG, seed=0))
    with pytest.raises(ValueError, match="no such step"):
        replayed(draw())


def test_a_trial_on_the_cpu_says_nothing_of_captures() -> None:
    """There is no CUDA device whose steps could have been captured."""
    trial = Training(TRIAL)
    list(trial.evaluations())
    assert trial.step_kind() == ""


# ------------------------------------------------------------------------------------------- cuda

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")


def on_cuda(**changes: object) -> TrainingConfig:
    """The trial on the first CUDA device."""
    return dataclasses.replace(TRIAL, device="cuda:0", **changes)  # type: ignore[arg-type]


def losses(evaluations: list[Evaluation]) -> list[float]:
    """Their losses."""
    return [each.loss for each in evaluations]


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize(
    ("optimizer", "schedule", "cell"),
    [
        ("adam", "constant", "rnn"),
        ("adam", "cosine", "gru"),
        ("adamw", "linear", "lstm"),
        ("sgd", "cosine", "gru"),
        ("rmsprop", "cosine", "gru"),
    ],
)
def test_a_captured_trial_has_the_losses_of_a_plain_one(
    optimizer: str, schedule: str, cell: str
) -> None:
    """To float tolerance, with a last batch that is smaller, and steps and evaluations captured."""
    config = on_cuda(
        optimizer=optimizer,
        learning_rate_schedule=schedule,
        model=dataclasses.replace(CONFIG, cell=cell),
        stop_when_solved=False,
        evaluation_sequences=600,
    )
    captured, plain = Training(config), Training(config, capture=False)
    assert losses(list(captured.evaluations())) == pytest.approx(
        losses(list(plain.evaluations())), rel=1e-4
    )
    assert captured.step_kind() == "captured"
    assert plain.step_kind().startswith("steps not captured: not asked for")
    for one, other in zip(weights_of(captured.model), weights_of(plain.model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
@needs_cuda
def test_a_captured_divergence_is_seen_within_sixteen_steps() -> None:
    """A learning rate of 1e38 ends the trial at the first look at the loss."""
    trial = Training(
        on_cuda(
            model=dataclasses.replace(CONFIG, task="adding"),
            optimizer="sgd",
            learning_rate=1e38,
            max_grad_norm=0.0,
            sequences=3_200,
            evaluate_every=3_200,
        )
    )
    first, last = trial.evaluations()
    assert trial.step_kind() == "captured"
    assert (first.finite, last.finite) == (True, False)
    assert last.sequences_seen == 16 * 16


class Looking(nn.Module):
    """A GRU that looks at its states on the host in each step."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.inner = CELLS["gru"].factory(input_size, hidden_size, num_layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """The states."""
        states: Tensor = self.inner(inputs)
        assert not states.isnan().any()
        return states


@pytest.mark.cuda
@needs_cuda
def test_a_cell_that_waits_for_the_device_is_trained_without_a_capture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the losses of a plain trial, and the reason."""
    cell = Cell("looking", Looking, 3, {"pytorch": cells.keep_pytorch})
    monkeypatch.setitem(cells.CELLS, "looking", cell)
    config = on_cuda(model=dataclasses.replace(CONFIG, cell="looking"))
    refused, plain = Training(config), Training(config, capture=False)
    found = losses(list(refused.evaluations()))
    assert found == pytest.approx(losses(list(plain.evaluations())), rel=1e-4)
    assert "steps not captured: RuntimeError: " in refused.step_kind()
    assert "evaluations not captured: RuntimeError: " in refused.step_kind()
