"""Checks a study against the available tasks, cells and memory, and counts its trials.

Never reads a file.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from harness.config.study_config import StudySpec
from harness.config.toml_tables import check_known
from harness.config.validation import check_sampler
from harness.errors import InputError, Shown, nearest
from harness.hyperparameters import INITIALIZATION, KINDS, Choice, Fixed, Parameter, numbers_of

LONGEST_LAG = 100_000  # on a ladder; lengths up to ten times it are searched for a lag


class KnownTask(Protocol):
    """What `check_study` needs of a task."""

    @property
    def least_length(self) -> int: ...
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def dense(self) -> bool: ...
    @property
    def finite(self) -> int: ...
    def lag(self, sequence_length: int) -> int: ...


@runtime_checkable
class LengthenedTask(Protocol):
    """A task whose sequences have more or fewer steps than `sequence_length`."""

    def steps(self, sequence_length: int) -> int: ...


class KnownCell(Protocol):
    """What `check_study` needs of a cell."""

    @property
    def gates(self) -> int | None: ...
    @property
    def initializations(self) -> Mapping[str, Any]: ...
    @property
    def hyperparameters(self) -> Mapping[str, Any]: ...


def check_study(
    spec: StudySpec,
    where: str,
    tasks: Mapping[str, KnownTask],
    cells: Mapping[str, KnownCell],
    memory_bytes: int,
) -> StudySpec:
    """The spec completed by what its cells declare, after checking tasks, cells and memory.

    The initialisations that a cell does not have are removed from its space. Its own
    hyperparameters are added where the study does not set them. Raises InputError for an unknown
    task or cell, a length too short for its task, and a trial that needs more memory.
    """
    _check_labels(where, spec, tasks, cells)
    for index, row in enumerate(spec.published):
        if row.metric == "all_steps_loss" and not hasattr(
            tasks[spec.base(row.task)], "all_steps_loss"
        ):
            raise InputError(
                where,
                f"published.{index}.metric",
                expected=f"a number that the task {row.task} has",
                got=row.metric,
                remedy="copy_memory has it",
            )
    cell_space = {label: dict(table) for label, table in spec.cell_space.items()}
    for task, label in spec.pairs:
        cell, known_task = cells[spec.base(label)], tasks[spec.base(task)]
        parameters = spec.parameters(task, label)
        for name in parameters:
            if name not in KINDS and name not in cell.hyperparameters:
                raise InputError(
                    where,
                    f"space.{label}.{name}",
                    expected=f"a hyperparameter of {spec.base(label)}",
                    got=name,
                    remedy=nearest(name, {*KINDS, *cell.hyperparameters}),
                )
        declared = {
            name: each for name, each in cell.hyperparameters.items() if name not in parameters
        }
        # Those of the file were checked when it was read
        check_sampler(where, f"space.{label}", spec.search.sampler, declared)
        if declared:
            cell_space[label] = {**cell_space.get(label, {}), **declared}
        known = {name for each in cells.values() for name in each.initializations}
        applying = _applying(where, label, parameters[INITIALIZATION], cell, known)
        if applying != parameters[INITIALIZATION]:
            cell_space.setdefault(label, {})[INITIALIZATION] = applying
        lengths = numbers_of(parameters["sequence_length"])
        _check_lengths(where, spec, task, known_task, lengths)
        lengths += confirmation_lengths(spec, known_task) if spec.confirm.seeds else ()
        longest = parameters | {"sequence_length": Fixed(max(lengths))}
        needed = _largest_trial(longest, known_task, cell.gates or 4)
        _check_memory(where, label, needed, memory_bytes)
    return spec.model_copy(update={"cell_space": cell_space})


def _check_labels(
    where: str,
    spec: StudySpec,
    tasks: Mapping[str, KnownTask],
    cells: Mapping[str, KnownCell],
) -> None:
    """Refuse unknown tasks and cells, and variants with the name of another one."""
    kinds: tuple[tuple[str, str, tuple[str, ...], Mapping[str, object]], ...] = (
        ("task", "tasks", spec.compare.tasks, tasks),
        ("cell", "cells", spec.compare.cells, cells),
    )
    for what, plural, labels, known in kinds:
        for index, label in enumerate(labels):
            base = spec.base(label)
            key = f"compare.variants.{label}" if base != label else f"compare.{plural}.{index}"
            check_known(where, key, what, base, known)
            if label in known and base != label:
                raise InputError(
                    where, key, expected=f"a name of its own, not that of another {what}", got=label
                )


def confirmation_lengths(spec: StudySpec, task: KnownTask) -> tuple[int, ...]:
    """The lengths at which winners are confirmed, as given or the least that has each lag.

    Empty where each winner is confirmed at its own length.
    """
    if not spec.confirm.lags:
        return spec.confirm.sequence_lengths
    if task.finite:
        return (task.least_length,)
    lengths = range(task.least_length, 10 * LONGEST_LAG)  # a lag never falls with the length
    indices = [bisect_left(lengths, lag, key=task.lag) for lag in spec.confirm.lags]
    return tuple(dict.fromkeys(task.least_length + index for index in indices))


def study_notes(
    spec: StudySpec, tasks: Mapping[str, KnownTask], cells: Mapping[str, KnownCell]
) -> tuple[str, ...]:
    """Remarks on settings that are allowed, shown before the study starts."""
    found = []
    for name, label in spec.pairs:
        base = spec.base(label)
        others = {each for cell in cells if cell != base for each in cells[cell].initializations}
        wanted = spec.parameters(name, label)[INITIALIZATION].values()
        found += [  # a plug-in's, which studies do not know of
            f"{own}, an initialisation of {base}, is not searched; to search it, set space.{label}.{INITIALIZATION}"
            for own in cells[base].initializations
            if own not in others and own not in wanted
        ]
    if spec.confirm.seeds:
        for name, label in spec.pairs:
            longest = max(numbers_of(spec.parameters(name, label)["sequence_length"]))
            top = max(confirmation_lengths(spec, tasks[spec.base(name)]), default=longest)
            if top < longest:
                found.append(
                    f"the confirmation ladder of {name} ends at length {top}, below the "
                    f"{longest:g} that is searched: a span beyond it cannot be seen"
                )
    for name, label in spec.pairs:
        fixed = spec.parameters(name, label)
        budget, every = fixed["sequences"], fixed["evaluate_every"]
        if not isinstance(budget, Fixed) or not isinstance(every, Fixed):
            continue
        rest = int(budget.value) % int(every.value)
        if rest and not tasks[spec.base(name)].finite:
            found.append(
                f"training.sequences is no multiple of training.evaluate_every: the last {rest} sequences are "
                "trained on and not scored"
            )
    return tuple(dict.fromkeys(found))


def count_trials(spec: StudySpec, tasks: Mapping[str, KnownTask]) -> tuple[int, int]:
    """Trials of the search, and runs of the confirmation."""
    searched = confirmed = 0
    for name, label in spec.pairs:
        trials = spec.search.trials
        if spec.search.sampler == "grid":
            points = (len(each.values()) for each in spec.parameters(name, label).values())
            trials = min(trials, math.prod(points))
        searched += trials * spec.search.repeats
        rungs = len(confirmation_lengths(spec, tasks[spec.base(name)])) or 1
        confirmed += rungs * spec.confirm.seeds * spec.search.repeats
    return searched, confirmed


def _applying(
    where: str, label: str, wanted: Parameter, cell: KnownCell, known: set[str]
) -> Parameter:
    names = [str(value) for value in wanted.values()]
    for name in names:
        if name not in known:
            check_known(where, f"space.{INITIALIZATION}", INITIALIZATION, name, known)
    applying = tuple(name for name in names if name in cell.initializations)
    if not applying:
        raise InputError(
            where,
            f"space.{INITIALIZATION}",
            expected=f"an initialisation that {label} has ({', '.join(cell.initializations)})",
            got=wanted.to_plain(),
        )
    return Choice(applying) if isinstance(wanted, Choice) else Fixed(applying[0])


def _check_lengths(
    where: str, spec: StudySpec, name: str, task: KnownTask, lengths: Sequence[float]
) -> None:
    """Refuse lengths that the task does not have, and lags that it never reaches."""
    checked = [("space.sequence_length", lengths)]
    if spec.confirm.seeds and spec.confirm.sequence_lengths and not spec.confirm.lags:
        checked.append(("confirm.sequence_lengths", spec.confirm.sequence_lengths))
    for key, each in checked:
        if task.finite and {*each} != {task.least_length}:
            remedy = f"set {key} = {task.least_length}"
            if key.startswith("confirm"):
                remedy = f"set {key} = [{task.least_length}], or confirm.seeds = 0 to skip it"
            raise InputError(
                where,
                key,
                expected=f"{task.least_length}, the length of the fixed sequences of the task {name}",
                got=Shown(", ".join(f"{length:g}" for length in each)),
                remedy=remedy,
            )
        if min(each) < task.least_length:
            raise InputError(
                where,
                key,
                expected=f"at least {task.least_length} for the task {name}",
                got=int(min(each)),
                remedy=f"raise it to {task.least_length}",
            )
    lags = spec.confirm.lags if spec.confirm.seeds else ()
    reached = LONGEST_LAG  # a lag above it is named without a search for its length
    if lags and max(lags) <= LONGEST_LAG:
        reached = task.lag(max(confirmation_lengths(spec, task)))
    for lag in lags:
        if lag > reached:
            raise InputError(
                where,
                "confirm.lags",
                expected=f"lags that the task {name} has, up to {LONGEST_LAG:,}",
                got=lag,
            )


def _check_memory(where: str, label: str, needed: tuple[int, str], memory_bytes: int) -> None:
    """Refuse a cell whose largest trial needs more memory than there is."""
    needed_bytes, largest = needed
    if needed_bytes > memory_bytes:
        raise InputError(
            where,
            "space.hidden_size",
            expected=f"a largest trial of {label} that fits into {memory_bytes:,} bytes of memory",
            got=Shown(f"about {needed_bytes:,} bytes ({largest})"),
            remedy="lower one of them",
        )


def _largest_trial(
    parameters: Mapping[str, Parameter], task: KnownTask, gates: int
) -> tuple[int, str]:
    """About how many bytes the largest trial needs, and its sizes.

    It counts weights, gradients, two moments, and the activations of its steps.
    """
    names = ("hidden_size", "num_layers", "sequence_length", "batch_size")
    largest = {
        name: int(max(numbers_of(parameters[name]))) if name in parameters else 1 for name in names
    }
    hidden, layers = largest["hidden_size"], largest["num_layers"]
    wanted = int(max(numbers_of(parameters["num_parameters"])))
    if wanted:  # hidden_size is derived from it: about the root of its share of a recurrent block
        hidden = largest["hidden_size"] = max(1, math.isqrt(wanted // (gates * (2 * layers - 1))))
    weights = gates * (hidden * task.input_size + hidden * hidden + (layers - 1) * 2 * hidden**2)
    length = largest["sequence_length"]
    steps = task.steps(length) if isinstance(task, LengthenedTask) else length
    outputs = 2 * task.output_size if task.dense else 0  # and the loss's copy of them
    activations = task.input_size + layers * (gates + 2) * hidden + outputs
    needed = 4 * (4 * weights + largest["batch_size"] * steps * activations)
    return needed, ", ".join(f"{name} {value:,}" for name, value in largest.items())
