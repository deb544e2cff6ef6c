"""The matrix products that the list asks for and nothing else, by torch.mm at the rate of large ones: little is left below.

    python -m tests.benchmarks.peers.products --trials FILE --out FILE [--workers 2]

As many floating-point operations as the trials' recurrent layers need, in products of 1024 x 1024, which run faster than the small
ones of a step; a process a core, one thread each, all at once. No state, gate, loss, gradient norm or update is computed. It is no
strict bound: torch's LSTM has its products from oneDNN, and the first layer's and the first step's could be had for less (2 %).
"""

from __future__ import annotations

import json
import multiprocessing
import time

import torch

from harness.tasks import get_task
from tests.benchmarks.peers import listed
from tests.benchmarks.peers.listed import Trial, TrialList

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SIDE = 1024


def flops(trial: Trial, trials: TrialList) -> int:
    """Floating-point operations of a trial's products: forward, gradients to weights and to what a layer reads, evaluation.

    The gradient to the first layer's inputs is left out, since no training needs it, and so is the head.
    """
    size, reads = trial.hidden_size, get_task(trials.task).input_size
    forward = size + reads + (trial.num_layers - 1) * 2 * size
    each = trials.sequences * (3 * forward - reads) + trials.evaluation_sequences * forward
    return 2 * GATES[trial.cell] * size * trial.sequence_length * each


def multiply(n_products: int) -> float:
    """So many square products, and the seconds that they took."""
    torch.set_num_threads(1)
    left, right, place = (torch.randn(SIDE, SIDE) for _ in range(3))
    torch.mm(left, right, out=place)
    start = time.perf_counter()
    for _ in range(n_products):
        torch.mm(left, right, out=place)
    return time.perf_counter() - start


def main() -> None:
    """Multiply, each process its share."""
    arguments = listed.parse_arguments(__doc__, workers=2)
    trials = listed.load(arguments.trials)
    total, workers = sum(flops(each, trials) for each in trials.trials), arguments.workers
    share = max(1, round(total / (2 * SIDE**3) / workers))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        seconds = pool.map(multiply, [share] * workers, chunksize=1)
    known = {"flops": total, "products_s": sum(seconds) / workers}
    arguments.out.write_text(json.dumps(known), encoding="utf-8")


if __name__ == "__main__":
    main()
