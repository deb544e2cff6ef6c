"""Reading a study file: where studies lie, --set, and the first thing that is wrong, in one line. Never runs code."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from harness.errors import InputError, Shown, nearest
from harness.parameters import (
    KINDS,
    SPACE,
    Fixed,
    Parameter,
    Range,
    numbers_of,
    parse_parameter,
)
from harness.spec.tables import (
    Claim,
    Compare,
    Confirm,
    Search,
    Study,
    StudySpec,
    Table,
    Throughput,
    Training,
)

NAME_LENGTH = 80
RESERVED_NAMES = frozenset(  # files of these names do not exist on Windows
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10))}
)


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
            study = tomllib.loads(path.read_text(encoding="utf-8")).get("study")
        except (OSError, ValueError, RecursionError) as error:
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
    where = path.name
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path), expected="a readable text file", got=Shown(type(error).__name__)
        ) from error
    except (ValueError, RecursionError) as error:  # ValueError: also a number of endless digits
        raise InputError(where, expected="TOML", got=Shown(str(error))) from error
    for override in overrides:
        _override(raw, override)
    return parse(raw, where)


def parse(raw: Mapping[str, Any], where: str) -> StudySpec:
    """Validate the plain values of a study file; `where` names it in errors."""
    tables: dict[str, Any] = {}
    known = ("study", "compare", "space", "training", "search", "confirm", "throughput", "claims")
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
    claims = raw.get("claims", [])
    if not isinstance(claims, list):
        raise InputError(where, "claims", expected="tables headed [[claims]]", got=claims)
    tables["claims"] = tuple(
        _table(where, f"claims.{index}", Claim, claim) for index, claim in enumerate(claims)
    )
    _check_names(where, tables["study"].name, tables["compare"], tables["claims"])
    space, cell_space = _parse_space(where, raw.get("space", {}), tables["compare"])
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
    for name in (*space, *(each for table in cell_space.values() for each in table)):
        if name in training:
            raise InputError(
                where,
                name,
                expected="one place for each key",
                got=Shown("it stands in both [space] and [training]"),
                remedy="leave one of them out",
            )
    tables["training"] = tables["training"].model_copy(update=dict.fromkeys(space))
    spec = StudySpec(space=space, cell_space=cell_space, **tables)
    _check_sense(where, spec, raw)
    _check_budget(where, spec)
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
    remedy = ""
    annotation = model.model_fields[path[0]].annotation
    if first["type"] == "literal_error" and isinstance(got, str):
        words = [str(word) for word in getattr(annotation, "__args__", ())]
        expected, remedy = "one of " + ", ".join(words), nearest(got, words)
    return InputError(where, key, expected=expected, got=got, remedy=remedy)


def _check_names(where: str, name: str, compare: Compare, claims: tuple[Claim, ...]) -> None:
    """Names become files and folders: none may be empty, very long, a path or unprintable; labels are used once."""
    named = [("study.name", name)]
    named += [(f"compare.tasks.{index}", each) for index, each in enumerate(compare.tasks)]
    named += [(f"compare.cells.{index}", each) for index, each in enumerate(compare.cells)]
    for key, text in named:
        plain = (
            text.isprintable() and not set(text) & set('/\\:*?"<>|') and text == text.strip(" .")
        )
        reserved = text.partition(".")[0].upper() in RESERVED_NAMES
        if not plain or not text or reserved or len(text.encode()) > NAME_LENGTH:
            raise InputError(
                where,
                key,
                expected=f'a printable name of 1 to {NAME_LENGTH} bytes that starts and ends with no dot and has none of / \\ : * ? " < > |',
                got=Shown(repr(text[: NAME_LENGTH + 1])),
                remedy="Windows keeps it for a device" if reserved else "",
            )
    for key, values in (("compare.tasks", compare.tasks), ("compare.cells", compare.cells)):
        folded = [unicodedata.normalize("NFC", each).casefold() for each in values]
        for each, same in zip(values, folded, strict=True):
            if folded.count(same) > 1:  # some file systems keep one file for both
                raise InputError(where, key, expected="each name once, whatever its case", got=each)
    for label in compare.variants:
        if label not in compare.cells:
            raise InputError(
                where,
                f"compare.variants.{label}",
                expected="a name that compare.cells lists",
                got=label,
                remedy=nearest(label, compare.cells),
            )
    known = {*compare.cells, *compare.variants.values()}
    for index, claim in enumerate(claims):
        if claim.cell not in known:
            raise InputError(
                where,
                f"claims.{index}.cell",
                expected="a cell of this study",
                got=claim.cell,
                remedy=nearest(claim.cell, known),
            )


def _parse_space(
    where: str, raw: object, compare: Compare
) -> tuple[dict[str, Parameter], dict[str, dict[str, Parameter]]]:
    if not isinstance(raw, Mapping):
        raise InputError(where, "space", expected="a table", got=raw)
    labels = {*compare.cells, *compare.variants.values()}
    space: dict[str, Parameter] = {}
    cell_space: dict[str, dict[str, Parameter]] = {}
    for name, value in raw.items():
        if name in labels and name not in KINDS:
            if not isinstance(value, Mapping):
                raise InputError(where, f"space.{name}", expected="a table", got=value)
            cell_space[name] = {
                key: parse_parameter(where, f"space.{name}.{key}", key, each, KINDS.get(key))
                for key, each in value.items()
            }
        elif name in KINDS:
            space[name] = parse_parameter(where, f"space.{name}", name, value, KINDS[name])
        else:
            raise InputError(
                where,
                f"space.{name}",
                expected="a hyperparameter or a cell of this study",
                got=name,
                remedy=nearest(name, {*KINDS, *labels}),
            )
    return space, cell_space


def _check_budget(where: str, spec: StudySpec) -> None:
    for label in spec.compare.cells:
        fixed = spec.parameters(label)
        every, budget = numbers_of(fixed["evaluate_every"]), numbers_of(fixed["sequences"])
        if max(every) > min(budget):
            raise InputError(
                where,
                "training.evaluate_every",
                expected=f"at most training.sequences ({min(budget):,.0f})",
                got=int(max(every)),
                remedy="else nothing that a trial learns is evaluated",
            )


def _check_sense(where: str, spec: StudySpec, raw: Mapping[str, Any]) -> None:
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
    ):
        if list(rungs) != sorted(set(rungs)) or (not rungs and key == "sequence_lengths"):
            raise InputError(where, f"confirm.{key}", expected="numbers that rise", got=list(rungs))
    for label in spec.compare.cells:
        parameters = spec.parameters(label)
        derived = parameters["num_parameters"] != Fixed(0)
        tables = (spec.space, *(spec.cell_space.get(n, {}) for n in (spec.base_cell(label), label)))
        sized = spec.training.hidden_size is not None
        sized = sized or any("hidden_size" in table for table in tables)
        if derived and min(numbers_of(parameters["num_parameters"])) < 1:
            raise InputError(
                where,
                "space.num_parameters",
                expected="numbers >= 1 where it is searched (0, alone, is off)",
                got=parameters["num_parameters"].to_plain(),
            )
        if derived and sized:
            raise InputError(
                where,
                "training.num_parameters",
                expected="hidden_size left out where num_parameters derives it",
                got=Shown("both"),
                remedy="leave hidden_size out, or set num_parameters to 0",
            )
        for name in SPACE:
            if name not in parameters and not (name == "hidden_size" and derived):
                raise InputError(
                    where,
                    f"space.{name}",
                    expected="a range, a list or a value",
                    got=Shown("nothing"),
                    remedy=f"add {name} to [space], or to [training] to hold it fixed",
                )
        if spec.search.sampler == "grid":
            for name, parameter in parameters.items():
                if isinstance(parameter, Range):
                    raise InputError(
                        where,
                        f"space.{name}",
                        expected="a list, for the sampler grid",
                        got=parameter.to_plain(),
                        remedy="write the values as a list, or choose another sampler",
                    )


def _override(raw: dict[str, Any], override: str) -> None:
    """Apply one `KEY=VALUE` of --set; VALUE is TOML."""
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError("--set", expected="KEY=VALUE", got=override)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        raise InputError(
            "--set",
            key,
            expected="a TOML value",
            got=text,
            remedy="quote a text: " + f"{key}='\"{text}\"'",
        ) from None
    table: Any = raw
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError("--set", key, expected="a key of a table", got=part)
    table[last] = value
