"""torch's cells as single steps with their derivatives in closed form. Never trains.

Faster than autograd, which is used for all other cells. The tests compare the two.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.cells import TorchCell

Layer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""One step of one layer: (inputs (B, D), state (B, S)) to the new state and its two derivatives.

The derivatives are (B, S, S) with respect to the state and (B, S, D) with respect to the inputs.
"""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of one layer, and a bias for each.

    Shapes: (gates * hidden_size, input_size) and (gates * hidden_size, hidden_size).
    """

    inputs: Tensor
    state: Tensor
    input_bias: Tensor
    state_bias: Tensor


@dataclasses.dataclass(frozen=True)
class Stack:
    """The layers of one of torch's cells as single steps with derivatives, lowest layer first."""

    layers: tuple[Layer, ...]
    hidden_size: int
    state_size: int

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The new state (B, N) of the stack, and its derivative (B, N, N) by the old one.

        N = num_layers * state_size.
        """
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
    """The stack of one of torch's cells with its current weights, by torch's equations."""
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
    """c' = f c + i g, h' = o tanh(c'), state (h, c); blocks are input, forget, cell, output."""
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
