from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.stats import Stats

from harness import records
from harness.columns import columns_of
from harness.records.throughput_files import block_statistics
from harness.timing.timing_results import TrainingAnswer
from tests.study.report.synthetic import Wish, throughput_answers, write


def answers(**wishes: object) -> dict[str, dict[str, object]]:
    """What harness.timing answers, by origin."""
    return throughput_answers(random.Random(0), Wish(**wishes))  # type: ignore[arg-type]


def typed(given: dict[str, dict[str, object]]) -> dict[str, TrainingAnswer]:
    """The same as dataclasses."""
    return {origin: TrainingAnswer.from_json(answer) for origin, answer in given.items()}


def test_each_benchmark_is_a_row(tmp_path: Path) -> None:
    """throughput.csv has a row for each timed benchmark, its origin and its label."""
    wish = Wish(
        cells=("rnn", "lstm_default"), variants={"lstm_default": "lstm"}, repeats=1, trials=1
    )
    table = records.read_study(write(tmp_path, wish)).throughput
    assert table is not None
    assert set(table["origin"]) == {"winner", "grid"}
    assert set(table["cell"]) == {"rnn", "lstm_default"}
    assert tuple(table.columns) == columns_of("throughput.csv")


def test_a_benchmark_that_failed_has_its_reason_and_no_numbers(tmp_path: Path) -> None:
    """A failure costs its own row.

    A reason, empty cells, and no entry that a tool would average.
    """
    given = answers(cells=("rnn",))
    first = given["winner"]["results"][0]  # type: ignore[index]
    for key in [key for key in first if key.endswith(("_s", "_second"))]:
        del first[key]
    first["error"] = "OutOfMemoryError: no"
    directory = write(tmp_path, Wish(cells=("rnn",), repeats=1, trials=1))
    records.write_throughput(directory, typed(given))
    table = records.read_study(directory).throughput
    assert table is not None
    assert table["reason"].iloc[0] == "OutOfMemoryError: no"
    assert table["tokens_per_second"].isna().tolist()[0]
    names = [
        b["name"] for b in json.loads((directory / "throughput.json").read_text())["benchmarks"]
    ]
    assert first["name"] not in names


def test_raw_times_of_blocks_are_kept(tmp_path: Path) -> None:
    """stats.data holds the time of every block, in order."""
    given = answers(cells=("rnn",))
    records.write_throughput(tmp_path, typed(given))
    benchmarks = json.loads((tmp_path / "throughput.json").read_text())["benchmarks"]
    timed = [result for answer in given.values() for result in answer["results"]]  # type: ignore[attr-defined]
    assert [b["stats"]["data"] for b in benchmarks] == [t["step_times_s"] for t in timed]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 11, 12])
def test_statistics_agree_with_pytest_benchmark(n: int) -> None:
    """The keys are pytest-benchmark's, and so are the values that have one definition."""
    times = [random.Random(n).uniform(1, 2) for _ in range(n)]
    theirs = Stats()
    for time in times:
        theirs.update(time)
    found = block_statistics(times, 20)
    assert set(Stats.fields) <= set(found)
    for key in (
        "min",
        "max",
        "mean",
        "stddev",
        "median",
        "rounds",
        "ops",
        "total",
        "stddev_outliers",
    ):
        assert found[key] == pytest.approx(getattr(theirs, key)), key
    assert found["min"] <= found["q1"] <= found["median"] <= found["q3"] <= found["max"]


def test_pytest_benchmark_reads_the_file(tmp_path: Path) -> None:
    """`pytest-benchmark compare` prints a table of our file, with every column that it knows."""
    records.write_throughput(tmp_path, typed(answers(cells=("rnn", "gru"))))
    columns = "min,max,mean,stddev,median,iqr,outliers,ops,rounds,iterations"
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "throughput.json"]
    done = subprocess.run(
        [*command, f"--columns={columns}", "--sort=mean"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "temporal_order/gru/winner/cpu" in done.stdout
