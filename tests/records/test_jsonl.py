"""harness.records.jsonl: whole lines for good, and what a crash leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.records.jsonl import JsonLines, append_line, read_lines

WHOLE = b'{"a": 1}\n{"b": [2]}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two lines."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes(WHOLE)
    return path


def test_lines_are_read_as_they_were_appended(tmp_path: Path) -> None:
    """The first line makes the file and its folder."""
    path = tmp_path / "new" / "runs.jsonl"
    assert read_lines(path) == JsonLines()
    assert [append_line(path, line) for line in ('{"a": 1}', '{"b": [2]}')] == [0, 0]
    assert path.read_bytes() == WHOLE
    assert read_lines(path) == JsonLines((b'{"a": 1}', b'{"b": [2]}'))


@pytest.mark.parametrize("kept", range(1, 10))
def test_a_torn_line_is_reported_and_then_replaced(path: Path, kept: int) -> None:
    """Wherever it is torn; reading changes no byte."""
    path.write_bytes(WHOLE + b'{"c": "d"}'[:kept])
    before = path.read_bytes()
    assert read_lines(path) == JsonLines((b'{"a": 1}', b'{"b": [2]}'), torn_bytes=kept)
    assert path.read_bytes() == before
    assert append_line(path, '{"c": 3}') == kept
    assert path.read_bytes() == WHOLE + b'{"c": 3}\n'


def test_a_whole_line_without_its_line_break_is_kept(path: Path) -> None:
    """An editor may remove the last line break."""
    path.write_bytes(WHOLE[:-1])
    assert read_lines(path) == JsonLines((b'{"a": 1}', b'{"b": [2]}'), is_ended=False)
    assert append_line(path, '{"c": 3}') == 0
    assert path.read_bytes() == WHOLE + b'{"c": 3}\n'


@pytest.mark.parametrize("taken", [0, 4])
def test_a_full_disk_leaves_the_whole_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """What was written of a line is taken back, and the error names the file."""
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if path.stat().st_size >= len(WHOLE) + taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:taken])

    monkeypatch.setattr("os.write", write)
    with pytest.raises(OSError, match=r"No space left on device: '.*runs\.jsonl'"):
        append_line(path, '{"c": 3}')
    assert path.read_bytes() == WHOLE
