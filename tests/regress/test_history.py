from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError, StorageError
from harness.regress.history import (
    FINGERPRINT_FIELDS,
    HistoryEntry,
    append_entry,
    fingerprint_of,
    medians,
    read_history,
    series_of,
)

MACHINE: dict[str, Any] = {
    "cpu": "a processor",
    "cpu_flags": "avx2 fma",
    "cores": 2,
    "torch": "2.12.1",
    "gpu": None,
    "blas": "mkl",
    "threads": 1,
    "python": "3.12.1",
}
OTHER: dict[str, Any] = {**MACHINE, "torch": "2.13.0"}


def entry(
    revision: str, lstm: float | None = 0.3, machine: dict[str, Any] | None = None
) -> HistoryEntry:
    """A recording of three blocks in which the machine is slower and slower.

    The canary takes 0.1 s at first.
    """
    slower = (1.0, 1.1, 1.3)
    return HistoryEntry(
        machine=machine or MACHINE,
        revision=revision,
        recorded="2026-01-01",
        canary_s=tuple(0.1 * factor for factor in slower),
        figures_s={"lstm": tuple(lstm and lstm * factor for factor in slower)},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A history of two recordings, in a folder that was made for it."""
    file = tmp_path / "new" / "history.jsonl"
    append_entry(file, entry("r1"))
    append_entry(file, entry("r2", 0.33))
    return file


def test_what_is_appended_is_read(path: Path) -> None:
    """HistoryEntry for entry, in the order of the file."""
    assert read_history(path).entries == (entry("r1"), entry("r2", 0.33))
    assert [json.loads(line)["schema"] for line in path.read_text().splitlines()] == [1, 1]


def test_a_history_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Nothing was recorded yet."""
    assert read_history(tmp_path / "none.jsonl").entries == ()


def test_figures_are_relative_to_the_canary_of_their_block() -> None:
    """What the machine does to both cancels; a block without one of them is left out."""
    assert entry("r").relative("lstm") == pytest.approx(3)
    gaps = dataclasses.replace(
        entry("r"), canary_s=(0.1, None, 0.1), figures_s={"lstm": (0.5, 0.9, None)}
    )
    assert gaps.relative("lstm") == pytest.approx(5)
    assert math.isnan(entry("r", None).relative("lstm"))
    assert math.isnan(entry("r").relative("gru"))


@pytest.mark.parametrize("field", FINGERPRINT_FIELDS)
def test_each_field_decides_the_fingerprint(field: str) -> None:
    """Another value is another machine; a value that is kept beside them is not.

    A lost field is an error.
    """
    assert fingerprint_of({**MACHINE, field: "another"}) != fingerprint_of(MACHINE)
    assert fingerprint_of({**MACHINE, "host": "another"}) == fingerprint_of(MACHINE)
    with pytest.raises(ValueError, match=f"no {field}"):
        fingerprint_of({name: MACHINE[name] for name in MACHINE if name != field})


def test_fingerprints_are_never_mixed(path: Path) -> None:
    """A series holds the recordings of one machine; the other's are a series of their own."""
    append_entry(path, entry("r3", 0.2, OTHER))
    append_entry(path, entry("r4", None))
    held = read_history(path)
    ours, theirs = fingerprint_of(MACHINE), fingerprint_of(OTHER)
    assert held.fingerprints() == (ours, theirs)
    (mine,), (other,) = series_of(held, ours), series_of(held, theirs)
    assert mine.values == pytest.approx((3, 3.3, math.nan), nan_ok=True)
    assert mine.revisions == ("r1", "r2", "r4")
    assert other.values == pytest.approx((2,))
    assert series_of(held, "ffffffffffff") == ()


# --- Crashes, full disks and strange lines --------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 30, 200])
def test_a_torn_last_line_is_left_out_and_then_cut_off(path: Path, kept: int) -> None:
    """Wherever it was torn: the others are read, and the next recording has its own line."""
    whole = path.read_bytes()
    torn = whole.splitlines()[1][:kept]
    path.write_bytes(whole + torn)
    held = read_history(path)
    assert (len(held.entries), held.torn_bytes) == (2, kept)
    assert path.read_bytes() == whole + torn
    assert append_entry(path, entry("r3")) == kept
    assert path.read_bytes().startswith(whole)
    assert [one.revision for one in read_history(path).entries] == ["r1", "r2", "r3"]


def test_a_last_line_that_lost_its_line_break_is_kept(path: Path) -> None:
    """An editor may take it away: the recording is whole."""
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert append_entry(path, entry("r3")) == 0
    assert [one.revision for one in read_history(path).entries] == ["r1", "r2", "r3"]


def test_line_breaks_of_another_system_and_empty_lines_are_read(path: Path) -> None:
    """As git may write them."""
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert len(read_history(path).entries) == 2


def changed(line: str, **values: object) -> str:
    """A line with other values."""
    return json.dumps({**json.loads(line), **values})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda line: line[:50], "expected a recording as JSON, got '"),
        (lambda line: "<<<<<<< HEAD", "expected a recording as JSON"),
        (lambda line: "[" * 100_000, "expected a recording as JSON"),
        (lambda line: "[]", "expected a recording as a JSON object"),
        (lambda line: changed(line, schema=2), "schema: expected 1, got 2"),
        (lambda line: changed(line, machine=OTHER), "that of its machine"),
        (lambda line: changed(line, machine={}), "no cpu"),
        (
            lambda line: changed(line, machine={**MACHINE, "cpu": []}),
            "machine.cpu: expected a text, a number",
        ),
        (lambda line: changed(line, revision=3), "revision: expected a text, got 3"),
        (
            lambda line: changed(line, figures_s={"lstm": [0.1]}),
            "lstm: 3 blocks, as the canary has",
        ),
        (lambda line: changed(line, figures_s={"lstm": "fast"}), "figures_s.lstm: expected a list"),
        (lambda line: changed(line, figures_s=[]), "figures_s: expected an object"),
        (
            lambda line: changed(line, canary_s=[True, None, 1]),
            "canary_s.0: expected a number, got True",
        ),
        (lambda line: changed(line, canary_s=[0, 0.1, 0.1]), "seconds above 0"),
        (lambda line: line.replace("0.1,", "NaN,", 1), "expected a recording as JSON"),
        (
            lambda line: line.replace('"revision"', '"version"'),
            "revision: expected a value, got nothing",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_lost(
    path: Any, change: Any, says: str
) -> None:
    """File, line, what was expected; neither reading nor appending changes a byte."""
    first, second = path.read_text().splitlines()
    path.write_text(f"{change(first)}\n{second}\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 1: ") as caught:
        append_entry(path, entry("r3"))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("room", [0, 40])
def test_a_full_disk_is_named_and_leaves_the_history_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """However much of the line was taken before the disk was full."""
    before = path.read_bytes()
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > room and path.stat().st_size - len(before) >= room:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:room])

    monkeypatch.setattr("harness.records.jsonl.os.write", write)
    with pytest.raises(StorageError, match=r"history\.jsonl.*No space left on device") as caught:
        append_entry(path, entry("r3"))
    assert caught.value.exit_code == 2
    assert path.read_bytes() == before


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    """It can be neither read nor appended to."""
    with pytest.raises(StorageError, match="cannot be read"):
        append_entry(tmp_path, entry("r1"))


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -0.1])
def test_seconds_that_cannot_be_are_no_entry(value: float) -> None:
    """What was not measured is None."""
    with pytest.raises(ValueError, match="lstm: seconds above 0 or None"):
        dataclasses.replace(entry("r"), figures_s={"lstm": (value, 0.1, 0.1)})


def test_the_seconds_of_a_block_are_the_median_of_its_rounds() -> None:
    """None without a known one."""
    assert medians([[0.1, 0.3, 0.2], [math.nan, 0.4], [math.nan, math.inf], []]) == (
        *(0.2, 0.4),
        *(None, None),
    )
