"""The tasks and their registry: synthetic problems whose answer lies a known number of steps back.

Never trains.

base.py         what makes a task, and what it may offer beyond that
registry.py     the tasks that studies may name; plug-ins add theirs here
tensor_task.py  a task made of tensors that the user has
The other files hold one task each.
"""

from harness.tasks.base import (
    Batch,
    CountsAllSteps,
    Hashed,
    HoldsOut,
    Informs,
    Lengthened,
    Predicts,
    Task,
)
from harness.tasks.registry import (
    BUILT_IN_TASKS,
    INDEPENDENT_SEQUENCES,
    REQUIRED,
    TASK_ENTRY_POINTS,
    TASKS,
    get_task,
    register_task,
)

__all__ = [
    "BUILT_IN_TASKS",
    "INDEPENDENT_SEQUENCES",
    "REQUIRED",
    "TASKS",
    "TASK_ENTRY_POINTS",
    "Batch",
    "CountsAllSteps",
    "Hashed",
    "HoldsOut",
    "Informs",
    "Lengthened",
    "Predicts",
    "Task",
    "get_task",
    "register_task",
]
