"""harness.plugins: loading what the user named, and only that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cells, plugins, tasks
from harness.cells import CELLS, get_cell
from harness.errors import InputError
from harness.plugins import load_plugin, load_plugins, offered, plugin_hash
from harness.study.execution.local_executor import start_local_executor
from harness.study.execution.prewarmed_server import HAS_FORK_SERVER
from harness.study.execution.worker_messages import TrialOutcome, TrialRequest
from harness.tasks import get_task
from tests.documented import tiny
from tests.small import forget_sources, table, write_small
from tests.study.requests import config_of, events_of

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
    kept = dict(tasks.TASKS), dict(cells.CELLS), set(sys.modules), dict(plugins.MODULES)
    yield
    forget_sources()
    for registry, before in (
        (tasks.TASKS, kept[0]),
        (cells.CELLS, kept[1]),
        (plugins.MODULES, kept[3]),
    ):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]
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
    """Two files of the same name are two plug-ins, and neither replaces a module of Python."""
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
        ("\ndef (", "line 2: SyntaxError"),
        ("1 / 0", "line 1: ZeroDivisionError: division by zero"),
        ("def f():\n    1 / 0\n\nf()", "line 2: ZeroDivisionError"),
        ("import json\n\njson.loads('')", "line 3: JSONDecodeError"),
        ("\nimport no_such_module", "line 2: ModuleNotFoundError"),
        ("raise SystemExit(0)", "line 1: SystemExit"),
        ("import sys; sys.exit('usage')", "line 1: SystemExit: usage"),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, text: str, match: str) -> None:
    """The message names the plug-in and its error.

    What was half loaded is forgotten, so that it can be tried again.
    """
    path = write(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(InputError, match=rf"--plugin: .*mine.py, {match}"):
        load_plugin(path)
    assert not [name for name in set(sys.modules) - before if "mine" in name]
    write(tmp_path, "value = 2")
    assert load_plugin(path).value == 2


def test_a_module_of_a_package_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dotted name the message names the file and the line as well."""
    write(tmp_path, "x = 1\n1 / 0", "a_broken_package/__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"a_broken_package\.b, __init__\.py line 2: ZeroDiv"):
        load_plugin("a_broken_package.b")


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


def test_the_hash_of_a_package_is_that_of_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of a package hangs on the others.

    A change in any of them is another hash, one in a neighbour is not.
    """
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for text, neighbour in (("a = 1", ""), ("a = 2", ""), ("a = 2", "b = 1")):
        write(tmp_path, "", "hashed_plugin/__init__.py")
        write(tmp_path, "from hashed_plugin import core", "hashed_plugin/cells.py")
        write(tmp_path, text, "hashed_plugin/core.py")
        write(tmp_path, neighbour, "another_plugin.py")
        forget_sources()
        found.append(plugin_hash("hashed_plugin.cells"))
    assert found[0] != found[1] == found[2]


# ------------------------------------------------------------------------------- installed packages

CELL = """
from harness.cells import CELLS, Cell
print("loaded")
MINE = Cell("mine", CELLS["rnn"].factory, hyperparameters={})
def make(): return MINE
def needs(this): return MINE
def fails(): return 1 / 0
NOTHING = "mine"
"""
TASK = """
import dataclasses
from harness.tasks.adding import Adding
@dataclasses.dataclass(frozen=True)
class Long(Adding):
    name = "long"
LONG = Long()
"""


def install(
    folder: Path,
    name: str = "plugin_package",
    cells: dict[str, str] | None = None,
    tasks: dict[str, str] | None = None,
    **modules: str,
) -> None:
    """A package of these modules as pip leaves one.

    Its files, and its metadata with entry points.
    """
    write(folder, "", f"{name}/__init__.py")
    for module, text in modules.items():
        write(folder, text, f"{name}/{module}.py")
    groups = {"harness.cells": cells or {}, "harness.tasks": tasks or {}}
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in each.items())
        for group, each in groups.items()
    )
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
    write(folder, metadata, f"{name}-1.5.dist-info/METADATA")
    write(folder, points, f"{name}-1.5.dist-info/entry_points.txt")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python, and every process started from here, imports from."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    return folder


def test_what_is_offered_is_named_without_being_loaded(site: Path) -> None:
    """Names come with their package and version.

    A package that cannot be imported is named all the same.
    """
    install(site, cells={"mine": "plugin_package.own:MINE"}, own="1 / 0")
    install(site, "broken_plugin", cells={"broken": "broken_plugin:X"}, tasks={"t": "no.such:X"})
    assert offered("harness.cells") == {
        "broken": "broken_plugin 1.5",
        "mine": "plugin_package 1.5",
    }
    assert offered("harness.tasks") == {"t": "broken_plugin 1.5"}
    assert not [name for name in sys.modules if "plugin" in name and "package" in name]


@pytest.mark.parametrize("offer", ["MINE", "make"])
def test_a_cell_is_loaded_when_it_is_asked_for(
    site: Path, offer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The object itself, or a function that gives it; once, and not before.

    Others of its package are left alone.
    """
    points = {"mine": f"plugin_package.own:{offer}", "other": "plugin_package.broken:X"}
    install(site, cells=points, own=CELL, broken="1 / 0")
    assert get_cell("rnn").name == "rnn"
    assert capsys.readouterr().out == ""
    assert get_cell("mine") is get_cell("mine")
    assert capsys.readouterr().out == "loaded\n"
    assert plugins.MODULES == {("harness.cells", "mine"): "plugin_package.own"}


@pytest.mark.parametrize("offer", ["LONG", "Long"])
def test_a_task_is_loaded_when_it_is_asked_for(site: Path, offer: str) -> None:
    """The object itself, or its class."""
    install(site, tasks={"long": f"plugin_package.own:{offer}"}, own=TASK)
    assert get_task("long").lag(10) == 5


def test_an_unknown_name_may_be_near_to_one_offered(site: Path) -> None:
    """What packages offer is proposed too, without being loaded."""
    install(site, cells={"elephant": "no.such:X"}, tasks={"giraffe": "no.such:X"})
    with pytest.raises(InputError, match="did you mean 'elephant'"):
        get_cell("elefant")
    with pytest.raises(InputError, match="did you mean 'giraffe'"):
        get_task("girafe")


def test_a_name_that_is_taken_stays(site: Path) -> None:
    """A package cannot take the place of a cell at hand."""
    install(site, cells={"lstm": "plugin_package.own:MINE"}, own="1 / 0")
    assert get_cell("lstm") is CELLS["lstm"]


@pytest.mark.parametrize(
    ("offer", "match"),
    [
        ("no_such_module:X", "no_such_module:X to be loaded, got ModuleNotFoundError"),
        ("plugin_package.own:X", "plugin_package.own:X to be loaded, got AttributeError"),
        ("plugin_package.broken:X", "got ZeroDivisionError: division by zero"),
        ("plugin_package.ends:X", "got SystemExit: usage"),
        ("plugin_package.own:fails", "got ZeroDivisionError"),
        ("plugin_package.own:needs", r"got TypeError: needs\(\) missing 1 required"),
        ("plugin_package.own:NOTHING", "cells: expected a Cell, got 'mine'"),
        ("plugin_package.own:CELLS", "cells: expected a Cell, got {"),
    ],
)
def test_an_offer_that_fails(site: Path, offer: str, match: str) -> None:
    """The message names the entry point and its package, in one line."""
    modules = {"own": CELL, "broken": "1 / 0", "ends": "raise SystemExit('usage')"}
    install(site, cells={"mine": offer}, **modules)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"entry point mine of plugin_package 1.5: .*{match}") as e:
        get_cell("mine")
    assert "\n" not in str(e.value)
    assert "mine" not in CELLS


def test_an_offer_under_another_name(site: Path) -> None:
    """An entry point is called as the cell is, so that results name what the study named."""
    install(site, cells={"yours": "plugin_package.own:MINE"}, own=CELL)
    with pytest.raises(InputError, match=r"entry point yours of .*named 'yours', got 'mine'"):
        get_cell("yours")


def test_a_name_that_two_packages_offer(site: Path) -> None:
    """Neither is taken, and both are named."""
    for name in ("plugin_package", "second_plugin"):
        install(site, name, cells={"mine": f"{name}.own:MINE"}, own=CELL)
    with pytest.raises(InputError, match=r"of .*plugin.* 1.5 and .* 1.5: expected one package"):
        get_cell("mine")


@pytest.mark.parametrize("spawn", [False, True], ids=["fork", "spawn"])
def test_an_offer_reaches_the_workers(site: Path, spawn: bool) -> None:
    """A worker of either form finds a cell that a package offers, by its name alone."""
    if not spawn and not HAS_FORK_SERVER:
        pytest.skip("no fork server on this system")
    install(site, cells={"mine": "plugin_package.own:MINE"}, own=CELL)
    executor = start_local_executor(1, (), spawn=spawn)
    try:
        number = executor.new_id()
        executor.submit(TrialRequest(number, config_of("mine")))
        events = events_of(executor, number)
    finally:
        executor.close()
    outcomes = [each.message for each in events if isinstance(each.message, TrialOutcome)]
    assert [each.end.value for each in outcomes] == ["complete"]


@pytest.mark.nightly
def test_an_offer_is_timed(site: Path) -> None:
    """harness.timing finds cells and tasks that a package offers.

    What they print stays out of the answer.
    """
    install(
        site,
        cells={"mine": "plugin_package.own:MINE"},
        tasks={"long": "plugin_package.task:Long"},
        own=CELL,
        task=TASK,
    )
    benchmark = {"name": "one", "task": "long", "cell": "mine", "hidden_size": 4}
    benchmark |= {"num_layers": 1, "sequence_length": 6, "batch_size": 4}
    request = {"schema": 2, "benchmarks": [benchmark], "n_blocks": 5, "block_s": 1e-3}
    done = subprocess.run(
        [sys.executable, "-m", "harness.timing"],
        input=json.dumps({**request, "memory": False}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (timed,) = json.loads(done.stdout)["results"]
    assert (timed["cell"], timed["flops_per_step"]) == ("mine", None)


@pytest.mark.nightly
def test_a_study_of_what_packages_offer(site: Path, tmp_path: Path) -> None:
    """A cell and a task of an installed package are studied by name, beside a broken package.

    Other source is refused.
    """
    install(
        site,
        cells={"mine": "plugin_package.own:MINE", "lstm": "plugin_package.own:MINE"},
        tasks={"long": "plugin_package.task:Long"},
        own=CELL,
        task=TASK,
    )
    install(site, "broken_plugin", cells={"broken": "broken_plugin.a:X"}, a="1 / 0")
    study = [sys.executable, "-m", "harness.study"]
    command = [*study, str(write_small(tmp_path)), "--workers", "2", *tiny()]
    command += ["--set", 'compare.cells=["mine","rnn"]', "--set", 'compare.tasks=["long"]']

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run(command)
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "results" / "small" / "trials.csv")
    assert {(row["task"], row["cell"], row["end"]) for row in rows} == {
        ("long", "mine", "complete"),
        ("long", "rnn", "complete"),
    }
    write(site, TASK + "CHANGED = 1\n", "plugin_package/task.py")
    changed = run(command)
    assert changed.returncode == 2
    assert "plugin.plugin_package" in changed.stderr
    broken = run([*command, "--set", 'compare.cells=["broken"]'])
    assert broken.returncode == 2
    assert broken.stderr.startswith("error: entry point broken of broken_plugin 1.5: expected")
    assert len(broken.stderr.splitlines()) == 1
    listed = run([*study, "--list"])
    assert listed.returncode == 0
    for line in (
        "  mine: offered by plugin_package 1.5",
        "  lstm: offered by plugin_package 1.5, not used: the name is taken",
        "  broken: offered by broken_plugin 1.5",
        "  long: offered by plugin_package 1.5",
    ):
        assert line in listed.stdout.splitlines()


def test_a_folder_is_no_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without __init__.py, which Python imports as a module without code, is refused."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_folder_of_no_code").mkdir()
    with pytest.raises(InputError, match=r"--plugin: .*a folder without __init__\.py"):
        load_plugin("a_folder_of_no_code")
