"""Every task of the registry keeps the contract of contract.py; and the registry itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from harness.errors import InputError
from harness.tasks import TASKS, Batch, Task, get_task, register_task
from harness.tasks.adding import Adding
from harness.tasks.base import Classification, Regression
from tests.tasks.contract import FixedTaskContract, TaskContract
from tests.tasks.oracles import LAG_IS_THE_FARTHEST, ORACLES

NAMES = set(TASKS)  # before any test plugs in more


def test_every_task_has_an_oracle() -> None:
    """A task that joins the registry brings what its right answers are."""
    assert set(ORACLES) == NAMES


def test_every_task_stands_under_its_own_name() -> None:
    """The registry finds each by its name, in the order in which they are listed to a user."""
    for name, task in TASKS.items():
        assert task.name == name
        assert get_task(name) is task


class TestFreshTasks(TaskContract):
    """Every task of the registry whose batches are fresh."""

    @pytest.fixture(autouse=True, params=[name for name, task in TASKS.items() if not task.finite])
    def each(self, request: pytest.FixtureRequest) -> None:
        """Take the place of a subclass for each task."""
        self.task, self.oracle = TASKS[request.param], ORACLES[request.param]
        self.lag_is_the_farthest = request.param in LAG_IS_THE_FARTHEST


class TestFixedTasks(FixedTaskContract):
    """Every task of the registry whose sequences are fixed."""

    @pytest.fixture(autouse=True, params=[name for name, task in TASKS.items() if task.finite])
    def each(self, request: pytest.FixtureRequest) -> None:
        """Take the place of a subclass for each task."""
        self.task, self.oracle = TASKS[request.param], ORACLES[request.param]


def test_a_part_of_a_batch() -> None:
    """A slice takes inputs and targets alike, and `to` leaves the values."""
    batch = get_task("adding").sample(10, 8, torch.Generator())
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
    monkeypatch.setattr("harness.tasks.registry.TASKS", copied)
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
    """A name, two sizes, lag, chance loss and sample make a task.

    The rest has its usual value, and needs no saying.
    """
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
    """A task that cannot be trained on is refused in one line when it is registered."""
    if match is None:
        assert register_task(task) is task
        return
    with pytest.raises(InputError, match=match) as caught:
        register_task(task)
    assert "\n" not in str(caught.value)
    assert set(registry) == set(TASKS)


def test_a_regression_by_hand() -> None:
    """The loss is the mean square over all numbers.

    A sequence is right where each of its numbers is within the tolerance.
    """
    regression = Regression()
    targets = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    outputs = targets + torch.tensor([[0.03, -0.03], [0.03, 0.05], [math.nan, 0.0]])
    assert regression.correct(outputs, targets).tolist() == [True, False, False]
    loss = regression.loss(outputs[:2], targets[:2]).item()
    assert loss == pytest.approx((3 * 0.03**2 + 0.05**2) / 4, rel=1e-4)
