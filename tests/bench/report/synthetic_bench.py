"""Results of benches that never ran.

Answers as harness.timing gives them, drawn from a seeded generator.

Steps behave roughly as measured: an LSTM with a fused path, a GRU without one, gradients that
vanish with torch's own initialisation and slow a CPU down, and a floor of time for each step of a
sequence.
"""

from __future__ import annotations

import dataclasses
import math
import random
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import records
from harness.config import parse_grid, training_groups
from harness.timing.timing_results import TrainingAnswer
from tests import timed
from tests.study.report.synthetic import MACHINE

PER_STEP_S = {"rnn": 12e-6, "gru": 30e-6, "lstm": 8e-6}  # of each time step, however small
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
PEAK = {"cpu": 100.0, "cuda": 50_000.0}  # GFLOP/s of a matrix product
COPY = {"cpu": 12e9, "cuda": 2e12}
FACTOR = {  # time over that of tuned
    "plain": 1.8,
    "tuned": 1.0,
    "denormals_kept": 1.0,
    "threads=2": 1.3,
    "processes=2": 1.1,
    "bfloat16": 2.6,
    "compiled": 0.8,
    "cuda_graph": 0.2,
    "tf32": 0.9,
    "float16": 1.4,
}
INITIALIZATIONS = {
    "rnn": ("pytorch", "orthogonal"),
    "gru": ("pytorch", "orthogonal", "chrono"),
    "lstm": ("pytorch", "orthogonal", "chrono"),
}
QUICK = """
[[vary]]
hidden_size = [8, 32, 128]
[[vary]]
variants = ["plain", "tuned"]
measures = ["forward", "forward_backward"]
[[vary]]
sequence_length = [50, 100, 200, 400]
initialization = ["pytorch", "orthogonal", "chrono"]
variants = ["tuned", "denormals_kept"]
"""


@dataclasses.dataclass(frozen=True)
class BenchWish:
    """What the bench shall look like; the defaults are about those of bench_quick."""

    name: str = "bench_quick"
    question: str = (
        "How fast does each cell train on this machine, and what should be changed first?"
    )
    cells: Sequence[str] = ("rnn", "gru", "lstm")
    variants: Sequence[str] = ("plain", "tuned", "threads=2", "processes=2", "bfloat16", "tf32")
    vary: str = QUICK
    devices: Sequence[str] = ("cpu",)
    factors: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(FACTOR))
    unavailable: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"tf32": "needs a CUDA device"}
    )
    failed: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by part of the name
    n_blocks: int = 11
    unsteady: str = "no row"  # part of the names of rows whose warm-up did not configure_process
    noise: float = 0.015
    limits: bool = True
    reference: bool = True
    memory: bool = True
    seed: int = 0
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def grid_text(wish: BenchWish) -> str:
    """The grid file of the wish."""
    quoted = {
        name: f"[{', '.join(map(_toml, getattr(wish, name)))}]" for name in ("cells", "variants")
    }
    return f"""
[grid]
name = {_toml(wish.name)}
question = {_toml(wish.question)}
[compare]
cells = {quoted["cells"]}
variants = {quoted["variants"]}
[timing]
n_blocks = {wish.n_blocks}
{wish.vary}
"""


def write_bench(directory: Path, wish: BenchWish = BenchWish()) -> Path:
    """Write all result files of such a bench; returns the directory."""
    rng = random.Random(wish.seed)
    grid = parse_grid(tomllib.loads(grid_text(wish)), "grid.toml")
    cells = {
        cell: SimpleNamespace(
            initializations=dict.fromkeys(INITIALIZATIONS.get(cell, ("pytorch",)))
        )
        for cell in wish.cells
    }
    results = []
    for device in wish.devices:
        for group in training_groups(grid, cells, device):
            results += _group(rng, wish, [dict(each) for each in group.benchmarks])
    records.write_grid(directory, grid_text(wish))
    if results:
        answer = {"machine": timed.MACHINE, "results": results, "wall_time_s": 1.0}
        records.write_throughput(directory, {"bench": TrainingAnswer.from_json(answer)})
    command = {"command": f"python -m harness.bench {wish.name}"}
    records.write_machine(directory, {**MACHINE, **command, **wish.machine})
    return directory


def _group(
    rng: random.Random, wish: BenchWish, group: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of one group; what drifts in a round drifts for all of them."""
    drift = [math.exp(rng.gauss(0, 2 * wish.noise)) for _ in range(wish.n_blocks)]
    rows = [_row(rng, wish, benchmark, drift) for benchmark in group]
    return [row | _speedup(row, rows) for row in rows]


def _row(
    rng: random.Random, wish: BenchWish, benchmark: dict[str, Any], drift: Sequence[float]
) -> dict[str, Any]:
    variant, kind = benchmark["variant"], benchmark["device"].partition(":")[0]
    reason = "" if kind == "cuda" and variant == "tf32" else wish.unavailable.get(variant, "")
    error = next((text for part, text in wish.failed.items() if part in benchmark["name"]), None)
    if reason or error:
        return benchmark | {"unavailable": reason, "error": error}
    denormal, zero = _vanished(benchmark)
    flops, moved, usual = _work(benchmark, kind)
    slow = 1 + 6 * denormal if variant in ("plain", "denormals_kept") else 1.0
    base = usual * wish.factors.get(variant, 1.0) * slow
    times = [base * each * math.exp(rng.gauss(0, wish.noise)) for each in drift]
    ascending = sorted(times)
    step = ascending[len(ascending) // 2]
    steps, copies = benchmark["sequence_length"], 2 if variant == "processes=2" else 1
    reached = flops / step / 1e9
    is_forward = benchmark["measure"] == "forward"
    known: dict[str, Any] = {
        "device_name": "Example CPU" if kind == "cpu" else "Example GPU",
        "num_parameters": GATES.get(benchmark["cell"], 2) * benchmark["hidden_size"] ** 2,
        "n_threads": 1,
        "n_processes": copies,
        "n_time_steps": steps,
        **timed.UNUSED_TIMES,
        "n_blocks": len(times),
        "n_steps_per_block": 20,
        "steady": wish.unsteady not in benchmark["name"],
        "step_times_s": times,
        "step_time_s": step,
        "step_time_low_s": ascending[1] if len(times) > 4 else math.nan,
        "step_time_high_s": ascending[-2] if len(times) > 4 else math.nan,
        "host_time_s": step * 0.8,
        "sequences_per_second": copies * benchmark["batch_size"] / step,
        "tokens_per_second": copies * benchmark["batch_size"] * steps / step,
        "gflops_per_second": reached,
        "compile_time_s": 41.0 if variant == "compiled" else None,
        "graph_breaks": 3 if variant == "compiled" else None,
        "unavailable": "",
        "error": None,
    }
    if wish.limits:
        known |= {"bytes_per_step": moved, "copy_bytes_per_second": COPY[kind]}
        known |= {"latency_bound_s": steps * 3e-6, "peak_gflops_per_second": PEAK[kind]}
        known["fraction_of_peak"] = reached / PEAK[kind]
    if wish.reference:
        loose = 3e-3 if variant in ("bfloat16", "tf32", "float16") else 2e-7
        known |= {"loss_error": loose * rng.random(), "gradient_error": 3 * loose * rng.random()}
        if not is_forward:
            known |= {"denormal_fraction": denormal, "zero_fraction": zero}
    if wish.memory and variant == "tuned":
        known["peak_memory_bytes"] = 2.9e8 + 700.0 * steps * benchmark["hidden_size"]
    return benchmark | known


def _work(benchmark: Mapping[str, Any], kind: str) -> tuple[float, float, float]:
    """Arithmetic, least bytes, and seconds of a tuned step."""
    gates, hidden = GATES.get(benchmark["cell"], 2), benchmark["hidden_size"]
    steps, batch = benchmark["sequence_length"], benchmark["batch_size"]
    share = {"forward": 0.35, "forward_backward": 0.9, "training_step": 1.0}[benchmark["measure"]]
    flops = 6.0 * gates * hidden * (hidden + 8) * steps * batch
    moved = 16.0 * gates * hidden * (hidden + steps * batch)
    floor = PER_STEP_S.get(benchmark["cell"], 20e-6) * steps
    time = floor + flops / (0.5e9 * PEAK[kind])
    return flops * share, moved * share, time * share


def _vanished(benchmark: Mapping[str, Any]) -> tuple[float, float]:
    """Shares of denormal and of zero entries.

    Only where torch's own initialisation meets a long sequence.
    """
    if benchmark["initialization"] != "pytorch":
        return 0.0, 0.0
    length = benchmark["sequence_length"]
    return 0.3 * max(0.0, 1 - 100 / length), 0.8 * max(0.0, 1 - 200 / length)


def _speedup(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ratios to plain in the same rounds, with the two ends that 11 rounds give."""
    keys = ("cell", "initialization", "measure", "device")
    for plain in rows:
        same = all(plain[key] == row[key] for key in keys) and plain["variant"] == "plain"
        if same and plain.get("step_times_s") and row.get("step_times_s"):
            pairs = zip(plain["step_times_s"], row["step_times_s"], strict=True)
            ratios = sorted(row["n_processes"] * slow / own for slow, own in pairs)
            found = {"speedup": ratios[len(ratios) // 2]}
            if len(ratios) > 4:
                found |= {"speedup_low": ratios[1], "speedup_high": ratios[-2]}
            return found
    return {}


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
