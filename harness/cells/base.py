"""What makes a cell: a name, a factory, and what else it may offer.

A cell maps (batch_size, sequence_length, input_size) to (batch_size, sequence_length, hidden_size):
the states of its last layer. It knows no task and no head. A plug-in makes a `Cell`. Its module may
offer more than a forward pass: the protocols `Stateful` and `Gated`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from harness.cells.initialization import Initializer, keep_pytorch
from harness.errors import InputError
from harness.hyperparameters import (
    KINDS,
    RESERVED,
    Choice,
    Fixed,
    Parameter,
    Range,
    parse_parameter,
)

State = Tensor | tuple[Tensor, ...]
"""What a cell carries from one step to the next.

Tensors with the batch in dimension 1, such as (num_layers, batch_size, hidden_size).
"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kind of recurrent network: its name, its factory, and what else it offers.

    `factory(input_size, hidden_size, num_layers, **hyperparameters)` builds the module.
    `initializations` maps a name to the function that sets the weights. `hyperparameters` are the
    cell's own, each with the space that a study searches by default: a Parameter of
    harness.hyperparameters, or the text of a study file: {"low": 0.0, "high": 0.5}, [0.0, 0.5] or
    0.5.

    The cost of a step is known from one of two: `flops(input_size, hidden_size, num_layers)` gives
    the floating-point operations of one forward step of one sequence; `gates` is the number of
    hidden_size-wide blocks that a step computes from the input and the state (RNN 1, GRU 3, LSTM
    4). Without both, the cost is not measured.

    Raises InputError for hyperparameters that are not valid.
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
    """Offered by a module that can be followed step by step: its first state, and one step."""

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        """The state before the first step, in the dtype and on the device of `like`."""
        ...

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step: returns the outputs (batch_size, hidden_size) and the next state.

        `inputs` is (batch_size, input_size).
        """
        ...


@runtime_checkable
class Gated(Protocol):
    """Offered by a module whose gates can be drawn.

    `memory_gate` names the gate that says how much of the state is kept: "forget" of an LSTM,
    "update" of torch's GRU.
    """

    memory_gate: str

    def gates(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """Each gate's values in [0, 1] on `inputs`; {} for a module without gates.

        Their shape is (num_layers, batch_size, sequence_length, hidden_size).
        """
        ...
