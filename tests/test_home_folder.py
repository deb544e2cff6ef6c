"""harness.home_folder: the home folder as ~, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.home_folder import hide_home

WINDOWS = r"C:\Users\ann"


@pytest.mark.parametrize(
    ("text", "home", "shown"),
    [
        ("No such file: '/home/ann/a.npy'", "/home/ann", "No such file: '~/a.npy'"),
        ("/home/ann", "/home/ann", "~"),
        ("in /home/ann.", "/home/ann", "in ~."),
        ("file:///home/ann/a", "/home/ann", "file://~/a"),
        (r"No such file: 'C:\\Users\\ann\\a.npy'", WINDOWS, r"No such file: '~\\a.npy'"),
        (r'File "C:\Users\ann\a.py", line 1', WINDOWS, r'File "~\a.py", line 1'),
        ("c:/users/Ann/a.py", WINDOWS, "~/a.py"),
        (r"\\server\ann\a", r"\\server\ann", r"\~\a"),
    ],
)
def test_the_home_folder_is_hidden(text: str, home: str, shown: str) -> None:
    """With each separator, once or doubled, at the start, inside and at the end of a text."""
    assert hide_home(text, [home]) == shown


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("/home/anna/a", "/home/ann"),
        ("/home/ann.lee/a", "/home/ann"),
        ("/home/ann-2/a", "/home/ann"),
        ("/data/home/ann/a", "/home/ann"),
        ("/a/b", "/"),
        (r"C:\a", "C:\\"),
        (r"C:\Users\anna", WINDOWS),
    ],
)
def test_other_folders_stay(text: str, home: str) -> None:
    """A folder whose name only begins like the home folder; a home that is a root."""
    assert hide_home(text, [home]) == text


def test_the_users_own_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `homes`, the home folder of the environment, also where it is a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "link"))
    text = f"{tmp_path / 'link' / 'a'} {tmp_path / 'real' / 'b'}"
    assert hide_home(text).replace("\\", "/") == "~/a ~/b"
