"""Every task of the registry keeps the contract of contract.py; and the registry itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from harness.errors import InputError
from harness.tasks import TASKS, get_task, register_task
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
class Named:
    """A task that has a name and nothing else."""

    name: str
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
    register_task(Named("mine"))  # type: ignore[arg-type]
    assert registry["mine"] is task


def test_a_name_is_used_once(registry: dict[str, Any]) -> None:
    """A plug-in cannot take the place of another task."""
    for task in (Named("adding"), Named("mine", 2)):
        registry.setdefault("mine", Named("mine", 1))
        with pytest.raises(InputError, match=r"a name of its own for each task.*rename the task"):
            register_task(task)  # type: ignore[arg-type]
    assert registry["adding"] is TASKS["adding"]
