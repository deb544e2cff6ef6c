from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import records
from harness.errors import InputError
from tests.bench.report.synthetic_bench import BenchWish, write_bench


def test_blocks_are_those_that_were_written(tmp_path: Path) -> None:
    """Every timed row has its blocks, in the order of the file; their median is the row's time."""
    directory = write_bench(tmp_path, BenchWish(vary="", cells=("lstm",)))
    blocks = records.read_blocks(directory)
    table = records.read_bench(directory).throughput
    assert table is not None
    timed = table[table["step_time_s"].notna()].set_index("benchmark")["step_time_s"]
    assert set(blocks) == set(timed.index)
    for name, times in blocks.items():
        assert len(times) == 11
        assert sorted(times)[5] == timed[name]


def test_without_a_file_there_are_no_blocks(tmp_path: Path) -> None:
    """A folder without throughput.json has none, and that is no error."""
    assert records.read_blocks(tmp_path) == {}


@pytest.mark.parametrize(
    "content", ["{", "[]", "3", json.dumps({"benchmarks": [{"fullname": "a"}]})]
)
def test_a_file_that_is_not_ours_is_bad_input(tmp_path: Path, content: str) -> None:
    """One line that names the file."""
    records.write_text(tmp_path / "throughput.json", content)
    with pytest.raises(InputError, match=r"throughput\.json: expected pytest-benchmark's JSON"):
        records.read_blocks(tmp_path)


def test_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    """NaN, infinity and an empty list are no times of blocks."""
    entries = [("a", [1.0, 2.0]), ("b", []), ("c", [float("nan")]), ("d", [float("inf")])]
    found = {"benchmarks": [{"fullname": n, "stats": {"data": data}} for n, data in entries]}
    records.write_text(tmp_path / "throughput.json", json.dumps(found))
    assert records.read_blocks(tmp_path) == {"a": (1.0, 2.0)}
