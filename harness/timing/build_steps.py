"""From a benchmark to something that can be run again and again: the closure of its step.

Never reads a clock.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.cells.fast_recurrence import use_native_kernels
from harness.errors import HarnessError
from harness.machine import derive_seed
from harness.tasks import Batch, Task, get_task
from harness.timing.benchmark_request import Benchmark
from harness.timing.flops import step_bytes, step_flops
from harness.timing.variants import Precision, Variant, parse_variant
from harness.training.captured_step import capture, repeat
from harness.training.model import SequenceModel, build_model
from harness.training.optimizer_step import make_optimizer, training_step

N_BATCHES = 4  # prepared for each benchmark and used in turn
MOST_HALVINGS = 20  # of float16's scale, from 2^16
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclasses.dataclass(frozen=True)
class Subject:
    """Something that is ready to be timed on `device`.

    `step` does the work once; `reset` brings back the first weights, so that every block does the
    same work. `flops` and `num_bytes` are those of one step.
    """

    name: str
    device: str
    step: Callable[[], object]
    reset: Callable[[], None]
    flops: int | None
    num_sequences: int = 0
    num_tokens: int = 0
    num_parameters: int = 0
    num_bytes: int | None = None
    compile_time_s: float | None = None
    graph_breaks: int | None = None


@dataclasses.dataclass(frozen=True)
class Workpiece:
    """A model on its device with its batches, optimiser and variant: what the closures close over.

    `forward` is the model as the variant runs it: under autocast, or compiled; its outputs are
    float32.
    """

    task: Task
    model: nn.Module
    forward: nn.Module
    optimizer: torch.optim.Optimizer
    batches: tuple[Batch, ...]
    first_weights: tuple[Tensor, ...]
    max_grad_norm: float
    variant: Variant
    scaler: torch.amp.GradScaler | None

    @torch.no_grad()
    def reset(self) -> None:
        """Bring the first weights back, in place; the optimiser's moments stay."""
        for weight, first in zip(self.model.parameters(), self.first_weights, strict=True):
            weight.copy_(first)

    def loss(self, batch: Batch) -> Tensor:
        """The task's loss of the variant's outputs, with its graph."""
        return self.task.loss(self.forward(batch.inputs), batch.targets)

    def backward(self, batch: Batch) -> Tensor:
        """zero_grad, forward, loss, backward; the gradients are unscaled. Returns the loss."""
        loss = self._backward(batch)
        if self.scaler is not None:
            self.scaler.update()
        return loss

    def train(self, batch: Batch) -> Tensor:
        """One optimiser update."""
        if self.scaler is None:
            return training_step(self.forward, self.optimizer, self.task, batch, self.max_grad_norm)
        loss = self._backward(batch)
        if self.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def settle_scale(self) -> None:
        """Lower float16's scale of the loss until no gradient overflows, on every batch."""
        if self.scaler is None:
            return
        for batch in self.batches:
            for _ in range(MOST_HALVINGS):
                before = self.scaler.get_scale()
                self.backward(batch)
                if self.scaler.get_scale() == before:
                    break

    def _backward(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        if self.scaler is None:
            loss.backward()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
        return loss.detach()


class Autocast(nn.Module):
    """A model whose products run in a lower precision, over float32 weights, to float32 outputs."""

    def __init__(self, model: nn.Module, device_type: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.device_type, self.dtype = model, device_type, dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shapes as the model's."""
        with torch.autocast(self.device_type, self.dtype):
            outputs: Tensor = self.model(inputs)
        return outputs.float()


def build(benchmark: Benchmark, seed: int = 0) -> Workpiece:
    """Build the model and draw its batches, real data of the task, on the benchmark's device.

    The same seed gives the same weights and batches in every process and for every variant.
    """
    device, variant = torch.device(benchmark.device), parse_variant(benchmark.variant)
    task = get_task(benchmark.task)
    model = build_model(benchmark.model, derive_seed(seed, "weights")).to(device)
    if variant.native:
        _use_native(model)
    generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    batches = tuple(
        task.sample(benchmark.batch_size, benchmark.sequence_length, generator).to(device)
        for _ in range(N_BATCHES)
    )
    optimizer = make_optimizer(
        benchmark.optimizer,
        model.parameters(),
        benchmark.learning_rate,
        fused=variant.fused_optimizer,
        capturable=variant.cuda_graph,
    )
    return Workpiece(
        task=task,
        model=model,
        forward=_as_run(model, device.type, variant.precision, compiled=variant.compiled),
        optimizer=optimizer,
        batches=batches,
        first_weights=tuple(weight.detach().clone() for weight in model.parameters()),
        max_grad_norm=benchmark.max_grad_norm,
        variant=variant,
        scaler=_scaler(device.type) if variant.precision == "float16" else None,
    )


def _use_native(model: SequenceModel) -> None:
    """Let the model's cell run on the native kernels. Raises HarnessError if it cannot."""
    if not use_native_kernels(model.cell):
        raise HarnessError("there are no native kernels for this cell")


def _scaler(device_type: str) -> torch.amp.GradScaler:
    """A loss scale that only falls: one that rises skips steps, which would be timed as cheap."""
    return torch.amp.GradScaler(device_type, growth_interval=10**9)


def prepare(benchmark: Benchmark, seed: int = 0) -> Subject:
    """Build a benchmark and its step in this process. Threads and denormals stay as they are.

    The weights are those of the benchmark's initialisation, and `reset` restores them (not the
    optimiser's moments). So the gradients timed are those of the first steps of a training. A
    compiled step is compiled here, and a CUDA graph captured.
    """
    return close(benchmark, build(benchmark, seed))


def close(benchmark: Benchmark, work: Workpiece) -> Subject:
    """The subject of a benchmark that has been built."""
    compile_time_s = graph_breaks = None
    work.settle_scale()
    run = _run_of(benchmark.measure, work)
    if work.variant.compiled:
        compile_time_s, graph_breaks = _compile(run, work)
    if work.variant.cuda_graph:
        step: Callable[[], object] = _captured(run, work)
    else:
        turn = itertools.cycle(work.batches)

        def step() -> object:
            return run(next(turn))

    n_steps = work.batches[0].inputs.shape[1]
    num_parameters = sum(weight.numel() for weight in work.first_weights)
    return Subject(
        name=benchmark.name,
        device=benchmark.device,
        step=step,
        reset=work.reset,
        flops=step_flops(benchmark, n_steps),
        num_sequences=benchmark.batch_size,
        num_tokens=benchmark.batch_size * n_steps,
        num_parameters=num_parameters,
        num_bytes=step_bytes(benchmark, n_steps, num_parameters),
        compile_time_s=compile_time_s,
        graph_breaks=graph_breaks,
    )


def _run_of(measure: str, work: Workpiece) -> Callable[[Batch], Tensor]:
    if measure == "forward":
        return work.loss  # with its graph: the forward part of a training step, not inference
    return work.backward if measure == "forward_backward" else work.train


def _as_run(
    model: nn.Module, device_type: str, precision: Precision, *, compiled: bool
) -> nn.Module:
    """The model as a variant runs it; its parameters stay the model's own."""
    if precision in AUTOCAST:
        return Autocast(model, device_type, AUTOCAST[precision])
    if not compiled:
        return model
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    # a pool of compilers would outlive the compilation, and disturb what is timed
    inductor.compile_threads = 1
    dynamo.recompile_limit = 10_000  # after 8 models torch would fall back to none, and say nothing
    made: nn.Module = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    return made


def _compile(run: Callable[[Batch], Tensor], work: Workpiece) -> tuple[float, int]:
    """Run twice: returns the extra seconds of the first call, and the number of graph breaks."""
    from torch._dynamo.utils import counters

    counters.clear()
    times = []
    for batch in (work.batches[0], work.batches[0]):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    work.reset()
    return max(times[0] - times[1], 0.0), sum(counters["graph_break"].values())


def forget_compiled() -> None:
    """Drop what torch.compile has made in this process.

    Nothing compiled before may be run after.
    """
    torch.compiler.reset()


def _captured(run: Callable[[Batch], Tensor], work: Workpiece) -> Callable[[], object]:
    """The whole step as a CUDA graph over one buffer; copying each batch into it is timed too."""

    def clear() -> None:
        work.optimizer.zero_grad(set_to_none=True)

    captured = capture(run, work.batches[0], repeat, clear)
    turn = itertools.cycle(work.batches)

    def step() -> object:
        return captured.replay(next(turn))

    work.reset()
    return step
