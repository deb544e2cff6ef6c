"""One meaning, one name: no two public definitions of the package share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "harness"

# Names that several modules define for one meaning, each with its reason.
SHARED = {
    "app": "the typer application of each command",
    "main": "the entry point of each program",
    "section": "what every section module of a report offers",
    "answer_sentences": "what both answer sections offer",
    "configure_process": "side_worker.py runs in environments without the harness, so it has its own",
    "high_water_bytes": "likewise",
    "MEMORY_STEPS": "likewise",
    "WARM_UP_AGREEMENT": "likewise",
}


def public_names(module: ast.Module) -> Iterator[str]:
    """The classes, functions and constants that a module defines for others."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in dict.fromkeys(names) if not name.startswith("_"))


def test_a_name_has_one_meaning() -> None:
    """A public name is defined in one module, except for those of SHARED."""
    homes = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in public_names(ast.parse(path.read_text("utf-8"))):
            homes[name].add(path.relative_to(PACKAGE).as_posix())
    several = {name: files for name, files in homes.items() if len(files) > 1}
    assert {name: files for name, files in several.items() if name not in SHARED} == {}
    assert set(SHARED) == set(several), "a reason for a name that is not shared"
