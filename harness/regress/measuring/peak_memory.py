"""Peak memory of a training step on both sides, and what counts as grown. Measures nothing.

On CUDA it is what the allocator held at most. That is the same in each run, so a growth of 1 %
counts. On a CPU it is how far the high-water mark of a fresh process rose. Pages and allocators
blur that, so it is advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from harness.regress.sides.worker_answers import StepMemory

ALLOCATOR_KIND: Final = "cuda_allocator"

REGRESSION_GROWTH: Final = 0.01
"""Growth on CUDA that is a regression."""

ADVISED_GROWTH: Final = 0.10
ADVISED_BYTES: Final = 4 * 2**20
"""Growth on a CPU that is mentioned: both. An arena of glibc's malloc is a few MiB."""

MemoryVerdict = Literal["ok", "regression", "grown", "not_measured"]


@dataclass(frozen=True)
class Footprint:
    """The most bytes that two steps held on each side, None where not measured.

    `verdict`: `regression` fails the comparison unless accepted, `grown` is advice.
    """

    name: str
    kind: str
    base_bytes: int | None
    head_bytes: int | None
    accepted: str | None = None

    @property
    def growth(self) -> float | None:
        """The fraction by which head's is larger; None where it is not known."""
        if not self.base_bytes or self.head_bytes is None:
            return None
        return self.head_bytes / self.base_bytes - 1

    @property
    def verdict(self) -> MemoryVerdict:
        """What the growth means."""
        growth = self.growth
        if growth is None:
            return "not_measured"
        if self.kind == ALLOCATOR_KIND:
            return "regression" if growth >= REGRESSION_GROWTH else "ok"
        assert self.base_bytes is not None
        assert self.head_bytes is not None
        more = self.head_bytes - self.base_bytes
        return "grown" if growth >= ADVISED_GROWTH and more >= ADVISED_BYTES else "ok"


def footprint(
    name: str, base: StepMemory, head: StepMemory, accepted: str | None = None
) -> Footprint:
    """The footprint of one benchmark; sides that were measured differently are not compared."""
    head_bytes = _needed(head) if base.kind == head.kind else None
    return Footprint(name, base.kind, _needed(base), head_bytes, accepted)


def smaller(first: Footprint, second: Footprint) -> Footprint:
    """Of two measurements of the same, the one that grew less."""
    return min(first, second, key=lambda each: each.growth if each.growth is not None else 0.0)


def _needed(memory: StepMemory) -> int | None:
    if memory.peak_bytes is None or memory.before_bytes is None:
        return None
    return max(memory.peak_bytes - memory.before_bytes, 0)
