"""The same script by someone who knows.

A process a core, one thread each, denormals flushed, a journal that they share.

    python -m benchmarks.peers.tuned_optuna --trials FILE --out FILE [--workers 2]

The model, the loop and where its data and first weights come from are those of plain_optuna.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.peers import listed, plain_optuna

NAME = "race"


def storage(path: Path) -> JournalStorage:
    """Optuna's storage for several processes of one machine."""
    return JournalStorage(JournalFileBackend(str(path)))


def work(path: Path, journal: Path) -> None:
    """Run trials until the list is done."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = listed.load(path)
    sampler = plain_optuna.FromList(trials)
    study = optuna.load_study(study_name=NAME, storage=storage(journal), sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        if trial.number >= len(trials.trials):  # the list is done
            study.stop()
            raise optuna.TrialPruned
        start = time.perf_counter()
        loss = plain_optuna.train(plain_optuna.suggested(trial, trials), trials)
        trial.set_user_attr("trial_s", time.perf_counter() - start)
        return loss

    study.optimize(objective)


def main() -> None:
    """Start the processes, wait for them, and read what they found."""
    arguments = listed.parse_arguments(__doc__, workers=2)
    journal = arguments.out.with_suffix(".journal")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=NAME, storage=storage(journal))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=work, args=(arguments.trials, journal))
        for _ in range(arguments.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    listed.write(
        arguments.out,
        {each.number: (each.values[0], each.user_attrs["trial_s"]) for each in done},
    )


if __name__ == "__main__":
    main()
