"""harness.plugins: loading what the user named, and only that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cells, tasks
from harness.cells import get_cell
from harness.errors import InputError
from harness.plugins import load_plugin, load_plugins, plugin_hash
from harness.tasks import get_task

PLUGIN = '''
"""A task and a cell of the user's own."""
import dataclasses
from harness.cells import CELLS, Cell, register_cell
from harness.tasks import register_task
from harness.tasks.adding import Adding

@dataclasses.dataclass(frozen=True)
class Long(Adding):
    name = "long_adding"

register_task(Long())
register_cell(Cell("twin", CELLS["rnn"].factory, 1, CELLS["rnn"].initializations))
'''


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the registries and the loaded modules as they were."""
    kept = dict(tasks.TASKS), dict(cells.CELLS), set(sys.modules)
    yield
    for registry, before in ((tasks.TASKS, kept[0]), (cells.CELLS, kept[1])):
        registry.clear()
        registry.update(before)
    for name in set(sys.modules) - kept[2]:
        if "plugin" in name:
            del sys.modules[name]


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    """A plug-in of that text."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_plugin_registers_its_cells_and_tasks(tmp_path: Path) -> None:
    """After loading, they are found under their names."""
    load_plugins([write(tmp_path, PLUGIN)])
    assert get_task("long_adding").lag(10) == 5
    assert get_cell("twin").gates == 1


def test_a_plugin_runs_once(tmp_path: Path) -> None:
    """Naming it again, or by another path to the same file, gives the module that is there."""
    path = write(tmp_path, "loaded = []")
    first = load_plugin(path)
    first.loaded.append("once")
    again = load_plugin(str(tmp_path / "." / ".." / tmp_path.name / "mine.py"))
    assert again is first
    assert again.loaded == ["once"]


def test_plugins_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """Two files of the same name are two plug-ins, and neither takes the place of a module of Python."""
    paths = [write(tmp_path / folder, f"folder = {folder!r}", "json.py") for folder in "ab"]
    assert [load_plugin(path).folder for path in paths] == ["a", "b"]
    import json

    assert json.loads("1") == 1


def test_a_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that Python finds is imported by its dotted name."""
    write(tmp_path, "", "a_plugin_package/__init__.py")
    write(tmp_path, "value = 7", "a_plugin_package/inner.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_plugin("a_plugin_package.inner").value == 7


def test_a_path_in_any_script(tmp_path: Path) -> None:
    """Folders and files may be called as the user speaks, blanks included."""
    assert load_plugin(write(tmp_path, "value = 1", "내 셀/été plugin.py")).value == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import sys; sys.exit('usage')", "SystemExit: usage"),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, text: str, match: str) -> None:
    """The message names the plug-in and its error; what was half loaded is forgotten, so that it can be tried again."""
    path = write(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(InputError, match=rf"--plugin: .*mine.py: {match}"):
        load_plugin(path)
    assert not [name for name in set(sys.modules) - before if "mine" in name]
    write(tmp_path, "value = 2")
    assert load_plugin(path).value == 2


@pytest.mark.parametrize(
    "name", ["no_such_module_anywhere", "none.py", "", ".relative", "a b", "/"]
)
def test_a_plugin_that_is_not_there(name: str) -> None:
    """The message says what a plug-in may be."""
    with pytest.raises(InputError, match=r"give a dotted module name or the path of a \.py file"):
        load_plugin(name)


def test_a_plugins_own_complaint_is_passed_on(tmp_path: Path) -> None:
    """What a registry refuses is said as it is, not as an import that failed."""
    text = PLUGIN.replace('"twin"', '"lstm"')
    with pytest.raises(InputError, match="cells: expected a name of its own for each cell"):
        load_plugin(write(tmp_path, text))


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    """The same source anywhere has one hash, one more blank another."""
    one = plugin_hash(write(tmp_path / "a", "value = 1"))
    same = plugin_hash(write(tmp_path / "b", "value = 1"))
    other = plugin_hash(write(tmp_path / "c", "value = 1 "))
    assert one == same != other
    # printf 'value = 1' | sha256sum
    assert one == "e143e5f6659bcb8a"
