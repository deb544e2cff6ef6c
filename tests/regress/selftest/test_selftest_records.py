"""A selftest's files: what is written is read, and what can't be read is named."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import pytest

from harness.errors import FileError, InputError
from harness.regress.measuring.blocks import Block
from harness.regress.selftest.records import FILE, RUNS, append_run, read_runs, read_selftest
from tests.selftests import EFFECTS, NAMES, make_runs, make_selftest, settings


def test_runs_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Blocks to the last digit, a block without a value too."""
    planned = make_runs(tmp_path)
    runs = read_runs(tmp_path)
    assert [(run.number, run.effect, run.slowed, run.detect) for run in runs] == [
        (each.number, each.effect, each.slowed, each.detect) for each in planned
    ]
    line = json.loads((tmp_path / RUNS).read_text().splitlines()[0])
    append_run(tmp_path / RUNS, line, (Block({"gru/h16": math.nan, "rnn/h16": 0.1}, math.nan),))
    (block,) = read_runs(tmp_path)[-1].blocks
    assert math.isnan(block.canary)
    assert math.isnan(block.value("gru/h16"))
    assert block.value("rnn/h16") == 0.1


def test_a_torn_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    """A crash in the middle of a run's line costs that run."""
    make_runs(tmp_path)
    path = tmp_path / RUNS
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    kept = read_runs(tmp_path)
    n_runs = whole.count(b"\n")
    assert len(kept) == n_runs - 1
    append_run(path, json.loads(whole.splitlines()[-1]), kept[-1].blocks)
    assert len(read_runs(tmp_path)) == n_runs


def test_a_full_disk_keeps_the_runs_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that can't be synced is taken back, and one line says so."""
    make_runs(tmp_path)
    path = tmp_path / RUNS
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"runs\.jsonl: expected room to write"):
        append_run(path, json.loads(before.splitlines()[0]), ())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "nonsense", '{"schema": 9}', '{"schema": 1, "blocks": [{"values": {"a": "b"}}]}'],
)
def test_a_line_that_is_no_run_is_named(tmp_path: Path, line: str) -> None:
    """By its number."""
    make_runs(tmp_path)
    with (tmp_path / RUNS).open("a") as file:
        file.write(line + "\n")
    n_lines = 6 + sum(EFFECTS.values()) + 1
    with pytest.raises(InputError, match=rf"runs.jsonl: line {n_lines}: expected a run"):
        read_runs(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """Of a run as of the whole."""
    make_runs(tmp_path)
    path = tmp_path / RUNS
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(InputError, match="line 1: expected a run of a selftest, schema 1, got 2"):
        read_runs(tmp_path)
    (tmp_path / FILE).write_text('{"schema": 2}')
    with pytest.raises(InputError, match="schema: expected 1, got 2"):
        read_selftest(tmp_path)


def test_a_selftest_whose_runs_are_missing_is_not_done(tmp_path: Path) -> None:
    """It says how to go on; one that is done is read."""
    (tmp_path / FILE).write_text(json.dumps({"schema": 1, **settings()}))
    assert read_selftest(tmp_path)["names"] == list(NAMES)
    with pytest.raises(InputError, match=r"expected a selftest that is done.*run the same command"):
        read_selftest(tmp_path, done=True)
    plain = make_selftest(tmp_path)
    assert read_selftest(tmp_path, done=True)["rates"] == plain["rates"]
