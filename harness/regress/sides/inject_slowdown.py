"""The steps of a file, one of them with real extra work: what a selftest injects.

It is copied into a selftest's temporary folder and runs in the process of side_worker.py, whose
functions it uses. It imports torch and the standard library alone. The extra work is small matrix
products on the processor, after each step, for the wanted share of the time of that very step. The
last product may take too long: that is subtracted from the work after the next step. So the
slow-down is exact also on a core whose speed changes. The steps of both sides are wrapped alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

worker: Any = sys.modules["__main__"]  # side_worker.py
MATRIX_SIZE = 24  # a product of such matrices takes 2 to 5 us, a thousandth of a small step

Function = Callable[..., object]


class Slower:
    """A benchmark of a file of steps, slower by `effect` (0.05: 5 %)."""

    def __init__(self, plan: Any, effect: float) -> None:
        setup, self.bare, self.sequences, reset = (*plan, None)[:4]
        self.setup: Function = setup or _nothing
        self.reset: Function = reset or _nothing
        self.effect = effect
        self.arguments: tuple[object, ...] = ()
        self.matrix = torch.zeros(0)
        self.owed_s = 0.0

    def plan(self) -> tuple[Function, Function, float, Function]:
        """What a function of a file of steps returns."""
        return self.prepare, self.step, self.sequences, lambda: self.reset(*self.arguments)

    def prepare(self) -> None:
        """Set the benchmark up."""
        state = self.setup()
        self.arguments = () if state is None else (state,)
        self.matrix = torch.eye(MATRIX_SIZE)

    def step(self) -> None:
        """One step, and then its share of extra work, once the device is done."""
        matrix = self.matrix
        start = time.perf_counter()
        self.bare(*self.arguments)
        worker.synchronize()
        now = time.perf_counter()
        self.owed_s += self.effect * (now - start)
        while self.owed_s > 0:
            torch.mm(matrix, matrix)
            before, now = now, time.perf_counter()
            self.owed_s -= now - before


def slower_steps(file: str, slowed: str, effect: float) -> dict[str, Function]:
    """All steps of a file, the one named `slowed` ("": none) slower by `effect`."""
    found = worker.find_steps(worker.import_file(file), file)

    def wrapped(name: str, make: Function) -> Function:
        return lambda: Slower(make(), effect if name == slowed else 0.0).plan()

    return {name: wrapped(name, make) for name, make in found.items()}


def _nothing(*_: object) -> None:
    """Does nothing, where there is nothing to set up or to reset."""
