"""The tasks that studies may name, and how plug-ins add theirs."""

from __future__ import annotations

from harness.errors import InputError, Shown, nearest
from harness.plugins import load_offered, offered
from harness.tasks.adding import Adding
from harness.tasks.associative_recall import AssociativeRecall
from harness.tasks.base import Task
from harness.tasks.copy_memory import CopyMemory
from harness.tasks.delayed_recall import DelayedRecall
from harness.tasks.lesson import Lesson
from harness.tasks.parity import Parity
from harness.tasks.repeat_previous import RepeatPrevious
from harness.tasks.selective_copy import SelectiveCopy
from harness.tasks.temporal_order import TemporalOrder
from harness.tasks.tensor_task import TensorTask

TASK_ENTRY_POINTS = (
    "harness.tasks"  # of the entry points by which an installed package offers tasks
)
REQUIRED = (
    *("name", "input_size", "output_size", "least_length", "dense", "finite"),
    *("lag", "chance_loss", "sample", "loss", "correct"),
)
"""What every task has. All else is optional, so a plug-in need not know of it."""

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


BUILT_IN_TASKS = frozenset(TASKS)
INDEPENDENT_SEQUENCES: frozenset[type] = frozenset(
    {type(task) for task in TASKS.values() if not task.finite} | {TensorTask}
)
"""Tasks whose `sample` draws each sequence by itself: a part of a batch is a batch as any other."""


def get_task(name: str) -> Task:
    """The task of that name, also one that an installed package offers.

    Raises InputError with the nearest name if there is none, or if what is offered is no task.
    """
    if name not in TASKS and not load_offered(TASK_ENTRY_POINTS, name, register_task):
        remedy = nearest(name, {*TASKS, *offered(TASK_ENTRY_POINTS)})
        raise InputError("tasks", expected="a known task", got=name, remedy=remedy)
    return TASKS[name]


def register_task(task: Task) -> Task:
    """Add a task to the registry, for a plug-in.

    Raises InputError for what is no task, and for the name of another task.
    """
    _check_task(task)
    known = TASKS.setdefault(task.name, task)
    if known is not task and known != task:
        raise InputError(
            "tasks",
            expected="a name of its own for each task",
            got=task.name,
            remedy="rename the task",
        )
    return task


def _check_task(task: object) -> None:
    """Refuse what cannot be trained on; mypy does not check a plug-in."""
    missing = [part for part in REQUIRED if not hasattr(task, part)]
    if missing or isinstance(task, type):
        got = Shown(f"one without {', '.join(missing)}") if missing else task
        remedy = "inherit from Classification, Regression or TaskDefaults of harness.tasks.base"
        raise InputError(
            f"task {getattr(task, 'name', '')}".strip(),
            expected="an object with all that a task has",
            got=got,
            remedy=remedy if missing else "register_task(TheTask()), with brackets",
        )
    parts = {part: getattr(task, part) for part in REQUIRED}
    where = f"task {parts['name']}"
    if not isinstance(parts["name"], str) or not parts["name"]:
        raise InputError("tasks", expected="a task with a name", got=parts["name"])
    for part in ("input_size", "output_size", "least_length", "finite"):
        least = 0 if part == "finite" else 1
        if type(parts[part]) is not int or parts[part] < least:
            expected = f"a whole number >= {least}"
            raise InputError(where, part, expected=expected, got=parts[part])
    for part in ("lag", "chance_loss", "sample", "loss", "correct"):
        if not callable(parts[part]):
            raise InputError(where, part, expected="a method", got=parts[part])
