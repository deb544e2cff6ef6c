"""The study command as a user types it, in processes of its own where that matters."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from typer.testing import CliRunner, Result

from harness import cli
from harness.cells import CELLS
from harness.study import __main__ as study
from harness.study import run as pipeline
from harness.study.execution import prewarmed_server
from harness.study.storage.open_storage import default_url, open_storage
from tests.small import FAULTY, family, study_command, survivors, table, write_small
from tests.tally import Tally


def options(*settings: str) -> list[str]:
    """Settings as options of the command."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command here, in an empty folder that holds small.toml alone."""
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path)
    return lambda *arguments: CliRunner().invoke(study.app, list(arguments))


def storage_of(results: Path) -> optuna.storages.RDBStorage:
    """The storage of a study by Optuna alone."""
    return optuna.storages.RDBStorage(default_url(results))


def states_of(results: Path) -> set[str]:
    """The states of all trials."""
    storage = storage_of(results)
    return {
        trial.state.name
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id)
    }


# ---------------------------------------------------------------------------------- Ctrl-C, SIGTERM


def signal_group(pid: int) -> None:
    """Ctrl-C in a terminal: every process of the group hears it."""
    os.killpg(pid, signal.SIGINT)


def signal_process(pid: int) -> None:
    """SIGINT to the command alone."""
    os.kill(pid, signal.SIGINT)


def terminate(pid: int) -> None:
    """SIGTERM, as a scheduler sends it."""
    os.kill(pid, signal.SIGTERM)


@pytest.mark.skipif(not prewarmed_server.HAS_FORK_SERVER, reason="no fork server on this system")
@pytest.mark.parametrize(
    "stop",
    [signal_group, pytest.param(signal_process, marks=pytest.mark.nightly), terminate],
)
def test_interrupted(tmp_path: Path, stop: Callable[[int], None], tally: Tally) -> None:
    """It ends with 130 and the command that resumes.

    The running trial is told FAIL, and runs again when resumed.
    """
    arguments = [
        str(write_small(tmp_path)),
        "--results",
        str(tmp_path / "my results"),
        "--workers",
        "1",
    ]
    arguments += ["--plugin", FAULTY, *options("space.learning_rate=0.01", "search.trials=1")]
    arguments += options('compare.cells=["faulty"]', 'space.faulty.fault="hang_once"')
    environment = {"FAULTY_MARKS": str(tmp_path)}
    with study_command(*arguments, environment=environment) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "hang_once").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        started = family(process.pid)
        stop(process.pid)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    lost = len(survivors(started)) + (states_of(tmp_path / "my results" / "small") != {"FAIL"})
    fault = "SIGTERM" if stop is terminate else "Ctrl-C"
    tally.add(fault, "gives up what runs, saves all, ends with 130 and the command", lost=lost)
    assert lost == 0
    resume = next(line for line in output.splitlines() if "-m harness.study" in line)
    assert f"'{tmp_path / 'my results'}'" in resume
    assert states_of(tmp_path / "my results" / "small") == {"FAIL"}
    if stop is not signal_group:
        return
    done = subprocess.run(
        resume.strip(),
        shell=True,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = storage_of(tmp_path / "my results" / "small").get_all_trials(1)
    assert (first.state.name, second.state.name) == ("FAIL", "COMPLETE")
    assert first.params == second.params
    assert '"interrupted"' in first.user_attrs["result"]
    (row,) = table(tmp_path / "my results" / "small" / "trials.csv")
    assert (row["end"], row["number"]) == ("complete", "0")


@pytest.mark.nightly
@pytest.mark.skipif(not prewarmed_server.HAS_FORK_SERVER, reason="no fork server on this system")
def test_interrupted_twice(tmp_path: Path, tally: Tally) -> None:
    """A second Ctrl-C ends the command at once, though it waits for a storage.

    Nothing it started is left.
    """
    results = tmp_path / "results" / "small"
    arguments = [str(write_small(tmp_path)), "--results", str(tmp_path / "results")]
    arguments += ["--workers", "1", "--plugin", FAULTY, *options("search.trials=1")]
    arguments += options('compare.cells=["faulty"]', 'space.faulty.fault="hang_once"')
    environment = {"FAULTY_MARKS": str(tmp_path)}
    with study_command(*arguments, environment=environment) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "hang_once").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        started = family(process.pid)
        other = sqlite3.connect(results / "study.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # so that giving up the trial takes long
        signal_process(process.pid)
        time.sleep(2 * cli.ONE_SIGNAL_S)
        assert process.poll() is None
        begin = time.monotonic()
        signal_process(process.pid)
        output, _ = process.communicate(timeout=30)
        assert time.monotonic() - begin < 2.0
        other.execute("ROLLBACK")
        other.close()
    assert process.returncode == 130, output
    assert "stopped at once" in output
    assert "Traceback" not in output
    orphans = survivors(started)
    done = subprocess.run(
        output.splitlines()[-1].strip(),
        shell=True,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lost = len(orphans) + abs(len(table(results / "trials.csv")) - 1)
    lost += "RUNNING" in states_of(results)
    tally.add("Ctrl-C twice", "ends at once, with 130 and the command that resumes", lost=lost)
    assert lost == 0


def test_one_wish_is_one_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two signals within a moment, as `timeout` sends them, count once.

    Nothing is ended at once.
    """
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.getsignal(signal.SIGINT)
    with cli.signals("again"):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2 * cli.ONE_SIGNAL_S)
        assert ended == []
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 30
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
    assert ended == [130]
    assert signal.getsignal(signal.SIGINT) is before


# --------------------------------------------------------------------------------------- end to end


def test_study_end_to_end(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """Answer and path of the report are printed; a log has few lines and no control codes."""
    done = invoke("small.toml", "--workers", "2", "--trials", "4", *options("confirm.seeds=1"))
    assert done.exit_code == 0, done.output
    report = Path("results", "small", "report.html")
    assert done.stdout.rstrip().endswith(f"report: {report}")
    assert report.read_text().lstrip().lower().startswith("<!doctype html")
    assert "\x1b" not in done.stdout
    assert "4 of 4: temporal_order rnn, best" in done.stdout
    assert len(done.stdout.splitlines()) < 30
    assert done.stderr == ""
    optuna_says = subprocess.run(
        [
            *(Path(sys.executable).parent / "optuna", "trials", "--format", "json"),
            *("--storage", default_url(tmp_path / "results" / "small")),
            *("--study-name", "small/temporal_order/rnn/r0"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ("hidden_size", "num_layers", "learning_rate", "sequence_length"):
        assert optuna_says.count(f'"{name}"') == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "register_cell(Cell('raw', lambda d, h, n: nn.LSTM(d, h, n, batch_first=True)))",
            r"small\.toml: compare\.cells: raw: expected states .*, got tuple; its inputs",
        ),
        ("register_cell(nn.LSTM)", "cells: expected a Cell, got <class .*LSTM'>; register_cell"),
        ("register_cell(Cell('lstm', nn.LSTM))", "cells: expected a name of its own .*'lstm'"),
        ("register_cell(Cell('raw', None))", "cell raw: factory: expected a function or class"),
        ("register_task(Batch)", "task: expected an object with all that a task has, got one wi"),
    ],
)
def test_a_plug_in_that_cannot_be_used(
    invoke: Callable[..., Result], tmp_path: Path, text: str, message: str
) -> None:
    """A plug-in that registers nothing usable ends with 2 and one line, before any training."""
    imports = (
        "from torch import nn\nfrom harness.cells import Cell, register_cell\n"
        "from harness.tasks import Batch, register_task\n"
    )
    (tmp_path / "mine.py").write_text(imports + text)
    done = invoke("small.toml", "--plugin", "mine.py", *options('compare.cells=["raw"]'))
    CELLS.pop("raw", None)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert re.search(f"^error: {message}", done.stderr)
    assert not Path("results").exists()


def test_without_result(invoke: Callable[..., Result]) -> None:
    """A study with a cell without a valid result ends with 3, names it, and has a report."""
    settings = options(
        'compare.cells=["rnn","faulty"]', 'space.faulty.fault="raise"', "search.trials=1"
    )
    done = invoke("small.toml", "--plugin", FAULTY, "--workers", "1", *settings)
    assert done.exit_code == 3, done.output
    assert "no valid result: faulty on temporal_order" in done.stdout
    assert (
        "temporal_order faulty repeat 0 trial 0: error, RuntimeError: no such luck" in done.stdout
    )
    assert "no such luck" in Path("results", "small", "report.html").read_text()


# ---------------------------------------------------------------------------------------- bad input


MANY = "{low=1, high=2_000_000}"
BAD = [
    (["nosuch"], "STUDY: .*nosuch.*quickstart"),
    (["quikstart"], "did you mean 'quickstart'"),
    (["missing.toml"], r"missing\.toml: .*no such file"),
    (["small.toml", "--trials", "0"], r"search\.trials: .*0"),
    (["small.toml", "--seed", "-1"], r"study\.seed: .*-1"),
    (["small.toml", "--device", "cuda:99"], "--device: .*cuda:99"),
    (["small.toml", "--device", "tpu"], "--device: .*auto, cpu, cuda.*tpu"),
    (["small.toml", "--set", "training.batch_sise=3"], "did you mean 'batch_size'"),
    (["small.toml", "--set", "training.batch_size"], "KEY=VALUE"),
    (["small.toml", "--set", "training.optimizer=adam"], "quote a text"),
    (["small.toml", "--set", "space.hidden_size={low=4,high=2}"], "low <= high"),
    (["small.toml", "--set", 'compare.cells=["rmn"]'], "did you mean 'rnn'"),
    (["small.toml", "--plugin", "no_such_plugin"], "--plugin: .*no_such_plugin"),
    (["small.toml", "--plugin", "no_such_file.py"], r"--plugin: .*no_such_file\.py"),
    (["small.toml", "--plugin", "small.toml"], r"--plugin: "),
    (["small.toml", "--storage", "study.db"], "--storage: .*sqlite:///study.db"),
    (["small.toml", "--storage", "sqlite:///small.toml"], r"small\.toml: not a storage"),
    (["small.toml", "--results", "small.toml"], r"--results: .*small\.toml"),
    (
        ["small.toml", "--dry-run", *options('search.sampler="gp"', "space.hidden_size=" + MANY)],
        "space.hidden_size: expected at most 1,000,000 whole numbers",
    ),
    (["small.toml", "--executor", "ray"], "--executor: expected local, got ray; .*later version"),
    (["small.toml", "--ray-address", "auto"], "--executor: expected local"),
    (["small.toml", "--executor", "slurm"], "--executor: expected local, got slurm"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(invoke: Callable[..., Result], arguments: list[str], message: str) -> None:
    """What cannot be used ends with 2 and one line on standard error that names it.

    Nothing is printed or left behind.
    """
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--workers", "0"], "--workers"),
        (["--workers", "two"], "--workers"),
        (["--timeout", "-1"], "--timeout"),
        (["--timeout", "nan"], "--timeout"),
        (["--bogus"], "--bogus"),
        (["small.toml", "another"], "another"),
    ],
)
def test_bad_option(invoke: Callable[..., Result], arguments: list[str], named: str) -> None:
    """An unknown option or a wrong value ends with 2 and one line that names it."""
    done = invoke(*arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(" (--help lists the options)")
    assert named in line


def test_a_plug_in_that_registers_nothing(invoke: Callable[..., Result]) -> None:
    """A forgotten call is a note, wherever the study is looked at.

    One that registers something is none.
    """
    Path("empty.py").write_text("x = 1")
    assert (
        "note: the plug-in empty.py registers nothing"
        in invoke(*("small.toml", "--dry-run", "--plugin", "empty.py")).stdout
    )
    Path("useful.py").write_text(
        "import dataclasses\nfrom harness.tasks import get_task, register_task\n"
        "class Other(type(get_task('adding'))):\n    name = 'other_adding'\n"
        "register_task(Other())\n"
    )
    done = invoke("small.toml", "--dry-run", "--plugin", "useful.py")
    assert done.exit_code == 0
    assert "registers nothing" not in done.stdout


def test_other_study_of_that_name(
    invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming with another key ends with 2, names the key, and proposes a name or --fresh."""
    no_report = SimpleNamespace(text="", missing=())
    monkeypatch.setattr(pipeline, "render_report", lambda directory: no_report)
    small = ("small.toml", "--workers", "1", "--timeout", "0")
    assert invoke(*small).exit_code == 3  # nothing was trained
    done = invoke(*small, "--set", "training.batch_size=8")
    assert done.exit_code == 2
    assert re.search(
        r"small\.toml: training\.batch_size: expected 16 .*got 8; .*--fresh", done.stderr
    )
    assert invoke(*small, "--set", "training.batch_size=8", "--fresh").exit_code == 3
    assert Path("results", "small.old-1").is_dir()


def test_second_coordinator(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """A study that another process works on ends with 2 and that process' host and number."""
    (tmp_path / "results" / "small").mkdir(parents=True)
    with open_storage(default_url(tmp_path / "results" / "small"), "small"):
        done = invoke("small.toml")
    assert done.exit_code == 2
    assert f"in use by {socket.gethostname()}, process {os.getpid()}" in done.stderr


# --------------------------------------------------------------------------------- without training


def test_dry_run(invoke: Callable[..., Result], tmp_path: Path) -> None:
    """--dry-run prints the resolved study and its number of trials, and leaves nothing behind."""
    done = invoke(
        "small.toml", "--dry-run", "--trials", "7", "--seed", "3", "--set", "confirm.seeds=2"
    )
    assert done.exit_code == 0
    assert "# 7 trials to search, 4 to confirm" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"small.toml"}
    (tmp_path / "resolved.toml").write_text(done.stdout)
    again = invoke("resolved.toml", "--dry-run")
    assert again.stdout == done.stdout
    assert "seed = 3" in again.stdout


def test_list(invoke: Callable[..., Result]) -> None:
    """--list names studies with questions, tasks, cells, and what a plug-in registers."""
    done = invoke("--list", "--plugin", FAULTY)
    assert done.exit_code == 0
    for name in (
        "quickstart: How many",
        "lesson: ",
        "temporal_order",
        "lstm: pytorch",
        "faulty: pytorch",
    ):
        assert f"  {name}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"torch", "numpy", "optuna", "pandas", "seaborn", "pydantic", "sqlalchemy"}),
        (["--dry-run"], {"pandas", "seaborn", "matplotlib"}),
        (["--list"], {"pandas", "seaborn", "matplotlib"}),
    ],
)
def test_imports(arguments: list[str], unwanted: set[str]) -> None:
    """--help imports nothing heavy; --dry-run and --list import neither pandas nor seaborn."""
    code = (
        "import sys, atexit\n"
        "from harness.study import __main__ as study\n"
        f"atexit.register(lambda: print('LOADED', sorted({unwanted!r} & set(sys.modules))))\n"
        f"sys.argv = ['study', *{arguments!r}]\n"
        "study.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the report's command nor the resuming one shows the storage's password."""
    url = "postgresql+psycopg://me:s3cret@host/db"
    monkeypatch.setattr(sys, "argv", ["study", "small.toml", f"--storage={url}", "--fresh"])
    monkeypatch.setattr("harness.cli.command_line.this_python", lambda: "python")
    for whole_paths in (True, False):
        command = study._command(url, whole_paths=whole_paths)
        assert (
            command
            == "python -m harness.study small.toml '--storage=postgresql+psycopg://me:***@host/db'"
        )


def test_home_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the report has ~ for the user's home, which may hold a name.

    The one that resumes is whole.
    """
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    monkeypatch.setattr(sys, "argv", ["study", "/home/ada/a.toml"])
    assert study._command("") == "python -m harness.study ~/a.toml"
    whole = study._command("", whole_paths=True)
    assert whole.endswith(" -m harness.study /home/ada/a.toml")
