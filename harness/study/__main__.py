"""`python -m harness.study [STUDY]`: search, confirm, time, report.

Reads the command line only. Heavy imports are inside the functions, so that --help is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import cli
from harness.errors import InputError, Shown, printable

if TYPE_CHECKING:
    from harness.config import StudySpec
    from harness.study.run_context import StudyOptions

WITHOUT_RESULT = 3
MOST_WORKERS = 4_096  # processes: more than the largest machine has cores
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=cli.LineCommand)
def study(  # one parameter for each option of the command
    name: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="A TOML file, or a name that --list shows.")
    ] = "quickstart",
    trials: Annotated[
        int | None, typer.Option(help="Trials for each (task, cell), in each repeat: a total.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, help="Trials at the same time. Default: the cores; on CUDA 1."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the whole study.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:I.")] = "auto",
    results: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=cli.results_folder, help="Where results go."),
    ] = Path("results"),
    storage: Annotated[
        str, typer.Option(help="Any Optuna storage URL. Default: SQLite in the results.")
    ] = "",
    executor: Annotated[str, typer.Option(help="local (ray comes later).")] = "local",
    ray_address: Annotated[str, typer.Option(help="Address of a Ray cluster.")] = "",
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Stop starting trials after so many seconds, then confirm."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study file, dotted."),
    ] = None,
    plugins: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="MODULE", help="Import a module that registers more."),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="One trial in flight each; no time limits.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; old results are moved aside.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved study; run nothing.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="Print the studies, tasks and cells.")
    ] = False,
) -> None:
    """How many steps back does each tuned recurrent cell remember, and how fast does it train?

    Searches, confirms, times and reports. Run the same command again to resume.
    """
    again = _command(storage, whole_paths=True)
    with cli.signals(again), cli.errors(again):
        _refuse_ray(executor, ray_address)
        if list_all:
            _list(plugins or [])
            return
        overrides = [*(settings or [])]
        overrides += [] if trials is None else [f"search.trials={trials}"]
        overrides += [] if seed is None else [f"study.seed={seed}"]
        if dry_run:
            spec, _, remarks = _load(name, overrides, plugins or [])
            _describe(spec, remarks)
            return
        from harness.study.execution.prewarmed_server import start_prewarmed_server

        with start_prewarmed_server() as standby:
            spec, where, remarks = _load(name, overrides, plugins or [])
            from harness.machine import num_cores, resolve_device
            from harness.study.run_context import StudyOptions

            resolved = resolve_device(device)
            code = _run(
                spec,
                StudyOptions(
                    results=results,
                    device=resolved,
                    workers=workers or (num_cores() if resolved == "cpu" else 1),
                    storage=storage,
                    timeout_s=timeout,
                    plugins=tuple(plugins or ()),
                    deterministic=deterministic,
                    fresh=fresh,
                    command=_command(storage),
                    where=where,
                    standby=standby,
                ),
                remarks,
            )
    raise typer.Exit(code)


def _refuse_ray(executor: str, ray_address: str) -> None:
    if executor != "local" or ray_address:
        raise InputError(
            "--executor",
            expected="local",
            got=Shown(executor if executor != "local" else "a Ray address"),
            remedy="running trials on a Ray cluster comes with a later version",
        )


def _load(
    name: str, overrides: list[str], plugins: list[str]
) -> tuple[StudySpec, str, tuple[str, ...]]:
    """Read and check a study file.

    Returns the study, the file's name, and remarks for the user.
    """
    from harness import cells, tasks
    from harness import config as specs
    from harness.cells import CELLS
    from harness.machine import memory_bytes
    from harness.plugins import offered
    from harness.tasks import TASKS

    path = specs.find_study(name)
    remarks = _load_plugins(plugins)
    spec = specs.load_study(path, overrides)
    for task in {spec.base(label) for label in spec.compare.tasks} & {
        *offered(tasks.TASK_ENTRY_POINTS)
    }:
        tasks.get_task(task)
    for cell in {spec.base(label) for label in spec.compare.cells} & {
        *offered(cells.CELL_ENTRY_POINTS)
    }:
        cells.get_cell(cell)
    spec = specs.check_study(spec, path.name, TASKS, CELLS, memory_bytes())
    return spec, path.name, (*remarks, *specs.study_notes(spec, TASKS, CELLS))


def _load_plugins(names: list[str]) -> list[str]:
    """Import each plug-in. Returns a remark for each that registers nothing."""
    from harness.cells import CELLS
    from harness.plugins import load_plugin
    from harness.tasks import TASKS

    remarks = []
    for name in names:
        before, known = set(sys.modules), (len(TASKS), len(CELLS))
        module = load_plugin(name)
        if module.__name__ not in before and known == (len(TASKS), len(CELLS)):
            remarks.append(
                f"the plug-in {name} registers nothing; register_cell and register_task do"
            )
    return remarks


def _describe(spec: StudySpec, remarks: Sequence[str]) -> None:
    """--dry-run: the resolved study and its number of trials."""
    from harness.config import count_trials
    from harness.tasks import TASKS

    typer.echo(spec.dump())
    searched, confirmed = count_trials(spec, TASKS)
    typer.echo(f"# {searched} trials to search, {confirmed} to confirm")
    for remark in remarks:
        typer.echo(f"# note: {printable(remark)}")


def _list(plugins: list[str]) -> None:
    """--list: studies, tasks and cells. Those that installed packages offer are not loaded."""
    from harness import cells, tasks
    from harness.cells import CELLS
    from harness.config import list_studies
    from harness.plugins import offered
    from harness.tasks import TASKS

    remarks = _load_plugins(plugins)
    there = [f"{name}: {', '.join(cell.initializations)}" for name, cell in CELLS.items()]
    more = [
        [
            f"{name}: offered by {package}" + (", not used: the name is taken" * (name in known))
            for name, package in offered(group).items()
        ]
        for group, known in ((tasks.TASK_ENTRY_POINTS, TASKS), (cells.CELL_ENTRY_POINTS, CELLS))
    ]
    for title, names in (
        ("studies", [f"{name}: {question}" for name, question in list_studies().items()]),
        ("tasks", [*TASKS, *more[0]]),
        ("cells", [*there, *more[1]]),
    ):
        typer.echo(title)
        for each in names:
            typer.echo(f"  {printable(each)}")
    for remark in remarks:
        typer.echo(f"note: {printable(remark)}")


def _run(spec: StudySpec, options: StudyOptions, remarks: Sequence[str]) -> int:
    """Run the study and show its progress and its answer. Returns the exit code."""
    from harness.study.run import run_study
    from harness.study.terminal_output import open_console

    with open_console(spec) as console:
        for remark in remarks:
            console.note(remark)
        try:
            outcome = run_study(spec, options, console)
        except KeyboardInterrupt:
            console.interrupted(_command(options.storage, whole_paths=True))
            return cli.INTERRUPTED
        console.done(outcome)
    return WITHOUT_RESULT if outcome.without_result else 0


def _command(storage: str, *, whole_paths: bool = False) -> str:
    """The command line as it was typed; a storage URL shows no password."""
    if not storage:
        return cli.typed("study", whole_paths=whole_paths)
    from harness.study.storage.open_storage import mask

    secrets = ((storage, mask(storage)),)
    return cli.typed("study", whole_paths=whole_paths, secrets=secrets)


def main() -> None:
    """Run the command; the fork server and its children never import this module."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cli.run(app)


if __name__ == "__main__":
    main()
