"""Why a cell forgets: how much of a gradient survives k steps back, in a model as it is. Never trains, never draws.

The gain at lag k is the spectral norm of d state_T / d state_(T-k), T the last step: of a gradient that reaches the last
state, the largest share that can reach the state k steps earlier. The state is all that the stack carries from one step to
the next: h of every layer, and for the LSTM (h, c) of every layer jointly. A cell that offers no state has the norm of
d output_T / d input_(T-k) instead.

Everything is in float64. Products of Jacobians are rescaled at each step and the logarithm of the scale is summed, so
gains of 1e-1000 and 1e+1000 are as good as others.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from harness.cells import TorchCell
from harness.models import SequenceModel

LAGS_IN_ALL = 60  # spectral norms are the slow part; on a logarithmic axis no one sees more points
FORGOTTEN = 1e-3
FLOAT32_RESOLUTION = 2.0**-23

Layer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""One step of one layer: (inputs (B, D), state (B, S)) to the new state (B, S) and its derivatives by the state,
(B, S, S), and by the inputs, (B, S, D)."""


@dataclasses.dataclass(frozen=True)
class GradientGain:
    """log10 of the gain at each of `lags`, the mean over `n_sequences` sequences; -inf where it is exactly 0.

    `of` says what is differentiated: `state` by an earlier state, or `output` by an earlier input.
    """

    of: Literal["state", "output"]
    lags: tuple[int, ...]
    log10_gain: tuple[float, ...]
    n_sequences: int

    def decay_per_step(self) -> float | None:
        """The factor by which the gain falls a step, by least squares on the logarithm; None below two finite gains."""
        gain = np.array(self.log10_gain)
        known = np.isfinite(gain)
        if known.sum() < 2:
            return None
        slope = np.polynomial.polynomial.polyfit(np.array(self.lags)[known], gain[known], 1)[1]
        return float(10**slope)

    def lag_below(self, threshold: float = FORGOTTEN) -> int | None:
        """The first of the lags from which on the gain stays under the threshold; None if it is above at the last."""
        first = None
        for lag, gain in zip(self.lags, self.log10_gain, strict=True):
            if not gain < math.log10(threshold):
                first = None
            elif first is None:
                first = lag
        return first


def gradient_gain(model: SequenceModel, inputs: Tensor) -> GradientGain:
    """The gradient gain of a model on `inputs` (n_sequences, sequence_length, input_size), lags 1 to T - 1.

    The model is copied, not changed. All lags up to 20 are there, and then 10, 30, 100, ... among others on a logarithmic
    scale. A diverged model, whose weights are not finite, has NaN gains. ValueError below 2 steps.
    """
    n_sequences, sequence_length = inputs.shape[:2]
    if sequence_length < 2:
        raise ValueError(f"'inputs' must have at least 2 steps (got {sequence_length})")
    cell = copy.deepcopy(model.cell).to(device="cpu", dtype=torch.float64).eval()
    values = inputs.detach().to(device="cpu", dtype=torch.float64)
    lags = chosen_lags(sequence_length)
    if isinstance(cell, TorchCell):
        with torch.no_grad():
            return GradientGain("state", lags, _state_gain(cell, values, lags), n_sequences)
    return GradientGain("output", lags, _output_gain(cell, values, lags), n_sequences)


def chosen_lags(sequence_length: int) -> tuple[int, ...]:
    """Lags from 1 to sequence_length - 1: all up to 20, decades and thirds of them, and others evenly on a log scale."""
    last = sequence_length - 1
    spread = np.geomspace(1, last, LAGS_IN_ALL).round().astype(int).tolist()
    marks = [mark * 10**power for power in range(1, 7) for mark in (1, 3)]
    return tuple(sorted({lag for lag in [*range(1, 21), *marks, *spread] if lag <= last}))


# --- States of torch's cells --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Weights:
    """One layer's: (gates * hidden_size, input_size) and (gates * hidden_size, hidden_size), and a bias for each."""

    inputs: Tensor
    state: Tensor
    input_bias: Tensor
    state_bias: Tensor


@dataclasses.dataclass(frozen=True)
class Stack:
    """The layers of one of torch's cells as single steps with their derivatives, lowest layer first."""

    layers: tuple[Layer, ...]
    hidden_size: int
    state_size: int

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The stack's new state (B, N) and its derivative (B, N, N) by the old one, N = num_layers * state_size."""
        states, rows = [], []
        below, below_by_state = inputs, None
        for position, layer in enumerate(self.layers):
            own = slice(position * self.state_size, (position + 1) * self.state_size)
            new, by_own, by_inputs = layer(below, state[:, own])
            row = state.new_zeros(len(state), self.state_size, state.shape[1])
            row[:, :, own] = by_own
            if below_by_state is not None:
                row += by_inputs @ below_by_state
            states.append(new)
            rows.append(row)
            below, below_by_state = new[:, : self.hidden_size], row[:, : self.hidden_size]
        return torch.cat(states, dim=1), torch.cat(rows, dim=1)


def read_stack(cell: TorchCell) -> Stack:
    """The stack of one of torch's cells, with its present weights in the equations of torch's documentation."""
    module = cell.module
    layer, parts = {nn.RNN: (_rnn, 1), nn.GRU: (_gru, 1), nn.LSTM: (_lstm, 2)}[type(module)]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers = tuple(
        functools.partial(
            layer, Weights(*(getattr(module, f"{name}_l{i}").detach() for name in names))
        )
        for i in range(module.num_layers)
    )
    return Stack(layers, module.hidden_size, parts * module.hidden_size)


def _state_gain(cell: TorchCell, inputs: Tensor, lags: tuple[int, ...]) -> tuple[float, ...]:
    stack = read_stack(cell)
    state = inputs.new_zeros(len(inputs), len(stack.layers) * stack.state_size)
    before = []
    for step in range(inputs.shape[1]):
        before.append(state)
        state, _ = stack.step(inputs[:, step], state)
    product = torch.eye(state.shape[1], dtype=inputs.dtype).expand(len(inputs), -1, -1)
    log10_scale = inputs.new_zeros(len(inputs))
    gains = []
    for lag in range(1, lags[-1] + 1):
        step = inputs.shape[1] - lag
        product = product @ stack.step(inputs[:, step], before[step])[1]
        scale = product.abs().amax(dim=(1, 2))
        log10_scale = log10_scale + scale.log10()
        product = product / torch.where(scale == 0, 1.0, scale)[:, None, None]
        if lag in lags:
            gains.append(_mean(log10_scale + _log10_norm(product)))
    return tuple(gains)


def _rnn(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h' = tanh(W x + U h + b)."""
    new = torch.tanh(x @ w.inputs.T + w.input_bias + h @ w.state.T + w.state_bias)
    slope = (1 - new**2)[:, :, None]
    return new, slope * w.state, slope * w.inputs


def _gru(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h' = (1 - z) n + z h, n = tanh(W x + r (U h + b)); blocks are reset r, update z, new n."""
    from_inputs = (x @ w.inputs.T + w.input_bias).chunk(3, dim=1)
    from_state = (h @ w.state.T + w.state_bias).chunk(3, dim=1)
    reset = torch.sigmoid(from_inputs[0] + from_state[0])
    update = torch.sigmoid(from_inputs[1] + from_state[1])
    fresh = torch.tanh(from_inputs[2] + reset * from_state[2])
    by_fresh = (1 - update) * (1 - fresh**2)  # of h' by what is inside the tanh
    by_update = (h - fresh) * update * (1 - update)
    by_reset = by_fresh * from_state[2] * reset * (1 - reset)

    def by(weights: Tensor, new_block: Tensor) -> Tensor:
        reset_weights, update_weights, new_weights = weights.chunk(3)
        return (
            by_reset[:, :, None] * reset_weights
            + by_update[:, :, None] * update_weights
            + new_block[:, :, None] * new_weights
        )

    by_state = by(w.state, by_fresh * reset) + torch.diag_embed(update)
    return (1 - update) * fresh + update * h, by_state, by(w.inputs, by_fresh)


def _lstm(w: Weights, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c' = f c + i g, h' = o tanh(c'), the state (h, c); blocks are input i, forget f, cell g, output o."""
    h, c = state.chunk(2, dim=1)
    inward, forget, fresh, output = (
        x @ w.inputs.T + w.input_bias + h @ w.state.T + w.state_bias
    ).chunk(4, dim=1)
    i, f, g, o = (
        torch.sigmoid(inward),
        torch.sigmoid(forget),
        torch.tanh(fresh),
        torch.sigmoid(output),
    )
    new_c = f * c + i * g
    squashed = torch.tanh(new_c)
    h_by_c = o * (1 - squashed**2)
    slopes = (g * i * (1 - i), c * f * (1 - f), i * (1 - g**2))

    def by(weights: Tensor) -> Tensor:
        *blocks, output_weights = weights.chunk(4)
        c_by = sum(
            (slope[:, :, None] * block for slope, block in zip(slopes, blocks, strict=True)),
            start=torch.zeros((), dtype=weights.dtype),
        )
        h_by = h_by_c[:, :, None] * c_by + (squashed * o * (1 - o))[:, :, None] * output_weights
        return torch.cat([h_by, c_by], dim=1)

    by_c = torch.cat([torch.diag_embed(h_by_c * f), torch.diag_embed(f)], dim=1)
    new = torch.cat([o * squashed, new_c], dim=1)
    return new, torch.cat([by(w.state), by_c], dim=2), by(w.inputs)


# --- Cells that offer no state ------------------------------------------------------------------


def _output_gain(cell: nn.Module, inputs: Tensor, lags: tuple[int, ...]) -> tuple[float, ...]:
    """Norms of d output_T / d input_(T-k), a sequence at a time.

    Every output unit has a copy of the sequence in one batch, so that one backward pass gives all rows of the Jacobian.
    Float64 without rescaling: a gain under 1e-300 becomes 0.
    """
    gains = []
    positions = [inputs.shape[1] - 1 - lag for lag in lags]
    for sequence in inputs:
        with torch.no_grad():
            hidden_size = cell(sequence[None]).shape[2]
        copies = sequence.expand(hidden_size, -1, -1).clone().requires_grad_()
        outputs = cell(copies)[:, -1].diagonal().sum()
        (gradient,) = torch.autograd.grad(outputs, copies)
        gains.append(_log10_norm(gradient[:, positions].transpose(0, 1)))
    return tuple(_mean(gain) for gain in torch.stack(gains, dim=1))


def _log10_norm(matrices: Tensor) -> Tensor:
    """log10 of the spectral norm of each matrix (B, N, M); NaN where a matrix is not finite, -inf where it is 0."""
    finite = matrices.isfinite().all(dim=2).all(dim=1)
    norms = torch.linalg.matrix_norm(torch.where(finite[:, None, None], matrices, 0.0), ord=2)
    return torch.where(finite, norms.log10(), torch.nan)


def _mean(log10_gains: Tensor) -> float:
    return float(log10_gains.mean())
