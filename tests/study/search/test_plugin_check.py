"""harness.study.search.plugin_check.

What is plugged in is run once before a study, and what is wrong with it is named.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import config as specs
from harness.cells import CELLS, Cell
from harness.config import StudySpec
from harness.errors import InputError
from harness.study.search.plugin_check import check_plugins
from harness.tasks import TASKS, Batch
from harness.tasks.temporal_order import TemporalOrder
from tests.small import SMALL


def study(**compare: Any) -> StudySpec:
    """The small study of other cells or tasks, held against what is at hand."""
    raw = tomllib.loads(SMALL)
    raw["compare"] |= compare
    return specs.check_study(specs.parse_study(raw, "f.toml"), "f.toml", TASKS, CELLS, 8 << 30)


class Wrong(nn.Module):
    """An RNN whose states go through a function, which sees the module's own setting too."""

    def __init__(self, function: Callable[..., Any], sizes: tuple[int, int, int], way: str) -> None:
        super().__init__()
        self.rnn = nn.RNN(*sizes, batch_first=True)
        self.function, self.way = function, way

    def forward(self, inputs: Tensor) -> Any:
        """What the function makes of the states."""
        return self.function(self.rnn(inputs), self.way)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add a cell whose states go through a function."""

    def add(function: Callable[..., Any], ways: Any = "only") -> None:
        def factory(input_size: int, hidden_size: int, num_layers: int, way: str) -> nn.Module:
            return Wrong(function, (input_size, hidden_size, num_layers), way)

        monkeypatch.setitem(CELLS, "mine", Cell("mine", factory, hyperparameters={"way": ways}))

    return add


def fail(_: Any, way: str) -> Any:
    """Raise, unless that is the way that works."""
    if way != "works":
        raise RuntimeError(f"{way}\nis no good")
    return _[0]


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (
            lambda both, way: both,
            r"states \(batch_size, steps, hidden_size\) of shape \(2, 10, 2\), got tuple",
        ),
        (lambda both, way: both[0][:, -1], r"got shape \(2, 2\); its inputs .* had \(2, 10, 8\)"),
        (lambda both, way: both[0].transpose(0, 1), r"got shape \(10, 2, 2\)"),
        (lambda both, way: torch.cat([both[0]] * 2, dim=2), r"got shape \(2, 10, 4\)"),
        (lambda both, way: None, "got NoneType"),
        (fail, "a cell that can be built and run, got RuntimeError: only is no good"),
    ],
)
def test_a_cell_that_gives_something_else(
    plug: Callable[..., None], function: Callable[..., Any], match: str
) -> None:
    """The message names the cell, the expected shape of its states, and their shape."""
    plug(function)
    with pytest.raises(InputError, match=f"f.toml: compare.cells: mine: .*{match}") as caught:
        check_plugins(study(cells=["rnn", "mine"]), "f.toml", "cpu")
    assert "\n" not in str(caught.value)


def test_a_cell_that_runs_with_some_of_its_settings(plug: Callable[..., None]) -> None:
    """One setting that works is enough: the others cost the trials that try them."""
    plug(fail, ["breaks", "works"])
    check_plugins(study(cells=["mine"]), "f.toml", "cpu")
    plug(fail, ["breaks", "too"])
    with pytest.raises(InputError, match="RuntimeError: breaks is no good"):
        check_plugins(study(cells=["mine"]), "f.toml", "cpu")


def test_a_cell_that_may_need_another_device(plug: Callable[..., None]) -> None:
    """What fails on the CPU may run where the study is for; a wrong shape is wrong everywhere."""
    plug(fail)
    check_plugins(study(cells=["mine"]), "f.toml", "cuda:0")
    plug(lambda both, way: both)
    with pytest.raises(InputError, match="got tuple"):
        check_plugins(study(cells=["mine"]), "f.toml", "cuda:0")


def test_a_rehearsal_draws_nothing_from_others(plug: Callable[..., None]) -> None:
    """torch's global generator stands where it stood, whatever the cell draws."""
    plug(lambda both, way: both[0] + torch.rand(1))
    before = torch.get_rng_state()
    check_plugins(study(cells=["mine"]), "f.toml", "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_at_hand_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study without plug-ins builds nothing."""

    def refuse(*_: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("harness.study.search.plugin_check.build_model", refuse)
    monkeypatch.setattr("harness.study.search.plugin_check.get_task", refuse)
    check_plugins(study(cells=["rnn", "lstm"]), "f.toml", "cpu")


class Mine(TemporalOrder):
    """Temporal order under another name."""

    name = "mine"


def raising(*_: object) -> None:
    """Fail."""
    raise ValueError("no data")


def sampling(change: Callable[[Batch], Batch]) -> Any:
    """`sample` with its batch changed."""
    return staticmethod(lambda *arguments: change(TemporalOrder().sample(*arguments)))


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({"sample": raising}, "whose sample, loss, .* work at length 10, got ValueError: no data"),
        (
            {"sample": sampling(lambda b: Batch(b.inputs[0], b.targets))},
            r"inputs \(batch_size, steps, input_size\) of shape \(2, steps, 8\), got shape \(10, 8\)",
        ),
        (
            {"sample": sampling(lambda b: Batch(b.inputs[..., :3], b.targets))},
            r"got shape \(2, 10, 3\)",
        ),
        ({"sample": sampling(lambda b: Batch(b.inputs[:1], b.targets))}, r"got shape \(1, 10, 8\)"),
        (
            {"sample": sampling(lambda b: Batch(b.inputs.double(), b.targets))},
            "inputs in torch.float32, got torch.float64",
        ),
        (
            {"loss": staticmethod(lambda o, t: o.sum(dim=1))},
            r"one finite number, .*got shape \(2,\)",
        ),
        ({"loss": staticmethod(lambda o, t: o.sum() * math.nan)}, "one finite number, .*got nan"),
        (
            {"correct": staticmethod(lambda o, t: o[:, 0])},
            "true or false for each prediction, got torch.float32 of shape",
        ),
        ({"chance_loss": lambda self, length: 0.0}, "a chance_loss above 0, got 0.0"),
        (
            {"lag": lambda self, length: length / 2},
            "a lag of at least 1 whole step at length 10, got 5.0",
        ),
    ],
)
def test_a_task_whose_parts_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], match: str
) -> None:
    """The message names the task and the part, in one line; what fits passes."""
    monkeypatch.setitem(TASKS, "mine", Mine())
    spec = study(tasks=["mine"])
    check_plugins(spec, "f.toml", "cpu")
    task = type("Changed", (Mine,), parts)()
    monkeypatch.setitem(TASKS, "mine", task)
    with pytest.raises(InputError, match=f"f.toml: compare.tasks: mine: expected .*{match}") as e:
        check_plugins(spec, "f.toml", "cpu")
    assert "\n" not in str(e.value)
