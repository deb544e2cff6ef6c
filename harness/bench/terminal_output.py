"""Progress of a bench on a terminal: one bar over its groups, and a short table at the end.

The bar is redrawn only when something begins or ends, because a ticking clock would disturb what is
measured. Decides nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from harness.bench.run import BenchOutcome
from harness.columns import significant
from harness.config import GridSpec, Group
from harness.errors import visible
from harness.timing.timing_results import Answer, BenchmarkResult, InferenceResult, TimedStep

SHOWN_FAILURES = 10
SHAPE_OF_STEPS = ("hidden_size", "num_layers", "sequence_length", "batch_size", "initialization")
SHAPE_OF_CALLS = SHAPE_OF_STEPS[:2]  # a single step costs the same at every length

Result = TypeVar("Result", BenchmarkResult, InferenceResult)


class BenchConsole:
    """Prints the progress of a bench; a BenchObserver."""

    def __init__(self, spec: GridSpec, console: Console) -> None:
        self.spec, self.console = spec, console
        self.live: Progress | None = None
        self.line = TaskID(0)
        self.total = self.done = self.n_groups = self.n_done = self.n_failed = 0
        self.started = 0.0

    def begin(self, groups: Sequence[Group], kept: int) -> None:
        """Show what will be measured."""
        self.n_groups = len(groups)
        self.total = sum(len(group.benchmarks) for group in groups)
        self.started = time.monotonic()
        before = f", {kept} of {kept + len(groups)} groups measured before" if kept else ""
        self._print(
            f"Measuring {self.spec.grid.name}: {self.total} benchmarks in {len(groups)} groups{before}"
        )
        if groups and self.console.is_terminal:
            self.live = Progress(
                BarColumn(bar_width=24),
                TextColumn("{task.fields[state]}"),
                console=self.console,
                auto_refresh=False,
            )
            self.line = self.live.add_task("", total=self.total, state=f"0/{self.n_groups} groups")
            self.live.start()

    def step(self, group: Group, text: str) -> None:
        """Show what begins, on a terminal."""
        if self.live is not None:
            state = f"{self.n_done}/{self.n_groups} groups{self._left()}  {group.label}: {text}"
            self.live.update(self.line, state=_shown(state), refresh=True)

    def finished(self, group: Group, answer: Answer) -> None:
        """Show that a group is done, and what failed in it."""
        self.n_done += 1
        self.done += len(group.benchmarks)
        for result in answer.results:
            if result.error:
                self.n_failed += 1
                if self.n_failed <= SHOWN_FAILURES:
                    self._print(f"{result.benchmark.name}: {result.error}")
        if self.live is not None:
            state = f"{self.n_done}/{self.n_groups} groups{self._left()}"
            self.live.update(self.line, completed=self.done, state=state, refresh=True)
        else:
            self._print(f"{self.n_done} of {self.n_groups}: {group.label}{self._left()}")

    def note(self, text: str) -> None:
        """Print a remark."""
        self._print(f"note: {text}")

    def interrupted(self, command: str) -> None:
        """Print that all is saved, and the command that resumes."""
        self.close()
        self._print("interrupted: the finished groups are saved; to resume, run")
        self._print(f"  {command}")

    def done_with(self, outcome: BenchOutcome) -> None:
        """Print the numbers at the grid's own shape, and where all files are."""
        self.close()
        steps = [each for each in outcome.results if isinstance(each, BenchmarkResult)]
        calls = [each for each in outcome.results if isinstance(each, InferenceResult)]
        title, table = self._calls(calls) if calls else self._steps(steps)
        self.console.print()
        self._print(title)
        self.console.print(table)
        if self.n_failed:
            self._print(
                f"{self.n_failed} benchmarks failed; run the same command to try their groups again"
            )
        if outcome.missing:
            pairs = ", ".join(f"{cell} on {device}" for cell, device in outcome.missing)
            self._print(f"nothing could be timed: {pairs}")
        self._print(f"tables: {outcome.json_path.with_suffix('.csv')}")
        self._print(f"report: {outcome.report}")

    def close(self) -> None:
        """Stop updating the bar; what it shows stays."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _left(self) -> str:
        """How much time is left, estimated from the benchmarks so far."""
        if not self.done or self.done == self.total:
            return ""
        seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        return f", about {_duration(seconds)} left"

    def _steps(self, results: Sequence[BenchmarkResult]) -> tuple[str, Table]:
        shown, title = _at_shape(results, self.spec, SHAPE_OF_STEPS)
        measure = self.spec.compare.measures[0]
        shown = [each for each in shown if each.benchmark.measure == measure] or shown
        what = shown[0].benchmark.measure.replace("_", " ") if shown else "nothing"
        shown = [each for each in shown if not each.unavailable]  # noted before the first group
        order = list(dict.fromkeys(each.benchmark.cell for each in shown))
        shown.sort(key=lambda each: order.index(each.benchmark.cell))
        table = Table("cell", "variant")
        for name in ("sequences/s", "over plain"):
            table.add_column(name, justify="right")
        devices = {each.benchmark.device for each in shown}
        if len(devices) > 1:
            table.add_column("device")
        for each in shown:
            timed = each.timed
            speed = significant(timed.sequences_per_second) if timed else each.error or ""
            texts = [each.benchmark.cell, each.benchmark.variant, speed, _speedup(timed)]
            device = [each.benchmark.device] if len(devices) > 1 else []
            table.add_row(*map(_shown, [*texts, *device]))
        return f"{what} at {title}", table

    def _calls(self, results: Sequence[InferenceResult]) -> tuple[str, Table]:
        steps = [each for each in results if each.benchmark.measure == "step"] or results
        shown, title = _at_shape(steps, self.spec, SHAPE_OF_CALLS)
        table = Table("cell", "dtype")
        for name in ("median µs", "99th percentile µs", "bytes of weights"):
            table.add_column(name, justify="right")
        for each in shown:
            texts = [each.error or each.unavailable, "", ""]
            if each.timed is not None:
                numbers = (each.timed.median_us, each.timed.p99_us, each.timed.weights_bytes)
                texts = ["" if number is None else significant(number) for number in numbers]
            table.add_row(*map(_shown, (each.benchmark.cell, each.benchmark.dtype, *texts)))
        return f"{shown[0].benchmark.measure} at {title}", table

    def _print(self, text: str) -> None:
        self.console.print(_shown(text), highlight=False, soft_wrap=not self.console.is_terminal)


def _shown(text: str) -> str:
    return escape(visible(text))


def _at_shape(
    results: Sequence[Result], spec: GridSpec, names: Sequence[str]
) -> tuple[list[Result], str]:
    """The results at the grid's own shape, or at that of the first one, and the shape in words."""
    if not results:
        return [], "any shape"
    shown: list[Result] = []
    shape: dict[str, Any] = {}
    for source in (spec.shape, results[0].benchmark):
        if not shown:
            shape = {name: getattr(source, name) for name in names}
            shown = [
                each
                for each in results
                if all(getattr(each.benchmark, name) == shape[name] for name in names)
            ]
    return shown, ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shape.items())


def _speedup(timed: TimedStep | None) -> str:
    """How much faster than plain, with its interval."""
    if timed is None:
        return ""
    numbers = [timed.speedup, timed.speedup_low, timed.speedup_high]
    texts = [f"{number:.2f}" for number in numbers if number is not None]
    return "{} ({} to {})".format(*texts) if len(texts) == len(numbers) else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


@contextlib.contextmanager
def open_bench_console(spec: GridSpec, *, on_stderr: bool = False) -> Iterator[BenchConsole]:
    """A console on standard output or standard error; its bar is stopped at the end."""
    console = BenchConsole(spec, Console(stderr=on_stderr))
    try:
        yield console
    finally:
        console.close()
