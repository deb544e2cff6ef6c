"""A selftest's files: what is written is read, and what can't be read is named."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
from pathlib import Path

import pytest

from harness.errors import FileError, InputError
from harness.regress.selftest.selftest_files import (
    RUNS_FILE,
    SELFTEST_FILE,
    RatiosRecord,
    append_run,
    read_runs,
    read_selftest,
    read_selftest_settings,
    write_selftest,
)
from tests.selftests import EFFECTS, NAMES, make_runs, make_selftest, settings


def test_runs_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Blocks to the last digit, a block without a value too."""
    planned = make_runs(tmp_path)
    runs = read_runs(tmp_path)
    assert [(run.run, run.effect, run.slowed, run.detect) for run in runs] == [
        (each.number, each.effect, each.slowed, each.detect) for each in planned
    ]
    odd = RatiosRecord({"gru/h16": None, "rnn/h16": 0.1}, None)
    append_run(tmp_path / RUNS_FILE, dataclasses.replace(runs[0], blocks=(odd,)))
    (block,) = read_runs(tmp_path)[-1].ratios
    assert math.isnan(block.canary)
    assert math.isnan(block.value("gru/h16"))
    assert block.value("rnn/h16") == 0.1


def test_a_torn_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    """A crash in the middle of a run's line costs that run."""
    make_runs(tmp_path)
    path = tmp_path / RUNS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    kept = read_runs(tmp_path)
    n_runs = whole.count(b"\n")
    assert len(kept) == n_runs - 1
    append_run(path, kept[-1])
    assert len(read_runs(tmp_path)) == n_runs


def test_a_full_disk_keeps_the_runs_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that can't be synced is taken back, and one line says so."""
    make_runs(tmp_path)
    path = tmp_path / RUNS_FILE
    before, runs = path.read_bytes(), read_runs(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"runs\.jsonl: expected disk space to write"):
        append_run(path, runs[0])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{}", "schema: expected 1, got None"),
        ("[]", "expected a run of a selftest as a JSON object"),
        ("nonsense", "expected a run of a selftest as JSON, got 'nonsense'"),
        ('{"schema": 9}', "schema: expected 1, got 9"),
        ('{"schema": 1, "run": 0}', "effect: expected a value, got nothing"),
    ],
)
def test_a_line_that_is_no_run_is_named(tmp_path: Path, line: str, says: str) -> None:
    """By its number and its key."""
    make_runs(tmp_path)
    with (tmp_path / RUNS_FILE).open("a") as file:
        file.write(line + "\n")
    n_lines = 6 + sum(EFFECTS.values()) + 1
    with pytest.raises(InputError, match=rf"runs.jsonl: line {n_lines}: {says}"):
        read_runs(tmp_path)


def test_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    """By its key within the line."""
    make_runs(tmp_path)
    path = tmp_path / RUNS_FILE
    plain = json.loads(path.read_text().splitlines()[0])
    plain["blocks"][1]["values"]["gru/h16"] = "b"
    path.write_text(json.dumps(plain) + "\n")
    with pytest.raises(InputError, match=r"line 1: blocks\.1\.values\.gru/h16: expected a number"):
        read_runs(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """Of a run as of the whole."""
    make_runs(tmp_path)
    path = tmp_path / RUNS_FILE
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(InputError, match="line 1: schema: expected 1, got 2"):
        read_runs(tmp_path)
    (tmp_path / SELFTEST_FILE).write_text('{"schema": 2}')
    with pytest.raises(InputError, match="schema: expected 1, got 2"):
        read_selftest_settings(tmp_path)


def test_a_selftest_whose_runs_are_missing_is_not_done(tmp_path: Path) -> None:
    """It says how to go on; one that is done is read."""
    write_selftest(tmp_path, settings())
    assert read_selftest_settings(tmp_path) == settings()
    assert settings().names == NAMES
    with pytest.raises(InputError, match=r"expected a selftest that is done.*run the same command"):
        read_selftest(tmp_path)
    record = make_selftest(tmp_path)
    assert read_selftest(tmp_path) == record
