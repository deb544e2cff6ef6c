"""harness.diagnostics: gradient gains against autograd, closed forms and measured figures."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import diagnostics, metric_definitions
from harness.diagnostics import GradientGain, affordable, chosen_lags, gradient_gain
from harness.tasks import get_task
from harness.training.model import ModelConfig, SequenceModel, build_model

CELLS = ["rnn", "gru", "lstm"]


def model_of(
    cell: Any,
    hidden_size: int = 5,
    num_layers: int = 1,
    seed: int = 0,
    initialization: str = "pytorch",
) -> Any:
    """A fresh model for temporal order."""
    config = ModelConfig(
        "temporal_order", cell, hidden_size, num_layers, 50, initialization=initialization
    )
    return build_model(config, seed)


def inputs_of(n_sequences: Any, sequence_length: Any, seed: int = 0) -> Any:
    """Inputs of temporal order."""
    generator = torch.Generator().manual_seed(seed)
    return get_task("temporal_order").sample(n_sequences, sequence_length, generator).inputs


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_steps_are_those_of_torch(cell: str, num_layers: int) -> None:
    """Our own steps give the outputs of torch's module."""
    module = model_of(cell, num_layers=num_layers).cell.double()
    inputs = inputs_of(3, 12).double()
    torch.testing.assert_close(diagnostics.run_stack(module, inputs).outputs, module(inputs))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("initialization", ["pytorch", "orthogonal"])
def test_few_rows_have_the_gain_of_all(
    cell: str, initialization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product of Jacobians that is compressed has the gains of the whole product."""
    model = model_of(cell, 20, num_layers=2, initialization=initialization)
    compressed = gradient_gain(model, inputs_of(2, 150)).log10_gain
    monkeypatch.setattr("harness.diagnostics.gradients.COMPRESS_FROM", 10_000)
    assert compressed == pytest.approx(gradient_gain(model, inputs_of(2, 150)).log10_gain)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_gain_is_the_norm_of_autograds_jacobian(cell: str, num_layers: int) -> None:
    """Gains equal the norm of the whole stack's Jacobian, by autograd through torch's module."""
    model = model_of(cell, num_layers=num_layers)
    inputs = inputs_of(1, 12)
    found = gradient_gain(model, inputs)
    module = model.cell.module.double()
    parts = 2 if cell == "lstm" else 1

    def run(state: Any, part: Any) -> Any:
        halves = tuple(state.view(parts, num_layers, 1, 5))
        _, last = module(part, halves if parts == 2 else halves[0])
        return torch.cat([half.flatten() for half in (last if parts == 2 else [last])])

    start = torch.zeros(parts * num_layers * 5, dtype=torch.float64)
    for lag, log10_gain in zip(found.lags, found.log10_gain, strict=True):
        middle = run(start, inputs[:, : 12 - lag].double())
        later = inputs[:, 12 - lag :].double()
        jacobian = torch.autograd.functional.jacobian(lambda s, part=later: run(s, part), middle)
        assert log10_gain == pytest.approx(math.log10(torch.linalg.matrix_norm(jacobian, 2)))


# Measured for this project: hidden 64, torch's own initialisation, float64, mean of 5 seeds.
@pytest.mark.parametrize(
    ("cell", "lag", "gain"),
    [("rnn", 10, 2e-2), ("rnn", 30, 6e-7), ("lstm", 10, 2.4e-2), ("lstm", 30, 5e-6)],
)
def test_untrained_cells_agree_with_the_measured_figures(cell: str, lag: int, gain: float) -> None:
    """Gains of untrained cells of 64 units are within a factor 10 of earlier measurements."""
    gains = []
    for seed in range(5):
        found = gradient_gain(model_of(cell, 64, seed=seed), inputs_of(1, 40, seed))
        gains.append(found.log10_gain[found.lags.index(lag)])
    assert np.mean(gains) == pytest.approx(math.log10(gain), abs=1)


@pytest.mark.parametrize(("weight", "expected"), [(0.1, -1.0), (1.0, 0.0), (100.0, 2.0)])
def test_a_linear_recurrence_has_its_closed_form(weight: float, expected: float) -> None:
    """With zero input, tanh is at its slope 1.

    The gain at lag k is weight ** k, far beyond any float.
    """
    model = model_of("rnn", 3)
    with torch.no_grad():
        for parameter in model.cell.parameters():
            parameter.zero_()
        model.cell.module.weight_hh_l0.copy_(weight * torch.eye(3))
    found = gradient_gain(model, torch.zeros(2, 1500, 8))
    assert found.lags[-1] == 1499
    # float32 weights: 0.1 is not exactly 0.1, which 1,499 steps multiply.
    np.testing.assert_allclose(
        found.log10_gain, expected * np.array(found.lags), rtol=1e-6, atol=1e-9
    )


def test_orthogonal_weights_keep_more_than_the_default() -> None:
    """What the initialisation changes shows in the gain."""
    inputs = inputs_of(2, 50)
    default = gradient_gain(model_of("rnn", 16), inputs)
    orthogonal = gradient_gain(model_of("rnn", 16, initialization="orthogonal"), inputs)
    assert orthogonal.log10_gain[-1] > default.log10_gain[-1] + 3


def test_the_gain_is_the_mean_of_the_sequences() -> None:
    """Of several sequences the logarithms are averaged."""
    model, inputs = model_of("gru"), inputs_of(2, 15)
    both = gradient_gain(model, inputs)
    each = [gradient_gain(model, inputs[i : i + 1]).log10_gain for i in range(2)]
    np.testing.assert_allclose(both.log10_gain, np.mean(each, axis=0))
    assert both.n_sequences == 2


def test_the_model_is_left_as_it_was() -> None:
    """A look at the gradients changes no weight, dtype or mode."""
    model = model_of("lstm")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    gradient_gain(model, inputs_of(1, 12))
    assert model.training
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_a_diverged_model_has_unknown_gains(cell: str) -> None:
    """NaN weights give NaN gains, no error and no number."""
    model = model_of(cell)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    found = gradient_gain(model, inputs_of(1, 12))
    assert all(math.isnan(gain) for gain in found.log10_gain)
    assert found.decay_per_step() is None
    assert found.lag_below() is None


def test_a_saturated_cell_has_no_gain_at_all() -> None:
    """Where no gradient passes at all the gain is 0, which is below any threshold."""
    model = model_of("rnn")
    with torch.no_grad():
        model.cell.module.bias_ih_l0.fill_(1e3)
    found = gradient_gain(model, inputs_of(1, 12))
    assert set(found.log10_gain) == {-math.inf}
    assert found.lag_below() == 1


class Plugged(nn.Module):
    """A stateless look at what a plug-in is: a leaky sum h' = 0.5 h + W x."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(8, 4, bias=False)

    def forward(self, inputs: Any) -> Any:
        state, states = torch.zeros_like(self.inward(inputs[:, 0])), []
        for step in range(inputs.shape[1]):
            state = 0.5 * state + self.inward(inputs[:, step])
            states.append(state)
        return torch.stack(states, dim=1)


def test_a_cell_without_states_is_read_by_its_inputs() -> None:
    """The gain of a leaky sum is 0.5 ** k times the norm of its input weights."""
    cell = Plugged()
    model = SequenceModel(cell, 4, 4, dense=False)
    found = gradient_gain(model, inputs_of(2, 40))
    weight = cell.inward.weight.detach().double()
    start = math.log10(torch.linalg.matrix_norm(weight, 2))
    expected = start + np.array(found.lags) * math.log10(0.5)
    assert found.of == "output"
    np.testing.assert_allclose(found.log10_gain, expected)
    assert found.decay_per_step() == pytest.approx(0.5)


def test_one_step_is_too_short() -> None:
    """A sequence of one step has no lag."""
    with pytest.raises(ValueError, match="'inputs' must have at least 2 steps"):
        gradient_gain(model_of("rnn"), torch.zeros(1, 1, 8))


@pytest.mark.parametrize("sequence_length", [2, 12, 100, 1000])
def test_the_lags_ascend_and_hold_the_marks(sequence_length: int) -> None:
    """Lags run from 1 to T - 1, each once, with 10, 30, 100 among them."""
    lags = chosen_lags(sequence_length)
    assert list(lags) == sorted(set(lags))
    assert (lags[0], lags[-1]) == (1, sequence_length - 1)
    assert {10, 30, 100} & set(range(sequence_length)) <= set(lags)


def test_decay_and_threshold_by_hand() -> None:
    """The decay is the fitted slope; the threshold's lag is where the gain stays under it."""
    gain = GradientGain("state", (1, 2, 3, 4), (-2.0, -4.0, -2.5, -8.0), 1)
    assert gain.lag_below(1e-3) == 4
    assert gain.lag_below(1e-9) is None
    straight = dataclasses.replace(gain, log10_gain=(-1.0, -2.0, -math.inf, -4.0))
    assert straight.decay_per_step() == pytest.approx(0.1)
    assert straight.lag_below(metric_definitions.FLOAT32_RESOLUTION) is None


@pytest.mark.alone
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_fast(cell: str) -> None:
    """32 units and 200 steps take less than a second."""
    model, inputs = model_of(cell, 32), inputs_of(1, 200)
    start = time.monotonic()
    gradient_gain(model, inputs)
    assert time.monotonic() - start < 1


# --- Cells of a plug-in -------------------------------------------------------------------------


class Stepping(nn.Module):
    """Another's cell in other clothes.

    It is no TorchCell, so that its steps are differentiated by autograd.
    """

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def initial_state(self, batch_size: Any, like: Any) -> Any:
        """That of the cell."""
        return self.cell.initial_state(batch_size, like)

    def step(self, inputs: Any, state: Any) -> Any:
        """That of the cell."""
        return self.cell.step(inputs, state)

    def forward(self, inputs: Any) -> Any:
        """That of the cell."""
        return self.cell(inputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_autograd_agrees_with_the_closed_forms(cell: str, num_layers: int) -> None:
    """A cell that offers its steps has the gains that the closed forms of the same cell give."""
    model, inputs = model_of(cell, num_layers=num_layers), inputs_of(2, 60)
    expected = gradient_gain(model, inputs)
    model.cell = Stepping(model.cell)
    found = gradient_gain(model, inputs)
    assert (found.of, found.lags) == ("state", expected.lags)
    np.testing.assert_allclose(found.log10_gain, expected.log10_gain, rtol=1e-9)


class Rotation(nn.Module):
    """A state of two parts of different shapes.

    `turned` grows by a factor and is turned, `count` forgets everything.
    """

    def __init__(self, factor: Any, shape: Any = (1, 2)) -> None:
        super().__init__()
        self.factor, self.shape = factor, shape
        self.register_buffer("turn", torch.tensor([[0.0, -1.0], [1.0, 0.0]]))

    def initial_state(self, batch_size: Any, like: Any) -> Any:
        """Ones and zeros; the type is left to torch."""
        layers, size = self.shape
        return torch.ones(layers, batch_size, size), torch.zeros(1, batch_size, 3)

    def step(self, inputs: Any, state: Any) -> Any:
        """Turn and scale; count anew."""
        turned = self.factor * state[0] @ self.turn
        return turned[0], (turned, torch.ones(1, len(inputs), 3))


@pytest.mark.parametrize("factor", [1e-3, 1.0, 7.0])
def test_a_state_of_parts_has_its_closed_form(factor: float) -> None:
    """A rotation keeps lengths, so the gain of its multiple is factor ** k.

    Far beyond any float.
    """
    model = SequenceModel(Rotation(factor), 2, 4, dense=False)
    found = gradient_gain(model, torch.zeros(2, 400, 8))
    # the factor is a Python number: exact
    expected = np.array(found.lags) * math.log10(factor)
    np.testing.assert_allclose(found.log10_gain, expected, atol=1e-9)


class Forgetful(Rotation):
    """A step that starts anew each time."""

    def step(self, inputs: Any, state: Any) -> Any:
        """Nothing of the old state."""
        return inputs[:, :2], self.initial_state(len(inputs), inputs)


def test_a_step_that_keeps_nothing_has_no_gain() -> None:
    """Where the new state holds nothing of the old one, the gain is 0."""
    found = gradient_gain(SequenceModel(Forgetful(1.0), 2, 4, dense=False), torch.zeros(1, 20, 8))
    assert set(found.log10_gain) == {-math.inf}


def test_by_inputs_small_gains_are_told_far_below_float64() -> None:
    """A leaky sum of 0.5 keeps 1e-421 of an input over 1,400 steps, below float64's range."""
    cell = Plugged()
    found = gradient_gain(SequenceModel(cell, 4, 4, dense=False), inputs_of(1, 1400))
    weight = cell.inward.weight.detach().double()
    start = math.log10(torch.linalg.matrix_norm(weight, 2))
    np.testing.assert_allclose(found.log10_gain, start + np.array(found.lags) * math.log10(0.5))


# --- Bounded work -------------------------------------------------------------------------------


def test_small_states_are_followed_to_the_end() -> None:
    """32 units over 200 steps, two layers: all sequences, all lags."""
    assert affordable(4, 200, 128) == (4, chosen_lags(200))


def test_large_states_are_followed_less_far() -> None:
    """First fewer sequences, then nearer lags, never none.

    The counted work stays within its bound.
    """
    n_sequences, lags = affordable(4, 600, 512)
    assert n_sequences == 1
    assert 100 < lags[-1] < 599
    assert lags == chosen_lags(600)[: len(lags)]
    assert affordable(4, 600, 100_000) == (1, (1,))


def test_a_state_too_large_is_read_by_inputs() -> None:
    """A state that fits for only a few steps is replaced by outputs and inputs."""
    model = SequenceModel(Huge(), 3, 4, dense=False)
    found = gradient_gain(model, inputs_of(2, 40))
    assert found.of == "output"
    assert found.lags[-1] == 39


class Huge(Plugged):
    """A state of 5,000 numbers behind the outputs of a leaky sum."""

    def initial_state(self, batch_size: Any, like: Any) -> Any:
        """Zeros."""
        return like.new_zeros(1, batch_size, 5000)

    def step(self, inputs: Any, state: Any) -> None:
        """Never called."""
        raise AssertionError


@pytest.mark.nightly
@pytest.mark.alone
def test_a_large_cell_takes_seconds() -> None:
    """LSTM, 128 units, 600 steps: its gain takes less than 20 s."""
    model, inputs = model_of("lstm", 128), inputs_of(4, 600)
    start = time.monotonic()
    found = gradient_gain(model, inputs)
    assert time.monotonic() - start < 20
    assert found.lags[-1] == 599
