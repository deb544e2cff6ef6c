from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.columns import TrialStatus
from harness.errors import IdentityError, StorageError
from harness.study.coordinator import Coordinator, TrialLimits
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import TrialSeries, open_confirmation, open_search
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.storage.study_identity import IDENTITY, STARTUP
from harness.study.storage.trial_ledger import TrialResult
from harness.study.trials_to_run import SearchKey, first_solved
from tests.small import small_spec
from tests.study.scripted import ScriptedExecutor, evaluation

WINNER: dict[str, Any] = {
    "hidden_size": 3,
    "num_layers": 1,
    "learning_rate": 0.01,
    "sequence_length": 12,
    "initialization": "pytorch",
}
EVALUATION = evaluation(64, 0.5)


@pytest.fixture
def study_of(tmp_path: Path) -> Iterator[Callable[..., StudyRun]]:
    """Makes a run of the small study with these settings, on one storage."""
    with ExitStack() as opened:
        storage = opened.enter_context(open_storage(default_url(tmp_path), "small"))

        def make(*settings: str) -> StudyRun:
            spec = small_spec(tmp_path, *settings)
            options = StudyOptions(tmp_path, "cpu", 1, where="small.toml")
            return StudyRun(spec, options, storage, spec.identity())

        yield make


def complete(series: TrialSeries, count: int) -> list[int]:
    """Complete so many slots; returns their seeds."""
    seeds = []
    for _ in range(count):
        job = series.next_job()
        seeds.append(job.config.seed)
        series.finish(job, TrialResult(TrialStatus.COMPLETE, job.config.seed), [EVALUATION])
    return seeds


KEY = SearchKey("temporal_order", "rnn", 0)


def test_names_in_the_storage(study_of: Callable[..., StudyRun]) -> None:
    """A search and its confirmation have names that say study, task, cell and repeat."""
    made = study_of("search.repeats=2", "confirm.seeds=1")
    open_search(made, SearchKey("temporal_order", "rnn", 1))
    open_confirmation(made, SearchKey("temporal_order", "rnn", 1), WINNER, [10])
    names = {study.study_name for study in made.storage.get_all_studies()}
    assert names == {"small/temporal_order/rnn/r1", "small/temporal_order/rnn/r1/confirm"}


def test_more_trials(study_of: Callable[..., StudyRun]) -> None:
    """Trials may grow: finished ones stay, the others follow with a longer study's seeds."""
    seeds = complete(open_search(study_of("search.trials=3"), KEY), 3)
    longer = open_search(study_of("search.trials=5"), KEY)
    assert (sorted(longer.finished), longer.total, longer.started) == ([0, 1, 2], 5, 3)
    assert len({*seeds, *complete(longer, 2)}) == 5


def test_fewer_trials(study_of: Callable[..., StudyRun]) -> None:
    """Fewer trials than are stored are refused, naming the key and the least that is possible."""
    complete(open_search(study_of("search.trials=3"), KEY), 3)
    with pytest.raises(
        IdentityError, match=r"small\.toml: search\.trials: expected at least 3.*got 2"
    ):
        open_search(study_of("search.trials=2"), KEY)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("training.batch_size=8", "training.batch_size"),
        ("study.seed=1", "study.seed"),
        ("space.hidden_size={low=2,high=5}", "space.hidden_size"),
        ('compare.cells=["rnn","gru"]', "compare.cells"),
        ('search.sampler="random"', "search.sampler"),
        ('search.pruner="median"', "search.pruner"),
        ('search.objective="loss"', "search.objective"),
        ("search.repeats=2", "search.repeats"),
    ],
)
def test_what_may_not_change(study_of: Callable[..., StudyRun], setting: str, key: str) -> None:
    """What makes trials incomparable is refused on resume, naming the key."""
    open_search(study_of(), KEY)
    with pytest.raises(IdentityError, match=key.replace(".", r"\.")):
        open_search(study_of(setting), KEY)


@pytest.mark.parametrize(
    "setting",
    [
        "search.trials=9",
        "confirm.seeds=3",
        "confirm.sequence_lengths=[11,13]",
        "throughput.enabled=true",
        'study.question="why?"',
        "study.print_evaluations=true",
        "search.trial_timeout_s=10.0",
    ],
)
def test_what_may_change(study_of: Callable[..., StudyRun], setting: str) -> None:
    """What leaves trials comparable may change.

    Trials upward, confirm, throughput, the question, time limits.
    """
    complete(open_search(study_of(), KEY), 2)
    assert sorted(open_search(study_of(setting), KEY).finished) == [0, 1]


def test_seeds_of_all_places_differ(study_of: Callable[..., StudyRun]) -> None:
    """Every trial of a study has a seed of its own.

    Other tasks, cells, repeats, slots, and the confirmation too.
    """
    made = study_of(
        'compare.tasks=["temporal_order","adding"]',
        'compare.cells=["rnn","gru"]',
        "confirm.seeds=3",
    )
    seeds: list[int] = []
    keys = [
        SearchKey(task, cell, repeat)
        for task in ("temporal_order", "adding")
        for cell in ("rnn", "gru")
        for repeat in (0, 1)
    ]
    for key in keys:
        seeds.extend(open_search(made, key).slots.seeds)
        seeds.extend(open_confirmation(made, key, WINNER, [10, 14]).slots.seeds)
    assert len(set(seeds)) == len(seeds) == 8 * (3 + 6)


def test_confirmation_is_the_winner(study_of: Callable[..., StudyRun]) -> None:
    """A confirmation trains the winner at each length with each seed; evaluates on more data."""
    series = open_confirmation(study_of("confirm.seeds=2"), KEY, WINNER, [10, 14])
    jobs = [series.next_job() for _ in range(series.total)]
    assert [job.config.model.sequence_length for job in jobs] == [10, 10, 14, 14]
    assert len({job.config.seed for job in jobs}) == 4
    assert {job.config.model.hidden_size for job in jobs} == {3}
    assert {job.config.verification_sequences for job in jobs} == {64}
    assert {job.config.learning_rate for job in jobs} == {0.01}


def test_more_confirmation_keeps_what_is_there(study_of: Callable[..., StudyRun]) -> None:
    """A longer ladder and more seeds add to a confirmation.

    The runs that it had keep their seeds.
    """
    first = open_confirmation(study_of("confirm.seeds=1"), KEY, WINNER, [10])
    seeds = complete(first, 1)
    second = open_confirmation(study_of("confirm.seeds=2"), KEY, WINNER, [10, 20])
    assert [second.finished[0].result.seed] == seeds
    assert (list(second.finished), second.total) == ([0], 4)


def solved(*factors: int) -> TrialResult:
    """A run that solved its task, evaluated at these multiples of its length."""
    found = tuple((factor, 10 * factor, 0.1, 0.9, 1.0) for factor in factors)
    return TrialResult(TrialStatus.COMPLETE, seed=1, solved=True, extrapolations=found)


def confirm_once(made: StudyRun, result: TrialResult) -> None:
    """Confirm the winner at one length, with this result."""
    series = open_confirmation(made, KEY, WINNER, [10])
    series.finish(series.next_job(), result, [EVALUATION])


@pytest.mark.parametrize(
    ("result", "later", "again"),
    [
        (solved(2), "[2,4]", True),
        (solved(2), "[4]", True),
        (solved(2), "[2]", False),
        (solved(2), "[]", False),
        (solved(), "[2,4]", True),
        (TrialResult(TrialStatus.COMPLETE, seed=1, solved=False), "[2,4]", False),
        (TrialResult(TrialStatus.ERROR, seed=1), "[2,4]", False),
    ],
)
def test_more_extrapolation(
    study_of: Callable[..., StudyRun], result: TrialResult, later: str, again: bool
) -> None:
    """A solved run that lacks a factor is run again with the same seed; any other is kept."""
    confirm_once(study_of("confirm.seeds=1", "confirm.extrapolation=[2]"), result)
    made = study_of("confirm.seeds=1", f"confirm.extrapolation={later}")
    series = open_confirmation(made, KEY, WINNER, [10])
    assert series.has_next is again
    if again:
        job = series.next_job()
        assert str(list(job.config.extrapolation)) == later.replace(",", ", ")
        assert job.config.seed == series.slots.seeds[0]


def test_factor_that_was_not_measured(study_of: Callable[..., StudyRun]) -> None:
    """A run whose longer sequences did not fit into the memory is not run again at each resume."""
    made = study_of("confirm.seeds=1", "confirm.extrapolation=[2,4]")
    confirm_once(made, solved())
    assert not open_confirmation(made, KEY, WINNER, [10]).has_next


def test_confirmation_of_an_older_version(study_of: Callable[..., StudyRun]) -> None:
    """A run whose key names no factors, as older versions wrote it, is kept."""
    made = study_of("confirm.seeds=1", "confirm.extrapolation=[2]")
    series = open_confirmation(made, KEY, WINNER, [10])
    old = series.slots.keys[0].partition("/x")[0]
    series.slots = dataclasses.replace(series.slots, keys=(old,))
    series.finish(series.next_job(), solved(2), [EVALUATION])
    assert not open_confirmation(made, KEY, WINNER, [10]).has_next


def test_time_limit_of_an_older_version(study_of: Callable[..., StudyRun]) -> None:
    """A study of an older version, which stored its time limit, resumes under another one."""
    made = study_of()
    identity = {**made.identity, "search.trial_timeout_s": 300.0}
    open_search(dataclasses.replace(made, identity=identity), KEY)
    open_search(study_of("search.trial_timeout_s=10.0"), KEY)


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("gp", "none"),  # it takes seconds
        *itertools.product(("tpe", "random", "qmc", "grid"), ("none", "median", "hyperband")),
    ],
)
def test_grown_search(study_of: Callable[..., StudyRun], sampler: str, pruner: str) -> None:
    """12 trials grown to 24 are the very trials of 24 at once, whichever the sampler and pruner."""
    lists = ("space.hidden_size=[2,3,4]", "space.learning_rate=[0.001,0.01]")
    wide = (*lists, "space.sequence_length=[10,11,12,13]") if sampler == "grid" else ()
    settings = (
        f'search.sampler="{sampler}"',
        f'search.pruner="{pruner}"',
        "training.sequences=256",
        *wide,
    )

    def found(*steps: int, seed: int) -> list[str]:
        for trials in steps:
            made = study_of(*settings, f"search.trials={trials}", f"study.name='s{seed}'")
            series = open_search(made, KEY)
            Coordinator(ScriptedExecutor(), TrialLimits(), lambda _: None).run([series])
        return [
            f"{dict(each.params)} {each.value} {each.result}"
            for each in (series.finished[slot] for slot in range(series.total))
        ]

    assert found(12, 24, seed=0) == found(24, seed=1)


def test_startup_trials_of_an_older_version(study_of: Callable[..., StudyRun]) -> None:
    """A search of an older version keeps the start-up count of its total, also when it grows."""
    made = study_of("search.trials=40")
    series = open_search(made, KEY)
    record = json.loads(made.storage.get_study_user_attrs(series.ledger.study_id)[IDENTITY])
    assert record.pop(STARTUP) == series.slots.startup_trials == 4
    made.storage.set_study_user_attr(series.ledger.study_id, IDENTITY, json.dumps(record))
    assert open_search(made, KEY).slots.startup_trials == 10
    assert open_search(study_of("search.trials=80"), KEY).slots.startup_trials == 10


def test_startup_trials_that_are_damaged(study_of: Callable[..., StudyRun]) -> None:
    """A stored start-up count that is no count is refused in one line."""
    made = study_of()
    study_id = open_search(made, KEY).ledger.study_id
    record = json.loads(made.storage.get_study_user_attrs(study_id)[IDENTITY])
    damaged = json.dumps({**record, STARTUP: "many"})
    made.storage.set_study_user_attr(study_id, IDENTITY, damaged)
    with pytest.raises(StorageError, match="startup_trials: expected a whole number"):
        open_search(made, KEY)


def test_confirmation_of_another_winner(study_of: Callable[..., StudyRun]) -> None:
    """Runs of another winner stay in the storage and do not count."""
    made = study_of("confirm.seeds=1")
    complete(open_confirmation(made, KEY, WINNER, [10]), 1)
    other = open_confirmation(made, KEY, {**WINNER, "hidden_size": 4}, [10])
    assert other.finished == {}
    complete(other, 1)
    assert len(other.ledger.storage.get_all_trials(other.ledger.study_id)) == 2


def test_interrupted_slot_comes_first(study_of: Callable[..., StudyRun]) -> None:
    """A slot that was given up comes next, with its parameters and seed, also after a resume."""
    series = open_search(study_of(), KEY)
    first = series.next_job()
    series.give_up(first)
    second = series.next_job()
    assert (second.slot, second.config) == (0, first.config)
    third = open_search(study_of(), KEY).next_job()
    assert (third.slot, third.config) == (0, first.config)


def test_first_solved() -> None:
    """The first evaluation that finds the task solved counts, though a later one does not.

    None is None.
    """
    solved = [evaluation(seen, 0.5, solved=32 <= seen < 96) for seen in (0, 32, 64, 96)]
    assert first_solved(solved) == 32
    assert first_solved(solved[:1]) is None
    assert first_solved([]) is None
