"""harness.cli: one line for a wrong option, and no password in a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer

from harness import cli
from harness.cli import hide_passwords
from tests.tally import Tally

FAULT = "a fault of ours whose text names the password"
HIDDEN = "*** in its place"

URLS = [
    ("postgresql://me:s3cret@host/db", ["s3cret"]),
    ("postgresql+psycopg://me:p%40ss%2Fword@host/db", ["p%40ss%2Fword", "p@ss/word"]),
    ("mysql://me:a@b@host/db", ["a@b"]),
    ("mysql://me:a/b?c@d@host/db", ["a/b?c@d"]),
    ("postgresql://host/db?user=me&password=qu%2Bery", ["qu%2Bery", "qu+ery"]),
    ("postgresql://host/db?sslPassword=keyword", ["keyword"]),
    ("--storage=postgresql://me:inword@host/db", ["inword"]),
]


@pytest.mark.parametrize(("url", "secrets"), URLS)
def test_passwords_are_hidden_wherever_they_stand(
    url: str, secrets: list[str], tally: Tally
) -> None:
    """In the URL, alone, quoted or not; the rest of the text stays."""
    text = f"connect({url!r}) failed: " + ", ".join(f"password={secret!r}" for secret in secrets)
    hidden = hide_passwords(text, ["study", url])
    with tally.each(FAULT, HIDDEN) as count, count.one():
        assert hidden.count("***") > len(secrets)
        assert not [secret for secret in secrets if secret in hidden]
    assert hidden.startswith("connect(")
    assert "password=" in hidden


def test_a_password_that_no_command_line_has_is_hidden_in_its_url(tally: Tally) -> None:
    """A URL that came from elsewhere, as from the environment, hides its own."""
    text = "engine(postgresql://me:other@host/db) at http://example.org/a:b"
    said = "engine(postgresql://me:***@host/db) at http://example.org/a:b"
    with tally.each(FAULT, HIDDEN) as count, count.one():
        assert hide_passwords(text, ["study"]) == said


@pytest.mark.parametrize("word", ["", "x", "://", "a://[", "http://[::1", "a://:@", "a://u:@h"])
def test_what_is_no_url_hides_nothing(word: str) -> None:
    """Odd words of a command line leave the text as it is."""
    assert hide_passwords("a b c", [word]) == "a b c"


def test_a_fault_is_shown_whole_but_for_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tally: Tally
) -> None:
    """An unforeseen error ends with 1 and a traceback that shows no password."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command(cls=cli.LineCommand)
    def fail(storage: str) -> None:
        raise RuntimeError(f"could not connect with password s3cret to {storage}")

    monkeypatch.setattr(sys, "argv", ["fail", "postgresql://me:s3cret@host/db"])
    with pytest.raises(SystemExit) as ended:
        cli.run(app)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert (
        "RuntimeError: could not connect with password *** to postgresql://me:***@host/db" in said
    )
    with tally.each(FAULT, HIDDEN) as count, count.one():
        assert "s3cret" not in said


@pytest.mark.parametrize("code", [errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES])
def test_a_path_that_the_system_refuses_is_one_line(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path whose name is too long, or that may not be read, ends with 2 and names the path."""
    with pytest.raises(SystemExit) as ended, cli.errors("again"):
        raise OSError(code, os.strerror(code), "a\nb")
    assert ended.value.code == 2
    line = f"error: a b: expected a path that can be used, got {os.strerror(code)}\n"
    assert capsys.readouterr().err == line


def test_another_error_of_the_system_is_no_bad_input() -> None:
    """An error of the system that is about no path, or about a broken disk, passes through."""
    for error in (OSError(errno.EACCES, "without a path"), OSError(errno.EIO, "disk", "a")):
        with pytest.raises(OSError, match=str(error.strerror)), cli.errors("again"):
            raise error


@pytest.mark.parametrize("command", ["study", "report"])
def test_a_wrong_option_is_one_line(command: str) -> None:
    """As a process, as a user sees it."""
    done = subprocess.run(
        [sys.executable, "-m", f"harness.{command}", "--bogus\x1b[31m"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No such option")
    assert "\x1b" not in line
    assert done.stdout == ""


def test_the_command_as_typed_is_printable_and_names_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command line that a report shows: no control characters, ~ for the home folder."""
    monkeypatch.setattr("harness.home_folder._homes", lambda: ["/home/planted"])
    monkeypatch.setattr(sys, "argv", ["study", "--results=/home/planted/a\x9bb", "/home/planted2"])
    said = cli.typed("study")
    assert said == "python -m harness.study '--results=~/a\\x9bb' /home/planted2"


def test_a_traceback_is_printable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error whose text holds control characters."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command(cls=cli.LineCommand)
    def fail() -> None:
        raise RuntimeError("\x9b31m\u202e")

    monkeypatch.setattr(sys, "argv", ["fail"])
    with pytest.raises(SystemExit):
        cli.run(app)
    said = capsys.readouterr().err
    assert all(line.isprintable() for line in said.split("\n"))
