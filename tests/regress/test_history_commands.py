"""The commands `record` and `trend` as a user types them.

With an engine that measures nothing, and for real.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harness.regress import __main__ as regress
from harness.regress.history import HISTORY, append_entry, read_history
from harness.regress.measuring.comparison_runner import SamplingPlan, TimedBlock
from harness.regress.record import measure_recording
from harness.regress.record.measure_recording import Recording
from harness.regress.sides.worker_answers import SideFacts
from tests.regress.sided import git, repository, steps_file
from tests.regress.test_history import MACHINE, OTHER, entry
from tests.simulated_history import NEWER, entries, write
from tests.study.test_disk import Disk, disk
from tests.tally import Tally

__all__ = ["disk"]  # a fixture

FACTS = SideFacts({**MACHINE, "system": "Linux x86_64"}, {}, {})
BLOCK = TimedBlock({"lstm": ((0.33,),) * 3}, ((0.1,),) * 3)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file of steps, where we are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    steps_file(tmp_path / "steps.py", one=3)
    return repository(tmp_path)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command here."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(regress.app, [*arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """An engine that measures nothing, in which lstm takes 3.3 times as long as the canary.

    What it was asked.
    """
    kept: list[tuple[Any, ...]] = []

    def engine(
        _target: object, sampling: SamplingPlan, n_blocks: int, _progress: object
    ) -> Recording:
        kept.append((sampling.budget_s, n_blocks))
        return Recording(sampling, (BLOCK,) * n_blocks, FACTS, 1.0)

    monkeypatch.setattr(measure_recording, "time_blocks", engine)
    return kept


def test_a_recording_is_appended_and_shown(
    repo: Path, invoke: Callable[..., Result], asked: list[tuple[Any, ...]]
) -> None:
    """A line of the history, by commit.

    Against the last ones of this machine from the second on.
    """
    done = invoke("record", "--steps", "steps.py")
    assert done.exit_code == 0, done.output
    assert "the first recording" in done.stdout
    append_entry(HISTORY, entry("o", 0.1, OTHER))
    done = invoke("record", "--steps", "steps.py", "--blocks", "3", "--budget", "60")
    assert done.exit_code == 0, done.output
    assert asked == [(None, 5), (60.0, 3)]
    assert re.search(r"lstm +│ 330 ms │ 3.30 +│ 0.0 % +│ \+0.0 %", done.stdout)
    assert "left out: one recording of other machines" in " ".join(done.stdout.split())
    first, _, second = read_history(HISTORY).entries
    commit = git(repo, "rev-parse", "HEAD")[:9]
    assert (first.revision, second.revision) == (commit, commit)
    assert (len(first.canary_s), second.figures_s) == (5, {"lstm": (0.33,) * 3})
    assert second.machine["system"] == "Linux x86_64"


def test_another_machine_is_said_loudly(
    repo: Path, invoke: Callable[..., Result], asked: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    """Which field differs, on the terminal and in the CI's summary; nothing is compared."""
    append_entry(Path("h.jsonl"), entry("o", 0.1, OTHER))
    summary = tmp_path / "summary.md"
    os.environ["GITHUB_STEP_SUMMARY"] = str(summary)
    try:
        options = ("--steps", "steps.py", "--history", "h.jsonl", "--revision", "v*1", "--json")
        done = invoke("record", *options)
    finally:
        del os.environ["GITHUB_STEP_SUMMARY"]
    assert done.exit_code == 0, done.output
    for text in (" ".join(done.stderr.split()), summary.read_text()):
        assert "ANOTHER MACHINE OR ENVIRONMENT: none of the one recording" in text
        assert "torch: 2.13.0 -" in text
    assert summary.read_text().startswith("### Recorded: v\\*1\n")
    plain = json.loads(done.stdout)
    assert plain["benchmarks"][0]["change"] is None
    assert plain["others"][0]["differs"] == [
        {"name": "torch", "before": "2.13.0", "after": "2.12.1"}
    ]


def test_a_history_that_cannot_be_read_stops_it_before_anything_is_timed(
    repo: Path, invoke: Callable[..., Result], asked: list[tuple[Any, ...]]
) -> None:
    """File and line, exit code 2, nothing changed."""
    append_entry(Path("h.jsonl"), entry("r1"))
    before = Path("h.jsonl").read_bytes() + b"<<<<<<< HEAD\n"
    Path("h.jsonl").write_bytes(before)
    done = invoke("record", "--steps", "steps.py", "--history", "h.jsonl")
    assert done.exit_code == 2
    assert re.fullmatch(
        r"error: h.jsonl: line 2: expected a recording as JSON, got .*\n", done.stderr
    )
    assert Path("h.jsonl").read_bytes() == before
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--steps", "none.py"], "--steps: expected a Python file"),
        (["--steps", "a.py", "--suite", "b"], "either --steps or --suite"),
        (["--suite", "regres_suite"], "GRID: .*'regress_suite'"),
        (["--blocks", "0"], "--blocks"),
        (["--steps", "steps.py", "--history", "."], "--history: expected a file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    repo: Path,
    invoke: Callable[..., Result],
    asked: list[tuple[Any, ...]],
    arguments: list[str],
    match: str,
) -> None:
    """Before anything is timed, on standard error."""
    done = invoke("record", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert re.search(match, line), line
    assert asked == []


def test_a_disk_full_while_recording_loses_nothing(
    disk: Disk,
    invoke: Callable[..., Result],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tally: Tally,
) -> None:
    """For real: named, exit code 2, the history as it was, and a line that can be appended."""
    monkeypatch.chdir(disk.home)
    steps_file(Path("steps.py"), one=1)
    path = disk.folder / "history.jsonl"
    append_entry(path, entry("r1", 0.3))
    before = path.read_bytes()
    engine = measure_recording.time_blocks

    def fill_and_time(*arguments: Any) -> Recording:
        disk.fill()
        return engine(*arguments)

    monkeypatch.setattr(measure_recording, "time_blocks", fill_and_time)
    options = ("record", "--steps", "steps.py", "--history", str(path), "--blocks", "900")
    done = invoke(*options, "--revision", "r2")
    *_, line, error = done.stderr.splitlines()
    assert done.exit_code == 2
    assert re.fullmatch(r"error: .*history\.jsonl: cannot be appended to: No space left.*", error)
    kept = path.read_bytes() == before
    disk.make_room()
    with path.open("a") as file:
        file.write(line + "\n")
    lost = (not kept) + ([one.revision for one in read_history(path).entries] != ["r1", "r2"])
    promise = "one line that names the file; the history as it was; what was timed is printed"
    tally.add("disk full while recording", promise, lost=lost)
    assert lost == 0


APPENDING = """
import os, sys
from pathlib import Path
from harness.regress import history
from tests.regress.test_history import entry

real = os.write
def write(descriptor, data):  # a few bytes at a time, so that a kill finds half a line
    return real(descriptor, data[:7]) if descriptor > 2 else real(descriptor, data)
os.write = write
print("ready", flush=True)
for i in range(10**6):
    history.append_entry(Path(sys.argv[1]), entry(f"r{i}"))
    print(i, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_while_appending_loses_nothing(tmp_path: Path, tally: Tally) -> None:
    """Whatever was appended is read, in order.

    Half a line is left out, and the next recording cuts it off.
    """
    path, torn = tmp_path / "history.jsonl", 0
    promise = "every recording that had ended is read; half a line is left out, then cut off"
    with tally.each("SIGKILL while a recording is appended", promise) as count:
        for n_more in (1, 2, 4):
            before = len(read_history(path).entries)
            with (
                count.one(),
                subprocess.Popen(
                    [sys.executable, "-c", APPENDING, str(path)],
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parents[2],
                ) as child,
            ):
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
                for _ in range(n_more):
                    said = int(child.stdout.readline())
                child.send_signal(signal.SIGKILL)
                rest = child.stdout.read().split()
                told = before + 1 + max([said, *map(int, rest)])
                held = read_history(path)
                assert told <= len(held.entries) <= told + 1
                torn += held.torn_bytes > 0
        assert append_entry(path, entry("last")) == held.torn_bytes
        assert read_history(path).torn_bytes == 0


@pytest.mark.nightly
def test_steps_are_recorded_for_real(repo: Path, invoke: Callable[..., Result]) -> None:
    """As another process: one line more, and nothing left behind."""
    command = [sys.executable, "-m", "harness.regress", "record", "--steps", "steps.py"]
    command += ["--blocks", "1", "--budget", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert [each["name"] for each in plain["benchmarks"]] == ["one"]
    (kept,) = read_history(HISTORY).entries
    assert kept.revision == plain["revision"] == git(repo, "rev-parse", "HEAD")[:9]
    assert git(repo, "worktree", "list").count("\n") == 0
    broken = "def one():\n    return None, lambda: 1 / 0, 1\n"
    (repo / "steps.py").write_text(broken)
    failed = invoke(*command[3:])
    assert failed.exit_code == 2
    assert re.search(
        r"error: the working tree: one: expected steps.*ZeroDivisionError", failed.stderr
    )
    assert len(read_history(HISTORY).entries) == 1


# --- trend ----------------------------------------------------------------------------------------


def test_a_trend_tells_and_never_fails(
    tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow-down ends with 0, its table, its files and the CI's summary.

    A torn line is left out and told.
    """
    monkeypatch.chdir(tmp_path)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    path = write(HISTORY, entries(30, ["lstm"], {("lstm", 20): 1.1}))
    path.write_bytes(path.read_bytes() + b'{"schema": 1')
    before = path.read_bytes()
    done = invoke("trend")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert re.search(r"In 30 recordings on this machine lstm became \d+\.\d % slower at", told)
    assert "A last line of 12 bytes was torn" in told
    assert re.search(r"│ lstm +│ f5ca38f74 │ 2026-01-21 │ \+\d", done.stdout)
    folder = tmp_path / "results" / "regress" / "trend"
    assert {each.name for each in folder.iterdir()} == {
        *("report.html", "report.md", "figures", "trend.json")
    }
    assert path.read_bytes() == before
    assert summary.read_text().startswith("### Trend over 30 recordings\n\nIn 30 recordings")
    assert "| lstm | f5ca38f74 |" in summary.read_text()


def test_a_trend_of_some_machines(
    tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how their fingerprints begin; trend.json on standard output."""
    monkeypatch.chdir(tmp_path)
    write(Path("h.jsonl"), entries(2, ["a"]), entries(3, ["a"], machine=NEWER, first=2))
    options = ("trend", "--history", "h.jsonl", "--results", "out", "--json")
    done = invoke(*options, "--fingerprint", "1cc6", "--seed", "3")
    plain = json.loads(done.stdout)
    assert [len(each["revisions"]) for each in plain["machines"]] == [2]
    assert (plain["seed"], plain["n_left_out"]) == (3, 3)
    assert "3 recordings of other machines were left out, as asked." in " ".join(
        done.stderr.split()
    )
    assert plain == json.loads((tmp_path / "out" / "trend.json").read_text())
    done = invoke(*options, "--fingerprint", "zz")
    assert done.exit_code == 2
    assert re.search(r"--fingerprint: expected the beginning.*known: 1cc6\w+, \w+", done.stderr)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, r"none\.jsonl: expected at least one recording, got none; python -m"),
        (b"", "expected at least one recording"),
        (b"[]\n", r"none\.jsonl: line 1: expected a recording as a JSON object"),
    ],
)
def test_a_history_that_has_no_trend_is_one_line(
    tmp_path: Path, invoke: Callable[..., Result], content: bytes | None, match: str
) -> None:
    """Named, exit code 2, and nothing is written."""
    path = tmp_path / "none.jsonl"
    if content is not None:
        path.write_bytes(content)
    done = invoke("trend", "--history", str(path), "--results", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert re.search(match, done.stderr)
    assert not (tmp_path / "out").exists()
