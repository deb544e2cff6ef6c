"""The tables of a study file as frozen data, with their defaults, and the identity of a study.

Never reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
import tomli_w
from pydantic import Field, StrictFloat, StrictInt, StrictStr

from harness.config.toml_file import visible_toml
from harness.config.toml_tables import ConfigTable
from harness.hyperparameters import KINDS, SPACE, Fixed, Parameter, Value

Positive = Annotated[StrictInt, Field(ge=1, le=10**9)]
Factor = Annotated[StrictInt, Field(ge=2, le=100)]
Seconds = Annotated[StrictFloat, Field(gt=0, le=1e9)]


# Random trials before TPE and GP use the results. Independent of `trials`, so that a search that
# grows equals one that was long from the start. A quarter of 24 or 48 trials, with 40 seeds on the
# four functions of benchmarks/shown.py, was no better
STARTUP_TRIALS = 4


class StudyTable(ConfigTable):
    """[study]: its name and its question."""

    name: StrictStr
    question: StrictStr = ""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    print_evaluations: pydantic.StrictBool = False


class CompareTable(ConfigTable):
    """[compare]: tasks and cells.

    `variants` gives one of them a further name, under which [space.<name>] may differ.
    """

    tasks: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    cells: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    variants: Mapping[StrictStr, StrictStr] = Field(default_factory=dict)


class TrainingTable(ConfigTable):
    """[training]: fixed for every trial.

    Any key may move to [space], and any key of [space] here.
    """

    batch_size: Value = 32
    sequences: Value = 20_000
    stop_when_solved: Value = True
    evaluate_every: Value = 1_600
    evaluation_sequences: Value = 1_000
    optimizer: Value = "adam"
    learning_rate_schedule: Value = "constant"
    max_grad_norm: Value = 1.0
    num_parameters: Value = 0
    hidden_size: Value | None = None
    num_layers: Value | None = None
    learning_rate: Value | None = None
    sequence_length: Value | None = None
    initialization: Value | None = None


class SearchTable(ConfigTable):
    """[search]: how Optuna searches, for each (task, cell), in each repeat."""

    trials: Positive = 12
    repeats: Annotated[StrictInt, Field(ge=1, le=1_000)] = 5
    objective: Literal["remembered_steps", "skill", "loss", "sequences_to_solve"] = (
        "remembered_steps"
    )
    sampler: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    pruner: Literal["none", "bound", "median", "halving", "hyperband"] = "none"
    trial_timeout_s: Seconds = 300.0
    trial_memory_bytes: Annotated[StrictInt, Field(ge=0, lt=2**60)] = 0


class ConfirmTable(ConfigTable):
    """[confirm]: each search's winner is trained again on a ladder of lengths, or of lags.

    With neither (`sequence_lengths = []`) it is trained at its own length. `extrapolation`: a run
    that solved its task is then evaluated at these multiples of its length, without training.
    """

    seeds: Annotated[StrictInt, Field(ge=0, le=10_000)] = 1
    sequence_lengths: Annotated[tuple[Positive, ...], Field(max_length=1_000)] = (
        10,
        20,
        40,
        80,
        120,
        200,
    )
    lags: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=1_000)] = ()
    evaluation_sequences: Positive = 10_000
    extrapolation: Annotated[tuple[Factor, ...], Field(max_length=8)] = (2, 4)


class ThroughputTable(ConfigTable):
    """[throughput]: whether training steps are timed after everything else."""

    enabled: pydantic.StrictBool = True


class Claim(ConfigTable):
    """[[claims]]: a common statement that the report prints beside what this study found."""

    cell: StrictStr
    text: StrictStr
    lag: Positive
    relation: Literal["at_least", "at_most", "about"] = "about"
    source: StrictStr = ""


class Published(ConfigTable):
    """[[published]]: a number from the literature that the report prints beside ours.

    Ours reproduces it where it is at least, at most or about (within a factor of 2) `bound`, which
    is `value` unless given. `metric` is a number of the confirmation runs, `diverged_share` of the
    search's trials, or `importance` of `parameter`.
    """

    task: StrictStr
    cell: StrictStr
    metric: Literal[
        "sequences_to_solve",
        "loss",
        "all_steps_loss",
        "accuracy",
        "diverged_share",
        "importance",
    ]
    value: Annotated[StrictFloat | StrictInt, Field(gt=0)]
    source: StrictStr
    relation: Literal["at_least", "at_most", "about"] = "at_most"
    bound: Annotated[StrictFloat | StrictInt, Field(gt=0)] | None = None
    parameter: StrictStr = ""
    note: StrictStr = ""

    @property
    def limit(self) -> float:
        """The number that ours is compared with."""
        return float(self.value if self.bound is None else self.bound)


class StudySpec(ConfigTable):
    """A whole study. `space`, `cell_space` and `task_space` are parsed parameters.

    `training` has only the keys that are not in [space].
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    study: StudyTable
    compare: CompareTable
    space: Mapping[str, Parameter]
    cell_space: Mapping[str, Mapping[str, Parameter]]
    task_space: Mapping[str, Mapping[str, Parameter]]
    training: TrainingTable
    search: SearchTable
    confirm: ConfirmTable
    throughput: ThroughputTable
    claims: tuple[Claim, ...] = ()
    published: tuple[Published, ...] = ()

    def base(self, label: str) -> str:
        """The cell or task of a label: the label itself, unless it is a variant."""
        return self.compare.variants.get(label, label)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every (task, cell) that is compared."""
        return tuple((task, cell) for task in self.compare.tasks for cell in self.compare.cells)

    def parameters(self, task: str, cell: str) -> dict[str, Parameter]:
        """Every hyperparameter of a trial of this (task, cell), fixed ones too, in a fixed order.

        The table of the cell overrides that of the task, and both override [space].
        """
        merged: dict[str, Parameter] = {
            name: Fixed(value)
            for name, value in self.training.model_dump(exclude_none=True).items()
        }
        merged |= self.space
        for tables, label in ((self.task_space, task), (self.cell_space, cell)):
            merged |= tables.get(self.base(label), {})
            merged |= tables.get(label, {})
        if merged["num_parameters"] != Fixed(0):
            merged.pop("hidden_size", None)
        ordered = [name for name in KINDS if name in merged]
        return {name: merged[name] for name in [*ordered, *sorted(set(merged) - set(ordered))]}

    def searched_keys(self) -> tuple[str, ...]:
        """The hyperparameters in trials.csv: those of [space] and all searched ones."""
        keys = dict.fromkeys(SPACE)
        for pair in self.pairs:
            for name, parameter in self.parameters(*pair).items():
                if not isinstance(parameter, Fixed) or name not in KINDS:
                    keys[name] = None
        return tuple(keys)

    def to_plain(self) -> dict[str, Any]:
        """The resolved study file as plain values, every default written out."""
        space: dict[str, Any] = {name: each.to_plain() for name, each in self.space.items()}
        own = {**self.task_space, **self.cell_space}
        for label, parameters in own.items():
            space[label] = {name: each.to_plain() for name, each in parameters.items()}
        training = self.training.model_dump(exclude_none=True)
        spaced = {*self.space, *(name for table in own.values() for name in table)}
        plain: dict[str, Any] = {
            "study": self.study.model_dump(),
            "compare": {**self.compare.model_dump(), "variants": dict(self.compare.variants)},
            "space": space,
            "training": {name: value for name, value in training.items() if name not in spaced},
            "search": self.search.model_dump(),
            "confirm": self.confirm.model_dump(),
            "throughput": self.throughput.model_dump(),
        }
        dropped = "sequence_lengths" if self.confirm.lags else "lags"
        del plain["confirm"][dropped]
        for name, rows in (("claims", self.claims), ("published", self.published)):
            if rows:
                plain[name] = [row.model_dump(exclude_none=True) for row in rows]
        return plain

    def dump(self) -> str:
        """The resolved study file as TOML; `load_study` reads it back as an equal spec."""
        return visible_toml(tomli_w.dumps(self.to_plain()))

    def identity(self) -> dict[str, Any]:
        """Every key that may not change when a study is resumed: what makes trials comparable.

        A key that older studies did not have is left out at its default, so that they can resume.
        """
        plain = self.to_plain()
        for free in ("confirm", "throughput", "claims", "published"):
            plain.pop(free, None)
        for table, key in (
            ("study", "question"),
            ("study", "print_evaluations"),
            ("search", "trials"),
            ("search", "trial_timeout_s"),
        ):
            del plain[table][key]
        flat = _flatten(plain)
        return {key: value for key, value in flat.items() if LATER_KEYS.get(key) != value}


LATER_KEYS: Mapping[str, Any] = {"training.learning_rate_schedule": "constant"}
"""Keys that are newer than the storage's schema, with the values that were built in before."""


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
