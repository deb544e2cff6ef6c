"""How the weights of a freshly built cell are set. Each function changes them in place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Initializer = Callable[[nn.Module, int, torch.Generator], None]
"""Sets the weights of a new cell in place: (cell, sequence_length of the run, generator)."""


def keep_pytorch(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`pytorch`: torch's own, U[-1/sqrt(hidden_size), 1/sqrt(hidden_size)] for all weights."""


def orthogonal(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`orthogonal`: orthogonal recurrent weights, zero biases, LSTM forget and GRU update bias 1.

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
    """`chrono`: orthogonal weights, and biases for time scales up to T, the run's sequence_length.

    LSTM: b_f = log U[1, T-1] and b_i = -b_f. GRU: update bias log U[1, T-1]; in torch a positive
    update bias means remember. Source: Tallec & Ollivier 2018.
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
    """The b_ih of each layer, to be set in place. torch adds b_ih and b_hh; b_hh is zero here."""
    return [weight.data for name, weight in module.named_parameters() if name.startswith("bias_ih")]


def _block(bias: Tensor, index: int, module: nn.RNNBase) -> Tensor:
    """One gate's part of a bias. LSTM: input, forget, cell, output. GRU: reset, update, new."""
    return bias[index * module.hidden_size : (index + 1) * module.hidden_size]
