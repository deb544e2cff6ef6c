"""The bench command as a user types it.

Here with an engine that measures nothing, and once for real.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness import config as specs
from harness.bench import __main__ as bench
from harness.bench.run import Request
from harness.timing.inference_request import InferenceRequest
from harness.timing.timing_results import Answer
from tests.timed import inference_answer, training_answer

SMALL = """
[grid]
name = "small"
question = "How fast?"
[compare]
cells = ["lstm"]
measures = ["forward"]
[shape]
hidden_size = 4
sequence_length = 10
batch_size = 2
[timing]
n_blocks = 5
block_s = 0.001
memory = false
[inference]
n_calls = 5
"""


class Fake:
    """Answers at once, and prints as a plug-in might."""

    def measure(self, request: Request, _progress: Callable[[str], None]) -> Answer:
        """What harness.timing would answer."""
        print("said while it measures")
        plain = request.to_dict()
        inference = isinstance(request, InferenceRequest)
        return inference_answer(plain) if inference else training_answer(plain)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in a folder with small.toml alone, with an engine that measures nothing."""

    @contextlib.contextmanager
    def engine(_plugins: Sequence[str]) -> Iterator[Fake]:
        yield Fake()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.bench.run.timing_engine", engine)
    monkeypatch.setattr("harness.bench.run._render", lambda folder: folder / "report.html")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    Path("small.toml").write_text(SMALL, encoding="utf-8")
    return lambda *arguments: CliRunner().invoke(bench.app, list(arguments))


def test_a_bench_ends_with_its_table_and_its_files(invoke: Callable[..., Result]) -> None:
    """Exit code 0, the table, and where the rest is."""
    done = invoke("small.toml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "1 of 1: hidden size 4, 1 layer, length 10, batch 2 on cpu" in done.stdout
    assert "forward at hidden size 4" in done.stdout
    assert Path("results/small/throughput.csv").is_file()
    assert json.loads(Path("results/small/machine.json").read_text())["command"].startswith(
        "python -m harness.bench"
    )


@pytest.mark.parametrize(
    "arguments",
    [("--variants", "tf32"), ("--mode", "inference", "--set", 'inference.dtypes=["bfloat16"]')],
)
def test_a_cell_without_a_time_is_exit_code_3(
    invoke: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    """Everything was tried and written, and the cell is named.

    Here the one variant, or dtype, is not to be had.
    """
    done = invoke("small.toml", "--device", "cpu", *arguments)
    assert done.exit_code == 3, done.output
    assert "nothing could be timed: lstm on cpu" in done.stdout
    name = "inference" if "inference" in arguments else "throughput"
    assert Path(f"results/small/{name}.csv").is_file()


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_json_stands_alone_on_standard_output(invoke: Callable[..., Result], mode: str) -> None:
    """Progress, notes, tables and what plug-ins print go to standard error."""
    done = invoke("small.toml", "--device", "cpu", "--mode", mode, "--json")
    assert done.exit_code == 0, done.output
    name = "throughput" if mode == "training" else "inference"
    assert json.loads(done.stdout) == json.loads(Path(f"results/small/{name}.json").read_text())
    assert "said while it measures" in done.stderr
    assert "1 of 1" in done.stderr
    assert "lstm" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["bench_quik"], "GRID: expected a TOML file or a known grid.*'bench_quick'"),
        (["quickstart"], "python -m harness.study quickstart"),
        (["none.toml"], "none.toml: expected a grid file, got no such file"),
        (["small.toml", "--device", "gpu"], "--device: expected auto, cpu, cuda or cuda:I"),
        (["small.toml", "--device", "cuda:7"], "--device: expected a CUDA device that is there"),
        (["small.toml", "--variants", "tund"], "--variants: expected a variant.*'tuned'"),
        (["small.toml", "--mode", "both"], "--mode: expected training or inference, got 'both'"),
        (
            ["small.toml", "--set", 'compare.cells=["ltsm"]'],
            "compare.cells: expected a known cell.*'lstm'",
        ),
        (["small.toml", "--set", "shape.hidden_size=1_000_000"], "expected groups that fit into"),
        (
            ["small.toml", "--mode", "inference", "--set", "shape.hidden_size=2_000_000"],
            "expected groups that fit into .*h2000000",
        ),
        (["small.toml", "--plugin", "nowhere"], "--plugin: expected a module"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    invoke: Callable[..., Result], arguments: list[str], match: str
) -> None:
    """Before anything is timed, and on standard error."""
    done = invoke(*arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(match, line)
    assert not Path("results").exists()


def test_variants_and_settings_decide_what_is_measured(invoke: Callable[..., Result]) -> None:
    """--variants and --set change the grid that is kept with the results.

    What is not to be had is noted.
    """
    done = invoke(
        "small.toml", "--device", "cpu", "--variants", "tuned,tf32", "--set", "shape.batch_size=3"
    )
    assert "note: tf32 on cpu is unavailable here: needs a CUDA device" in done.stdout
    spec = specs.load_grid(Path("results/small/grid.toml"))
    assert (spec.compare.variants, spec.shape.batch_size) == (("tuned", "tf32"), 3)


def test_a_dry_run_measures_nothing(invoke: Callable[..., Result]) -> None:
    """It prints the grid with every default, and how much there is to measure."""
    done = invoke("small.toml", "--device", "cpu", "--variants", "plain,cuda_graph", "--dry-run")
    assert done.exit_code == 0
    assert "# 2 benchmarks in 1 groups on cpu" in done.stdout
    assert "# unavailable here: cuda_graph on cpu (needs a CUDA device)" in done.stdout
    assert "max_grad_norm = 1.0" in done.stdout
    assert not Path("results").exists()


def test_list_names_what_there_is(invoke: Callable[..., Result]) -> None:
    """Grids, cells, variants and devices, and no study."""
    done = invoke("--list")
    assert done.exit_code == 0
    for text in ("bench_quick: How fast", "  lstm", "  threads=2", "  cpu", "  adding"):
        assert text in done.stdout
    assert "quickstart" not in done.stdout


def test_a_plug_in_brings_a_cell(invoke: Callable[..., Result]) -> None:
    """A registered cell is one like any other."""
    Path("mine.py").write_text(
        "from harness.cells import CELLS, Cell, register_cell\n"
        "register_cell(Cell('mine_for_bench', CELLS['rnn'].factory, 1))\n",
        encoding="utf-8",
    )
    try:
        done = invoke(
            "small.toml",
            "--device",
            "cpu",
            "--plugin",
            "mine.py",
            "--set",
            'compare.cells=["mine_for_bench"]',
        )
    finally:
        from harness.cells import CELLS

        CELLS.pop("mine_for_bench", None)
    assert done.exit_code == 0, done.output
    assert "mine_for_bench" in done.stdout


def test_fresh_moves_the_old_results_aside(invoke: Callable[..., Result]) -> None:
    """Nothing is deleted."""
    for arguments in ((), ("--fresh",)):
        assert invoke("small.toml", "--device", "cpu", *arguments).exit_code == 0
    assert {path.name for path in Path("results").iterdir()} == {"small", "small.old-1"}


# ----------------------------------------------------------------------------------- for real


def command(*arguments: str) -> list[str]:
    """The command in a process of its own."""
    return [sys.executable, "-m", "harness.bench", "small.toml", "--device", "cpu", *arguments]


@pytest.mark.nightly
def test_measured_for_real(tmp_path: Path) -> None:
    """A process of its own measures each benchmark, and leaves a report."""
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    one = command("--variants", "tuned", "--json")
    done = subprocess.run(one, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(done.stdout)["benchmarks"]
    assert measured["stats"]["mean"] > 0
    assert (tmp_path / "results" / "small" / "report.html").is_file()


@pytest.mark.nightly
def test_stopped_and_resumed_for_real(tmp_path: Path) -> None:
    """SIGTERM ends it with 130, all finished groups saved and the command that resumes.

    Which then goes on and ends.
    """
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    many = ("--variants", "tuned", "--set", f"vary=[{{hidden_size={list(range(1, 200))}}}]")
    stored = tmp_path / "results" / "small" / "groups.jsonl"
    with subprocess.Popen(
        command(*many), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not stored.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "interrupted: the finished groups are saved; to resume, run" in out
    assert "-m harness.bench small.toml --device cpu --variants tuned" in out
    n_before = len(stored.read_bytes().splitlines())
    assert n_before >= 1
    few = ("--variants", "tuned", "--set", "vary=[{hidden_size=[1, 2]}]", "--json")
    done = subprocess.run(command(*few), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    benchmarks = json.loads(done.stdout)["benchmarks"]
    assert [each["params"]["hidden_size"] for each in benchmarks] == [1, 2]
    assert all(each["stats"]["mean"] > 0 for each in benchmarks)
    assert "groups measured before" in done.stderr
    assert (stored.parent / "report.html").is_file()
    assert (stored.parent / "report.md").is_file()
