"""Prints a study's progress, notes and answer. Decides nothing.

On a terminal each (task, cell) has a live line: bar, trials, best so far, time left. Otherwise it
prints plain lines, at most LOG_LINES for a phase.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

from harness.columns import COLUMNS, TrialStatus
from harness.config import StudySpec
from harness.errors import visible
from harness.metric_definitions import OBJECTIVES
from harness.study.coordinator import TrialProgress
from harness.study.run import StudyOutcome
from harness.study.run_context import StudyObserver
from harness.study.trials_to_run import TrialSource
from harness.training.training_loop import Evaluation

PHASES = {
    "search": "Searching",
    "confirm": "Confirming the winners with fresh seeds",
    "keep": "Training the winners once more, to keep their weights",
    "time": "Timing training steps, alone on the machine",
    "report": "Writing the report",
}
QUIET = frozenset({TrialStatus.COMPLETE, TrialStatus.PRUNED})
LOG_LINES = 20  # for a phase in a log, beside failed trials
# For each way to fail: where many trials diverge, their lines would hide the rest
FAILURE_LINES = 10
Pair = tuple[str, str]


class StudyConsole(StudyObserver):
    """Prints the progress of a study."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self.spec, self.console = spec, console
        self.live: Progress | None = None
        self.lines: dict[Pair, TaskID] = {}
        self.name, self.total, self.finished, self.logged = "", 0, 0, 0
        self.sources: tuple[TrialSource, ...] = ()
        self.evaluations: dict[int, list[Evaluation]] = {}
        self.failures: Counter[TrialStatus] = Counter()

    def phase(self, name: str, sources: Sequence[TrialSource], total: int) -> None:
        """Show a new phase."""
        self.close()
        self.name, self.sources, self.total = name, tuple(sources), total
        self.finished = sum(len(each.finished) for each in sources)
        self.logged = 0
        self.failures.clear()
        kept = f", {self.finished} of {total} done before" if self.finished else ""
        self.console.print(f"[bold]{PHASES[name]}[/bold]{kept}", highlight=False)
        if sources and self.console.is_terminal:
            self._open_lines()

    def progress(self, progress: TrialProgress) -> None:
        """Show the end of a trial."""
        key = progress.source.key
        if progress.kind == "evaluation" and progress.evaluation is not None:
            if self.spec.study.print_evaluations:
                self.evaluations.setdefault(id(progress.job), []).append(progress.evaluation)
            return
        if progress.kind != "finished" or progress.result is None:
            return
        self.finished += 1
        pair = (key.task, key.cell)
        result = progress.result
        if self.spec.study.print_evaluations:
            self._print_evaluations(progress, result.predictions)
        if result.end not in QUIET:
            self.failures[result.end] += 1
            name = f"{key.task} {key.cell} repeat {key.repeat} trial {progress.job.slot}"
            if self.failures[result.end] <= FAILURE_LINES:
                self._print(f"{name}: {result.end}, {result.reason}")
            if self.failures[result.end] == FAILURE_LINES:
                self._print(f"(the report counts what else ends so: {result.end})")
        if self.live is not None:
            done = sum(len(each.finished) for each in self._of(pair))
            self.live.update(self.lines[pair], completed=done, best=self._best(pair))
        elif self.finished * LOG_LINES // self.total > self.logged or self.finished == self.total:
            self.logged = self.finished * LOG_LINES // self.total
            self._print(
                f"{self.finished} of {self.total}: {key.task} {key.cell}, {self._best(pair)}"
            )

    def note(self, text: str) -> None:
        """Show a note."""
        self._print(f"note: {text}")

    def interrupted(self, command: str) -> None:
        """Say that all is saved, and with which command to resume."""
        self.close()
        self._print("interrupted: what was finished is saved; to go on, run")
        self._print(f"  {command}")

    def done(self, outcome: StudyOutcome) -> None:
        """Show the answer, and where the report is."""
        self.close()
        self.console.print()
        self._print(outcome.answer.text)
        for task, cell in outcome.without_result:
            self._print(f"no valid result: {cell} on {task} (the report says why)")
        self._print(f"report: {outcome.directory / 'report.html'}")

    def close(self) -> None:
        """Stop updating the live lines; they stay on the screen."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _open_lines(self) -> None:
        self.live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TimeLeftColumn(compact=True),
            TextColumn("left"),
            console=self.console,
        )
        self.lines = {}
        pairs = [
            (task, cell) for task in self.spec.compare.tasks for cell in self.spec.compare.cells
        ]
        width = max(len(f"{task} {cell}") for task, cell in pairs)
        for pair in pairs:
            sources = self._of(pair)
            if not sources:
                continue
            name = f"{pair[0]} {pair[1]}".ljust(width)
            self.lines[pair] = self.live.add_task(
                escape(name),
                total=sum(each.total for each in sources),
                completed=sum(len(each.finished) for each in sources),
                best=self._best(pair),
            )
        self.live.start()

    def _of(self, pair: Pair) -> list[TrialSource]:
        return [each for each in self.sources if (each.key.task, each.key.cell) == pair]

    def _best(self, pair: Pair) -> str:
        """The best value of a search so far, or the number of confirmation runs that solved."""
        records = [record for each in self._of(pair) for record in each.finished.values()]
        if self.name == "confirm":
            solved = sum(bool(record.result.solved) for record in records)
            return f"solved {solved} of {len(records)}"
        values = [
            record.value
            for record in records
            if record.value is not None and record.result.end is TrialStatus.COMPLETE
        ]
        objective = OBJECTIVES[self.spec.search.objective]
        if not values:
            return "best: none yet"
        best = max(values) if objective.direction == "maximize" else min(values)
        metric = COLUMNS[objective.name]
        return f"best {metric.text_with_unit(best)}"

    def _print_evaluations(self, progress: TrialProgress, predictions: Sequence[float]) -> None:
        """Print a trial's losses during training, each measured before the step's update."""
        config, key = progress.job.config, progress.source.key
        self._print(f"{key.task} {key.cell}, repeat {key.repeat}, trial {progress.job.slot}")
        for evaluation in self.evaluations.pop(id(progress.job), []):
            step = evaluation.sequences_seen // config.batch_size
            loss, accuracy = f"{evaluation.loss:.6f}", f"{evaluation.accuracy:.2f}"
            self._print(f"  step {step:>5}  loss {loss}  accuracy {accuracy}")
        if predictions:
            shown = ", ".join(f"{value:.4f}" for value in predictions)
            self._print(f"  final predictions {shown}")

    def _print(self, text: str) -> None:
        self.console.print(
            escape(visible(text)), highlight=False, soft_wrap=not self.console.is_terminal
        )


@contextlib.contextmanager
def open_console(spec: StudySpec) -> Iterator[StudyConsole]:
    """A console on standard output. Its live lines always stop at the end."""
    console = StudyConsole(spec, Console())
    try:
        yield console
    finally:
        console.close()
