"""Why each kept model forgets: gradient gains, gates and time scales, before and after training.

Never trains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.diagnostics import gradient_gain, read_gates
from harness.machine import derive_seed
from harness.study import result_files
from harness.study.phases.train_winners import (
    Winner,
    configuration_of,
    initial_weights_path,
    weights_path,
)
from harness.study.run_context import StudyRun
from harness.tasks import Informs, Task, get_task
from harness.training.model import SequenceModel, build_model

N_SEQUENCES = 4  # over which a gain and a time scale are averaged; gates are traced on one
# Gains are followed as far at least: "an RNN forgets after 30 steps, an LSTM keeps 100"
LEAST_LENGTH = 101
DIGITS = 4  # of a gate's opening: more than any picture shows


@dataclasses.dataclass(frozen=True)
class Look:
    """One kept model as it is looked into.

    What it is in the records, and the sequences that it reads.

    `sequence_length` is the one it was trained with; `longest` the longest one among the kept
    models of its task.
    """

    names: dict[str, Any]
    task: Task
    model: SequenceModel
    sequence_length: int
    longest: int
    seed: int

    def inputs(self, purpose: str, sequence_length: int) -> Tensor:
        """Sequences of the task, drawn with a seed of their own."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, purpose))
        return self.task.sample(N_SEQUENCES, sequence_length, generator).inputs


def measure_diagnostics(study: StudyRun, kept: Sequence[Winner]) -> None:
    """Write diagnostics.json, for each kept model that can be looked into.

    What fails costs a note.
    """
    found: dict[str, list[dict[str, Any]]] = {"gradient_gain": [], "gates": [], "time_scales": []}
    parts: tuple[tuple[str, Callable[[Look], dict[str, list[dict[str, Any]]]]], ...] = (
        ("gradient gain", _gains),
        ("gates", _gates),
    )
    longest: dict[str, int] = {}
    for winner in kept:
        task, length = (
            winner.key.task,
            configuration_of(study.spec, winner).model.sequence_length,
        )
        longest[task] = max(longest.get(task, LEAST_LENGTH), length)
    for winner in kept:
        for what, measure in parts:
            try:  # both states, or none: one alone would be a picture of half the story
                looks = [
                    _look(study, winner, state, longest[winner.key.task])
                    for state in ("initial", "trained")
                ]
                rows = [measure(look) for look in looks]
            except Exception as error:  # noqa: BLE001  # a plug-in's cell may raise anything, in float64 above all
                name = f"{winner.key.cell} on {winner.key.task}"
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                study.observer.note(f"no {what} of {name}: {reason}")
                continue
            for row in rows:
                for key, entries in row.items():
                    found[key] += entries
    result_files.write_diagnostics(study.directory, found)


def _look(study: StudyRun, winner: Winner, state: str, longest: int) -> Look:
    config = configuration_of(study.spec, winner)
    path = initial_weights_path if state == "initial" else weights_path
    model = build_model(config.model, config.seed)
    model.load_state_dict(torch.load(path(study.directory, winner), weights_only=True))
    names = {"task": winner.key.task, "cell": winner.key.cell, "state": state}
    task, length = get_task(config.model.task), config.model.sequence_length
    return Look(names, task, model, length, length if task.finite else longest, config.seed)


def _gains(look: Look) -> dict[str, list[dict[str, Any]]]:
    """On sequences of one length for all cells of a task, so that their lines can be compared as far as the longest."""
    gain = gradient_gain(look.model, look.inputs("diagnostics", look.longest))
    known = [
        (lag, each)
        for lag, each in zip(gain.lags, gain.log10_gain, strict=True)
        if not math.isnan(each)
    ]
    row = {
        **look.names,
        "of": gain.of,
        "sequence_length": look.longest,
        "trained_length": look.sequence_length,
        "n_sequences": gain.n_sequences,
        "lag": [lag for lag, _ in known],
        "log10_gain": [each if math.isfinite(each) else None for _, each in known],
    }
    return {"gradient_gain": [row]}


def _gates(look: Look) -> dict[str, list[dict[str, Any]]]:
    inputs = look.inputs("gates", look.sequence_length)
    gates = read_gates(look.model, inputs)
    if gates is None:
        return {}
    names = {**look.names, "sequence_length": look.sequence_length}
    traced = {
        **names,
        "memory_gate": gates.memory_gate,
        "informative": _informative(look.task, inputs[:1]),
        "traces": [
            {
                "gate": trace.gate,
                "layer": trace.layer,
                **{
                    key: [round(each, DIGITS) for each in values]
                    for key, values in (
                        ("mean", trace.mean),
                        ("low", trace.low),
                        ("high", trace.high),
                    )
                },
            }
            for trace in gates.traces
        ],
    }
    scales = [
        {
            **names,
            "gate": gates.memory_gate,
            "layer": each.layer,
            "task_lag": look.task.lag(look.sequence_length),
            "n_sequences": gates.n_sequences,
            "steps": list(each.steps),
        }
        for each in gates.time_scales
    ]
    return {"gates": [traced], "time_scales": scales}


def _informative(task: Task, inputs: Tensor) -> list[int] | None:
    """The steps of one sequence (1, T, D) that hold something to remember.

    None where the task does not say.
    """
    if not isinstance(task, Informs):
        return None
    return list(torch.nonzero(task.informative(inputs)[0]).flatten().tolist())
