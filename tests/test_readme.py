"""What README promises a new user.

Its study runs as it stands, its links lead somewhere, its commands exist.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import cells, tasks
from harness import config as specs
from harness.cells import CELLS, Gated, Stateful, get_cell
from harness.columns import columns_of
from harness.config import grid_config
from harness.plugins import load_plugin
from harness.tasks import BUILT_IN_TASKS, TASKS
from harness.timing.variants import COUNTED, FIXED, MEASURES
from tests.documented import blocks, fenced, study_commands, tiny, write_files
from tests.small import table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/bench.md",
    "docs/performance.md",
    "docs/plugins.md",
    "docs/regressions.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/study_file.md",
    "results/README.md",
)
CODE = ("README.md", "docs/plugins.md")


def test_the_study_in_readme_is_complete() -> None:
    """The study that README shows is accepted as it stands."""
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    spec = specs.parse_study(tomllib.loads(text), "README.md")
    checked = specs.check_study(spec, "README.md", TASKS, CELLS, 2**33)
    assert checked.study.name == "recall"


def test_every_link_leads_to_a_file() -> None:
    """No page of the repository links to a file that is not there."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_readme_is_read_in_one_go() -> None:
    """README has at most 200 lines."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize(
    ("page", "names"),
    [("docs/study_file.md", specs.list_studies), ("docs/bench.md", specs.list_grids)],
)
def test_every_study_and_grid_is_listed(page: str, names: Callable[[], Mapping[str, str]]) -> None:
    """The page's table names each file of studies/ of its kind, and no other."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (table,) = re.findall(r"that come with the package\n(.*?)(?:\n## |\Z)", text, flags=re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(names())


def test_the_grid_file_is_documented() -> None:
    """docs/bench.md has each key with its default, each variant, measure and column."""
    page = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    defaults = documented_defaults(page)
    for name, model in grid_config.TABLES.items():
        assert [key for at, key in defaults if at == name] == list(model.model_fields)
        for key, field in model.model_fields.items():
            shown = defaults[name, key]
            default = () if field.is_required() else field.get_default()
            if shown not in ("", "all three", "both"):
                assert tomllib.loads(f"value = {shown}")["value"] == plain(default), key
            else:
                assert field.is_required() or isinstance(default, str | tuple), key
    words = {
        *FIXED,
        *(f"{kind}=N" for kind in COUNTED),
        *MEASURES,
        *grid_config.VaryTable.model_fields,
    }
    words |= {*columns_of("throughput.csv"), *columns_of("inference.csv")}
    assert {word for word in words if f"`{word}`" not in page} == set()
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    spec = specs.parse_grid(tomllib.loads(text), "docs/bench.md")
    specs.check_grid(spec, "docs/bench.md", TASKS, CELLS)
    assert len(specs.training_groups(spec, CELLS, "cpu")) == 6


def documented_defaults(page: str) -> dict[tuple[str, str], str]:
    """The default that the page's table of keys gives for each key of each table of a grid file."""
    found, name = {}, ""
    for line in page.splitlines():
        parts = [part.strip().strip("`") for part in line.split("|")]
        if len(parts) != 6:
            continue
        name = parts[1].strip("[]") or name
        found[name, parts[2]] = parts[3]
    return found


def plain(default: object) -> object:
    """A default as TOML would give it."""
    return list(default) if isinstance(default, tuple) else default


def test_every_key_of_a_study_file_is_documented() -> None:
    """docs/study_file.md has a row for each key that a study file can hold."""
    page = (ROOT / "docs" / "study_file.md").read_text(encoding="utf-8")
    models = (
        specs.StudyTable,
        specs.CompareTable,
        specs.TrainingTable,
        specs.SearchTable,
        specs.ConfirmTable,
        specs.Claim,
    )
    keys = {key for model in models for key in model.model_fields}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_every_task_is_documented() -> None:
    """README's study names each task.

    Docs/study_file.md has a row for each, with its lag at every length and its least length.
    """
    names = re.search(r"tasks = \[\"delayed_recall\"\] +# ([\w, \n#]+)\n", README)
    assert names is not None
    assert re.findall(r"\w+", names[1]) == [name for name in TASKS if name in BUILT_IN_TASKS]
    page = (ROOT / "docs" / "study_file.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| (\d+) \|$", page, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == [name for name in TASKS if name in BUILT_IN_TASKS]
    for name, lag, least in rows:
        task = TASKS[name]
        assert task.least_length == int(least)
        for length in (int(least), int(least) + 1, 37, 100):
            known = {"T": length, "floor": math.floor}
            assert task.lag(length) == eval(lag.partition(",")[0], known)  # our own page


# ------------------------------------------------------------------------------------ plug-ins, run


def run(words: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that holds what the page shows."""
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize("name", CODE)
def test_what_is_shown_is_short(name: str) -> None:
    """Each cell and task is fewer than 25 lines, blank ones included."""
    shown = blocks(name, "python")
    assert shown
    for file, text in shown:
        assert len(text.splitlines()) < 25, file


def test_readme_plugs_in_a_cell_and_a_task(tmp_path: Path) -> None:
    """README's cell and the task of docs/plugins.md, on small sizes: every trial completes."""
    write_files("README.md", tmp_path)
    write_files("docs/plugins.md", tmp_path)
    command = study_commands("docs/plugins.md")[0]
    (alone,) = study_commands("README.md")
    assert set(alone) - set(command) == {'study.name="mine"'}
    small = tiny("confirm.sequence_lengths=", "confirm.lags=[5]")
    done = run([*command, "--workers", "2", *small], tmp_path)
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "results" / "first" / "trials.csv")
    assert {row["end"] for row in rows} == {"complete"}
    assert {(row["task"], row["cell"]) for row in rows} == {
        (task, cell) for task in ("temporal_order", "first_bit") for cell in ("mgu", "gru", "lstm")
    }
    for row in rows:
        assert (row["bias"] != "") == (row["cell"] == "mgu")
        assert row["bias"] == "" or -4 <= float(row["bias"]) <= 0
    confirmed = table(tmp_path / "results" / "first" / "confirmation.csv")
    assert {row["end"] for row in confirmed} == {"complete"}
    assert "mgu" in (tmp_path / "results" / "first" / "report.html").read_text()


@pytest.mark.nightly
def test_readme_plug_ins_are_timed(tmp_path: Path) -> None:
    """harness.timing times README's cell on the task of docs/plugins.md, and counts its operations.

    2 blocks of (1 + 8) x 8, and the head.
    """
    write_files("README.md", tmp_path)
    write_files("docs/plugins.md", tmp_path)
    benchmark = {"name": "one", "task": "first_bit", "cell": "mgu", "hidden_size": 8}
    benchmark |= {"num_layers": 1, "sequence_length": 6, "batch_size": 4}
    request = {"schema": 2, "benchmarks": [benchmark], "n_blocks": 5, "block_s": 1e-3}
    request |= {"memory": False, "plugins": ["mgu.py", "first_bit.py"]}
    done = run([sys.executable, "-m", "harness.timing"], tmp_path, input=json.dumps(request))
    assert done.returncode == 0, done.stderr
    (timed,) = json.loads(done.stdout)["results"]
    assert timed["flops_per_step"] == 3 * (2 * 2 * 8 * (1 + 8) * 6 * 4 + 2 * 8 * 2 * 4)


def test_the_documented_cell_offers_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell of docs/plugins.md: steps are its forward pass; `slow` keeps (T - 1) / T."""
    monkeypatch.setattr("harness.cells.registry.CELLS", dict(CELLS))
    write_files("docs/plugins.md", tmp_path)
    load_plugin(str(tmp_path / "leaky.py"))
    cell = get_cell("leaky")
    module = cell.factory(3, 5, 2).double()
    assert isinstance(module, Stateful)
    assert isinstance(module, Gated)
    cell.initializations["slow"](module, 10, torch.Generator())
    inputs = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state, outputs = module.initial_state(2, inputs), []
    for x in inputs.unbind(dim=1):
        output, state = module.step(x, state)
        outputs.append(output)
    assert torch.equal(torch.stack(outputs, dim=1), module(inputs))
    gate = module.gates(inputs)[module.memory_gate]
    assert gate.shape == (2, 2, 7, 5)
    assert torch.allclose(gate, torch.tensor(0.9, dtype=torch.float64))


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """A folder with docs/plugins.md's files, and sequences whose class is the third step's sign."""
    write_files("docs/plugins.md", tmp_path)
    draw = np.random.default_rng(0)
    arrays: dict[Any, Any] = {}
    for part, n in (("train", 200), ("test", 40)):
        inputs = draw.normal(size=(n, 12, 1))
        arrays |= {f"{part}_inputs": inputs, f"{part}_targets": inputs[:, 2, 0] > 0}
    np.savez(tmp_path / "sequences.npz", **arrays)
    return tmp_path


@pytest.mark.nightly
def test_permuted_sequences_are_studied(documented: Path) -> None:
    """docs/plugins.md's study of sequences from a file runs in its workers.

    Other data are not mixed with those of before.
    """
    _, command, _ = study_commands("docs/plugins.md")
    assert "permuted.toml" in command
    lengths = ("space.sequence_length=12", "confirm.sequence_lengths=[12]")
    done = run([*command, "--workers", "2", *tiny(*lengths)], documented)
    assert done.returncode == 0, done.stderr
    rows = table(documented / "results" / "permuted" / "trials.csv")
    assert {(row["cell"], row["end"]) for row in rows} == {
        ("leaky", "complete"),
        ("lstm", "complete"),
    }
    assert {row["initialization"] for row in rows if row["cell"] == "leaky"} <= {"pytorch", "slow"}
    wrong = run([*command, *tiny()], documented)
    assert wrong.returncode == 2
    assert re.fullmatch(
        r"error: permuted.toml: space.sequence_length: expected 12, .*got 10; .*\n", wrong.stderr
    )
    with np.load(documented / "sequences.npz") as data:
        arrays = {name: data[name] for name in data}
    arrays["test_inputs"][0, 0, 0] += 1
    np.savez(documented / "sequences.npz", **arrays)
    other = run([*command, *tiny(*lengths)], documented)
    assert other.returncode == 2
    assert "data.permuted" in other.stderr


@pytest.mark.nightly
def test_the_documented_comparison_runs(documented: Path) -> None:
    """docs/plugins.md's study of a cell beside baselines.

    Each has about as many parameters, whatever its kind.
    """
    command = study_commands("docs/plugins.md")[-1]
    assert "beside.toml" in command
    small = tiny(
        "space.hidden_size=",
        "confirm.sequence_lengths=",
        "confirm.lags=[5]",
        "training.num_parameters=2000",
    )
    small += ["--set", 'compare.tasks=["delayed_recall"]', "--set", "space.num_layers=1"]
    done = run([*command, "--workers", "2", *small], documented)
    assert done.returncode == 0, done.stderr
    rows = table(documented / "results" / "beside" / "trials.csv")
    assert {row["cell"] for row in rows} == {"leaky", "rnn", "gru", "lstm"}
    assert all(abs(int(row["num_parameters"]) - 2000) <= 100 for row in rows)


def test_the_documented_entry_points_are_toml() -> None:
    """The pyproject snippet names both groups as the registries do."""
    (text,) = [each for each in fenced("docs/plugins.md", "toml") if each.startswith("[project")]
    assert set(tomllib.loads(text)["project"]["entry-points"]) == {
        cells.CELL_ENTRY_POINTS,
        tasks.TASK_ENTRY_POINTS,
    }
