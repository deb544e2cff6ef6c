"""The cells and their registry: recurrent stacks from explicit zero states, and their initialisations. Never trains.

A cell maps (batch_size, sequence_length, input_size) to (batch_size, sequence_length, hidden_size): the states of its last
layer. It knows no task, no head and no other cell. `Cell` is the contract of a plug-in; what its module may offer beyond its
forward pass are the protocols `Stateful` and `Gated`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.errors import InputError, nearest
from harness.parameters import KINDS, RESERVED, Choice, Fixed, Parameter, Range, parse_parameter
from harness.plugins import load_offered, offered

GROUP = "harness.cells"  # of the entry points by which an installed package offers cells

Initializer = Callable[[nn.Module, int, torch.Generator], None]
"""Sets the weights of a freshly built cell in place: (cell, sequence_length of the run, generator)."""

State = Tensor | tuple[Tensor, ...]
"""What a cell carries from one step to the next: tensors with the batch in dimension 1, as (num_layers, batch_size, hidden_size)."""

TorchModule = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]


def keep_pytorch(cell: nn.Module, sequence_length: int, generator: torch.Generator) -> None:
    """`pytorch`: as the modules come, U[-1/sqrt(hidden_size), 1/sqrt(hidden_size)] for every weight and bias."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kind of recurrent network: a name and a factory, and whatever else there is to say of it.

    `factory(input_size, hidden_size, num_layers, **hyperparameters)` builds the module. `initializations` maps each name that
    applies to the function that does it. `hyperparameters` are the cell's own, each with the space that is searched where a
    study says nothing of it: a harness.parameters Parameter, or what a study file would say, {"low": 0.0, "high": 0.5},
    [0.0, 0.5] or 0.5. What a training step costs is told by `flops(input_size, hidden_size, num_layers)`, the floating-point
    operations of one step of one sequence forward, or by `gates`, the number of hidden_size-wide blocks computed from the
    input and the state at each step (RNN 1, GRU 3, LSTM 4); with neither it is not measured. Raises InputError for
    hyperparameters that are none.
    """

    name: str
    factory: Callable[..., nn.Module]
    gates: int | None = None
    initializations: Mapping[str, Initializer] = dataclasses.field(
        default_factory=lambda: MappingProxyType({"pytorch": keep_pytorch})
    )
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )
    flops: Callable[[int, int, int], int] | None = None

    def __post_init__(self) -> None:
        # given as an author writes it, kept as parameters
        own = MappingProxyType(_parameters(self.name, self.hyperparameters))
        object.__setattr__(self, "hyperparameters", own)


def _parameters(name: str, hyperparameters: object) -> dict[str, Parameter]:
    """A cell's own hyperparameters, as parameters."""
    where, found = f"cell {name}", dict[str, Parameter]()
    if not isinstance(hyperparameters, Mapping):
        expected = "a mapping of names to what is searched"
        raise InputError(where, "hyperparameters", expected=expected, got=hyperparameters)
    for own, given in hyperparameters.items():
        if not isinstance(own, str) or not own.isidentifier() or own in {*KINDS, *RESERVED}:
            raise InputError(
                where,
                "hyperparameters",
                expected="names that Python takes and that no other hyperparameter or result has",
                got=own,
            )
        is_parameter = isinstance(given, Range | Choice | Fixed)
        key = f"hyperparameters.{own}"
        found[own] = given if is_parameter else parse_parameter(where, key, own, given, None)
    return found


@runtime_checkable
class Stateful(Protocol):
    """What a cell's module may offer, so that it can be looked into step by step: its first state, and one step."""

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        """The state before the first step, in the dtype and on the device of `like`."""
        ...

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Inputs (batch_size, input_size) and a state to the outputs (batch_size, hidden_size) and the next state."""
        ...


@runtime_checkable
class Gated(Protocol):
    """What a cell's module may offer, so that its gates can be drawn.

    `memory_gate` names the one that says how much of the state is kept: "forget" of an LSTM, "update" of torch's GRU.
    """

    memory_gate: str

    def gates(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """Each gate's values in [0, 1] on `inputs`: (num_layers, batch_size, sequence_length, hidden_size); {} without gates."""
        ...


class Recurrence(Protocol):
    """Another way to run torch's layers, of the same mathematics over the same weights, and the shapes that it suits."""

    def suits(self, batch_size: int, hidden_size: int, *, gradients: bool) -> bool:
        """Whether to take it at this shape, where gradients are asked for or not."""
        ...

    def __call__(self, inputs: Tensor, weights: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Inputs, batch first, and each layer's w_ih, w_hh, b_ih and b_hh to the last layer's states, from zero states."""
        ...


class TorchCell(nn.Module):
    """torch's own nn.RNN, nn.GRU or nn.LSTM, batch first, started from explicit zero states. It is Stateful and Gated.

    `recurrence` may stand in the place of the module's own loop, which is what runs unless somebody sets it.
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
        """Zeros (num_layers, batch_size, hidden_size): h_0, and for the LSTM (h_0, c_0); dtype and device of `like`."""
        zeros = like.new_zeros(self.module.num_layers, batch_size, self.module.hidden_size)
        return (zeros, zeros) if self.is_lstm else zeros

    def forward(self, inputs: Tensor) -> Tensor:
        """The last layer's state after every step: (batch_size, sequence_length, hidden_size)."""
        other, module = self.recurrence, self.module
        gradients = torch.is_grad_enabled()
        if other and other.suits(len(inputs), module.hidden_size, gradients=gradients):
            return other(inputs, [self._weights(layer) for layer in range(module.num_layers)])
        outputs: Tensor = self.module(inputs, self.initial_state(inputs.shape[0], inputs))[0]
        return outputs

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step through all layers with the module's own weights; the outputs are the last layer's h."""
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


BUILT_IN = frozenset(CELLS)


def get_cell(name: str) -> Cell:
    """The cell of that name, which may be one that an installed package offers.

    Raises InputError with the nearest name where there is none, and where what is offered is no cell.
    """
    if name not in CELLS and not load_offered(GROUP, name, register_cell):
        remedy = nearest(name, {*CELLS, *offered(GROUP)})
        raise InputError("cells", expected="a known cell", got=name, remedy=remedy)
    return CELLS[name]


def register_cell(cell: Cell) -> Cell:
    """Add a cell to the registry, for a plug-in. Raises InputError for what is no cell, or has the name of another one."""
    _check_cell(cell)
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise InputError(
            "cells",
            expected="a name of its own for each cell",
            got=cell.name,
            remedy="rename the cell",
        )
    return cell


def _check_cell(cell: object) -> None:
    """Refuse what cannot be built and trained: a plug-in is not checked by mypy."""
    if not isinstance(cell, Cell):
        remedy = "register_cell(Cell(name, factory))"
        raise InputError("cells", expected="a Cell", got=cell, remedy=remedy)
    parts: Mapping[str, Any] = vars(cell)
    name, gates, flops = parts["name"], parts["gates"], parts["flops"]
    if not isinstance(name, str) or not name or name in KINDS:
        expected = "a name, other than that of a hyperparameter"
        raise InputError("cells", expected=expected, got=name)
    where = f"cell {name}"
    if not callable(parts["factory"]) or isinstance(parts["factory"], nn.Module):
        expected = "a function or class (input_size, hidden_size, num_layers) that gives a module"
        raise InputError(where, "factory", expected=expected, got=parts["factory"])
    if gates is not None and (type(gates) is not int or gates < 1):
        remedy = "leave it out where it is not known"
        raise InputError(where, "gates", expected="a whole number >= 1", got=gates, remedy=remedy)
    if flops is not None and not callable(flops):
        expected = "a function (input_size, hidden_size, num_layers) that gives a number"
        raise InputError(where, "flops", expected=expected, got=flops)
    functions = parts["initializations"]
    is_named = isinstance(functions, Mapping) and functions
    if not is_named or not all(map(callable, functions.values())):
        expected = "a name and a function (cell, sequence_length, generator) for each"
        remedy = "leave them out to keep the weights as the factory sets them"
        raise InputError(where, "initializations", expected=expected, got=functions, remedy=remedy)


def num_parameters_of_stack(gates: int, input_size: int, hidden_size: int, num_layers: int) -> int:
    """Weights and biases of a stack: the sum over layers of G (H D + H H + 2 H), D the layer's input size."""
    first = gates * (hidden_size * input_size + hidden_size * hidden_size + 2 * hidden_size)
    later = gates * (2 * hidden_size * hidden_size + 2 * hidden_size)
    return first + (num_layers - 1) * later
