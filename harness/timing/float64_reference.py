"""What a step should compute: loss and gradients in float64, and how far a variant is from them.

Never reads a clock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.tasks import Batch
from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import Workpiece, build
from harness.timing.variants import Precision

GRADIENT_TOLERANCE: Mapping[Precision, tuple[float, float]] = {
    "float32": (1e-4, 1e-4),
    "tf32": (3e-3, 3e-2),
    "float16": (3e-3, 3e-2),
    "bfloat16": (2e-2, 2e-1),
}
"""The largest relative error of loss and of gradients with which a variant is timed.

Measured at most, over three tasks, three cells and their initialisations, hidden 8 and 64, length
50 and 400: float32 1.3e-7 and 7e-7, bfloat16 1.7e-3 and 8.4e-2 (chrono, 400 steps). tf32 and
float16 round to eight times finer than bfloat16; not measured.
"""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Loss and gradients at the first weights on the first batch, and the input gradient's shares.

    `denormal_fraction` and `zero_fraction` are shares of that gradient's entries in float32 with
    denormals kept. `precision` is float64, or float32 for a cell that can't be computed in float64.
    """

    precision: str
    loss: float
    gradients: tuple[Tensor, ...]
    denormal_fraction: float
    zero_fraction: float

    def save(self, path: Path) -> None:
        """Write it for another process to read."""
        torch.save({**vars(self), "gradients": list(self.gradients)}, path)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what `save` wrote."""
        kept: dict[str, Any] = torch.load(path, weights_only=True)
        return cls(**{**kept, "gradients": tuple(kept["gradients"])})


@dataclasses.dataclass(frozen=True)
class Deviation:
    """Relative errors against the reference.

    Of the loss, and of the gradients in the norm over all parameters.
    """

    loss_error: float
    gradient_error: float | None


def compute_reference(benchmark: Benchmark, seed: int) -> Reference:
    """Compute the reference of a benchmark on its device.

    Denormals are kept meanwhile, in the calling thread.
    """
    plain = dataclasses.replace(benchmark, variant="denormals_kept", measure="forward_backward")
    work = build(plain, seed)
    batch = work.batches[0]
    with denormals_kept():
        denormal, zero = _input_gradient_shares(work, batch)
    try:
        work.model.double()
        loss = work.backward(_double(batch))
        precision = "float64"
    except Exception:  # noqa: BLE001  # a plug-in's cell may make float32 tensors of its own
        work = build(plain, seed)
        loss, precision = work.backward(batch), "float32"
    gradients = tuple(_gradients(work))
    return Reference(precision, float(loss), gradients, denormal, zero)


def deviation(work: Workpiece, measure: str, reference: Reference) -> Deviation:
    """Run the step to be timed on the first batch; compare it with the reference."""
    work.reset()
    batch = work.batches[0]
    if measure == "forward":
        loss = float(work.loss(batch).detach())
        return Deviation(_loss_error(loss, reference), None)
    loss = float(work.backward(batch))
    return Deviation(
        _loss_error(loss, reference), _gradient_error(_gradients(work), reference.gradients)
    )


def captured_deviation(
    work: Workpiece, measure: str, loss: Tensor, reference: Reference
) -> Deviation:
    """The same for a step that has been replayed once from the first weights.

    Its gradients are clipped by then.
    """
    loss_error = _loss_error(float(loss.detach()), reference)
    if measure == "forward":
        return Deviation(loss_error, None)
    expected = list(reference.gradients)
    norm = math.sqrt(sum(float(each.square().sum()) for each in expected))
    if measure == "training_step" and 0 < work.max_grad_norm < norm:
        expected = [each * (work.max_grad_norm / norm) for each in expected]
    return Deviation(loss_error, _gradient_error(_gradients(work), expected))


def check(found: Deviation, precision: Precision, against: str) -> None:
    """Raise HarnessError, naming the number, where a deviation is more than its precision explains.

    `against` names the reference.
    """
    errors = (("loss", found.loss_error), ("gradients", found.gradient_error))
    for (what, error), most in zip(errors, GRADIENT_TOLERANCE[precision], strict=True):
        if error is not None and not error <= most:
            raise HarnessError(
                f"not timed: its {what} differ{'s' * (what == 'loss')} from {against} by {error:.2g}, "
                f"more than {precision} explains ({most:g})"
            )


@contextmanager
def denormals_kept() -> Iterator[None]:
    """Keep denormals meanwhile, in the calling thread."""
    flushed = denormals_flushed()
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def denormals_flushed() -> bool:
    """Whether this thread's arithmetic flushes denormal floats to zero; found by trying."""
    smallest_normal = torch.full((16,), torch.finfo(torch.float32).tiny)
    return not bool((smallest_normal / 2).any())


def _input_gradient_shares(work: Workpiece, batch: Batch) -> tuple[float, float]:
    """Shares of denormal and of zero entries in the gradient of the loss by the inputs.

    The sign of the vanishing gradient that costs time: it is the recurrent gradient of each step,
    times the input weights.
    """
    inputs = batch.inputs.clone().requires_grad_()
    loss = work.task.loss(work.model(inputs), batch.targets)
    (gradient,) = torch.autograd.grad(loss, inputs, materialize_grads=True)
    size = gradient.abs().cpu()
    smallest = torch.finfo(torch.float32).tiny
    zero = int((size == 0).sum())
    denormal = int(((size > 0) & (size < smallest)).sum())
    return denormal / size.numel(), zero / size.numel()


def _double(batch: Batch) -> Batch:
    targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
    return Batch(batch.inputs.double(), targets)


def _gradients(work: Workpiece) -> list[Tensor]:
    """The gradients that a backward pass has left, in float64 on the CPU.

    Zeros where a parameter has none.
    """
    return [
        torch.zeros_like(weight, dtype=torch.float64, device="cpu")
        if weight.grad is None
        else weight.grad.detach().double().cpu()
        for weight in work.model.parameters()
    ]


def _loss_error(loss: float, reference: Reference) -> float:
    return abs(loss - reference.loss) / max(abs(reference.loss), 1e-12)


def _gradient_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    off = sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True))
    norm = sum(float(each.square().sum()) for each in expected)
    return math.sqrt(off / norm) if norm else math.sqrt(off)
