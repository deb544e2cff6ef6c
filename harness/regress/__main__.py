"""`python -m harness.regress`: performance regressions. Reads the command line and passes it on.

Heavy imports are inside the functions, so that --help is fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import cli
from harness.errors import HarnessError, InputError, visible_lines

if TYPE_CHECKING:
    from harness.regress.measuring.comparison_runner import SamplingPlan
    from harness.regress.timed_workload import Workload
    from harness.regress.verdict.verdicts import FailOn

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable that names a file which the CI shows with the run."""

MOST_REPETITIONS = 1_000_000
"""Of rounds, blocks, runs and replays: more than a machine does in months."""

LARGEST_SEED = 2**63 - 1  # as of a study

# Options of several commands
Suite = Annotated[str, typer.Option(metavar="GRID", help="A grid to time. Default: regress_suite.")]
Steps = Annotated[
    str, typer.Option(metavar="FILE", help="A Python file with training steps to time instead.")
]
Device = Annotated[str, typer.Option(help="Of a grid: auto, cpu, cuda or cuda:I. Default: cpu.")]
Detect = Annotated[str, typer.Option(help="The slow-down to find.")]
Rounds = Annotated[
    int | None,
    typer.Option(min=5, max=MOST_REPETITIONS, help="Rounds of a block at most. Default: 96."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="Import a module that registers more."),
]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, cls=cli.LineGroup
)


@app.callback()
def regress() -> None:
    """Has training become slower? Two sides are timed in the same run, on this machine."""


@app.command(cls=cli.LineCommand)
def compare(  # one parameter for each option of the command
    base: Annotated[
        str,
        typer.Option(
            metavar="SIDE", help="A git revision, a Python, a requirement, or a plug-in's file."
        ),
    ],
    head: Annotated[
        str, typer.Option(metavar="SIDE", help="Likewise. Default: the working tree.")
    ] = ".",
    suite: Suite = "",
    steps: Steps = "",
    device: Device = "",
    detect: Detect = "5%",
    rounds: Rounds = None,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds for the timing; shorter blocks, then fewer."),
    ] = None,
    install: Annotated[
        str,
        typer.Option(
            metavar="CMD", help='Install a tree into its own environment: "pip install ."'
        ),
    ] = "",
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REASON", help="Let this benchmark's regression pass; repeatable."
        ),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="inconclusive", help="Exit with 3 where nothing can be told.")
    ] = "",
    plugins: Plugins = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=cli.results_folder,
            help="Where results go. Default: results/regress/BASE-HEAD.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print comparison.json, and all else on stderr.")
    ] = False,
) -> None:
    """Compare head with base.

    Exit codes: 0 ok, 1 regression, 2 bad input, 3 see --fail-on, 4 benchmark missing.
    """
    with _command(as_json=as_json):
        if fail_on not in ("", "inconclusive"):
            raise InputError("--fail-on", expected="inconclusive", got=fail_on)
        from harness.regress.compare.run import CompareOptions, run_compare
        from harness.regress.compare.terminal_output import CompareConsole, comparison_markdown
        from harness.regress.terminal_output import open_progress_console

        fails: tuple[FailOn, ...] = ("inconclusive",) if fail_on else ()
        options = CompareOptions(
            base=base,
            head=head,
            workload=_workload(suite, steps, device, plugins),
            detect=detect,
            install=install,
            accept=tuple(accept or ()),
            fail_on=fails,
            results=results,
            command=cli.typed("regress"),
            sampling=_sampling(rounds, budget),
        )
        with open_progress_console(CompareConsole, on_stderr=as_json) as console:
            outcome = run_compare(options, console)
            console.done(outcome.record, str(outcome.directory))
            _append_summary(comparison_markdown(outcome.record), console.note)
    if as_json:
        _print_file(outcome.file)
    raise typer.Exit(outcome.record.exit_code)


@app.command(cls=cli.LineCommand)
def selftest(  # one parameter for each option of the command
    suite: Suite = "",
    steps: Steps = "",
    device: Device = "",
    detect: Detect = "5%",
    slow_down: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHARE[=RUNS]", help="Inject this one; repeatable. Default: 3%, 5%, 10%."
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_REPETITIONS, help="Runs in which both sides are the same code."
        ),
    ] = 10,
    slowed: Annotated[
        int, typer.Option(min=0, max=MOST_REPETITIONS, help="Runs for each injected slow-down.")
    ] = 3,
    replays: Annotated[
        int,
        typer.Option(min=1, max=MOST_REPETITIONS, help="Replays of recorded blocks for each rate."),
    ] = 1000,
    rounds: Rounds = None,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds for the timing of a run; shorter blocks, then fewer."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the replays.")] = 0,
    plugins: Plugins = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=cli.results_folder,
            help="Where results go. Default: results/regress/selftest.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print selftest.json, and all else on stderr.")
    ] = False,
) -> None:
    """How often is a verdict wrong on this machine, and what is found? Advises a --detect."""
    with _command(as_json=as_json):
        from harness.regress.selftest.run import SelftestOptions, run_selftest
        from harness.regress.selftest.terminal_output import SelftestConsole, selftest_markdown
        from harness.regress.terminal_output import open_progress_console

        options = SelftestOptions(
            workload=_workload(suite, steps, device, plugins),
            detect=detect,
            effects=tuple(slow_down or ()),
            n_alike=runs,
            n_slowed=slowed,
            n_replays=replays,
            seed=seed,
            results=results,
            command=cli.typed("regress"),
            sampling=_sampling(rounds, budget),
        )
        with open_progress_console(SelftestConsole, on_stderr=as_json) as console:
            outcome = run_selftest(options, console)
            console.done(outcome.record, str(outcome.report))
            _append_summary(selftest_markdown(outcome.record), console.note)
    if as_json:
        _print_file(outcome.file)


@app.command(cls=cli.LineCommand)
def record(  # one parameter for each option of the command
    suite: Suite = "",
    steps: Steps = "",
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=cli.history_file,
            help="A file of JSON lines. Default: results/regress/history.jsonl.",
        ),
    ] = None,
    device: Device = "",
    plugins: Plugins = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_REPETITIONS, help="Blocks of fresh processes. Default: 5."),
    ] = None,
    revision: Annotated[
        str, typer.Option(metavar="TEXT", help="What is recorded. Default: the commit.")
    ] = "",
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds for the timing; shorter blocks, then fewer."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was recorded as JSON, all else on stderr.")
    ] = False,
) -> None:
    """Time the working tree and append the result to a history.

    Exit codes: 0 recorded, 2 bad input or a history that cannot be written.
    """
    with _command(as_json=as_json):
        from harness.regress.history import HISTORY
        from harness.regress.json_files import to_json
        from harness.regress.record.measure_recording import N_RECORDED_BLOCKS
        from harness.regress.record.run import (
            RECORD_SCHEMA,
            RecordOptions,
            UnrecordedError,
            run_record,
        )
        from harness.regress.record.terminal_output import RecordConsole, record_markdown
        from harness.regress.terminal_output import open_progress_console

        options = RecordOptions(
            workload=_workload(suite, steps, device, plugins),
            history=history or HISTORY,
            n_blocks=blocks or N_RECORDED_BLOCKS,
            revision=revision,
            sampling=_sampling(None, budget),
        )
        with open_progress_console(RecordConsole, on_stderr=as_json) as console:
            try:
                outcome = run_record(options, console)
            except UnrecordedError as error:
                console.close()
                print(error.line, file=sys.stderr)
                raise
            console.done(outcome)
            _append_summary(record_markdown(outcome), console.note)
    if as_json:
        typer.echo(json.dumps(to_json(outcome, RECORD_SCHEMA)))


@app.command(cls=cli.LineCommand)
def trend(  # one parameter for each option of the command
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=cli.history_file,
            help="A file of JSON lines. Default: results/regress/history.jsonl.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=cli.results_folder,
            help="Where results go. Default: results/regress/trend.",
        ),
    ] = None,
    fingerprint: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only machines whose fingerprint begins so.")
    ] = "",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Of the permutation tests.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print trend.json, and all else on stderr.")
    ] = False,
) -> None:
    """Plot a history and mark where the speed changed.

    Exit codes: 0 whatever became slower, 2 for a history that cannot be read.
    """
    with _command(as_json=as_json):
        from harness.regress.history import HISTORY
        from harness.regress.trend.run import RESULTS, TrendOptions, run_trend
        from harness.regress.trend.terminal_output import show_trend, trend_markdown

        options = TrendOptions(
            history=history or HISTORY,
            results=results or RESULTS,
            fingerprint=fingerprint,
            seed=seed,
            command=cli.typed("regress"),
        )
        outcome = run_trend(options)
        show_trend(outcome.record, outcome.answer, str(outcome.report), on_stderr=as_json)
        _append_summary(trend_markdown(outcome.record, outcome.answer), typer.echo)
    if as_json:
        _print_file(outcome.file)


def main() -> None:
    """Run the command; the processes that time never import this module."""
    cli.run(app)


# --- What the commands share ------------------------------------------------------------------


@contextlib.contextmanager
def _command(*, as_json: bool) -> Iterator[None]:
    """Errors end in one line and an exit code; with `as_json` all that is printed is on stderr."""
    again = cli.typed("regress", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        try:
            yield
        except HarnessError as error:
            if output := getattr(error, "output", ""):  # of a command that built no environment
                typer.echo(visible_lines(output.rstrip()), err=True)
            raise


def _workload(suite: str, steps: str, device: str, plugins: list[str] | None) -> Workload:
    from harness.regress.timed_workload import Workload

    if steps and device:
        raise InputError(
            "--device",
            expected="no device with --steps",
            got=device,
            remedy="leave it out: the file of steps chooses its device",
        )
    return Workload(suite, steps, device or "cpu", tuple(plugins or ()))


def _sampling(rounds: int | None, budget: float | None) -> SamplingPlan:
    from harness.regress.measuring.comparison_runner import SamplingPlan

    return SamplingPlan(n_rounds=rounds or SamplingPlan.n_rounds, budget_s=budget)


def _print_file(path: Path) -> None:
    """Print a JSON file in one line."""
    typer.echo(json.dumps(json.loads(path.read_text("utf-8"))))


def _append_summary(text: str, note: Callable[[str], None]) -> None:
    """Append a text to the file that the CI shows with the run, if SUMMARY names one."""
    if summary := os.environ.get(SUMMARY):
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            note(f"{SUMMARY} can't be written: {error.strerror}")


if __name__ == "__main__":
    main()
