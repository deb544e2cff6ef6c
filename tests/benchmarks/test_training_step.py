"""The training steps of harness.timing as benchmarks of pytest-benchmark.

One process after the other and no interleaving: for comparisons of cells, variants or revisions use
`python -m harness.bench`. Under `make test` each runs once, untimed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness.cells import BUILT_IN_CELLS
from harness.machine import configure_process, describe_device
from harness.timing import MEASURES, Benchmark, prepare
from harness.timing.flops import training_flops

ROOT = Path(__file__).parents[2]
ROUNDS, WARM_UP_ROUNDS = 200, 20
NO_CUDA = not torch.cuda.is_available()
DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0", marks=[pytest.mark.cuda, pytest.mark.skipif(NO_CUDA, reason="CUDA: no device")]
    ),
]


def synchronised_clock() -> float:
    """Seconds, once the card has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """One thread and denormals flushed, as the variant `tuned`.

    The next test has its threads again.
    """
    threads = torch.get_num_threads()
    configure_process()
    yield
    torch.set_num_threads(threads)


@pytest.mark.alone
@pytest.mark.benchmark(timer=synchronised_clock)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("cell", sorted(BUILT_IN_CELLS))
def test_step(benchmark: BenchmarkFixture, cell: str, measure: str, device: str) -> None:
    """A step on real batches, one a round, from the first weights each time."""
    benchmark.group = f"{measure} {device}"
    wanted = Benchmark(
        name=f"{cell}/{measure}/{device}",
        task="temporal_order",
        cell=cell,
        hidden_size=32,
        num_layers=1,
        sequence_length=100,
        device=device,
        measure=measure,
    )
    subject = prepare(wanted)
    loss = benchmark.pedantic(
        subject.step,
        setup=subject.reset,
        rounds=ROUNDS,
        warmup_rounds=WARM_UP_ROUNDS,
    )
    assert float(loss.detach()) > 0
    benchmark.extra_info |= {
        "device_name": describe_device(device),
        "num_parameters": subject.num_parameters,
        "flops_per_step": subject.flops,
        "variant": wanted.variant,
    }
    if benchmark.stats is not None:  # None where benchmarks run once, untimed
        median = benchmark.stats.stats.median
        benchmark.extra_info |= {
            "sequences_per_second": subject.num_sequences / median,
            "tokens_per_second": subject.num_tokens / median,
            "gflops_per_second": subject.flops / median / 1e9 if subject.flops else None,
        }


def test_what_is_written_of_a_benchmark(tmp_path: Path) -> None:
    """A benchmark leaves throughput and the machine's fingerprint in pytest-benchmark's file."""
    path = tmp_path / "out.json"
    chosen = f"{__file__}::test_step[lstm-training_step-cpu]"
    command = [
        sys.executable,
        "-m",
        "pytest",
        chosen,
        "--benchmark-enable",
        f"--benchmark-json={path}",
    ]
    quiet = ["-q", "-p", "no:cacheprovider"]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # no part of a run that is side by side, in which nothing is timed
        [*command, *quiet], cwd=ROOT, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    written: dict[str, Any] = json.loads(path.read_text())
    (entry,) = written["benchmarks"]
    assert written["machine_info"]["fingerprint"]["versions"]["torch"] == torch.__version__
    assert entry["stats"]["rounds"] == ROUNDS
    assert entry["stats"]["iterations"] == 1
    extra = entry["extra_info"]
    assert extra["sequences_per_second"] == pytest.approx(32 / entry["stats"]["median"])
    assert extra["tokens_per_second"] == pytest.approx(3_200 / entry["stats"]["median"])
    wanted = Benchmark("one", "temporal_order", "lstm", 32, 1, 100)
    assert extra["flops_per_step"] == training_flops(wanted.model, 32, 100)


@pytest.mark.skipif(shutil.which("make") is None, reason="make: not installed")
@pytest.mark.parametrize(
    ("target", "runs"),
    [
        (["bench"], "pytest tests/benchmarks/test_training_step.py -k test_step --benchmark-en"),
        (["throughput", "GRID=bench_full"], "python -m harness.bench bench_full"),
    ],
)
def test_make_runs_these_benchmarks_or_a_grid(target: list[str], runs: str) -> None:
    """`make bench` is for pytest-benchmark, `make throughput` for a grid."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(  # no part of a make that runs these tests
        ["make", "--dry-run", *target],
        cwd=ROOT,
        env=bare,
        capture_output=True,
        text=True,
        check=True,
    )
    assert runs in told.stdout.splitlines()[-1]
