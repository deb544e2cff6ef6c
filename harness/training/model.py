"""A model: a cell and a linear head, built from plain values and a seed. Never trains."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from harness.cells import TorchCell, get_cell
from harness.errors import InputError, nearest
from harness.machine import derive_seed
from harness.tasks import get_task

PARAMETER_TOLERANCE = 0.05  # how far a derived hidden_size may miss the wanted number of parameters


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """All that decides a model's shape and first weights. `hyperparameters` are the cell's own."""

    task: str
    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    initialization: str = "pytorch"
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )


class SequenceModel(nn.Module):
    """A cell and a linear head on the last layer's last state; on every state for a dense task."""

    def __init__(self, cell: nn.Module, hidden_size: int, output_size: int, *, dense: bool) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(hidden_size, output_size)
        self.dense = dense

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (batch_size, output_size), or (batch_size, steps, output_size) for a dense task.

        `inputs` is (batch_size, steps, input_size).
        """
        if self.dense:
            states = self.cell(inputs)
        elif isinstance(self.cell, TorchCell):
            states = self.cell(inputs, last_only=True)
        else:
            states = self.cell(inputs)[:, -1]
        outputs: Tensor = self.head(states)
        return outputs


def build_model(config: ModelConfig, seed: int) -> SequenceModel:
    """Build the model on the CPU. The same seed gives the same first weights everywhere.

    The cell is built before the head, from torch's generator seeded with `seed`, as a plain script
    would do it. The global generator is left as it was. Raises InputError for an initialisation
    that the cell does not have.
    """
    task, cell = get_task(config.task), get_cell(config.cell)
    if config.initialization not in cell.initializations:
        raise InputError(
            "initialization",
            expected=f"an initialisation of {cell.name}",
            got=config.initialization,
            remedy=nearest(config.initialization, cell.initializations),
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stack = cell.factory(
            task.input_size, config.hidden_size, config.num_layers, **config.hyperparameters
        )
        model = SequenceModel(stack, config.hidden_size, task.output_size, dense=task.dense)
        generator = torch.Generator().manual_seed(derive_seed(seed, "initialization"))
        cell.initializations[config.initialization](stack, config.sequence_length, generator)
    return model


def count_parameters(config: ModelConfig) -> int:
    """The number of weights and biases, head included. Uses torch's meta device, so no memory."""
    task, cell = get_task(config.task), get_cell(config.cell)
    ends = (task.input_size, task.output_size)
    layers = (config.hidden_size, config.num_layers)
    return _count(cell.factory, ends, layers, _as_json(config.hyperparameters))


def _as_json(hyperparameters: Mapping[str, Any]) -> str:
    """A cell's own hyperparameters as a text, which a cache can have as a key."""
    return json.dumps(dict(hyperparameters), sort_keys=True)


# Takes 1 ms, and each trial's row of the tables asks
@functools.lru_cache(maxsize=65536)
def _count(
    factory: Callable[..., nn.Module],
    ends: tuple[int, int],
    layers: tuple[int, int],
    own: str,
) -> int:
    """Number of parameters; `ends`: (input_size, output_size), `layers`: (hidden_size, number)."""
    with torch.device("meta"):
        stack = factory(ends[0], *layers, **json.loads(own))
        model = SequenceModel(stack, layers[0], ends[1], dense=False)
    return sum(weight.numel() for weight in model.parameters())


def derive_hidden_size(config: ModelConfig, num_parameters: int, *, strict: bool = True) -> int:
    """The hidden_size whose model comes nearest to `num_parameters`; that of `config` is ignored.

    Raises InputError if the nearest misses by more than 5 %, unless `strict` is False.
    """
    task, cell = get_task(config.task), get_cell(config.cell)
    own = _as_json(config.hyperparameters)
    ends = (task.input_size, task.output_size)
    best, count = _nearest_size(cell.factory, ends, config.num_layers, own, num_parameters)
    if strict and abs(count - num_parameters) > PARAMETER_TOLERANCE * num_parameters:
        raise InputError(
            "training",
            "num_parameters",
            expected=f"a number that {config.cell} with {config.num_layers} layers reaches within 5 %",
            got=num_parameters,
            remedy=f"the nearest is {count} (hidden_size {best})",
        )
    return best


# A search over it takes 5 ms, and each of a study's trials asks
@functools.lru_cache(maxsize=4096)
def _nearest_size(
    factory: Callable[..., nn.Module],
    ends: tuple[int, int],
    num_layers: int,
    own: str,
    num_parameters: int,
) -> tuple[int, int]:
    """The hidden_size nearest to `num_parameters`, and its count. `own` is JSON."""

    def count(hidden_size: int) -> int:
        return _count(factory, ends, (hidden_size, num_layers), own)

    low, high = 1, 2
    while count(high) < num_parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= num_parameters else (low, middle)
    best = min((low, high), key=lambda size: abs(count(size) - num_parameters))
    return best, count(best)
