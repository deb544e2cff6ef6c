"""Steps and evaluations on a CUDA device: captured once as a CUDA graph, then replayed.

A small step spends its time on launching kernels; a replay launches all of them at once. A graph
repeats what the device did, not what Python did: so nothing may wait for the device, and Python
must do the same in each step. What is seen to do otherwise is not captured, and `Replayed.refusal`
says why. A cell or task that hides such a thing in an object of its own is not recognised.

Source: torch's notes on CUDA graphs.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.tasks import Batch, Task
from harness.training.optimizer_step import make_optimizer, training_step

WARM_UP_STEPS = 3  # before a capture, on a side stream, as torch's notes ask for

T = TypeVar("T")


class CaptureError(Exception):
    """What runs on the device cannot be captured as a CUDA graph. The text says why."""


@dataclasses.dataclass(frozen=True)
class CapturedRun(Generic[T]):
    """A captured function of a batch. `place` is the batch that it reads, `result` what it writes.

    Each replay writes `result` anew.
    """

    graph: torch.cuda.CUDAGraph
    place: Batch
    result: T

    def suits(self, batch: Batch) -> bool:
        """Whether a batch has the shapes and types of the one that was captured."""
        pairs = ((batch.inputs, self.place.inputs), (batch.targets, self.place.targets))
        return all(one.shape == other.shape and one.dtype == other.dtype for one, other in pairs)

    def replay(self, batch: Batch) -> T:
        """Run for `batch`, without waiting for the device."""
        self.place.inputs.copy_(batch.inputs)
        self.place.targets.copy_(batch.targets)
        self.graph.replay()
        return self.result


def capture(
    run: Callable[[Batch], T],
    batch: Batch,
    warm_up: Callable[[Callable[[], T]], None],
    prepare: Callable[[], object],
) -> CapturedRun[T]:
    """Warm `run` up on a side stream, then capture it with a copy of `batch`.

    `warm_up` gets the function to call WARM_UP_STEPS times: these calls do train. `prepare` is
    called between them and the capture. Raises CaptureError for a batch on the CPU, and what `run`
    and CUDA raise.
    """
    device = batch.inputs.device
    if device.type != "cuda":
        raise CaptureError(f"CUDA graphs need a CUDA device, and the batch is on {device}")
    place = Batch(batch.inputs.clone(), batch.targets.clone())
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream), warnings.catch_warnings():
                # of a capturable optimiser that is not being captured yet
                warnings.simplefilter("ignore")
                warm_up(lambda: run(place))
        finally:
            torch.cuda.current_stream().wait_stream(stream)
        prepare()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = run(place)
    return CapturedRun(graph, place, result)


def repeat(run: Callable[[], object]) -> None:
    """The plain warm-up: so many calls."""
    for _ in range(WARM_UP_STEPS):
        run()


class Replayed(Generic[T]):
    """A function of a batch that is captured at its first call and replayed from then on.

    A capture leaves weights, buffers, moments and random numbers as they were. A batch of another
    shape runs as it is, and so does every batch where `refusal` is not empty.
    """

    def __init__(
        self,
        run: Callable[[Batch], T],
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.run, self.model, self.optimizer = run, model, optimizer
        self.refusal = ""
        self.captured: CapturedRun[T] | None = None

    def __call__(self, batch: Batch) -> T:
        """The result for a batch; another call may overwrite it."""
        if self.captured is None and not self.refusal:
            self._capture(batch)
        if self.captured is not None and self.captured.suits(batch):
            return self.captured.replay(batch)
        return self.run(batch)

    def _capture(self, batch: Batch) -> None:
        before = Snapshot(self.model, self.optimizer)
        try:
            self.captured = capture(self.run, batch, self._warm_up, before.clear_gradients)
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything: it runs uncaptured
            lines = str(error).strip().splitlines()
            kind = "" if isinstance(error, CaptureError) else f"{type(error).__name__}: "
            self.refusal = kind + (lines[0] if lines else "without a text")
        before.restore()

    def _warm_up(self, run: Callable[[], T]) -> None:
        """The warm-up, in which nothing may wait for the device or depend on the host.

        The first call may: it is where modules prepare themselves.
        """
        run()
        before = host_state(self.model)
        with _waiting_refused():
            for _ in range(WARM_UP_STEPS - 1):
                run()
        refuse_changes(before, host_state(self.model))


class CapturedStep:
    """One optimiser update on a CUDA device, the numbers of `training_step`, replayed."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: str,
        task: Task,
        max_grad_norm: float,
        learning_rate: float,
    ) -> None:
        self.model, self.task, self.max_grad_norm = model, task, max_grad_norm
        self.learning_rate = learning_rate
        # A graph reads a tensor anew at each replay; a number would stay as it was
        self.rate = torch.tensor(learning_rate, device=next(model.parameters()).device)
        self.optimizer = make_optimizer(optimizer, model.parameters(), self.rate, capturable=True)
        self.replayed = Replayed(self._run, model, self.optimizer)

    def __call__(self, batch: Batch, learning_rate: float) -> Tensor:
        """Train on one batch. Returns the loss before the update; the next call overwrites it."""
        if learning_rate != self.learning_rate:
            self.learning_rate = learning_rate
            self.rate.fill_(learning_rate)
        return self.replayed(batch)

    def _run(self, batch: Batch) -> Tensor:
        if self.replayed.refusal:  # a capturable optimiser that is never captured warns
            (group,) = self.optimizer.param_groups
            group |= {"lr": self.learning_rate, "capturable": False}
        return training_step(self.model, self.optimizer, self.task, batch, self.max_grad_norm)


class Snapshot:
    """Weights, buffers, attributes of modules and random numbers, as they are before a warm-up.

    An optimiser must not have stepped yet: then its restored state is all zeros, as at its start.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        self.model, self.optimizer = model, optimizer
        held = [*model.parameters(), *model.buffers()]
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in held]
        self.attributes = [(each, *_copied(vars(each))) for each in model.modules()]
        self.random = (random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002
        devices = {tensor.device for tensor in held if tensor.device.type == "cuda"}
        self.cuda_random = [(torch.cuda.get_rng_state(each), each) for each in devices]

    def clear_gradients(self) -> None:
        """Forget gradients, so that a graph keeps its own."""
        for weight in self.model.parameters():
            weight.grad = None

    @torch.no_grad()
    def restore(self) -> None:
        """Bring all of it back, in place: a graph reads the same tensors."""
        for module, attributes, contents in self.attributes:
            vars(module).clear()
            vars(module).update(attributes)
            for name, content in contents.items():
                container = attributes[name]
                container.clear()
                extend = container.extend if isinstance(container, list) else container.update
                extend(content)
        for tensor, value in self.tensors:
            tensor.copy_(value)
        states = self.optimizer.state.values() if self.optimizer is not None else ()
        for moment in (value for state in states for value in state.values()):
            if isinstance(moment, Tensor):
                moment.zero_()
        self.clear_gradients()
        python, numpy, on_cpu = self.random
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002  # the generator that plug-ins share
        torch.set_rng_state(on_cpu)
        for state, device in self.cuda_random:
            torch.cuda.set_rng_state(state, device)


def _copied(attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A module's attributes, and copies of the dicts, lists and sets among them."""
    kinds = (dict, list, set)
    contents = {k: copy.copy(value) for k, value in attributes.items() if isinstance(value, kinds)}
    return dict(attributes), contents


@dataclasses.dataclass(frozen=True)
class HostState:
    """What a step may have changed where no graph sees it."""

    random: bytes
    attributes: dict[tuple[str, str], object]
    places: dict[str, int]


def host_state(model: nn.Module) -> HostState:
    """The host's random numbers, plain attributes of modules, and addresses of all tensors."""
    generators = (random.getstate(), np.random.get_state(), torch.get_rng_state().numpy())  # noqa: NPY002
    plain = (bool, int, float, str, type(None))
    attributes: dict[tuple[str, str], object] = {
        (path, name): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, plain)
    }
    held = (*model.named_parameters(), *model.named_buffers())
    return HostState(pickle.dumps(generators), attributes, {k: v.data_ptr() for k, v in held})


def refuse_changes(before: HostState, after: HostState) -> None:
    """Raise CaptureError where a step has changed what a replay would not change."""
    if before.random != after.random:
        raise CaptureError("each step draws random numbers on the host")
    names = before.attributes.keys() | after.attributes.keys()
    changed = {key for key in names if before.attributes.get(key) != after.attributes.get(key)}
    for path, name in sorted(changed):
        raise CaptureError(f"each step changes {f'{path}.{name}'.lstrip('.')}")
    if before.places != after.places:
        raise CaptureError("each step replaces a weight or a buffer")


@contextlib.contextmanager
def _waiting_refused() -> Iterator[None]:
    """Let whatever waits for the device raise: after a failed capture torch may not recover."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
