"""harness.diagnostics.gates: openings and time scales against weights set by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.diagnostics import read_gates
from harness.tasks import get_task
from harness.training.model import ModelConfig, SequenceModel, build_model


def model_of(cell: str, hidden_size: int = 5, num_layers: int = 1) -> SequenceModel:
    """A fresh model for temporal order."""
    return build_model(ModelConfig("temporal_order", cell, hidden_size, num_layers, 50), 0)


def inputs_of(n_sequences: int, sequence_length: int) -> Tensor:
    """Inputs of temporal order."""
    generator = torch.Generator().manual_seed(0)
    return get_task("temporal_order").sample(n_sequences, sequence_length, generator).inputs


def set_biases(model: SequenceModel, biases: Tensor) -> None:
    """All weights 0, so that each gate stands where its bias puts it; `biases` of all blocks."""
    with torch.no_grad():
        for weight in model.cell.parameters():
            weight.zero_()
        dict(model.cell.named_parameters())["module.bias_ih_l0"].copy_(biases)


@pytest.mark.parametrize(("cell", "gate", "block"), [("lstm", "forget", 1), ("gru", "update", 1)])
def test_a_gate_at_099_remembers_100_steps(cell: str, gate: str, block: int) -> None:
    """A bias of log(g / (1 - g)) opens the memory gate to g, for a time scale of 1 / (1 - g)."""
    model = model_of(cell)
    openings = torch.tensor([0.5, 0.9, 0.99, 0.999, 0.2])
    biases = torch.zeros(4 if cell == "lstm" else 3, 5)
    biases[block] = torch.log(openings / (1 - openings))
    set_biases(model, biases.flatten())
    found = read_gates(model, inputs_of(3, 12))
    assert found is not None
    assert (found.memory_gate, found.n_sequences) == (gate, 3)
    (scales,) = found.time_scales
    np.testing.assert_allclose(scales.steps, [2, 10, 100, 1000, 1.25], rtol=1e-3)


def test_a_closed_gate_lets_go_at_once() -> None:
    """Time scales end at 1 step below, and stay finite for a gate that never lets go."""
    model = model_of("lstm")
    set_biases(
        model,
        torch.cat([torch.zeros(5), torch.tensor([-1e3, -1e3, 1e3, 0.0, 0.0]), torch.zeros(10)]),
    )
    found = read_gates(model, inputs_of(1, 12))
    assert found is not None
    steps = found.time_scales[0].steps
    assert steps[:2] == (1.0, 1.0)
    assert 1e15 < steps[2] < math.inf


def test_traces_are_means_and_tenths_over_units() -> None:
    """With gates at 0.0, 0.1, ...

    1.0 the mean is 0.5 and eight tenths of the units lie between 0.1 and 0.9.
    """
    model = model_of("lstm", hidden_size=11)
    openings = torch.linspace(0, 1, 11).double()
    bias = torch.log(openings / (1 - openings)).clamp(-1e3, 1e3)
    set_biases(model, torch.cat([bias, torch.zeros(33)]))
    found = read_gates(model, inputs_of(2, 12))
    assert found is not None
    assert [(trace.gate, trace.layer) for trace in found.traces] == [
        ("input", 0),
        ("forget", 0),
        ("output", 0),
    ]
    trace = found.traces[0]
    assert len(trace.mean) == len(trace.low) == len(trace.high) == 12
    np.testing.assert_allclose(trace.mean, 0.5, atol=1e-6)
    np.testing.assert_allclose(trace.low, 0.1, atol=1e-6)
    np.testing.assert_allclose(trace.high, 0.9, atol=1e-6)


def test_each_layer_has_its_own() -> None:
    """A stack of layers has a trace for each gate of each, and time scales for each."""
    found = read_gates(model_of("gru", num_layers=3), inputs_of(2, 12))
    assert found is not None
    assert {(t.gate, t.layer) for t in found.traces} == {
        (gate, layer) for gate in ("reset", "update") for layer in range(3)
    }
    assert [(each.layer, len(each.steps)) for each in found.time_scales] == [(0, 5), (1, 5), (2, 5)]


def test_a_cell_without_gates_has_none() -> None:
    """A plain RNN has no gates, and neither has a module that offers none."""
    assert read_gates(model_of("rnn"), inputs_of(1, 12)) is None
    assert read_gates(SequenceModel(nn.Identity(), 8, 4, dense=False), inputs_of(1, 12)) is None


class Gated(nn.Module):
    """A plug-in's gates: one number for all units, in the default dtype, no memory gate."""

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.shape = shape

    def gates(self, inputs: Tensor) -> dict[str, Tensor]:
        """One gate at a quarter."""
        return {"leak": torch.full(self.shape or (1, *inputs.shape[:2], 3), 0.25)}


def test_a_gate_that_is_not_the_memory_is_traced_alone() -> None:
    """Without a memory gate there are traces and no time scales."""
    found = read_gates(SequenceModel(Gated(), 3, 4, dense=False), inputs_of(2, 12))
    assert found is not None
    assert (found.memory_gate, found.time_scales) == ("", ())
    assert found.traces[0].mean == (0.25,) * 12


def test_gates_of_another_shape_are_refused() -> None:
    """What is no (num_layers, batch, steps, units) is named with what was expected."""
    model = SequenceModel(Gated((2, 12, 3)), 3, 4, dense=False)
    with pytest.raises(
        ValueError, match=r"gate 'leak' must have shape \(num_layers, 2, 12, hidden"
    ):
        read_gates(model, inputs_of(2, 12))


def test_a_diverged_model_has_unknown_gates() -> None:
    """NaN weights give NaN openings and time scales, no error."""
    model = model_of("lstm")
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    found = read_gates(model, inputs_of(1, 12))
    assert found is not None
    assert math.isnan(found.traces[0].mean[-1])
    assert math.isnan(found.traces[0].low[-1])
    assert math.isnan(found.time_scales[0].steps[0])


def test_the_model_is_left_as_it_was() -> None:
    """A look at the gates changes no weight, dtype or mode, nor torch's default dtype."""
    model = model_of("lstm")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    read_gates(model, inputs_of(1, 12))
    assert model.training
    assert torch.get_default_dtype() == torch.float32
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
