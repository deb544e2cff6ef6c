"""Where a side runs: its Python, the code that is first on its path, and its file of steps.

It makes what is missing and times nothing.

    side                 Python                          code
    working tree         this one                        the tree around the current folder
    git revision         this one                        a worktree of it
      with an install    an environment of its own       what was installed there
    environment          that one                        as the working tree
    requirement          an environment built for it     as the working tree
    plug-in              this one                        as the working tree, and the plug-in

"Code" is the top of a tree, and its folder `src` where there is one: both come first on sys.path.
Where the C sources of the harness are in it, its native kernels are compiled from them.
A file of steps or a plug-in in the repository is taken from the git revision itself if that has
one at the same path, because that version fits the revision's code. Otherwise it is used as given.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import harness
from harness.errors import InputError, Shown
from harness.processes.worker_client import WorkerSpec
from harness.regress.sides.native_kernels import compile_native_kernels
from harness.regress.sides.side import Side, find_repository, requirements
from harness.regress.sides.workspace import Workspace, run_shown

if TYPE_CHECKING:  # or reports, which read this module's dataclasses, would import torch
    from harness.regress.timed_workload import ResolvedWorkload

Role = Literal["base", "head"]

WORKER: Final = Path(__file__).with_name("side_worker.py")

GRID_STEPS: Final = Path(__file__).with_name("grid_program.py")

PACKAGE_VARIABLES: Final = ("PYTHONPATH", "PYTHONHOME")
"""Environment variables that would make another Python import this one's packages."""


@dataclass(frozen=True)
class Target:
    """Where a side runs: how its worker starts, its file of steps, paths and current folder.

    `watched`: the working tree, whose modules this side must not import, and this side's own tree.
    """

    side: Side
    worker: WorkerSpec
    steps: Path
    paths: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path.cwd)
    watched: tuple[Path, Path] | None = None

    def load_arguments(self) -> dict[str, Any]:
        """The arguments of the worker's command `load`."""
        return {"file": str(self.steps), "paths": list(self.paths), "folder": str(self.folder)}


@dataclass(frozen=True)
class TargetContext:
    """What the targets of both sides share; `here` is the current folder."""

    workspace: Workspace
    workload: ResolvedWorkload
    here: Path
    install: str = ""

    @property
    def top(self) -> Path:
        """The working tree: the repository around the current folder, or that folder itself."""
        return find_repository(self.here) or self.here


def make_target(role: Role, side: Side, context: TargetContext) -> Target:
    """Make what a side needs: a worktree, an environment, its file of steps.

    Raises InputError for what cannot be made.
    """
    if side.kind == "plugin" and not context.workload.benchmarks:
        remedy = "give --suite GRID, a grid that has its cells"
        raise InputError(f"--{role}", expected="a side with steps", got=side.text, remedy=remedy)
    top = _tree(role, side, context)
    python, has_own_environment = _python(role, side, context, top)
    environment = _without_our_packages() if has_own_environment else dict(os.environ)
    is_installed = bool(context.install) and side.kind in ("revision", "worktree")
    inside = _inside(context.here, context.top)
    worker = context.workspace.folder / "worker" / WORKER.name
    if not worker.exists():  # a copy, so that no import finds a file beside it
        worker.parent.mkdir()
        shutil.copy(WORKER, worker)
    command = (str(python), str(worker), "--ready")
    paths = () if is_installed else tuple(_code(role, context, side, top))
    for path in paths:
        compile_native_kernels(Path(path))
    return Target(
        side=side,
        worker=WorkerSpec(role, command, environment, own_session=True),
        steps=_steps(role, side, context, top),
        paths=paths,
        folder=top / inside if inside is not None and (top / inside).is_dir() else top,
        watched=(context.top, top) if side.kind == "revision" else None,
    )


def _tree(role: Role, side: Side, context: TargetContext) -> Path:
    if side.kind != "revision":
        return context.top
    repository = find_repository(context.here)
    assert repository is not None  # or its commit could not have been found
    return context.workspace.worktree(repository, side.value, role)


def _python(role: Role, side: Side, context: TargetContext, top: Path) -> tuple[Path, bool]:
    """The Python of a side, and whether its environment is another than ours."""
    if side.kind == "environment":
        return Path(side.value), True
    if side.kind == "requirement":
        python = context.workspace.environment(role)
        wanted = requirements(side.value)
        named = any(each.startswith("numpy") for each in wanted)
        # The harness needs numpy, and torch does not install it
        if context.workload.benchmarks and not named:
            wanted.append("numpy")
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        run_shown(role, [*pip, *wanted], context.here, _environment_of(python))
        return python, True
    if context.install and side.kind in ("revision", "worktree"):
        python = context.workspace.environment(role)
        shell = ["cmd", "/c"] if sys.platform == "win32" else ["sh", "-c"]
        run_shown(role, [*shell, context.install], top, _environment_of(python))
        return python, True
    return Path(sys.executable), False


def _environment_of(python: Path) -> dict[str, str]:
    """The variables under which `pip` and `python` are those of an environment."""
    kept = _without_our_packages()
    path = os.pathsep.join([str(python.parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent)}


def _without_our_packages() -> dict[str, str]:
    """The variables of this process, except those that name this Python's packages."""
    return {k: v for k, v in os.environ.items() if k not in PACKAGE_VARIABLES}


def _code(role: Role, context: TargetContext, side: Side, top: Path) -> list[str]:
    """What is first on the path: the tree; for a grid, one that has the harness."""
    paths = [str(top), *([str(top / "src")] if (top / "src").is_dir() else [])]
    if not context.workload.benchmarks or (top / "harness" / "timing").is_dir():
        return paths
    if side.kind == "revision":
        remedy = "time its own code with --steps FILE"
        got = Shown(f"{side.label}, which has no harness/timing")
        raise InputError(f"--{role}", expected="a revision of the harness", got=got, remedy=remedy)
    copy = context.workspace.folder / "code"
    if not copy.exists():  # alone: beside the package lie the packages of this environment
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(harness.__file__).parent, copy / "harness", ignore=ignored)
    return [str(copy), *paths]


def _steps(role: Role, side: Side, context: TargetContext, top: Path) -> Path:
    if context.workload.steps is not None:
        return _own_version(context.workload.steps, context, top)
    plugins = [
        str(_own_version(Path(name), context, top)) if name.endswith(".py") else name
        for name in context.workload.plugins
    ]
    plugins += [side.value] if side.kind == "plugin" else []
    path = context.workspace.folder / f"{role}_grid" / GRID_STEPS.name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(GRID_STEPS, path)
    benchmarks = [dict(each) for each in context.workload.benchmarks]
    workload = json.dumps({"plugins": plugins, "benchmarks": benchmarks})
    path.with_suffix(".json").write_text(workload, encoding="utf-8")
    return path


def _own_version(given: Path, context: TargetContext, top: Path) -> Path:
    """A file as a tree has it in the same place, or as it was given."""
    path = (context.here / given).resolve()
    inside = _inside(path, context.top)
    return top / inside if inside is not None and (top / inside).is_file() else path


def _inside(path: Path, top: Path) -> Path | None:
    path, top = path.resolve(), top.resolve()
    return path.relative_to(top) if path.is_relative_to(top) else None
