from __future__ import annotations

import pytest

from harness.regress.measuring.peak_memory import Footprint, footprint, smaller
from harness.regress.sides.worker_answers import StepMemory

MIB = 2**20


def answer(peak: int | None, before: int | None = 0, kind: str = "cuda_allocator") -> StepMemory:
    """What a side answers."""
    return StepMemory(kind, peak, before)


@pytest.mark.parametrize(
    ("base", "head", "kind", "verdict"),
    [
        (1000, 1009, "cuda_allocator", "ok"),
        (1000, 1010, "cuda_allocator", "regression"),
        (1000, 500, "cuda_allocator", "ok"),
        (100 * MIB, 109 * MIB, "process_high_water", "ok"),  # 9 %
        (100 * MIB, 110 * MIB, "process_high_water", "grown"),
        (10 * MIB, 13 * MIB, "process_high_water", "ok"),  # 30 %, but 3 MiB
        (None, 5, "process_high_water", "not_measured"),
        (0, 5, "process_high_water", "not_measured"),
    ],
)
def test_what_counts_as_grown(base: int | None, head: int, kind: str, verdict: str) -> None:
    """1 % on CUDA fails; a tenth and 4 MiB on a CPU is advice."""
    assert footprint("a", answer(base, 0, kind), answer(head, 0, kind)).verdict == verdict


def test_on_a_cpu_the_process_itself_does_not_count() -> None:
    """What it held before is taken away, on each side its own."""
    found = footprint("a", answer(300, 200), answer(450, 250))
    assert (found.base_bytes, found.head_bytes, found.growth) == (100, 200, 1.0)


def test_sides_measured_differently_are_not_compared() -> None:
    """A step that moved to the card."""
    found = footprint("a", answer(100, 0, "process_high_water"), answer(200))
    assert (found.growth, found.verdict) == (None, "not_measured")


def test_of_two_measurements_the_smaller_growth_counts() -> None:
    """Growth must be seen twice."""
    first, second = Footprint("a", "cuda_allocator", 100, 110), Footprint("a", "x", 100, 100)
    assert smaller(first, second) is second
