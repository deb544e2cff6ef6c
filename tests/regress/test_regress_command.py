"""The regress command as a user types it.

With an engine that measures nothing, and for real on small repositories.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from harness.cells import CELLS
from harness.regress import __main__ as regress
from harness.regress.compare.run import CompareOptions, run_compare
from harness.regress.measuring import comparison_runner
from harness.regress.measuring.comparison_runner import CompareConfig, SamplingPlan
from harness.regress.sides.workspace import FOLDER_PREFIX, prune
from harness.regress.timed_workload import DEFAULT_SUITE, Workload, suite_benchmarks
from tests.regress.compare.test_comparison_files import comparison
from tests.regress.sided import Silent, git, repository, steps_file

GRID = """
[grid]
name = "tiny"
[compare]
cells = ["mine", "rnn"]
variants = ["tuned"]
measures = ["forward"]
[shape]
task = "temporal_order"
hidden_size = 4
sequence_length = 10
batch_size = 2
"""
CELL = """
from torch import nn
from harness.cells import Cell, register_cell
register_cell(Cell(name="mine", factory=lambda i, h, n, **_: nn.RNN(i, h, n, batch_first=True)))
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file of steps, where we are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    steps_file(tmp_path / "steps.py", one=3, two=1)
    return repository(tmp_path)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command here."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(regress.app, ["compare", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[CompareConfig]:
    """An engine that measures nothing; what it was asked."""
    kept: list[CompareConfig] = []

    def engine(_base: object, _head: object, asked: CompareConfig, _watcher: object) -> object:
        kept.append(asked)
        return comparison(dict.fromkeys(("lstm", "old"), "known") if asked.accept else None)

    monkeypatch.setattr(comparison_runner, "compare_targets", engine)
    return kept


def test_a_comparison_ends_with_its_table_its_files_and_its_code(
    repo: Path, invoke: Callable[..., Result], asked: list[CompareConfig]
) -> None:
    """MISSING is the gravest here; the folder's name holds no time."""
    done = invoke("--base", "main", "--steps", "steps.py", "--detect", "3%", "--budget", "60")
    assert done.exit_code == 4, done.output
    assert "REGRESSION" in done.stdout
    assert (asked[0].detect, asked[0].sampling.budget_s) == (0.03, 60.0)
    folder = repo / "results" / "regress" / "main-worktree"
    assert {path.name for path in folder.iterdir()} == {
        *("comparison.json", "base.json", "head.json", "junit.xml"),
        *("report.html", "report.md", "figures"),
    }


def test_what_is_accepted_passes(
    repo: Path, invoke: Callable[..., Result], asked: list[CompareConfig]
) -> None:
    """The memory that grew in it does not."""
    done = invoke("--base", "main", "--steps", "steps.py", "--accept", "lstm=known")
    assert asked[0].accept == ("lstm=known",)
    assert done.exit_code == 1
    assert "lstm accepted: known" in done.stdout


def test_json_stands_alone_and_the_summary_is_appended(
    repo: Path,
    invoke: Callable[..., Result],
    asked: list[CompareConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Standard output is comparison.json; the CI's file keeps what others wrote."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = invoke("--base", "main", "--steps", "steps.py", "--json", "--results", "out")
    assert json.loads(done.stdout)["verdict"] == "missing"
    assert "REGRESSION" in done.stderr
    assert summary.read_text().startswith("before\n### MISSING")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    done = invoke("--base", "main", "--steps", "steps.py", "--results", "out")
    assert done.exit_code == 4
    assert "note: GITHUB_STEP_SUMMARY can't be written" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--base", "mian"], "--base: expected a git revision.*'main'"),
        (["--base", "main", "--head", "none"], "--head: expected a git revision"),
        (["--base", "main", "--steps", "none.py"], "--steps: expected a Python file"),
        (["--base", "main", "--steps", "a.py", "--suite", "b"], "either --steps or --suite"),
        (["--base", "main", "--suite", "regres_suite"], "GRID: .*'regress_suite'"),
        (["--base", "main", "--suite", "threads.toml"], "variants: expected variants of one"),
        (["--base", "main"], "--base: expected a revision of the harness.*--steps FILE"),
        (["--base", "steps.py"], "--suite: expected a grid, got none"),
        (["--base", "main", "--detect", "0"], "--detect: expected a slow-down above 0 %"),
        (["--base", "main", "--fail-on", "ok"], "--fail-on: expected inconclusive, got 'ok'"),
        (["--base", "main", "--device", "tpu"], "--device: expected auto, cpu, cuda"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    repo: Path, invoke: Callable[..., Result], arguments: list[str], match: str
) -> None:
    """Before anything is timed, on standard error."""
    grid = GRID.replace('"mine", ', "").replace('["tuned"]', '["threads=2"]')
    (repo / "threads.toml").write_text(grid, encoding="utf-8")
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert re.search(match, line), line


def test_help_says_what_exit_codes_mean(invoke: Callable[..., Result]) -> None:
    """Every code in a sentence."""
    text = " ".join(invoke("--help").stdout.split())
    assert "0 ok, 1 regression, 2 bad input" in text


def test_a_command_that_cannot_install_shows_what_it_printed(
    repo: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, then one line."""
    monkeypatch.setattr(
        "harness.regress.sides.workspace.Workspace.environment", lambda *_: Path(sys.executable)
    )
    install = "echo first; echo the cause; exit 1"
    done = invoke("--base", "main", "--steps", "steps.py", "--install", install)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[:2] == ["first", "the cause"]
    assert done.stderr.splitlines()[-1].endswith("got the cause")


@pytest.mark.nightly
def test_steps_of_a_revision_against_the_working_tree(repo: Path) -> None:
    """For real, as another process: each side with its own version, and nothing is left behind."""
    steps_file(repo / "steps.py", one=3)
    command = [sys.executable, "-m", "harness.regress", "compare", "--base", "HEAD"]
    command += ["--steps", "steps.py", "--budget", "1", "--results", "out", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    plain = json.loads(done.stdout)
    verdicts = {each["name"]: each["verdict"] for each in plain["findings"]}
    assert verdicts == {"one": "inconclusive", "two": "missing"}
    assert plain["notes"] == [
        "steps.py differs between the sides: each was timed with its own version"
    ]
    assert git(repo, "worktree", "list").count("\n") == 0


@pytest.mark.nightly
def test_a_plug_in_in_two_versions_by_a_grid(repo: Path) -> None:
    """For real: both register one name, each in its own processes.

    A cell that head lacks is missing.
    """
    (repo / "tiny.toml").write_text(GRID, encoding="utf-8")
    (repo / "old_cell.py").write_text(CELL, encoding="utf-8")
    (repo / "new_cell.py").write_text(CELL.replace('"mine"', '"other"'), encoding="utf-8")
    options = CompareOptions(
        base="old_cell.py",
        head="new_cell.py",
        workload=Workload(suite="tiny.toml"),
        sampling=SamplingPlan(slice_s=0.001, n_rounds=5, budget_s=0.1),
        memory=False,
        fail_on=("inconclusive",),  # type: ignore[arg-type]
        results=repo / "out",
    )
    try:
        outcome = run_compare(options, Silent())
    finally:
        CELLS.pop(
            "mine", None
        )  # the conductor has loaded one version, to know what there is to time
    verdicts = {each.name: each.verdict for each in outcome.record.findings}
    assert verdicts == {
        "temporal_order/rnn/forward/h4/t10/b2": "inconclusive",
        "temporal_order/mine/forward/h4/t10/b2": "missing",
    }
    assert outcome.record.exit_code == 4


def test_the_default_suite_is_small() -> None:
    """At most 9 benchmarks, of every cell, under names that say only what is not as usual."""
    names = [each["name"] for each in suite_benchmarks(DEFAULT_SUITE, "cpu")]
    assert len(set(names)) == len(names) <= 9
    assert {name.split("/")[1] for name in names} == {"rnn", "gru", "lstm"}
    assert names[0] == "temporal_order/rnn/h16/t30/b16"


def workers_below(folder: Path) -> list[psutil.Process]:
    """The processes of side_worker.py that run from a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(str(folder)) and word.endswith("side_worker.py") for word in words):
            found.append(process)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("name", [pytest.param("SIGINT", marks=pytest.mark.nightly), "SIGKILL"])
def test_a_comparison_that_is_ended_leaves_no_process(
    repo: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Interrupted it leaves nothing at all, and says so.

    Killed it leaves its folder, which the next one removes.
    """
    temporary = tmp_path_factory.mktemp("temporary").resolve()
    command = [sys.executable, "-m", "harness.regress", "compare", "--base", "HEAD"]
    command += ["--steps", "steps.py", "--results", "out"]
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as conductor:
        assert conductor.stdout is not None
        assert "Comparing 2" in conductor.stdout.readline()
        workers = workers_below(temporary)
        assert workers
        conductor.send_signal(getattr(signal, name))
        _, said = conductor.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    assert workers_below(temporary) == []
    left = list(temporary.glob(f"{FOLDER_PREFIX}*"))
    if name == "SIGINT":
        assert conductor.returncode == 130
        assert said.splitlines()[-2] == "interrupted: to start, run"
        assert left == []
    else:
        assert git(repo, "worktree", "list").count("\n") == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(temporary))
            assert prune(repo) == tuple(left)
    assert git(repo, "worktree", "list").count("\n") == 0
