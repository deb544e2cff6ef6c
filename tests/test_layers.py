"""The floors of the package: who may import whom, and which room owns which third-party package.

The rules are the tables below. They are checked on the source, so an import inside a function counts too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness"

# A room is a module or a folder of harness/. It imports only from lower floors.
FLOORS = {
    0: {"errors", "parameters", "metrics", "stats", "spec"},
    1: {"tasks", "cells", "models", "recurrence", "steps", "machine", "plugins"},
    2: {"training", "diagnostics", "timing"},
    3: {"search", "comparison"},
    4: {"records", "reporting"},
    5: {"pipeline"},
    6: {"study", "bench", "regress", "report", "console", "commandline", "__main__"},
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
COMMANDS = {"study", "bench", "regress", "report"}


def floors(low: int, high: int) -> set[str]:
    """The rooms from one floor up to another."""
    return {room for room, floor in FLOOR_OF.items() if low <= floor <= high}


# Rooms of one floor are strangers, but for these. The parts of floor 1 are one family: see below.
NEIGHBOURS = {
    **{(room, "errors"): "whoever finds something wrong says so" for room in FLOORS[0]},
    ("spec", "parameters"): "a study file holds parameters",
    ("reporting", "records"): "a report is drawn from the result files",
    **{(command, "console"): "what a person sees in the terminal" for command in COMMANDS},
    **{(command, "commandline"): "what every command does about its line" for command in COMMANDS},
}

# Who may import a third-party package. One that is not here has no owner, and so no place.
OWNERS = {
    "pydantic": {"spec"},
    "tomli_w": {"spec", "records"},
    "numpy": {"stats"} | floors(1, 5),
    "torch": floors(1, 5),
    "psutil": {"machine", "search", "comparison"},
    "optuna": {"search"},
    "sqlalchemy": {"search"},
    "filelock": {"search"},
    "ray": {"search"},
    "psycopg": {"search"},
    "pandas": {"records", "reporting"},
    "seaborn": {"reporting"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting"},
    "markupsafe": {"reporting"},
    "typer": COMMANDS | {"commandline"},
    "rich": COMMANDS | {"console"},
}

# `python -m harness.timing` must run where only torch is, so it may use less than its floor.
TIMING_MAY_IMPORT = {"torch", "numpy", "errors"} | FLOORS[1]

NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "misc"}

# A command answers --help in under 0.3 s only if none of these is imported with it.
HEAVY = {"torch", "numpy", "pandas", "seaborn", "matplotlib", "optuna", "sqlalchemy", "pydantic"}


def read_sources() -> dict[str, str]:
    """The source of every module of the package, by dotted name; a folder's ends in `.__init__`."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports_of(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Each module that the source names in an import, wherever the import stands.

    `from a import b` names the module a.b if there is one, and else a. A room is always a module.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                for name in names:
                    inner = f"{module}.{name.name}"
                    is_module = module == "harness" or {inner, f"{inner}.__init__"} & modules
                    yield inner if is_module else module
            case ast.ImportFrom():
                yield "."
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module


def room_of(module: str) -> str:
    """The room of a module of the package: harness.tasks.adding is in `tasks`; harness itself is ``."""
    parts = module.removesuffix(".__init__").split(".")
    return parts[1] if len(parts) > 1 else ""


def refusal(room: str, imported: str) -> str | None:
    """Why a room may not have this import, or None if it may."""
    top = imported.partition(".")[0]
    if imported == ".":
        return "imports relatively: write the whole name"
    if top in sys.stdlib_module_names:
        return None
    if top != "harness":
        if top not in OWNERS:
            return f"imports {top}, which no room owns"
        if room not in OWNERS[top]:
            return f"imports {top}, which belongs to {', '.join(sorted(OWNERS[top]))}"
        name = top
    else:
        name = room_of(imported)
        if name not in FLOOR_OF:
            return (
                None  # the package itself, or a module that is reported as unknown where it stands
            )
        if name in COMMANDS | {"__main__"} and name != room:
            return f"imports the command {name}; commands are imported by nothing"
        floor, other = FLOOR_OF[room], FLOOR_OF[name]
        family = name == room or floor == other == 1 or (room, name) in NEIGHBOURS
        if other >= floor and not family:
            return f"on floor {floor} imports {name} on floor {other}"
    if room == "timing" and name not in TIMING_MAY_IMPORT | {"timing"}:
        return f"imports {name}, but timing must run where only torch is"
    return None


def effects_of(tree: ast.Module) -> Iterator[str]:
    """Calls and settings that run because the module is imported."""
    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Call()):
                yield ast.unparse(node)
            case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
                yield ast.unparse(node)


def violations(sources: dict[str, str]) -> list[str]:
    """Each breach of the rules in these sources (dotted name -> text), in words."""
    found = []
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        tree = ast.parse(source)
        room, name = room_of(module), module.rsplit(".", 1)[-1]
        imported = set(imports_of(tree, set(sources)))
        graph[module] = {
            full
            for one in imported
            for full in (one, f"{one}.__init__")
            if full in sources and full != module
        }
        if room == "":
            found += [
                f"{module} imports {one}; the package itself imports nothing" for one in imported
            ]
            continue
        if room not in FLOOR_OF:
            found.append(f"{module} has no floor: give its room one in {Path(__file__).name}")
            continue
        if name in NAMES_THAT_SAY_NOTHING | set(sys.stdlib_module_names):
            found.append(f"{module}: {name} says nothing, or is a module of the standard library")
        if room in COMMANDS and any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
            found.append(f"{module} defines a class; commands are thin")
        found += [f"{module} does at import: {effect}" for effect in effects_of(tree)]
        found += [f"{module} {why}" for one in sorted(imported) if (why := refusal(room, one))]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports go round: {' -> '.join(error.args[1])}")
    return found


def test_the_package_keeps_its_floors() -> None:
    """Every module has a floor, imports only from below, and uses only packages that its room owns."""
    assert violations(read_sources()) == []


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        ("metrics", "import harness.tasks", "metrics on floor 0 imports tasks on floor 1"),
        ("metrics", "def f():\n    from harness import search", "imports search on floor 3"),
        ("training", "from harness.timing import clocks", "imports timing on floor 2"),
        ("stats", "from harness.config import load", "imports spec on floor 0"),
        ("cells", "import importlib as i\ndef f(): i.import_module('harness.records')", "floor 4"),
        ("pipeline", "from harness import study", "imports the command study"),
        ("console", "from harness.report import app", "imports the command report"),
        ("timing.clocks", "import harness.stats", "must run where only torch is"),
        ("timing.clocks", "import harness.columns", "must run where only torch is"),
        ("metrics", "import numpy as np", "imports numpy, which belongs to"),
        ("pipeline", "import optuna.samplers", "imports optuna, which belongs to search"),
        ("cells", "import requests", "imports requests, which no room owns"),
        ("cells", "from .models import Model", "imports relatively"),
        ("study", "class Command: ...", "defines a class"),
        (
            "machine",
            "import torch\ntorch.set_num_threads(1)",
            "does at import: torch.set_num_threads(1)",
        ),
        ("machine", "import os\nos.environ['A'] = '1'", "does at import: os.environ['A'] = '1'"),
        ("tasks.random", "", "random says nothing"),
        ("search.utils", "", "utils says nothing"),
        ("attic", "", "harness.attic has no floor"),
        ("__init__", "import torch", "the package itself imports nothing"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, says: str) -> None:
    """Each rule finds the breach it is there for, and nothing else."""
    (found,) = violations({f"harness.{module}": source})
    assert says in found


def test_a_circle_of_imports_is_found() -> None:
    """Parts of one floor may know each other, but not both ways."""
    circle = {
        "harness.cells": "import harness.training.model",
        "harness.training.model": "from harness import cells",
    }
    assert any("imports go round" in line for line in violations(circle))


def test_what_is_allowed_passes() -> None:
    """Lower floors, the standard library, a room's own package and its own files are free."""
    assert (
        violations(
            {
                "harness.__init__": "",
                "harness.errors": "",
                "harness.config": "import tomllib\nimport pydantic\nfrom harness.errors import BadInput",
                "harness.tasks.__init__": "from harness.tasks import adding",
                "harness.tasks.adding": "from harness.tasks.base import Task",
                "harness.tasks.base": "import torch",
                "harness.training.model": "from harness.cells import CELLS",
                "harness.cells": "import torch",
                "harness.study.coordinator": "import optuna\nfrom harness import spec, training",
                "harness.training": "",
                "harness.study": "import typer\ndef run():\n    from harness import pipeline\n    import rich",
                "harness.study.run": "",
            }
        )
        == []
    )


@pytest.mark.parametrize("command", [c for c in sorted(COMMANDS) if (PACKAGE / f"{c}.py").exists()])
def test_a_command_is_light_to_import(command: str) -> None:
    """Importing a command loads nothing heavy, so that --help answers at once."""
    code = f"import sys, harness.{command}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_timing_runs_where_only_torch_is() -> None:
    """harness.timing imports with every third-party package but torch and numpy out of reach."""
    if not (PACKAGE / "timing").exists():
        return
    absent = sorted(set(OWNERS) - {"torch", "numpy"})
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import harness.timing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
