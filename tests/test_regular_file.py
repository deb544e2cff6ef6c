"""harness.regular_file: regular files are read, and nothing blocks the reader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.regular_file import read_regular

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    """A regular file is read, also through a link."""
    (tmp_path / "there").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert read_regular(tmp_path / "link") == b"content"


@needs_pipes
@pytest.mark.timeout(10)
def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody writes into the pipe: opening it would wait without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        read_regular(tmp_path / "pipe")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder in place of a file."""
    with pytest.raises(OSError, match=r"directory|denied"):
        read_regular(tmp_path)
