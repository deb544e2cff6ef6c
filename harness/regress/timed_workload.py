"""What is timed on every side: the benchmarks of a grid, or a file of training steps.

`resolve_workload` turns what the user gives into what a side can run. It times nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import cells, config, tasks
from harness.errors import InputError, Shown
from harness.machine import resolve_device
from harness.plugins import load_plugins, offered
from harness.regress.sides.side import Side
from harness.timing.variants import parse_variant

DEFAULT_SUITE: Final = "regress_suite"

USUAL: Final = {"measure": "training_step", "variant": "tuned", "initialization": "pytorch"} | {
    "device": "cpu"
}
"""Values that a benchmark's short name leaves out."""


@dataclass(frozen=True)
class Workload:
    """What the user wants timed: a grid (`suite`) or a file of steps, "" where not given."""

    suite: str = ""
    steps: str = ""
    device: str = "cpu"
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolvedWorkload:
    """What every side runs: a file of steps, or the benchmarks of a grid and their plug-ins."""

    steps: Path | None = None
    benchmarks: tuple[Mapping[str, Any], ...] = ()
    plugins: tuple[str, ...] = ()


def resolve_workload(workload: Workload, sides: tuple[Side, ...], here: Path) -> ResolvedWorkload:
    """Find the file of steps or the benchmarks, seen from the folder `here`.

    Raises InputError for a file that does not exist and a grid that cannot be timed this way.
    """
    if workload.steps and workload.suite:
        raise InputError("--steps", expected="either --steps or --suite", got=Shown("both"))
    if workload.steps:
        path = here / workload.steps
        if not path.is_file():
            got = Shown(f"{workload.steps}: {'a folder' if path.is_dir() else 'no such file'}")
            raise InputError("--steps", expected="a Python file", got=got)
        return ResolvedWorkload(steps=path, plugins=workload.plugins)
    plugged = [side.value for side in sides if side.kind == "plugin"]
    if plugged and not workload.suite:
        remedy = "give --suite GRID, a grid with the plug-in's cells"
        raise InputError("--suite", expected="a grid", got=Shown("none"), remedy=remedy)
    # Two versions of a plug-in register the same names: the first says which cells there are
    load_plugins([*workload.plugins, *plugged[:1]])
    device = resolve_device(workload.device)
    benchmarks = suite_benchmarks(workload.suite or DEFAULT_SUITE, device)
    return ResolvedWorkload(benchmarks=benchmarks, plugins=workload.plugins)


def suite_benchmarks(name: str, device: str) -> tuple[Mapping[str, Any], ...]:
    """The benchmarks of a grid, named as temporal_order/lstm/h16/t30/b16.

    A name does not change when the grid grows.
    """
    path = config.find_grid(name)
    spec = config.load_grid(path)
    if spec.shape.task in offered(tasks.TASK_ENTRY_POINTS):
        tasks.get_task(spec.shape.task)
    named = {cell for _, block in spec.blocks() for cell in block["cells"]}
    for cell in sorted(named & {*offered(cells.CELL_ENTRY_POINTS)}):
        cells.get_cell(cell)
    config.check_grid(spec, path.name, tasks.TASKS, cells.CELLS)
    found = [
        {**each, "name": _short_name(each)}
        for group in config.training_groups(spec, cells.CELLS, device)
        for each in group.benchmarks
    ]
    for each in found:
        variant = parse_variant(each["variant"], f"{path.name}: variants")
        one = (variant.n_threads, variant.n_processes) == (1, 1)
        if not (one and variant.flush_denormals and variant.keep_memory):
            expected = "variants of one thread, with denormals flushed, as tuned"
            raise InputError(path.name, "variants", expected=expected, got=each["variant"])
    return tuple(found)


def _short_name(benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name without the values in USUAL."""
    words = [benchmark[key] for key in USUAL if benchmark[key] != USUAL[key]]
    layers = benchmark["num_layers"]
    sizes = [f"h{benchmark['hidden_size']}", *([f"l{layers}"] if layers > 1 else [])]
    sizes += [f"t{benchmark['sequence_length']}", f"b{benchmark['batch_size']}"]
    return "/".join([benchmark["task"], benchmark["cell"], *words, *sizes])
