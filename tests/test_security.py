"""Sources that run nothing they read, results that name nobody, storages without passwords."""

from __future__ import annotations

import ast
import getpass
import json
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from harness.errors import StorageError
from harness.study import __main__ as study
from harness.study.storage.open_storage import open_storage
from tests.small import run_small, write_small
from tests.study.postgres import SECRET, postgres_server
from tests.tally import Tally

PACKAGE = Path(__file__).parents[1] / "harness"

# ------------------------------------------------------------------------------------------ sources

MODULES_THAT_RUN_WHAT_THEY_READ = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "ruamel"),
    *("requests", "httpx", "http", "ftplib", "telnetlib", "xmlrpc", "code", "codeop", "xml"),
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle"),
    *("pd.eval", "urllib.request.urlopen", "torch.jit.load", "torch.hub.load", "getattr_static"),
}
WITH_KEYWORDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
FREE = {
    ("plugins", "exec_module"),  # what the user names with --plugin, and nothing else
    (
        "comparison_files",
        "imports xml.etree",
    ),  # junit.xml is written with it, and none is ever read
    ("side_worker", "exec_module"),  # what the user names with --steps, or a suite that is ours
}


def dangers(tree: ast.Module) -> Iterator[str]:
    """Each way in which a file that is read could run, or be fetched from elsewhere."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from imported([each.name for each in names])
            case ast.ImportFrom(module=name):
                yield from imported([name or ""])
            case ast.Call(func=func, keywords=keywords):
                called = ast.unparse(func)
                yield from calls(called, {str(k.arg): ast.unparse(k.value) for k in keywords})


def imported(names: list[str]) -> Iterator[str]:
    """Those of the modules that run what they read, or fetch it."""
    for name in names:
        root = name.partition(".")[0]
        if root in MODULES_THAT_RUN_WHAT_THEY_READ or name == "urllib.request":
            yield f"imports {name}"


def calls(called: str, keywords: dict[str, str]) -> Iterator[str]:
    """What is wrong with a call."""
    if called in CALLS:
        yield f"calls {called}"
    if called.endswith("exec_module"):
        yield "exec_module"
    if keywords.get("shell", "False") != "False":
        yield f"{called} through a shell"
    for name, (keyword, value) in WITH_KEYWORDS.items():
        if called == name and keywords.get(keyword) != repr(value):
            yield f"{called} without {keyword}={value}"
    if called.endswith("Environment") and "autoescape" not in keywords:
        yield "jinja2 without a word on autoescape"
    if keywords.get("autoescape") == "False":
        yield "jinja2 without autoescape"


def test_no_source_runs_what_it_reads() -> None:
    """No pickle, no eval, no shell, no network, weights as weights only, pages escaped."""
    found = {
        (path.stem, danger)
        for path in sorted(PACKAGE.rglob("*.py"))
        for danger in dangers(ast.parse(path.read_text("utf-8")))
    }
    assert found == FREE


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import pickle", "imports pickle"),
        ("def f():\n    from yaml import load", "imports yaml"),
        ("import urllib.request", "imports urllib.request"),
        ("eval(text)", "calls eval"),
        ("exec(text)", "calls exec"),
        ("os.system(text)", "calls os.system"),
        ("subprocess.run(text, shell=True)", "subprocess.run through a shell"),
        ("torch.load(path)", "torch.load without weights_only=True"),
        ("torch.load(path, weights_only=False)", "torch.load without weights_only=True"),
        ("np.load(path, allow_pickle=True)", "np.load without allow_pickle=False"),
        ("jinja2.Environment(loader=x)", "jinja2 without a word on autoescape"),
        ("jinja2.Environment(autoescape=False)", "jinja2 without autoescape"),
    ],
)
def test_a_planted_danger_is_found(source: str, says: str, tally: Tally) -> None:
    """Each rule finds what it is there for."""
    fault = "a source that could run what it reads, planted"
    with tally.each(fault, "found, so that there is none") as count, count.one():
        assert list(dangers(ast.parse(source))) == [says]


# ------------------------------------------------------------------------------------------ results


class Bomb:
    """What leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


def test_weights_that_are_a_pickle_are_not_run(tmp_path: Path, tally: Tally) -> None:
    """A results folder of a stranger's, whose weights would run a program.

    The study goes on and runs nothing of it.
    """
    directory = run_small(tmp_path).directory
    marks = tmp_path / "marks"
    marks.mkdir()
    pickle.loads(pickle.dumps(Bomb(marks / "first")))  # it does go off where it is unpickled
    (marks / "first").rmdir()
    planted = sorted((directory / "winners").glob("*.pt"))
    assert len(planted) == 2
    for path in planted:
        path.write_bytes(pickle.dumps(Bomb(marks / path.name)))
    run_small(tmp_path)
    run = len(list(marks.iterdir()))
    promise = "not run; the study goes on"
    tally.add("weights that are a program", promise, injected=len(planted), lost=run)
    assert run == 0


def test_results_name_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """Neither user, machine, address, home folder nor environment is in the results."""
    planted = {name: f"planted-{name.lower()}-value" for name in ("USER", "HOSTNAME", "API_TOKEN")}
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/home/planted-person")
    monkeypatch.setattr(sys, "argv", ["study", "/home/planted-person/a.toml", "--workers=1"])
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    directory = run_small(tmp_path, command=study._command("")).directory
    names = ("machine.json", "spec.toml", "trials.csv", "evaluations.csv", "diagnostics.json")
    winners = [path.relative_to(directory) for path in (directory / "winners").iterdir()]
    contents = {name: (directory / name).read_bytes() for name in (*names, *winners)}  # type: ignore[operator]
    fault = "user, host, home and tokens in the environment"
    with tally.each(fault, "not in the results") as count:
        for value in (*planted.values(), "planted-person", "planted-host"):
            with count.one():
                assert not [name for name, each in contents.items() if value.encode() in each]
    for name, content in contents.items():  # type: ignore[assignment]
        assert b"planted" not in content, name
        assert str(tmp_path).encode() not in content, name
    monkeypatch.undo()
    said = json.dumps(json.loads((directory / "machine.json").read_text()))
    words = set(said.replace('"', " ").replace("/", " ").split())
    assert not words & {getpass.getuser(), socket.gethostname()}
    assert json.loads(said)["command"] == "python -m harness.study ~/a.toml --workers=1"


# ------------------------------------------------------------------------------ a server's password


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real PostgreSQL's URL, with a password that is not its own."""
    with postgres_server() as running:
        yield running.url.replace(SECRET, "wr0ng-word")


@pytest.mark.parametrize("spelling", ["plain", "in the query", "unknown option"])
def test_a_wrong_password_is_not_shown(
    server: str, tmp_path: Path, spelling: str, tally: Tally
) -> None:
    """The server refuses, or the driver does.

    Exit code 2, one line, and no password anywhere in what is left behind.
    """
    url = {
        "plain": server,
        "in the query": server.replace(":wr0ng-word@", "@") + "?password=wr0ng-word",
        "unknown option": server + "?wrong_option=1&sslpassword=wr0ng-word",
    }[spelling]
    write_small(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "harness.study", "small.toml", "--storage", url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    promise = "one line and exit code 2, no password in it or in a file"
    fault = "a wrong password of PostgreSQL"
    if spelling == "unknown option":
        fault = "a password beside an option that the driver does not know"
    with tally.each(fault, promise) as count, count.one():
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        said = (line.encode(), done.stdout.encode(), *left)
        assert not [each for each in said if b"wr0ng" in each]


def test_a_drivers_traceback_holds_no_password(server: str, tally: Tally) -> None:
    """The whole chain of exceptions, as a log may keep it."""
    with pytest.raises(StorageError) as caught, open_storage(server, "small"):
        pass
    chain = "".join(traceback.format_exception(caught.value))
    assert "password authentication failed" in chain
    promise = "no password in the chain of exceptions"
    with tally.each("a wrong password of PostgreSQL", promise) as count, count.one():
        assert "wr0ng" not in chain
    assert isinstance(caught.value.__cause__, sqlalchemy.exc.OperationalError)
