from __future__ import annotations

import csv
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import records
from harness.columns import columns_of
from harness.errors import FileError
from harness.hyperparameters import KINDS, RESERVED
from harness.records import atomic_write
from harness.study import result_files


def row(**more: object) -> dict[str, object]:
    """A row of trials.csv with little in it."""
    return {"task": "adding", "cell": "lstm", "repeat": 0, "number": 0, "end": "complete"} | more


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as texts."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_trials_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    """trials.csv starts with the columns that users rely on, searched keys in the middle."""
    path = result_files.write_trials(
        tmp_path, [row(batch_size=32)], ["learning_rate", "batch_size"]
    )
    assert path.read_text().splitlines()[0] == (
        "task,cell,repeat,number,end,hidden_size,num_layers,learning_rate,sequence_length,"
        "initialization,batch_size,seed,num_parameters,lag,loss,skill,accuracy,solved,"
        "remembered_steps,sequences_to_solve,sequences_seen,train_time_s,sequences_per_second,"
        "all_steps_loss,reason"
    )


def test_confirmation_has_the_configuration_before_the_end(tmp_path: Path) -> None:
    """confirmation.csv is trials.csv with the hash of the configuration before `end`."""
    path = result_files.write_confirmation(
        tmp_path, [row(configuration="f00d", sequence_length=10)]
    )
    names = path.read_text().splitlines()[0].split(",")
    assert names[:6] == ["task", "cell", "repeat", "number", "configuration", "end"]
    assert names[6:] == list(columns_of("trials.csv"))[5:]


def test_rows_are_sorted(tmp_path: Path) -> None:
    """Tasks and cells keep their order, repeats and slots ascend: so two runs can be compared."""
    rows = [
        row(cell="gru", number=1),
        row(cell="gru", number=0),
        row(cell="adam", repeat=1),
        row(cell="adam", repeat=0, number=10),
        row(cell="adam", repeat=0, number=9),
    ]
    found = read_rows(result_files.write_trials(tmp_path, rows))
    assert [(r["cell"], r["repeat"], r["number"]) for r in found] == [
        ("gru", "0", "0"),
        ("gru", "0", "1"),
        ("adam", "0", "9"),
        ("adam", "0", "10"),
        ("adam", "1", "0"),
    ]


def test_searches_come_before_confirmations(tmp_path: Path) -> None:
    """evaluations.csv lists the searches first, each run's evaluations in their order."""
    rows = [
        row(phase=phase, seed=1, sequences_seen=seen)
        for phase in ("confirm", "search")
        for seen in (20, 10)
    ]
    for one in rows:
        del one["end"]
    found = read_rows(result_files.write_evaluations(tmp_path, rows))
    assert [(r["phase"], r["sequences_seen"]) for r in found] == [
        ("search", "10"),
        ("search", "20"),
        ("confirm", "10"),
        ("confirm", "20"),
    ]


def test_attempts_that_were_made_again(tmp_path: Path) -> None:
    """retries.csv lists those of the searches first; where there are none, an older one goes."""
    rows = [
        row(phase=phase, seed=1, number=number, end="crashed", reason="killed by SIGKILL")
        for phase in ("confirm", "search")
        for number in (3, 2)
    ]
    path = result_files.write_retries(tmp_path, rows)
    assert path is not None
    assert [(r["phase"], r["number"], r["reason"]) for r in read_rows(path)] == [
        (phase, number, "killed by SIGKILL")
        for phase in ("search", "confirm")
        for number in ("2", "3")
    ]
    assert result_files.write_retries(tmp_path, []) is None
    assert not path.exists()


@given(st.floats(allow_nan=False))
def test_a_float_reads_back_exactly(value: float) -> None:
    """Every float, also a huge, tiny or infinite one, reads back as itself."""
    assert float(atomic_write._cell(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (np.float64("nan"), ""),
        (True, "true"),
        (np.bool_(False), "false"),
        (3, "3"),
        (np.int64(2**62), str(2**62)),
        (0.1, "0.1"),
        (np.float32(0.1), "0.10000000149011612"),
        (math.inf, "inf"),
        ("lstm", "lstm"),
    ],
)
def test_a_cell_is_written_plainly(value: object, text: str) -> None:
    """What is not known is an empty cell; numbers of numpy are as good as Python's."""
    assert atomic_write._cell(value) == text


def test_a_key_that_is_no_column_is_refused(tmp_path: Path) -> None:
    """A misspelt key is an error of the program, named, and nothing is written."""
    with pytest.raises(ValueError, match="'hiden_size' must be a column of trials"):
        result_files.write_trials(tmp_path, [row(hiden_size=8)])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full in the middle, the old file stays, and no other is left behind."""
    path = records.write_text(tmp_path / "report.md", "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        FileError, match=r"report\.md: expected disk space to write, got No space left"
    ):
        records.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """Writing is a function of the rows."""
    rows = [row(loss=0.1 + 0.2, reason='a "b", c\nd')]
    first = result_files.write_trials(tmp_path / "a", rows).read_bytes()
    assert result_files.write_trials(tmp_path / "b", rows).read_bytes() == first


def test_json_knows_no_nan(tmp_path: Path) -> None:
    """NaN and infinity become null, which every parser reads."""
    path = result_files.write_diagnostics(
        tmp_path, {"gradient_gain": [{"log10_gain": [-1.0, -math.inf]}]}
    )
    assert "Infinity" not in path.read_text()
    assert "null" in path.read_text()


def test_a_winner_without_some_values_is_written(tmp_path: Path) -> None:
    """TOML has no empty value: what is None is left out, at every depth."""
    path = result_files.write_winner(
        tmp_path, "adding", "lstm", {"loss": None, "params": {"a": 1, "b": None}}
    )
    assert path == tmp_path / "winners" / "adding-lstm.toml"
    assert tomllib.loads(path.read_text()) == {"task": "adding", "cell": "lstm", "params": {"a": 1}}


def test_names_that_no_file_system_takes_do_not_collide(tmp_path: Path) -> None:
    """Two names that differ only in what a path can't hold have two files, inside the folder."""
    paths = {
        result_files.winner_path(tmp_path, "t", name, ".pt")
        for name in ("a/b", "a:b", "../b", "a_b")
    }
    assert len(paths) == 4
    assert all(path.parent == tmp_path / "winners" for path in paths)


def test_every_result_column_is_reserved() -> None:
    """A cell's own hyperparameter cannot have the name of a column that says what was found."""
    columns = {*columns_of("trials.csv"), *columns_of("confirmation.csv")}
    assert columns - {*KINDS} <= RESERVED
