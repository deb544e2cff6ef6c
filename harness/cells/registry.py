"""The cells that studies may name, and how plug-ins add theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from harness.cells.base import Cell
from harness.cells.initialization import chrono, keep_pytorch, orthogonal
from harness.cells.torch_cells import TorchCell, TorchModule
from harness.errors import InputError, nearest
from harness.hyperparameters import KINDS
from harness.plugins import load_offered, offered

CELL_ENTRY_POINTS = (
    "harness.cells"  # of the entry points by which an installed package offers cells
)


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


BUILT_IN_CELLS = frozenset(CELLS)


def get_cell(name: str) -> Cell:
    """The cell of that name, also one that an installed package offers.

    Raises InputError with the nearest name if there is none, or if what is offered is no cell.
    """
    if name not in CELLS and not load_offered(CELL_ENTRY_POINTS, name, register_cell):
        remedy = nearest(name, {*CELLS, *offered(CELL_ENTRY_POINTS)})
        raise InputError("cells", expected="a known cell", got=name, remedy=remedy)
    return CELLS[name]


def register_cell(cell: Cell) -> Cell:
    """Add a cell to the registry, for a plug-in.

    Raises InputError for what is no cell, and for the name of another cell.
    """
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
    """Refuse what cannot be built and trained; mypy does not check a plug-in."""
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
