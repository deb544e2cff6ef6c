"""The contract of a cell: every cell of the registry inherits these tests.

And the initialisations of torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from harness import cells
from harness.cells import (
    CELLS,
    Cell,
    Gated,
    TorchCell,
    get_cell,
    num_parameters_of_stack,
    register_cell,
)
from harness.errors import InputError
from harness.hyperparameters import Choice, Fixed, Range

Array = np.ndarray[Any, np.dtype[np.float64]]
Gates = list[dict[str, Array]]
INPUT_SIZE, HIDDEN_SIZE = 3, 5
GATED = {"lstm": 4, "gru": 3}


# ----------------------------------------------------- the cells as ten-line recurrences in float64


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def rnn(w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, inputs: Array, gates: Gates) -> Array:
    """h' = tanh(W x + b + U h + c), from h = 0 (Elman 1990)."""
    h, states = np.zeros(w_hh.shape[1]), []
    for x in inputs:
        h = np.tanh(w_ih @ x + b_ih + w_hh @ h + b_hh)
        states.append(h)
    return np.array(states)


def gru(w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, inputs: Array, gates: Gates) -> Array:
    """Reset r, update z, new n; h' = (1 - z) n + z h, with r outside of U h + c, as in torch."""
    h, states = np.zeros(w_hh.shape[1]), []
    for x in inputs:
        ir, iz, i_n = np.split(w_ih @ x + b_ih, 3)
        hr, hz, hn = np.split(w_hh @ h + b_hh, 3)
        r, z = sigmoid(ir + hr), sigmoid(iz + hz)
        h = (1 - z) * np.tanh(i_n + r * hn) + z * h
        states.append(h)
        gates.append({"reset": r, "update": z})
    return np.array(states)


def lstm(w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, inputs: Array, gates: Gates) -> Array:
    """Input i, forget f, cell g, output o; c' = f c + i g, h' = o tanh c' (Gers et al. 2000)."""
    h, c, states = np.zeros(w_hh.shape[1]), np.zeros(w_hh.shape[1]), []
    for x in inputs:
        ai, af, ag, ao = np.split(w_ih @ x + b_ih + w_hh @ h + b_hh, 4)
        i, f, o = sigmoid(ai), sigmoid(af), sigmoid(ao)
        c = f * c + i * np.tanh(ag)
        h = o * np.tanh(c)
        states.append(h)
        gates.append({"input": i, "forget": f, "output": o})
    return np.array(states)


LAYERS = {"rnn": rnn, "gru": gru, "lstm": lstm}


def recurrence(name: str, stack: nn.Module, inputs: Tensor) -> Tensor:
    """The last layer's states for each sequence of a batch, one layer after the other."""
    return recurrence_with_gates(name, stack, inputs)[0]


def recurrence_with_gates(
    name: str, stack: nn.Module, inputs: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The last layer's states, and each gate (num_layers, batch_size, steps, hidden_size)."""
    weights = {key: value.detach().double().numpy() for key, value in stack.named_parameters()}
    layers = len(weights) // 4
    rows, opened = [], np.empty((layers, *inputs.shape[:2]), dtype=object)
    for place, row in enumerate(inputs.double().numpy()):
        states = row
        for layer in range(layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            own = [weights[f"module.{key}_l{layer}"] for key in names]
            gates: Gates = []
            states = LAYERS[name](*own, states, gates)  # type: ignore[arg-type, call-arg]
            opened[layer, place] = gates or [{}] * len(row)
        rows.append(states)
    found = {
        gate: torch.from_numpy(np.array([[[s[gate] for s in b] for b in a] for a in opened]))
        for gate in opened[0, 0, 0]
    }
    return torch.from_numpy(np.array(rows)), found


def build(
    name: str, num_layers: int = 1, dtype: torch.dtype = torch.float64, *, scale: float = 0.8
) -> nn.Module:
    """A cell with weights of N(0, scale^2): large enough that every gate opens and closes."""
    stack = get_cell(name).factory(INPUT_SIZE, HIDDEN_SIZE, num_layers)
    generator = torch.Generator().manual_seed(7)
    for weight in stack.parameters():
        weight.data.normal_(0.0, scale, generator=generator)
    return stack.to(dtype)


def draw(batch_size: int, sequence_length: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs of N(0, 1)."""
    shape = (batch_size, sequence_length, INPUT_SIZE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


NAMES = list(CELLS)
EVERY = pytest.mark.parametrize("name", NAMES)
DEPTHS = pytest.mark.parametrize("num_layers", [1, 2, 3])
INITIALIZED = pytest.mark.parametrize(
    ("name", "initialization"),
    [(name, each) for name, cell in CELLS.items() for each in cell.initializations],
)


# -------------------------------------------------------------------------------------- contract


def test_every_cell_has_its_recurrence() -> None:
    """A cell that joins the registry brings its equations."""
    assert set(LAYERS) == set(NAMES)


@EVERY
@DEPTHS
def test_a_cell_computes_its_equations(name: str, num_layers: int) -> None:
    """States equal the plain recurrence in float64, at every step, sequence and depth."""
    stack, inputs = build(name, num_layers), draw(3, 9)
    states = stack(inputs)
    assert states.shape == (3, 9, HIDDEN_SIZE)
    assert torch.allclose(states, recurrence(name, stack, inputs), rtol=0, atol=1e-12)


@EVERY
@DEPTHS
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_a_cell_in_float32(name: str, num_layers: int, training: bool) -> None:
    """In single precision too, on torch's training path and on its inference path."""
    stack, inputs = build(name, num_layers, torch.float32), draw(3, 9, torch.float32)
    with torch.inference_mode(not training):
        states = stack(inputs)
    assert states.dtype == torch.float32
    expected = recurrence(name, stack, inputs)
    assert torch.allclose(states.detach().double(), expected, rtol=0, atol=2e-5)


@EVERY
@DEPTHS
def test_no_state_depends_on_a_later_input(name: str, num_layers: int) -> None:
    """Other inputs from one step on change that step's state and no earlier one."""
    stack, inputs = build(name, num_layers), draw(2, 9)
    states = stack(inputs)
    for step in range(9):
        other = inputs.clone()
        other[:, step:] = draw(2, 20)[:, 11 + step :]
        changed = stack(other)
        assert torch.equal(changed[:, :step], states[:, :step])
        assert (changed[:, step] != states[:, step]).all()


@EVERY
@DEPTHS
def test_every_state_depends_on_the_first_input(name: str, num_layers: int) -> None:
    """What happened at the first step reaches the last one."""
    stack, inputs = build(name, num_layers), draw(2, 9).requires_grad_()
    (gradient,) = torch.autograd.grad(stack(inputs)[:, -1].sum(), inputs)
    assert (gradient[:, 0].abs() > 0).all()


@EVERY
def test_sequences_of_a_batch_are_strangers(name: str) -> None:
    """A sequence's states depend neither on the rest of the batch nor on earlier calls."""
    stack, inputs = build(name, 2), draw(4, 9)
    together = stack(inputs)
    for row in (3, 0, 2):
        assert torch.allclose(stack(inputs[row : row + 1])[0], together[row], rtol=0, atol=1e-12)


@EVERY
def test_gradients_are_right(name: str) -> None:
    """Derivatives by inputs and weights equal central differences, through two layers."""
    stack = build(name, 2)
    names = [key for key, _ in stack.named_parameters()]

    def states(inputs: Tensor, *weights: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(
            stack, dict(zip(names, weights, strict=True)), inputs
        )
        return found

    arguments = [draw(2, 4), *(weight.detach().clone() for weight in stack.parameters())]
    assert torch.autograd.gradcheck(states, [each.requires_grad_() for each in arguments])


@EVERY
@given(input_size=st.integers(1, 40), hidden_size=st.integers(1, 40), num_layers=st.integers(1, 4))
@settings(max_examples=15)
def test_number_of_parameters(
    name: str, input_size: int, hidden_size: int, num_layers: int
) -> None:
    """G (H D + H H + 2 H) for each layer, D the size of its input, and G the cell's gates."""
    cell = get_cell(name)
    assert cell.gates is not None
    stack = cell.factory(input_size, hidden_size, num_layers)
    by_hand = sum(
        cell.gates * (hidden_size * size + hidden_size**2 + 2 * hidden_size)
        for size in [input_size] + [hidden_size] * (num_layers - 1)
    )
    assert sum(weight.numel() for weight in stack.parameters()) == by_hand
    assert num_parameters_of_stack(cell.gates, input_size, hidden_size, num_layers) == by_hand


@INITIALIZED
def test_an_initialisation_is_reproducible(name: str, initialization: str) -> None:
    """The same generator gives the same finite weights; torch's global generator is not used."""
    found: list[Any] = []
    for seed in (0, 0, 1):
        stack = build(name, 2, torch.float32)
        torch.manual_seed(len(found))
        before = torch.get_rng_state()
        initialize = get_cell(name).initializations[initialization]
        initialize(stack, 50, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
        found.append([weight.detach().clone() for weight in stack.parameters()])
        assert all(weight.isfinite().all() for weight in found[-1])
        assert all(weight.requires_grad for weight in stack.parameters())
    assert all(map(torch.equal, found[0], found[1]))
    if initialization != "pytorch":
        assert not all(map(torch.equal, found[0], found[2]))


@INITIALIZED
def test_an_initialised_cell_computes_its_equations(name: str, initialization: str) -> None:
    """Whatever an initialisation sets, the cell stays the cell."""
    stack = get_cell(name).factory(INPUT_SIZE, HIDDEN_SIZE, 2)
    get_cell(name).initializations[initialization](stack, 50, torch.Generator().manual_seed(0))
    expected = recurrence(name, stack, draw(2, 9))
    assert torch.allclose(stack.double()(draw(2, 9)), expected, rtol=0, atol=1e-12)


# ----------------------------------------------------------------------------------- torch's cells


@EVERY
def test_the_states_start_at_explicit_zeros(name: str) -> None:
    """h_0, and for the LSTM c_0 too, are given as zeros, in the inputs' type.

    The result is torch's own default.
    """
    stack, inputs = build(name, 2), draw(3, 4)
    assert isinstance(stack, TorchCell)
    given_states: list[Any] = []
    stack.module.register_forward_pre_hook(lambda _, arguments: given_states.append(arguments[1:]))
    states = stack(inputs)
    ((state,),) = given_states
    tensors = state if name == "lstm" else (state,)
    assert len(tensors) == (2 if name == "lstm" else 1)
    for each in tensors:
        assert each.shape == (2, 3, HIDDEN_SIZE)
        assert each.dtype == torch.float64
        assert not each.any()
    assert torch.equal(states, stack.module(inputs)[0])


@EVERY
@DEPTHS
def test_the_last_state_is_that_of_the_last_layer(name: str, num_layers: int) -> None:
    """The last step's state is h_n of the last layer: h_n[0] is the first layer's."""
    stack, inputs = build(name, num_layers), draw(3, 6)
    assert isinstance(stack, TorchCell)
    state = stack.module(inputs)[1]
    h_n = state[0] if name == "lstm" else state
    assert torch.equal(stack(inputs)[:, -1], h_n[-1])
    assert torch.equal(stack(inputs)[:, -1], h_n[0]) == (num_layers == 1)


@EVERY
@DEPTHS
def test_step_by_step_is_forward(name: str, num_layers: int) -> None:
    """Single steps from the initial state give the forward pass, to the last digits of float64."""
    stack, inputs = build(name, num_layers), draw(3, 9)
    assert isinstance(stack, TorchCell)
    state, outputs = stack.initial_state(3, inputs), []
    for step in range(9):
        output, state = stack.step(inputs[:, step], state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs, dim=1), stack(inputs), rtol=0, atol=1e-12)
    last = stack.module(inputs)[1]
    parts = zip(*((each if name == "lstm" else (each,)) for each in (state, last)), strict=True)
    for mine, theirs in parts:
        assert mine.shape == (num_layers, 3, HIDDEN_SIZE)
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


@EVERY
def test_a_step_goes_on_from_any_state(name: str) -> None:
    """A state that the forward pass never had is taken as it is.

    A step is that of torch's module from there.
    """
    stack, inputs = build(name, 2), draw(3, 1)
    generator = torch.Generator().manual_seed(5)
    parts = [
        torch.randn(2, 3, HIDDEN_SIZE, generator=generator, dtype=torch.float64) for _ in range(2)
    ]
    state = (parts[0], parts[1]) if name == "lstm" else parts[0]
    output, moved = stack.step(inputs[:, 0], state)  # type: ignore[operator]
    expected, after = stack.module(inputs, state)  # type: ignore[operator]
    assert torch.allclose(output, expected[:, 0], rtol=0, atol=1e-12)
    pairs = zip(moved, after, strict=True) if name == "lstm" else [(moved, after)]
    assert all(torch.allclose(mine, theirs, rtol=0, atol=1e-12) for mine, theirs in pairs)


@EVERY
@DEPTHS
def test_gates_are_those_of_the_equations(name: str, num_layers: int) -> None:
    """Every gate of every layer and step equals the plain recurrence's."""
    stack, inputs = build(name, num_layers), draw(3, 9)
    assert isinstance(stack, Gated)
    found, (_, expected) = stack.gates(inputs), recurrence_with_gates(name, stack, inputs)
    assert list(found) == list(expected)
    for gate, values in found.items():
        assert values.shape == (num_layers, 3, 9, HIDDEN_SIZE)
        assert torch.allclose(values, expected[gate], rtol=0, atol=1e-12)
    assert stack.memory_gate == {"rnn": "", "gru": "update", "lstm": "forget"}[name]
    assert stack.memory_gate in {*found, ""}


def initialized(
    name: str, initialization: str, sequence_length: int = 50, hidden_size: int = 16, seed: int = 0
) -> nn.RNNBase:
    """torch's module of two layers after an initialisation."""
    stack = get_cell(name).factory(INPUT_SIZE, hidden_size, 2)
    initialize = get_cell(name).initializations[initialization]
    initialize(stack, sequence_length, torch.Generator().manual_seed(seed))
    module = stack.module
    assert isinstance(module, nn.RNNBase)
    return module


def summed_biases(module: nn.RNNBase, layer: int) -> tuple[Tensor, ...]:
    """What a layer's gates are biased by: b_ih + b_hh, gate by gate."""
    total = getattr(module, f"bias_ih_l{layer}") + getattr(module, f"bias_hh_l{layer}")
    return torch.split(total.detach(), module.hidden_size)


@EVERY
def test_pytorch_changes_nothing(name: str) -> None:
    """`pytorch` leaves U[-1/sqrt(H), 1/sqrt(H)], as the modules come."""
    torch.manual_seed(4)
    expected = CELLS[name].factory(INPUT_SIZE, 16, 2).state_dict()
    torch.manual_seed(4)
    module = initialized(name, "pytorch")
    assert all(torch.equal(module.state_dict()[key[7:]], each) for key, each in expected.items())
    assert 0.24 < max(weight.abs().max().item() for weight in module.parameters()) <= 0.25


@pytest.mark.parametrize(
    ("name", "initialization"),
    [(name, each) for name in NAMES for each in ("orthogonal", "chrono") if name != "rnn"]
    + [("rnn", "orthogonal")],
)
def test_recurrent_weights_are_orthogonal(name: str, initialization: str) -> None:
    """Each gate's block of each layer is orthogonal, and no two blocks are the same."""
    torch.manual_seed(4)
    before = CELLS[name].factory(INPUT_SIZE, 16, 2).module
    torch.manual_seed(4)
    module = initialized(name, initialization)
    blocks: list[Any] = []
    for layer in range(2):
        blocks += torch.split(getattr(module, f"weight_hh_l{layer}").detach().double(), 16)
        inputs = f"weight_ih_l{layer}"
        assert torch.equal(getattr(module, inputs), getattr(before, inputs))
    assert len(blocks) == 2 * (CELLS[name].gates or 0)
    for i, block in enumerate(blocks):
        assert torch.allclose(block @ block.T, torch.eye(16).double(), atol=1e-5)
        assert not any(torch.allclose(block, other, atol=0.1) for other in blocks[:i])


@pytest.mark.parametrize(
    ("name", "expected"), [("rnn", [0]), ("gru", [0, 1, 0]), ("lstm", [0, 1, 0, 0])]
)
def test_orthogonal_biases(name: str, expected: list[float]) -> None:
    """The sum of both biases is 0, but 1 for the LSTM's forget and the GRU's update gate."""
    module = initialized(name, "orthogonal")
    for layer in range(2):
        for block, value in zip(summed_biases(module, layer), expected, strict=True):
            assert torch.equal(block, torch.full((16,), float(value)))


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("sequence_length", [2, 3, 50, 1_000])
def test_chrono_biases(name: str, sequence_length: int) -> None:
    """The memory gate's bias is log U[1, T-1], the LSTM's input gate its negative, others 0."""
    spans = []
    for seed in range(20):
        module = initialized(name, "chrono", sequence_length, seed=seed)
        for layer in range(2):
            blocks = summed_biases(module, layer)
            spans.append(blocks[1].exp())
            if name == "lstm":
                assert torch.equal(blocks[0], -blocks[1])
            others = blocks[2:] if name == "lstm" else (blocks[0], blocks[2])
            assert not any(block.any() for block in others)
    drawn = torch.cat(spans).double().numpy()
    assert drawn.min() > 1 - 1e-6
    assert drawn.max() < (sequence_length - 1) * (1 + 1e-5)
    if sequence_length == 2:
        assert np.allclose(drawn, 1)
    else:
        uniform = stats.uniform(1, sequence_length - 2)
        assert stats.kstest(drawn, uniform.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_chrono_of_the_shortest_sequence(name: str) -> None:
    """A sequence of one step has nothing to remember: biases of 0, not of NaN."""
    assert not torch.cat(summed_biases(initialized(name, "chrono", 1), 0)).any()


def decay(module: nn.RNNBase) -> Tensor:
    """By how much a unit's memory shrinks in one step, from its biases alone."""
    for key, weight in module.named_parameters():
        if key.startswith("weight"):
            weight.data.zero_()
    size = module.hidden_size
    new = 2 * size  # the block of what is written: n of (r, z, n), g of (i, f, g, o)
    module.weight_ih_l0.data[new : new + size, 0] = 1.0  # type: ignore[operator]
    inputs = torch.zeros(1, 3, INPUT_SIZE)
    inputs[0, 0, 0] = 1.0
    states = module(inputs)[0].detach()[0]
    if isinstance(module, nn.LSTM):
        states = torch.atanh(2 * states)  # the output gate stands at one half, so h = tanh(c) / 2
    return states[2] / states[1]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "initialization"),
    [(name, each) for name in GATED for each in ("orthogonal", "chrono")],
)
def test_a_positive_bias_remembers(name: str, initialization: str) -> None:
    """A memory without input shrinks by sigmoid(bias) a step.

    A bias of log u keeps u parts of u + 1.
    """
    cell = get_cell(name)
    stack = cell.factory(INPUT_SIZE, 16, 1)
    cell.initializations[initialization](stack, 100, torch.Generator().manual_seed(0))
    bias = summed_biases(stack.module, 0)[1]  # type: ignore[arg-type]
    kept = decay(stack.module)  # type: ignore[arg-type]
    expected = 1 / (1 + torch.exp(-bias)) if initialization == "chrono" else math.e / (1 + math.e)
    assert torch.allclose(kept, torch.as_tensor(expected).expand(16), atol=1e-4)
    assert (kept > 0.7 if initialization == "orthogonal" else kept.median() > 0.95).all()


def test_an_initialisation_of_torchs_cells_refuses_others() -> None:
    """orthogonal and chrono set torch's parameters by name, so that another module is told."""
    for initialize in (cells.orthogonal, cells.chrono):
        with pytest.raises(TypeError, match="expected a cell around one of torch's, got Linear"):
            initialize(nn.Linear(2, 2), 10, torch.Generator())


def test_which_initialisations_a_cell_has() -> None:
    """A plain RNN has no gate for chrono."""
    assert {name: list(CELLS[name].initializations) for name in ("rnn", "gru", "lstm")} == {
        "rnn": ["pytorch", "orthogonal"],
        "gru": ["pytorch", "orthogonal", "chrono"],
        "lstm": ["pytorch", "orthogonal", "chrono"],
    }


# -------------------------------------------------------------------------------------- registry


def test_an_unknown_cell_gets_the_nearest() -> None:
    """A typing error gets one proposal."""
    with pytest.raises(InputError, match=r"a known cell, got 'lsmt'; did you mean 'lstm'\?"):
        get_cell("lsmt")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Cell]:
    """The registry, which forgets afterwards what a test adds."""
    copied = dict(CELLS)
    monkeypatch.setattr("harness.cells.registry.CELLS", copied)
    return copied


def named(name: str, factory: Callable[..., nn.Module] = nn.Identity) -> Cell:
    """A cell of that name."""
    return Cell(name, factory, None, {"pytorch": cells.keep_pytorch})


def test_a_cell_can_be_added(registry: dict[str, Cell]) -> None:
    """A plug-in's cell is found under its name; registering it again changes nothing."""
    cell = named("mine")
    assert register_cell(cell) is cell
    assert register_cell(cell) is cell
    assert get_cell("mine") is registry["mine"] is cell


def test_a_name_is_used_once(registry: dict[str, Cell]) -> None:
    """A plug-in cannot take the place of another cell."""
    with pytest.raises(InputError, match=r"a name of its own for each cell, got 'lstm'; rename"):
        register_cell(named("lstm"))
    assert registry["lstm"] is CELLS["lstm"]


def test_a_cell_needs_a_name_and_a_factory() -> None:
    """Whatever else there is to say of a plug-in has a default.

    Its weights as they come, nothing of its own to search.
    """
    cell = Cell("mine", nn.Identity)
    assert (cell.gates, cell.flops, dict(cell.hyperparameters)) == (None, None, {})
    assert dict(cell.initializations) == {"pytorch": cells.keep_pytorch}


def test_hyperparameters_are_written_as_in_a_study_file() -> None:
    """A range, a list, a value and a Parameter are each what [space] makes of them."""
    own = {
        "zoneout": {"low": 0.0, "high": 0.5},
        "kernel": ["exp", "tanh"],
        "order": 4,
        "rate": Range(0.1, 1.0, log=True),
    }
    assert dict(Cell("mine", nn.Identity, hyperparameters=own).hyperparameters) == {
        "zoneout": Range(0.0, 0.5),
        "kernel": Choice(("exp", "tanh")),
        "order": Fixed(4),
        "rate": Range(0.1, 1.0, log=True),
    }


@pytest.mark.parametrize(
    ("own", "match"),
    [
        ({"zoneout": {"low": 1, "high": 0}}, r"cell mine: hyperparameters.zoneout: .*low <= high"),
        ({"zoneout": {"lo": 1}}, r"hyperparameters.zoneout.lo: .*did you mean 'low'"),
        ({"zoneout": []}, "hyperparameters.zoneout: expected at least one value"),
        ({"zoneout": None}, "hyperparameters.zoneout: expected a finite number"),
        ({"zoneout": math.nan}, "hyperparameters.zoneout: expected a finite number"),
        (
            {"hidden_size": 3},
            "hyperparameters: .*no other hyperparameter or result has, got 'hidden_size'",
        ),
        ({"zone out": 3}, "hyperparameters: expected names that Python takes.*got 'zone out'"),
        ({3: 3}, "hyperparameters: expected names that Python takes.*got 3"),
        (["zoneout"], "hyperparameters: expected a mapping"),
    ],
)
def test_hyperparameters_that_cannot_be_searched(own: Any, match: str) -> None:
    """A cell whose hyperparameters are none is refused where it is made, by name."""
    with pytest.raises(InputError, match=match):
        Cell("mine", nn.Identity, hyperparameters=own)


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ("lstm", r"cells: expected a Cell, got 'lstm'; register_cell\(Cell\(name, factory\)\)"),
        (nn.LSTM, "cells: expected a Cell, got <class"),
        (Cell("", nn.Identity), "cells: expected a name, .*got ''"),
        (Cell(3, nn.Identity), "cells: expected a name, .*got 3"),  # type: ignore[arg-type]
        (Cell("hidden_size", nn.Identity), "cells: expected a name, other than that of a hyperp"),
        (Cell("mine", nn.Identity()), "cell mine: factory: .*got Identity"),  # a module, built
        (Cell("mine", None), "cell mine: factory: expected a function or class"),  # type: ignore[arg-type]
        (Cell("mine", nn.Identity, gates=0), "cell mine: gates: expected a whole number >= 1"),
        (Cell("mine", nn.Identity, gates=True), "cell mine: gates: .*leave it out"),
        (Cell("mine", nn.Identity, flops=7), "cell mine: flops: expected a function"),  # type: ignore[arg-type]
        (Cell("mine", nn.Identity, initializations={}), "cell mine: initializations: .*got {}"),
        (
            Cell("mine", nn.Identity, initializations={"own": "zeros"}),  # type: ignore[dict-item]
            "cell mine: initializations: expected a name and a function .*leave them out",
        ),
    ],
)
def test_what_is_no_cell_is_refused(registry: dict[str, Cell], cell: Any, match: str) -> None:
    """A plug-in that cannot be built is refused in one line when it is registered."""
    with pytest.raises(InputError, match=match) as caught:
        register_cell(cell)
    assert "\n" not in str(caught.value)
    assert set(registry) == set(CELLS)
