"""The cells and their registry.

Recurrent stacks from explicit zero states, and their initialisations. Never trains.

base.py             what makes a cell, and what its module may offer
registry.py         the cells that studies may name; plug-ins add theirs here
torch_cells.py      torch's own RNN, GRU and LSTM
initialization.py   how weights are set before training
fast_recurrence.py  RNN and GRU with gradients written out, faster than torch's at small sizes
"""

from harness.cells.base import Cell, Gated, State, Stateful
from harness.cells.initialization import Initializer, chrono, keep_pytorch, orthogonal
from harness.cells.registry import BUILT_IN_CELLS, CELL_ENTRY_POINTS, CELLS, get_cell, register_cell
from harness.cells.torch_cells import Recurrence, TorchCell, num_parameters_of_stack

__all__ = [
    "BUILT_IN_CELLS",
    "CELLS",
    "CELL_ENTRY_POINTS",
    "Cell",
    "Gated",
    "Initializer",
    "Recurrence",
    "State",
    "Stateful",
    "TorchCell",
    "chrono",
    "get_cell",
    "keep_pytorch",
    "num_parameters_of_stack",
    "orthogonal",
    "register_cell",
]
