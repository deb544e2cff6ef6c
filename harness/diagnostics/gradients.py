"""How much of a gradient survives k steps back, in a model as it is. Never trains.

The gain at lag k is the spectral norm of d state_T / d state_(T-k), where T is the last step: the
largest share of a gradient at the last state that can reach the state k steps earlier. The state is
all that the stack carries from one step to the next: h of every layer, and for the LSTM (h, c). A
cell that offers no state has the norm of d output_T / d input_(T-k) instead.

Everything is in float64. Products of Jacobians are rescaled at each step and the logarithms of the
scales are summed, so a gain of 1e-1000 or 1e+1000 is exact too. Without a state there is no product
to rescale: then a gain below 1e-450 is 0, and one above 1e+150 is unknown.

The work grows with the cube of the state's size. It is bounded: first fewer sequences, then fewer
lags.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from harness import metric_definitions
from harness.cells import State, Stateful, TorchCell
from harness.diagnostics.closed_form_derivatives import run_stack
from harness.diagnostics.float64_copy import copy_of_cell, float64_by_default, in_float64
from harness.training.model import SequenceModel

# Spectral norms are the slow part; a logarithmic axis does not show more points.
LAGS_IN_ALL = 60
# Floating-point operations: 3 to 8 s in closed form, 4 to 15 s by autograd, on a busy core
WORK = 8e10
# What a spectral norm costs, in products of two such matrices: measured 3 to 7
NORM_IN_PRODUCTS = 5
# The product of Jacobians is compressed at this lag, and then whenever the lag has grown so much
COMPRESS_FROM, COMPRESS_EVERY = 16, 1.5
FEWEST_LAGS = 30  # a state too large for so many is not followed; outputs and inputs are
# Inputs of the copies of one sequence in one batch: 32 MB, and a graph of some times that
COPIED_NUMBERS = 4_000_000
# 1e150: gradients by inputs are scaled up by it, away from float64's smallest numbers
HEADROOM = 2.0**500

Advance = Callable[[Tensor, int], Tensor]
"""(product (B, N, N), step) to the product times d state_after / d state_before of that step."""


@dataclasses.dataclass(frozen=True)
class GradientGain:
    """log10 of the gain at each of `lags`, as the mean over `n_sequences` sequences; -inf for 0.

    `of` says what is differentiated: `state` by an earlier state, or `output` by an earlier input.
    """

    of: Literal["state", "output"]
    lags: tuple[int, ...]
    log10_gain: tuple[float, ...]
    n_sequences: int

    def decay_per_step(self) -> float | None:
        """The factor by which the gain falls in a step; None with fewer than two finite gains."""
        return metric_definitions.decay_per_step(self.lags, self.log10_gain)

    def lag_below(self, threshold: float = metric_definitions.FORGOTTEN) -> int | None:
        """The first lag from which on the gain stays below the threshold, or None."""
        return metric_definitions.lag_below(self.lags, self.log10_gain, threshold)


def gradient_gain(model: SequenceModel, inputs: Tensor) -> GradientGain:
    """The gradient gain of a model on `inputs` (n_sequences, sequence_length, input_size).

    Lags are 1 to T - 1: all up to 20, then on a logarithmic scale with 10, 30, 100, ... among them.
    The model is copied, not changed. A large model is measured on fewer sequences and lags. A
    diverged model has NaN gains. ValueError below 2 steps; a plug-in's cell may raise anything.
    """
    sequence_length = inputs.shape[1]
    if sequence_length < 2:
        raise ValueError(f"'inputs' must have at least 2 steps (got {sequence_length})")
    cell, values = copy_of_cell(model), in_float64(inputs)
    with float64_by_default():
        if isinstance(cell, Stateful):
            size = sum(part.numel() for part in _parts(cell.initial_state(1, values)))
            n_sequences, lags = affordable(len(values), sequence_length, size)
            if lags[-1] >= min(FEWEST_LAGS, sequence_length - 1):
                advance = _advance(cell, values[:n_sequences])
                gains = _accumulated(advance, (n_sequences, size), sequence_length, lags)
                return GradientGain("state", lags, gains, n_sequences)
        return _output_gain(cell, values)


def chosen_lags(sequence_length: int) -> tuple[int, ...]:
    """Lags from 1 to sequence_length - 1: all up to 20, then on a log scale."""
    last = sequence_length - 1
    spread = np.geomspace(1, last, LAGS_IN_ALL).round().astype(int).tolist()
    marks = [mark * 10**power for power in range(1, 7) for mark in (1, 3)]
    return tuple(sorted({lag for lag in [*range(1, 21), *marks, *spread] if lag <= last}))


def affordable(
    n_sequences: int, sequence_length: int, state_size: int, work: float = WORK
) -> tuple[int, tuple[int, ...]]:
    """How many sequences and which lags fit into `work` operations, for a state of that size.

    First the number of sequences is halved, then the longest lags are left out.
    """

    def fits(n: int, lags: tuple[int, ...]) -> bool:
        return n * (lags[-1] + NORM_IN_PRODUCTS * len(lags)) * 2.0 * state_size**3 <= work

    lags = chosen_lags(sequence_length)
    while n_sequences > 1 and not fits(n_sequences, lags):
        n_sequences //= 2
    while len(lags) > 1 and not fits(n_sequences, lags):
        lags = lags[:-1]
    return n_sequences, lags


# --- States -------------------------------------------------------------------------------------


def _accumulated(
    advance: Advance, shape: tuple[int, int], sequence_length: int, lags: tuple[int, ...]
) -> tuple[float, ...]:
    """log10 of the norm of the product of the last Jacobians, at each of `lags`.

    `shape` is (n_sequences, size).
    """
    n_sequences, size = shape
    product = torch.eye(size).expand(n_sequences, -1, -1)
    log10_scale = torch.zeros(n_sequences)
    wanted, gains, compress_at = set(lags), [], COMPRESS_FROM
    for lag in range(1, lags[-1] + 1):
        product = advance(product, sequence_length - lag)
        scale = product.abs().amax(dim=(1, 2))
        log10_scale = log10_scale + scale.log10()
        product = product / torch.where(scale == 0, 1.0, scale)[:, None, None]
        if lag >= compress_at:
            product, compress_at = _compressed(product), math.ceil(compress_at * COMPRESS_EVERY)
        if lag in wanted:
            gains.append(_mean(log10_scale + _log10_norm_of_scaled(product)))
    return tuple(gains)


def _compressed(product: Tensor) -> Tensor:
    """As few rows (B, R, N) as have the same singular values, but for those that are rounding.

    A product of many Jacobians has few large ones. Smaller ones than one rounding of the largest
    are lost in each product of such matrices anyway.
    """
    if not product.isfinite().all():
        return product
    _, values, rows = torch.linalg.svd(product, full_matrices=False)
    smallest = torch.finfo(values.dtype).eps * values[:, :1]
    kept = max(1, int((values > smallest).sum(dim=1).max()))
    few: Tensor = values[:, :kept, None] * rows[:, :kept]
    return few


def _advance(cell: Stateful, inputs: Tensor) -> Advance:
    """In closed form for torch's cells; by autograd for every other cell, also for subclasses."""
    if type(cell) is TorchCell:
        return run_stack(cell, inputs).advance
    return _autograd_advance(cell, inputs)


def _autograd_advance(cell: Stateful, inputs: Tensor) -> Advance:
    """By autograd, for any cell with `initial_state` and `step`.

    Each row of the product gets its own copy of the sequence in one batch. So one backward pass
    through one step moves all rows one step back.
    """
    before = []
    with torch.no_grad():
        state = cell.initial_state(len(inputs), inputs)
        for step in range(inputs.shape[1]):
            before.append(state)
            state = cell.step(inputs[:, step], state)[1]

    def advance(product: Tensor, step: int) -> Tensor:
        size, state = product.shape[1], before[step]
        own = [part.repeat_interleave(size, dim=1).requires_grad_() for part in _parts(state)]
        rows = inputs[:, step].repeat_interleave(size, dim=0)
        with torch.enable_grad():
            after = cell.step(rows, own[0] if isinstance(state, Tensor) else tuple(own))[1]
        weighed = list(zip(_parts(after), _unflattened(product.flatten(0, 1), after), strict=True))
        heard = [pair for pair in weighed if pair[0].requires_grad]  # others hold nothing of before
        if not heard:
            return torch.zeros_like(product)
        back = torch.autograd.grad(
            [pair[0] for pair in heard],
            own,
            [pair[1] for pair in heard],
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([part.movedim(1, 0).flatten(1) for part in back], dim=1).view_as(product)

    return advance


def _parts(state: State) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _unflattened(rows: Tensor, like: State) -> list[Tensor]:
    """Rows (B, N) as tensors with the batch in dimension 1, of the shapes of a state's parts."""
    shapes = [part.movedim(1, 0).shape for part in _parts(like)]
    pieces = torch.split(rows, [math.prod(shape[1:]) for shape in shapes], dim=1)
    return [piece.reshape(shape).movedim(0, 1) for piece, shape in zip(pieces, shapes, strict=True)]


# --- Cells that offer no state ------------------------------------------------------------------


def _output_gain(cell: nn.Module, inputs: Tensor) -> GradientGain:
    """The norms of d output_T / d input_(T-k), one sequence at a time.

    Each output unit gets its own copy of the sequence in one batch. So one backward pass gives its
    row of each Jacobian. A large model is measured on fewer sequences, and only on their last
    steps.
    """
    weights = sum(weight.numel() for weight in cell.parameters())
    with torch.no_grad():
        hidden_size = cell(inputs[:1, :1]).shape[2]
    n_steps = WORK / max(6.0 * weights * hidden_size, 1.0)  # forward 2 a weight, backward 4
    n_sequences = max(1, min(len(inputs), int(n_steps // inputs.shape[1])))
    inputs = inputs[:n_sequences, -max(2, min(inputs.shape[1], int(n_steps))) :]
    lags = chosen_lags(inputs.shape[1])
    positions = [inputs.shape[1] - 1 - lag for lag in lags]
    at_once = max(1, COPIED_NUMBERS // inputs[0].numel())
    gains = []
    for sequence in inputs:
        rows = []
        for units in torch.split(torch.arange(hidden_size), at_once):
            copies = sequence.expand(len(units), -1, -1).clone().requires_grad_()
            own = cell(copies)[torch.arange(len(units)), -1, units].sum()
            (gradient,) = torch.autograd.grad(own * HEADROOM, copies)
            rows.append(gradient[:, positions].transpose(0, 1))
        gains.append(_log10_norm(torch.cat(rows, dim=1)) - math.log10(HEADROOM))
    return GradientGain(
        "output", lags, tuple(_mean(gain) for gain in torch.stack(gains, dim=1)), n_sequences
    )


def _log10_norm_of_scaled(matrices: Tensor) -> Tensor:
    """The same for matrices whose largest element is about 1, or 0: by their Gram matrices."""
    finite = matrices.isfinite().all(dim=2).all(dim=1)
    safe = torch.where(finite[:, None, None], matrices, 0.0)
    norms = torch.linalg.eigvalsh(safe @ safe.mT)[:, -1].clamp(min=0.0).sqrt()
    return torch.where(finite, norms.log10(), torch.nan)


def _log10_norm(matrices: Tensor) -> Tensor:
    """log10 of the spectral norm of each matrix (B, N, M).

    NaN where a matrix is not finite, -inf where it is 0.
    """
    finite = matrices.isfinite().all(dim=2).all(dim=1)
    norms = torch.linalg.matrix_norm(torch.where(finite[:, None, None], matrices, 0.0), ord=2)
    return torch.where(finite, norms.log10(), torch.nan)


def _mean(log10_gains: Tensor) -> float:
    return float(log10_gains.mean())
