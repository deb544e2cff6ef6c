"""The list through a plain Optuna script, as people write it.

One process, `n_jobs` threads, torch as it comes.

    python -m benchmarks.peers.plain_optuna --trials FILE --out FILE [--n-jobs 2]

Of the harness it takes the task's data, with the seeds that the harness derives, so that the final
losses can be compared; the model, its first weights (torch's own, after `torch.manual_seed`) and
the loop are the script's.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from torch import nn
from torch.nn import functional

from benchmarks.peers import listed
from benchmarks.peers.listed import Trial, TrialList
from harness.machine import derive_seed
from harness.tasks import get_task

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SEEDING = threading.Lock()  # torch's generator is one for all threads: two models at once would mix


class Net(nn.Module):
    """A recurrent stack and a linear layer on its last output."""

    def __init__(self, trial: Trial, input_size: int, output_size: int) -> None:
        super().__init__()
        module = MODULES[trial.cell]
        self.rnn = module(input_size, trial.hidden_size, trial.num_layers, batch_first=True)
        self.head = nn.Linear(trial.hidden_size, output_size)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(batch_size, sequence_length, input_size) to (batch_size, output_size)."""
        outputs, _ = self.rnn(inputs)
        logits: torch.Tensor = self.head(outputs[:, -1])
        return logits


def train(trial: Trial, trials: TrialList) -> float:
    """Train one configuration; the loss on held-out data at the end."""
    task = get_task(trials.task)
    with SEEDING:
        torch.manual_seed(trial.seed)
        model = Net(trial, task.input_size, task.output_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.learning_rate)
    data = torch.Generator().manual_seed(derive_seed(trial.seed, "training"))
    for _ in range(trials.sequences // trials.batch_size):
        batch = task.sample(trials.batch_size, trial.sequence_length, data)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), trials.max_grad_norm)
        optimizer.step()
    held_out = torch.Generator().manual_seed(derive_seed(trial.seed, "evaluation"))
    batch = task.sample(trials.evaluation_sequences, trial.sequence_length, held_out)
    model.eval()
    with torch.no_grad():
        return functional.cross_entropy(model(batch.inputs), batch.targets).item()


class FromList(BaseSampler):
    """Gives each trial the values that the list has at its number.

    `enqueue_trial` would be shorter, but with two threads or processes Optuna now and then gives
    the same waiting trial out twice.
    """

    def __init__(self, trials: TrialList) -> None:
        self.trials = trials

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled together."""
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Nothing is sampled together."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The list's value."""
        return getattr(self.trials.trials[trial.number], param_name)


def suggested(trial: optuna.Trial, trials: TrialList) -> Trial:
    """The parameters as a plain script would suggest them, with the seed of the list."""
    return Trial(
        index=trial.number,
        cell=trial.suggest_categorical("cell", list(MODULES)),
        hidden_size=trial.suggest_int("hidden_size", 1, 256, log=True),
        num_layers=trial.suggest_int("num_layers", 1, 2),
        sequence_length=trial.suggest_int("sequence_length", 10, 400, log=True),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-3, log=True),
        seed=trials.trials[trial.number].seed,
    )


def main() -> None:
    """Run the list."""
    arguments = listed.parse_arguments(__doc__, n_jobs=1)
    trials = listed.load(arguments.trials)
    found: dict[int, tuple[float, float]] = {}

    def objective(trial: optuna.Trial) -> float:
        start = time.perf_counter()
        wanted = suggested(trial, trials)
        loss = train(wanted, trials)
        found[wanted.index] = loss, time.perf_counter() - start
        return loss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{arguments.out.with_suffix('.db')}"
    study = optuna.create_study(storage=storage, sampler=FromList(trials))
    study.optimize(objective, n_trials=len(trials.trials), n_jobs=arguments.n_jobs)
    listed.write(arguments.out, found)


if __name__ == "__main__":
    main()
