"""Loading what a user plugs in: a module that registers cells or tasks. Runs only what the user named on the command line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from harness.errors import InputError, Shown


def load_plugins(names: Sequence[str]) -> None:
    """Import each plug-in: a dotted module name, or the path of a .py file. Raises InputError where that fails."""
    for name in names:
        load_plugin(name)


def load_plugin(name: str) -> ModuleType:
    """Import one plug-in; a second call returns the same module."""
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a script that ends itself is no module either
        raise InputError(
            "--plugin",
            expected="a module that can be imported",
            got=Shown(f"{name}: {type(error).__name__}: {error}"),
            remedy="give a dotted module name or the path of a .py file",
        ) from error


def plugin_hash(name: str) -> str:
    """The content hash of a plug-in's source, all files of a package: part of a study's identity."""
    file = load_plugin(name).__file__
    if not file:
        return ""
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:16]


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(str(path))
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"harness_plugin_{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
