"""harness.records of a bench.

What is read is what was written, and other people's tools read the JSON files.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import config as specs
from harness import records
from harness.cells import CELLS
from harness.columns import COLUMNS, THROUGHPUT, columns_of
from harness.errors import InputError
from tests.timed import LATENCY, inference_answer, training_answer

ROOT = Path(__file__).parents[2]
FINGERPRINT = {"cpu": "Example CPU", "cores": 2, "versions": {"torch": "2.13.0"}}
GRID: dict[str, Any] = {
    "grid": {"name": "small", "question": "How fast?"},
    "compare": {"cells": ["rnn", "gru"], "variants": ["plain", "tuned", "tf32"]},
    "inference": {"n_calls": 5},
}


def write(directory: Path) -> Path:
    """The files of a small bench."""
    spec = specs.parse_grid(GRID, "small.toml")
    (group,) = specs.training_groups(spec, CELLS, "cpu")
    (calls,) = specs.inference_groups(spec, CELLS)
    request = {"benchmarks": group.benchmarks, "limits": True}
    records.write_grid(directory, spec.dump())
    records.write_machine(directory, FINGERPRINT)
    records.write_throughput(directory, {"bench": training_answer(request)}, FINGERPRINT)
    request = {"benchmarks": calls.benchmarks, "n_calls": spec.inference.n_calls}
    records.write_inference(directory, {"bench": inference_answer(request)}, FINGERPRINT)
    return directory


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """The grid, the machine and both tables, with every column."""
    found = records.read_bench(write(tmp_path))
    assert found.grid == specs.parse_grid(GRID, "small.toml")
    assert found.machine["cpu"] == "Example CPU"
    assert found.throughput is not None
    assert found.inference is not None
    assert tuple(found.throughput.columns) == columns_of("throughput.csv")
    assert tuple(found.inference.columns) == columns_of("inference.csv")
    assert set(found.throughput["variant"]) == {"plain", "tuned", "tf32"}
    assert found.throughput["latency_bound_s"].isna().all()
    assert set(found.inference["device_name"]) == {"Example CPU"}
    first = found.inference.iloc[0]
    assert (first["measure"], first["dtype"], first["n_calls"]) == ("step", "float32", 5)


def test_what_is_not_to_be_had_is_listed_with_its_reason(tmp_path: Path) -> None:
    """A variant that this machine lacks is a row without numbers, which no tool averages."""
    found = records.read_bench(write(tmp_path))
    for table, key, value, reason in (
        (found.throughput, "variant", "tf32", "no CUDA device"),
        (found.inference, "dtype", "bfloat16", "no bfloat16 here"),
    ):
        assert table is not None
        rows = table[table[key] == value]
        assert set(rows["reason"]) == {reason}
        assert set(table[table[key] != value]["reason"]) == {""}
    for name in ("throughput", "inference"):
        names = [
            each["name"]
            for each in json.loads((tmp_path / f"{name}.json").read_text())["benchmarks"]
        ]
        assert names
        assert not [each for each in names if "tf32" in each or "bfloat16" in each]


def test_a_bench_without_measurements(tmp_path: Path) -> None:
    """What was not measured is None."""
    write(tmp_path)
    for name in ("throughput.csv", "inference.csv"):
        (tmp_path / name).unlink()
    found = records.read_bench(tmp_path)
    assert (found.throughput, found.inference) == (None, None)


@pytest.mark.parametrize("name", ["grid.toml", "machine.json"])
def test_a_file_that_is_missing(tmp_path: Path, name: str) -> None:
    """A folder that lacks what every bench leaves is named."""
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: expected this file of a bench's results"):
        records.read_bench(tmp_path)


def test_throughput_of_earlier_versions_is_read(tmp_path: Path) -> None:
    """Tables from before there were variants have empty cells there and keep their numbers."""
    kept = shutil.copytree(ROOT / "results" / "reference" / "quickstart", tmp_path / "kept")
    table = pd.read_csv(kept / "throughput.csv", dtype=str, keep_default_na=False)
    older = table.drop(
        columns=[each.name for each in COLUMNS.values() if THROUGHPUT in each.added_later]
    )
    older.to_csv(kept / "throughput.csv", index=False)
    found = records.read_study(kept).throughput
    assert found is not None
    assert set(found["variant"]) == {""}
    assert found["speedup"].isna().all()
    assert found["step_time_s"].gt(0).all()


def test_a_column_that_was_always_there_may_not_be_missing(tmp_path: Path) -> None:
    """Only what came later may lack."""
    write(tmp_path)
    path = tmp_path / "throughput.csv"
    path.write_text(path.read_text().replace(",step_time_s,", ",steps_time,"))
    with pytest.raises(InputError, match="step_time_s: expected this column"):
        records.read_bench(tmp_path)


# -------------------------------------------------------------------------- other people's tools


@pytest.mark.parametrize("name", ["throughput", "inference"])
def test_pytest_benchmark_compares_the_file(tmp_path: Path, name: str) -> None:
    """Its own command prints a table of it, grouped by what tells our benchmarks apart."""
    write(tmp_path)
    command = shutil.which("pytest-benchmark", path=Path(sys.executable).parent)
    assert command is not None
    arguments = ["compare", f"{name}.json", "--group-by=param:cell", "--sort=mean"]
    columns = "--columns=min,max,mean,stddev,median,iqr,outliers,ops,rounds,iterations"
    done = subprocess.run(
        [command, *arguments, columns], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "benchmark 'cell=gru'" in done.stdout
    assert done.stdout.count("temporal_order/gru/") == (2 if name == "throughput" else 4)


@pytest.mark.parametrize("name", ["throughput", "inference"])
def test_github_action_benchmark_reads_the_file(tmp_path: Path, name: str) -> None:
    """What its `pytest` extractor takes.

    A name of its own for each, and numbers that JavaScript prints.

    Source: extractPytestResult in src/extract.ts of benchmark-action/github-action-benchmark:
    fullname, stats.ops, stats.stddev, stats.mean, stats.rounds.
    """
    write(tmp_path)
    benchmarks = json.loads((tmp_path / f"{name}.json").read_text())["benchmarks"]
    names = [each["fullname"] for each in benchmarks]
    assert len(set(names)) == len(names) > 0
    for each in benchmarks:
        stats = each["stats"]
        assert all(math.isfinite(stats[key]) for key in ("ops", "stddev", "mean", "rounds"))
        assert stats["ops"] == pytest.approx(1 / stats["mean"])
        assert stats["mean"] == pytest.approx(sum(stats["data"]) / stats["rounds"])


@pytest.mark.parametrize("name", ["throughput", "inference"])
def test_bencher_reads_the_file(tmp_path: Path, name: str) -> None:
    """What its adapter `python_pytest` takes.

    Two objects, a list, and for each a name, a median and a spread in seconds.

    Source: adapters/python/pytest.rs in bencherdev/bencher: machine_info and commit_info are
    objects, fullname and stats.median and stats.iqr are not null.
    """
    write(tmp_path)
    plain = json.loads((tmp_path / f"{name}.json").read_text())
    assert isinstance(plain["machine_info"], dict)
    assert isinstance(plain["commit_info"], dict)
    for each in plain["benchmarks"]:
        assert each["fullname"]
        assert 0 < each["stats"]["median"] < 1
        assert each["stats"]["iqr"] >= 0


def test_the_file_says_when_and_where(tmp_path: Path) -> None:
    """Its date has a time zone; its machine is this fingerprint and the facts of the timing."""
    write(tmp_path)
    plain = json.loads((tmp_path / "throughput.json").read_text())
    assert dt.datetime.fromisoformat(plain["datetime"]).tzinfo is not None
    assert plain["machine_info"]["versions"] == {"torch": "2.13.0"}
    assert plain["machine_info"]["devices"] == {"cpu": "Example CPU"}
    assert plain["latencies"]["bench"] == [LATENCY]
