"""torch's cells run once, then backwards step by step, by the derivatives in closed form.

Never trains. Faster than autograd, which is used for all other cells. The tests compare the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.cells import TorchCell

Back = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""(rows (B, R, S), step) to rows times the derivatives of a layer's state after that step.

S is the size of a layer's state. The derivatives are those with respect to the state before the
step (B, R, S), and to the layer's inputs at the step (B, R, D).
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
class RunStack:
    """The layers of one of torch's cells after a run over some sequences, lowest layer first.

    `outputs` (B, T, H) are those of the last layer.
    """

    outputs: Tensor
    layers: tuple[Back, ...]
    hidden_size: int
    state_size: int

    def advance(self, rows: Tensor, step: int) -> Tensor:
        """Rows (B, R, N) times the derivative of the stack's state by that before the step.

        N = num_layers * state_size.
        """
        found: list[Tensor] = []
        from_above: Tensor | None = None
        of_layers = rows.split(self.state_size, dim=2)
        for layer, own in zip(self.layers[::-1], of_layers[::-1], strict=True):
            whole = own
            if from_above is not None:
                hidden = own[:, :, : self.hidden_size] + from_above
                whole = torch.cat([hidden, own[:, :, self.hidden_size :]], dim=2)
            before, from_above = layer(whole, step)
            found.append(before)
        return torch.cat(found[::-1], dim=2)


def run_stack(cell: TorchCell, inputs: Tensor) -> RunStack:
    """Run one of torch's cells over `inputs` (B, T, D), by torch's equations."""
    module = cell.module
    run, parts = RUNS[type(module)]
    layers: list[Back] = []
    below = inputs
    for i in range(module.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = Weights(*(getattr(module, f"{name}_l{i}").detach() for name in names))
        below, layer = run(weights, below)
        layers.append(layer)
    return RunStack(below, tuple(layers), module.hidden_size, parts * module.hidden_size)


def _rnn(w: Weights, x: Tensor) -> tuple[Tensor, Back]:
    """h' = tanh(W x + U h + b)."""
    projected = x @ w.inputs.T + w.input_bias + w.state_bias
    h, states = x.new_zeros(len(x), w.state.shape[1]), []
    for step in projected.unbind(dim=1):
        h = torch.tanh(step + h @ w.state.T)
        states.append(h)
    after = torch.stack(states, dim=1)
    slope = 1 - after**2

    def back(rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        gates = rows * slope[:, step, None]
        return gates @ w.state, gates @ w.inputs

    return after, back


def _gru(w: Weights, x: Tensor) -> tuple[Tensor, Back]:
    """h' = (1 - z) n + z h, n = tanh(W x + r (U h + b)); blocks are reset r, update z, new n."""
    projected = x @ w.inputs.T + w.input_bias
    h, kept = x.new_zeros(len(x), w.state.shape[1]), []
    for step in projected.unbind(dim=1):
        from_inputs, from_state = step.chunk(3, dim=1), (h @ w.state.T + w.state_bias).chunk(3, 1)
        reset = torch.sigmoid(from_inputs[0] + from_state[0])
        update = torch.sigmoid(from_inputs[1] + from_state[1])
        fresh = torch.tanh(from_inputs[2] + reset * from_state[2])
        before, h = h, (1 - update) * fresh + update * h
        kept.append((h, before, reset, update, fresh, from_state[2]))
    after, before, r, z, n, q = (torch.stack(each, dim=1) for each in zip(*kept, strict=True))
    by_new = (1 - z) * (1 - n**2)  # of h' by what is inside the tanh
    by_gates = torch.cat([by_new * q * r * (1 - r), (before - n) * z * (1 - z), by_new], dim=2)
    # The new block hears the state through the reset gate
    through = torch.cat([torch.ones_like(r), torch.ones_like(r), r], dim=2)

    def back(rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        gates = rows.repeat(1, 1, 3) * by_gates[:, step, None]
        by_state = (gates * through[:, step, None]) @ w.state
        return by_state + rows * z[:, step, None], gates @ w.inputs

    return after, back


def _lstm(w: Weights, x: Tensor) -> tuple[Tensor, Back]:
    """c' = f c + i g, h' = o tanh(c'), state (h, c); blocks are input, forget, cell, output."""
    projected = x @ w.inputs.T + w.input_bias + w.state_bias
    h = c = x.new_zeros(len(x), w.state.shape[1])
    kept = []
    for step in projected.unbind(dim=1):
        inward, forget, fresh, output = (step + h @ w.state.T).chunk(4, dim=1)
        gates = (inward.sigmoid(), forget.sigmoid(), fresh.tanh(), output.sigmoid())
        before, c = c, gates[1] * c + gates[0] * gates[2]
        h = gates[3] * torch.tanh(c)
        kept.append((h, before, torch.tanh(c), *gates))
    after, before, squashed, i, f, g, o = (
        torch.stack(each, dim=1) for each in zip(*kept, strict=True)
    )
    h_by_c = o * (1 - squashed**2)
    h_by_output = squashed * o * (1 - o)
    c_by_gates = torch.cat([g * i * (1 - i), before * f * (1 - f), i * (1 - g**2)], dim=2)

    def back(rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        by_h, by_c = rows.chunk(2, dim=2)
        by_c = by_c + by_h * h_by_c[:, step, None]
        by_gates = torch.cat(
            [by_c.repeat(1, 1, 3) * c_by_gates[:, step, None], by_h * h_by_output[:, step, None]],
            dim=2,
        )
        before_step = torch.cat([by_gates @ w.state, by_c * f[:, step, None]], dim=2)
        return before_step, by_gates @ w.inputs

    return after, back


RUNS: Mapping[type[nn.Module], tuple[Callable[[Weights, Tensor], tuple[Tensor, Back]], Any]] = {
    nn.RNN: (_rnn, 1),
    nn.GRU: (_gru, 1),
    nn.LSTM: (_lstm, 2),
}
"""For each of torch's modules how a layer runs, and the number of parts of its state."""
