"""How much faster is a training step with kept memory and with the hand-written recurrences?

    python -m benchmarks.faster_steps [--rounds 9] [--out results/reference/faster_steps]

Three live processes of one thread take turns, block by block: torch's module in a process that
returns what it frees, as Python comes ("plain memory"); torch's module where memory is kept
("torch"); and our recurrence there ("ours"), which is timed beyond the shapes that it is used at,
too. What differs between them is one thing at a time, so each gain is the ratio of two blocks of
the same round. Before anything is timed, loss and gradients of ours are held against torch's.

Seeds in one program: the operators of one step of our GRU, forward and backward, on one model and
on several stacked ones, in one process; how many times as fast a seed is bounds what a confirmation
could win by training its seeds together.

Writes rounds.jsonl, steps.csv and README.md. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime as dt
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.telling import text
from harness.cells import CELLS, TorchCell
from harness.cells.fast_recurrence import RECURRENCES
from harness.machine import configure_process, cpu_model, keep_memory, num_cores
from harness.records import write_text
from harness.stats import Estimate, median_interval
from harness.training.training_loop import EVALUATION_BATCH

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference" / "faster_steps"
BLOCK_S = 0.15
INPUT_SIZE, CLASSES = 8, 4
TOLERANCE = 1e-5  # relative, of losses and gradients in float32; what deviates by more is not timed
WAYS = ("plain memory", "torch", "ours")
SHAPES = (
    # hidden_size, num_layers, sequence_length, batch_size
    *((8, 1, 50, 64), (16, 1, 100, 64), (32, 1, 100, 64), (64, 1, 100, 64), (64, 2, 200, 64)),
    *((128, 1, 200, 64), (128, 1, 400, 64), (256, 2, 100, 64)),
    *((32, 1, 100, 32), (128, 2, 100, 32), (150, 2, 100, 32), (200, 2, 100, 32), (224, 1, 100, 32)),
    *((256, 1, 100, 32), (32, 1, 100, 16), (128, 1, 200, 16), (32, 1, 100, 256), (64, 1, 100, 256)),
)
STACKED = tuple(itertools.product((16, 32, 64), (1, 2, 5)))  # hidden_size, seeds


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is timed: a "step" (zero_grad, forward, loss, backward) or an "evaluation"."""

    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    batch_size: int
    kind: str

    @property
    def used(self) -> bool:
        """Whether a trial takes our recurrence for it."""
        own = RECURRENCES.get(type(built(self).module))
        gradients = self.kind == "step"
        inputs = torch.empty(self.batch_size, 1, 1)
        return own is not None and own.suits(inputs, self.hidden_size, gradients=gradients)


def shapes() -> Iterator[Shape]:
    """All shapes, cell by cell; evaluations at the first ones."""
    for cell in ("rnn", "gru", "lstm"):
        for shape in SHAPES:
            yield Shape(cell, *shape, "step")
        if cell != "lstm":
            for hidden_size, num_layers, sequence_length, _ in SHAPES[:4]:
                yield Shape(
                    cell, hidden_size, num_layers, sequence_length, EVALUATION_BATCH, "evaluation"
                )


def built(shape: Shape) -> TorchCell:
    """The cell of a shape, always with the same weights."""
    torch.manual_seed(0)
    cell = CELLS[shape.cell].factory(INPUT_SIZE, shape.hidden_size, shape.num_layers)
    assert isinstance(cell, TorchCell)
    return cell


def subject(shape: Shape, *, ours: bool) -> tuple[Callable[[], Tensor], Sequence[nn.Parameter]]:
    """A step or an evaluation that returns its loss, and the weights that get gradients."""
    cell = built(shape)
    if ours and type(cell.module) in RECURRENCES:
        cell.recurrence = dataclasses.replace(
            RECURRENCES[type(cell.module)], most_numbers=1 << 30, most_hidden=1 << 30
        )
    head = nn.Linear(shape.hidden_size, CLASSES)
    inputs = torch.randn(shape.batch_size, shape.sequence_length, INPUT_SIZE)
    targets = torch.randint(CLASSES, (shape.batch_size,))
    weights = [*cell.parameters(), *head.parameters()]

    def loss() -> Tensor:
        return nn.functional.cross_entropy(head(cell(inputs)[:, -1]), targets)

    def step() -> Tensor:
        for weight in weights:
            weight.grad = None
        found = loss()
        found.backward()
        return found

    def evaluation() -> Tensor:
        with torch.inference_mode():
            return loss()

    return (step if shape.kind == "step" else evaluation), weights


def held_against_torch(
    shape: Shape, loss: float, weights: Sequence[nn.Parameter]
) -> dict[str, float]:
    """By how much ours deviates from torch, relative.

    The loss, and the gradient that deviates most by its norm (0: none asked for).
    """
    other, expected = subject(shape, ours=False)
    by_torch = other().item()
    deviations = [
        float((one.grad - two.grad).norm() / two.grad.norm())
        for one, two in zip(weights, expected, strict=True)
        if one.grad is not None and two.grad is not None
    ]
    found = {"loss": abs(loss / by_torch - 1), "deviation": max(deviations, default=0.0)}
    if not max(found.values()) < TOLERANCE:  # NaN too
        raise ValueError(f"{shape}: ours is not torch's: {found}")
    return found


def serve(way: str) -> None:
    """Answer each line of standard input with one of standard output.

    Prepare a shape, or run a block of it.
    """
    configure_process()
    if way != WAYS[0]:
        keep_memory()
    run: Callable[[], Tensor] = lambda: torch.zeros(())  # noqa: E731
    for line in sys.stdin:
        told = json.loads(line)
        if "shape" in told:
            shape = Shape(**told["shape"])
            run, weights = subject(shape, ours=way == "ours")
            answer = {"loss": run().item()}
            if way == "ours":
                answer = held_against_torch(shape, answer["loss"], weights)
        else:
            started = time.perf_counter()
            for _ in range(told["steps"]):
                run()
            answer = {"seconds": (time.perf_counter() - started) / told["steps"]}
        print(json.dumps(answer), flush=True)


class Server:
    """A live process of one way."""

    def __init__(self, way: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faster_steps", "--serve", way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ask(self, **told: Any) -> dict[str, float]:
        """Send a line, and take its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        """Let it go."""
        self.process.communicate()


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """A line for each shape: seconds a step, round by round, and how far ours is from torch."""
    servers = {way: Server(way) for way in WAYS}
    for shape in shapes():
        ways = WAYS if shape.cell != "lstm" else WAYS[:2]
        plain = dataclasses.asdict(shape)
        told = {way: servers[way].ask(shape=plain) for way in ways}
        servers["torch"].ask(steps=2)
        steps = max(1, round(BLOCK_S / servers["torch"].ask(steps=2)["seconds"]))
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for index in range(rounds):
            for way in ways[index % len(ways) :] + ways[: index % len(ways)]:
                seconds[way].append(servers[way].ask(steps=steps)["seconds"])
        yield {**plain, "steps": steps, "seconds": seconds, "ours": told.get("ours")}
    for server in servers.values():
        server.end()


def stacked_step(seeds: int, size: int, batch_size: int = 64) -> Callable[[], object]:
    """The operators of one step of our GRU, forward and backward, on stacked models.

    One model: no stack.
    """
    lead = (seeds,) if seeds > 1 else ()
    gates, through = (torch.randn(*lead, n * size, batch_size) for n in (3, 1))
    weights, state, out, grad = (
        torch.randn(*lead, *shape)
        for shape in ((3 * size, size), *3 * ((size, batch_size),))
    )  # fmt: skip
    opened = gates[..., : 2 * size, :]
    reset, update = opened[..., :size, :], opened[..., size:, :]
    blocks = gates.view(*lead, 3, size * batch_size)
    flat, transposed = through.view(*lead, 1, size * batch_size), weights.transpose(-1, -2)
    product = Tensor.baddbmm_ if seeds > 1 else Tensor.addmm_

    def step() -> None:
        product(gates, weights, state)
        opened.sigmoid_()
        through.addcmul_(reset, out).tanh_()
        torch.lerp(through, state, update, out=out)
        blocks.mul_(flat)
        product(torch.addcmul(grad, through, update), transposed, gates)

    return step


def measure_stacked(rounds: int) -> Iterator[dict[str, Any]]:
    """A line for each hidden size and number of seeds.

    Seconds of a step for each seed, round by round.
    """
    configure_process()
    with torch.no_grad():
        known = {(size, seeds): stacked_step(seeds, size) for size, seeds in STACKED}
        seconds: dict[tuple[int, int], list[float]] = {key: [] for key in known}
        for _ in range(rounds):
            for key, step in known.items():
                started = time.perf_counter()
                for _ in range(2000):
                    step()
                seconds[key].append((time.perf_counter() - started) / 2000 / key[1])
    for (size, seeds), each in seconds.items():
        yield {"kind": "stacked", "hidden_size": size, "seeds": seeds, "seconds": each}


def gain(slower: Sequence[float], faster: Sequence[float]) -> Estimate:
    """How many times as long the first takes: the median over rounds."""
    return median_interval(one / two for one, two in zip(slower, faster, strict=True))


def table(lines: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each shape."""
    for line in lines:
        if line["kind"] == "stacked":
            continue
        shape = Shape(**{field.name: line[field.name] for field in dataclasses.fields(Shape)})
        seconds = line["seconds"]
        row = dataclasses.asdict(shape)
        row["used"] = shape.used
        row["torch_ms"] = 1000 * (median_interval(seconds["torch"]).value or 0.0)
        for name, slower, faster in (
            ("memory_kept", WAYS[0], "torch"),
            ("ours", "torch", "ours"),
            ("both", WAYS[0], "ours"),
        ):
            known = faster in seconds
            found = gain(seconds[slower], seconds[faster]) if known else Estimate(None, None, 0)
            row[name] = found.value
            row[f"{name}_low"], row[f"{name}_high"] = (
                (found.interval.low, found.interval.high) if found.interval else (None, None)
            )
            row[f"{name}_text"] = text(found)
        row["gradients_deviate_by"] = line["ours"]["deviation"] if line["ours"] else None
        yield row


def page(lines: Sequence[Mapping[str, Any]], about: str) -> str:
    """The README."""
    rows = list(table(lines))
    used = [row["ours"] for row in rows if row["used"]]
    unused = [row["ours"] for row in rows if not row["used"] and row["ours"] is not None]
    deviation = max(row["gradients_deviate_by"] or 0.0 for row in rows)
    loss = max(line["ours"]["loss"] for line in lines if line.get("ours"))
    said = [
        "# faster_steps",
        "",
        "> What does a training step on a CPU win by what the sweep does beyond torch's module?",
        "",
        (
            f"{about}. Medians over rounds with 95 % intervals of how many times as long a step takes without it: above 1 it wins. "
            f"An evaluation is of {EVALUATION_BATCH} sequences without gradients."
        ),
        "",
        (
            "- **Memory kept**: a trial's process keeps what it frees for the next step (`harness/machine.py`), instead of giving it back "
            "to the system and having it cleared again. Same program, same numbers."
        ),
        (
            "- **Ours**: nn.RNN's and nn.GRU's loops with their gradients written out (`harness/cells/fast_recurrence.py`). Loss and gradients "
            f"agree with torch's in float32: losses within {loss:.1e}, gradients within {deviation:.1e} of their norm. "
            f"Where it is used it wins {min(used):.2f} to {max(used):.2f} times, elsewhere {min(unused):.2f} to {max(unused):.2f}: "
            "there torch's loop stays. `bench` and `regress` always time torch's. Another processor: "
            "[faster_steps_avx512](../faster_steps_avx512/README.md)."
        ),
        "",
        "| cell | hidden | layers | length | batch | torch, ms | memory kept | ours | both | used |",
        "|---|---:|---:|---:|---:|---:|---|---|---|---|",
    ]
    for row in rows:
        kind = "" if row["kind"] == "step" else ", evaluation"
        said.append(
            f"| {row['cell']}{kind} | {row['hidden_size']} | {row['num_layers']} | {row['sequence_length']} "
            f"| {row['batch_size']} | {row['torch_ms']:.2f} | {row['memory_kept_text']} | {row['ours_text']} "
            f"| {row['both_text']} | {'yes' if row['used'] else 'no'} |"
        )
    said += [
        "",
        "## Several seeds of one configuration in one program",
        "",
        (
            "The operators of one step of our GRU, forward and backward, on stacked models against one model: how many times as fast a seed "
            "is. It bounds what a confirmation could win by training its seeds together, before losses, optimisers, clipping and "
            "early ends of their own are paid for. An LSTM has one fused program for one model, and none for a stack."
        ),
        "",
        "| hidden | seeds | a seed is faster by |",
        "|---:|---:|---|",
    ]
    stacked = {
        (line["hidden_size"], line["seeds"]): line["seconds"]
        for line in lines
        if line["kind"] == "stacked"
    }
    said += [
        f"| {size} | {seeds} | {text(gain(stacked[size, 1], each))} |"
        for (size, seeds), each in stacked.items()
        if seeds > 1
    ]
    said += [
        "",
        (
            "Not kept: the studies here confirm with two seeds, and a stack would have to go on until its last seed is done."
        ),
        "",
        "```sh",
        "python -m benchmarks.faster_steps",
        "```",
    ]
    return "\n".join(said) + "\n"


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=REFERENCE)
    parser.add_argument("--serve", choices=WAYS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    lines = [*measure(given.rounds), *measure_stacked(given.rounds)]
    capability = torch.backends.cpu.get_cpu_capability()
    about = f"{cpu_model()} ({capability}), {num_cores()} cores, torch {torch.__version__}, {dt.date.today()}"  # noqa: DTZ011
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(given.out / "rounds.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        {key: value for key, value in row.items() if not key.endswith("_text")}
        for row in table(lines)
    ]
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(given.out / "steps.csv", content.getvalue())
    said = page(lines, about)
    write_text(given.out / "README.md", said)
    print(said)


if __name__ == "__main__":
    main()
