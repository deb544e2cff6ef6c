"""harness.training.model: cell and head, first weights, and their number."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import cells
from harness.cells import CELLS, Cell
from harness.errors import InputError
from harness.tasks import TASKS
from harness.training.model import (
    ModelConfig,
    SequenceModel,
    build_model,
    count_parameters,
    derive_hidden_size,
)

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELL_NAMES = pytest.mark.parametrize("cell", list(CELLS))


def config(**changes: Any) -> ModelConfig:
    """A small model."""
    plain = ModelConfig("delayed_recall", "lstm", hidden_size=6, num_layers=2, sequence_length=9)
    return dataclasses.replace(plain, **changes)


def draw(model_config: ModelConfig, batch_size: int = 3) -> Tensor:
    """Inputs of the model's task."""
    task = TASKS[model_config.task]
    generator = torch.Generator().manual_seed(0)
    return task.sample(batch_size, model_config.sequence_length, generator).inputs


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same weights, bit for bit."""
    states = one.state_dict(), other.state_dict()
    return list(states[0]) == list(states[1]) and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@CELL_NAMES
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_head_stands_on_the_last_layer(cell: str, num_layers: int) -> None:
    """The output is the head of h_n[-1].

    h_n[0], the first layer's, would be another one where there are more.
    """
    model_config = config(cell=cell, num_layers=num_layers)
    model = build_model(model_config, seed=1)
    inputs = draw(model_config)
    state = model.cell.module(inputs)[1]  # type: ignore[operator]
    h_n = state[0] if cell == "lstm" else state
    by_hand = h_n[-1] @ model.head.weight.T + model.head.bias
    outputs = model(inputs)
    assert outputs.shape == (3, 8)
    assert torch.allclose(outputs, by_hand, atol=1e-6)
    wrong = h_n[0] @ model.head.weight.T + model.head.bias
    assert torch.allclose(outputs, wrong, atol=1e-3) == (num_layers == 1)


def test_a_dense_task_has_an_output_at_every_step() -> None:
    """In a dense task each step's state has its output; the last is a plain model's."""
    stack = CELLS["gru"].factory(17, 6, 2)
    dense, plain = (SequenceModel(stack, 6, 8, dense=dense) for dense in (True, False))
    plain.head = dense.head
    inputs = draw(config())
    outputs = dense(inputs)
    assert outputs.shape == (3, 9, 8)
    assert torch.allclose(outputs[:, -1], plain(inputs), atol=1e-6)
    for step in (0, 4):
        assert torch.allclose(outputs[:, step], plain(inputs[:, : step + 1]), atol=1e-6)


@CELL_NAMES
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_first_weights_are_those_of_a_plain_script(cell: str, seed: int) -> None:
    """torch.manual_seed, then the cell, then the head: the same weights, bit for bit.

    0 is a seed as any other.
    """
    torch.manual_seed(seed)
    module, head = MODULES[cell](17, 6, 2, batch_first=True), nn.Linear(6, 8)
    torch.manual_seed(99)
    model = build_model(config(cell=cell), seed)
    assert same(model.cell.module, module)  # type: ignore[arg-type]
    assert same(model.head, head)


@pytest.mark.parametrize("initialization", ["pytorch", "orthogonal", "chrono"])
def test_the_seed_alone_decides_the_weights(initialization: str) -> None:
    """The same seed gives the same weights; torch's generator is not used."""
    models: list[Any] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(models))
        before = torch.get_rng_state()
        models.append(build_model(config(initialization=initialization), seed))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_an_initialisation_knows_the_length_of_the_run() -> None:
    """chrono reaches biases near log(T - 1): T = 1,000 gives larger ones than T = 10 can."""
    largest = {
        length: build_model(  # type: ignore[operator, union-attr]
            config(initialization="chrono", sequence_length=length, hidden_size=64), seed=0
        )
        .cell.module.bias_ih_l0.max()
        .item()
        for length in (10, 1_000)
    }
    assert largest[10] <= math.log(9) + 1e-5
    assert math.log(900) < largest[1_000] <= math.log(999) + 1e-5


def test_an_initialisation_that_the_cell_lacks() -> None:
    """The message names the cell and what it has."""
    with pytest.raises(InputError, match="an initialisation of rnn, got 'chrono'; known: ortho"):
        build_model(config(cell="rnn", initialization="chrono"), seed=0)


def test_an_unknown_cell_or_task() -> None:
    """A name that no registry has gets the nearest proposed."""
    with pytest.raises(InputError, match=r"did you mean 'lstm'\?"):
        build_model(config(cell="lsmt"), seed=0)
    with pytest.raises(InputError, match=r"did you mean 'adding'\?"):
        build_model(config(task="ading"), seed=0)


def test_a_cells_own_hyperparameters_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugged-in cell's hyperparameters reach its factory by name."""
    received = []

    def factory(
        input_size: int, hidden_size: int, num_layers: int, *, zoneout: float = 0.0
    ) -> nn.Module:
        received.append((input_size, hidden_size, num_layers, zoneout))
        return CELLS["rnn"].factory(input_size, hidden_size, num_layers)

    initializations = {"pytorch": cells.keep_pytorch}
    own = Cell("own", factory, 1, initializations, {"zoneout": 0.0})
    monkeypatch.setitem(cells.CELLS, "own", own)
    own_config = config(cell="own", hyperparameters={"zoneout": 0.25})
    build_model(own_config, seed=0)
    count_parameters(own_config)
    assert received == [(17, 6, 2, 0.25)] * 2


# ----------------------------------------------------------------------------- number of parameters


@CELL_NAMES
@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_count_is_that_of_the_model(cell: str, task: str, num_layers: int) -> None:
    """What is counted without memory is what is built, head included."""
    model_config = config(cell=cell, task=task, num_layers=num_layers)
    model = build_model(model_config, seed=0)
    assert count_parameters(model_config) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        # H D + H H + 2 H with D = 17, H = 6 is 150; 84 with D = 6; and 6 x 8 + 8 = 56 for the head
        ("rnn", 150 + 84 + 56),
        ("gru", 3 * (150 + 84) + 56),
        ("lstm", 4 * (150 + 84) + 56),
    ],
)
def test_the_count_by_hand(cell: str, expected: int) -> None:
    """Two layers of six units on 17 inputs, and a head of eight outputs."""
    assert count_parameters(config(cell=cell)) == expected


def test_counting_takes_no_memory() -> None:
    """A model of 17 TB is counted without being built."""
    huge = config(hidden_size=2**20, num_layers=1)
    assert count_parameters(huge) == 4 * (2**20 * 17 + 2**40 + 2 * 2**20) + 2**20 * 8 + 8


@settings(max_examples=40)
@given(
    cell=st.sampled_from(list(CELLS)),
    num_layers=st.integers(1, 3),
    num_parameters=st.integers(20_000, 3_000_000),
)
def test_a_derived_size_is_the_nearest(cell: str, num_layers: int, num_parameters: int) -> None:
    """Within 5 % of what is wanted, and neither one unit more nor one less comes nearer."""
    wanted = config(cell=cell, num_layers=num_layers)
    best = derive_hidden_size(wanted, num_parameters)
    misses = [
        abs(count_parameters(dataclasses.replace(wanted, hidden_size=size)) - num_parameters)
        for size in (best - 1, best, best + 1)
    ]
    assert misses[1] == min(misses)
    assert misses[1] <= 0.05 * num_parameters


@CELL_NAMES
@pytest.mark.parametrize("hidden_size", [1, 2, 3, 17, 128])
def test_a_derived_size_is_exact_where_it_can_be(cell: str, hidden_size: int) -> None:
    """The count of a size gives that size back; the size of the configuration does not matter."""
    model_config = config(cell=cell, hidden_size=hidden_size)
    count = count_parameters(model_config)
    assert derive_hidden_size(dataclasses.replace(model_config, hidden_size=5), count) == (
        hidden_size
    )


def test_a_derived_size_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cell, layers, own hyperparameters and wanted number build no model again."""
    built: list[int] = []
    factory = CELLS["lstm"].factory

    def counted(input_size: int, hidden_size: int, num_layers: int) -> nn.Module:
        built.append(hidden_size)
        return factory(input_size, hidden_size, num_layers)

    monkeypatch.setitem(CELLS, "lstm", dataclasses.replace(CELLS["lstm"], factory=counted))
    first = derive_hidden_size(config(), 5_000)
    searched = len(built)
    assert derive_hidden_size(config(sequence_length=20), 5_000) == first
    assert len(built) == searched > 0
    assert derive_hidden_size(config(num_layers=1), 5_000) > first


def test_a_number_that_no_size_reaches() -> None:
    """Fewer parameters than one unit has, or a gap between two sizes: the nearest is named."""
    with pytest.raises(InputError, match=r"lstm with 2 layers reaches within 5 %, got 10; the nea"):
        derive_hidden_size(config(), 10)
    # one layer of rnn: H = 1 has 17 + 1 + 2 + 16 = 36, H = 2 has 34 + 4 + 4 + 24 = 66
    with pytest.raises(InputError, match=r"the nearest is 36 \(hidden_size 1\)"):
        derive_hidden_size(config(cell="rnn", num_layers=1), 50)
