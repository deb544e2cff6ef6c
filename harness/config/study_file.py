"""Reads a study file as a StudySpec, or raises one InputError for its first error.

Never runs code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.find_studies import STUDY, check_kind, find_file, list_files
from harness.config.study_config import (
    Claim,
    CompareTable,
    ConfirmTable,
    Published,
    SearchTable,
    StudySpec,
    StudyTable,
    ThroughputTable,
    TrainingTable,
)
from harness.config.toml_file import read_settings
from harness.config.toml_tables import ConfigTable, check_tables, read_rows, read_table
from harness.config.validation import check_rows, check_study_keys, check_study_names, labels_of
from harness.errors import InputError, Shown, nearest
from harness.hyperparameters import KINDS, Fixed, Parameter, parse_parameter


def list_studies() -> dict[str, str]:
    """The names of the studies in the studies folder, each with its question."""
    return list_files(STUDY)


def find_study(name: str) -> Path:
    """The file of a study: a path that ends in .toml, or a name in the studies folder.

    Raises InputError with the nearest name where there is none.
    """
    return find_file(STUDY, name)


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a study file, with `KEY=VALUE` overrides applied.

    Raises InputError for the first error.
    """
    return parse_study(read_settings(path, overrides), path.name)


def parse_study(raw: Mapping[str, Any], where: str) -> StudySpec:
    """Validate the plain values of a study file; `where` names it in errors."""
    check_kind(STUDY, raw, where)
    tables: dict[str, Any] = {}
    lists: dict[str, type[ConfigTable]] = {"claims": Claim, "published": Published}
    known = ("study", "compare", "space", "training", "search", "confirm", "throughput", *lists)
    check_tables(where, raw, known)
    for name, model in (
        ("study", StudyTable),
        ("compare", CompareTable),
        ("training", TrainingTable),
        ("search", SearchTable),
        ("confirm", ConfirmTable),
        ("throughput", ThroughputTable),
    ):
        tables[name] = read_table(where, name, model, raw.get(name, {}))
    for name, row_model in lists.items():
        tables[name] = read_rows(where, name, row_model, raw.get(name, []))
    compare = tables["compare"]
    check_study_names(where, tables["study"].name, compare)
    check_rows(where, compare, tables["claims"], tables["published"])
    space, own = _parse_space(where, raw.get("space", {}), compare)
    task_names = labels_of(compare, compare.tasks)
    tables["task_space"] = {name: each for name, each in own.items() if name in task_names}
    tables["cell_space"] = {name: each for name, each in own.items() if name not in task_names}
    training = raw.get("training", {})
    for name, value in training.items():
        fixed = parse_parameter(where, f"training.{name}", name, value, KINDS[name])
        if not isinstance(fixed, Fixed):
            raise InputError(
                where,
                f"training.{name}",
                expected=KINDS[name].describe(),
                got=value,
                remedy=f"to search it, write it in [space] as {name}",
            )
    for name in (*space, *(each for table in own.values() for each in table)):
        if name in training:
            raise InputError(
                where,
                name,
                expected="one place for each key",
                got=Shown("it stands in both [space] and [training]"),
                remedy="leave one of them out",
            )
    tables["training"] = tables["training"].model_copy(update=dict.fromkeys(space))
    spec = StudySpec(space=space, **tables)
    check_study_keys(where, spec, raw)
    return spec


def _parse_space(
    where: str, raw: object, compare: CompareTable
) -> tuple[dict[str, Parameter], dict[str, dict[str, Parameter]]]:
    if not isinstance(raw, Mapping):
        raise InputError(where, "space", expected="a table", got=raw)
    labels = labels_of(compare, compare.cells) | labels_of(compare, compare.tasks)
    space: dict[str, Parameter] = {}
    own: dict[str, dict[str, Parameter]] = {}
    for name, value in raw.items():
        if name in labels and name not in KINDS:
            if not isinstance(value, Mapping):
                raise InputError(where, f"space.{name}", expected="a table", got=value)
            own[name] = {
                key: parse_parameter(where, f"space.{name}.{key}", key, each, KINDS.get(key))
                for key, each in value.items()
            }
        elif name in KINDS:
            space[name] = parse_parameter(where, f"space.{name}", name, value, KINDS[name])
        else:
            raise InputError(
                where,
                f"space.{name}",
                expected="a hyperparameter, or a cell or task of this study",
                got=name,
                remedy=nearest(name, {*KINDS, *labels}),
            )
    return space, own
