"""What a cell's gates do on a sequence, and how long its units remember. Never trains.

A cell with gates offers `gates(inputs (B, T, D))`: each gate by name, (num_layers, B, T,
hidden_size) in [0, 1]. Its `memory_gate` names the gate that says how much of a unit's old value is
kept; 1 keeps all.

A unit whose memory gate is g loses the factor g of its value in each step. After 1 / (1 - g) steps
about a third is left (1 / e, for g near 1). That is the unit's time scale (Tallec & Ollivier 2018).
What a unit passes on through the recurrent weights is not counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.diagnostics.float64_copy import copy_of_cell, float64_by_default, in_float64
from harness.metric_definitions import time_scale
from harness.training.model import SequenceModel

BAND = (0.1, 0.9)  # quantiles over units: eight of ten units lie between


@dataclasses.dataclass(frozen=True)
class GateTrace:
    """One gate of one layer at every step: mean over units, and a band. Layer 0 is the lowest."""

    gate: str
    layer: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TimeScales:
    """The time scale 1 / (1 - g) of every unit of one layer, in steps.

    g is the mean of the unit's memory gate over steps and sequences.
    """

    layer: int
    steps: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Gates:
    """The gates of a cell: traces on the first of `n_sequences` sequences, time scales over all.

    `memory_gate` names the gate behind the time scales; "" if the cell names none, then there are
    no time scales.
    """

    memory_gate: str
    n_sequences: int
    traces: tuple[GateTrace, ...]
    time_scales: tuple[TimeScales, ...]


@torch.no_grad()
def read_gates(model: SequenceModel, inputs: Tensor) -> Gates | None:
    """The gates of a model on `inputs`, (n_sequences, sequence_length, input_size), or None.

    None for a cell without gates. The model is copied, not changed. A diverged model has NaN
    everywhere. ValueError for gates with a wrong shape or range, and for a memory gate that does
    not exist; a plug-in's cell may raise anything.
    """
    cell: Any = copy_of_cell(model)
    if not callable(getattr(cell, "gates", None)):
        return None
    with float64_by_default():
        found: Mapping[str, Tensor] = cell.gates(in_float64(inputs))
    for name, values in found.items():
        if values.dim() != 4 or values.shape[1:3] != inputs.shape[:2]:
            expected = f"(num_layers, {inputs.shape[0]}, {inputs.shape[1]}, hidden_size)"
            raise ValueError(
                f"gate {name!r} must have shape {expected} (got {tuple(values.shape)})"
            )
        if (values < 0).any() or (values > 1).any():
            worst = max(values.max().item(), -values.min().item(), key=abs)
            raise ValueError(f"gate {name!r} must have values in [0, 1] (got {worst:.3g})")
    if not found:
        return None
    memory = getattr(cell, "memory_gate", "") or ""
    if memory and memory not in found:
        raise ValueError(
            f"'memory_gate' must name one of its gates, {', '.join(found)} (got {memory!r})"
        )
    scales = found[memory].mean(dim=(1, 2)).tolist() if memory in found else []
    return Gates(
        memory if scales else "",
        len(inputs),
        tuple(
            _trace(name, layer, values[:, 0][layer])
            for name, values in found.items()
            for layer in range(len(values))
        ),
        tuple(TimeScales(i, tuple(map(time_scale, units))) for i, units in enumerate(scales)),
    )


def _trace(gate: str, layer: int, values: Tensor) -> GateTrace:
    """The trace of one gate's values (sequence_length, hidden_size)."""
    low, high = (torch.quantile(values, share, dim=1).tolist() for share in BAND)
    return GateTrace(gate, layer, tuple(values.mean(dim=1).tolist()), tuple(low), tuple(high))
