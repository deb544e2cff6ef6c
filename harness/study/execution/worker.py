"""Runs one trial in its own process: reads a request, sends evaluations and an outcome.

Never opens the storage.

`python -m harness.study.execution.worker` is the spawned form, for systems without a fork server:
it loads torch, then waits for one request on its standard input, and answers on its standard
output, a line of JSON each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.atomic_file import replace_file
from harness.cells.fast_recurrence import use_fast_recurrence
from harness.columns import TrialStatus
from harness.errors import InputError
from harness.home_folder import hide_home
from harness.machine import configure_process, keep_memory, use_deterministic_cuda
from harness.plugin_sources import first_difference
from harness.plugins import load_plugins, plugin_sources
from harness.processes.process_groups import kill_group
from harness.study.execution.worker_messages import (
    NOT_EXTRAPOLATED,
    TrialMessage,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
    TrialTrained,
    message_to_line,
)
from harness.tasks import get_task
from harness.training.model import ModelConfig, build_model
from harness.training.optimizer_step import OPTIMIZERS, make_optimizer
from harness.training.training_loop import Training

OUT_OF_MEMORY_WORDS = (
    *("DefaultCPUAllocator", "bad_alloc", "out of memory", "can't allocate memory"),
    # oneDNN's words when it gets no memory for an LSTM's weights and scratchpad
    *("could not create a primitive", "could not create a memory", "could not execute a primitive"),
)

Send = Callable[[TrialMessage], None]


ACCELERATOR: Mapping[str, object] = {"is_available": False, "current_accelerator": None}
"""What torch.accelerator returns inside `cuda_asleep`."""


def run_request(request: TrialRequest, send: Send) -> None:
    """Train as requested; `send` gets TrialStarted, each evaluation, and at the end the outcome.

    Does not train where this process has loaded other source of a plug-in than the coordinator.
    """
    if (other := _other_source(request)) is not None:
        send(other)
        return
    send(TrialStarted())
    try:
        if request.deterministic and request.config.device.startswith("cuda"):
            use_deterministic_cuda()
        if request.memory_bytes and request.config.device == "cpu":
            limit_memory(request.memory_bytes)
        outcome = _train(request, send)
    except Exception as error:  # noqa: BLE001  # a trial may raise anything: it costs that trial alone
        outcome = _failure(error)
    send(outcome)


def _other_source(request: TrialRequest) -> TrialOutcome | None:
    """The outcome of a trial whose plug-ins this process has loaded from other source, or None."""
    try:
        load_plugins(request.plugins)
        other = first_difference(request.sources, plugin_sources(request.plugins))
        reason = "an edited one"
    except InputError as error:  # it could be imported when the study began
        other, reason = "import", str(error.got)
    return TrialOutcome(TrialStatus.ERROR, reason, other_source=other) if other else None


def _train(request: TrialRequest, send: Send) -> TrialOutcome:
    seed_everything(request.config.seed)
    training = Training(request.config)
    initial = None
    if request.weights:
        initial = {name: value.clone() for name, value in training.model.state_dict().items()}
    last = None
    for last in training.evaluations():
        send(last)
    if initial is not None:
        try:
            _keep(training, initial, Path(request.weights))
        except OSError as error:
            reason = f"the weights could not be written: {error.strerror}"
            unwritten = (error.errno or 0, error.strerror or "")
            return TrialOutcome(TrialStatus.ERROR, reason, unwritten=unwritten)
    kind = hide_home(training.step_kind())
    if last is not None and not last.finite:
        reason = f"the loss was not finite after {last.sequences_seen} training sequences"
        return TrialOutcome(TrialStatus.DIVERGED, reason, step_kind=kind)
    predictions = training.predictions()
    outcome = TrialOutcome(TrialStatus.COMPLETE, predictions=predictions, step_kind=kind)
    if last is None or not last.solved or not request.config.extrapolation:
        return outcome
    send(TrialTrained(outcome))
    try:
        return dataclasses.replace(outcome, extrapolations=training.extrapolate())
    except Exception as error:  # noqa: BLE001  # too long for the memory: solved all the same
        return dataclasses.replace(outcome, reason=NOT_EXTRAPOLATED + _failure(error).reason)


def seed_everything(seed: int) -> None:
    """Seed the generators from which a plugged-in cell or task may draw, as dropout does."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the generator that plug-ins share
    random.seed(seed)


def _keep(training: Training, initial: dict[str, Any], path: Path) -> None:
    """Write trained and initial weights, each at once."""
    for state, target in (
        (training.model.state_dict(), path),
        (initial, path.with_name(path.stem + ".initial.pt")),
    ):
        content = io.BytesIO()  # on a full disk torch.save raises an error that does not say so
        # A clone: a weight in training may be a part of a vector, which would be saved whole
        torch.save({name: value.cpu().clone() for name, value in state.items()}, content)
        replace_file(target, content.getbuffer())


def _failure(error: Exception) -> TrialOutcome:
    text = hide_home(f"{type(error).__name__}: {error}")
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in OUT_OF_MEMORY_WORDS)
    )
    end = TrialStatus.OUT_OF_MEMORY if memory else TrialStatus.ERROR
    lines = text.strip().splitlines()
    whole = hide_home(traceback.format_exc())
    return TrialOutcome(end, lines[0] if lines else "", traceback=whole)


def limit_memory(limit_bytes: int) -> None:
    """Let this process allocate `limit_bytes` more than it holds; a larger allocation then raises.

    Linux only.
    """
    try:
        import resource
    except ImportError:
        return
    held = 0
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmData"):
                    held = int(line.split()[1]) * 1024
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (held + limit_bytes, resource.RLIM_INFINITY))


def preload() -> None:
    """Do once what every trial would do first: lazy imports, source lines, oneDNN's kernels.

    Never runs autograd's engine, whose threads would not survive a fork.
    """
    with cuda_asleep():
        _take_first_steps()


@contextlib.contextmanager
def cuda_asleep() -> Iterator[None]:
    """Make torch report that there is no GPU.

    A process that has looked for a GPU has initialised CUDA, and processes forked from it cannot
    use it. An optimiser's step on the CPU looks for one too, by torch.cuda or torch.accelerator.
    """
    is_available = torch.cuda.is_available
    accelerator = {name: getattr(torch.accelerator, name) for name in ACCELERATOR}
    try:
        torch.cuda.is_available = lambda: False
        for name, answer in ACCELERATOR.items():
            setattr(torch.accelerator, name, lambda *_, answer=answer, **__: answer)
        yield
    finally:
        torch.cuda.is_available = is_available
        for name, known in accelerator.items():
            setattr(torch.accelerator, name, known)


def _take_first_steps() -> None:
    task = get_task("temporal_order")
    batch = task.sample(2, task.least_length, torch.Generator())
    for cell in ("rnn", "gru", "lstm"):
        model = build_model(ModelConfig(task.name, cell, 1, 1, task.least_length, "pytorch"), 0)
        use_fast_recurrence(model.cell)  # loads the native kernels
        task.loss(model(batch.inputs), batch.targets)
        with torch.inference_mode():
            model(batch.inputs)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name in OPTIMIZERS:
            make_optimizer(name, model.parameters(), 0.1).step()


def _die_with_the_coordinator() -> None:
    """Exit as soon as standard input closes: then the coordinator has ended."""
    while os.read(0, 4096):  # not sys.stdin: its lock must be free when the interpreter ends
        pass
    kill_group(os.getpid())  # it leads a session, so this kills what the trial has started too
    os._exit(1)


def main() -> None:
    """Serve one request from standard input."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    configure_process()
    keep_memory()
    preload()

    def send(message: TrialMessage) -> None:
        answers.write(message_to_line(message))
        answers.flush()

    line = sys.stdin.readline()
    if line:
        threading.Thread(target=_die_with_the_coordinator, daemon=True).start()
        request = TrialRequest.from_line(line)
        run_request(request, send)


if __name__ == "__main__":
    main()
