"""The cells and their registry: recurrent stacks from explicit zero states, and their initialisations. Never trains.

A cell maps (batch_size, sequence_length, input_size) to (batch_size, sequence_length, hidden_size): the states of its last
layer. It knows no task, no head and no other cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import InputError, nearest

Initializer = Callable[[nn.Module, int, torch.Generator], None]
"""Sets the weights of a freshly built cell in place: (cell, sequence_length of the run, generator)."""

TorchModule = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kind of recurrent network.

    `factory(input_size, hidden_size, num_layers, **hyperparameters)` builds the module. `gates` is the number of
    hidden_size-wide blocks computed from the input and the state at each step (RNN 1, GRU 3, LSTM 4), None where unknown:
    then FLOPs are not measured. `initializations` maps each name that applies to the function that does it.
    """

    name: str
    factory: Callable[..., nn.Module]
    gates: int | None
    initializations: Mapping[str, Initializer]
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )


class TorchCell(nn.Module):
    """torch's own nn.RNN, nn.GRU or nn.LSTM, batch first, started from explicit zero states."""

    def __init__(
        self, module: TorchModule, input_size: int, hidden_size: int, num_layers: int
    ) -> None:
        super().__init__()
        self.module = module(input_size, hidden_size, num_layers, batch_first=True)

    def initial_state(self, batch_size: int, like: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Zeros (num_layers, batch_size, hidden_size): h_0, and for the LSTM (h_0, c_0); dtype and device of `like`."""
        zeros = like.new_zeros(self.module.num_layers, batch_size, self.module.hidden_size)
        return (zeros, zeros) if isinstance(self.module, nn.LSTM) else zeros

    def forward(self, inputs: Tensor) -> Tensor:
        """The last layer's state after every step: (batch_size, sequence_length, hidden_size)."""
        outputs: Tensor = self.module(inputs, self.initial_state(inputs.shape[0], inputs))[0]
        return outputs


def keep_pytorch(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`pytorch`: as the modules come, U[-1/sqrt(hidden_size), 1/sqrt(hidden_size)] for every weight and bias."""


def orthogonal(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`orthogonal`: orthogonal recurrent weights, zero biases; LSTM forget bias and GRU update bias 1.

    Source: Saxe et al. 2014 for the weights, Jozefowicz et al. 2015 for the forget bias.
    """
    module = _torch_module(cell)
    _set_orthogonal(module, generator)
    for bias in _input_biases(module):
        if isinstance(module, nn.LSTM):
            _block(bias, 1, module).fill_(1.0)
        elif isinstance(module, nn.GRU):
            _block(bias, 1, module).fill_(1.0)


def chrono(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`chrono`: orthogonal weights; LSTM b_f = log U[1, T-1], b_i = -b_f; GRU update bias log U[1, T-1].

    T is the run's own sequence_length. In torch a positive update bias means remember. Source: Tallec & Ollivier 2018.
    """
    module = _torch_module(cell)
    _set_orthogonal(module, generator)
    longest = max(sequence_length - 1, 1)
    for bias in _input_biases(module):
        span = torch.rand(module.hidden_size, generator=generator) * (longest - 1) + 1
        remember = span.log()
        _block(bias, 1, module).copy_(remember)
        if isinstance(module, nn.LSTM):
            _block(bias, 0, module).copy_(-remember)


def _torch_module(cell: nn.Module) -> nn.RNNBase:
    module = getattr(cell, "module", None)
    if not isinstance(module, nn.RNNBase):
        raise TypeError(f"expected a cell around one of torch's, got {type(cell).__name__}")
    return module


@torch.no_grad()
def _set_orthogonal(module: nn.RNNBase, generator: torch.Generator) -> None:
    """Make every recurrent block orthogonal and every bias zero; the input weights stay."""
    for name, weight in module.named_parameters():
        if name.startswith("bias"):
            weight.zero_()
        elif name.startswith("weight_hh"):
            for block in torch.split(weight, module.hidden_size):
                nn.init.orthogonal_(block, generator=generator)


def _input_biases(module: nn.RNNBase) -> list[Tensor]:
    """The b_ih of each layer, to be set in place: torch adds b_ih and b_hh, and the initialisations set their sum."""
    return [weight.data for name, weight in module.named_parameters() if name.startswith("bias_ih")]


def _block(bias: Tensor, index: int, module: nn.RNNBase) -> Tensor:
    """One gate's part of a bias: LSTM blocks are input, forget, cell, output; GRU blocks reset, update, new."""
    return bias[index * module.hidden_size : (index + 1) * module.hidden_size]


def _torch_cell(name: str, module: TorchModule, gates: int, *names: str) -> Cell:
    functions = {"pytorch": keep_pytorch, "orthogonal": orthogonal, "chrono": chrono}

    def factory(input_size: int, hidden_size: int, num_layers: int) -> nn.Module:
        return TorchCell(module, input_size, hidden_size, num_layers)

    return Cell(name, factory, gates, {each: functions[each] for each in names})


CELLS: dict[str, Cell] = {
    "rnn": _torch_cell("rnn", nn.RNN, 1, "pytorch", "orthogonal"),
    "gru": _torch_cell("gru", nn.GRU, 3, "pytorch", "orthogonal", "chrono"),
    "lstm": _torch_cell("lstm", nn.LSTM, 4, "pytorch", "orthogonal", "chrono"),
}


def get_cell(name: str) -> Cell:
    """The cell of that name. Raises InputError with the nearest name where there is none."""
    if name not in CELLS:
        raise InputError("cells", expected="a known cell", got=name, remedy=nearest(name, CELLS))
    return CELLS[name]


def register_cell(cell: Cell) -> Cell:
    """Add a cell to the registry, for a plug-in. Raises InputError when the name is taken by another cell."""
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise InputError(
            "cells",
            expected="a name of its own for each cell",
            got=cell.name,
            remedy="rename the cell",
        )
    return cell


def num_parameters_of_stack(gates: int, input_size: int, hidden_size: int, num_layers: int) -> int:
    """Weights and biases of a stack: the sum over layers of G (H D + H H + 2 H), D the layer's input size."""
    first = gates * (hidden_size * input_size + hidden_size * hidden_size + 2 * hidden_size)
    later = gates * (2 * hidden_size * hidden_size + 2 * hidden_size)
    return first + (num_layers - 1) * later
