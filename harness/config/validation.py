"""Checks the keys of a study file against each other: names, claims, ladders, sizes, budgets.

Knows no task and no cell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from harness.config.study_config import Claim, CompareTable, Published, StudySpec
from harness.errors import InputError, Shown, nearest
from harness.hyperparameters import (
    INITIALIZATION,
    KINDS,
    SPACE,
    Fixed,
    Parameter,
    Range,
    numbers_of,
)

NAME_LENGTH = 80
MOST_PAIRS = 1_000  # (task, cell): ten times the largest feasible study
MOST_TRIALS = 1_000_000  # of a search, and runs of a confirmation: all are in memory
MOST_GP_VALUES = 1_000_000  # of a whole number: gp lists them all in arrays, 8 bytes each
BOUNDED = ("remembered_steps", "sequences_to_solve")
"""Objectives whose best reachable value is known while a trial runs (harness.columns)."""

FRACTION_METRICS = ("accuracy", "diverged_share", "importance")
RESERVED_NAMES = frozenset(  # files of these names do not exist on Windows
    {
        *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
        *(f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"),
    }
)


def labels_of(compare: CompareTable, names: tuple[str, ...]) -> set[str]:
    """The names, and the cells or tasks of those that are variants."""
    return {*names, *(base for label, base in compare.variants.items() if label in names)}


def check_study_names(where: str, name: str, compare: CompareTable) -> None:
    """Refuse names that cannot be files and folders, and names that are used twice."""
    pairs = len(compare.tasks) * len(compare.cells)
    if pairs > MOST_PAIRS:
        expected = f"at most {MOST_PAIRS:,} pairs of a task and a cell"
        raise InputError(where, "compare", expected=expected, got=Shown(f"{pairs:,}"))
    named = [("study.name", name)]
    named += [(f"compare.tasks.{index}", each) for index, each in enumerate(compare.tasks)]
    named += [(f"compare.cells.{index}", each) for index, each in enumerate(compare.cells)]
    for key, text in named:
        check_name(where, key, text)
    for key, values in (("compare.tasks", compare.tasks), ("compare.cells", compare.cells)):
        check_once(where, key, values)
    for label in compare.variants:
        if label not in (*compare.cells, *compare.tasks):
            raise InputError(
                where,
                f"compare.variants.{label}",
                expected="a name that compare.cells or compare.tasks lists",
                got=label,
                remedy=nearest(label, {*compare.cells, *compare.tasks}),
            )
    for label in sorted(labels_of(compare, compare.cells) & labels_of(compare, compare.tasks)):
        raise InputError(
            where, "compare", expected="different names for tasks and cells", got=label
        )


def check_name(where: str, key: str, text: str) -> None:
    """Refuse a text that cannot be the name of a file or folder on some system."""
    plain = text.isprintable() and not set(text) & set('/\\:*?"<>|') and text == text.strip(" .")
    reserved = text.partition(".")[0].strip().upper() in RESERVED_NAMES
    if not plain or not text or reserved or len(text.encode()) > NAME_LENGTH:
        raise InputError(
            where,
            key,
            expected=f'a printable name of 1 to {NAME_LENGTH} bytes that starts and ends with no dot and has none of / \\ : * ? " < > |',
            got=Shown(repr(text[: NAME_LENGTH + 1])),
            remedy="Windows keeps it for a device" if reserved else "",
        )


def check_once(where: str, key: str, values: tuple[str, ...]) -> None:
    """Refuse a name that occurs twice in any case, because some file systems ignore case."""
    folded = [unicodedata.normalize("NFC", each).casefold() for each in values]
    for each, same in zip(values, folded, strict=True):
        if folded.count(same) > 1:
            raise InputError(where, key, expected="each name once, whatever its case", got=each)


def check_rows(
    where: str,
    compare: CompareTable,
    claims: tuple[Claim, ...],
    published: tuple[Published, ...],
) -> None:
    """Refuse claims and published numbers of a cell or task that the study does not compare."""
    cells = labels_of(compare, compare.cells)
    named = [(f"claims.{i}.cell", claim.cell, "cell", cells) for i, claim in enumerate(claims)]
    for i, row in enumerate(published):
        named.append((f"published.{i}.cell", row.cell, "cell", set(compare.cells)))
        named.append((f"published.{i}.task", row.task, "task", set(compare.tasks)))
    for key, name, what, known in named:
        if name not in known:
            raise InputError(
                where,
                key,
                expected=f"a {what} of this study",
                got=name,
                remedy=nearest(name, known),
            )
    for i, row in enumerate(published):
        if row.metric in FRACTION_METRICS and max(row.value, row.limit) > 1:
            raise InputError(
                where,
                f"published.{i}.value",
                expected=f"a share of at most 1 for {row.metric}",
                got=max(row.value, row.limit),
                remedy="write 95 % as 0.95",
            )
        if (row.metric == "importance") != bool(row.parameter):
            raise InputError(
                where,
                f"published.{i}.parameter",
                expected="a hyperparameter where the metric is importance, and only there",
                got=row.parameter,
            )


def check_study_keys(where: str, spec: StudySpec, raw: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself; `raw` is the file as it was read.

    Raises InputError naming the key.
    """
    _check_ladder(where, spec, raw)
    _check_pruner(where, spec)
    for name, table in spec.task_space.items():
        for key, parameter in table.items():
            if key == INITIALIZATION or key not in KINDS:  # these are a matter of the cell
                raise InputError(
                    where,
                    f"space.{name}.{key}",
                    expected="initialisations and a cell's own hyperparameters in the table of a cell",
                    got=parameter.to_plain(),
                    remedy=f"write [space.<cell>] {key} = ...",
                )
    for task, cell in spec.pairs:
        parameters = spec.parameters(task, cell)
        _check_sizes(where, spec, task, cell)
        for name in SPACE:
            derived = name == "hidden_size" and parameters["num_parameters"] != Fixed(0)
            if name not in parameters and not derived:
                raise InputError(
                    where,
                    f"space.{name}",
                    expected="a range, a list or a value",
                    got=Shown("nothing"),
                    remedy=f"add {name} to [space], or to [training] to hold it fixed",
                )
        check_sampler(where, "space", spec.search.sampler, parameters)
    for task in spec.compare.tasks:
        _check_own_length(where, spec, task)
    for index, row in enumerate(spec.published):
        _check_measurable(where, spec, index, row)
    _check_number(where, spec)
    _check_budget(where, spec)


def _check_measurable(where: str, spec: StudySpec, index: int, row: Published) -> None:
    """Refuse a published number that this study cannot measure."""
    searched = [
        name
        for name, each in spec.parameters(row.task, row.cell).items()
        if not isinstance(each, Fixed)
    ]
    if row.parameter and row.parameter not in searched:
        raise InputError(
            where,
            f"published.{index}.parameter",
            expected="a hyperparameter that is searched",
            got=row.parameter,
            remedy=nearest(row.parameter, searched),
        )
    if row.metric not in ("diverged_share", "importance") and not spec.confirm.seeds:
        raise InputError(
            where,
            f"published.{index}.metric",
            expected="diverged_share or importance where confirm.seeds is 0",
            got=row.metric,
            remedy="the others are numbers of the confirmation",
        )


def _check_pruner(where: str, spec: StudySpec) -> None:
    """Refuse `bound` with an objective whose best reachable value is not known."""
    if spec.search.pruner == "bound" and spec.search.objective not in BOUNDED:
        raise InputError(
            where,
            "search.pruner",
            expected=f"no bound with the objective {spec.search.objective}",
            got="bound",
            remedy=f"choose another pruner, or one of the objectives {', '.join(BOUNDED)}",
        )


def _check_ladder(where: str, spec: StudySpec, raw: Mapping[str, Any]) -> None:
    confirm = raw.get("confirm", {})
    if "lags" in confirm and "sequence_lengths" in confirm:
        raise InputError(
            where,
            "confirm.lags",
            expected="either lags or sequence_lengths",
            got=Shown("both"),
            remedy="leave one of them out",
        )
    for key, rungs in (
        ("sequence_lengths", spec.confirm.sequence_lengths),
        ("lags", spec.confirm.lags),
        ("extrapolation", spec.confirm.extrapolation),
    ):
        if list(rungs) != sorted(set(rungs)):
            raise InputError(where, f"confirm.{key}", expected="numbers that rise", got=list(rungs))


def _check_own_length(where: str, spec: StudySpec, task: str) -> None:
    """Refuse winners of a task that are confirmed at different lengths."""
    if not spec.confirm.seeds or spec.confirm.lags or spec.confirm.sequence_lengths:
        return
    found = {spec.parameters(task, cell)["sequence_length"] for cell in spec.compare.cells}
    if len(found) > 1 or not isinstance(min(found, key=str), Fixed):
        raise InputError(
            where,
            "confirm.sequence_lengths",
            expected="a ladder of lengths or lags where sequence_length is searched, or differs by cell",
            got=[],
            remedy="winners of different lengths need common rungs to compare on",
        )


def _check_sizes(where: str, spec: StudySpec, task: str, cell: str) -> None:
    """Refuse num_parameters that is not positive where it is searched, or beside hidden_size."""
    wanted = spec.parameters(task, cell)["num_parameters"]
    if wanted == Fixed(0):
        return
    if min(numbers_of(wanted)) < 1:
        raise InputError(
            where,
            "space.num_parameters",
            expected="numbers >= 1 where it is searched (0, alone, is off)",
            got=wanted.to_plain(),
        )
    tables = [
        spec.space,
        *(spec.task_space.get(name, {}) for name in (spec.base(task), task)),
        *(spec.cell_space.get(name, {}) for name in (spec.base(cell), cell)),
    ]
    if spec.training.hidden_size is not None or any("hidden_size" in each for each in tables):
        raise InputError(
            where,
            "training.num_parameters",
            expected="hidden_size left out where num_parameters derives it",
            got=Shown("both"),
            remedy="leave hidden_size out, or set num_parameters to 0",
        )


def check_sampler(
    where: str, table: str, sampler: str, parameters: Mapping[str, Parameter]
) -> None:
    """Refuse a range that the sampler cannot take, naming its key in that table.

    The sampler grid needs lists, and gp lists every whole number of a range in memory.
    """
    for name, parameter in parameters.items():
        if not isinstance(parameter, Range):
            continue
        if sampler == "grid":
            raise InputError(
                where,
                f"{table}.{name}",
                expected="a list, for the sampler grid",
                got=parameter.to_plain(),
                remedy="write the values as a list, or choose another sampler",
            )
        whole = isinstance(parameter.low, int) and isinstance(parameter.high, int)
        if sampler == "gp" and whole and parameter.high - parameter.low >= MOST_GP_VALUES:
            raise InputError(
                where,
                f"{table}.{name}",
                expected=f"at most {MOST_GP_VALUES:,} whole numbers in a range, for the sampler gp",
                got=parameter.to_plain(),
                remedy="shorten the range, write some values as a list, or choose another sampler",
            )


def _check_number(where: str, spec: StudySpec) -> None:
    """Refuse more trials or confirmation runs than fit into memory."""
    searches = len(spec.pairs) * spec.search.repeats
    rungs = len(spec.confirm.lags or spec.confirm.sequence_lengths) or 1
    for key, what, number in (
        ("search.trials", "trials", searches * spec.search.trials),
        ("confirm.seeds", "runs", searches * rungs * spec.confirm.seeds),
    ):
        if number > MOST_TRIALS:
            expected = f"at most {MOST_TRIALS:,} {what} in all"
            raise InputError(where, key, expected=expected, got=Shown(f"{number:,}"))


def _check_budget(where: str, spec: StudySpec) -> None:
    for pair in spec.pairs:
        fixed = spec.parameters(*pair)
        every, budget = numbers_of(fixed["evaluate_every"]), numbers_of(fixed["sequences"])
        if max(every) > min(budget):
            raise InputError(
                where,
                "training.evaluate_every",
                expected=f"at most training.sequences ({min(budget):,.0f})",
                got=int(max(every)),
                remedy="else nothing that a trial learns is evaluated",
            )
