"""How much faster than torch's modules are the native kernels, and at which shapes?

    python -m benchmarks.native_kernels [--rounds 5] [--out results/reference/native_kernels/avx512]

One process of one thread, configured as a trial's. At each shape the two sides take turns, and a
round gives the ratio of their times. A shape is left out where one call takes more than the limit.
The best product rate is that of torch.mm or of oneDNN's LSTM, whichever is higher.

With --only, another instruction set is measured: HARNESS_NATIVE chooses the kernels', and the same
is asked of torch, MKL and oneDNN before they are loaded.

Writes rounds.csv, README.md, and with --table the shapes at which the kernels are used:
harness/cells/native/faster_shapes.csv. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime as dt
import io
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.telling import text
from harness.cells import CELLS, TorchCell
from harness.cells.native.faster_shapes import BATCH_SIZES, HIDDEN_SIZES, TABLE, FasterShape
from harness.cells.native.library import native_library
from harness.cells.native.recurrence import native_recurrence
from harness.machine import configure_process, cpu_model, keep_memory
from harness.records import write_text
from harness.stats import Estimate, paired_ratio

REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "native_kernels"
INPUT_SIZE = 8
LENGTHS = ((10, 1), (100, 1), (100, 2), (400, 1))  # sequence_length, num_layers
MOST_FLOPS = 8e9  # of one call that is timed
PRODUCT = 256  # rows and columns of the product that torch.mm is timed with
ROUND_S = 0.004  # of one side: a small shape is called several times


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is timed: forward and backward ("train"), or forward alone ("infer")."""

    cell: str
    kind: str
    hidden_size: int
    batch_size: int
    sequence_length: int
    num_layers: int

    @property
    def flops(self) -> int:
        """Of the matrix products; forward and backward are three times forward."""
        gates = CELLS[self.cell].gates
        assert gates is not None
        hidden = self.hidden_size
        depth = INPUT_SIZE + hidden + (self.num_layers - 1) * 2 * hidden
        forward = 2 * gates * hidden * depth * self.batch_size * self.sequence_length
        return forward * (3 if self.kind == "train" else 1)


@dataclasses.dataclass(frozen=True)
class Timing:
    """One shape's times in seconds, round by round."""

    shape: Shape
    torch_s: Sequence[float]
    native_s: Sequence[float]

    @property
    def gain(self) -> Estimate:
        """How many times as long torch's module takes."""
        return paired_ratio(self.torch_s, self.native_s)

    @property
    def gflops_per_second(self) -> float:
        """Of the kernels: the median over rounds."""
        return self.shape.flops / statistics.median(self.native_s) / 1e9


def shapes(batch_sizes: Sequence[int], hidden_sizes: Sequence[int]) -> Iterator[Shape]:
    """The grid, cell by cell, without the shapes that take too long."""
    for cell, kind in itertools.product(("rnn", "gru", "lstm"), ("train", "infer")):
        for hidden_size, batch_size in itertools.product(hidden_sizes, batch_sizes):
            for length, layers in LENGTHS:
                shape = Shape(cell, kind, hidden_size, batch_size, length, layers)
                if shape.flops <= MOST_FLOPS or length == LENGTHS[0][0]:
                    yield shape


def subject(shape: Shape, *, native: bool) -> Callable[[], object]:
    """One call of torch's module, or of the kernels, at a shape."""
    torch.manual_seed(0)
    cell = CELLS[shape.cell].factory(INPUT_SIZE, shape.hidden_size, shape.num_layers)
    assert isinstance(cell, TorchCell)
    inputs = torch.randn(shape.batch_size, shape.sequence_length, INPUT_SIZE)
    if native:
        cell.recurrence = native_recurrence(type(cell.module), everywhere=True)
    weights = list(cell.parameters())
    grad = torch.randn(shape.batch_size, shape.hidden_size) / shape.batch_size

    def train() -> tuple[Tensor, ...]:
        return torch.autograd.grad(cell(inputs, last_only=True), weights, grad)

    def infer() -> Tensor:
        with torch.inference_mode():
            found: Tensor = cell(inputs, last_only=True)
            return found

    return train if shape.kind == "train" else infer


def seconds(call: Callable[[], object], n: int) -> float:
    """Seconds of a call, over `n` of them."""
    start = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - start) / n


def measure(shape: Shape, rounds: int) -> Timing:
    """Time both sides in turns; the side that goes first changes from round to round."""
    sides = [subject(shape, native=native) for native in (False, True)]
    for call in sides:
        call()
    counts = [max(1, round(ROUND_S / seconds(call, 1))) for call in sides]
    found: list[list[float]] = [[], []]
    for number in range(rounds):
        for side in ((0, 1), (1, 0))[number % 2]:
            found[side].append(seconds(sides[side], counts[side]))
    return Timing(shape, *found)


def product_rates(rounds: int) -> dict[str, float]:
    """GFLOP/s of torch.mm and of oneDNN's LSTM at its best hidden size: medians of rounds."""
    left, right = torch.randn(PRODUCT, PRODUCT), torch.randn(PRODUCT, PRODUCT)
    rates = {"torch.mm": 2 * PRODUCT**3 / _median(lambda: torch.mm(left, right), rounds) / 1e9}
    for hidden in (128, 256):
        shape = Shape("lstm", "infer", hidden, 128, 50, 1)
        rates[f"oneDNN LSTM {hidden}"] = (
            shape.flops / _median(subject(shape, native=False), rounds) / 1e9
        )
    return rates


def _median(call: Callable[[], object], rounds: int) -> float:
    call()
    return statistics.median(seconds(call, 3) for _ in range(3 * rounds))


def table(timings: Sequence[Timing], level: str) -> Iterator[FasterShape]:
    """The shapes of the grid at which the kernels are at least as fast at every length measured."""
    worst: dict[tuple[str, str, int], dict[int, float]] = {}
    for each in timings:
        shape = each.shape
        row = worst.setdefault((shape.cell, shape.kind, shape.hidden_size), {})
        row[shape.batch_size] = min(row.get(shape.batch_size, math.inf), each.gain.value or 0.0)
    for key, gains in worst.items():
        if faster := [str(batch_size) for batch_size, gain in gains.items() if gain >= 1]:
            yield FasterShape(level, *key, " ".join(faster))


def page(timings: Sequence[Timing], rates: dict[str, float], about: str, command: str) -> str:
    """The README: the table of the issue's shapes first, then every shape."""
    best = max(rates.values())
    chosen = [
        each
        for each in timings
        if each.shape.kind == "train"
        and (each.shape.batch_size, each.shape.sequence_length, each.shape.num_layers)
        == (32, 100, 1)
    ]
    lines = [
        "# Native kernels against torch's modules",
        "",
        (
            f"{about}. One thread. Medians over rounds in turns, with intervals, of how many times as "
            "long torch's module takes: above 1 the kernels are faster. `train`: forward and "
            "backward; `infer`: forward alone. Many-to-one."
        ),
        "",
        "Product rates in GFLOP/s: "
        + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        + ".",
        "",
        "## Batch 32, 100 steps, one layer, forward and backward",
        "",
        "| cell | hidden | torch / native | GFLOP/s | of the best product |",
        "|---|---:|---|---:|---:|",
    ]
    for each in chosen:
        rate = each.gflops_per_second
        lines.append(
            f"| {each.shape.cell} | {each.shape.hidden_size} | {text(each.gain)} | {rate:.0f} | {rate / best:.2f} |"
        )
    lines += [
        "",
        "## Every shape",
        "",
        "A shape is used in training where no length of it is slower than torch's.",
        "",
        "| cell | kind | hidden | batch | "
        + " | ".join(
            f"{length} steps, {layers} layer{'s'[: layers - 1]}" for length, layers in LENGTHS
        )
        + " |",
        "|---|---|---:|---:|" + "---|" * len(LENGTHS),
    ]
    found = {each.shape: text(each.gain) for each in timings}
    for key in dict.fromkeys(
        (each.shape.cell, each.shape.kind, each.shape.hidden_size, each.shape.batch_size)
        for each in timings
    ):
        cells = [found.get(Shape(*key, length, layers), "–") for length, layers in LENGTHS]
        lines.append(f"| {' | '.join(map(str, (*key, *cells)))} |")
    lines += ["", "–: not measured, one call takes too long.", "", "```sh", command, "```"]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Rows as CSV."""
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, content.getvalue())


def environment_of(level: str) -> dict[str, str]:
    """Variables by which the kernels, torch, MKL and oneDNN use no later instruction set."""
    return {
        "HARNESS_NATIVE": level,
        "ATEN_CPU_CAPABILITY": {"baseline": "default"}.get(level, level),
        "MKL_ENABLE_INSTRUCTIONS": {"baseline": "SSE4_2"}.get(level, level.upper()),
        "ONEDNN_MAX_CPU_ISA": {"avx512": "AVX512_CORE", "baseline": "SSE41"}.get(level, "AVX2"),
    }


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=("avx512", "avx2", "baseline"))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=list(HIDDEN_SIZES))
    parser.add_argument("--table", action="store_true", help="write the shapes that are used")
    given = parser.parse_args()
    if given.only and os.environ.get("HARNESS_NATIVE") != given.only:
        environment = {**os.environ, **environment_of(given.only)}
        command = [sys.executable, "-m", "benchmarks.native_kernels", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
    configure_process()
    keep_memory()
    library = native_library()
    if library is None:
        parser.error("no native library is in use: python -m harness --version says why")
    rates = product_rates(given.rounds)
    timings = []
    for shape in shapes(given.batch_sizes, given.hidden_sizes):
        timings.append(measure(shape, given.rounds))
        print(
            shape,
            text(timings[-1].gain),
            f"{timings[-1].gflops_per_second:.0f} GFLOP/s",
            flush=True,
        )
    out = given.out or REFERENCE / library.level
    out.mkdir(parents=True, exist_ok=True)
    rounds = [
        {**dataclasses.asdict(each.shape), "round": number, "torch_s": one, "native_s": two}
        for each in timings
        for number, (one, two) in enumerate(zip(each.torch_s, each.native_s, strict=True))
    ]
    write_csv(out / "rounds.csv", rounds)
    about = (
        f"{cpu_model()}, one process on one core, kernels for {library.level}, "
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), {dt.date.today()}"  # noqa: DTZ011
    )
    only = f" --only {given.only}" if given.only else ""
    write_text(
        out / "README.md", page(timings, rates, about, f"python -m benchmarks.native_kernels{only}")
    )
    if given.table:
        kept = [row for row in FasterShape.read(TABLE) if row.level != library.level]
        write_csv(
            TABLE, [dataclasses.asdict(row) for row in (*kept, *table(timings, library.level))]
        )


if __name__ == "__main__":
    main()
