"""The study file as frozen, validated data: tables, defaults, and what makes two studies the same. Never runs code.

`load` reads the file and checks what it says by itself; `check` holds it against the tasks, the cells and the memory that
are at hand. Both raise InputError: the file, the key, what was expected, what was got, the nearest valid name.
"""

from __future__ import annotations

import math
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pydantic
import tomli_w
from pydantic import Field, StrictFloat, StrictInt, StrictStr

from harness.errors import InputError, Shown, nearest
from harness.parameters import (
    INITIALIZATION,
    KINDS,
    SPACE,
    Choice,
    Fixed,
    Parameter,
    Range,
    Value,
    parse_parameter,
)

NAME_LENGTH = 80
RESERVED_NAMES = frozenset(  # files of these names do not exist on Windows
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10))}
)
LONGEST_LAG = 100_000  # on a ladder of lags, whose lengths are found by counting upward
Positive = Annotated[StrictInt, Field(ge=1, le=10**9)]
Seconds = Annotated[StrictFloat, Field(gt=0, le=1e9)]


class Table(pydantic.BaseModel):
    """A table of a study file: frozen, unknown keys are errors, no value is converted, no number is NaN or infinite."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class Study(Table):
    """[study]: what it is called and what it asks."""

    name: StrictStr
    question: StrictStr = ""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    print_evaluations: pydantic.StrictBool = False


class Compare(Table):
    """[compare]: the tasks and cells; `variants` gives a cell a further name, under which [space.<name>] may differ."""

    tasks: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    cells: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    variants: Mapping[StrictStr, StrictStr] = Field(default_factory=dict)


class Training(Table):
    """[training]: held fixed for every trial. A key of [space] may stand here instead, and the other way round."""

    batch_size: Value = 32
    sequences: Value = 20_000
    stop_when_solved: Value = True
    evaluate_every: Value = 1_600
    evaluation_sequences: Value = 1_000
    optimizer: Value = "adam"
    max_grad_norm: Value = 1.0
    num_parameters: Value = 0
    hidden_size: Value | None = None
    num_layers: Value | None = None
    learning_rate: Value | None = None
    sequence_length: Value | None = None
    initialization: Value | None = None


class Search(Table):
    """[search]: how Optuna searches, for each (task, cell), in each repeat."""

    trials: Positive = 12
    repeats: Annotated[StrictInt, Field(ge=1, le=1_000)] = 5
    objective: Literal["remembered_steps", "skill", "loss", "sequences_to_solve"] = (
        "remembered_steps"
    )
    sampler: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    trial_timeout_s: Seconds = 300.0
    trial_memory_bytes: Annotated[StrictInt, Field(ge=0, lt=2**60)] = 0


class Confirm(Table):
    """[confirm]: each search's winner, trained anew along a ladder of lengths, or of lags where those are given."""

    seeds: Annotated[StrictInt, Field(ge=0, le=10_000)] = 1
    sequence_lengths: tuple[Positive, ...] = (10, 20, 40, 80, 120, 200)
    lags: tuple[Positive, ...] = ()
    evaluation_sequences: Positive = 10_000


class Throughput(Table):
    """[throughput]: whether training steps are timed after everything else."""

    enabled: pydantic.StrictBool = True


class Claim(Table):
    """[[claims]]: a sentence in circulation that the report prints beside what this study found."""

    cell: StrictStr
    text: StrictStr
    lag: Positive
    relation: Literal["at_least", "at_most", "about"] = "about"
    source: StrictStr = ""


class StudySpec(Table):
    """A whole study. `space` and `cell_space` hold parsed parameters; `training` only what is not in [space]."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    study: Study
    compare: Compare
    space: Mapping[str, Parameter]
    cell_space: Mapping[str, Mapping[str, Parameter]]
    training: Training
    search: Search
    confirm: Confirm
    throughput: Throughput
    claims: tuple[Claim, ...] = ()

    def base_cell(self, label: str) -> str:
        """The cell that the label stands for: itself, unless it is a variant."""
        return self.compare.variants.get(label, label)

    def parameters(self, label: str) -> dict[str, Parameter]:
        """Every hyperparameter of a trial of this cell, fixed ones included, in the order of DESIGN's tables."""
        merged: dict[str, Parameter] = {
            name: Fixed(value)
            for name, value in self.training.model_dump(exclude_none=True).items()
        }
        merged |= self.space
        merged |= self.cell_space.get(self.base_cell(label), {})
        merged |= self.cell_space.get(label, {})
        if merged["num_parameters"] != Fixed(0):
            merged.pop("hidden_size", None)
        ordered = [name for name in KINDS if name in merged]
        return {name: merged[name] for name in [*ordered, *sorted(set(merged) - set(ordered))]}

    def searched_keys(self) -> tuple[str, ...]:
        """The hyperparameters that are columns of trials.csv: those of [space], and every other that is searched."""
        keys = dict.fromkeys(SPACE)
        for label in self.compare.cells:
            for name, parameter in self.parameters(label).items():
                if not isinstance(parameter, Fixed) or name not in KINDS:
                    keys[name] = None
        return tuple(keys)

    def to_plain(self) -> dict[str, Any]:
        """The resolved study file as plain values, every default written out."""
        space: dict[str, Any] = {name: each.to_plain() for name, each in self.space.items()}
        for label, parameters in self.cell_space.items():
            space[label] = {name: each.to_plain() for name, each in parameters.items()}
        training = self.training.model_dump(exclude_none=True)
        spaced = {*self.space, *(name for table in self.cell_space.values() for name in table)}
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
        if self.claims:
            plain["claims"] = [claim.model_dump() for claim in self.claims]
        return plain

    def dump(self) -> str:
        """The resolved study file as TOML; `load` reads it back as an equal spec."""
        return tomli_w.dumps(self.to_plain())

    def identity(self) -> dict[str, Any]:
        """What makes trials comparable: every key but those that may change when a study is resumed."""
        plain = self.to_plain()
        for free in ("confirm", "throughput", "claims"):
            plain.pop(free, None)
        for table, key in (
            ("study", "question"),
            ("study", "print_evaluations"),
            ("search", "trials"),
        ):
            del plain[table][key]
        return _flatten(plain)


def study_directory() -> Path:
    """Where the studies lie: beside the package in a clone, inside of it where a wheel was installed."""
    package = Path(__file__).parent
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
    return spec


class KnownTask(Protocol):
    """What `check` asks of a task."""

    @property
    def least_length(self) -> int: ...
    @property
    def input_size(self) -> int: ...
    @property
    def finite(self) -> int: ...
    def lag(self, sequence_length: int) -> int: ...


class KnownCell(Protocol):
    """What `check` asks of a cell."""

    @property
    def gates(self) -> int | None: ...
    @property
    def initializations(self) -> Mapping[str, Any]: ...
    @property
    def hyperparameters(self) -> Mapping[str, Any]: ...


def check(
    spec: StudySpec,
    where: str,
    tasks: Mapping[str, KnownTask],
    cells: Mapping[str, KnownCell],
    memory_bytes: int,
) -> StudySpec:
    """Hold a spec against what is at hand; returns it with the initialisations that do not apply to a cell removed.

    Raises InputError for an unknown task or cell, a length too short for its task, and a size whose memory cannot fit.
    """
    for index, name in enumerate(spec.compare.tasks):
        _known(where, f"compare.tasks.{index}", "task", name, tasks)
    for index, label in enumerate(spec.compare.cells):
        key = f"compare.variants.{label}" if label in spec.compare.variants else "compare.cells"
        key = key if label in spec.compare.variants else f"{key}.{index}"
        _known(where, key, "cell", spec.base_cell(label), cells)
        if label in cells and spec.base_cell(label) != label:
            raise InputError(
                where, key, expected="a name of its own, not that of another cell", got=label
            )
    cell_space = {label: dict(table) for label, table in spec.cell_space.items()}
    for label in spec.compare.cells:
        cell = cells[spec.base_cell(label)]
        parameters = spec.parameters(label)
        for name in parameters:
            if name not in KINDS and name not in cell.hyperparameters:
                raise InputError(
                    where,
                    f"space.{label}.{name}",
                    expected=f"a hyperparameter of {spec.base_cell(label)}",
                    got=name,
                    remedy=nearest(name, {*KINDS, *cell.hyperparameters}),
                )
        known = {name for each in cells.values() for name in each.initializations}
        applying = _applying(where, label, parameters[INITIALIZATION], cell, known)
        if applying != parameters[INITIALIZATION]:
            cell_space.setdefault(label, {})[INITIALIZATION] = applying
        for name in spec.compare.tasks:
            lengths = _numbers(parameters["sequence_length"])
            _check_lengths(where, spec, name, tasks[name], lengths)
            lengths += ladder(spec, tasks[name]) if spec.confirm.seeds else ()
            longest = parameters | {"sequence_length": Fixed(max(lengths))}
            needed = _largest_trial(longest, tasks[name].input_size, cell.gates or 4)
            _check_memory(where, label, needed, memory_bytes)
    return spec.model_copy(update={"cell_space": cell_space})


def ladder(spec: StudySpec, task: KnownTask) -> tuple[int, ...]:
    """The lengths at which winners are confirmed: as given, or for each lag the least length that has it."""
    if not spec.confirm.lags:
        return spec.confirm.sequence_lengths
    lengths = []
    for lag in spec.confirm.lags:
        length = task.least_length
        while task.lag(length) < lag and length < 10 * LONGEST_LAG:
            length += 1
        lengths.append(length)
    return tuple(dict.fromkeys(lengths))


def notes(spec: StudySpec, tasks: Mapping[str, KnownTask]) -> tuple[str, ...]:
    """What is allowed and yet worth a word before the study starts."""
    found = []
    if spec.confirm.seeds:
        longest = max(
            max(_numbers(spec.parameters(label)["sequence_length"])) for label in spec.compare.cells
        )
        for name in spec.compare.tasks:
            top = max(ladder(spec, tasks[name]))
            if top < longest:
                found.append(
                    f"the confirmation ladder of {name} ends at length {top}, below the "
                    f"{longest:g} that is searched: a span beyond it cannot be seen"
                )
    training = spec.training
    if isinstance(training.sequences, int) and isinstance(training.evaluate_every, int):
        rest = training.sequences % training.evaluate_every
        if rest and not any(tasks[name].finite for name in spec.compare.tasks):
            found.append(
                f"training.sequences is no multiple of training.evaluate_every: the last {rest} sequences are "
                "trained on and not scored"
            )
    return tuple(dict.fromkeys(found))


def count_trials(spec: StudySpec, tasks: Mapping[str, KnownTask]) -> tuple[int, int]:
    """Trials of the search, and runs of the confirmation."""
    searched = confirmed = 0
    for label in spec.compare.cells:
        trials = spec.search.trials
        if spec.search.sampler == "grid":
            points = (len(parameter.values()) for parameter in spec.parameters(label).values())
            trials = min(trials, math.prod(points))
        for name in spec.compare.tasks:
            searched += trials * spec.search.repeats
            confirmed += len(ladder(spec, tasks[name])) * spec.confirm.seeds * spec.search.repeats
    return searched, confirmed


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
        if derived and min(_numbers(parameters["num_parameters"])) < 1:
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


def _known(where: str, key: str, what: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise InputError(
            where, key, expected=f"a known {what}", got=name, remedy=nearest(name, known)
        )


def _applying(
    where: str, label: str, wanted: Parameter, cell: KnownCell, known: set[str]
) -> Parameter:
    names = [str(value) for value in wanted.values()]
    for name in names:
        if name not in known:
            _known(where, f"space.{INITIALIZATION}", INITIALIZATION, name, dict.fromkeys(known))
    applying = tuple(name for name in names if name in cell.initializations)
    if not applying:
        raise InputError(
            where,
            f"space.{INITIALIZATION}",
            expected=f"an initialisation that {label} has ({', '.join(cell.initializations)})",
            got=wanted.to_plain(),
        )
    return Choice(applying) if isinstance(wanted, Choice) else Fixed(applying[0])


def _numbers(parameter: Parameter) -> list[float]:
    return [float(value) for value in parameter.values() if not isinstance(value, str)]


def _check_lengths(
    where: str, spec: StudySpec, name: str, task: KnownTask, lengths: Sequence[float]
) -> None:
    """Refuse lengths, searched or on the ladder, that the task does not have, and lags that it never reaches."""
    places = [("space.sequence_length", lengths)]
    if spec.confirm.seeds and not spec.confirm.lags:
        places.append(("confirm.sequence_lengths", spec.confirm.sequence_lengths))
    for key, each in places:
        if min(each) < task.least_length:
            raise InputError(
                where,
                key,
                expected=f"at least {task.least_length} for the task {name}",
                got=int(min(each)),
                remedy=f"raise it to {task.least_length}",
            )
        if task.finite and max(each) > task.least_length:
            raise InputError(
                where,
                key,
                expected=f"{task.least_length}, the length of the fixed sequences of the task {name}",
                got=int(max(each)),
                remedy="" if key.startswith("space") else "set confirm.seeds = 0 to skip it",
            )
    for lag in spec.confirm.lags if spec.confirm.seeds else ():
        if lag > LONGEST_LAG or task.lag(max(ladder(spec, task))) < lag:
            raise InputError(
                where,
                "confirm.lags",
                expected=f"lags that the task {name} has, up to {LONGEST_LAG:,}",
                got=lag,
            )


def _check_memory(where: str, label: str, needed: tuple[int, str], memory_bytes: int) -> None:
    """Refuse the largest trial of a cell where it cannot fit."""
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
    parameters: Mapping[str, Parameter], input_size: int, gates: int
) -> tuple[int, str]:
    """About how many bytes the largest trial needs: weights, gradients, two moments, and the activations of its steps."""
    names = ("hidden_size", "num_layers", "sequence_length", "batch_size")
    largest = {
        name: int(max(_numbers(parameters[name]))) if name in parameters else 1 for name in names
    }
    hidden, layers = largest["hidden_size"], largest["num_layers"]
    wanted = int(max(_numbers(parameters["num_parameters"])))
    if wanted:  # hidden_size is derived from it: about the root of its share of a recurrent block
        hidden = largest["hidden_size"] = max(1, math.isqrt(wanted // (gates * (2 * layers - 1))))
    weights = gates * (hidden * input_size + hidden * hidden + (layers - 1) * 2 * hidden**2)
    weights = max(weights, wanted)
    steps = largest["batch_size"] * largest["sequence_length"]
    needed = 4 * (4 * weights + steps * (input_size + layers * (gates + 2) * hidden))
    return needed, ", ".join(f"{name} {value:,}" for name, value in largest.items())


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


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
