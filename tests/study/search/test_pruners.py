from __future__ import annotations

import typing

import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

from harness.config import SearchTable
from harness.study.search.pruners import PRUNERS, create_pruner


def test_pruner_arguments() -> None:
    """Pruners measure in training sequences.

    The first rung is the first evaluation, the last the whole budget.
    """
    hyperband = create_pruner("hyperband", 320, 32)
    assert isinstance(hyperband, HyperbandPruner)
    assert (hyperband._min_resource, hyperband._max_resource) == (32, 320)
    median = create_pruner("median", 320, 32)
    assert isinstance(median, MedianPruner)
    assert median._n_warmup_steps == 80


@pytest.mark.parametrize("pruner", ["none", "bound"])
def test_no_pruner_of_optuna(pruner: str) -> None:
    """Without a pruner, and with `bound`, Optuna prunes nothing."""
    assert isinstance(create_pruner(pruner, 320, 32), NopPruner)


def test_every_pruner_of_a_study_file_is_known() -> None:
    """A pruner that [search] accepts can be created."""
    words = typing.get_args(SearchTable.model_fields["pruner"].annotation)
    assert set(words) == set(PRUNERS)
