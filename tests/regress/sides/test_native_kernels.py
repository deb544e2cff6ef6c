"""Each side has the native kernels of its own C sources, and a difference is in the headline."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from harness.cells.native import build
from harness.cells.native.library import native_status
from harness.errors import InputError
from harness.regress.compare.run import CompareOptions, run_compare
from harness.regress.compare.terminal_output import conclusion
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.sides.native_kernels import NATIVE_SOURCES, compile_native_kernels
from harness.regress.sides.side_client import side_clients
from harness.regress.timed_workload import Workload
from tests.cells.native.here import NEEDS_KERNELS, NEEDS_KERNELS_IN_USE, STATUS
from tests.regress.sided import Silent, repository, worker_spec

STEPS = """
import torch
from harness.cells.fast_recurrence import use_fast_recurrence
from harness.training.model import ModelConfig, build_model

def gru():
    model = build_model(ModelConfig("adding", "gru", 16, 1, 20), 0)
    use_fast_recurrence(model.cell)
    return None, lambda: model(torch.ones(16, 20, 2)).sum().backward(), 16
"""


def sources_of(tree: Path) -> Path:
    """A tree with the C sources and the program that compiles them; returns their folder."""
    folder = tree / NATIVE_SOURCES
    folder.mkdir(parents=True)
    for path in (*build.FOLDER.glob("*.[ch]"), build.FOLDER / "build.py"):
        shutil.copy(path, folder)
    return folder


@NEEDS_KERNELS
def test_a_tree_of_the_same_sources_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a copy of the library that fits."""
    folder = sources_of(tmp_path)
    monkeypatch.setenv("CC", "false")
    compile_native_kernels(tmp_path)
    assert build.is_built(folder)


@NEEDS_KERNELS
def test_a_tree_of_other_sources_is_compiled(tmp_path: Path) -> None:
    """The library carries the hash of that tree's sources."""
    folder = sources_of(tmp_path)
    (folder / "recurrent.c").write_text("typedef int no_kernel;\n")  # compiled in no time
    assert build.source_hash(folder) != build.source_hash()
    compile_native_kernels(tmp_path)
    assert build.is_built(folder)


@NEEDS_KERNELS
def test_a_tree_that_cannot_be_compiled_stays_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison goes on: the copied library is not that of these sources."""
    folder = sources_of(tmp_path)
    with (folder / "dispatch.c").open("a") as file:
        file.write("/* another revision */\n")
    monkeypatch.setenv("CC", "false")
    compile_native_kernels(tmp_path)
    assert not build.is_built(folder)


def test_a_tree_without_c_sources_is_left_alone(tmp_path: Path) -> None:
    """A project of a user's, or an old revision of the harness."""
    compile_native_kernels(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_choice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is timed."""
    sources_of(tmp_path)
    monkeypatch.setenv("HARNESS_NATIVE", "avx3")
    with pytest.raises(InputError, match="HARNESS_NATIVE: expected 0 or one of"):
        compile_native_kernels(tmp_path)


def test_the_facts_of_a_side_name_its_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the harness that its steps have imported; None where they import none."""
    (tmp_path / "with.py").write_text(STEPS)
    (tmp_path / "without.py").write_text("def idle():\n    return None, lambda: None, 1\n")
    found = []
    for choice, name in (("", "with.py"), ("0", "with.py"), ("", "without.py")):
        spec = worker_spec()
        environment = {**os.environ, "HARNESS_NATIVE": choice}
        with side_clients([dataclasses.replace(spec, environment=environment)]) as (client,):
            client.fresh()
            client.ask("load", file=str(tmp_path / name), paths=[], folder=str(tmp_path))
            found.append(client.ask("facts")["native_kernels"])
    monkeypatch.delenv("HARNESS_NATIVE", raising=False)
    assert found == [str(native_status()), "none: HARNESS_NATIVE=0", None]


@NEEDS_KERNELS_IN_USE
def test_a_worktree_has_kernels_and_the_headline_names_a_difference(
    tmp_path: Path, no_figures: None
) -> None:
    """For real: base is a revision, which has no library; the C sources of head do not compile."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "libharness.*", ".build-*")
    shutil.copytree(build.FOLDER.parents[1], tree / "harness", ignore=ignored)
    (tree / "steps.py").write_text(STEPS)
    repository(tree)
    (tree / NATIVE_SOURCES / "recurrent.c").write_text("no C at all\n")
    options = CompareOptions(
        *("HEAD", ".", Workload(steps="steps.py")),
        detect="50%",
        results=tmp_path / "results",
        here=tree,
        sampling=SamplingPlan(n_rounds=2, budget_s=0.1),  # one block
        memory=False,
    )
    outcome = run_compare(options, Silent())
    head = "none: the library was built from other sources; build it: "
    says = f"The sides differ in their native kernels: base {STATUS.level}; head {head}"
    assert says in conclusion(outcome.record)
    assert says in (outcome.directory / "report.md").read_text("utf-8")
    assert not build.is_built(tree / NATIVE_SOURCES)
