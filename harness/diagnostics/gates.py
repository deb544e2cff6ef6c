"""What a cell's gates do on a sequence, and how long its units remember. Never trains, never draws.

A cell that has gates offers `gates(inputs (B, T, D))`, which gives each by name as (num_layers, B, T, hidden_size) in
[0, 1], and `memory_gate`, the name of the one that says how much of a unit's old value is kept: 1 keeps all.

A value in a unit whose memory gate stands at g fades by the factor g a step: after 1 / (1 - g) steps about a third of it
(1 / e, for g near 1) is left. That is the unit's time scale (Tallec & Ollivier 2018). What a unit passes on through the
recurrent weights comes on top of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.diagnostics.looking import copy_of_cell, float64_by_default, in_float64
from harness.metrics import time_scale
from harness.models import SequenceModel

BAND = (0.1, 0.9)  # quantiles over units: eight of ten units lie between


@dataclasses.dataclass(frozen=True)
class GateTrace:
    """One gate of one layer (0: nearest to the inputs) at every step: its mean over units, and the band of them."""

    gate: str
    layer: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TimeScales:
    """1 / (1 - g) of every unit of one layer, in steps, g the mean of its memory gate over steps and sequences."""

    gate: str
    layer: int
    steps: tuple[float, ...]
    n_sequences: int


def offers_gates(model: SequenceModel) -> bool:
    """Whether the model's cell has gates that can be read, in its present shape."""
    return callable(getattr(model.cell, "gates", None))


def memory_gate(model: SequenceModel) -> str | None:
    """The name of the gate that keeps the old value; None where the cell names none."""
    name = getattr(model.cell, "memory_gate", None)
    return None if name is None else str(name)


def gate_traces(model: SequenceModel, inputs: Tensor) -> tuple[GateTrace, ...]:
    """Each gate of each layer on the first of `inputs` (n_sequences, sequence_length, input_size).

    A diverged model has NaN traces. None where the cell has no gates (an RNN); a plug-in's cell may raise anything.
    """
    return tuple(
        GateTrace(
            gate,
            layer,
            tuple(values.mean(dim=1).tolist()),
            *(tuple(torch.nanquantile(values, share, dim=1).tolist()) for share in BAND),
        )
        for gate, layers in _read(model, inputs[:1]).items()
        for layer, values in enumerate(layers[:, 0])
    )


def time_scales(model: SequenceModel, inputs: Tensor) -> tuple[TimeScales, ...]:
    """The time scales of each layer's units on `inputs`; none where the cell names no memory gate."""
    gates, name = _read(model, inputs), memory_gate(model)
    if name is None or name not in gates:
        return ()
    return tuple(
        TimeScales(
            name, layer, tuple(map(time_scale, values.mean(dim=(0, 1)).tolist())), len(inputs)
        )
        for layer, values in enumerate(gates[name])
    )


@torch.no_grad()
def _read(model: SequenceModel, inputs: Tensor) -> Mapping[str, Tensor]:
    """The gates by name; empty where the cell has none. Raises ValueError for shapes that are not those of gates."""
    if not offers_gates(model):
        return {}
    cell: Any = copy_of_cell(model)
    with float64_by_default():
        gates: Mapping[str, Tensor] = cell.gates(in_float64(inputs))
    for name, values in gates.items():
        if values.dim() != 4 or values.shape[1:3] != inputs.shape[:2]:
            expected = f"(num_layers, {inputs.shape[0]}, {inputs.shape[1]}, hidden_size)"
            raise ValueError(
                f"gate {name!r} must have shape {expected} (got {tuple(values.shape)})"
            )
    return gates
