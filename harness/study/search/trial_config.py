"""The TrainingConfig of a trial from proposed values, and whether every cell can have one.

Never trains.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.config import StudySpec
from harness.errors import InputError, Shown
from harness.hyperparameters import KINDS, Fixed, Parameter, Range, Value, numbers_of
from harness.study.search.search_space import suggested
from harness.training.model import ModelConfig, derive_hidden_size
from harness.training.training_loop import TrainingConfig

MOST_SIZES_CHECKED = 16
MOST_SETTINGS_TRIED = 64  # combinations of a cell's own hyperparameters
MODEL_KEYS = ("hidden_size", "num_layers", "sequence_length", "initialization")
TRAINING_KEYS = (
    "batch_size",
    "sequences",
    "evaluate_every",
    "evaluation_sequences",
    "stop_when_solved",
    "optimizer",
    "learning_rate_schedule",
    "max_grad_norm",
)


def training_config(
    spec: StudySpec, task: str, cell: str, values: Mapping[str, Value], *, checked: bool = False
) -> TrainingConfig:
    """The configuration of one trial from proposed values, without its seed and device.

    `checked`: num_parameters must be reached within 5 %, or InputError is raised.
    """
    parameters = spec.parameters(task, cell)
    chosen: dict[str, Any] = {
        name: parameter.value
        for name, parameter in parameters.items()
        if isinstance(parameter, Fixed)
    } | dict(values)
    own = {name: value for name, value in chosen.items() if name not in KINDS}
    model = ModelConfig(
        task=spec.base(task),
        cell=spec.base(cell),
        hyperparameters=own,
        **{"hidden_size": 1} | {name: chosen[name] for name in MODEL_KEYS if name in chosen},
    )
    if chosen["num_parameters"] > 0:
        # The extremes were checked before the study; between them the nearest size is enough
        hidden_size = derive_hidden_size(model, chosen["num_parameters"], strict=checked)
        model = ModelConfig(**{**vars(model), "hidden_size": hidden_size})
    return TrainingConfig(
        model=model,
        learning_rate=chosen["learning_rate"],
        seed=0,
        **{name: chosen[name] for name in TRAINING_KEYS},
    )


def check_sizes(spec: StudySpec, where: str) -> None:
    """Refuse a num_parameters that a cell misses by more than 5 % with some number of layers.

    A cell's own hyperparameters may change the count, so the extremes of each are tried. Raises
    InputError naming the cell, the number of layers and the nearest number of parameters.
    """
    for task, label in spec.pairs:
        parameters = spec.parameters(task, label)
        if parameters["num_parameters"] == Fixed(0):
            continue
        for num_layers, wanted, settings in itertools.product(
            _whole_numbers(parameters["num_layers"]),
            _whole_numbers(parameters["num_parameters"]),
            settings_to_try(spec, task, label),
        ):
            values = {**settings, "num_layers": num_layers, "num_parameters": wanted}
            try:
                training_config(spec, task, label, values, checked=True)
            except InputError as error:
                own = {name: values[name] for name in settings if name not in KINDS}
                beside = "".join(f", {name} = {value!r}" for name, value in own.items())
                raise InputError(
                    where,
                    "training.num_parameters",
                    expected=error.expected + beside,
                    got=error.got,
                    remedy=error.remedy,
                ) from error
            except Exception as error:  # a plug-in may raise anything
                raise broken_cell(where, label, error) from error


def settings_to_try(spec: StudySpec, task: str, cell: str) -> Iterator[dict[str, Value]]:
    """Values of every suggested parameter: the first, but the cell's own in all combinations."""
    parameters = suggested(spec, task, cell)
    first = {name: each.values()[0] for name, each in parameters.items()}
    own = {name: each.values() for name, each in parameters.items() if name not in KINDS}
    for values in itertools.islice(itertools.product(*own.values()), MOST_SETTINGS_TRIED):
        yield {**first, **dict(zip(own, values, strict=True))}


def broken_cell(where: str, label: str, error: Exception) -> InputError:
    """The error for a cell that raised something."""
    return InputError(
        where,
        f"compare.cells: {label}",
        expected="a cell that can be built and run",
        got=Shown(f"{type(error).__name__}: {error}"),
    )


def _whole_numbers(parameter: Parameter) -> list[int]:
    """Every whole number of a short range, the ends of a long one, or the options."""
    numbers = [int(number) for number in numbers_of(parameter)]
    if isinstance(parameter, Range) and numbers[1] - numbers[0] < MOST_SIZES_CHECKED:
        return list(range(numbers[0], numbers[1] + 1))
    return numbers


def configuration_hash(values: Mapping[str, Any]) -> str:
    """The content hash of hyperparameters: 16 hexadecimal digits, for any order of the keys."""
    text = json.dumps(dict(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
