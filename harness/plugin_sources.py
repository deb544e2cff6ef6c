"""The source of plug-ins and of the local modules that they import: read once, hashed, compared.

A local module is neither Python's own, nor installed, nor harness's. A process reads each file
once, and what it read is what it runs, so the hash is that of the source that trains. Never runs
what it reads.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

Source = Mapping[str, str]
"""Of one module, or of all files of a package: the hash of its `bytes`, that of its `code`, which
holds no comments, docstrings and layout, and the version of `python` that the latter depends on."""

SOURCES: dict[Path, bytes] = {}
"""Each file as this process has read it."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HARNESS = Path(__file__).resolve().parent


class PinnedLoader(SourceFileLoader):
    """Runs a module's source as this process has read it: no compiled file, no second reading."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the source that is hashed."""
        return self.source_to_code(_read_once(Path(self.path)), self.path)


class _PinningFinder:
    """Finds modules as the other finders do, and pins the source of local ones and of plug-ins."""

    def __init__(self) -> None:
        self.names: set[str] = set()  # of plug-ins, which may be installed

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the first other finder finds."""
        others = [each for each in sys.meta_path if each is not self]
        found = (each.find_spec(name, path, target) for each in others)
        specification = next((each for each in found if each is not None), None)
        if specification is None or type(specification.loader) is not SourceFileLoader:
            return specification
        file = specification.loader.path
        if name.partition(".")[0] in self.names or _is_local(name, Path(file)):
            specification.loader = PinnedLoader(name, file)
        return specification


_FINDER = _PinningFinder()


def pin_imports(name: str) -> None:
    """From now on, pin the source of each local module that is imported, and of package `name`."""
    _FINDER.names.add(name.partition(".")[0])
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def source_of(file: Path) -> Source:
    """The source of a module; of a package, which ends in __init__.py, that of all its files."""
    contents = [_read_once(each) for each in _files(file)]
    codes = [_parse(each)[0] for each in contents]
    return {"bytes": _hash(b"".join(contents)), "code": _hash(b"\0".join(codes)), "python": PYTHON}


def local_imports(modules: Mapping[str, Path]) -> dict[str, Source]:
    """The source of each local module that these import, and those in turn, by name.

    An import counts wherever it stands. Of a package, all files count.
    """
    found: dict[str, Source] = {}
    waiting = list(modules.items())
    while waiting:
        importer, file = waiting.pop()
        for name in sorted(_imports(importer, file)):
            imported = _outermost(name)
            if imported is None or imported[0] in {*modules, *found} or not _is_local(*imported):
                continue
            found[imported[0]] = source_of(imported[1])
            waiting.append(imported)
    return found


def same_sources(stored: Any, present: Any) -> bool:
    """Whether two lists hold the same code: equal bytes, or equal code for one version of Python.

    `stored` may come from anywhere. Older studies hold only the hash of the bytes.
    """
    if not isinstance(stored, list) or not isinstance(present, list):
        return bool(stored == present)
    return len(stored) == len(present) and all(map(_is_same, stored, present))


def first_difference(expected: Mapping[str, list[Source]], present: Mapping[str, Any]) -> str:
    """The first name whose source is another; "" where there is none.

    A name that is not present counts as equal: who does not import a module has other source.
    """
    names = sorted({*expected} & {*present})
    return next((each for each in names if not same_sources(expected[each], present[each])), "")


def _is_same(stored: Any, present: Source) -> bool:
    stored = stored if isinstance(stored, Mapping) else {"bytes": stored}
    if stored.get("bytes") == present["bytes"]:
        return True
    return all(stored.get(key) == present[key] for key in ("code", "python"))


def _read_once(path: Path) -> bytes:
    path = path.resolve()
    if path not in SOURCES:
        SOURCES[path] = path.read_bytes()
    return SOURCES[path]


def _files(file: Path) -> list[Path]:
    """The file, or all files of its package; what an editor hides there is none of them."""
    if file.name != "__init__.py":
        return [file]
    found = file.parent.rglob("*.py")
    return sorted(each for each in found if each.is_file() and not each.name.startswith("."))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.cache
def _parse(source: bytes) -> tuple[bytes, tuple[tuple[int, str], ...]]:
    """The syntax tree without docstrings, as text, and the level and name of each import.

    What is no source of this Python, such as a template, is compared as it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an odd escape: importing it says so
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return source, ()
    imports: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imports += [(0, each.name) for each in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                imports += [(level, f"{module or ''}.{each.name}".strip(".")) for each in names]
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                imports.append((len(name) - len(name.lstrip(".")), name.lstrip(".")))
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    del node.body[0]
    return ast.dump(tree).encode("utf-8", "surrogatepass"), tuple(imports)


def _imports(importer: str, file: Path) -> Iterator[str]:
    """The full name of everything that a module, or a file of a package, imports."""
    for each in _files(file):
        package = importer.split(".")[:-1]
        if file.name == "__init__.py":
            package = [*importer.split("."), *each.relative_to(file.parent).parts[:-1]]
        for level, name in _parse(_read_once(each))[1]:
            if level == 0:
                yield name
            elif level <= len(package):
                yield ".".join([*package[: len(package) - level + 1], name])


def _outermost(name: str) -> tuple[str, Path] | None:
    """The outermost part of a dotted name that has a file, with it; None where none has one."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        part = ".".join(parts[:depth])
        try:
            specification = importlib.util.find_spec(part)
        except (ImportError, ValueError, AttributeError):
            return None
        if specification is None:
            return None
        if specification.has_location and specification.origin:
            return part, Path(specification.origin)
    return None


def _is_local(name: str, file: Path) -> bool:
    """Whether the user's own file is imported under this name."""
    file = file.resolve()
    if file.is_relative_to(HARNESS) or {"site-packages", "dist-packages"} & {*file.parts}:
        return False
    if any(file.is_relative_to(each) for each in _standard_library()):
        return False
    depth = name.count(".") + (file.name == "__init__.py")
    return len(file.parents) > depth and not _is_installed_to(file.parents[depth])


@functools.cache
def _standard_library() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib"))


@functools.cache
def _is_installed_to(folder: Path) -> bool:
    """Whether a package installer has used this folder, as with pip's --target."""
    return any(folder.glob("*.dist-info"))
