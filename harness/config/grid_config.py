"""The grid file as frozen, validated data: which training steps are timed, at which shapes.

A grid is a point, [shape], and blocks [[vary]]: each is the product of its lists, with [shape] for
the rest. `grid_groups` lists its benchmarks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pydantic
import tomli_w
from pydantic import Field, StrictFloat, StrictInt, StrictStr

from harness.config.feasibility import KnownTask
from harness.config.find_studies import GRID, check_kind, find_file, list_files
from harness.config.toml_file import read_settings, visible_toml
from harness.config.toml_tables import ConfigTable, check_known, check_tables, read_rows, read_table
from harness.config.validation import check_name, check_once
from harness.errors import InputError, Shown
from harness.hyperparameters import LARGEST_COUNT

MOST_GRID_BENCHMARKS = 100_000  # more than a day where each takes a second
SIZES = ("hidden_size", "num_layers", "sequence_length", "batch_size")

Size = Annotated[StrictInt, Field(ge=1, le=LARGEST_COUNT)]
Layers = Annotated[StrictInt, Field(ge=1, le=1_000)]
TrainingMeasure = Literal["training_step", "forward_backward", "forward"]
Names = Annotated[tuple[StrictStr, ...], Field(min_length=1)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1)]


class GridTable(ConfigTable):
    """[grid]: its name and its question."""

    name: StrictStr
    question: StrictStr = ""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0


class GridCompareTable(ConfigTable):
    """[compare]: cells, variants of the step, and which part of a step is timed."""

    cells: Names
    variants: Names = ("plain", "tuned")
    measures: Annotated[tuple[TrainingMeasure, ...], Field(min_length=1)] = ("training_step",)


class ShapeTable(ConfigTable):
    """[shape]: the values of everything that a block does not vary."""

    task: StrictStr = "temporal_order"
    hidden_size: Size = 32
    num_layers: Layers = 1
    sequence_length: Size = 100
    batch_size: Size = 32
    initialization: StrictStr = "pytorch"
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Annotated[StrictFloat, Field(gt=0, le=1e9)] = 1e-3
    max_grad_norm: Annotated[StrictFloat, Field(ge=0, le=1e9)] = 1.0


class VaryTable(ConfigTable):
    """[[vary]]: lists whose product is timed; missing ones come from [shape] or [compare]."""

    hidden_size: Sizes | None = None
    num_layers: Annotated[tuple[Layers, ...], Field(min_length=1)] | None = None
    sequence_length: Sizes | None = None
    batch_size: Sizes | None = None
    initialization: Names | None = None
    cells: Names | None = None
    variants: Names | None = None
    measures: Annotated[tuple[TrainingMeasure, ...], Field(min_length=1)] | None = None


class TimingTable(ConfigTable):
    """[timing]: blocks of about `block_s` seconds for each benchmark.

    `time_budget_s` > 0 ends a group's rounds early.
    """

    n_blocks: Annotated[StrictInt, Field(ge=1, le=10_000)] = 11
    block_s: Annotated[StrictFloat, Field(gt=1e-6, le=60)] = 0.04
    time_budget_s: Annotated[StrictFloat, Field(ge=0, le=1e6)] = 0.0
    memory: pydantic.StrictBool = True


class InferenceTable(ConfigTable):
    """[inference]: calls of the network, one sequence at a time, one thread (--mode inference).

    `n_calls` of each; `time_budget_s` > 0 ends a group's rounds early.
    """

    dtypes: Annotated[tuple[Literal["float32", "bfloat16", "int8"], ...], Field(min_length=1)] = (
        "float32",
        "bfloat16",
        "int8",
    )
    measures: Annotated[tuple[Literal["step", "sequence"], ...], Field(min_length=1)] = (
        "step",
        "sequence",
    )
    n_calls: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 1_000
    time_budget_s: Annotated[StrictFloat, Field(ge=0, le=1e6)] = 0.0


TABLES: Mapping[str, type[ConfigTable]] = {
    "grid": GridTable,
    "compare": GridCompareTable,
    "shape": ShapeTable,
    "timing": TimingTable,
    "inference": InferenceTable,
}


@dataclasses.dataclass(frozen=True)
class GridSpec:
    """A whole grid file, checked by itself; `check_grid` checks it against tasks and cells."""

    grid: GridTable
    compare: GridCompareTable
    shape: ShapeTable
    vary: tuple[VaryTable, ...]
    timing: TimingTable
    inference: InferenceTable

    def to_plain(self) -> dict[str, Any]:
        """The resolved grid file as plain values, every default written out."""
        plain: dict[str, Any] = {name: getattr(self, name).model_dump() for name in TABLES}
        if self.vary:
            plain["vary"] = [each.model_dump(exclude_none=True) for each in self.vary]
        return plain

    def dump(self) -> str:
        """The resolved grid file as TOML; `load_grid` reads it back as an equal spec."""
        return visible_toml(tomli_w.dumps(self.to_plain()))

    def with_variants(self, names: Sequence[str]) -> GridSpec:
        """The grid with these variants only.

        A block with its own list keeps those that it names, and is left out where none remains.
        """
        kept = []
        for block in self.vary:
            own = block.variants and tuple(each for each in block.variants if each in names)
            if own != ():
                kept.append(block.model_copy(update={"variants": own}))
        compare = self.compare.model_copy(update={"variants": tuple(names)})
        return dataclasses.replace(self, compare=compare, vary=tuple(kept))

    def blocks(self) -> Iterator[tuple[str, dict[str, Sequence[Any]]]]:
        """Each block: its key in errors, and the values of everything that may vary."""
        fixed: dict[str, Sequence[Any]] = {
            name: (getattr(self.shape, name),) for name in (*SIZES, "initialization")
        }
        fixed |= {name: getattr(self.compare, name) for name in ("cells", "variants", "measures")}
        if not self.vary:
            yield "shape", fixed
        for index, block in enumerate(self.vary):
            yield f"vary.{index}", fixed | block.model_dump(exclude_none=True)


class InitializedCell(Protocol):
    """What a grid needs of a cell."""

    @property
    def initializations(self) -> Mapping[str, Any]: ...


def list_grids() -> dict[str, str]:
    """The names of the grids in the studies folder, each with its question."""
    return list_files(GRID)


def find_grid(name: str) -> Path:
    """The file of a grid: a path that ends in .toml, or a name in the studies folder.

    Raises InputError with the nearest name where there is none.
    """
    return find_file(GRID, name)


def load_grid(path: Path, overrides: Sequence[str] = ()) -> GridSpec:
    """Read a grid file, with `KEY=VALUE` overrides applied.

    Raises InputError for the first error.
    """
    return parse_grid(read_settings(path, overrides), path.name)


def parse_grid(raw: Mapping[str, Any], where: str) -> GridSpec:
    """Validate the plain values of a grid file; `where` names it in errors."""
    check_kind(GRID, raw, where)
    check_tables(where, raw, (*TABLES, "vary"))
    tables = {
        name: read_table(where, name, table, raw.get(name, {})) for name, table in TABLES.items()
    }
    spec = GridSpec(vary=read_rows(where, "vary", VaryTable, raw.get("vary", [])), **tables)
    check_name(where, "grid.name", spec.grid.name)
    check_once(where, "compare.cells", spec.compare.cells)
    _check_number(where, spec)
    return spec


def check_grid(
    spec: GridSpec,
    where: str,
    tasks: Mapping[str, KnownTask],
    cells: Mapping[str, InitializedCell],
) -> None:
    """Check a grid against the available tasks and cells.

    Raises InputError for an unknown task, cell or initialisation, for a length that the task does
    not have, and for a cell that has none of the initialisations.
    """
    check_known(where, "shape.task", "task", spec.shape.task, tasks)
    task = tasks[spec.shape.task]
    known = dict.fromkeys(name for cell in cells.values() for name in cell.initializations)
    timed = set()
    for key, block in spec.blocks():
        for name in block["cells"]:
            at = f"{key}.cells" if key != "shape" else "compare.cells"
            check_known(where, at, "cell", name, cells)
        for name in block["initialization"]:
            check_known(where, f"{key}.initialization", "initialisation", name, known)
            timed |= {cell for cell in block["cells"] if name in cells[cell].initializations}
        for length in block["sequence_length"]:
            _check_length(where, f"{key}.sequence_length", spec.shape.task, task, length)
    listed = {name for _, block in spec.blocks() for name in block["cells"]}
    for name in sorted(listed - timed):
        own = ", ".join(cells[name].initializations)
        raise InputError(
            where,
            "shape.initialization",
            expected=f"one that {name} has ({own}), somewhere in the grid",
            got=spec.shape.initialization,
        )


def _check_number(where: str, spec: GridSpec) -> None:
    """Refuse a grid of too many benchmarks, before they are listed."""
    number = sum(math.prod(len(values) for values in block.values()) for _, block in spec.blocks())
    if number > MOST_GRID_BENCHMARKS:
        raise InputError(
            where,
            "vary",
            expected=f"at most {MOST_GRID_BENCHMARKS:,} benchmarks",
            got=Shown(f"{number:,}"),
            remedy="shorten its lists",
        )


def _check_length(where: str, key: str, name: str, task: KnownTask, length: int) -> None:
    least = task.least_length
    if length < least or (task.finite and length != least):
        expected = f"at least {least} for the task {name}"
        if task.finite:
            expected = f"{least}, the length of the fixed sequences of the task {name}"
        raise InputError(where, key, expected=expected, got=length)
