"""Where the native kernels replace torch's modules: at the shapes at which they are faster."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from harness.cells.native.faster_shapes import is_faster
from harness.cells.native.layers import DTYPE_NAMES, CellName, Kernels
from harness.cells.native.library import NativeLibrary, native_library

CELL_NAMES: dict[type[nn.Module], CellName] = {nn.RNN: "rnn", nn.GRU: "gru", nn.LSTM: "lstm"}


@dataclasses.dataclass(frozen=True)
class NativeRecurrence:
    """The kernels of one cell, as a `harness.cells.Recurrence`.

    `everywhere`: also at shapes at which torch's module is faster, to measure them.
    """

    library: NativeLibrary
    cell: CellName
    everywhere: bool = False

    def suits(self, inputs: Tensor, hidden_size: int, *, gradients: bool) -> bool:
        """Whether the kernels can run this and are faster than torch's module."""
        if inputs.device.type != "cpu" or inputs.dtype not in DTYPE_NAMES or not inputs.numel():
            return False
        kind = "train" if gradients else "infer"
        level, batch_size = self.library.level, len(inputs)
        return self.everywhere or is_faster(level, self.cell, kind, hidden_size, batch_size)

    def __call__(
        self, inputs: Tensor, weights: Sequence[tuple[Tensor, ...]], *, last_only: bool
    ) -> Tensor:
        """The last layer's states for `inputs` (batch first), from zero states."""
        kernels = Kernels(self.library, self.cell, inputs.dtype)
        return kernels.run_stack(inputs, weights, last_only=last_only)


def native_recurrence(
    module: type[nn.Module], *, everywhere: bool = False
) -> NativeRecurrence | None:
    """The native kernels of a class of torch's, or None where no library is in use."""
    library = native_library()
    return NativeRecurrence(library, CELL_NAMES[module], everywhere) if library else None
