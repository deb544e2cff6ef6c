"""The batches that a trial trains on, in order. Several steps' worth is drawn at once.

A draw for 16 steps takes little longer than one for one step. With 32 sequences of 10 steps a batch
of temporal_order costs 12 us instead of 100, of 50 steps 31 instead of 78, and from 200 steps on
half (measured on an Intel Xeon). Which numbers a step gets depends neither on evaluations nor on
the budget or the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from harness.tasks import INDEPENDENT_SEQUENCES, Batch, Task

BATCHES_AHEAD = 16  # training batches that are drawn at once
DRAWN_NUMBERS = 250_000  # inputs that are drawn at once: 1 MB in float32


def training_batches(
    draw: Callable[[int], Batch], batch_size: int, sequences: int, steps: int
) -> Iterator[Batch]:
    """Batches of `batch_size` until `sequences` are drawn; the last is what is left.

    `draw` gets how many sequences it draws. Those of `steps` batches are always drawn together,
    so that a longer budget begins with the batches of a shorter one.
    """
    for seen in range(0, sequences, steps * batch_size):
        left = sequences - seen
        drawn = draw(steps * batch_size if steps > 1 else min(batch_size, left))[:left]
        yield from map(Batch, drawn.inputs.split(batch_size), drawn.targets.split(batch_size))


def steps_at_once(task: Task, batch_size: int, sequence_length: int) -> int:
    """How many batches of a task may be drawn at once.

    One of a plugged-in task: its sequences may depend on each other.
    """
    if type(task) not in INDEPENDENT_SEQUENCES:
        return 1
    numbers = batch_size * sequence_length * task.input_size
    return max(1, min(BATCHES_AHEAD, DRAWN_NUMBERS // numbers))


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; to a CUDA device by a copy that the host does not wait for."""
    if device.type != "cuda":
        return batch.to(device)
    pinned = (each.pin_memory() for each in (batch.inputs, batch.targets))
    return Batch(*(each.to(device, non_blocking=True) for each in pinned))
