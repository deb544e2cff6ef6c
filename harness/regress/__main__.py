"""`python -m harness.regress`: performance regressions. Thin: reads the command line and hands on.

Heavy imports stand inside the functions, so that --help answers at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import cli
from harness.errors import HarnessError, InputError

if TYPE_CHECKING:
    from harness.regress.compare.run import CompareOptions, CompareOutcome
    from harness.regress.verdict.verdicts import FailOn

SUMMARY = "GITHUB_STEP_SUMMARY"  # names a file that the CI shows with the run

# What several commands ask for.
Suite = Annotated[str, typer.Option(metavar="GRID", help="A grid to time. Default: regress_suite.")]
Steps = Annotated[
    str, typer.Option(metavar="FILE", help="A Python file with training steps to time instead.")
]
Device = Annotated[str, typer.Option(help="Of a grid: auto, cpu, cuda or cuda:I.")]
Detect = Annotated[str, typer.Option(help="The slow-down to find.")]
Rounds = Annotated[int | None, typer.Option(min=5, help="Rounds of a block at most. Default: 96.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="Import a module that registers more."),
]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


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
    device: Device = "cpu",
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
        Path | None, typer.Option(help="Where results go. Default: results/regress/BASE-HEAD.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print comparison.json, and all else on stderr.")
    ] = False,
) -> None:
    """Compare head with base: exit code 0 ok, 1 regression, 2 bad input, 3 see --fail-on, 4 benchmark missing."""
    again = cli.typed("regress", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        try:
            if fail_on not in ("", "inconclusive"):
                raise InputError("--fail-on", expected="inconclusive", got=fail_on)
            from harness.regress.compare.run import CompareOptions
            from harness.regress.measuring.comparison_runner import SamplingPlan

            fails: tuple[FailOn, ...] = ("inconclusive",) if fail_on else ()
            options = CompareOptions(
                base=base,
                head=head,
                suite=suite,
                steps=steps,
                device=device,
                plugins=tuple(plugins or ()),
                detect=detect,
                install=install,
                accept=tuple(accept or ()),
                fail_on=fails,
                results=results,
                command=cli.typed("regress"),
                pace=SamplingPlan(n_rounds=rounds or SamplingPlan.n_rounds, budget_s=budget),
            )
            outcome = _compare(options, as_json=as_json)
        except HarnessError as error:
            if output := getattr(error, "output", ""):  # of a command that built no environment
                typer.echo(output.rstrip(), err=True)
            raise
    if as_json:
        typer.echo(json.dumps(outcome.plain, ensure_ascii=False))
    raise typer.Exit(outcome.exit_code)


def _compare(options: CompareOptions, *, as_json: bool) -> CompareOutcome:
    """Run a comparison, show how it goes and what came out, and tell the CI."""
    from harness.regress.compare.console import markdown, open_compare_console
    from harness.regress.compare.run import run_compare

    with open_compare_console(on_stderr=as_json) as console:
        outcome = run_compare(options, console)
        console.done(outcome.plain, str(outcome.directory))
        _summarise(markdown(outcome.plain), console.note)
    return outcome


@app.command(cls=cli.LineCommand)
def selftest(  # one parameter for each option of the command
    suite: Suite = "",
    steps: Steps = "",
    device: Device = "cpu",
    detect: Detect = "5%",
    slow_down: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHARE[=RUNS]", help="Inject this one; repeatable. Default: 3%, 5%, 10%."
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, help="Runs in which both sides are the same code.")
    ] = 10,
    slowed: Annotated[int, typer.Option(min=0, help="Runs for each injected slow-down.")] = 3,
    replays: Annotated[
        int, typer.Option(min=1, help="Replays of recorded blocks for each rate.")
    ] = 1000,
    rounds: Rounds = None,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds for the timing of a run; shorter blocks, then fewer."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the replays.")] = 0,
    plugins: Plugins = None,
    results: Annotated[
        Path | None, typer.Option(help="Where results go. Default: results/regress/selftest.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print selftest.json, and all else on stderr.")
    ] = False,
) -> None:
    """How often is a verdict wrong on this machine, and what does it find? Says which --detect to choose."""
    again = cli.typed("regress", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        from harness.regress.measuring.comparison_runner import SamplingPlan
        from harness.regress.selftest.console import markdown, open_selftest_console
        from harness.regress.selftest.run import SelftestOptions, run_selftest

        options = SelftestOptions(
            suite=suite,
            steps=steps,
            device=device,
            plugins=tuple(plugins or ()),
            detect=detect,
            effects=tuple(slow_down or ()),
            n_alike=runs,
            n_slowed=slowed,
            n_replays=replays,
            seed=seed,
            results=results,
            command=cli.typed("regress"),
            pace=SamplingPlan(n_rounds=rounds or SamplingPlan.n_rounds, budget_s=budget),
        )
        with open_selftest_console(on_stderr=as_json) as console:
            outcome = run_selftest(options, console)
            console.done(outcome.plain, str(outcome.report))
            _summarise(markdown(outcome.plain), console.note)
    if as_json:
        typer.echo(json.dumps(outcome.plain, ensure_ascii=False))


@app.command(cls=cli.LineCommand)
def record(  # one parameter for each option of the command
    suite: Suite = "",
    steps: Steps = "",
    history: Annotated[
        Path | None,
        typer.Option(help="A file of JSON lines. Default: results/regress/history.jsonl."),
    ] = None,
    device: Device = "cpu",
    plugins: Plugins = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Blocks of fresh processes. Default: 5.")
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
    """Time the working tree and append it to a history.

    Exit code 0 recorded, 2 bad input or a history that can't be written.
    """
    again = cli.typed("regress", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        from harness.regress.measuring.comparison_runner import SamplingPlan
        from harness.regress.trend.console import open_record_console, record_markdown
        from harness.regress.trend.record import HISTORY, RecordOptions, UnrecordedError, run_record
        from harness.regress.trend.recorder import N_BLOCKS

        options = RecordOptions(
            suite=suite,
            steps=steps,
            history=history or HISTORY,
            device=device,
            plugins=tuple(plugins or ()),
            n_blocks=blocks or N_BLOCKS,
            revision=revision,
            pace=SamplingPlan(budget_s=budget),
        )
        with open_record_console(on_stderr=as_json) as console:
            try:
                plain = run_record(options, console)
            except UnrecordedError as error:
                console.close()
                print(error.line, file=sys.stderr)
                raise
            console.done(plain)
            _summarise(record_markdown(plain), console.note)
    if as_json:
        typer.echo(json.dumps(plain, ensure_ascii=False))


@app.command(cls=cli.LineCommand)
def trend(  # one parameter for each option of the command
    history: Annotated[
        Path | None,
        typer.Option(help="A file of JSON lines. Default: results/regress/history.jsonl."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where results go. Default: results/regress/trend.")
    ] = None,
    fingerprint: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only machines whose fingerprint begins so.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the permutation tests.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print trend.json, and all else on stderr.")
    ] = False,
) -> None:
    """Plot a history and mark where speed changed.

    It tells and never fails: exit code 0, or 2 for what can't be read.
    """
    again = cli.typed("regress", whole_paths=True)
    out = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
    with cli.signals(again), cli.errors(again), out:
        from harness.regress.trend.console import show_trend, trend_markdown
        from harness.regress.trend.record import HISTORY
        from harness.regress.trend.run import RESULTS, TrendOptions, run_trend

        outcome = run_trend(
            TrendOptions(
                history=history or HISTORY,
                results=results or RESULTS,
                fingerprint=fingerprint,
                seed=seed,
                command=cli.typed("regress"),
            )
        )
        show_trend(outcome.plain, outcome.answer, str(outcome.report), on_stderr=as_json)
        _summarise(trend_markdown(outcome.plain, outcome.answer), typer.echo)
    if as_json:
        typer.echo(json.dumps(outcome.plain, ensure_ascii=False))


def _summarise(text: str, note: Callable[[str], None]) -> None:
    """Append a text to the file that the CI shows with the run, where it names one."""
    if summary := os.environ.get(SUMMARY):
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            note(f"{SUMMARY} can't be written: {error.strerror}")


def main() -> None:
    """Run the command; the processes that time never import this module."""
    cli.run(app)


if __name__ == "__main__":
    main()
