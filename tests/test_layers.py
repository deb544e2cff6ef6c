"""The layers of the package: who may import whom, and which module owns which third-party package.

The rules are the tables below. They are checked on the source, so an import inside a function
counts too. CONTRIBUTING.md shows the layers as they are drawn from these tables: `python -m
tests.test_layers` writes them there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "harness"
PAGE = ROOT / "CONTRIBUTING.md"

# A part is a module or a folder of harness/. It imports only from lower layers, lowest first here.
LAYERS: dict[str, tuple[str, ...]] = {
    "vocabulary": (
        "regular_file",
        "home_folder",
        "errors",
        "hyperparameters",
        "columns",
        "metric_definitions",
        "order_statistics",
        "stats",
    ),
    "parts": (
        *("atomic_file", "config", "cells", "tasks", "machine", "plugin_sources", "plugins"),
        "processes",
    ),
    "one trial": ("training",),
    "measuring": ("diagnostics", "timing"),
    "files": ("records",),
    "showing": ("rendering", "cli"),
    "products": ("study", "bench", "regress"),
    "all products": ("report", "__main__"),
}
LAYER_OF = {part: layer for layer, parts in enumerate(LAYERS.values()) for part in parts}
PRODUCTS = LAYERS["products"]
COMMANDS = (*PRODUCTS, "report")

# Parts of one layer do not import each other, except these. Each has its reason.
NEIGHBOURS = {
    **{(part, "errors"): "reports what is wrong" for part in LAYERS["vocabulary"]},
    ("metric_definitions", "columns"): "an objective has a direction",
    ("stats", "order_statistics"): "a median with its interval is one of the conclusions",
    ("stats", "columns"): "needs the direction of a column, and nothing of columns needs stats",
    ("cells", "plugins"): "installed packages offer cells",
    ("tasks", "plugins"): "installed packages offer tasks",
    ("plugins", "plugin_sources"): "what is imported is what is hashed",
}

# Which parts may import a third-party package. `study.report` stands for what is in that folder
# alone.
REPORTS = {"rendering", *(f"{product}.report" for product in ("study", "bench"))}
REPORTS |= {f"regress.{command}.report" for command in ("compare", "selftest", "trend")}
REPORTS |= {"regress.selftest.rate_figures"}
COMPUTING = {part for layer in ("parts", "one trial", "measuring") for part in LAYERS[layer]}
COMPUTING = (COMPUTING - {"atomic_file", "config", "processes"}) | {
    "records",
    "rendering",
    *PRODUCTS,
}
OWNERS = {
    "pydantic": {"config", "records", "regress.json_files", "study.storage"},
    "tomli_w": {"config", "study.result_files"},
    "numpy": COMPUTING | {"stats"},
    "scipy": {"stats", "study", "regress"},
    "torch": COMPUTING - {"records", "rendering"},
    "psutil": {"machine", "study", "regress"},
    "optuna": {"study"},
    "sqlalchemy": {"study.storage"},
    "filelock": {"records"},
    "ray": {"study.execution"},
    "psycopg": {"study.storage"},
    "pandas": REPORTS | {"records"},
    "seaborn": REPORTS,
    "matplotlib": REPORTS,
    "jinja2": {"rendering"},
    "markupsafe": {"rendering"},
    "typer": {*(f"{command}.__main__" for command in COMMANDS), "cli"},
    "rich": {"cli", "study.terminal_output", "bench.terminal_output"}
    | {"regress.terminal_output", "regress.selftest.terminal_output"},
}

# `python -m harness.timing` must run where only torch and numpy are, so it may use less than its
# layer.
TIMING_MAY_IMPORT = {
    "home_folder",
    "errors",
    "columns",
    "metric_definitions",
    "order_statistics",
    "cells",
    "tasks",
    "machine",
    "plugin_sources",
    "plugins",
    "training",
}
TIMING_MAY_IMPORT |= {"processes", "hyperparameters", "timing", "torch", "numpy"}

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

    `from a import b` names the module a.b if there is one, and else a. A part is always a module.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                for name in names:
                    inner = f"{module}.{name.name}"
                    is_module = module == "harness" or name.name == "__main__"
                    is_module = is_module or bool({inner, f"{inner}.__init__"} & modules)
                    yield inner if is_module else module
            case ast.ImportFrom():
                yield "."
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module


def part_of(module: str) -> str:
    """The part that a module belongs to: harness.tasks.adding is in `tasks`.

    Harness itself is ``.
    """
    parts = module.removesuffix(".__init__").split(".")
    return parts[1] if len(parts) > 1 else ""


def refusal(module: str, imported: str) -> str | None:
    """Why a module may not have this import, or None if it may."""
    part, top = part_of(module), imported.partition(".")[0]
    if imported == ".":
        return "imports relatively: write the whole name"
    if top in sys.stdlib_module_names:
        return None
    if top != "harness":
        name = top
        if top not in OWNERS:
            return f"imports {top}, which no part owns"
        if not any(f"{module}.".startswith(f"harness.{owner}.") for owner in OWNERS[top]):
            return f"imports {top}, which belongs to {', '.join(sorted(OWNERS[top]))}"
    else:
        name = part_of(imported)
        if name not in LAYER_OF:  # the package itself, or one that is reported where it is
            return None
        if imported.endswith(".__main__") and imported != module:
            return f"imports the command {name}; commands are imported by nothing"
        layer, other = LAYER_OF[part], LAYER_OF[name]
        if other >= layer and name != part and (part, name) not in NEIGHBOURS:
            names = list(LAYERS)
            return f"in layer {names[layer]} imports {name} of layer {names[other]}"
    if part == "timing" and name not in TIMING_MAY_IMPORT:
        return f"imports {name}, but timing must run where only torch and numpy are"
    if part == "processes" and name != "processes":
        return f"imports {name}, but processes uses the standard library alone"
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
        part, name = part_of(module), module.rsplit(".", 1)[-1]
        imported = set(imports_of(tree, set(sources)))
        graph[module] = {
            full
            for one in imported
            for full in (one, f"{one}.__init__")
            if full in sources and full != module
        }
        if part == "":
            found += [
                f"{module} imports {one}; the package itself imports nothing" for one in imported
            ]
            continue
        if part not in LAYER_OF:
            found.append(f"{module} has no layer: give it one in {Path(__file__).name}")
            continue
        if name in NAMES_THAT_SAY_NOTHING | set(sys.stdlib_module_names):
            found.append(f"{module}: {name} says nothing, or is a module of the standard library")
        if name == "__main__" and any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
            found.append(f"{module} defines a class; commands are thin")
        if module in {f"harness.{command}.__init__" for command in COMMANDS} and imported:
            found.append(f"{module} imports something; --help answers at once only without")
        found += [f"{module} does at import: {effect}" for effect in effects_of(tree)]
        found += [f"{module} {why}" for one in sorted(imported) if (why := refusal(module, one))]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports go round: {' -> '.join(error.args[1])}")
    return found


def drawing() -> str:
    """The layers as text, highest first: the part, and the first sentence of its docstring."""
    lines = []
    for layer, parts in reversed(LAYERS.items()):
        lines.append(layer)
        for part in parts:
            path = PACKAGE / f"{part}.py"
            path = path if path.exists() else PACKAGE / part / "__init__.py"
            doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            first = re.split(r"(?<=\.)\s", doc.partition("\n")[0])[0].rstrip(".")
            name = part if path.stem == part else f"{part}/"
            lines.append(f"    {name:<20}{first}")
    return "\n".join(["```text", *lines, "```"])


def page_with_drawing(text: str) -> str:
    """The page with the drawing between its two marks."""
    return re.sub(
        r"(<!-- layers -->\n).*?(<!-- end of layers -->)",
        lambda marks: f"{marks[1]}{drawing()}\n{marks[2]}",
        text,
        flags=re.DOTALL,
    )


def test_the_package_keeps_its_layers() -> None:
    """Every module has a layer, imports only from below, and uses only packages that it owns."""
    assert violations(read_sources()) == []


def test_the_layers_are_drawn_in_contributing() -> None:
    """CONTRIBUTING.md shows the layers as they are.

    `python -m tests.test_layers` writes them anew.
    """
    text = PAGE.read_text("utf-8")
    assert "<!-- layers -->" in text
    assert page_with_drawing(text) == text


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        ("columns", "import harness.tasks", "in layer vocabulary imports tasks of layer parts"),
        ("columns", "def f():\n    from harness import study", "imports study of layer products"),
        ("diagnostics", "from harness.timing import clocks", "imports timing of layer measuring"),
        (
            "columns",
            "from harness import stats",
            "in layer vocabulary imports stats of layer vocabulary",
        ),
        ("cells", "import importlib as i\ndef f(): i.import_module('harness.records')", "files"),
        ("study.run", "import harness.study.__main__", "imports the command study"),
        ("study.run", "from harness.bench import run", "imports bench of layer products"),
        ("regress.run", "import harness.study.run", "imports study of layer products"),
        ("rendering", "from harness.report import index", "imports report of layer all products"),
        ("timing.clocks", "import harness.stats", "must run where only torch and numpy are"),
        ("timing.clocks", "import harness.config", "must run where only torch and numpy are"),
        ("processes.child", "import harness.errors", "uses the standard library alone"),
        ("columns", "import numpy as np", "imports numpy, which belongs to"),
        ("bench.run", "import optuna.samplers", "imports optuna, which belongs to study"),
        ("study.run", "import seaborn", "imports seaborn, which belongs to"),
        ("cells", "import requests", "imports requests, which no part owns"),
        ("cells", "from .models import Model", "imports relatively"),
        ("study.__main__", "class Command: ...", "defines a class"),
        ("study.__init__", "import json", "--help answers at once only without"),
        (
            "machine",
            "import torch\ntorch.set_num_threads(1)",
            "does at import: torch.set_num_threads(1)",
        ),
        ("machine", "import os\nos.environ['A'] = '1'", "does at import: os.environ['A'] = '1'"),
        ("tasks.random", "", "random says nothing"),
        ("study.utils", "", "utils says nothing"),
        ("attic", "", "harness.attic has no layer"),
        ("__init__", "import torch", "the package itself imports nothing"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, says: str) -> None:
    """Each rule finds the breach it is there for, and nothing else."""
    (found,) = violations({f"harness.{module}": source})
    assert says in found


def test_a_circle_of_imports_is_found() -> None:
    """Modules of one part may know each other, but not both ways."""
    circle = {
        "harness.cells.base": "import harness.cells.registry",
        "harness.cells.registry": "from harness.cells import base",
    }
    assert any("imports go round" in line for line in violations(circle))


def test_what_is_allowed_passes() -> None:
    """Lower layers, the standard library, a part's own package and its own files are free."""
    assert (
        violations(
            {
                "harness.__init__": "",
                "harness.errors": "",
                "harness.config.__init__": "import tomllib\nimport pydantic\nfrom harness import errors",
                "harness.tasks.__init__": "from harness.tasks import adding",
                "harness.tasks.adding": "from harness.tasks.base import Task",
                "harness.tasks.base": "import torch",
                "harness.training.model": "from harness.cells import CELLS",
                "harness.cells.__init__": "import torch",
                "harness.study.coordinator": "import optuna\nfrom harness import config, training",
                "harness.study.__main__": "import typer\ndef run():\n    from harness.study import run",
                "harness.study.run": "",
                "harness.report.index": "from harness.study.report import study_report",
            }
        )
        == []
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_light_to_import(command: str) -> None:
    """Importing a command loads nothing heavy, so that --help answers at once."""
    code = f"import sys, harness.{command}.__main__; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_timing_runs_where_only_torch_is() -> None:
    """harness.timing imports with every third-party package but torch and numpy out of reach."""
    absent = sorted(set(OWNERS) - {"torch", "numpy"})
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import harness.timing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    PAGE.write_text(page_with_drawing(PAGE.read_text("utf-8")), "utf-8")
