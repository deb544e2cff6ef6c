from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from harness.hyperparameters import Choice, Fixed, Range
from harness.study.search.search_space import suggested, to_distribution
from tests.small import small_spec


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Range(2, 8), IntDistribution(2, 8)),
        (Range(2, 8, log=True), IntDistribution(2, 8, log=True)),
        (Range(0.5, 2.0), FloatDistribution(0.5, 2.0)),
        (Range(1, 2.0, log=True), FloatDistribution(1.0, 2.0, log=True)),
        (Choice(("a", "b")), CategoricalDistribution(("a", "b"))),
        (Choice((1, 2)), CategoricalDistribution((1, 2))),
        (Fixed(3), IntDistribution(3, 3)),
        (Fixed(0.1), FloatDistribution(0.1, 0.1)),
        (Fixed("a"), CategoricalDistribution(("a",))),
        (Fixed(value=True), CategoricalDistribution((True,))),
    ],
)
def test_to_distribution(parameter: Range | Choice | Fixed, expected: object) -> None:
    """A range becomes int or float, a list categories, a fixed value a single value."""
    assert to_distribution(parameter) == expected


def test_suggested(tmp_path: Path) -> None:
    """Optuna sees all five keys of [space], fixed ones too, and whatever of [training] is searched.

    Nothing else.
    """
    spec = small_spec(tmp_path, "space.max_grad_norm=[0.5,2.0]")
    assert set(suggested(spec, "temporal_order", "rnn")) == {
        *("hidden_size", "num_layers", "learning_rate", "sequence_length", "initialization"),
        "max_grad_norm",
    }
