"""Measures why each winner forgets: gradient gains, gates and time scales. Never trains."""

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
class DiagnosedModel:
    """A winner's model, before or after training, with the entries that name it in the records.

    `sequence_length` is the one it was trained with, `longest` the longest among the winners of
    its task.
    """

    names: dict[str, Any]
    task: Task
    model: SequenceModel
    sequence_length: int
    longest: int
    seed: int

    def inputs(self, purpose: str, sequence_length: int) -> Tensor:
        """Sequences of the task, drawn from a separate seed for each purpose."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, purpose))
        return self.task.sample(N_SEQUENCES, sequence_length, generator).inputs


def measure_diagnostics(study: StudyRun, kept: Sequence[Winner]) -> None:
    """Write diagnostics.json for each winner. A note says which measurement failed."""
    found: dict[str, list[dict[str, Any]]] = {"gradient_gain": [], "gates": [], "time_scales": []}
    parts: tuple[tuple[str, Callable[[DiagnosedModel], dict[str, list[dict[str, Any]]]]], ...] = (
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
            try:  # both states or none: one alone shows no change
                models = [
                    _diagnosed(study, winner, state, longest[winner.key.task])
                    for state in ("initial", "trained")
                ]
                rows = [measure(model) for model in models]
            except Exception as error:  # noqa: BLE001  # a plug-in's cell may raise anything, in float64 above all
                name = f"{winner.key.cell} on {winner.key.task}"
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                study.observer.note(f"no {what} of {name}: {reason}")
                continue
            for row in rows:
                for key, entries in row.items():
                    found[key] += entries
    result_files.write_diagnostics(study.directory, found)


def _diagnosed(study: StudyRun, winner: Winner, state: str, longest: int) -> DiagnosedModel:
    config = configuration_of(study.spec, winner)
    path = initial_weights_path if state == "initial" else weights_path
    model = build_model(config.model, config.seed)
    model.load_state_dict(torch.load(path(study.directory, winner), weights_only=True))
    names = {"task": winner.key.task, "cell": winner.key.cell, "state": state}
    task, length = get_task(config.model.task), config.model.sequence_length
    return DiagnosedModel(
        names, task, model, length, length if task.finite else longest, config.seed
    )


def _gains(model: DiagnosedModel) -> dict[str, list[dict[str, Any]]]:
    """Gains on sequences of one length for all cells of a task, so that they compare."""
    gain = gradient_gain(model.model, model.inputs("diagnostics", model.longest))
    known = [
        (lag, each)
        for lag, each in zip(gain.lags, gain.log10_gain, strict=True)
        if not math.isnan(each)
    ]
    row = {
        **model.names,
        "of": gain.of,
        "sequence_length": model.longest,
        "trained_length": model.sequence_length,
        "n_sequences": gain.n_sequences,
        "lag": [lag for lag, _ in known],
        "log10_gain": [each if math.isfinite(each) else None for _, each in known],
    }
    return {"gradient_gain": [row]}


def _gates(model: DiagnosedModel) -> dict[str, list[dict[str, Any]]]:
    inputs = model.inputs("gates", model.sequence_length)
    gates = read_gates(model.model, inputs)
    if gates is None:
        return {}
    names = {**model.names, "sequence_length": model.sequence_length}
    traced = {
        **names,
        "memory_gate": gates.memory_gate,
        "informative": _informative(model.task, inputs[:1]),
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
            "task_lag": model.task.lag(model.sequence_length),
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
