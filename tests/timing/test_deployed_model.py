"""harness.timing.deployed_model.

A model in another dtype, stepped with its state, and the bytes that it occupies.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from harness.tasks import get_task
from harness.timing import deployed_model
from harness.training.model import ModelConfig, SequenceModel, build_model


def model(cell: str = "lstm", hidden_size: int = 2, num_layers: int = 1) -> Any:
    """A small model of temporal_order, whose inputs are 8 wide and whose outputs 4."""
    return build_model(ModelConfig("temporal_order", cell, hidden_size, num_layers, 12), 0).eval()


def inputs(n_sequences: int = 1) -> Any:
    """Sequences of the task."""
    return (
        get_task("temporal_order").sample(n_sequences, 12, torch.Generator().manual_seed(0)).inputs
    )


class Averaging(nn.Module):
    """A plug-in's cell that can be stepped: a leaky average of a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(8, 2)

    def initial_state(self, batch_size: Any, like: Any) -> Any:
        """Zeros."""
        return like.new_zeros(1, batch_size, 2)

    def step(self, inputs: Any, state: Any) -> Any:
        """Half of the state and half of the map."""
        state = 0.5 * state + 0.5 * self.input(inputs)
        return state[0], state

    def forward(self, inputs: Any) -> Any:
        """The state after every step."""
        state, outputs = self.initial_state(len(inputs), inputs), []
        for i in range(inputs.shape[1]):
            output, state = self.step(inputs[:, i], state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


class Plain(nn.Module):
    """A plug-in's cell with weights of its own, which offers nothing but its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8, 2))

    def forward(self, inputs: Any) -> Any:
        """A map of every step."""
        return inputs @ self.weight


def around(cell: Any) -> Any:
    """A model around a plug-in's cell."""
    return SequenceModel(cell, 2, 4, dense=False).eval()


@pytest.mark.parametrize(
    ("dtype", "weights", "state"),
    [
        # 4 gates x 2 units x (8 inputs + 2 states + 2 biases), and a head of 2 x 4 + 4; h and c
        ("float32", (96 + 12) * 4, 2 * 2 * 4),
        ("bfloat16", (96 + 12) * 2, 2 * 2 * 2),
        # a byte for each number of the three matrices, a float32 scale for each, and the biases in
        # float32
        ("int8", (64 + 16 + 8) + 3 * 4 + (16 + 4) * 4, 2 * 2 * 4),
    ],
)
def test_bytes_of_weights_and_state(dtype: str, weights: int, state: int) -> None:
    """By hand, for an LSTM with two units."""
    converted = deployed_model.convert(model(), dtype)
    like = inputs().to(deployed_model.DTYPES[dtype])
    assert deployed_model.weights_bytes(converted) == weights
    assert deployed_model.state_bytes(deployed_model.first_state(converted, like)) == state  # type: ignore[arg-type]


def test_buffers_and_linear_parts_count() -> None:
    """A plug-in's buffers are needed too.

    Its nn.Linear becomes int8: 16 + 8 numbers, 2 scales, 2 + 4 biases, 3 doubles.
    """
    cell = Averaging()
    cell.register_buffer("constants", torch.zeros(3, dtype=torch.float64))
    assert deployed_model.weights_bytes(around(cell)) == (18 + 12) * 4 + 24
    quantized = deployed_model.convert(around(cell), "int8")
    assert deployed_model.weights_bytes(quantized) == 24 + 2 * 4 + 6 * 4 + 24


@torch.inference_mode()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "plug-in"])
def test_single_steps_are_the_whole_sequence(cell: str, dtype: str) -> None:
    """Step by step, the state carried, the outputs are those of the sequence in one call."""
    original = around(Averaging()) if cell == "plug-in" else model(cell, 6, 2)
    if deployed_model.deployment_problem(original, dtype, "step"):
        assert (cell, dtype) == ("rnn", "int8")
        return
    converted, given = (
        deployed_model.convert(original, dtype),
        inputs().to(deployed_model.DTYPES[dtype]),
    )
    whole = deployed_model.outputs_of(converted, given, "sequence")
    stepped = deployed_model.outputs_of(converted, given, "step")
    assert stepped.shape == (1, 12, 4)
    # int8 rounds its inputs by their range: a step alone has another one than the sequence
    rounding = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 5e-2}[dtype]
    assert deployed_model.relative_error(stepped, whole.double()) < rounding
    assert float((whole[:, -1] - whole[:, 0]).abs().max()) > 1e-2  # there is a state to lose


@torch.inference_mode()
def test_a_lost_state_is_told() -> None:
    """Steps that each begin with zeros are off by more than float32 allows, whatever the cell."""
    for cell in ("rnn", "gru", "lstm"):
        one = model(cell, 6)
        fresh = torch.cat([one.head(one.cell(inputs()[:, i : i + 1])) for i in range(12)], dim=1)
        error = deployed_model.relative_error(
            fresh, deployed_model.reference_outputs(one, inputs())
        )
        assert error > 100 * deployed_model.OUTPUT_TOLERANCE["float32"]


@torch.inference_mode()
def test_the_reference_of_an_rnn_is_its_recurrence() -> None:
    """A plain loop in float64: h = tanh(W x + b + U h + c), then the head."""
    one = model("rnn", 3)
    weights = {name: value.double() for name, value in one.state_dict().items()}
    w, u, b, c = (
        weights[f"cell.module.{name}_l0"]
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, outputs = torch.zeros(3, dtype=torch.float64), []
    for step in inputs()[0].double():
        state = torch.tanh(w @ step + b + u @ state + c)
        outputs.append(weights["head.weight"] @ state + weights["head.bias"])
    found = deployed_model.reference_outputs(one, inputs())[0]
    assert torch.allclose(found, torch.stack(outputs), rtol=1e-12, atol=0)


@torch.inference_mode()
def test_a_quantised_model_answers_whole_sequences() -> None:
    """The model that a user quantises can be called as before, the LSTM's two states included."""
    for cell in ("gru", "lstm"):
        answer = deployed_model.convert(model(cell), "int8")(inputs(3))
        assert answer.shape == (3, 4)
        assert torch.allclose(answer, model(cell)(inputs(3)), atol=0.05)


@pytest.mark.parametrize(
    ("built", "dtype", "measure", "reason"),
    [
        (model("rnn"), "int8", "step", "torch has no dynamic int8 nn.RNN"),
        (around(Plain()), "int8", "sequence", "and Plain has none of them"),
        (around(Plain()), "float32", "step", "Plain offers no single step"),
        (around(Plain()), "float32", "sequence", ""),
        (around(Averaging()), "int8", "step", ""),
        (model("lstm"), "int8", "step", ""),
    ],
)
def test_what_can_not_be_had_says_why(built: Any, dtype: str, measure: str, reason: str) -> None:
    """A reason in words, or nothing."""
    found = deployed_model.deployment_problem(built, dtype, measure)
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_torch_without_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without int8 in a version of torch, only int8 is missing."""
    monkeypatch.setattr(deployed_model, "_quantize_dynamic", lambda: None)
    assert "has no dynamic int8" in deployed_model.deployment_problem(model(), "int8", "step")
    assert deployed_model.deployment_problem(model(), "bfloat16", "step") == ""


def test_only_the_deprecation_is_silenced() -> None:
    """Any other warning gets through."""
    with deployed_model._deprecations_silenced():
        text = "torch.ao.quantization is deprecated and will be removed"
        warnings.warn(text, DeprecationWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another", UserWarning, stacklevel=1)
