"""A comparison of two sides, in order: sides, what is timed, places, rounds, files, report.

Decides nothing itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness import cells, tasks
from harness import config as specs
from harness.errors import InputError, Shown
from harness.machine import resolve_device
from harness.plugins import load_plugins, offered
from harness.regress.compare.records import write_comparison
from harness.regress.compare.report import render_comparison
from harness.regress.measuring import comparison_runner
from harness.regress.measuring.comparison_runner import (
    CompareConfig,
    Comparison,
    SamplingPlan,
    Watcher,
)
from harness.regress.sides import target
from harness.regress.sides.side import Side, find_repository, parse_side
from harness.regress.sides.workspace import workspace
from harness.regress.verdict.decision_rules import Rules, parse_detect
from harness.regress.verdict.verdicts import FailOn
from harness.timing.variants import parse_variant

SUITE = "regress_suite"
USUAL = {"measure": "training_step", "variant": "tuned", "initialization": "pytorch"}
USUAL |= {"device": "cpu"}


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """What the command line said.

    `steps` and `suite` are "" where they were not given, and so is `results`.

    `pace` and `rules` are those of the design unless a caller has others.
    """

    base: str
    head: str = "."
    suite: str = ""
    steps: str = ""
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    detect: str = "5%"
    install: str = ""
    accept: tuple[str, ...] = ()
    fail_on: Collection[FailOn] = ()
    results: Path | None = None
    command: str = ""
    here: Path = dataclasses.field(default_factory=Path.cwd)
    pace: SamplingPlan = dataclasses.field(default_factory=SamplingPlan)
    rules: Rules | None = None
    memory: bool = True


@dataclasses.dataclass(frozen=True)
class CompareOutcome:
    """What came out, as comparison.json has it, and where its files are."""

    plain: Mapping[str, Any]
    directory: Path
    report: Path
    exit_code: int


def run_compare(options: CompareOptions, watcher: Watcher) -> CompareOutcome:
    """Compare two sides and write what came out.

    Raises InputError for bad input, before anything is timed.
    """
    detect = parse_detect(options.detect)
    base = parse_side("--base", options.base, options.here)
    head = parse_side("--head", options.head, options.here)
    task = resolve_task(options, (base, head))
    asked = CompareConfig(detect, options.accept, options.pace, options.memory, options.rules)
    with workspace(find_repository(options.here)) as space:
        ground = target.TargetContext(space, task, options.here, options.install)
        watcher.step("preparing both sides")
        base_place = target.make_place("base", base, ground)
        head_place = target.make_place("head", head, ground)
        comparison = comparison_runner.compare(base_place, head_place, asked, watcher)
        notes = _notes(base_place, head_place, task)
    return _finish(comparison, (base, head), options, notes)


def resolve_task(options: CompareOptions, sides: tuple[Side, ...]) -> target.Task:
    """What is timed. Raises InputError for a file that isn't there, and for a grid that can't be timed so."""
    if options.steps and options.suite:
        raise InputError("--steps", expected="either --steps or --suite", got=Shown("both"))
    if options.steps:
        path = options.here / options.steps
        if not path.is_file():
            raise InputError(
                "--steps", expected="a Python file", got=Shown(f"{options.steps}: no such file")
            )
        return target.Task(steps=path, plugins=options.plugins)
    plugged = [side.value for side in sides if side.kind == "plugin"]
    if plugged and not options.suite:
        remedy = "give --suite GRID, a grid with the plug-in's cells"
        raise InputError("--suite", expected="a grid", got=Shown("none"), remedy=remedy)
    # two versions of a plug-in register one name: the first says which cells there are
    load_plugins([*options.plugins, *plugged[:1]])
    benchmarks = suite_benchmarks(options.suite or SUITE, resolve_device(options.device))
    return target.Task(benchmarks=benchmarks, plugins=options.plugins)


def suite_benchmarks(name: str, device: str) -> tuple[Mapping[str, Any], ...]:
    """The benchmarks of a grid under short names, which don't change when the grid grows.

    temporal_order/lstm/h16/t30/b16.
    """
    path = specs.find_grid(name)
    spec = specs.load_grid(path)
    if spec.shape.task in offered(tasks.GROUP):
        tasks.get_task(spec.shape.task)
    named = {cell for _, block in spec.blocks() for cell in block["cells"]}
    for cell in sorted(named & {*offered(cells.GROUP)}):
        cells.get_cell(cell)
    specs.check_grid_spec(spec, path.name, tasks.TASKS, cells.CELLS)
    found = [
        {**each, "name": _short(each)}
        for group in specs.training_groups(spec, cells.CELLS, device)
        for each in group.benchmarks
    ]
    for each in found:
        variant = parse_variant(each["variant"], f"{path.name}: variants")
        one = (variant.n_threads, variant.n_processes) == (1, 1)
        if not (one and variant.flush_denormals and variant.keep_memory):
            expected = "variants of one thread, with denormals flushed, as tuned"
            raise InputError(path.name, "variants", expected=expected, got=each["variant"])
    return tuple(found)


def _short(benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name without what is as usual."""
    words = [benchmark[key] for key in USUAL if benchmark[key] != USUAL[key]]
    layers = benchmark["num_layers"]
    sizes = [f"h{benchmark['hidden_size']}", *([f"l{layers}"] if layers > 1 else [])]
    sizes += [f"t{benchmark['sequence_length']}", f"b{benchmark['batch_size']}"]
    return "/".join([benchmark["task"], benchmark["cell"], *words, *sizes])


def _notes(base: target.Target, head: target.Target, task: target.Task) -> tuple[str, ...]:
    """What a reader should know about how it was timed."""
    if task.steps is None or base.steps.read_bytes() == head.steps.read_bytes():
        return ()
    return (f"{task.steps.name} differs between the sides: each was timed with its own version",)


def _finish(
    comparison: Comparison,
    sides: tuple[Side, Side],
    options: CompareOptions,
    notes: tuple[str, ...],
) -> CompareOutcome:
    directory = options.results or Path("results", "regress", f"{sides[0].slug}-{sides[1].slug}")
    code = comparison.exit_code(options.fail_on)
    plain = write_comparison(
        directory, comparison, sides, {"command": options.command, "notes": notes}, code
    )
    return CompareOutcome(plain, directory, render_comparison(directory).html, code)
