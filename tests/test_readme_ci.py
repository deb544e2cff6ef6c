"""README's section "Track regressions in CI", followed word for word in an outside repository.

What the page shows is run as it stands, but for `--budget 1`, which it offers. Two things stand in
for others: `pip install` is only noted, for the harness is there already, as a wheel would have it;
and GitHub's own actions are passed over. The upgrade of torch takes an index of packages: without
one its command is carried to where it builds environments, and ends there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import harness
from harness.regress.history import read_history
from harness.regress.sides.side import parse_side, requirements
from tests.documented import page
from tests.regress.sided import git, repository

WORKFLOW = Path(__file__).parents[1] / ".github" / "workflows" / "performance.yml"
SOON = "--budget 1"
STAND_IN = """#!/bin/sh
if [ "$1 $2 $3" = "-m pip install" ]; then shift 3; echo "$@" >> "$NOTED"; exit 0; fi
exec "$PYTHON" "$@"
"""
PIP = """#!/bin/sh
exec python -m pip "$@"
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the workflow runs on Linux")


def section() -> str:
    """The text of the section."""
    (text,) = re.findall(
        r"^## Track regressions in CI\n(.*?)^## ", page("README.md"), re.MULTILINE | re.DOTALL
    )
    return str(text)


def fences(language: str) -> list[str]:
    """Its blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)
    return [text for marked, text in found if marked == language]


def workflow(text: str = "") -> Any:
    """The workflow as GitHub reads it."""
    return yaml.safe_load(text or WORKFLOW.read_text("utf-8"))


class Outside:
    """A repository without the harness, and the environment in which its commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        installed = folder / "installed"
        package = Path(harness.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, installed / "harness", ignore=ignored)
        shutil.copytree(package.parent / "studies", installed / "harness" / "studies")
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("python", STAND_IN), ("pip", PIP)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.origin, self.clone = folder / "origin.git", folder / "clone"
        first = folder / "first"
        first.mkdir()
        (first / "requirements.txt").write_text("torch\n")
        repository(first)
        git(folder, "clone", "-q", "--bare", str(first), str(self.origin))
        self.noted, self.summary = folder / "noted.txt", folder / "summary.md"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GIT_"))}
        self.environment = {
            **kept,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(installed),
            "NOTED": str(self.noted),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def checkout(self, *arguments: str) -> None:
        """What actions/checkout leaves: a fresh clone at a commit."""
        shutil.rmtree(self.clone, ignore_errors=True)
        git(self.folder, "clone", "-q", str(self.origin), str(self.clone))
        git(self.clone, "checkout", "-q", *arguments)

    def shell(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A script as GitHub runs one that says `shell: bash`."""
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.clone,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    def job(self, plan: Any, name: str, github: dict[str, str]) -> None:
        """Run the `run` lines of a job, one after the other; each ends with 0."""
        for step in plan["jobs"][name]["steps"]:
            if "run" not in step:
                assert step["uses"].startswith("actions/")
                continue
            values = {**plan["env"], **step.get("env", {})}
            given = {key: filled(str(value), github) for key, value in values.items()}
            done = self.shell(step["run"], **given)
            assert done.returncode == 0, done.stdout + done.stderr


def filled(text: str, github: dict[str, str]) -> str:
    """A value with its ${{ expressions }} filled in; KeyError for one that this event has not."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: github[match[1]], text)


def soon(command: str) -> str:
    """A command of the page with the budget that it offers."""
    return f"{command.strip()} {SOON}"


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """A repository outside."""
    return Outside(tmp_path)


@pytest.mark.nightly
def test_a_step_is_compared_with_main(outside: Outside) -> None:
    """Steps 1 to 3: install, the file of steps, the trial."""
    install, trial, _ = fences("")
    outside.checkout("main")
    assert outside.shell(install).returncode == 0
    assert outside.noted.read_text().split() == install.split()[2:]
    write_steps(outside)
    done = outside.shell(soon(trial))
    assert done.returncode == 0, done.stderr
    assert "training_step" in done.stdout
    assert (outside.clone / "results" / "regress" / "main-worktree" / "report.html").is_file()
    assert "| training\\_step |" in outside.summary.read_text()


@pytest.mark.nightly
def test_a_pull_request_is_compared_with_its_merge_base(outside: Outside) -> None:
    """Step 4, on GitHub's side: not with what main is by now.

    The table stands in the summary, the report among the files.
    """
    plan, lines = edited_workflow()
    forked, target = push_a_change(outside)
    outside.checkout("change")
    outside.job(plan, "compare", {"github.event.pull_request.base.sha": target})
    folder = outside.clone / "results" / "regress" / "pull_request"
    found = json.loads((folder / "comparison.json").read_text())
    assert found["base"]["value"] == forked
    assert found["notes"] == [
        "steps.py differs between the sides: each was timed with its own version"
    ]
    assert [each["name"] for each in found["findings"]] == ["training_step"]
    assert (folder / "report.html").is_file()
    assert "| training\\_step |" in outside.summary.read_text()
    assert outside.noted.read_text().splitlines() == [lines["INSTALL"]]


@pytest.mark.nightly
def test_main_is_recorded_on_a_branch_of_its_own(outside: Outside) -> None:
    """Step 4 on GitHub: a fresh machine finds an earlier recording and appends to it."""
    plan, _ = edited_workflow()
    _, target = push_a_change(outside)
    for n in (1, 2):
        outside.checkout("main")
        outside.job(plan, "record", {})
        outside.job(plan, "keep", {})
        kept = outside.folder / "kept.jsonl"
        kept.write_text(git(outside.origin, "show", "performance-history:history.jsonl") + "\n")
        assert [each.revision for each in read_history(kept).entries] == [target[:9]] * n
        assert git(outside.origin, "rev-list", "--count", "performance-history") == str(n)
        assert (outside.clone / "results" / "regress" / "trend" / "report.html").is_file()
    summary = outside.summary.read_text()
    assert summary.count("### Recorded: ") == summary.count("### Trend over ") == 2


def write_steps(outside: Outside) -> str:
    """Write the page's file of steps where its first line says; returns its name."""
    (text,) = fences("python")
    name = re.match(r"# (\S+)\n", text)
    assert name is not None
    path = outside.clone / name[1]
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return name[1]


def edited_workflow() -> tuple[Any, dict[str, str]]:
    """The workflow with the lines that the page says to change, and these.

    With the budget among the options.
    """
    (changed,) = fences("yaml")
    lines = dict(re.findall(r"^  ([A-Z]+): (.*)$", changed, re.MULTILINE))
    assert lines["BENCHMARKS"] in fences("")[1]
    lines["BENCHMARKS"] = soon(lines["BENCHMARKS"])
    text = WORKFLOW.read_text("utf-8")
    for key, value in lines.items():
        text, n = re.subn(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.MULTILINE)
        assert n == 1
    plan = workflow(text)
    assert plan["env"] == workflow()["env"] | lines
    return plan, lines


def push_a_change(outside: Outside) -> tuple[str, str]:
    """Push the file of steps to main, a branch that changes it, and another commit to main.

    Where they part, and main.
    """
    outside.checkout("main")
    clone, name = outside.clone, write_steps(outside)
    path = clone / name
    git(clone, "add", name)
    git(clone, "commit", "-q", "-m", "bench")
    forked = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-q", "-b", "change")
    path.write_text(path.read_text().replace("32", "24"))
    git(clone, "commit", "-q", "-am", "change")
    git(clone, "checkout", "-q", "main")
    git(clone, "commit", "-q", "--allow-empty", "-m", "main goes on")
    git(clone, "push", "-q", "origin", "main", "change")
    return forked, git(clone, "rev-parse", "HEAD")


@pytest.mark.nightly
def test_an_upgrade_of_torch_is_compared_in_two_environments(outside: Outside) -> None:
    """Both sides are requirements.

    Where there is no index of packages it is said which one can't be had.
    """
    *_, upgrade = fences("")
    outside.checkout("main")
    write_steps(outside)
    words = shlex.split(upgrade)
    for option in ("--base", "--head"):
        side = parse_side(option, words[words.index(option) + 1], outside.clone)
        assert (side.kind, requirements(side.value)) == ("requirement", [side.text])
    no_index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = outside.shell(upgrade, **no_index)
    assert done.returncode == 2, done.stdout
    assert re.search(
        r"error: base: .*torch==2\.12\.1: expected an environment that can be built", done.stderr
    )


def test_a_history_that_lost_a_line_is_not_kept(outside: Outside) -> None:
    """The branch stays as it was.

    And where it can't be asked, nothing is taken for a first recording.
    """
    outside.checkout("main")
    history = outside.clone / "results" / "regress" / "history.jsonl"
    history.parent.mkdir(parents=True)
    history.write_text("one\ntwo\n")
    plan = workflow()
    outside.job(plan, "keep", {})
    before = git(outside.origin, "rev-parse", "performance-history")
    history.write_text("two\nthree\n")
    with pytest.raises(AssertionError, match="differ"):
        outside.job(plan, "keep", {})
    assert git(outside.origin, "rev-parse", "performance-history") == before
    git(outside.clone, "remote", "set-url", "origin", str(outside.folder / "gone"))
    (so_far,) = [
        step["run"] for step in plan["jobs"]["record"]["steps"] if "so far" in step.get("name", "")
    ]
    assert outside.shell(so_far, **plan["env"]).returncode == 128


def test_the_workflow_gives_away_nothing() -> None:
    """Nothing of an event stands in a shell's text; only the job that runs git may write.

    No secret is named.
    """
    plan, text = workflow(), WORKFLOW.read_text("utf-8")
    assert "secrets." not in text
    assert set(plan[True]) == {"pull_request", "push"}  # YAML 1.1 takes `on` for true
    assert plan["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in plan["jobs"].items()} == {
        "compare": None,
        "record": None,
        "keep": {"contents": "write"},
    }
    for job in plan["jobs"].values():
        assert job["timeout-minutes"] <= 30
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
    assert "harness" not in " ".join(step.get("run", "") for step in plan["jobs"]["keep"]["steps"])
    (checkout, *_) = plan["jobs"]["compare"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0
    assert checkout["with"]["persist-credentials"] is False
