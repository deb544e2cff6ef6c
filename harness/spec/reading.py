"""Reading a study file: where studies lie, --set, and the first thing that is wrong, in one line. Never runs code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from harness.errors import InputError, Shown, nearest
from harness.parameters import (
    KINDS,
    Fixed,
    Parameter,
    parse_parameter,
)
from harness.spec.sense import check_names, check_rows, check_sense, labels_of
from harness.spec.tables import (
    Claim,
    Compare,
    Confirm,
    Published,
    Search,
    Study,
    StudySpec,
    Table,
    Throughput,
    Training,
)
from harness.spec.toml import parse_toml, read_toml

INSTEAD = (("confirm.sequence_lengths", "confirm.lags"),)
"""Keys of which a study has one or the other."""


def study_directory() -> Path:
    """Where the studies lie: beside the package in a clone, inside of it where a wheel was installed."""
    package = Path(__file__).parents[1]
    inside = package / "studies"
    return inside if inside.is_dir() else package.parent / "studies"


def list_studies() -> dict[str, str]:
    """The names of the studies at hand, each with its question."""
    found = {}
    for path in sorted(study_directory().glob("*.toml")):
        try:
            study = read_toml(path).get("study")
        except InputError as error:
            found[path.stem] = f"cannot be read: {error}"
            continue
        if isinstance(study, dict) and "name" in study:
            found[path.stem] = str(study.get("question", ""))
    return found


def find_study(name: str) -> Path:
    """The file of a study: a path that ends in .toml, or a name in the studies folder.

    Raises InputError with the nearest name where there is none.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if path.is_file():
            return path
        raise InputError(name, expected="a study file", got=Shown("no such file"))
    path = study_directory() / f"{name}.toml"
    known = list_studies()
    if name not in known:
        raise InputError(
            "STUDY", expected="a TOML file or a known study", got=name, remedy=nearest(name, known)
        )
    return path


def load(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a study file, with `KEY=VALUE` overrides applied. Raises InputError for whatever is not as it should be."""
    raw = read_toml(path)
    for override in overrides:
        _override(raw, override)
    return parse(raw, path.name)


def parse(raw: Mapping[str, Any], where: str) -> StudySpec:
    """Validate the plain values of a study file; `where` names it in errors."""
    tables: dict[str, Any] = {}
    lists: dict[str, type[Table]] = {"claims": Claim, "published": Published}
    known = ("study", "compare", "space", "training", "search", "confirm", "throughput", *lists)
    for name in raw:
        if name not in known:
            raise InputError(
                where, name, expected="a known table", got=name, remedy=nearest(name, known)
            )
    for name, model in (
        ("study", Study),
        ("compare", Compare),
        ("training", Training),
        ("search", Search),
        ("confirm", Confirm),
        ("throughput", Throughput),
    ):
        tables[name] = _table(where, name, model, raw.get(name, {}))
    for name, row_model in lists.items():
        rows = raw.get(name, [])
        if not isinstance(rows, list):
            raise InputError(where, name, expected=f"tables headed [[{name}]]", got=rows)
        tables[name] = tuple(
            _table(where, f"{name}.{index}", row_model, row) for index, row in enumerate(rows)
        )
    compare = tables["compare"]
    check_names(where, tables["study"].name, compare)
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
    check_sense(where, spec, raw)
    return spec


def _table(where: str, name: str, model: type[Table], raw: object) -> Any:
    if not isinstance(raw, Mapping):
        raise InputError(where, name, expected="a table", got=raw)
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _translate(where, name, model, raw, error) from None


def _translate(
    where: str,
    table: str,
    model: type[Table],
    raw: Mapping[str, Any],
    error: pydantic.ValidationError,
) -> InputError:
    """The first complaint of pydantic as one line of ours."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join([table, *path[:1], *(part for part in path[1:] if part.isdecimal())])
    got: object = raw
    for part in first["loc"]:
        if isinstance(got, Mapping) and part in got:
            got = got[part]
        elif isinstance(got, list | tuple) and isinstance(part, int) and part < len(got):
            got = got[part]
    if first["type"] == "extra_forbidden":
        return InputError(
            where,
            key,
            expected="a known key",
            got=path[0],
            remedy=nearest(path[0], model.model_fields),
        )
    if first["type"] == "missing":
        return InputError(
            where,
            key,
            expected="a value",
            got=Shown("nothing"),
            remedy=f"add {path[0]} to [{table}]",
        )
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    if first["type"] == "too_short":
        expected = "at least one"
    if first["type"] == "too_long":
        expected = f"a list of at most {first['ctx']['max_length']:,}"
    remedy = ""
    annotation = model.model_fields[path[0]].annotation
    if first["type"] == "literal_error" and isinstance(got, str):
        words = [str(word) for word in getattr(annotation, "__args__", ())]
        expected, remedy = "one of " + ", ".join(words), nearest(got, words)
    return InputError(where, key, expected=expected, got=got, remedy=remedy)


def _parse_space(
    where: str, raw: object, compare: Compare
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


def _override(raw: dict[str, Any], override: str) -> None:
    """Apply one `KEY=VALUE` of --set; VALUE is TOML."""
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError("--set", expected="KEY=VALUE", got=override)
    try:
        (value,) = parse_toml(f"value = {text}", "--set").values()
    except (InputError, ValueError):  # ValueError: a line break, and another key behind it
        plain = text.isprintable() and not set(text) & {*"'\"\\"}
        raise InputError(
            "--set",
            key,
            expected="a TOML value",
            got=text,
            remedy=f"quote a text: {key}='\"{text}\"'" if plain else "",
        ) from None
    table: Any = raw
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError("--set", key, expected="a key of a table", got=part)
    for pair in INSTEAD:
        if key in pair:  # what was typed last takes the place of the other, wherever that came from
            table.pop(pair[1 - pair.index(key)].rpartition(".")[2], None)
    table[last] = value
