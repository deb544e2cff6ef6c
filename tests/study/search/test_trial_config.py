from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness import config as specs
from harness.cells import CELLS, Cell
from harness.errors import InputError
from harness.hyperparameters import Choice, Fixed, Range
from harness.study.search.search_space import suggested
from harness.study.search.trial_config import check_sizes, configuration_hash, training_config
from harness.tasks import TASKS
from harness.training.model import count_parameters
from tests.small import SMALL, small_spec, write_small


def test_own_hyperparameter(tmp_path: Path) -> None:
    """A cell's own hyperparameter is suggested, and reaches the cell's factory."""
    spec = small_spec(tmp_path, 'compare.cells=["faulty"]', 'space.faulty.fault=["none","nan"]')
    assert suggested(spec, "temporal_order", "faulty")["fault"] == Choice(("none", "nan"))
    values = {"hidden_size": 2, "learning_rate": 0.1, "sequence_length": 10, "fault": "nan"}
    config = training_config(spec, "temporal_order", "faulty", values)  # type: ignore[arg-type]
    assert dict(config.model.hyperparameters) == {"fault": "nan"}


def test_training_config(tmp_path: Path) -> None:
    """What is proposed and what is held fixed meet in one configuration."""
    spec = small_spec(tmp_path, 'training.optimizer="sgd"')
    values = {"hidden_size": 3, "learning_rate": 0.02, "sequence_length": 12}
    config = training_config(spec, "temporal_order", "rnn", values)
    model = config.model
    assert (model.task, model.cell, model.hidden_size, model.num_layers) == (
        "temporal_order",
        "rnn",
        3,
        1,
    )
    assert (model.sequence_length, model.initialization) == (12, "pytorch")
    assert (config.learning_rate, config.batch_size, config.sequences) == (0.02, 16, 64)
    assert (config.evaluate_every, config.optimizer, config.max_grad_norm) == (32, "sgd", 1.0)


def test_proposal_beats_the_default(tmp_path: Path) -> None:
    """A key of [training] that is searched takes the value that was proposed."""
    spec = small_spec(tmp_path, "space.max_grad_norm=[0.5,2.0]")
    values = {"hidden_size": 3, "learning_rate": 0.02, "sequence_length": 12, "max_grad_norm": 2.0}
    assert training_config(spec, "temporal_order", "rnn", values).max_grad_norm == 2.0


def test_variant_is_its_base_cell(tmp_path: Path) -> None:
    """A variant trains the cell that it is a variant of, with its own part of the space."""
    spec = small_spec(
        tmp_path,
        'compare.cells=["rnn","rnn_wide"]',
        'compare.variants={rnn_wide="rnn"}',
        "space.rnn_wide.hidden_size=16",
    )
    values = {"hidden_size": 16, "learning_rate": 0.1, "sequence_length": 10}
    assert training_config(spec, "temporal_order", "rnn_wide", values).model.cell == "rnn"
    assert suggested(spec, "temporal_order", "rnn_wide")["hidden_size"] == Fixed(16)
    assert suggested(spec, "temporal_order", "rnn")["hidden_size"] == Range(2, 4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_derived_size(tmp_path: Path, cell: str) -> None:
    """With num_parameters every cell gets a size within 5 % of it, counted on the built model."""
    text = ("training.num_parameters=2000", f'compare.cells=["{cell}"]')
    path = write_small(tmp_path)
    path.write_text(path.read_text().replace("hidden_size = { low = 2, high = 4 }", ""))
    spec = specs.load_study(path, text)
    assert "hidden_size" not in suggested(spec, "temporal_order", cell)
    config = training_config(
        spec, "temporal_order", cell, {"learning_rate": 0.1, "sequence_length": 10}
    )
    assert count_parameters(config.model) == pytest.approx(2000, rel=0.05)


@given(
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.floats(), st.text(max_size=5)), max_size=6
    )
)
def test_hash_knows_no_order(values: dict[str, Any]) -> None:
    """Equal configurations have equal hashes whatever the order of their keys.

    One more key makes another hash.
    """
    backwards = dict(reversed(list(values.items())))
    assert configuration_hash(values) == configuration_hash(backwards)
    assert configuration_hash(values) != configuration_hash({**values, "another": 1})


def test_hash_stays() -> None:
    """The hash of a configuration is the same in every version and on every machine.

    It is stored.
    """
    assert configuration_hash({"a": 1, "b": 0.5}) == "5e3fb6d0f85ec7cd"


def test_sizes_are_checked_before_the_study(tmp_path: Path) -> None:
    """A num_parameters that some layer count misses by more than 5 % is refused by name.

    One within reach is not.
    """
    text = write_small(tmp_path).read_text()
    assert "hidden_size" in text
    raw = tomllib.loads(text)
    del raw["space"]["hidden_size"]
    raw["space"]["num_layers"] = {"low": 1, "high": 3}
    raw["training"]["num_parameters"] = 60
    with pytest.raises(InputError, match=r"f.toml: training.num_parameters: .*within 5 %, got 60"):
        check_sizes(specs.parse_study(raw, "f.toml"), "f.toml")
    raw["training"]["num_parameters"] = 200_000
    check_sizes(specs.parse_study(raw, "f.toml"), "f.toml")


def derived(**own: Any) -> dict[str, Any]:
    """The small study, raw, of a cell with these hyperparameters, each with 2,000 parameters."""
    raw = tomllib.loads(SMALL)
    del raw["space"]["hidden_size"]
    raw["compare"]["cells"] = ["wide"]
    raw["training"]["num_parameters"] = 2_000
    raw["space"]["wide"] = own
    return raw


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that holds `extra` parameters beside those of an RNN."""

    def factory(input_size: int, hidden_size: int, num_layers: int, extra: int) -> nn.Module:
        if extra < 0:
            raise ValueError("negative\ndimension")
        cell = CELLS["rnn"].factory(input_size, hidden_size, num_layers)
        cell.extra = nn.Parameter(torch.zeros(extra))
        return cell

    cell = Cell("wide", factory, hyperparameters={"extra": {"low": 0, "high": 900}})
    monkeypatch.setitem(CELLS, "wide", cell)


@pytest.mark.usefixtures("wide")
def test_a_size_is_derived_for_each_setting_of_a_cells_own() -> None:
    """Each value of a cell's own hyperparameter gets its own size, within 5 %."""
    spec = specs.check_study(
        specs.parse_study(derived(), "f.toml"), "f.toml", TASKS, CELLS, 8 << 30
    )
    check_sizes(spec, "f.toml")
    sizes = []
    for extra in (0, 450, 900):
        values = {"learning_rate": 0.1, "sequence_length": 10, "extra": extra}
        model = training_config(spec, "temporal_order", "wide", values).model
        assert count_parameters(model) == pytest.approx(2_000, rel=0.05)
        sizes.append(model.hidden_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ({"low": 0, "high": 2_500}, r"within 5 %, extra = 2500, got 2000; the nearest is 25\d\d"),
        ([0, 3_000, 1], r"within 5 %, extra = 3000, got 2000; the nearest is 30\d\d"),
        (
            -1,
            r"compare.cells: wide: expected a cell that can be built and run, got ValueError: neg",
        ),
    ],
)
def test_a_setting_of_a_cells_own_that_no_size_reaches(extra: Any, match: str) -> None:
    """A value that makes num_parameters unreachable is named before the study, in one line."""
    raw = derived(extra=extra)
    spec = specs.check_study(specs.parse_study(raw, "f.toml"), "f.toml", TASKS, CELLS, 8 << 30)
    with pytest.raises(InputError, match=match) as caught:
        check_sizes(spec, "f.toml")
    assert "\n" not in str(caught.value)
