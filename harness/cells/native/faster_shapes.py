"""At which shapes the native kernels were measured to be faster than torch's modules.

`benchmarks/native_kernels.py` writes the table; results/reference/native_kernels holds the times.
"""

from __future__ import annotations

import bisect
import csv
import dataclasses
import functools
from collections.abc import Collection, Sequence
from pathlib import Path

TABLE = Path(__file__).parent / "faster_shapes.csv"
HIDDEN_SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
BATCH_SIZES = (1, 2, 4, 8, 16, 17, 24, 32, 33, 48, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class FasterShape:
    """A shape at which the kernels are at least as fast, whatever the length. `kind`: train, infer.

    `batch_sizes` are those of a row of the table, separated by spaces.
    """

    level: str
    cell: str
    kind: str
    hidden_size: int
    batch_sizes: str

    @staticmethod
    def read(table: Path) -> tuple[FasterShape, ...]:
        """The rows of a table."""
        with table.open(encoding="utf-8", newline="") as lines:
            return tuple(
                FasterShape(**{**row, "hidden_size": int(row["hidden_size"])})  # type: ignore[arg-type]
                for row in csv.DictReader(lines)
            )


@functools.cache
def is_faster(level: str, cell: str, kind: str, hidden_size: int, batch_size: int) -> bool:
    """Whether the kernels are faster at this shape, at any length.

    They are if they are at all measured neighbours of the shape: the next smaller and the next
    larger hidden size and batch size. False for an instruction set that was not measured, and
    beyond the largest hidden size.
    """
    if hidden_size > HIDDEN_SIZES[-1]:
        return False
    faster = _table().get((level, cell, kind), frozenset())
    return all(
        (hidden, batch) in faster
        for hidden in _neighbours(hidden_size, HIDDEN_SIZES)
        for batch in _neighbours(batch_size, BATCH_SIZES)
    )


def measured_levels() -> frozenset[str]:
    """The instruction sets that were measured. The library uses no other one by itself."""
    return frozenset(level for level, _, _ in _table())


def _neighbours(size: int, sizes: Sequence[int]) -> Collection[int]:
    """The next smaller and the next larger one, or `size` itself where it is one of them."""
    after = bisect.bisect_left(sizes, size)
    low, high = bisect.bisect_right(sizes, size) - 1, min(after, len(sizes) - 1)
    return {sizes[max(low, 0)], sizes[high]}


@functools.cache
def _table() -> dict[tuple[str, str, str], frozenset[tuple[int, int]]]:
    found: dict[tuple[str, str, str], frozenset[tuple[int, int]]] = {}
    for row in FasterShape.read(TABLE):
        key = (row.level, row.cell, row.kind)
        here = {(row.hidden_size, int(size)) for size in row.batch_sizes.split()}
        found[key] = found.get(key, frozenset()) | here
    return found
