"""torch's own cells, run from explicit zero states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from harness.cells.base import State

TorchModule = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]


class Recurrence(Protocol):
    """Another way to run torch's layers: the same mathematics over the same weights."""

    def suits(self, inputs: Tensor, hidden_size: int, *, gradients: bool) -> bool:
        """Whether to use it for these inputs, with or without gradients."""
        ...

    def __call__(
        self, inputs: Tensor, weights: Sequence[tuple[Tensor, ...]], *, last_only: bool
    ) -> Tensor:
        """The last layer's states for `inputs` (batch first), from zero states.

        `weights` holds w_ih, w_hh, b_ih and b_hh of each layer. `last_only`: only the state after
        the last step, (batch_size, hidden_size).
        """
        ...


class TorchCell(nn.Module):
    """torch's nn.RNN, nn.GRU or nn.LSTM, batch first, from zero states. It is Stateful and Gated.

    `recurrence` replaces the module's own loop where it is set.
    """

    def __init__(
        self, module: TorchModule, input_size: int, hidden_size: int, num_layers: int
    ) -> None:
        super().__init__()
        self.module = module(input_size, hidden_size, num_layers, batch_first=True)
        self.memory_gate = {nn.RNN: "", nn.GRU: "update", nn.LSTM: "forget"}[module]
        self.is_lstm = module is nn.LSTM  # also when a quantised module stands in its place
        self.recurrence: Recurrence | None = None

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        """Zeros (num_layers, batch_size, hidden_size): h_0, and for the LSTM (h_0, c_0).

        Dtype and device are those of `like`.
        """
        zeros = like.new_zeros(self.module.num_layers, batch_size, self.module.hidden_size)
        return (zeros, zeros) if self.is_lstm else zeros

    def forward(self, inputs: Tensor, *, last_only: bool = False) -> Tensor:
        """The last layer's state after every step: (batch_size, sequence_length, hidden_size).

        `last_only`: after the last step, (batch_size, hidden_size).
        """
        other, module = self.recurrence, self.module
        gradients = torch.is_grad_enabled()
        if other and other.suits(inputs, module.hidden_size, gradients=gradients):
            weights = [self._weights(layer) for layer in range(module.num_layers)]
            return other(inputs, weights, last_only=last_only)
        outputs: Tensor = self.module(inputs, self.initial_state(inputs.shape[0], inputs))[0]
        return outputs[:, -1] if last_only else outputs

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step through all layers; the outputs are the last layer's h."""
        parts = state if isinstance(state, tuple) else (state,)
        below, layers = inputs, []
        for layer in range(self.module.num_layers):
            weights = self._weights(layer)
            own = [part[layer] for part in parts]
            moved: tuple[Tensor, ...]
            if isinstance(self.module, nn.LSTM):
                moved = torch.lstm_cell(below, own, *weights)
            elif isinstance(self.module, nn.GRU):
                moved = (torch.gru_cell(below, own[0], *weights),)
            else:
                moved = (torch.rnn_tanh_cell(below, own[0], *weights),)
            layers.append(moved)
            below = moved[0]
        moved_parts = tuple(torch.stack(part) for part in zip(*layers, strict=True))
        return below, moved_parts if isinstance(state, tuple) else moved_parts[0]

    def gates(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """LSTM: input, forget, output; GRU: reset, update; RNN: none."""
        # the blocks of torch's weights, in their order; "" stands for one that is no gate
        blocks = {nn.LSTM: ("input", "forget", "", "output"), nn.GRU: ("reset", "update", "")}
        names = blocks.get(type(self.module), ())
        if not names:
            return {}
        state, before, after = self.initial_state(inputs.shape[0], inputs), [], []
        for step in range(inputs.shape[1]):
            before.append(state[0] if isinstance(state, tuple) else state)
            _, state = self.step(inputs[:, step], state)
            after.append(state[0] if isinstance(state, tuple) else state)
        h_before, h_after = torch.stack(before, dim=2), torch.stack(after, dim=2)
        found: dict[str, list[Tensor]] = {name: [] for name in names if name}
        for layer in range(self.module.num_layers):
            below = h_after[layer - 1] if layer else inputs
            w_ih, w_hh, b_ih, b_hh = self._weights(layer)
            opened = torch.sigmoid(below @ w_ih.T + b_ih + h_before[layer] @ w_hh.T + b_hh)
            for name, block in zip(names, opened.chunk(len(names), dim=-1), strict=True):
                if name:
                    found[name].append(block)
        return {name: torch.stack(layers) for name, layers in found.items()}

    def _weights(self, layer: int) -> tuple[Tensor, ...]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return tuple(getattr(self.module, f"{name}_l{layer}") for name in names)


def num_parameters_of_stack(gates: int, input_size: int, hidden_size: int, num_layers: int) -> int:
    """Weights and biases of a stack: the sum over layers of G (H D + H H + 2 H).

    D is the layer's input size, H the hidden size, G the number of gates.
    """
    first = gates * (hidden_size * input_size + hidden_size * hidden_size + 2 * hidden_size)
    later = gates * (2 * hidden_size * hidden_size + 2 * hidden_size)
    return first + (num_layers - 1) * later
