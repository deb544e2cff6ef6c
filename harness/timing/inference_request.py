"""What inference is timed, as plain data: benchmarks, and the request that holds them.

Builds nothing, never reads a clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from harness.cells import get_cell
from harness.errors import InputError, nearest
from harness.timing.benchmark_request import (
    check_benchmark_names,
    check_length,
    check_number,
    checked,
    checked_benchmark,
)
from harness.training.model import ModelConfig

INFERENCE_SCHEMA = 1
INFERENCE_MEASURES = ("step", "sequence")
INFERENCE_DTYPES = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class InferenceBenchmark:
    """One model, its dtype and what is timed of it. `name` is unique in its request.

    `measure`: `step`, cell and head on one time step, the state carried from call to call; or
    `sequence`, the model on a whole sequence of the task. Batch 1. `sequence_length` is that of the
    sequences whose steps are taken.
    """

    name: str
    task: str
    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    initialization: str = "pytorch"
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )
    device: str = "cpu"
    dtype: str = "float32"
    measure: str = "step"

    @property
    def model(self) -> ModelConfig:
        """The model that is deployed."""
        return ModelConfig(
            task=self.task,
            cell=self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            sequence_length=self.sequence_length,
            initialization=self.initialization,
            hyperparameters=self.hyperparameters,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**plain, "hyperparameters": dict(self.hyperparameters)}


@dataclasses.dataclass(frozen=True)
class InferenceRequest:
    """What to time and for how long.

    `n_calls` timed calls of each benchmark in `n_blocks` blocks. `time_budget_s` > 0 ends the
    rounds early, never before 5 of them. The 99th percentile takes 67 calls in a block. `plugins`:
    modules that register the cells and tasks used.
    """

    benchmarks: tuple[InferenceBenchmark, ...]
    n_calls: int = 1000
    n_blocks: int = 10
    time_budget_s: float = 0.0
    seed: int = 0
    plugins: tuple[str, ...] = ()

    @property
    def calls_per_block(self) -> int:
        """Timed calls of one benchmark in one block."""
        return max(1, self.n_calls // self.n_blocks)

    @classmethod
    def from_dict(cls, plain: object) -> InferenceRequest:
        """Read a request as JSON gives it.

        Raises InputError naming the key, and the nearest one that there is.
        """
        values = checked(cls, "request", plain, schema=INFERENCE_SCHEMA, mode="inference")
        listed = values.get("benchmarks")
        if not isinstance(listed, list) or not listed:
            raise InputError("request", "benchmarks", expected="a list of at least one", got=listed)
        benchmarks = tuple(_benchmark(i, each) for i, each in enumerate(listed))
        check_benchmark_names(each.name for each in benchmarks)
        plugins = tuple(values.get("plugins", ()))
        request = cls(**{**values, "benchmarks": benchmarks, "plugins": plugins})
        for key in ("n_calls", "n_blocks", "time_budget_s", "seed"):
            check_number("request", key, getattr(request, key))
        return request

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; `from_dict` is the inverse."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        benchmarks = [benchmark.to_dict() for benchmark in self.benchmarks]
        fixed = {"schema": INFERENCE_SCHEMA, "mode": "inference"}
        return {**fixed, **plain, "benchmarks": benchmarks, "plugins": list(self.plugins)}


def _benchmark(index: int, plain: object) -> InferenceBenchmark:
    where = f"benchmarks[{index}]"
    values = checked_benchmark(InferenceBenchmark, where, plain)
    for key, known in (
        ("dtype", INFERENCE_DTYPES),
        ("measure", INFERENCE_MEASURES),
        ("device", ("cpu",)),
    ):
        if key in values and values[key] not in known:
            remedy = nearest(str(values[key]), known)
            expected = f"one of {', '.join(known)}"
            raise InputError(where, key, expected=expected, got=values[key], remedy=remedy)
    get_cell(values["cell"])
    check_length(where, values["task"], values["sequence_length"])
    return InferenceBenchmark(**values)
