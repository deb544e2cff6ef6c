"""The tasks and their registry: synthetic problems whose answer lies a known number of steps back. Never trains."""

from __future__ import annotations

from harness.errors import InputError, nearest
from harness.tasks.adding import Adding
from harness.tasks.associative_recall import AssociativeRecall
from harness.tasks.base import Batch, CountsAllSteps, Lengthened, Task
from harness.tasks.copy_memory import CopyMemory
from harness.tasks.delayed_recall import DelayedRecall
from harness.tasks.lesson import Lesson
from harness.tasks.parity import Parity
from harness.tasks.repeat_previous import RepeatPrevious
from harness.tasks.selective_copy import SelectiveCopy
from harness.tasks.temporal_order import TemporalOrder

__all__ = [
    "TASKS",
    "Batch",
    "CountsAllSteps",
    "Lengthened",
    "Task",
    "get_task",
    "register_task",
]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        TemporalOrder(),
        DelayedRecall(),
        Adding(),
        CopyMemory(),
        RepeatPrevious(),
        Parity(),
        SelectiveCopy(),
        AssociativeRecall(),
        Lesson(),
    )
}


def get_task(name: str) -> Task:
    """The task of that name. Raises InputError with the nearest name where there is none."""
    if name not in TASKS:
        raise InputError("tasks", expected="a known task", got=name, remedy=nearest(name, TASKS))
    return TASKS[name]


def register_task(task: Task) -> Task:
    """Add a task to the registry, for a plug-in. Raises InputError when the name is taken by another task."""
    known = TASKS.setdefault(task.name, task)
    if known is not task and known != task:
        raise InputError(
            "tasks",
            expected="a name of its own for each task",
            got=task.name,
            remedy="rename the task",
        )
    return task
