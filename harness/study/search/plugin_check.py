"""Runs plugged-in cells and tasks once, at their least size, before any trial. Never trains.

Built-in cells and tasks are tested already and are not run, so a study without plug-ins starts at
once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harness import cells, tasks
from harness.config import StudySpec
from harness.errors import InputError, Shown
from harness.hyperparameters import numbers_of
from harness.study.search.trial_config import broken_cell, settings_to_try, training_config
from harness.tasks import Batch, Task, get_task
from harness.training.model import build_model

BATCH_SIZE = 2


def check_plugins(spec: StudySpec, where: str, device: str) -> None:
    """Refuse a plugged-in task or cell that fails or returns wrong shapes.

    A cell that runs with some of its settings is not refused for the others: those cost the trials
    that try them. A cell that fails on the CPU is not refused where the study uses another device.
    Raises InputError naming the cell or the task.
    """
    own = [label for label in spec.compare.cells if spec.base(label) not in cells.BUILT_IN_CELLS]
    for name in spec.compare.tasks:
        if not own and spec.base(name) in tasks.BUILT_IN_TASKS:
            continue
        parameters = [spec.parameters(name, label) for label in spec.compare.cells]
        lengths = [number for each in parameters for number in numbers_of(each["sequence_length"])]
        if spec.confirm.seeds and not spec.confirm.lags:
            lengths += spec.confirm.sequence_lengths
        length = int(min(lengths))
        batch = _try_task(where, get_task(spec.base(name)), length)
        for label in own:
            failure = _try_cell(spec, where, label, name, batch)
            if failure is not None and device == "cpu":
                raise broken_cell(where, label, failure) from failure


def _try_task(where: str, task: Task, length: int) -> Batch:
    """A batch of the task, after checking that its parts fit each other."""
    key = f"compare.tasks: {task.name}"
    try:
        batch = task.sample(BATCH_SIZE, length, torch.Generator().manual_seed(0))
        shape, dtype = tuple(batch.inputs.shape), batch.inputs.dtype
        n_scored = (BATCH_SIZE, shape[1]) if task.dense else (BATCH_SIZE,)
        outputs = torch.zeros(*n_scored, task.output_size)
        loss, correct = (f(outputs, batch.targets) for f in (task.loss, task.correct))
        chance = float(task.chance_loss(length))
        lag = task.lag(length)
    except Exception as error:  # a plug-in may raise anything
        got = Shown(f"{type(error).__name__}: {error}")
        expected = (
            f"a task whose sample, loss, correct, lag and chance_loss work at length {length}"
        )
        raise InputError(where, key, expected=expected, got=got) from error
    wanted = f"({BATCH_SIZE}, steps, {task.input_size})"
    if len(shape) != 3 or (shape[0], shape[2]) != (BATCH_SIZE, task.input_size):
        expected = f"inputs (batch_size, steps, input_size) of shape {wanted}"
        raise InputError(where, key, expected=expected, got=Shown(f"shape {shape}"))
    if dtype != torch.float32:
        raise InputError(where, key, expected="inputs in torch.float32", got=Shown(dtype))
    answers: dict[str, Any] = {"loss": loss, "correct": correct}  # whatever a plug-in gives
    for name, found in answers.items():
        if not isinstance(found, Tensor):
            got = Shown(type(found).__name__)
            raise InputError(where, key, expected=f"{name} to give a tensor", got=got)
    if loss.shape != () or not loss.isfinite():
        got = Shown(f"{loss.item()}" if loss.numel() == 1 else f"shape {tuple(loss.shape)}")
        expected = "a loss that is one finite number, where all outputs are 0"
        raise InputError(where, key, expected=expected, got=got)
    if correct.dtype != torch.bool or not correct.numel():
        got = Shown(f"{correct.dtype} of shape {tuple(correct.shape)}")
        expected = "correct to give true or false for each prediction"
        raise InputError(where, key, expected=expected, got=got)
    if not (math.isfinite(chance) and chance > 0):
        raise InputError(where, key, expected="a chance_loss above 0", got=chance)
    if type(lag) is not int or lag < 1:
        expected = f"a lag of at least 1 whole step at length {length}"
        remedy = "raise least_length, or the shortest length of the study"
        raise InputError(where, key, expected=expected, got=lag, remedy=remedy)
    return batch


def _try_cell(spec: StudySpec, where: str, label: str, task: str, batch: Batch) -> Exception | None:
    """The first error of the cell, or None if it ran with some of its settings.

    Raises InputError for states of a wrong shape.
    """
    failure = None
    for settings in settings_to_try(spec, task, label):
        config = training_config(spec, task, label, settings).model
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                states = build_model(config, seed=0).cell(batch.inputs)
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything
            failure = failure or error
            continue
        expected = (*batch.inputs.shape[:2], config.hidden_size)
        if not isinstance(states, Tensor) or states.shape != expected:
            is_tensor = isinstance(states, Tensor)
            got = f"shape {tuple(states.shape)}" if is_tensor else type(states).__name__
            raise InputError(
                where,
                f"compare.cells: {label}",
                expected=f"states (batch_size, steps, hidden_size) of shape {expected}",
                got=Shown(got),
                remedy=f"its inputs (batch_size, steps, input_size) had {tuple(batch.inputs.shape)}",
            )
        return None
    return failure
