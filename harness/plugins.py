"""Loads plug-ins: modules named on the command line, and entry points of installed packages.

A package offers cells and tasks by entry points of the groups `harness.cells` and `harness.tasks`.
An entry point is loaded only when its name is asked for, so a broken package breaks nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import InputError, Shown
from harness.plugin_sources import (
    SOURCES,
    PinnedLoader,
    Source,
    local_imports,
    pin_imports,
    source_of,
)

MODULES: dict[tuple[str, str], str] = {}
"""The module of each entry point that was loaded, by group and name."""


def load_plugins(names: Sequence[str]) -> None:
    """Import each plug-in: a dotted module name, or the path of a .py file.

    Also reads what they import only later. Raises InputError where that fails.
    """
    for name in names:
        load_plugin(name)
    try:
        plugin_sources(tuple(names))
    except OSError as error:
        raise InputError(
            "--plugin",
            expected="files that can be read",
            got=Shown(f"{error.filename} ({error.strerror})"),
        ) from error


def load_plugin(name: str) -> ModuleType:
    """Import one plug-in; a second call returns the same module."""
    pin_imports(name)
    try:
        return _from_file(Path(name)) if name.endswith(".py") else _from_module(name)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a script that ends itself is no module either
        raise InputError(
            "--plugin",
            expected="a module that can be imported",
            got=Shown(f"{name}{_line_of(name, error)}: {type(error).__name__}: {_said(error)}"),
            remedy="give a dotted module name or the path of a .py file",
        ) from error


def _line_of(name: str, error: BaseException) -> str:
    """The line, and the file if it is not `name`, where an import failed; "" without a source."""
    if isinstance(error, SyntaxError):
        file, line = error.filename or name, error.lineno
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename not in (__file__, importlib.__file__)
            and not frame.filename.startswith("<frozen ")
        ]
        if not frames:
            return ""
        file = frames[0].filename  # the module itself, which may have called what failed
        line = [frame.lineno for frame in frames if frame.filename == file][-1]
    same = Path(file).name == Path(name).name
    return f", line {line}" if same else f", {Path(file).name} line {line}"


def _said(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


@functools.cache
def plugin_sources(names: tuple[str, ...]) -> dict[str, list[Source]]:
    """The source of each plug-in and of each local module that they import.

    `plugin.NAME` lists the plug-ins of one name, which may lie in two folders; `module.NAME` is a
    module that one of them imports. They are part of a study's identity.
    """
    found: dict[str, list[Source]] = {}
    modules = {}
    for name in names:
        module, file = _outermost_file(name)
        if file is None:
            continue
        modules[module] = file
        shown = Path(name).name if name.endswith(".py") else name
        found.setdefault(f"plugin.{shown}", []).append(source_of(file))
    imported = local_imports(modules)
    return {**found, **{f"module.{name}": [source] for name, source in imported.items()}}


def plugin_hash(name: str) -> str:
    """The content hash of a plug-in's source: all files of its package; "" where it has none."""
    _, file = _outermost_file(name)
    return source_of(file)["bytes"] if file else ""


def _outermost_file(name: str) -> tuple[str, Path | None]:
    """The name and the file of a plug-in's outermost package that has one: a namespace has none."""
    module = load_plugin(name)
    names = [module.__name__]
    if not name.endswith(".py"):
        names = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 2)]
    for each in names:
        if file := sys.modules[each].__file__:
            return each, Path(file)
    return module.__name__, None


def offered(group: str) -> dict[str, str]:
    """The names that installed packages offer, each with its package and version. Loads nothing."""
    found: dict[str, list[str]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(_package(point))
    return {name: " and ".join(packages) for name, packages in sorted(found.items())}


def load_offered(group: str, name: str, register: Callable[[Any], object]) -> bool:
    """Load what an installed package offers under a name, and register it; False if none offers it.

    The entry point leads to the object, or to something that returns it when called without
    arguments, such as a class. Raises InputError, naming the package, where that fails.
    """
    points = list(entry_points(group=group, name=name))
    if not points:
        return False
    where = f"entry point {name} of {' and '.join(_package(point) for point in points)}"
    if len(points) > 1:
        remedy = "uninstall one of them"
        raise InputError(
            where, expected="one package that offers it", got=len(points), remedy=remedy
        )
    pin_imports(points[0].module)
    try:
        found = points[0].load()
        found = found() if callable(found) else found
    except (Exception, SystemExit) as error:
        got = Shown(f"{type(error).__name__}: {error}")
        raise InputError(where, expected=f"{points[0].value} to be loaded", got=got) from error
    if getattr(found, "name", name) != name:
        raise InputError(where, expected=f"something named {name!r}", got=found.name)
    try:
        register(found)
    except InputError as error:
        key = f"{error.where}: {error.key}" if error.key else error.where
        raise InputError(
            where, key, expected=error.expected, got=error.got, remedy=error.remedy
        ) from error
    MODULES[group, name] = points[0].module
    return True


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _from_module(name: str) -> ModuleType:
    """A module by its dotted name; a folder without code is no module, though Python imports it."""
    module = importlib.import_module(name)
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise ImportError("a folder without __init__.py, which registers nothing")
    return module


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(str(path))
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"harness_plugin_{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    loader = PinnedLoader(name, str(path))
    specification = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert specification is not None, "a loader is given"
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        SOURCES.pop(path.resolve(), None)  # it may be mended and tried again
        raise
    return module
