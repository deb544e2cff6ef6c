"""Only the matrix products of the list, by torch.mm at the rate of large ones: a lower bound.

    python -m benchmarks.peers.products --trials FILE --out FILE [--workers 2]

As many floating-point operations as the trials' recurrent layers need, in products of 1024 x 1024,
which run faster than the small ones of a step; a process a core, one thread each, all at once. No
state, gate, loss, gradient norm or update is computed. It is no strict bound: torch's LSTM has its
products from oneDNN, and the first layer's and the first step's could be had for less (2 %).
"""

from __future__ import annotations

import json
import multiprocessing
import time

from benchmarks.peers import listed
from benchmarks.peers.listed import Trial, TrialList
from harness.cells import get_cell
from harness.machine import configure_process
from harness.tasks import get_task
from harness.timing.flops import TRAINING_PASSES, training_flops
from harness.timing.hardware_limits import PRODUCT_SIZE, product
from harness.training.model import ModelConfig

SIDE = PRODUCT_SIZE["cpu"]


def flops(trial: Trial, trials: TrialList) -> int:
    """Floating-point operations of a trial's products.

    Forward, gradients to weights and to what a layer reads, evaluation.

    The gradient to the first layer's inputs is left out, since no training needs it, and so is the
    head.
    """
    size, length, task = trial.hidden_size, trial.sequence_length, get_task(trials.task)
    model = ModelConfig(trials.task, trial.cell, size, trial.num_layers, length)
    counted, gates = training_flops(model, 1, length), get_cell(trial.cell).gates
    assert counted is not None, "torch's cells tell their gates"
    assert gates is not None
    head, to_inputs = 2 * size * task.output_size, 2 * gates * size * task.input_size * length
    forward = counted // TRAINING_PASSES - head
    training = TRAINING_PASSES * forward - to_inputs
    return trials.sequences * training + trials.evaluation_sequences * forward


def multiply(n_products: int) -> float:
    """So many square products, and the seconds that they took."""
    configure_process()
    subject = product("product", "cpu", "float32")
    subject.step()
    start = time.perf_counter()
    for _ in range(n_products):
        subject.step()
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
