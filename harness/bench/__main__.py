"""`python -m harness.bench [GRID]`: reads the command line and starts a bench.

Heavy imports are inside the functions, so that --help answers at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness import cli
from harness.errors import InputError, printable

if TYPE_CHECKING:
    from harness.bench.run import BenchOptions
    from harness.config import GridSpec

INCOMPLETE = 3  # as of a study: finished, but some cell has no result
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=cli.LineCommand)
def bench(  # one parameter for each option of the command
    name: Annotated[
        str, typer.Argument(metavar="[GRID]", help="A TOML file, or a name that --list shows.")
    ] = "bench_quick",
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="auto, cpu, cuda or cuda:I; repeatable. auto: the CPU and the first CUDA device.",
        ),
    ] = None,
    variants: Annotated[
        str, typer.Option(metavar="A,B", help="These ways of running a step only.")
    ] = "",
    mode: Annotated[str, typer.Option(help="training or inference.")] = "training",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the grid file, dotted."),
    ] = None,
    plugins: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="MODULE", help="Import a module that registers more."),
    ] = None,
    results: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=cli.results_folder, help="Where results go."),
    ] = Path("results"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print throughput.json, or inference.json, alone.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; old results are moved aside.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved grid; measure nothing.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="Print the grids, cells, variants and devices.")
    ] = False,
) -> None:
    """Measure how fast each cell trains here, what limits it, and what would make it faster.

    Run the same command again to resume.
    """
    again = cli.typed("bench", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        if list_all:
            _list(plugins or [])
            return
        if mode not in ("training", "inference"):
            raise InputError("--mode", expected="training or inference", got=mode)
        chosen: Literal["training", "inference"] = "training" if mode == "training" else "inference"
        spec, where = _load(name, settings or [], plugins or [])
        if variants and chosen == "inference":
            raise InputError(
                "--variants",
                expected="no variants with --mode inference, which times calls of a network",
                got=variants,
                remedy="leave the option out",
            )
        if variants:
            from harness.timing.variants import parse_variant

            names = [each.strip() for each in variants.split(",")]
            for each in names:  # a grid leaves out what its blocks do not name
                parse_variant(each, "--variants")
            spec = spec.with_variants(names)
        from harness.bench.run import BenchOptions, resolve_devices

        options = BenchOptions(
            results=results,
            devices=resolve_devices(devices or [], chosen),
            mode=chosen,
            plugins=tuple(plugins or ()),
            fresh=fresh,
            command=cli.typed("bench"),
            where=where,
        )
        if dry_run:
            _describe(spec, options)
            return
        code, answer = _run(spec, options, as_json=as_json)
    if as_json and answer is not None:
        typer.echo(json.dumps(json.loads(answer.read_text(encoding="utf-8")), indent=1))
    raise typer.Exit(code)


def _load(name: str, overrides: list[str], plugins: list[str]) -> tuple[GridSpec, str]:
    """The grid of that name or file, checked against the cells and tasks that exist here."""
    from harness import cells, tasks
    from harness import config as specs
    from harness.plugins import load_plugins, offered

    path = specs.find_grid(name)
    load_plugins(plugins)
    spec = specs.load_grid(path, overrides)
    if spec.shape.task in offered(tasks.TASK_ENTRY_POINTS):
        tasks.get_task(spec.shape.task)
    named = {cell for _, block in spec.blocks() for cell in block["cells"]}
    for cell in sorted(named & {*offered(cells.CELL_ENTRY_POINTS)}):
        cells.get_cell(cell)
    specs.check_grid(spec, path.name, tasks.TASKS, cells.CELLS)
    return spec, path.name


def _describe(spec: GridSpec, options: BenchOptions) -> None:
    """--dry-run: the resolved grid, its number of benchmarks, and what is unavailable here."""
    from harness.bench.run import check_bench, unavailable_variants

    groups = check_bench(spec, options)
    typer.echo(spec.dump())
    number = sum(len(group.benchmarks) for group in groups)
    typer.echo(f"# {number} benchmarks in {len(groups)} groups on {', '.join(options.devices)}")
    for name, reason in unavailable_variants(groups).items():
        typer.echo(f"# unavailable here: {printable(f'{name} ({reason})')}")


def _list(plugins: list[str]) -> None:
    """--list: what can be measured here; what installed packages offer is not loaded."""
    from harness import cells, tasks, timing
    from harness.bench.run import resolve_devices
    from harness.config import list_grids
    from harness.plugins import load_plugins, offered
    from harness.timing.variants import COUNTED, FIXED

    load_plugins(plugins)
    devices = resolve_devices([], "training")
    more = [
        f"{name}: offered by {package}"
        for group, known in (
            (cells.CELL_ENTRY_POINTS, cells.CELLS),
            (tasks.TASK_ENTRY_POINTS, tasks.TASKS),
        )
        for name, package in offered(group).items()
        if name not in known
    ]
    ways = []
    for way in (*FIXED, *(f"{kind}=2" for kind in COUNTED)):
        reasons = {device: timing.unavailable(way, device) for device in devices}
        absent = [f"not on {device}: {reason}" for device, reason in reasons.items() if reason]
        ways.append(f"{way}: {'; '.join(absent)}" if absent else way)
    for title, names in (
        ("grids", [f"{name}: {question}" for name, question in list_grids().items()]),
        ("cells", [*cells.CELLS]),
        ("tasks", [*tasks.TASKS]),
        ("offered by packages", more),
        ("variants", ways),
        ("devices", list(devices)),
    ):
        if names:
            typer.echo(title)
        for each in names:
            typer.echo(f"  {printable(each)}")


def _run(spec: GridSpec, options: BenchOptions, *, as_json: bool) -> tuple[int, Path | None]:
    """Run the bench with its console; returns the exit code and the JSON file."""
    from harness.bench.run import check_bench, run_bench, unavailable_variants
    from harness.bench.terminal_output import open_bench_console

    with open_bench_console(spec, on_stderr=as_json) as console:
        for name, reason in unavailable_variants(check_bench(spec, options)).items():
            console.note(f"{name} is unavailable here: {reason}")
        try:
            outcome = run_bench(spec, options, console)
        except KeyboardInterrupt:
            console.interrupted(cli.typed("bench", whole_paths=True))
            return cli.INTERRUPTED, None
        console.done_with(outcome)
    return (INCOMPLETE if outcome.missing else 0), outcome.json_path


def main() -> None:
    """Run the command; the processes that time never import this module."""
    cli.run(app)


if __name__ == "__main__":
    main()
