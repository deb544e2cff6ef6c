from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest

from harness import records
from harness.errors import InputError
from harness.study import result_files
from tests.study.report.synthetic import Wish, write


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result files of a small study, to be read only."""
    return write(tmp_path_factory.mktemp("small"), Wish(repeats=2, trials=3))


def copy(small: Path, to: Path) -> Path:
    """The same files elsewhere, to be broken."""
    for path in small.rglob("*.*"):
        if path.is_file():
            records.write_bytes(to / path.relative_to(small), path.read_bytes())
    return to


def test_what_is_read_is_what_was_written(small: Path, tmp_path: Path) -> None:
    """Reading trials.csv and writing it again gives the same bytes."""
    found = records.read_study(small)
    rows = found.trials.astype(object).where(found.trials.notna(), None).to_dict("records")
    for row in rows:  # whole numbers are floats where a column may be empty
        for name in ("hidden_size", "num_layers", "sequence_length", "num_parameters", "lag"):
            row[name] = int(row[name])
        for name in ("sequences_to_solve", "sequences_seen"):
            row[name] = None if row[name] is None else int(row[name])
    again = result_files.write_trials(tmp_path, rows)  # type: ignore[arg-type]
    assert again.read_bytes() == (small / "trials.csv").read_bytes()


def test_types_of_columns(small: Path) -> None:
    """Text is text, numbers are floats, slots and seeds are whole, solved is a nullable boolean."""
    trials = records.read_study(small).trials
    assert str(trials["solved"].dtype) == "boolean"
    assert str(trials["seed"].dtype) == "Int64"
    assert str(trials["number"].dtype) == "int64"
    assert str(trials["loss"].dtype) == "float64"


def test_files_of_an_earlier_version_are_read(small: Path, tmp_path: Path) -> None:
    """A column that came later is empty where a file lacks it; the others are as they were."""
    directory = copy(small, tmp_path / "earlier")
    for name in ("trials.csv", "confirmation.csv"):
        text = (small / name).read_text()
        assert text.count("all_steps_loss,reason") == 1
        text = text.replace("all_steps_loss,reason", "reason").replace(",,\n", ",\n")
        (directory / name).write_text(text)
    found, before = records.read_study(directory), records.read_study(small)
    assert found.trials["all_steps_loss"].isna().all()
    assert found.confirmation is not None
    assert found.confirmation["all_steps_loss"].isna().all()
    assert found.trials["loss"].equals(before.trials["loss"])


def test_words_that_pandas_takes_for_missing_stay_words(tmp_path: Path) -> None:
    """A cell called NA or null is a cell, not a gap."""
    directory = write(tmp_path, Wish(cells=("NA", "null"), repeats=1, trials=2))
    assert set(records.read_study(directory).trials["cell"]) == {"NA", "null"}


def test_large_seeds_survive(tmp_path: Path) -> None:
    """A seed above 2^53 is not rounded on the way."""
    directory = write(tmp_path, Wish(repeats=1, trials=1, cells=("rnn",)))
    rows = [{"task": "temporal_order", "cell": "rnn", "repeat": 0, "number": 0, "end": "complete"}]
    result_files.write_trials(directory, [rows[0] | {"seed": 2**62 + 1}])
    assert records.read_study(directory).trials["seed"].iloc[0] == 2**62 + 1


def test_a_diverged_loss_is_infinite_or_unknown(tmp_path: Path) -> None:
    """Infinity comes back as infinity, NaN as a gap."""
    directory = write(tmp_path, Wish(repeats=1, trials=1, cells=("rnn",)))
    row = {"task": "temporal_order", "cell": "rnn", "repeat": 0, "end": "diverged"}
    rows = [row | {"number": 0, "loss": math.inf}, row | {"number": 1, "loss": math.nan}]
    result_files.write_trials(directory, rows)
    losses = records.read_study(directory).trials["loss"]
    assert losses[0] == math.inf
    assert math.isnan(losses[1])


def test_files_that_a_study_may_lack_are_none(tmp_path: Path) -> None:
    """A study is read without confirmation, evaluations, throughput and diagnostics."""
    wish = Wish(confirm_seeds=0, evaluations=False, throughput=False, diagnostics=False, repeats=1)
    found = records.read_study(write(tmp_path, wish))
    absent = (found.confirmation, found.evaluations, found.throughput, found.diagnostics)
    assert (*absent, found.retries) == (None, None, None, None, None)


def test_a_searched_key_of_words_is_read(tmp_path: Path) -> None:
    """A column beyond the contract holds numbers where all are numbers, and words otherwise."""
    directory = write(tmp_path, Wish(repeats=1, trials=2, cells=("rnn",)))
    row = {"task": "temporal_order", "cell": "rnn", "repeat": 0, "end": "complete"}
    rows = [row | {"number": n, "optimizer": "adam", "batch_size": 2**n} for n in range(2)]
    result_files.write_trials(directory, rows, ["optimizer", "batch_size"])
    trials = records.read_study(directory).trials
    assert trials["optimizer"].tolist() == ["adam", "adam"]
    assert trials["batch_size"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["spec.toml", "trials.csv", "machine.json"])
def test_a_missing_file_is_named(small: Path, tmp_path: Path, name: str) -> None:
    """Without one of the required files the message names it and what to do."""
    directory = copy(small, tmp_path)
    (directory / name).unlink()
    with pytest.raises(InputError, match=f"{name}: expected this file.*run the study again"):
        records.read_study(directory)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is not there is no study."""
    with pytest.raises(InputError, match="expected the folder of a study's results, got no such"):
        records.read_study(tmp_path / "nowhere")


BROKEN = {
    "no CSV": ("trials.csv", b"\x80\x81\x82", "expected a CSV file"),
    "empty": ("trials.csv", b"", "expected a CSV file"),
    "a pickle": ("trials.csv", pickle.dumps({"a": 1}), "expected a CSV file"),
    "torn": ("trials.csv", b'task,cell\n"a,b', "expected a CSV file"),
    "no columns": ("trials.csv", b"a,b\n1,2\n", "trials.csv: task: expected this column"),
    "no JSON": ("machine.json", b"{", "expected a JSON file"),
    "a JSON list": ("machine.json", b"[]", "expected a JSON object, got list"),
    "a newer schema": (
        "machine.json",
        b'{"schema": 99}',
        "schema: expected 1, got 99; upgrade the harness",
    ),
    "no TOML": ("spec.toml", b"= 1", "spec.toml"),
    "a fact of another type": ("machine.json", b'{"cpu": 3}', "json: cpu: expected a text, got 3"),
    "a fact that is null": (
        "machine.json",
        b'{"cpu": null}',
        "json: cpu: expected a text, got None",
    ),
    "a run of another type": ("machine.json", b'{"runs": [3]}', r"runs\.0: expected an object"),
    "a run with a wrong fact": (
        "machine.json",
        b'{"runs": [{"workers": -1}]}',
        r"runs\.0\.workers: expected greater than or equal",
    ),
    "a negative count": ("machine.json", b'{"cores": -1}', "cores: expected greater than or equal"),
    "a truth value as count": (
        "machine.json",
        b'{"cores": true}',
        "cores: expected a whole number",
    ),
    "entries that are none": (
        "diagnostics.json",
        b'{"gates": [3]}',
        r"gates\.0: expected an object",
    ),
    "an unknown state": (
        "diagnostics.json",
        b'{"gates": [{}, {"state": "half"}]}',
        r"gates\.1\.state: expected 'initial' or 'trained', got 'half'",
    ),
    "a text in a list of numbers": (
        "diagnostics.json",
        b'{"time_scales": [{"steps": [1, null, "x"]}]}',
        r"time_scales\.0\.steps\.2: expected a number, got 'x'",
    ),
    "a trace without gate": (
        "diagnostics.json",
        b'{"gates": [{"traces": [{"layer": 0}]}]}',
        r"traces\.0\.gate: expected a value, got nothing",
    ),
    "no diagnostics": ("diagnostics.json", b"null", "expected a JSON object"),
    "no winner": ("winners/a.toml", b"x = 1", "a.toml: task: expected a value, got nothing"),
}


@pytest.mark.parametrize(("name", "content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_clear_line(
    small: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """Whatever is wrong with a file, one line names the file and what was expected."""
    directory = copy(small, tmp_path)
    records.write_bytes(directory / name, content)
    with pytest.raises(InputError, match=says) as caught:
        records.read_study(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("complete", "finished", "end: expected one of complete, pruned.*got 'finished'"),
        ("temporal_order,rnn", "temporal_order,lsmt", "cell: expected one that spec.toml compares"),
        (
            "temporal_order,rnn,0,0",
            "temporal_order,rnn,0,",
            "number: expected a number in each line",
        ),
        ("temporal_order,rnn,0,0", "temporal_order,rnn,0,x", "line 2: number: expected a number"),
    ],
)
def test_a_wrong_cell_is_named(small: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    """A value that can't be is named with its column, and its line where there is one."""
    directory = copy(small, tmp_path)
    path = directory / "trials.csv"
    records.write_text(path, path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=says):
        records.read_study(directory)


def test_records_are_frozen(small: Path) -> None:
    """What was read is not changed by who reads it."""
    with pytest.raises(AttributeError):
        records.read_study(small).machine = {}  # type: ignore[misc]
