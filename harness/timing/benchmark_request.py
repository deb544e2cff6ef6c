"""What is timed, as plain data: benchmarks, and the request that holds them.

Builds nothing, never reads a clock.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from harness.cells import get_cell
from harness.errors import InputError, Shown, nearest
from harness.tasks import get_task
from harness.timing.variants import MEASURES, parse_variant
from harness.training.model import ModelConfig
from harness.training.optimizer_step import OPTIMIZERS

TRAINING_SCHEMA = 2
MAX_INT32 = 2**31 - 1
NUMBERS: Mapping[str, tuple[type, float, float]] = {
    "hidden_size": (int, 1, MAX_INT32),
    "num_layers": (int, 1, 1_000),
    "sequence_length": (int, 1, MAX_INT32),
    "batch_size": (int, 1, MAX_INT32),
    "learning_rate": (float, 0, sys.float_info.max),
    "max_grad_norm": (float, 0, sys.float_info.max),
    "n_blocks": (int, 1, 10**6),
    "n_calls": (int, 1, 10**6),
    "block_s": (float, 1e-6, 3_600),
    "precision": (float, 0, 1),
    "time_budget_s": (float, 0, 10**9),
    "seed": (int, 0, 2**63 - 1),
}
"""What a request's numbers are, and the least and the greatest that they may be."""
TEXTS = ("name", "task", "cell", "initialization", "optimizer", "device", "variant", "measure")
MAX_BENCHMARKS_OF_A_REQUEST = 10_000


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One step to time: a model, its task, its optimiser, a device, and how it is run.

    `name` is unique in its request.

    `variant` is a name of harness.timing.variants, `measure` one of MEASURES.
    """

    name: str
    task: str
    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    initialization: str = "pytorch"
    optimizer: str = "adam"
    max_grad_norm: float = 1.0
    hyperparameters: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )
    device: str = "cpu"
    variant: str = "tuned"
    measure: str = "training_step"

    @property
    def model(self) -> ModelConfig:
        """The model that is trained."""
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
class TimingRequest:
    """What to time and for how long.

    `n_blocks` blocks of about `block_s` seconds for each benchmark, after the warm-up.
    `precision` > 0 is a relative half width of intervals that is enough: after a pilot of 6 blocks
    no more are timed than it needs. `time_budget_s` > 0 ends the rounds early, never before 5 of
    them. `memory`: also measure the
    peak memory of tuned training steps, on a CPU in a process of its own (a second or two each).
    `reference`: hold each variant's loss and gradients against float64 before it is timed, and
    count denormal gradients. `limits`: also measure what one time step costs at least. `plugins`:
    modules that register the cells and tasks used.
    """

    benchmarks: tuple[Benchmark, ...]
    n_blocks: int = 15
    block_s: float = 0.04
    precision: float = 0.0
    time_budget_s: float = 0.0
    seed: int = 0
    memory: bool = True
    reference: bool = True
    limits: bool = False
    plugins: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, plain: object) -> TimingRequest:
        """Read a request as JSON gives it.

        Raises InputError naming the key, and the nearest one that there is.
        """
        values = checked(cls, "request", plain, schema=TRAINING_SCHEMA)
        listed = values.get("benchmarks")
        if not isinstance(listed, list) or not listed:
            raise InputError("request", "benchmarks", expected="a list of at least one", got=listed)
        if len(listed) > MAX_BENCHMARKS_OF_A_REQUEST:
            expected = f"a list of at most {MAX_BENCHMARKS_OF_A_REQUEST:,}"
            raise InputError("request", "benchmarks", expected=expected, got=Shown(len(listed)))
        benchmarks = tuple(_benchmark(i, each) for i, each in enumerate(listed))
        check_benchmark_names(each.name for each in benchmarks)
        request = cls(
            **{
                **values,
                "benchmarks": benchmarks,
                "plugins": tuple(values.get("plugins", ())),
            }
        )
        for key in ("n_blocks", "block_s", "precision", "time_budget_s", "seed"):
            check_number("request", key, getattr(request, key))
        for key in ("memory", "reference", "limits"):
            if not isinstance(getattr(request, key), bool):
                raise InputError(
                    "request", key, expected="true or false", got=getattr(request, key)
                )
        return request

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; `from_dict` is the inverse."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        benchmarks = [benchmark.to_dict() for benchmark in self.benchmarks]
        plugins = list(self.plugins)
        return {"schema": TRAINING_SCHEMA, **plain, "benchmarks": benchmarks, "plugins": plugins}


def _benchmark(index: int, plain: object) -> Benchmark:
    where = f"benchmarks[{index}]"
    values = checked_benchmark(Benchmark, where, plain)
    optimizer = values.get("optimizer", "adam")
    if optimizer not in OPTIMIZERS:
        remedy = nearest(str(optimizer), OPTIMIZERS)
        raise InputError(
            where, "optimizer", expected="a known optimiser", got=optimizer, remedy=remedy
        )
    parse_variant(values.get("variant", "tuned"), f"{where}: variant")
    measure = values.get("measure", "training_step")
    if measure not in MEASURES:
        remedy = nearest(str(measure), MEASURES)
        raise InputError(where, "measure", expected="a measure", got=measure, remedy=remedy)
    get_cell(values["cell"])
    check_length(where, values["task"], values["sequence_length"])
    return Benchmark(**values)


def checked_benchmark(cls: type, where: str, plain: object) -> dict[str, Any]:
    """The keys of a benchmark of either kind, with every number and text as it must be."""
    values = checked(cls, where, plain)
    for field in dataclasses.fields(cls):
        missing = field.default is dataclasses.MISSING
        if missing and field.default_factory is dataclasses.MISSING and field.name not in values:
            raise InputError(where, field.name, expected="a value", got=None)
        if field.name in NUMBERS and field.name in values:
            check_number(where, field.name, values[field.name])
        if field.name in TEXTS and not isinstance(values.get(field.name, ""), str):
            raise InputError(where, field.name, expected="a text", got=values[field.name])
    if not isinstance(values.get("hyperparameters", {}), dict):
        got = values["hyperparameters"]
        raise InputError(where, "hyperparameters", expected="a JSON object", got=got)
    return values


def check_benchmark_names(names: Iterable[str]) -> None:
    """Refuse two benchmarks of one name."""
    ((name, times),) = Counter(names).most_common(1)
    if times > 1:
        raise InputError("request", "benchmarks", expected="names that differ", got=name)


def check_length(where: str, name: str, got: int) -> None:
    """Refuse a sequence_length that the task of that name does not have."""
    task = get_task(name)
    least = task.least_length
    if task.finite and got != least:
        expected = f"{least}, the length of the fixed sequences of {name}"
        raise InputError(where, "sequence_length", expected=expected, got=got)
    if got < least:
        expected = f"at least {least}, the shortest that {name} allows"
        raise InputError(where, "sequence_length", expected=expected, got=got)


def check_number(where: str, key: str, value: object) -> None:
    """Refuse what is no finite number of the key's type, or is under its least."""
    kind, least, most = NUMBERS[key]
    fits = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        name = "a whole number" if kind is int else "a finite number"
        up_to = "" if most == sys.float_info.max else f" and at most {most:,}"
        raise InputError(where, key, expected=f"{name} of at least {least:g}{up_to}", got=value)


def checked(cls: type, where: str, plain: object, **fixed: object) -> dict[str, Any]:
    """The keys of `plain` that `cls` has; those in `fixed` must have that value and are dropped."""
    if not isinstance(plain, dict):
        raise InputError(where, expected="a JSON object", got=plain)
    known = {field.name for field in dataclasses.fields(cls)}
    for key, value in plain.items():
        if key in fixed:
            if value != fixed[key]:
                raise InputError(where, key, expected=repr(fixed[key]), got=value)
        elif key not in known:
            raise InputError(
                where, key, expected="a known key", got=value, remedy=nearest(key, known)
            )
    return {key: value for key, value in plain.items() if key not in fixed}
