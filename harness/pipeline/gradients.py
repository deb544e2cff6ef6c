"""How much of a gradient survives k steps in each kept model, before and after training. Never trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from harness import records
from harness.diagnostics import gradient_gain
from harness.machine import derive_seed
from harness.models import build_model
from harness.pipeline.course import Course
from harness.pipeline.winners import (
    Winner,
    configuration_of,
    initial_weights_path,
    weights_path,
)
from harness.tasks import get_task

N_SEQUENCES = 4  # over which a gain is averaged


def measure_gradients(course: Course, kept: Sequence[Winner]) -> None:
    """Write diagnostics.json: log10 of the gradient gain against lag, for each kept model that can be looked into."""
    rows = []
    for winner in kept:
        try:
            rows += [_gains(course, winner, state) for state in ("initial", "trained")]
        except Exception as error:  # noqa: BLE001  # a plug-in's cell may raise anything, in float64 above all
            name = f"{winner.place.cell} on {winner.place.task}"
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            course.watcher.note(f"no gradient gain of {name}: {reason}")
    records.write_diagnostics(course.directory, {"gradient_gain": rows})


def _gains(course: Course, winner: Winner, state: str) -> dict[str, Any]:
    config = configuration_of(course.spec, winner)
    path = initial_weights_path if state == "initial" else weights_path
    model = build_model(config.model, config.seed)
    model.load_state_dict(torch.load(path(course.directory, winner), weights_only=True))
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "diagnostics"))
    length = config.model.sequence_length
    inputs = get_task(config.model.task).sample(N_SEQUENCES, length, generator).inputs
    gain = gradient_gain(model, inputs)
    return {
        "task": winner.place.task,
        "cell": winner.place.cell,
        "state": state,
        "of": gain.of,
        "sequence_length": length,
        "n_sequences": gain.n_sequences,
        "lag": list(gain.lags),
        "log10_gain": [each if math.isfinite(each) else None for each in gain.log10_gain],
    }
