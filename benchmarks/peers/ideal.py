"""The ideal: only the bare loops, one process a core, denormals flushed, torch's fused Adam.

    python -m benchmarks.peers.ideal --trials FILE --out FILE [--workers 2]

There is no study, no storage, no parameter to suggest. What counts is the sum of the loops' own
seconds divided by the number of processes: what a sweep would take if all else were free. Data,
first weights and loss are made as in plain_optuna.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers import listed
from benchmarks.peers.listed import Trial, TrialList
from harness.machine import derive_seed
from harness.tasks import get_task

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def configure_process() -> None:
    """One thread, denormals flushed.

    A first step of each cell, for what torch loads then is part of no loop.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for trial in listed.tiny().trials:
        train((trial, dataclasses.replace(listed.tiny(), sequences=32)))


def train(given: tuple[Trial, TrialList]) -> tuple[int, float, float]:
    """One trial: its index, its final loss on held-out data, and its seconds."""
    trial, trials = given
    start = time.perf_counter()
    task = get_task(trials.task)
    torch.manual_seed(trial.seed)
    cell = MODULES[trial.cell](
        task.input_size, trial.hidden_size, trial.num_layers, batch_first=True
    )
    head = nn.Linear(trial.hidden_size, task.output_size)
    weights = [*cell.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=trial.learning_rate, fused=True)
    data = torch.Generator().manual_seed(derive_seed(trial.seed, "training"))
    for _ in range(trials.sequences // trials.batch_size):
        batch = task.sample(trials.batch_size, trial.sequence_length, data)
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(cell(batch.inputs)[0][:, -1]), batch.targets)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, trials.max_grad_norm)
        optimizer.step()
    held_out = torch.Generator().manual_seed(derive_seed(trial.seed, "evaluation"))
    batch = task.sample(trials.evaluation_sequences, trial.sequence_length, held_out)
    with torch.inference_mode():
        loss = functional.cross_entropy(head(cell(batch.inputs)[0][:, -1]), batch.targets)
    return trial.index, loss.item(), time.perf_counter() - start


def main() -> None:
    """Run the list."""
    arguments = listed.parse_arguments(__doc__, workers=2)
    trials = listed.load(arguments.trials)
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers, configure_process) as pool:
        each = pool.imap_unordered(train, [(trial, trials) for trial in trials.trials])
        found = {index: (loss, seconds) for index, loss, seconds in each}
    ideal_s = sum(seconds for _, seconds in found.values()) / arguments.workers
    listed.write(arguments.out, found, ideal_s=ideal_s)


if __name__ == "__main__":
    main()
