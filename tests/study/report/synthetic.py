"""Results of studies that never ran.

Rows as a real study writes them, drawn from a seeded generator.

The cells behave roughly as measured on the quickstart: a plateau, then a sudden drop; rnn short,
gru and lstm long.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from harness import records
from harness.study import result_files
from harness.timing.timing_results import InferenceAnswer, TrainingAnswer
from tests import timed

LAGS = {
    "temporal_order": lambda length: length - 1 - math.floor(0.2 * length),
    "delayed_recall": lambda length: length - 1,
    "adding": lambda length: length // 2,
    "lesson": lambda length: 3,
}
CHANCE = {
    "temporal_order": math.log(4),
    "delayed_recall": math.log(8),
    "adding": 1 / 6,
    "lesson": math.log(2),
}
REACH = {"rnn": 14.0, "gru": 150.0, "lstm": 95.0}  # lag at which half of the tuned runs solve
SPEED = {"rnn": 1.3, "gru": 0.5, "lstm": 1.0}


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the study shall look like; the defaults are the quickstart's."""

    name: str = "quickstart"
    question: str = "How many steps back can each cell remember?"
    tasks: Sequence[str] = ("temporal_order",)
    cells: Sequence[str] = ("rnn", "gru", "lstm")
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    repeats: int = 5
    trials: int = 12
    ladder: Sequence[int] = (10, 20, 40, 80, 120, 200)
    length: int = 0  # above 0: the one length of all trials and runs, and no ladder
    extrapolation: bool = True
    confirm_seeds: int = 1
    objective: str = "remembered_steps"
    reach: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(REACH))
    ends: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)  # by cell
    throughput: bool = True
    inference: bool = True
    devices: Sequence[str] = ("cpu",)
    diagnostics: bool = True
    evaluations: bool = True
    claims: str = ""
    seed: int = 0
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def spec_text(wish: Wish) -> str:
    """The study file of the wish."""
    quoted = {
        "name": _toml(wish.name),
        "question": _toml(wish.question),
        "tasks": ", ".join(map(_toml, wish.tasks)),
        "cells": ", ".join(map(_toml, wish.cells)),
    }
    variants = "\n".join(f"{_toml(label)} = {_toml(base)}" for label, base in wish.variants.items())
    length = wish.length or "{ low = 10, high = 200, log = true }"
    ladder = "" if wish.length else ", ".join(map(str, wish.ladder))
    return f"""
[study]
name = {quoted["name"]}
question = {quoted["question"]}
seed = {wish.seed}
[compare]
tasks = [{quoted["tasks"]}]
cells = [{quoted["cells"]}]
[compare.variants]
{variants}
[space]
hidden_size = {{ low = 8, high = 32, log = true }}
num_layers = {{ low = 1, high = 2 }}
learning_rate = {{ low = 1e-3, high = 3e-2, log = true }}
sequence_length = {length}
initialization = ["pytorch", "orthogonal", "chrono"]
[search]
trials = {wish.trials}
repeats = {wish.repeats}
objective = "{wish.objective}"
[confirm]
seeds = {wish.confirm_seeds}
sequence_lengths = [{ladder}]
[throughput]
enabled = {str(wish.throughput).lower()}
{wish.claims}
"""


def write(directory: Path, wish: Wish = Wish()) -> Path:
    """Write all result files of such a study; returns the directory."""
    rng = random.Random(wish.seed)
    trials: list[dict[str, Any]] = []
    confirmation: list[dict[str, Any]] = []
    for task, cell, repeat in product(wish.tasks, wish.cells, range(wish.repeats)):
        searched = [_trial(rng, wish, task, cell, repeat, n) for n in range(wish.trials)]
        trials += searched
        if (winner := _winner(searched, wish.objective)) is not None:
            confirmation += [
                _confirmed(rng, wish, winner, length, 1000 + seed)
                for length in ((wish.length,) if wish.length else wish.ladder)
                for seed in range(wish.confirm_seeds)
            ]
    records.write_spec(directory, spec_text(wish))
    result_files.write_trials(directory, trials)
    if wish.confirm_seeds:
        result_files.write_confirmation(directory, confirmation)
    if wish.confirm_seeds and wish.extrapolation:
        result_files.write_extrapolation(directory, _extrapolated(rng, confirmation))
    if wish.evaluations:
        phases = (("search", trials), ("confirm", confirmation))
        curves = [line for name, rows in phases for row in rows for line in _curve(rng, name, row)]
        result_files.write_evaluations(directory, curves)
    if wish.throughput:
        answers = {
            origin: TrainingAnswer.from_json(answer)
            for origin, answer in throughput_answers(rng, wish).items()
        }
        records.write_throughput(directory, answers)
    if wish.throughput and wish.inference:
        answer = inference_answer(wish.tasks, wish.cells, wish.variants)
        records.write_inference(directory, {"winner": InferenceAnswer.from_json(answer)})
    if wish.diagnostics:
        found = {"gradient_gain": _gains(wish), "gates": _gates(wish), "time_scales": _scales(wish)}
        result_files.write_diagnostics(directory, found)
    records.write_machine(directory, {**MACHINE, **wish.machine})
    return directory


MACHINE = {
    "cpu": "Example CPU @ 2.10GHz",
    "cores": 2,
    "memory_bytes": 8_245_000_000,
    "cpu_capability": "AVX512",
    "system": "Linux x86_64",
    "device": "cpu",
    "device_name": "Example CPU @ 2.10GHz",
    "python": "3.11.2",
    "threads_per_worker": 1,
    "denormals": "flushed to zero",
    "evaluation": "inference mode",
    "freed_memory": "kept",
    "recurrence": "own for small RNN and GRU, else torch",
    "versions": {"torch": "2.13.0", "optuna": "5.0.0", "numpy": "2.4.6", "pandas": "3.1.1"},
    "command": "python -m harness.study quickstart",
    "warnings": [],
}


def _trial(
    rng: random.Random, wish: Wish, task: str, cell: str, repeat: int, number: int
) -> dict[str, Any]:
    length = round(10 ** rng.uniform(1, math.log10(200)))
    if task == "lesson":
        length = 4
    length = wish.length or length
    row: dict[str, Any] = {
        "task": task,
        "cell": cell,
        "repeat": repeat,
        "number": number,
        "hidden_size": round(2 ** rng.uniform(3, 5)),
        "num_layers": rng.choice((1, 2)),
        "learning_rate": 10 ** rng.uniform(-3, -1.53),
        "sequence_length": length,
        "initialization": rng.choice(("pytorch", "orthogonal", "chrono")),
        "seed": rng.randrange(2**31),
    }
    luck = 0.5 + 0.5 * (row["learning_rate"] > 4e-3) + 0.4 * (row["initialization"] == "chrono")
    return _outcome(rng, wish, row, luck)


def _confirmed(
    rng: random.Random, wish: Wish, winner: Mapping[str, Any], length: int, seed: int
) -> dict[str, Any]:
    row = {**winner, "sequence_length": length, "seed": seed, "configuration": "f00dfeed"}
    row.pop("end")
    return _outcome(rng, wish, row, 1.25)


def _extrapolated(
    rng: random.Random, confirmation: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Runs that solved their task at 2 and 4 times their length.

    Half of them still do at 2, a quarter at 4.
    """
    keys = ("task", "cell", "repeat", "number", "sequence_length", "seed")
    found = []
    for row in confirmation:
        for factor in (2, 4) if row["solved"] else ():
            solved = rng.random() < 1 / factor
            length, chance = factor * row["sequence_length"], CHANCE[row["task"]]
            skill = 0.9 if solved else 0.3
            found.append(
                {key: row[key] for key in keys}
                | {
                    "factor": factor,
                    "evaluated_length": length,
                    "evaluated_lag": LAGS[row["task"]](length),  # type: ignore[no-untyped-call]
                    "loss": chance * (1 - skill),
                    "skill": skill,
                    "accuracy": 0.995 if solved else 0.6,
                    "solved": solved,
                }
            )
    return found


def _outcome(rng: random.Random, wish: Wish, row: dict[str, Any], luck: float) -> dict[str, Any]:
    task, cell, length = row["task"], row["cell"], row["sequence_length"]
    lag = LAGS[task](length)  # type: ignore[no-untyped-call]
    chance = CHANCE[task]
    reach = wish.reach.get(cell, 60.0) * luck * math.exp(rng.gauss(0, 0.35))
    solved = lag <= reach
    skill = rng.uniform(0.6, 0.95) if solved else max(0.0, min(0.55, 0.55 * reach / lag))
    budget = 20_000
    to_solve = 1600 * max(1, round(rng.uniform(1, 12) * min(1.0, lag / reach))) if solved else None
    seen = to_solve or budget
    row.update(
        end="complete",
        num_parameters=int(
            {"rnn": 1, "gru": 3}.get(cell, 4) * row["hidden_size"] * (row["hidden_size"] + 10)
        ),
        lag=lag,
        loss=chance * (1 - skill),
        skill=skill,
        accuracy=rng.uniform(0.991, 1.0) if solved else 0.25 + 0.7 * skill,
        solved=solved,
        remembered_steps=float(lag) * (1 if solved else skill / 2),
        sequences_to_solve=to_solve,
        sequences_seen=seen,
        train_time_s=seen * length * 2e-6,
        sequences_per_second=SPEED.get(cell, 0.8) * 5e5 / length,
    )
    drawn = rng.random()
    for end, share in wish.ends.get(cell, {}).items():
        if drawn < share:
            return _ended(row, end)
        drawn -= share
    return row


REASONS = {
    "diverged": "loss is nan after 3,200 sequences",
    "timeout": "300 s passed",
    "out_of_memory": "DefaultCPUAllocator: can't allocate memory",
    "error": "RuntimeError: <b>shapes</b> | of 3 and 4",
    "crashed": "signal 11 (SIGSEGV), 3 attempts",
    "interrupted": "stopped by the user",
    "pruned": "under the median at 4,800 sequences",
}


def _ended(row: dict[str, Any], end: str) -> dict[str, Any]:
    row.update(end=end, reason=REASONS[end], sequences_to_solve=None, solved=False)
    worst = {"skill": -1.0, "remembered_steps": 0.0, "accuracy": None, "loss": None}
    if end != "pruned":
        row.update(worst)
    if end in records_without_result:
        row.update(solved=None, remembered_steps=None, skill=None)
    return row


records_without_result = ("error", "crashed", "interrupted")


def _winner(rows: Sequence[Mapping[str, Any]], objective: str) -> Mapping[str, Any] | None:
    complete = [row for row in rows if row["end"] == "complete"]
    sign = -1 if objective in ("loss", "sequences_to_solve") else 1
    return max(complete, key=lambda row: sign * (row[objective] or 1e9), default=None)


def _curve(rng: random.Random, phase: str, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Evaluations on the way: a plateau, then a sudden drop at the end."""
    keys = ("task", "cell", "repeat", "number", "sequence_length", "seed")
    final = row["skill"] if row["skill"] is not None else 0.0
    chance = CHANCE[row["task"]]
    found = []
    seen = int(row["sequences_seen"])
    for at in range(1600, seen + 1, 1600):
        through = at / seen
        skill = final * (through**6 if final > 0.55 else through**0.5) + rng.gauss(0, 0.01)
        skill = final if at + 1600 > seen else max(-1.0, skill)
        found.append(
            {key: row[key] for key in keys}
            | {
                "phase": phase,
                "sequences_seen": at,
                "loss": chance * (1 - skill),
                "skill": skill,
                "accuracy": min(1.0, 0.25 + 0.75 * max(skill, 0)),
            }
        )
    return found


def throughput_answers(rng: random.Random, wish: Wish) -> dict[str, Any]:
    """What harness.timing answers for the winners and for the grid."""
    answers: dict[str, Any] = {}
    grid = [(h, 100) for h in (8, 16, 32, 64)] + [(16, length) for length in (10, 30, 200)]
    for origin in ("winner", "grid"):
        results = []
        for device in wish.devices:
            for task in wish.tasks:
                for cell in wish.cells:
                    shapes = grid if origin == "grid" else [(rng.randint(8, 32), 100)]
                    for hidden, length in shapes:
                        end = (
                            f"winner/{device}"
                            if origin == "winner"
                            else f"h{hidden}/t{length}/{device}"
                        )
                        base = wish.variants.get(cell, cell)
                        shape = {"task": task, "cell": base, "device": device}
                        shape |= {"hidden_size": hidden, "sequence_length": length}  # type: ignore[dict-item]
                        shape |= {"name": f"{task}/{cell}/{end}"}
                        results.append(_timed(rng, shape))
        answers[origin] = {"machine": timed.MACHINE, "results": results, "wall_time_s": 1.0}
    return answers


def _timed(rng: random.Random, shape: dict[str, Any]) -> dict[str, Any]:
    hidden, length = shape["hidden_size"], shape["sequence_length"]
    fast = SPEED.get(shape["cell"], 0.8) * (8.0 if shape["device"] != "cpu" else 1.0)
    tokens = fast * 6e5 / (1 + hidden / 40) * rng.uniform(0.97, 1.03)
    times = [32 * length / tokens * rng.uniform(0.98, 1.03) for _ in range(11)]
    step = sorted(times)[5]
    return shape | {
        "num_layers": 1,
        "batch_size": 32,
        "device_name": "Example CPU" if shape["device"] == "cpu" else "Example GPU",
        "num_parameters": 4 * hidden * (hidden + 10),
        "n_threads": 1,
        "n_processes": 1,
        "n_time_steps": length,
        **timed.UNUSED_TIMES,
        "n_blocks": 11,
        "n_steps_per_block": 20,
        "steady": True,
        "host_time_s": step,
        "step_times_s": times,
        "step_time_s": step,
        "step_time_low_s": sorted(times)[1],
        "step_time_high_s": sorted(times)[9],
        "sequences_per_second": 32 / step,
        "tokens_per_second": 32 * length / step,
        "gflops_per_second": 32 * length / step * 24 * hidden * hidden / 1e9,
        "fraction_of_peak": 32 * length / step * 24 * hidden * hidden / 1e9 / 106,
        "peak_gflops_per_second": 106.0,
        "peak_memory_bytes": 310_000_000,
        "error": None,
    }


STEP_US = {"rnn": 18.0, "gru": 22.0, "lstm": 47.0}
SLOWER = {"float32": 1.0, "bfloat16": 1.1, "int8": 1.4}
GATE_BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}


def inference_answer(
    tasks: Sequence[str],
    cells: Sequence[str],
    variants: Mapping[str, str],
    hidden_sizes: Sequence[int] = (24,),
) -> dict[str, Any]:
    """What harness.timing answers in inference mode.

    Each cell at three dtypes, a step and a sequence; no int8 rnn.
    """
    results = []
    places = product(tasks, cells, hidden_sizes, SLOWER, ("step", "sequence"))
    for task, cell, hidden, dtype, measure in places:
        base = variants.get(cell, cell)
        name = f"{task}/{cell}/winner/{dtype}/{measure}"
        name += f"/h{hidden}" if len(hidden_sizes) > 1 else ""
        row: dict[str, Any] = {"name": name, "task": task, "cell": base, "device": "cpu"}
        row |= {"dtype": dtype, "measure": measure, "initialization": "pytorch"}
        row |= {"hidden_size": hidden, "num_layers": 1, "sequence_length": 100}
        row |= {"device_name": "Example CPU", "unavailable": "", "error": None}
        if (base, dtype) == ("rnn", "int8"):
            results.append(row | {"unavailable": "torch has no dynamic int8 nn.RNN"})
            continue
        middle = STEP_US.get(base, 30.0) * SLOWER[dtype] * (1 + (hidden / 96) ** 2)
        middle *= 1 if measure == "step" else 12
        num = GATE_BLOCKS.get(base, 2) * hidden * (hidden + 10) + 4 * hidden + 4
        size = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]
        state = hidden * (2 if dtype == "bfloat16" else 4) * (2 if base == "lstm" else 1)
        row |= {"num_parameters": num, "weights_bytes": num * size, "state_bytes": state}
        row |= {
            "median_us": middle,
            "median_low_us": 0.98 * middle,
            "median_high_us": 1.03 * middle,
        }
        row |= {"p99_us": 2 * middle, "p99_low_us": 1.6 * middle, "p99_high_us": 9 * middle}
        row |= {
            "n_calls": 20,
            "n_blocks": 1,
            "call_times_ns": [int(1e3 * middle) + i for i in range(20)],
        }
        results.append(row | {"output_error": {4: 3e-7, 2: 4e-3, 1: 2e-2}[size]})
    machine = {**timed.MACHINE, "threads": 1, "denormals_flushed": True}
    return {"schema": 1, "machine": machine, "results": results, "wall_time_s": 1.0}


def _gains(wish: Wish) -> list[dict[str, Any]]:
    decay = {"rnn": (0.21, 0.05), "gru": (0.16, 0.012), "lstm": (0.18, 0.015)}
    found = []
    for task in wish.tasks:
        for cell in wish.cells:
            for state, rate in zip(
                ("initial", "trained"), decay.get(cell, (0.2, 0.02)), strict=True
            ):
                lags = list(range(0, 121, 4))
                found.append(
                    {
                        "task": task,
                        "cell": cell,
                        "state": state,
                        "sequence_length": 120,
                        "lag": lags,
                        "log10_gain": [-rate * k + 0.3 * math.sin(k / 9) * (k > 0) for k in lags],
                    }
                )
    return found


GATES = {"gru": ("reset", "update"), "lstm": ("input", "forget", "output")}
MEMORY_GATE = {"gru": "update", "lstm": "forget"}


def _gated(wish: Wish) -> list[dict[str, Any]]:
    """Names of every (task, cell, state) whose cell has gates."""
    return [
        {"task": task, "cell": cell, "state": state, "sequence_length": 60}
        for task, cell, state in product(wish.tasks, wish.cells, ("initial", "trained"))
        if wish.variants.get(cell, cell) in GATES
    ]


def _gates(wish: Wish) -> list[dict[str, Any]]:
    """Gates that training opens to 0.8, and to 0.3 at two informative steps.

    Two layers in an LSTM.
    """
    marked = (9, 31)
    found = []
    for names in _gated(wish):
        base = wish.variants.get(names["cell"], names["cell"])
        mean = [0.5] * 60
        if names["state"] == "trained":
            mean = [0.3 if step in marked else 0.8 for step in range(60)]
        traces = [
            {
                "gate": gate,
                "layer": layer,
                "mean": mean,
                "low": [value - 0.2 for value in mean],
                "high": [value + 0.1 for value in mean],
            }
            for gate in GATES[base]
            for layer in range(2 if base == "lstm" else 1)
        ]
        memory = MEMORY_GATE[base]
        found.append(names | {"memory_gate": memory, "informative": marked, "traces": traces})
    return found


def _scales(wish: Wish) -> list[dict[str, Any]]:
    """Time scales of eight units: 2 steps before training, 1 to 300 after it."""
    found = []
    for names in _gated(wish):
        trained = names["state"] == "trained"
        steps = [1.5, 2.5, 4.0, 10.0, 20.0, 50.0, 100.0, 300.0] if trained else [2.0] * 8
        gate = MEMORY_GATE[wish.variants.get(names["cell"], names["cell"])]
        lag = LAGS[names["task"]](60)  # type: ignore[no-untyped-call]
        found.append(
            names | {"gate": gate, "layer": 0, "task_lag": lag, "n_sequences": 4, "steps": steps}
        )
    return found


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
