"""side_worker.py as a process, at the other end of harness.regress.sides.side_client."""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.errors import InputError
from harness.regress.sides import side_worker
from harness.regress.sides.side_client import SideClient, StepError, side_clients
from harness.regress.sides.side_environment import WORKER
from tests.regress.sided import worker_spec

FILE = """
import os, sys, time, torch
print("printed at import")
os.write(1, b"written to descriptor 1")
CALLS = []

def counted():
    def setup():
        CALLS.append("setup")
        return CALLS
    def step(calls):
        calls.append("step")
    def reset(calls):
        calls.append("reset")
    return setup, step, 3, reset

def plain():
    return None, lambda: torch.get_num_threads(), 1

def calls():
    return None, lambda: None, CALLS.count("setup") * 10_000 + CALLS.count("step") * 100 + CALLS.count("reset")

def _hidden():
    raise AssertionError

def asks_for_more(number):
    raise AssertionError

def wrong():
    return "nothing"

def ends_itself():
    sys.exit(7)

def dies():
    return None, lambda: os.kill(os.getpid(), 9), 1

def hangs():
    return None, lambda: time.sleep(600), 1
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of steps."""
    path = tmp_path_factory.mktemp("steps") / "many.py"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[SideClient]:
    """A fork server."""
    with side_clients([worker_spec()]) as (client,):
        yield client


@pytest.fixture
def block(server: SideClient, file: Path) -> SideClient:
    """A fresh process that has loaded the file."""
    server.fresh()
    server.ask("load", file=str(file), paths=[], folder=str(file.parent))
    return server


def test_it_imports_torch_and_the_standard_library_alone() -> None:
    """Nothing else need be in a side's environment."""
    tops = set()
    for node in ast.walk(ast.parse(WORKER.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            tops |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            tops.add(node.module.partition(".")[0])
    assert tops - set(sys.stdlib_module_names) == {"torch"}


def test_steps_are_the_public_functions_without_required_arguments(
    server: SideClient, file: Path
) -> None:
    """In the order of the file; what is imported, private or asks for arguments is none."""
    server.fresh()
    answer = server.ask("load", file=str(file), paths=[], folder=str(file.parent))
    listed = ["counted", "plain", "calls", "wrong", "ends_itself", "dies", "hangs"]
    assert answer == {"names": listed, "threads": 1}


def test_a_slice_resets_wakes_and_runs_its_steps(block: SideClient) -> None:
    """Setup once and its state to step and reset.

    Two steps to prepare, and one that wakes before those of a slice.
    """
    assert block.ask("prepare", name="counted") == {"sequences_per_step": 3.0}
    assert block.ask("slice", name="counted", n_steps=5)["time_s"] > 0
    block.ask("slice", name="counted", n_steps=1)
    # setup 1; steps 2 + (1 + 5) + 1; resets 2
    assert block.ask("prepare", name="calls")["sequences_per_step"] == 10_000 + 900 + 2


def test_a_fresh_process_knows_nothing_of_the_last(server: SideClient, file: Path) -> None:
    """Each block begins anew, in another process."""
    pids = []
    for _ in range(2):
        server.fresh()
        (child,) = psutil.Process(server.pid).children()
        pids.append(child.pid)
        server.ask("load", file=str(file), paths=[], folder=str(file.parent))
        server.ask("prepare", name="counted")
    with pytest.raises(StepError, match="KeyError"):
        server.ask("prepare", name="canary")  # only loaded by ""
    assert pids[0] != pids[1]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("wrong", "TypeError: wrong must return .setup, step, sequences_per_step."),
        ("ends_itself", r"SystemExit: 7 \(many.py, line \d+\)"),
        ("dies", "killed by signal 9"),
    ],
)
def test_what_a_step_does_wrong_is_an_error_that_says_it(
    block: SideClient, name: str, match: str
) -> None:
    """What it returns, what it raises, what kills it."""
    with pytest.raises(StepError, match=match):
        block.ask("prepare", name=name)
    if name == "dies":
        block._is_open = False  # the server goes on, and forks again
        block.fresh()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("raise OSError('no data')", r"OSError: no data \(bad.py, line 1\)"),
        ("def f(:", "SyntaxError"),
        ("VALUE = 1", "bad.py has no public function without arguments, nor STEPS"),
        ("STEPS = [3]", r"STEPS must hold functions \(got 3\)"),
        ("def f(): ...\nSTEPS = [f, f]", "names differ .got f twice."),
        ("STEPS = 3", "TypeError"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(
    server: SideClient, tmp_path: Path, source: str, match: str
) -> None:
    """With the place in the user's file."""
    path = tmp_path / "bad.py"
    path.write_text(source, encoding="utf-8")
    server.fresh()
    with pytest.raises(StepError, match=match):
        server.ask("load", file=str(path), paths=[], folder=str(tmp_path))


def test_a_mapping_names_its_steps(server: SideClient, tmp_path: Path) -> None:
    """Names need not be those of functions."""
    path = tmp_path / "mapped.py"
    path.write_text("def f(): ...\nSTEPS = {'a/1': f, 'a/2': f}", encoding="utf-8")
    server.fresh()
    answer = server.ask("load", file=str(path), paths=[], folder=str(tmp_path))
    assert answer["names"] == ["a/1", "a/2"]


def test_what_is_named_first_goes_before_what_lies_beside_the_file(
    server: SideClient, tmp_path: Path
) -> None:
    """A side's own code wins; modules of a tree are known by their files."""
    for folder in ("own", "beside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"WHERE = {folder!r}", encoding="utf-8")
    path = tmp_path / "beside" / "steps.py"
    path.write_text("import mine\nSTEPS = {mine.WHERE: len}", encoding="utf-8")
    server.fresh()
    own = str(tmp_path / "own")
    answer = server.ask("load", file=str(path), paths=[own], folder=str(tmp_path))
    assert answer["names"] == ["own"]
    assert server.ask("modules", folder=own) == {"files": ["mine.py"]}


def test_the_documented_file_of_steps_is_one(server: SideClient, tmp_path: Path) -> None:
    """docs/regressions.md, word for word."""
    page = (Path(__file__).parents[3] / "docs" / "regressions.md").read_text("utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    path = tmp_path / "documented.py"
    path.write_text(source, encoding="utf-8")
    server.fresh()
    assert server.ask("load", file=str(path), paths=[], folder=str(tmp_path))["names"] == [
        "small_lstm"
    ]
    assert server.ask("prepare", name="small_lstm")["sequences_per_step"] == 16
    assert server.ask("slice", name="small_lstm", n_steps=2)["time_s"] > 0


def test_the_canary_is_a_cell_that_trains(server: SideClient) -> None:
    """Its warm-up finds a slice; the profiler sees its operators; memory is measured."""
    server.fresh()
    assert server.ask("load", file="", paths=[], folder="")["names"] == ["canary"]
    memory = server.ask("memory", name="canary")
    assert memory["kind"] == "process_high_water"
    assert memory["peak_bytes"] >= memory["before_bytes"] > 2**20
    assert server.ask("prepare", name="canary")["sequences_per_step"] == 16
    found = server.ask("warm_up", name="canary", slice_s=0.002, n_steps=0)
    assert found["n_steps"] >= 1
    assert server.ask("warm_up", name="canary", slice_s=9, n_steps=2)["n_steps"] == 2
    profile = server.ask("profile", name="canary")
    assert profile["operators"]["aten::addmm"] > 0
    assert sum(profile["operators"].values()) <= 1.5 * profile["step_time_s"]


def test_one_thread_unless_the_file_says_otherwise(server: SideClient, tmp_path: Path) -> None:
    """Threads and versions are told as they are in the block's process."""
    path = tmp_path / "two.py"
    path.write_text("import torch\ntorch.set_num_threads(2)\nSTEPS = {'a': len}", "utf-8")
    server.fresh()
    assert server.ask("facts")["threads"] == 1
    server.ask("load", file=str(path), paths=[], folder=str(tmp_path))
    facts = server.ask("facts")
    assert facts["threads"] == 2
    assert facts["packages"]["torch"].partition("+")[0] == facts["torch"].partition("+")[0]
    assert "PATH" not in facts["settings"]


def test_without_fork_each_block_is_a_new_process(file: Path) -> None:
    """The same commands, in a process that is started anew."""
    with side_clients([worker_spec("--no-fork")]) as (client,):
        client.fresh()
        first = client.pid
        client.ask("load", file=str(file), paths=[], folder=str(file.parent))
        client.ask("prepare", name="counted")
        client.fresh()
        assert client.pid != first
        with pytest.raises(StepError, match="KeyError"):
            client.ask("prepare", name="counted")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_it_ends_with_its_input_even_in_a_step_that_hangs(file: Path) -> None:
    """The conductor's end closes the line: the server kills its block and ends.

    Ctrl-C alone ends neither.
    """
    with side_clients([worker_spec()]) as (client,):
        client.fresh()
        client.ask("load", file=str(file), paths=[], folder=str(file.parent))
        server = psutil.Process(client.pid)
        (child,) = server.children()
        os.kill(server.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGINT)
        client.send("prepare", name="hangs")
        assert client.worker.process.stdin is not None
        client.worker.process.stdin.close()
        _, alive = psutil.wait_procs([server, child], timeout=60)
        assert alive == []


def test_an_environment_without_torch_is_named(tmp_path: Path) -> None:
    """The line says what could not be imported."""
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    expected = "head: expected an environment in which torch can be imported.*No module named"
    with (
        side_clients([worker_spec(label="head", python=str(fake))]) as (client,),
        pytest.raises(InputError, match=expected),
    ):
        client.fresh()


def test_a_python_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    """One line as well."""
    fake = tmp_path / "python"
    fake.write_text("not a program")
    fake.chmod(0o755)
    with (
        pytest.raises(InputError, match="base: expected a Python that can be run"),
        side_clients([worker_spec(python=str(fake))]),
    ):
        pass


def test_an_answer_that_does_not_come_ends_the_process(file: Path) -> None:
    """A step that hangs costs its time limit, not for ever."""
    with side_clients([worker_spec()]) as (client,):
        client.fresh()
        client.ask("load", file=str(file), paths=[], folder=str(file.parent))
        client.send("prepare", name="hangs")
        with pytest.raises(StepError, match="no answer within 1 s"):
            client.receive(timeout_s=1)
        started = time.monotonic()
        assert client.worker.process.poll() is not None
        assert time.monotonic() - started < 60


def test_errors_name_the_users_line() -> None:
    """The first place outside of the worker and of the import machinery."""
    with pytest.raises(ValueError, match="'x'") as caught:
        int("x")
    line = caught.tb.tb_lineno
    assert side_worker.one_line(caught.value).endswith(f"({Path(__file__).name}, line {line})")
