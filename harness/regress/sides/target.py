"""From a side to the place where it runs.

Its Python, what is first on its path, and its file of steps. Times nothing.

    side                 Python                          code
    working tree         this one                        the tree around the current folder
    git revision         this one                        a worktree of it
      with an install    an environment of its own       what was installed there
    environment          that one                        as the working tree
    requirement          an environment built for it     as the working tree
    plug-in              this one                        as the working tree, and the plug-in

"Code" is the top of a tree, and its folder `src` where there is one, first on sys.path. A file of
steps, or a plug-in, that lies in the repository is taken from a git revision that has it in the
same place, because it knows that revision's code, and as it was given everywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import harness
from harness.errors import InputError, Shown
from harness.processes.worker_client import WorkerSpec
from harness.regress.sides.side import Side, find_repository, requirements
from harness.regress.sides.workspace import Workspace, run_shown

Role = Literal["base", "head"]

WORKER: Final = Path(__file__).with_name("side_worker.py")

OTHERS_PACKAGES: Final = ("PYTHONPATH", "PYTHONHOME")
"""What would put this Python's packages into another one."""

SUITE: Final = '''\
"""The benchmarks of a grid, by the harness that is first on this side's path."""

import dataclasses
import json

from harness import cells, tasks
from harness.errors import HarnessError
from harness.plugins import load_plugins
from harness.timing import Benchmark, prepare

KNOWN = {field.name for field in dataclasses.fields(Benchmark)}


def steps_of(plain):
    def benchmark():
        made = Benchmark(**{key: value for key, value in plain.items() if key in KNOWN})
        subject = prepare(made)
        sequences = getattr(subject, "num_sequences", 0) or made.batch_size
        return None, subject.step, sequences, subject.reset

    return benchmark


def is_there(plain):
    try:
        cell, _ = cells.get_cell(plain["cell"]), tasks.get_task(plain["task"])
    except HarnessError:
        return False
    return plain["initialization"] in cell.initializations


load_plugins(json.loads(%(plugins)r))
STEPS = {
    plain["name"]: steps_of(plain) for plain in json.loads(%(benchmarks)r) if is_there(plain)
}
'''


@dataclass(frozen=True)
class Task:
    """What is timed on both sides.

    A file of steps, or the benchmarks of a grid with the plug-ins that they need.
    """

    steps: Path | None = None
    benchmarks: tuple[Mapping[str, Any], ...] = ()
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """Where a side runs. `watched`.

    The tree whose modules this side must not import, and the tree that has them too.
    """

    side: Side
    seat: WorkerSpec
    steps: Path
    paths: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path.cwd)
    watched: tuple[Path, Path] | None = None

    def load(self) -> dict[str, Any]:
        """The arguments of the worker's command `load`."""
        return {"file": str(self.steps), "paths": list(self.paths), "folder": str(self.folder)}


@dataclass(frozen=True)
class TargetContext:
    """What the places of both sides have in common."""

    workspace: Workspace
    task: Task
    here: Path
    install: str = ""

    @property
    def top(self) -> Path:
        """The working tree: the repository around the current folder, or that folder itself."""
        return find_repository(self.here) or self.here


def make_place(role: Role, side: Side, ground: TargetContext) -> Target:
    """Make what a side needs: a worktree, an environment, its file of steps.

    Raises InputError for what can't be made.
    """
    if side.kind == "plugin" and not ground.task.benchmarks:
        remedy = "give --suite GRID, a grid that has its cells"
        raise InputError(f"--{role}", expected="a side with steps", got=side.text, remedy=remedy)
    top = _tree(role, side, ground)
    python, is_own = _python(role, side, ground, top)
    environment = dict(os.environ)
    if is_own:
        environment = {k: v for k, v in environment.items() if k not in OTHERS_PACKAGES}
    installed = bool(ground.install) and side.kind in ("revision", "worktree")
    paths = [] if installed else _code(role, ground, side, top)
    inside = _inside(ground.here, ground.top)
    folder = top / inside if inside is not None and (top / inside).is_dir() else top
    worker = ground.workspace.folder / "worker" / "side_worker.py"
    if not worker.exists():  # a copy: nobody edits it while it runs, and nothing lies beside it
        worker.parent.mkdir()
        shutil.copy(WORKER, worker)
    return Target(
        side=side,
        seat=WorkerSpec(role, (str(python), str(worker), "--ready"), environment, own_session=True),
        steps=_steps(role, side, ground, top),
        paths=tuple(paths),
        folder=folder,
        watched=(ground.top, top) if side.kind == "revision" else None,
    )


def _tree(role: Role, side: Side, ground: TargetContext) -> Path:
    if side.kind != "revision":
        return ground.top
    repository = find_repository(ground.here)
    assert repository is not None  # or its commit could not have been found
    return ground.workspace.worktree(repository, side.value, role)


def _python(role: Role, side: Side, ground: TargetContext, top: Path) -> tuple[Path, bool]:
    """The Python of a side, and whether its environment is another than ours."""
    if side.kind == "environment":
        return Path(side.value), True
    if side.kind == "requirement":
        python = ground.workspace.environment(role)
        wanted = requirements(side.value)
        named = any(each.startswith("numpy") for each in wanted)
        if ground.task.benchmarks and not named:  # the harness needs it, and torch doesn't bring it
            wanted.append("numpy")
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        run_shown(role, [*pip, *wanted], ground.here, _environment_of(python))
        return python, True
    if ground.install and side.kind in ("revision", "worktree"):
        python = ground.workspace.environment(role)
        shell = ["cmd", "/c"] if sys.platform == "win32" else ["sh", "-c"]
        run_shown(role, [*shell, ground.install], top, _environment_of(python))
        return python, True
    return Path(sys.executable), False


def _environment_of(python: Path) -> dict[str, str]:
    """The variables under which `pip` and `python` are those of an environment."""
    kept = {k: v for k, v in os.environ.items() if k not in OTHERS_PACKAGES}
    path = os.pathsep.join([str(python.parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent)}


def _code(role: Role, ground: TargetContext, side: Side, top: Path) -> list[str]:
    """What is first on the path: the tree; for a grid, one that has the harness."""
    paths = [str(top), *([str(top / "src")] if (top / "src").is_dir() else [])]
    if not ground.task.benchmarks or (top / "harness" / "timing").is_dir():
        return paths
    if side.kind == "revision":
        remedy = "time its own code with --steps FILE"
        got = Shown(f"{side.label}, which has no harness/timing")
        raise InputError(f"--{role}", expected="a revision of the harness", got=got, remedy=remedy)
    copy = ground.workspace.folder / "code"
    if not copy.exists():  # alone: beside the package lie the packages of this environment
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(harness.__file__).parent, copy / "harness", ignore=ignored)
    return [str(copy), *paths]


def _steps(role: Role, side: Side, ground: TargetContext, top: Path) -> Path:
    if ground.task.steps is not None:
        return _own_version(ground.task.steps, ground, top)
    plugins = [
        str(_own_version(Path(name), ground, top)) if name.endswith(".py") else name
        for name in ground.task.plugins
    ]
    plugins += [side.value] if side.kind == "plugin" else []
    benchmarks = json.dumps([dict(each) for each in ground.task.benchmarks])
    path = ground.workspace.folder / f"{role}_suite.py"
    path.write_text(SUITE % {"plugins": json.dumps(plugins), "benchmarks": benchmarks}, "utf-8")
    return path


def _own_version(given: Path, ground: TargetContext, top: Path) -> Path:
    """A file as a tree has it in the same place, or as it was given."""
    path = (ground.here / given).resolve()
    inside = _inside(path, ground.top)
    return top / inside if inside is not None and (top / inside).is_file() else path


def _inside(path: Path, top: Path) -> Path | None:
    path, top = path.resolve(), top.resolve()
    return path.relative_to(top) if path.is_relative_to(top) else None
