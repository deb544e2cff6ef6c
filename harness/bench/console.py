"""How a bench goes: one bar over its groups with the time left, and a compact table at the end.

Never decides anything.

The bar is drawn anew only when something begins or ends: a clock that ticks beside a measurement
takes part in it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from harness.bench.run import BenchOutcome
from harness.columns import significant
from harness.config import GridSpec, Group

FAILURE_LINES = 10
SHAPE = ("hidden_size", "num_layers", "sequence_length", "batch_size", "initialization")
SHAPE_OF_CALLS = SHAPE[:2]  # a step costs the same whatever the length


class BenchConsole:
    """Tells how a bench goes; a BenchWatcher of the pipeline."""

    def __init__(self, spec: GridSpec, console: Console) -> None:
        self.spec, self.console = spec, console
        self.live: Progress | None = None
        self.line = TaskID(0)
        self.total = self.done = self.n_groups = self.n_done = self.n_failed = 0
        self.started = 0.0

    def begin(self, groups: Sequence[Group], kept: int) -> None:
        """Show what is to be measured."""
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
            self.live.update(self.line, state=escape(state), refresh=True)

    def finished(self, group: Group, answer: Mapping[str, Any]) -> None:
        """Show that a group is done, and what failed in it."""
        self.n_done += 1
        self.done += len(group.benchmarks)
        for result in answer["results"]:
            if result.get("error"):
                self.n_failed += 1
                if self.n_failed <= FAILURE_LINES:
                    self._print(f"{result['name']}: {result['error']}")
        if self.live is not None:
            state = f"{self.n_done}/{self.n_groups} groups{self._left()}"
            self.live.update(self.line, completed=self.done, state=state, refresh=True)
        else:
            self._print(f"{self.n_done} of {self.n_groups}: {group.label}{self._left()}")

    def note(self, text: str) -> None:
        """Show a remark."""
        self._print(f"note: {text}")

    def interrupted(self, command: str) -> None:
        """Say that all is saved, and how to go on."""
        self.close()
        self._print("interrupted: the groups that were finished are saved; to go on, run")
        self._print(f"  {command}")

    def done_with(self, outcome: BenchOutcome) -> None:
        """Show what was found at the grid's own shape, and where the rest is."""
        self.close()
        make = self._calls if _are_calls(outcome.rows) else self._steps
        title, table = make(outcome.rows)
        self.console.print()
        self._print(title)
        self.console.print(table)
        if self.n_failed:
            self._print(
                f"{self.n_failed} benchmarks failed; run the same command to try their groups again"
            )
        if outcome.missing:
            pairs = ", ".join(f"{cell} on {device}" for cell, device in outcome.missing)
            self._print(f"without a single time: {pairs}")
        self._print(f"tables: {outcome.json_path.with_suffix('.csv')}")
        if outcome.report is not None:
            self._print(f"report: {outcome.report}")

    def close(self) -> None:
        """Take the bar down; it stays as it is."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _left(self) -> str:
        """About how long the rest takes, from what the benchmarks so far took."""
        if not self.done or self.done == self.total:
            return ""
        seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        return f", about {_duration(seconds)} left"

    def _steps(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Table]:
        shown, title = _at_shape(rows, self.spec, SHAPE)
        measures = self.spec.compare.measures
        shown = [row for row in shown if row["measure"] == measures[0]] or shown
        title = f"{shown[0]['measure'].replace('_', ' ') if shown else 'nothing'} at {title}"
        table = Table("cell", "variant")
        shown = [row for row in shown if not row.get("unavailable")]  # noted before the first group
        order = list(dict.fromkeys(row["cell"] for row in shown))
        shown.sort(key=lambda row: order.index(row["cell"]))
        devices = dict.fromkeys(row["device"] for row in shown)
        for name in ("sequences/s", "over plain"):
            table.add_column(name, justify="right")
        if len(devices) > 1:
            table.add_column("device")
        for row in shown:
            found = row.get("sequences_per_second")
            reason = row.get("error") or ""
            cells = [
                row["cell"],
                row["variant"],
                significant(found) if found else reason,
                _speedup(row),
            ]
            table.add_row(*map(escape, [*cells, *([row["device"]] if len(devices) > 1 else [])]))
        return title, table

    def _calls(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Table]:
        steps = [row for row in rows if row["measure"] == "step"] or list(rows)
        shown, title = _at_shape(steps, self.spec, SHAPE_OF_CALLS)
        title = f"{shown[0]['measure']} at {title}"
        table = Table("cell", "dtype")
        for name in ("median µs", "99th percentile µs", "bytes of weights"):
            table.add_column(name, justify="right")
        for row in shown:
            reason = row.get("error") or row.get("unavailable") or ""
            numbers = [row.get(name) for name in ("median_us", "p99_us", "weights_bytes")]
            texts = ["" if number is None else significant(number) for number in numbers]
            table.add_row(*map(escape, (row["cell"], row["dtype"], texts[0] or reason, *texts[1:])))
        return title, table

    def _print(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=not self.console.is_terminal)


def _are_calls(rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and "dtype" in rows[0]


def _at_shape(
    rows: Sequence[Mapping[str, Any]], spec: GridSpec, names: Sequence[str]
) -> tuple[list[Mapping[str, Any]], str]:
    """The rows at the grid's own shape, or at that of the first row where it was not measured, and the shape in words."""
    if not rows:
        return [], "any shape"
    shape = {name: getattr(spec.shape, name) for name in names}
    at_own = [row for row in rows if all(row[name] == shape[name] for name in names)]
    if not at_own:
        shape = {name: rows[0][name] for name in names}
        at_own = [row for row in rows if all(row[name] == shape[name] for name in names)]
    words = [f"{name.replace('_', ' ')} {value}" for name, value in shape.items()]
    return at_own, ", ".join(words)


def _speedup(row: Mapping[str, Any]) -> str:
    """How much faster than plain, with its interval."""
    numbers = [row.get(name) for name in ("speedup", "speedup_low", "speedup_high")]
    if any(number is None for number in numbers):
        return ""
    value, low, high = (f"{number:.2f}" for number in numbers)
    return f"{value} ({low} to {high})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


@contextlib.contextmanager
def open_bench_console(spec: GridSpec, *, on_stderr: bool = False) -> Iterator[BenchConsole]:
    """A console on standard output, or error.

    Its bar is taken down at the end, whatever happens.
    """
    console = BenchConsole(spec, Console(stderr=on_stderr))
    try:
        yield console
    finally:
        console.close()
