"""The contract of a task: every task of the registry inherits these tests."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import InputError
from harness.metrics import skill
from harness.tasks import TASKS, Batch, Task, get_task, register_task
from harness.tasks.adding import Adding
from harness.tasks.base import Classification, Regression
from tests.tasks.oracles import ORACLES

EVERY = pytest.mark.parametrize("task", list(TASKS.values()), ids=list(TASKS))
NAMES = set(TASKS)  # before any test plugs in more
FRESH = pytest.mark.parametrize(
    "task", [task for task in TASKS.values() if not task.finite], ids=lambda task: task.name
)


def lengths(task: Task) -> list[int]:
    """Lengths to try: the least ones, odd and even; fixed sequences have one."""
    if task.finite:
        return [task.least_length]
    return [task.least_length, task.least_length + 1, 24, 57]


def draw(task: Task, batch_size: int, sequence_length: int, seed: int = 0) -> Batch:
    """A batch from that seed."""
    return task.sample(batch_size, sequence_length, torch.Generator().manual_seed(seed))


def constant_outputs(task: Task, batch: Batch, constant: Tensor) -> Tensor:
    """One prediction for every sequence, and every step where the task is dense."""
    shape = (*batch.inputs.shape[: 2 if task.dense else 1], task.output_size)
    return constant.expand(shape)


def test_every_task_has_an_oracle() -> None:
    """A task that joins the registry brings what its right answers are."""
    assert set(ORACLES) == NAMES


@EVERY
def test_a_task_is_a_task(task: Task) -> None:
    """It has what the protocol asks, and stands in the registry under its own name."""
    assert isinstance(task, Task)
    assert get_task(task.name) is task
    assert task.least_length >= 1
    assert task.input_size >= 1
    assert task.output_size >= 1


@EVERY
def test_shapes_and_types(task: Task) -> None:
    """Inputs are float32 (batch_size, sequence_length, input_size) and finite, at every batch size."""
    for sequence_length in lengths(task):
        for batch_size in (1, 2, 7):
            batch = draw(task, batch_size, sequence_length)
            assert batch.inputs.shape == (batch_size, sequence_length, task.input_size)
            assert batch.inputs.dtype == torch.float32
            assert batch.inputs.isfinite().all()
            assert not batch.inputs.requires_grad
            assert len(batch.targets) == batch_size


@EVERY
def test_loss_and_correct_take_what_a_model_gives(task: Task) -> None:
    """The loss is one number whose gradient is finite; each prediction is right or wrong."""
    batch = draw(task, 6, task.least_length)
    outputs = constant_outputs(task, batch, torch.zeros(task.output_size)).clone()
    loss = task.loss(outputs.requires_grad_(), batch.targets)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() > 0
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    correct = task.correct(outputs, batch.targets)
    assert correct.dtype == torch.bool
    assert correct.numel() == outputs.numel() // task.output_size


@EVERY
def test_the_loss_is_a_mean(task: Task) -> None:
    """The loss of a batch is the mean over its sequences, so that parts of an evaluation can be added up."""
    batch = draw(task, 6, task.least_length)
    outputs = torch.randn(
        *batch.inputs.shape[: 2 if task.dense else 1],
        task.output_size,
        generator=torch.Generator().manual_seed(1),
    )
    parts = [task.loss(outputs[i : i + 1], batch.targets[i : i + 1]).item() for i in range(6)]
    assert task.loss(outputs, batch.targets).item() == pytest.approx(sum(parts) / 6, rel=1e-5)


@EVERY
def test_the_chance_loss_is_that_of_the_best_constant_prediction(task: Task) -> None:
    """Monte Carlo: on 20,000 sequences no constant does better than the closed form, and one does as well, to 2 %."""
    for sequence_length in lengths(task)[:3:2]:
        batch = draw(task, 20_000, sequence_length, seed=5)
        constant = torch.zeros(task.output_size, requires_grad=True)
        optimizer = torch.optim.LBFGS([constant], line_search_fn="strong_wolfe", max_iter=50)

        def closure(
            batch: Batch = batch,
            constant: Tensor = constant,
            optimizer: torch.optim.Optimizer = optimizer,
        ) -> Tensor:
            optimizer.zero_grad()
            loss = task.loss(constant_outputs(task, batch, constant), batch.targets)
            loss.backward()
            return loss

        optimizer.step(closure)
        assert closure().item() == pytest.approx(task.chance_loss(sequence_length), rel=0.02)


@EVERY
def test_an_oracle_solves_the_task(task: Task) -> None:
    """What remembers the steps that matter is always right, with a skill of 1."""
    for sequence_length in lengths(task):
        batch = draw(task, 300, sequence_length)
        outputs, _ = ORACLES[task.name](batch.inputs)
        assert task.correct(outputs, batch.targets).all()
        loss = task.loss(outputs, batch.targets).item()
        assert skill(loss, task.chance_loss(sequence_length)) > 0.9999


@EVERY
def test_the_lag_is_how_far_back_the_earliest_input_that_matters_lies(task: Task) -> None:
    """Over many sequences, the nearest that it ever lies to the last step is the lag (or one step more)."""
    for sequence_length in lengths(task):
        batch = draw(task, 2_000, sequence_length)
        _, read = ORACLES[task.name](batch.inputs)
        reach = sequence_length - 1 - read.float().argmax(dim=1)  # argmax: the first of equals
        lag = task.lag(sequence_length)
        assert lag <= reach.min().item() <= lag + 1
        assert isinstance(lag, int)


@FRESH
def test_another_first_input_is_another_target(task: Task) -> None:
    """Exchanging the earliest input that matters between two sequences changes the answer."""
    for sequence_length in lengths(task):
        inputs = draw(task, 200, sequence_length).inputs
        outputs, read = ORACLES[task.name](inputs)
        rows = torch.arange(200)
        first = read.float().argmax(dim=1)
        mixed = inputs.clone()
        mixed[rows, first] = inputs[rows.roll(1), first.roll(1)]
        differs = (mixed[rows, first] != inputs[rows, first]).any(dim=1)
        changed = (ORACLES[task.name](mixed)[0] != outputs).flatten(1).any(dim=1)
        assert torch.equal(differs, changed)
        assert differs.sum() > 50


@FRESH
def test_nothing_else_tells_the_target(task: Task) -> None:
    """No step but those that matter is correlated with the target: |z| < 5 for each of some thousand pairs."""
    count, sequence_length = 8_000, 24
    batch = draw(task, count, sequence_length, seed=11)
    outputs, read = ORACLES[task.name](batch.inputs)
    hidden = (batch.inputs * ~read.unsqueeze(-1)).reshape(count, -1).double()
    answers = outputs.reshape(count, -1).double()
    hidden, answers = hidden - hidden.mean(dim=0), answers - answers.mean(dim=0)
    spread = hidden.std(dim=0).unsqueeze(1) * answers.std(dim=0).unsqueeze(0)
    correlation = (hidden.T @ answers / count)[spread > 1e-9] / spread[spread > 1e-9]
    assert correlation.numel() > 20
    assert correlation.abs().max().item() * math.sqrt(count) < 5


@EVERY
def test_a_seed_is_reproducible(task: Task) -> None:
    """The same generator state gives the same batch, whatever torch's global generator did."""
    for sequence_length in lengths(task):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one = draw(task, 5, sequence_length, seed=3)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        two = draw(task, 5, sequence_length, seed=3)
        assert torch.equal(one.inputs, two.inputs)
        assert torch.equal(one.targets, two.targets)


@FRESH
def test_batches_are_fresh(task: Task) -> None:
    """Other seeds give other data, and so does the next batch of one generator."""
    generator = torch.Generator().manual_seed(0)
    batches = [task.sample(16, 24, generator).inputs for _ in range(2)]
    batches += [draw(task, 16, 24, seed).inputs for seed in (1, 2)]
    for i, one in enumerate(batches):
        for other in batches[:i]:
            assert not torch.equal(one, other)


@FRESH
@given(sequence_length=st.integers(1, 100_000))
def test_lag_and_chance_loss_at_every_length(task: Task, sequence_length: int) -> None:
    """The lag lies inside of the sequence and never falls with its length; the chance loss is positive."""
    sequence_length = max(sequence_length, task.least_length)
    assert 0 < task.lag(sequence_length) < sequence_length
    assert task.lag(sequence_length) <= task.lag(sequence_length + 1)
    assert 0 < task.chance_loss(sequence_length) < math.inf


def test_a_part_of_a_batch() -> None:
    """A slice takes inputs and targets alike, and `to` leaves the values."""
    batch = draw(get_task("adding"), 10, 8)
    part = batch[2:5].to(torch.device("cpu"))
    assert torch.equal(part.inputs, batch.inputs[2:5])
    assert torch.equal(part.targets, batch.targets[2:5])


# -------------------------------------------------------------------------------------- registry


def test_an_unknown_task_gets_the_nearest() -> None:
    """A typing error gets one proposal."""
    with pytest.raises(InputError, match=r"a known task, got 'ading'; did you mean 'adding'\?"):
        get_task("ading")


@dataclasses.dataclass(frozen=True)
class Named(Adding):
    """Adding under another name."""

    name: str = "named"  # type: ignore[misc]
    size: int = 0


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry, which forgets afterwards what a test adds."""
    copied: dict[str, Any] = dict(TASKS)
    monkeypatch.setattr("harness.tasks.TASKS", copied)
    return copied


def test_a_task_can_be_added(registry: dict[str, Any]) -> None:
    """A plug-in's task is found under its name; registering it again changes nothing."""
    task: Any = Named("mine")
    assert register_task(task) is task
    assert get_task("mine") is task
    register_task(Named("mine"))
    assert registry["mine"] is task


def test_a_name_is_used_once(registry: dict[str, Any]) -> None:
    """A plug-in cannot take the place of another task."""
    for task in (Named("adding"), Named("mine", 2)):
        registry.setdefault("mine", Named("mine", 1))
        with pytest.raises(InputError, match=r"a name of its own for each task.*rename the task"):
            register_task(task)
    assert registry["adding"] is TASKS["adding"]


class Least(Classification):
    """No more than a plug-in must say."""

    name = "least"
    input_size = 1
    output_size = 2

    def lag(self, sequence_length: int) -> int:
        return sequence_length - 1

    def chance_loss(self, sequence_length: int) -> float:
        return math.log(2)

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        bits = torch.randint(2, (batch_size, sequence_length, 1), generator=generator)
        return Batch(bits.float(), bits[:, 0, 0])


def test_the_least_that_a_task_must_say(registry: dict[str, Any]) -> None:
    """A name, two sizes, lag, chance loss and sample make a task: the rest has its usual value, and needs no saying."""
    task = register_task(Least())
    assert isinstance(task, Task)
    assert (task.least_length, task.dense, task.finite) == (1, False, 0)
    assert registry["least"] is task


def changed(**parts: Any) -> Least:
    """The least task with some parts changed."""
    task = Least()
    for name, part in parts.items():
        setattr(task, name, part)
    return task


@pytest.mark.parametrize(
    ("task", "match"),
    [
        (Named("mine"), None),
        (Least, r"task least: expected an object .*; register_task\(TheTask\(\)\), with brackets"),
        ("adding", "got one without name, input_size.*; inherit from Classification, Regression"),
        (Classification(), "task: .* got one without name, input_size, output_size, lag, chance"),
        (changed(name=""), "tasks: expected a task with a name, got ''"),
        (changed(input_size=0), "task least: input_size: expected a whole number >= 1, got 0"),
        (
            changed(output_size=2.0),
            "task least: output_size: expected a whole number >= 1, got 2.0",
        ),
        (changed(finite=-1), "task least: finite: expected a whole number >= 0"),
        (changed(lag=3), "task least: lag: expected a method, got 3"),
    ],
)
def test_what_is_no_task_is_refused(registry: dict[str, Any], task: Any, match: str | None) -> None:
    """A plug-in that cannot be trained on is refused when it is registered, in one line, with the remedy."""
    if match is None:
        assert register_task(task) is task
        return
    with pytest.raises(InputError, match=match) as caught:
        register_task(task)
    assert "\n" not in str(caught.value)
    assert set(registry) == set(TASKS)


def test_a_regression_by_hand() -> None:
    """The loss is the mean square over all numbers; a sequence is right where each of its numbers is within the tolerance."""
    regression = Regression()
    targets = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    outputs = targets + torch.tensor([[0.03, -0.03], [0.03, 0.05], [math.nan, 0.0]])
    assert regression.correct(outputs, targets).tolist() == [True, False, False]
    loss = regression.loss(outputs[:2], targets[:2]).item()
    assert loss == pytest.approx((3 * 0.03**2 + 0.05**2) / 4, rel=1e-4)
