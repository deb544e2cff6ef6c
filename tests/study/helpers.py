"""A plug-in with helper processes: one started by the import, and one that each trial starts.

A trial's helper is left to the system as an orphan, as `sh -c "... &"` does, and is still needed.
"""

from __future__ import annotations

import os
import subprocess
import time

from torch import Tensor, nn

from harness.cells import Cell, keep_pytorch, register_cell

nothing = subprocess.DEVNULL
at_import = subprocess.Popen(["sleep", "600"], stdin=nothing, stdout=nothing, stderr=nothing)


class HelpedCell(nn.Module):
    """nn.RNN that fails where a helper is gone."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, *, pause_s: float
    ) -> None:
        super().__init__()
        self.module = nn.RNN(input_size, hidden_size, num_layers, batch_first=True)
        self.pause_s, self.helper = pause_s, 0

    def forward(self, inputs: Tensor) -> Tensor:
        """The states of nn.RNN, after a look at the helpers."""
        if not self.helper:
            command = "sleep 600 >/dev/null 2>&1 & echo $!"
            self.helper = int(subprocess.check_output(["sh", "-c", command]))
            time.sleep(self.pause_s)
        os.kill(self.helper, 0)
        os.kill(at_import.pid, 0)
        states: Tensor = self.module(inputs)[0]
        return states


register_cell(Cell("helped", HelpedCell, 1, {"pytorch": keep_pytorch}, {"pause_s": 0.0}))
