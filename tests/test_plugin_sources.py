"""harness.plugin_sources: what of a plug-in may change, and that what is hashed is what runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import plugin_sources as sources
from harness.plugin_sources import Source, first_difference, same_sources
from harness.plugins import load_plugin, load_plugins
from harness.plugins import plugin_sources as sources_of
from tests.small import forget_sources

BASE = '"""A doc."""\nimport math\n\ndef f(x):\n    "Doc."\n    return x + 1\n'
MODULES = {"helper", "middle", "box", "space", "bought", "fetched"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path, whose modules are forgotten at the end."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget_sources()
    for name in [each for each in sys.modules if each.partition(".")[0] in MODULES]:
        del sys.modules[name]


def write(path: Path, text: str) -> str:
    """A module of that text, as another process would find it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    forget_sources()
    return str(path)


def found(folder: Path, text: str) -> dict[str, list[Source]]:
    """The sources of the plug-in mine.py of that text."""
    path = write(folder / "mine.py", text)
    return sources_of((path,))


@pytest.mark.parametrize(
    "text",
    [
        BASE + "# a comment\n",
        BASE.replace("A doc.", "Another."),
        BASE.replace('    "Doc."\n', ""),
        BASE.replace("\n\n", "\n\n\n").replace("    ", "\t"),
        BASE.replace("x + 1", "(x +\n        1)"),
    ],
)
def test_comments_docstrings_and_layout_are_free(folder: Path, text: str) -> None:
    """Other comments, docstrings and layout are the same code in other bytes."""
    before, after = (found(folder, each)["plugin.mine.py"] for each in (BASE, text))
    assert before[0]["bytes"] != after[0]["bytes"]
    assert same_sources(before, after)


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("x + 1", "x + 2"),
        BASE.replace("x + 1", "x - 1"),
        BASE.replace("def f", "def g"),
        BASE + "'no docstring'\n",
        BASE.replace("return x + 1", "y = 'Doc.'\n    return x + 1"),
    ],
)
def test_other_code_is_other_source(folder: Path, text: str) -> None:
    """Any change of the code is another source."""
    before, after = (found(folder, each) for each in (BASE, text))
    assert first_difference(before, after) == "plugin.mine.py"


def test_another_python_compares_bytes(folder: Path) -> None:
    """Between two versions of Python only equal bytes are equal."""
    (now,) = found(folder, BASE)["plugin.mine.py"]
    then = {**now, "python": "3.1"}
    assert same_sources([then], [now])
    assert not same_sources([{**then, "bytes": "other"}], [now])
    assert same_sources([now["bytes"]], [now])  # an older study holds the hash of the bytes alone


@pytest.mark.parametrize("stored", [None, 3, {}, [3], [{}], [[]], ["a", "b"]])
def test_what_is_stored_may_be_anything(folder: Path, stored: object) -> None:
    """Damaged hashes are other source, not an error."""
    assert not same_sources(stored, found(folder, BASE)["plugin.mine.py"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import helper", "helper"),
        ("from helper import x", "helper"),
        ("def later():\n    import helper", "helper"),
        ("import importlib\nhelper = importlib.import_module('helper')", "helper"),
        ("import middle", "helper"),
        ("from box import lid", "box"),
        ("import box.lid", "box"),
        ("from space import part", "space.part"),
    ],
)
def test_local_imports_count(folder: Path, text: str, name: str) -> None:
    """A change in a local module that is imported, also by another one, is another source."""
    write(folder / "middle.py", "import helper")
    write(folder / "box" / "__init__.py", "")
    before = None
    for x in ("x = 1", "x = 2"):
        for file in ("helper.py", "box/lid.py", "space/part.py"):
            write(folder / file, x)
        after = found(folder, text)
        assert before is None or first_difference(before, after) == f"module.{name}"
        before = after


def test_other_modules_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own, installed and harness's modules, and those not imported, are no part of it."""
    write(folder / "neighbour.py", "x = 1")
    write(folder / "site-packages" / "bought.py", "x = 1")
    write(folder / "target" / "bought-1.0.dist-info" / "METADATA", "")
    write(folder / "target" / "fetched.py", "x = 1")
    for each in ("site-packages", "target"):
        monkeypatch.syspath_prepend(folder / each)
    text = "import json, os.path, numpy, bought, fetched, no_such_module\nfrom harness.cells import CELLS"
    assert [*found(folder, "if False:\n    " + text.replace("\n", "\n    "))] == ["plugin.mine.py"]


def test_what_runs_is_what_is_hashed(folder: Path) -> None:
    """A file that is edited after it was imported keeps the hash of what runs."""
    path = write(folder / "mine.py", "import helper\nx = 1")
    write(folder / "helper.py", "x = 1")
    loaded = load_plugin(path)
    (folder / "mine.py").write_text("import helper\nx = 2")
    (folder / "helper.py").write_text("x = 2")
    assert (loaded.x, loaded.helper.x) == (1, 1)
    kept = sources_of((path,))
    forget_sources()
    edited = sources_of((path,))
    assert kept["plugin.mine.py"] != edited["plugin.mine.py"]
    assert kept["module.helper"] != edited["module.helper"]
    assert not [*folder.rglob("*.pyc")]  # which may be of an older source


def test_a_later_import_runs_what_was_hashed(folder: Path) -> None:
    """A module that is edited before a plug-in imports it runs as it was when the study began."""
    path = write(folder / "mine.py", "def later():\n    import helper\n    return helper.x")
    write(folder / "helper.py", "x = 1")
    load_plugins([path])
    (folder / "helper.py").write_text("x = 2")
    assert load_plugin(path).later() == 1


def test_a_package_with_a_file_that_is_no_python(folder: Path) -> None:
    """A template in a package is compared by its bytes."""
    write(folder / "box" / "__init__.py", "")
    write(folder / "box" / "template.py", "{{ name }} = ?")
    before = sources_of(("box",))
    write(folder / "box" / "template.py", "{{ name }} = ? # a comment")
    assert first_difference(before, sources_of(("box",))) == "plugin.box"


def test_imports_outside_plugins_are_as_they_were(folder: Path) -> None:
    """Finding nothing, or an installed module, is left to Python's own finders."""
    sources.pin_imports("mine")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        __import__("no_such_module")
    import json.tool

    assert not isinstance(json.tool.__loader__, sources.PinnedLoader)


@pytest.mark.parametrize(
    "text",
    ["from ..other import SCALE", "from importlib import *\nimport_module('..other', __package__)"],
)
def test_an_import_from_the_folder_above_counts(folder: Path, text: str) -> None:
    """In a namespace package, a relative import from above the plug-in's folder is local too."""
    write(folder / "space" / "other.py", "SCALE = 1\n")
    write(folder / "space" / "sub" / "cells.py", text)
    assert {*sources_of(("space.sub.cells",))} == {"plugin.space.sub.cells", "module.space.other"}


def test_a_package_with_what_is_no_file(folder: Path) -> None:
    """An editor's lock link, a pipe or a folder named .py in a package are none of its files."""
    write(folder / "box" / "__init__.py", "")
    before = sources_of(("box",))
    forget_sources()
    (folder / "box" / ".#__init__.py").symlink_to("user@host.1:2")
    (folder / "box" / "old.py").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "box" / "pipe.py")
    assert sources_of(("box",)) == before
