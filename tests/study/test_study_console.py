from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from harness.columns import TrialStatus
from harness.metric_definitions import OBJECTIVES
from harness.study.coordinator import TrialProgress
from harness.study.run import StudyOutcome
from harness.study.search.optuna_trials import TrialSeries
from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.study.terminal_output import LOG_LINES, StudyConsole
from harness.study.trials_to_run import Job, SearchKey
from harness.training.training_loop import TrainingConfig
from tests.small import small_spec
from tests.study.requests import config_of
from tests.study.scripted import evaluation
from tests.tally import Tally

Told = tuple[StudyConsole, Callable[[], str]]


def search(
    cell: str = "rnn", total: int = 4, repeat: int = 0, objective: str = "remembered_steps"
) -> TrialSeries:
    """A search without a storage."""
    plain: Any = SimpleNamespace(
        key=SearchKey("temporal_order", cell, repeat),
        total=total,
        finished={},
        objective=OBJECTIVES[objective],
    )
    return cast("TrialSeries", plain)


def tell(
    console: StudyConsole,
    series: TrialSeries,
    value: float | None,
    end: TrialStatus = TrialStatus.COMPLETE,
    **result: Any,
) -> None:
    """Finish the next slot, and tell of it."""
    slot = len(series.finished)
    found = TrialResult(end, seed=0, **result)
    series.finished[slot] = SlotRecord(slot, str(slot), {}, value, found)
    job = Job(slot, config_of())
    console.progress(TrialProgress("finished", series, job, result=found))


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Told]:
    """Makes a console of the small study with these settings, and what it has printed so far."""

    def make(*settings: str, terminal: bool = False) -> Told:
        file = io.StringIO()
        rich = Console(
            file=file, force_terminal=terminal, width=100, color_system=None, legacy_windows=False
        )
        return StudyConsole(small_spec(tmp_path, *settings), rich), file.getvalue

    return make


def test_log_lines(told: Callable[..., Told]) -> None:
    """Where the output is no terminal, each trial of a short phase has a line.

    How many of how many, and the best so far.
    """
    console, printed = told()
    series = search()
    console.phase("search", [series], 4)
    for value in (1.0, 3.0, 2.0, None):
        tell(console, series, value, TrialStatus.COMPLETE if value else TrialStatus.PRUNED)
    assert printed().splitlines() == [
        "Searching",
        "1 of 4: temporal_order rnn, best 1.00 steps",
        "2 of 4: temporal_order rnn, best 3.00 steps",
        "3 of 4: temporal_order rnn, best 3.00 steps",
        "4 of 4: temporal_order rnn, best 3.00 steps",
    ]


def test_log_stays_short(told: Callable[..., Told]) -> None:
    """A phase of a thousand trials has some twenty lines in a log, the last trial's among them."""
    console, printed = told()
    series = search(total=1000)
    console.phase("search", [series], 1000)
    for _ in range(1000):
        tell(console, series, 1.0)
    lines = printed().splitlines()
    assert len(lines) == 1 + LOG_LINES
    assert lines[-1].startswith("1000 of 1000: ")


def test_lower_is_better(told: Callable[..., Told]) -> None:
    """Where less is better the best is the lowest."""
    console, printed = told('search.objective="loss"')
    series = search(objective="loss")
    console.phase("search", [series], 4)
    for value in (0.5, 0.25, 0.75):
        tell(console, series, value)
    assert printed().splitlines()[-1].startswith("3 of 4: temporal_order rnn, best 0.25")


def test_best_is_of_complete_trials(told: Callable[..., Told]) -> None:
    """A trial that diverged is no best, though it has a value."""
    console, printed = told()
    series = search()
    console.phase("search", [series], 4)
    tell(console, series, 9.0, TrialStatus.DIVERGED, reason="not finite")
    assert "best: none yet" in printed()


def test_failures_are_named(told: Callable[..., Told]) -> None:
    """Each failed trial is named with its reason, and a reason is never markup."""
    console, printed = told()
    series = search(repeat=2)
    console.phase("search", [series], 4)
    tell(console, series, None, TrialStatus.ERROR, reason="KeyError: '[red]x[/red]'")
    assert "temporal_order rnn repeat 2 trial 0: error, KeyError: '[red]x[/red]'" in printed()


def test_many_failures_of_one_kind_are_cut_short(told: Callable[..., Told]) -> None:
    """Ten lines for each way to fail in a phase.

    The report counts the rest, and another way is still named.
    """
    console, printed = told()
    series = search()
    console.phase("search", [series], 100)
    for _ in range(15):
        tell(console, series, 9.0, TrialStatus.DIVERGED, reason="not finite")
    tell(console, series, None, TrialStatus.ERROR, reason="KeyError")
    lines = [line for line in printed().splitlines() if "trial" in line]
    assert sum("diverged, not finite" in line for line in lines) == 10
    assert sum("error, KeyError" in line for line in lines) == 1
    assert "(the report counts what else ends so: diverged)" in printed()


def test_resumed_phase(told: Callable[..., Told]) -> None:
    """A phase that goes on says how much was done before, and counts on from there."""
    console, printed = told()
    series = search()
    series.finished[0] = SlotRecord(0, "0", {}, 1.0, TrialResult(TrialStatus.COMPLETE, seed=0))
    console.phase("search", [series], 4)
    tell(console, series, 2.0)
    assert printed().splitlines() == [
        "Searching, 1 of 4 done before",
        "2 of 4: temporal_order rnn, best 2.00 steps",
    ]


def test_confirmation(told: Callable[..., Told]) -> None:
    """A confirmation counts the runs that solved their task."""
    console, printed = told()
    series = search()
    console.phase("confirm", [series], 4)
    for solved in (True, False, True):
        tell(console, series, 1.0, solved=solved)
    assert printed().splitlines()[-1] == "3 of 4: temporal_order rnn, solved 2 of 3"


def test_terminal_lines(told: Callable[..., Told]) -> None:
    """On a terminal each (task, cell) has a line with trials, best value and time left."""
    console, printed = told('compare.cells=["rnn","gru"]', "search.repeats=2", terminal=True)
    rnn = [search("rnn", repeat=0), search("rnn", repeat=1)]
    gru = search("gru")
    console.phase("search", [*rnn, gru], 12)
    tell(console, rnn[0], 1.0)
    tell(console, rnn[1], 5.0)
    console.close()
    last = {
        line.split()[1]: line
        for line in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", printed()).splitlines()
        if line.startswith("temporal_order ")
    }
    assert "2/8" in last["rnn"]
    assert "best 5.00 steps" in last["rnn"]
    assert "0/4" in last["gru"]
    assert last["rnn"].rstrip().endswith("left")


def test_terminal_has_no_log_lines(told: Callable[..., Told]) -> None:
    """On a terminal the bars tell how far it is; failures still have their line."""
    console, printed = told(terminal=True)
    series = search()
    console.phase("search", [series], 4)
    tell(console, series, 1.0)
    tell(console, series, None, TrialStatus.CRASHED, reason="killed by SIGKILL")
    console.close()
    assert "1 of 4" not in printed()
    assert "temporal_order rnn repeat 0 trial 1: crashed, killed by SIGKILL" in printed()


def test_interrupted(told: Callable[..., Told]) -> None:
    """An interruption says that all is saved, and gives the command in one line."""
    console, printed = told()
    command = "python -m harness.study " + "--set training.batch_size=16 " * 20
    console.interrupted(command)
    assert f"  {command}\n" in printed()
    assert "saved" in printed()


def test_done(told: Callable[..., Told]) -> None:
    """At the end come the answer, what has no result, and last the report's key."""
    console, printed = told()
    answer: Any = SimpleNamespace(text="rnn remembers [7] steps.")
    console.done(StudyOutcome(Path("results/small"), answer, (("temporal_order", "gru"),)))
    lines = printed().strip().splitlines()
    assert lines[0] == "rnn remembers [7] steps."
    assert lines[1].startswith("no valid result: gru on temporal_order")
    assert lines[-1] == f"report: {Path('results/small/report.html')}"


def test_evaluations_as_the_lesson_prints_them(told: Callable[..., Told]) -> None:
    """With print_evaluations every loss is printed by its step, then the final predictions."""
    console, printed = told("study.print_evaluations=true")
    series = search()
    console.phase("search", [series], 4)
    config: TrainingConfig = config_of()
    job = Job(0, config)
    for seen, loss in ((0, 0.75), (32, 0.5)):
        found = evaluation(seen, loss)
        console.progress(TrialProgress("evaluation", series, job, evaluation=found))
    result = TrialResult(TrialStatus.COMPLETE, seed=0, predictions=(0.25, 0.75))
    series.finished[0] = SlotRecord(0, "0", {}, 1.0, result)
    console.progress(TrialProgress("finished", series, job, result=result))
    assert printed().splitlines()[1:5] == [
        "temporal_order rnn, repeat 0, trial 0",
        "  step     0  loss 0.750000  accuracy 0.50",
        "  step     2  loss 0.500000  accuracy 0.50",
        "  final predictions 0.2500, 0.7500",
    ]


def test_evaluations_are_not_printed_otherwise(told: Callable[..., Told]) -> None:
    """Without print_evaluations no loss on the way is printed."""
    console, printed = told()
    series = search()
    console.phase("search", [series], 4)
    job, found = Job(0, config_of()), evaluation(0, 0.5)
    console.progress(TrialProgress("evaluation", series, job, evaluation=found))
    assert printed() == "Searching\n"


def test_no_terminal_obeys_a_reason(told: Callable[..., Told], tally: Tally) -> None:
    """What a plug-in says when it fails is shown: no colours, no markup, no moved cursor."""
    console, printed = told()
    series = search(total=1)
    console.phase("search", [series], 1)
    tell(console, series, None, TrialStatus.ERROR, reason="[red]no\x1b[2J\x07 luck\u202e[/red]")
    fault = "control characters and markup in a plug-in's reason"
    with tally.each(fault, "no terminal obeys them") as count, count.one():
        assert "error, [red]no\\x1b[2J\\x07 luck\\u202e[/red]" in printed()
        assert not set(printed()) & {*"\x1b\x07\u202e"}
