"""The coordinator over a scripted executor.

Who runs next, what each end costs, and what is left when it is stopped.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.columns import TrialStatus
from harness.errors import FileError, InputError
from harness.plugins import plugin_sources
from harness.study.backoff import Clock
from harness.study.coordinator import Coordinator, TrialLimits, TrialProgress
from harness.study.execution.worker_messages import TrialOutcome, TrialTrained
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import TrialSeries, open_search
from harness.study.search.propose_parameters import SearchProposer
from harness.study.storage.open_storage import open_storage
from harness.study.trials_to_run import SearchKey
from harness.training.training_loop import Extrapolation, TrainingConfig
from tests.small import FAULTY, small_spec
from tests.study.scripted import Message, ScriptedExecutor, ended, evaluation, learns, outcome
from tests.tally import Tally

EDITED = "one line, exit code 2; what is finished stays, and the slot runs again"
TASKS_AND_CELLS = (
    'compare.tasks=["temporal_order","delayed_recall"]',
    'compare.cells=["rnn","gru"]',
)


@pytest.fixture(scope="module")
def empty_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with Optuna's tables, whose making takes longer than a test."""
    path = tmp_path_factory.mktemp("storage") / "study.db"
    with open_storage(f"sqlite:///{path}", "small"):
        return path


@pytest.fixture
def open_all(tmp_path: Path, empty_storage: Path) -> Iterator[Callable[..., list[TrialSeries]]]:
    """Opens the searches of the small study on a SQLite storage that outlives them.

    `fresh=True` begins with an empty storage.
    """
    opened = ExitStack()
    path = tmp_path / "study.db"

    def open_all(*settings: str, fresh: bool = False) -> list[TrialSeries]:
        opened.close()
        spec = small_spec(tmp_path, *settings)
        if fresh or not path.exists():
            shutil.copy(empty_storage, path)
        storage = opened.enter_context(open_storage(f"sqlite:///{path}", "small"))
        options = StudyOptions(tmp_path, "cpu", 1, where="small.toml")
        study = StudyRun(spec, options, storage, spec.identity())
        return [
            open_search(study, SearchKey(task, cell, repeat))
            for repeat in range(spec.search.repeats)
            for task in spec.compare.tasks
            for cell in spec.compare.cells
        ]

    yield open_all
    opened.close()


def run(
    series: Sequence[TrialSeries],
    executor: ScriptedExecutor,
    limits: TrialLimits | None = None,
    observer: Callable[[TrialProgress], None] = lambda progress: None,
    clock: Clock = time,
) -> bool:
    """Run the coordinator."""
    return Coordinator(executor, limits or TrialLimits(), observer, clock=clock).run(series)


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now_s += seconds


def found(series: Sequence[TrialSeries]) -> list[str]:
    """What the searches hold: parameters, values and results, as text, in which NaN equals NaN."""
    return [
        f"{each.key} {slot} {dict(record.params)} {record.value} {record.result}"
        for each in series
        for slot, record in sorted(each.finished.items())
    ]


# ------------------------------------------------------------------------------------ who runs next


def test_every_slot_gets_an_end(open_all: Callable[..., list[TrialSeries]]) -> None:
    """Each search ends with all of its slots complete, and the storage holds nothing else."""
    series = open_all("search.trials=4", *TASKS_AND_CELLS)
    assert run(series, ScriptedExecutor())
    for each in series:
        assert sorted(each.finished) == [0, 1, 2, 3]
        trials = each.ledger.storage.get_all_trials(each.ledger.study_id)
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4


def test_searches_take_turns(open_all: Callable[..., list[TrialSeries]]) -> None:
    """At every moment no search has started two trials more than another."""
    series = open_all("search.trials=3", "search.repeats=2", *TASKS_AND_CELLS)
    spreads = []

    def watch(progress: TrialProgress) -> None:
        started = [each.started for each in series]
        spreads.append(max(started) - min(started))

    run(series, ScriptedExecutor(num_workers=3), observer=watch)
    assert max(spreads) == 1


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_search_has_two_in_flight_while_there_are_enough(
    open_all: Callable[..., list[TrialSeries]], workers: int
) -> None:
    """With as many searches as workers, each search has at most one trial in flight."""
    series = open_all("search.trials=3", *TASKS_AND_CELLS)
    executor = ScriptedExecutor(num_workers=workers)
    most = []
    run(series, executor, observer=lambda _: most.append(max(each.in_flight for each in series)))
    assert max(most) == 1
    assert executor.most_in_flight == workers


def test_one_search_uses_every_worker(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A lone search has as many trials in flight as there are workers."""
    executor = ScriptedExecutor(num_workers=3)
    run(open_all("search.trials=6"), executor)
    assert executor.most_in_flight == 3


def test_deterministic_keeps_to_one_in_flight(open_all: Callable[..., list[TrialSeries]]) -> None:
    """If asked for, a single search has one trial in flight for any number of workers."""
    executor = ScriptedExecutor(num_workers=3)
    run(open_all("search.trials=6"), executor, TrialLimits(one_in_flight=True))
    assert executor.most_in_flight == 1


@pytest.mark.parametrize("pruner", ["none", "bound", "median", "halving", "hyperband"])
def test_workers_do_not_change_what_is_found(
    open_all: Callable[..., list[TrialSeries]], pruner: str
) -> None:
    """1, 2 and 4 workers find the same, whichever the pruner."""
    settings = (
        "search.trials=8",
        f'search.pruner="{pruner}"',
        "training.sequences=256",
        *TASKS_AND_CELLS,
    )
    results = []
    for workers in (1, 2, 4):
        series = open_all(*settings, fresh=True)
        run(series, ScriptedExecutor(num_workers=workers))
        results.append(found(series))
    assert results[0] == results[1] == results[2]


def test_time_is_up(open_all: Callable[..., list[TrialSeries]]) -> None:
    """After the time is up nothing is started, and every search has had as many turns."""
    series = open_all("search.trials=50", *TASKS_AND_CELLS)
    clock = SetClock()
    executor = ScriptedExecutor(on_event=lambda _: clock.sleep(0.002))
    assert not run(series, executor, TrialLimits(stop_at=0.3), clock=clock)
    counts = [len(each.finished) for each in series]
    assert 0 < min(counts) <= max(counts) <= min(counts) + 1
    assert max(counts) < 50
    assert all(each.in_flight == 0 for each in series)


def test_no_time_at_all(open_all: Callable[..., list[TrialSeries]]) -> None:
    """With no time no trial is started."""
    executor = ScriptedExecutor()
    assert not run(open_all(), executor, TrialLimits(stop_at=time.monotonic()))
    assert executor.requests == []


# ----------------------------------------------------------------------------------------- the ends


def end_of(series: TrialSeries, slot: int = 0) -> tuple[TrialStatus, float | None]:
    """How a slot ended, and its objective."""
    record = series.finished[slot]
    return record.result.end, record.value


def test_crash_is_tried_three_times(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial that crashes runs three times with the same parameters, then its slot has crashed.

    The next runs.
    """
    (series,) = open_all("search.trials=2")
    first: list[int] = []

    def script(config: TrainingConfig) -> list[Message]:
        first.append(config.seed)
        return [evaluation(0, 1.0), ended()] if config.seed == first[0] else learns(config)

    executor = ScriptedExecutor(script)
    run([series], executor)
    assert [end_of(series, slot)[0] for slot in (0, 1)] == [
        TrialStatus.CRASHED,
        TrialStatus.COMPLETE,
    ]
    trials = series.ledger.storage.get_all_trials(series.ledger.study_id)
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert trials[0].params == trials[1].params == trials[2].params != trials[3].params
    assert len({request.request_id for request in executor.requests}) == 4


def test_crash_that_does_not_come_back(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial that crashes once and then trains is complete, and its slot is counted once."""
    (series,) = open_all("search.trials=1")
    scripts = iter([[ended()], [evaluation(0, 1.0), outcome()]])
    run([series], ScriptedExecutor(lambda _: next(scripts)))  # type: ignore[arg-type]
    assert end_of(series)[0] is TrialStatus.COMPLETE
    assert open_all("search.trials=1")[0].finished[0].result.end is TrialStatus.COMPLETE


def test_out_of_memory_kill_is_not_tried_again(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial that the system killed for lack of memory would only do it again."""
    (series,) = open_all("search.trials=1")
    executor = ScriptedExecutor(lambda _: [ended("out_of_memory", "no memory left")])
    run([series], executor)
    assert end_of(series) == (TrialStatus.OUT_OF_MEMORY, 0.0)
    assert len(executor.requests) == 1


def test_error_is_not_tried_again(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial that raises fails without a value, once, with its reason."""
    (series,) = open_all("search.trials=1")
    executor = ScriptedExecutor(lambda _: [outcome("error", "ValueError: no"), ended()])
    run([series], executor)
    assert end_of(series) == (TrialStatus.ERROR, None)
    assert series.finished[0].result.reason == "ValueError: no"
    assert len(executor.requests) == 1


@pytest.mark.parametrize(
    ("objective", "worst"),
    [
        ("remembered_steps", 0.0),
        ("skill", -1.0),
        ("loss", 2 * math.log(4)),
        ("sequences_to_solve", 128.0),
    ],
)
@pytest.mark.parametrize(
    "end", [TrialStatus.DIVERGED, TrialStatus.OUT_OF_MEMORY, TrialStatus.TIMEOUT]
)
def test_worst_value_and_violated_constraint(
    open_all: Callable[..., list[TrialSeries]], objective: str, worst: float, end: TrialStatus
) -> None:
    """A diverged or limited trial gets the objective's worst value and is infeasible in Optuna."""
    (series,) = open_all("search.trials=1", f'search.objective="{objective}"')
    script = [evaluation(0, 1.0)]
    if end is TrialStatus.DIVERGED:
        script = [evaluation(0, math.nan), outcome("diverged")]  # type: ignore[list-item]
    elif end is TrialStatus.OUT_OF_MEMORY:
        script.append(outcome("out_of_memory"))  # type: ignore[arg-type]
    run(
        [series],
        ScriptedExecutor(lambda _: script),
        TrialLimits(trial_timeout_s=0.01 if end is TrialStatus.TIMEOUT else None),
    )
    assert end_of(series) == (end, pytest.approx(worst))  # type: ignore[comparison-overlap]
    (trial,) = series.ledger.storage.get_all_trials(series.ledger.study_id)
    assert trial.state is optuna.trial.TrialState.COMPLETE
    assert trial.value == pytest.approx(worst)
    assert trial.constraints == {"ended": 1.0}
    name = series.ledger.storage.get_study_name_from_id(series.ledger.study_id)
    with pytest.raises(ValueError, match="feasible"):
        _ = optuna.load_study(study_name=name, storage=series.ledger.storage).best_trial


def test_infeasible_never_best(open_all: Callable[..., list[TrialSeries]]) -> None:
    """Optuna's own best trial is one that completed, though a diverged one has an equal value."""
    (series,) = open_all("search.trials=4")
    scripts = iter(
        [[evaluation(0, math.nan), outcome("diverged")]] * 3 + [[evaluation(0, 2.0), outcome()]]
    )
    run([series], ScriptedExecutor(lambda _: next(scripts)))  # type: ignore[arg-type]
    name = series.ledger.storage.get_study_name_from_id(series.ledger.study_id)
    best = optuna.load_study(study_name=name, storage=series.ledger.storage).best_trial
    assert (best.number, best.value) == (3, 0.0)


def test_late_trial_is_cancelled(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial past its time is cancelled, keeps its last evaluation, and frees its worker."""
    (series,) = open_all("search.trials=2")
    executor = ScriptedExecutor(lambda _: [evaluation(0, 1.0), evaluation(32, 0.5)])
    run([series], executor, TrialLimits(trial_timeout_s=0.5))
    assert executor.cancelled == [1, 2]
    result = series.finished[0].result
    assert (result.end, result.loss, result.sequences_seen) == (TrialStatus.TIMEOUT, 0.5, 32)
    assert result.reason == "took longer than 0.5 s"


def test_another_time_limit_on_resume(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A trial that timed out keeps its end and names its limit, when a resume has another one."""
    script = ScriptedExecutor(lambda _: [evaluation(0, 1.0)])
    for trials, limit_s in ((1, 0.1), (2, 0.2)):
        (series,) = open_all(f"search.trials={trials}", f"search.trial_timeout_s={limit_s}")
        run([series], script, TrialLimits(trial_timeout_s=limit_s))
    results = [series.finished[slot].result for slot in (0, 1)]
    assert [(each.end, each.reason) for each in results] == [
        (TrialStatus.TIMEOUT, "took longer than 0.1 s"),
        (TrialStatus.TIMEOUT, "took longer than 0.2 s"),
    ]


def test_time_in_which_nobody_was_heard(open_all: Callable[..., list[TrialSeries]]) -> None:
    """A storage that is waited for longer than a trial may take makes no trial late.

    One that hangs is late all the same.
    """
    (series,) = open_all("search.trials=2")
    hangs = iter((False, True))

    def script(config: TrainingConfig) -> list[Message]:
        return [evaluation(0, 1.0)] if next(hangs) else learns(config)

    def wait(progress: TrialProgress) -> None:
        if progress.kind != "finished":
            time.sleep(0.3)

    run([series], ScriptedExecutor(script), TrialLimits(trial_timeout_s=0.2), wait)
    assert [end_of(series, slot)[0] for slot in (0, 1)] == [
        TrialStatus.COMPLETE,
        TrialStatus.TIMEOUT,
    ]


def test_storage_fails_while_all_is_given_up(
    open_all: Callable[..., list[TrialSeries]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the storage cannot be written, trials are cancelled and the first error is told."""
    series = open_all("search.trials=2", *TASKS_AND_CELLS)
    executor = ScriptedExecutor(num_workers=4)

    def full(*arguments: object) -> None:
        raise FileError("study.db", f"no room, {len(executor.cancelled)} cancelled")

    for each in series:
        monkeypatch.setattr(each.ledger, "report", full)
        monkeypatch.setattr(each.ledger, "interrupt", full)
    with pytest.raises(FileError, match="no room, 0 cancelled"):
        run(series, executor)
    assert len(executor.cancelled) == 4
    monkeypatch.undo()
    again = open_all("search.trials=2", *TASKS_AND_CELLS)
    assert run(again, ScriptedExecutor())
    assert all(sorted(each.finished) == [0, 1] for each in again)


def test_a_plugin_that_is_edited_meanwhile(
    open_all: Callable[..., list[TrialSeries]], tally: Tally
) -> None:
    """A worker with other source of a plug-in ends the study; what is finished stays."""
    edited = TrialOutcome(TrialStatus.ERROR, "an edited one", other_source="plugin.mine.py")
    begun = itertools.count()

    def script(config: TrainingConfig) -> Sequence[Message]:
        return [edited] if next(begun) == 1 else learns(config)

    with pytest.raises(InputError) as refused:
        run(open_all("search.trials=3"), ScriptedExecutor(script))
    (series,) = open_all("search.trials=3")
    lost = int([*series.finished] != [0])
    assert run([series], ScriptedExecutor())
    lost += sum(each.result.end is not TrialStatus.COMPLETE for each in series.finished.values())
    tally.add("a plug-in edited while its study runs", EDITED, lost=lost)
    assert (lost, refused.value.exit_code) == (0, 2)
    assert re.match(
        r"--plugin: plugin\.mine\.py: expected the source that this .*, got an edited one; undo",
        str(refused.value),
    )


def test_a_request_names_the_source(open_all: Callable[..., list[TrialSeries]]) -> None:
    """Each request holds the source of the plug-ins that the coordinator has loaded."""
    executor = ScriptedExecutor()
    Coordinator(executor, TrialLimits(), lambda _: None, (FAULTY,)).run(open_all("search.trials=2"))
    expected = plugin_sources((FAULTY,))
    assert [each.sources for each in executor.requests] == [expected] * 2
    assert [*expected] == ["plugin.faulty.py"]


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_pruned(open_all: Callable[..., list[TrialSeries]], pruner: str) -> None:
    """A trial that falls behind is cancelled and told as pruned with its last value.

    A good one is complete.
    """
    (series,) = open_all(
        "search.trials=12",
        f'search.pruner="{pruner}"',
        'search.objective="loss"',
        "training.sequences=320",
    )
    order: list[int] = []

    def script(config: TrainingConfig) -> list[Message]:
        order.append(config.seed)
        loss = 0.1 + 0.1 * len(order)  # each worse than all before it
        return [*(evaluation(seen, loss) for seen in range(0, 321, 32)), outcome()]

    executor = ScriptedExecutor(script)
    run([series], executor)
    ends = [end_of(series, slot) for slot in range(12)]
    assert ends[0] == (TrialStatus.COMPLETE, pytest.approx(0.2))  # type: ignore[comparison-overlap]
    assert ends[11] == (TrialStatus.PRUNED, pytest.approx(1.3))  # type: ignore[unreachable]
    pruned = [slot for slot, (end, _) in enumerate(ends) if end is TrialStatus.PRUNED]
    assert len(executor.cancelled) == len(pruned)
    trials = series.ledger.storage.get_all_trials(series.ledger.study_id)
    assert [trial.number for trial in trials if trial.state.name == "PRUNED"] == pruned
    assert "pruned after" in series.finished[11].result.reason


@pytest.mark.parametrize("objective", ["remembered_steps", "sequences_to_solve"])
def test_bound_ends_who_cannot_win_and_nobody_else(
    open_all: Callable[..., list[TrialSeries]], objective: str
) -> None:
    """At equal proposals the winner is the one without a pruner.

    Whoever was ended could not have beaten the best by then.
    """
    settings = ("search.trials=20", f'search.objective="{objective}"', 'search.sampler="random"')
    settings += ("space.sequence_length={low=10,high=60}", "training.sequences=256")  # type: ignore[assignment]
    bests = []
    for pruner in ("none", "bound"):
        (series,) = open_all(*settings, f'search.pruner="{pruner}"', fresh=True)
        run([series], ScriptedExecutor(some_solve))
        ended = {slot: end_of(series, slot) for slot in range(20)}
        complete = {
            slot: value for slot, (end, value) in ended.items() if end is TrialStatus.COMPLETE
        }
        pick = max if series.objective.direction == "maximize" else min
        bests.append(pick(complete.items(), key=lambda item: item[1]))  # type: ignore[arg-type, return-value]
        assert len(complete) == 20 if pruner == "none" else 2 <= len(complete) < 18
    assert bests[0] == bests[1]


def some_solve(config: TrainingConfig) -> list[Message]:
    """Two in three solve the task, sooner or later; the others never do."""
    events, lot = [], config.seed % 6
    for seen in range(0, config.sequences + 1, config.evaluate_every):
        solved = lot < 4 and seen > lot * config.evaluate_every
        events.append(evaluation(seen, 0.01 if solved else 1.0, solved=solved))
        if solved:
            break
    return [*events, outcome()]


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
@pytest.mark.parametrize("objective", ["remembered_steps", "loss"])
def test_diverged_is_not_called_pruned(
    open_all: Callable[..., list[TrialSeries]], pruner: str, objective: str
) -> None:
    """A pruner that would end a diverged trial does not hide that it diverged."""
    (series,) = open_all(
        "search.trials=6", f'search.pruner="{pruner}"', f'search.objective="{objective}"'
    )

    def script(config: TrainingConfig) -> list[Message]:
        if len(series.finished) < 5:
            return learns(config)
        return [evaluation(0, 1.0), evaluation(32, math.nan), outcome("diverged", "not finite")]

    run([series], ScriptedExecutor(script))
    assert end_of(series, 5)[0] is TrialStatus.DIVERGED


@pytest.mark.parametrize(
    ("last", "how", "n_tries"),
    [
        ([], "took longer than 0.5 s", 1),
        ([ended()], "killed by SIGKILL", 3),
        ([ended("out_of_memory", "no memory left")], "no memory left", 1),
    ],
)
def test_what_comes_after_training_takes_nothing_back(
    open_all: Callable[..., list[TrialSeries]], last: list[Message], how: str, n_tries: int
) -> None:
    """A solved trial is complete, even if its longer sequences take too long or kill it."""
    (series,) = open_all("search.trials=1", 'compare.cells=["rnn"]')
    solved: list[Message] = [evaluation(0, 1.0), evaluation(32, 0.1, solved=True)]
    solved.append(TrialTrained(outcome()))
    executor = ScriptedExecutor(lambda _: [*solved, *last])
    run([series], executor, TrialLimits(trial_timeout_s=0.5))
    result = series.finished[0].result
    assert (result.end, result.solved, result.extrapolations) == (TrialStatus.COMPLETE, True, ())
    assert result.reason == f"not evaluated on longer sequences: {how}"
    assert len(executor.requests) == n_tries


@pytest.mark.parametrize(
    ("sequences", "n_before_the_kill"),
    [(1000, 9), (1000, 10), (1050, 10)],
    ids=["before the last evaluation", "after it", "in the unscored tail"],
)
def test_killed_without_an_outcome_runs_again(
    open_all: Callable[..., list[TrialSeries]], sequences: int, n_before_the_kill: int
) -> None:
    """A process that ends without an outcome is run again, however far it had come.

    Batches of 32 overshoot an evaluation every 100 sequences, so 928 is not the last one.
    """
    (series,) = open_all(
        "search.trials=1",
        *("training.batch_size=32", "training.evaluate_every=100"),
        *(f"training.sequences={sequences}", "training.evaluation_sequences=32"),
    )
    seen = [0, 128, 224, 320, 416, 512, 608, 704, 800, 928, min(1024, sequences)]
    whole: list[Message] = [evaluation(each, 1 / (1 + each)) for each in seen]
    whole.append(outcome("diverged", "not finite") if sequences == 1050 else outcome())
    scripts = iter([[*whole[:n_before_the_kill], ended()], whole])
    executor = ScriptedExecutor(lambda _: next(scripts))
    run([series], executor)
    result = series.finished[0].result
    assert len(executor.requests) == 2
    assert result.sequences_seen == seen[-1]
    assert result.end is (TrialStatus.DIVERGED if sequences == 1050 else TrialStatus.COMPLETE)


def test_killed_on_longer_sequences_runs_again(
    open_all: Callable[..., list[TrialSeries]],
) -> None:
    """A kill while longer sequences are measured leaves no gap in extrapolation.csv."""
    (series,) = open_all("search.trials=1", 'compare.cells=["rnn"]')
    solved: list[Message] = [evaluation(0, 1.0), evaluation(32, 0.1, solved=True)]
    solved.append(TrialTrained(outcome()))
    longer = TrialOutcome(
        TrialStatus.COMPLETE, extrapolations=(Extrapolation(2, 20, 0.1, 0.9, 1.0),)
    )
    scripts = iter([[*solved, ended()], [*solved, longer]])
    run([series], ScriptedExecutor(lambda _: next(scripts)))
    result = series.finished[0].result
    assert result.extrapolations == ((2, 20, 0.1, 0.9, 1.0),)
    assert (result.end, result.reason) == (TrialStatus.COMPLETE, "")


def test_an_evaluation_that_comes_twice_counts_once(
    open_all: Callable[..., list[TrialSeries]],
) -> None:
    """An evaluation that is sent again, or late, is stored once and in order."""
    (series,) = open_all("search.trials=1")
    first, second = evaluation(0, 1.0), evaluation(32, 0.5)
    script: list[Message] = [first, first, second, first, second, outcome()]
    run([series], ScriptedExecutor(lambda _: script))
    assert [seen for seen, *_ in series.finished[0].result.evaluations] == [0, 32]


def test_time_limit_begins_when_the_process_has_started(
    open_all: Callable[..., list[TrialSeries]],
) -> None:
    """What a process needs to start, as to load torch, is not in its trial's time limit."""
    (series,) = open_all("search.trials=1")
    clock = SetClock()

    def pass_time(n_events: int) -> None:
        clock.sleep(100.0 if n_events == 1 else 0.1)  # the first event is TrialStarted

    run([series], ScriptedExecutor(on_event=pass_time), TrialLimits(1.0), clock=clock)
    assert end_of(series)[0] is TrialStatus.COMPLETE


def test_machine_that_stopped_makes_no_trial_late(
    open_all: Callable[..., list[TrialSeries]],
) -> None:
    """If the machine sleeps while a trial runs, the time that passes is not the trial's."""
    (series,) = open_all("search.trials=1")
    clock = SetClock()

    def pass_time(n_events: int) -> None:
        clock.sleep(3600.0 if n_events == 3 else 0.1)

    run([series], ScriptedExecutor(on_event=pass_time), TrialLimits(1.0), clock=clock)
    assert end_of(series)[0] is TrialStatus.COMPLETE


def test_late_events_of_an_earlier_phase(open_all: Callable[..., list[TrialSeries]]) -> None:
    """The end of a process of one phase is never taken for a trial of the next."""
    (first, second) = open_all("search.trials=2", 'compare.cells=["rnn","gru"]')
    executor = ScriptedExecutor(lambda config: [*learns(config), ended()])
    run([first], executor)
    run([second], executor)
    numbers = [request.request_id for request in executor.requests]
    assert len(set(numbers)) == len(numbers) == 4
    assert all(end_of(second, slot)[0] is TrialStatus.COMPLETE for slot in (0, 1))


# ------------------------------------------------------------------------------ stopped and resumed


def test_interrupted(open_all: Callable[..., list[TrialSeries]]) -> None:
    """Ctrl-C cancels what runs, stores FAIL with the reason, and leaves nothing RUNNING."""
    series = open_all("search.trials=3", *TASKS_AND_CELLS)

    def stop(n_events: int) -> None:
        if n_events == 8:
            raise KeyboardInterrupt

    executor = ScriptedExecutor(num_workers=4, on_event=stop)
    with pytest.raises(KeyboardInterrupt):
        run(series, executor)
    assert len(executor.cancelled) == 4
    for each in series:
        trials = each.ledger.storage.get_all_trials(each.ledger.study_id)
        assert [trial.state.name for trial in trials] == ["FAIL"]
        assert '"interrupted"' in trials[0].user_attrs["result"]
    again = open_all("search.trials=3", *TASKS_AND_CELLS)
    rerun = ScriptedExecutor(num_workers=4)
    run(again, rerun)
    firsts = {request.config.seed: request.config for request in executor.requests}
    for request in rerun.requests[:4]:
        assert firsts[request.config.seed] == request.config


def test_interrupted_while_an_end_is_written(
    open_all: Callable[..., list[TrialSeries]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the storage and the memory of an end is no error, and the end is kept."""
    (series,) = open_all("search.trials=2")

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(series.proposer, "tell", stop)
    with pytest.raises(KeyboardInterrupt):
        run([series], ScriptedExecutor())
    (again,) = open_all("search.trials=2")
    assert sorted(again.finished) == [0]


@pytest.mark.parametrize("pruner", ["none", "bound", "median", "halving", "hyperband"])
def test_restored_history(open_all: Callable[..., list[TrialSeries]], pruner: str) -> None:
    """After a resume, sampler and pruner see the same history as without it."""
    settings = ("search.trials=12", f'search.pruner="{pruner}"', "training.sequences=256")
    (series,) = open_all(*settings)
    run([series], ScriptedExecutor(learns_or_fails))
    live = history_of(series)
    assert live == history_of(open_all(*settings)[0])
    assert {attributes["constraints:ended"] for *_, attributes in live} == {0.0, 1.0}


def history_of(series: TrialSeries) -> list[Any]:
    """What a sampler and a pruner can know of each finished trial.

    TPE's own notes are for running ones.
    """
    proposals = series.proposer
    assert isinstance(proposals, SearchProposer)
    found = []
    for trial in proposals.study.trials:
        notes = {k: v for k, v in trial.system_attrs.items() if not k.startswith("tpe:")}
        steps = trial.intermediate_values
        notes = {"constraints:ended": 0.0, **notes}
        found.append((trial.state, trial.values, trial.params, trial.distributions, steps, notes))
    return found


def learns_or_fails(config: TrainingConfig) -> list[Message]:
    """Every fifth diverges, every fifth raises, the others learn."""
    choice = config.seed % 5
    if choice == 0:
        return [evaluation(0, 1.0), evaluation(32, math.nan), outcome("diverged")]
    return [evaluation(0, 1.0), outcome("error")] if choice == 1 else learns(config)


RESUMED = [
    *[("tpe", pruner) for pruner in ("none", "bound", "median", "halving", "hyperband")],
    *[("random", "halving"), ("gp", "none"), ("qmc", "none"), ("grid", "none")],
]


@pytest.mark.parametrize(("sampler", "pruner"), RESUMED)
def test_resume_finds_the_same(
    open_all: Callable[..., list[TrialSeries]], sampler: str, pruner: str
) -> None:
    """A study that is killed often finds the same, with any sampler and pruner."""
    trials = 8 if sampler == "gp" else 12
    settings = [
        f"search.trials={trials}",
        f'search.sampler="{sampler}"',
        f'search.pruner="{pruner}"',
    ]
    settings += ["training.sequences=256", 'compare.cells=["rnn","gru"]']
    if sampler == "grid":
        settings += ["space.hidden_size=[2,3]", "space.learning_rate=[0.1,0.2,0.3]"]
        settings += ["space.sequence_length=[10,12]"]

    whole = open_all(*settings)
    run(whole, ScriptedExecutor(learns_or_fails))
    undisturbed = found(whole)
    lots, kills = random.Random(1), 0
    while True:
        series = open_all(*settings, fresh=kills == 0)
        moment = lots.randint(1, 40)

        def kill(n_events: int, moment: int = moment) -> None:
            if n_events == moment:
                # The coordinator's own clean-up is undone below: a killed process has none
                raise SystemExit

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Coordinator, "_give_up", lambda self: None)
                run(series, ScriptedExecutor(learns_or_fails, on_event=kill))
        except SystemExit:
            kills += 1
            continue
        break
    assert kills > 3
    assert found(series) == undisturbed
    for each in series:
        states = [trial.state for trial in each.ledger.storage.get_all_trials(each.ledger.study_id)]
        assert not any(state.name in ("RUNNING", "WAITING") for state in states)
