"""Peak memory of a training step on both sides: what counts as grown. Measures nothing.

On CUDA it is what the allocator held at most, which is the same in each run, so that a growth of 1
% counts. On a CPU it is how far the high-water mark of a fresh process rose; pages and allocators
blur that, so that it is advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

ON_CUDA: Final = "cuda_allocator"

COUNTS: Final = 0.01
"""Growth on CUDA that is a regression. Issue 5."""

ADVISED: Final = 0.10
ADVISED_BYTES: Final = 4 * 2**20
"""Growth on a CPU that is worth a word: both. An arena of glibc's malloc is a few MiB."""

Growing = Literal["ok", "regression", "grown", "not_measured"]


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
        """Share by which head's is more."""
        if not self.base_bytes or self.head_bytes is None:
            return None
        return self.head_bytes / self.base_bytes - 1

    @property
    def verdict(self) -> Growing:
        """What that means."""
        growth = self.growth
        if growth is None:
            return "not_measured"
        if self.kind == ON_CUDA:
            return "regression" if growth >= COUNTS else "ok"
        assert self.base_bytes is not None
        assert self.head_bytes is not None
        more = self.head_bytes - self.base_bytes
        return "grown" if growth >= ADVISED and more >= ADVISED_BYTES else "ok"


def footprint(
    name: str, base: Mapping[str, Any], head: Mapping[str, Any], accepted: str | None = None
) -> Footprint:
    """From two answers of side_worker.memory.

    Sides that were measured differently can't be compared.
    """
    needed = [_needed(answer) for answer in (base, head)]
    if base["kind"] != head["kind"]:
        return Footprint(name, base["kind"], needed[0], None, accepted)
    return Footprint(name, base["kind"], needed[0], needed[1], accepted)


def smaller(first: Footprint, second: Footprint) -> Footprint:
    """Of two measurements of the same, the one that grew less."""
    return min(first, second, key=lambda each: each.growth if each.growth is not None else 0.0)


def _needed(answer: Mapping[str, Any]) -> int | None:
    peak, before = answer["peak_bytes"], answer["before_bytes"]
    return None if peak is None or before is None else max(int(peak) - int(before), 0)
