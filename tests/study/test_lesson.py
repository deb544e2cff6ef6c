"""studies/lesson.toml is the lesson's own program.

The same numbers as a plain script's, at every 50th step.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import config as specs
from harness.cells import CELLS
from harness.study.search.trial_config import training_config
from harness.tasks import TASKS
from harness.training.training_loop import Training, TrainingConfig

STUDY = Path(__file__).parents[2] / "studies" / "lesson.toml"
MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def plain_script(cell: str, seed: int) -> tuple[list[float], list[float], list[float]]:
    """The program as the lesson writes it.

    Losses and accuracies every 50 steps, and the final predictions.
    """
    torch.manual_seed(seed)
    network = MODULES[cell](1, 5, 1, batch_first=True)
    head = nn.Linear(5, 1)
    inputs = torch.tensor([[8.0, 1, 5, 3], [2, 7, 4, 9]]).unsqueeze(-1)
    targets = torch.tensor([[0.0], [1.0]])
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.1)
    losses, accuracies = [], []
    for step in range(501):
        predictions = torch.sigmoid(head(network(inputs)[0][:, -1]))
        loss = nn.functional.binary_cross_entropy(predictions, targets)
        if step % 50 == 0:
            losses.append(loss.item())
            accuracies.append(((predictions > 0.5) == (targets > 0.5)).float().mean().item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, accuracies, torch.sigmoid(head(network(inputs)[0][:, -1])).flatten().tolist()


def harness_config(cell: str, seed: int) -> TrainingConfig:
    """The trial of the study, with that seed."""
    study = specs.check_study(specs.load_study(STUDY), STUDY.name, TASKS, CELLS, 10**10)
    return dataclasses.replace(training_config(study, "lesson", cell, {}), seed=seed)


@pytest.mark.parametrize("cell", list(MODULES))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_study_is_the_script(cell: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, accuracies and predictions are those of torch's own module and SGD, to 1e-6.

    Native kernels round otherwise, and training enlarges that: see the next test.
    """
    monkeypatch.setenv("HARNESS_NATIVE", "0")
    losses, accuracies, predictions = plain_script(cell, seed)
    trial = Training(harness_config(cell, seed))
    evaluations = list(trial.evaluations())
    assert [each.sequences_seen for each in evaluations] == [2 * step for step in range(0, 501, 50)]
    assert [each.loss for each in evaluations] == pytest.approx(losses, rel=0, abs=1e-6)
    assert [each.accuracy for each in evaluations] == accuracies
    assert trial.predictions() == pytest.approx(predictions, rel=0, abs=1e-6)
    assert losses[-1] < 0.1 < losses[0]  # the script learns: equal numbers are not equal nothings


@pytest.mark.parametrize("cell", list(MODULES))
@pytest.mark.parametrize("seed", [0, 1])
def test_native_kernels_train_as_the_script(cell: str, seed: int) -> None:
    """The first losses are the script's to 1e-5, and it learns the same answers in the end."""
    losses, accuracies, _ = plain_script(cell, seed)
    evaluations = list(Training(harness_config(cell, seed)).evaluations())
    assert [each.loss for each in evaluations[:2]] == pytest.approx(losses[:2], rel=0, abs=1e-5)
    assert evaluations[-1].accuracy == accuracies[-1] == 1.0
    assert evaluations[-1].loss < 0.1


def test_the_study_is_one_trial_for_each_cell() -> None:
    """Three trials, no confirmation: the loss of step 500 is the loss of the trial."""
    study = specs.load_study(STUDY)
    assert specs.count_trials(study, TASKS) == (3, 0)
    assert study.compare.cells == ("rnn", "gru", "lstm")
    assert study.study.print_evaluations
    assert not study.training.stop_when_solved
