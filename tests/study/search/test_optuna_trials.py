from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.columns import TrialStatus
from harness.errors import IdentityError
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import TrialSeries, open_confirmation, open_search
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.storage.trial_ledger import TrialResult
from harness.study.trials_to_run import SearchKey, first_solved
from tests.small import small_spec
from tests.study.scripted import evaluation

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
        ("search.trial_timeout_s=10.0", "search.trial_timeout_s"),
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
    ],
)
def test_what_may_change(study_of: Callable[..., StudyRun], setting: str) -> None:
    """What leaves trials comparable may change.

    Trials upward, confirm, throughput, the question.
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
