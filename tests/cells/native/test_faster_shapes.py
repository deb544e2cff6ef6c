"""harness.cells.native.faster_shapes: the table of shapes at which the kernels are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cells.native import faster_shapes
from harness.cells.native.faster_shapes import BATCH_SIZES, HIDDEN_SIZES, TABLE, FasterShape

ROWS = (
    FasterShape("avx2", "rnn", "train", 16, "32 33"),
    FasterShape("avx2", "rnn", "train", 32, "32"),
)


@pytest.mark.parametrize(
    ("hidden_size", "batch_size", "expected"),
    [
        *((16, 32, True), (16, 33, True), (32, 32, True), (20, 32, True)),
        *((32, 33, False), (20, 33, False), (16, 31, False), (16, 34, False), (33, 32, False)),
        *((15, 32, False), (513, 32, False), (16, 1000, False)),
    ],
)
def test_every_measured_neighbour_must_be_faster(
    monkeypatch: pytest.MonkeyPatch, hidden_size: int, batch_size: int, expected: bool
) -> None:
    """Between two measured sizes the kernels are used if they are faster at both."""
    monkeypatch.setattr(FasterShape, "read", lambda _: ROWS)
    faster_shapes._table.cache_clear()
    faster_shapes.is_faster.cache_clear()
    try:
        args = ("rnn", "train", hidden_size, batch_size)
        assert faster_shapes.is_faster("avx2", *args) is expected
        assert not faster_shapes.is_faster("avx512", *args)  # was not measured
    finally:
        faster_shapes._table.cache_clear()
        faster_shapes.is_faster.cache_clear()


def test_the_table_is_of_the_measured_grid() -> None:
    """Its rows name sizes that the benchmark measures."""
    rows = FasterShape.read(TABLE)
    assert {row.level for row in rows} >= {"avx512", "avx2"}
    for row in rows:
        assert row.hidden_size in HIDDEN_SIZES
        assert {int(size) for size in row.batch_sizes.split()} <= set(BATCH_SIZES)
    assert Path(TABLE).is_file()
