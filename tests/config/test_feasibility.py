"""harness.config.feasibility.

A study held against the tasks, the cells and the memory that are at hand.
"""

import time
import tracemalloc
from typing import Any

import pytest

from harness import config as specs
from harness.cells import CELLS, Cell
from harness.errors import InputError
from harness.hyperparameters import Choice, Fixed, Range
from harness.tasks import TASKS
from tests.config.least import GIGABYTE, LEAST, WITHOUT_SIZE, check, parse, raw


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        ({"compare": {"tasks": ["ading"]}}, "compare.tasks.0: expected a known task.*'adding'"),
        ({"compare": {"cells": ["rnn", "lstmm"]}}, "compare.cells.1: .*a known cell.*'lstm'"),
        (
            {"compare": {"cells": ["a"], "variants": {"a": "lstmm"}}},
            "compare.variants.a: expected a known cell, got 'lstmm'; did you mean 'lstm'",
        ),
        ({"space": {"initialization": "chrno"}}, "space.initialization: .*mean 'chrono'"),
        ({"space": {"lstm": {"zoneout": 0.1}}}, "space.lstm.zoneout: expected a hyperparameter"),
    ],
)
def test_a_name_that_is_not_at_hand_is_refused(tables: dict[str, Any], match: str) -> None:
    """An unknown task, cell, initialisation or hyperparameter is refused with the nearest name."""
    with pytest.raises(InputError, match=match):
        check(parse(**tables))


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        (
            {"compare": {"tasks": ["temporal_order"]}, "space": {"sequence_length": 9}},
            "space.sequence_length: expected at least 10 for the task temporal_order, got 9; raise",
        ),
        (
            {
                "compare": {"tasks": ["adding", "temporal_order"]},
                "space": {"sequence_length": {"low": 5, "high": 40}},
            },
            "space.sequence_length: expected at least 10 .*, got 5",
        ),
        (
            {"space": {"lstm": {"sequence_length": [1, 20]}}},
            "space.sequence_length: expected at least 2 for the task adding, got 1",
        ),
        (
            {"compare": {"tasks": ["temporal_order"]}, "confirm": {"sequence_lengths": [8, 20]}},
            "confirm.sequence_lengths: expected at least 10 .*, got 8",
        ),
        (
            {"compare": {"tasks": ["lesson"]}, "confirm": {"seeds": 0}},
            "space.sequence_length: expected 4, the length of the fixed sequences of the task lesson, got 20; set space.sequence_length = 4",
        ),
        (
            {"compare": {"tasks": ["lesson"]}, "space": {"sequence_length": 4}},
            r"confirm.sequence_lengths: expected 4, .* got 10, .*, 200; set .* = \[4\], or confirm.seeds = 0",
        ),
        (
            {
                "compare": {"tasks": ["lesson"]},
                "space": {"sequence_length": 4},
                "confirm": {"lags": [3, 10]},
            },
            "confirm.lags: expected lags that the task lesson has, .*got 10",
        ),
        ({"confirm": {"lags": [10**9]}}, "confirm.lags: .*up to 100,000, got 1000000000"),
        ({"confirm": {"lags": [10, 10**9]}}, "confirm.lags: .*up to 100,000, got 1000000000"),
        ({"space": {"initialization": "chrono"}, "compare": {"cells": ["rnn"]}}, "rnn has"),
        (
            {"compare": {"cells": ["gru"], "variants": {"gru": "lstm"}}},
            "compare.variants.gru: expected a name of its own, not that of another cell",
        ),
    ],
)
def test_what_tasks_and_cells_do_not_have_is_refused(tables: dict[str, Any], match: str) -> None:
    """Lengths and lags that a task lacks, and initialisations that a cell lacks, are refused."""
    with pytest.raises(InputError, match=match):
        check(parse(**tables))


def test_a_ladder_that_is_not_climbed_is_not_checked() -> None:
    """Without confirmation the ladder's lengths, defaults too, do not matter."""
    spec = parse(
        compare={"tasks": ["lesson"]},
        space={"sequence_length": 4},
        confirm={"seeds": 0},
    )
    assert check(spec) == spec


def test_fixed_sequences_are_confirmed_at_their_own_length() -> None:
    """A ladder of that length alone is climbed, as is one of lags that they have: 3 steps, at 4."""
    for confirm, expected in (({"sequence_lengths": [4]}, (4,)), ({"lags": [1, 2, 3]}, (4,))):
        spec = parse(compare={"tasks": ["lesson"]}, space={"sequence_length": 4}, confirm=confirm)
        assert specs.confirmation_lengths(check(spec), TASKS["lesson"]) == expected


# ------------------------------------------------------------------------------------------- memory


def test_memory_that_cannot_fit_is_named_in_bytes() -> None:
    """The refusal names the available memory, the needed memory, and the sizes that need it."""
    spec = parse(space={"hidden_size": {"low": 8, "high": 100_000}})
    with pytest.raises(InputError, match=r"hidden_size 100,000") as caught:
        check(spec, 16 * GIGABYTE)
    said = str(caught.value)
    assert "space.hidden_size: " in said
    assert "fits into 16,000,000,000 bytes" in said
    needed = int(said.partition("got about ")[2].partition(" bytes")[0].replace(",", ""))
    # four numbers of four bytes for each weight: itself, its gradient and Adam's two moments
    assert needed >= 16 * sum(4 * n for n in (100_000 * 2, 100_000**2))
    assert check(spec, needed) == spec


@pytest.mark.parametrize(
    "tables",
    [
        {"space": {"sequence_length": 2**31 - 1}},
        {"space": {"sequence_length": {"low": 10, "high": 2**31 - 1, "log": True}}},
        {"training": {"batch_size": 2**31 - 1}},
        {"space": {"num_layers": 1_000, "hidden_size": 4_096}},
        {"confirm": {"sequence_lengths": [10, 10**9]}},
        {"space": {"lstm": {"hidden_size": [8, 2**31 - 1]}}},
    ],
)
def test_every_size_counts(tables: dict[str, Any]) -> None:
    """Length, batch, layers, a rung of the ladder or one cell's own table can each be too large."""
    with pytest.raises(InputError, match=r"fits into .* bytes of memory, got about [\d,]+ bytes"):
        check(parse(**tables))


def test_num_parameters_counts() -> None:
    """A size that is derived later is refused like one that is written."""
    spec = specs.parse_study(
        {**LEAST, "space": WITHOUT_SIZE, "training": {"num_parameters": 2**31 - 1}}, "f.toml"
    )
    with pytest.raises(InputError, match=r"got about [34][0-9],"):  # 4 x 4 bytes x 2^31
        check(spec)


def test_the_estimate_is_near_what_a_trial_holds() -> None:
    """The largest trial of a small LSTM.

    Weights by torch's count, and the states and gates of its steps.
    """
    import torch

    spec = parse(space={"hidden_size": 32, "num_layers": 2}, training={"batch_size": 64})
    with pytest.raises(InputError) as caught:
        check(parse(space={"hidden_size": 32, "num_layers": 2, "sequence_length": 200}), 1)
    needed = int(str(caught.value).partition("got about ")[2].split()[0].replace(",", ""))
    weights = sum(w.numel() for w in torch.nn.LSTM(2, 32, 2).parameters())
    states = 32 * 200 * 2 * 32  # one number for each unit at each step, of 4 gates, h and c
    assert 4 * (4 * weights + 3 * states) < needed < 4 * (4 * weights + 10 * states)
    assert check(spec) == spec


def needed_bytes(task: str, **space: Any) -> int:
    """What the refusal of a study on that task says that its largest trial needs."""
    spec = parse(
        compare={"tasks": [task]},
        space={"hidden_size": 32, "sequence_length": 40, **space},
        training={"batch_size": 64},
        confirm={"seeds": 0},
    )
    with pytest.raises(InputError) as caught:
        check(spec, 1)
    return int(str(caught.value).partition("got about ")[2].split()[0].replace(",", ""))


def test_steps_and_outputs_that_a_task_adds_count() -> None:
    """Copy memory counts 20 steps more than its length, and 8 outputs at each step."""
    steps = needed_bytes("copy_memory", sequence_length=41) - needed_bytes("copy_memory")
    weights = 4 * 4 * (4 * (32 * 10 + 32 * 32))
    assert needed_bytes("copy_memory") - weights == steps * 60
    plain = needed_bytes("adding", sequence_length=41) - needed_bytes("adding")
    assert steps - plain == 4 * 64 * (8 + 2 * 8)  # 8 more inputs, 8 outputs and their probabilities


HOSTILE = [
    {"space": {"hidden_size": 10**18}},
    {"space": {"hidden_size": 10**400}},
    {"space": {"learning_rate": 10**400}},
    {"space": {"num_layers": 2**31}},
    {"space": {"sequence_length": 10**18}},
    {"training": {"sequences": 10**18}},
    {"training": {"evaluation_sequences": 10**18}},
    {"search": {"trials": 10**18}},
    {"search": {"repeats": 10**9}},
    {"search": {"trial_timeout_s": 1e300}},
    {"search": {"trial_memory_bytes": 10**400}},
    {"confirm": {"seeds": 10**9}},
    {"confirm": {"lags": [10**18]}},
    {"confirm": {"sequence_lengths": [10**18]}},
    {"study": {"seed": 16**20_000}},
    {"space": {"hidden_size": 2**31 - 1, "num_layers": 1_000, "sequence_length": 2**31 - 1}},
]


@pytest.mark.parametrize("tables", HOSTILE)
def test_hostile_numbers_allocate_nothing(tables: dict[str, Any]) -> None:
    """A number of any size is refused at once, and no memory is taken for it."""
    plain = raw(**tables)
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            check(specs.parse_study(plain, "f.toml"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert time.monotonic() - start < 20


# ---------------------------------------------------------------------------------- initialisations


def test_an_initialisation_that_does_not_apply_is_removed() -> None:
    """Each cell searches those of the list that it has."""
    spec = check(
        parse(
            compare={"cells": ["rnn", "lstm"]},
            space={"initialization": ["pytorch", "orthogonal", "chrono"]},
        )
    )
    assert spec.parameters("adding", "rnn")["initialization"] == Choice(("pytorch", "orthogonal"))
    assert spec.parameters("adding", "lstm")["initialization"] == Choice(
        ("pytorch", "orthogonal", "chrono")
    )


def test_an_initialisation_of_a_cell_that_is_plugged_in() -> None:
    """A cell may declare its own; for the others it does not apply."""

    def keep(*_: object) -> None:
        """Change nothing."""

    own = Cell("own", CELLS["rnn"].factory, 1, {"pytorch": keep, "identity": keep})
    spec = check(
        parse(compare={"cells": ["rnn", "own"]}, space={"initialization": ["identity", "pytorch"]}),
        own=own,
    )
    assert spec.parameters("adding", "own")["initialization"] == Choice(("identity", "pytorch"))
    assert spec.parameters("adding", "rnn")["initialization"] == Choice(("pytorch",))


def test_a_hyperparameter_of_a_cell_that_is_plugged_in() -> None:
    """A table of [space] with the cell's name takes what the cell declares."""
    own = Cell("own", CELLS["rnn"].factory, 1, CELLS["rnn"].initializations, {"zoneout": 0.0})
    spec = parse(compare={"cells": ["own"]}, space={"own": {"zoneout": {"low": 0, "high": 0.5}}})
    assert check(spec, own=own).parameters("adding", "own")["zoneout"] == Range(0, 0.5)


OWN = Cell("own", CELLS["rnn"].factory, hyperparameters={"zoneout": {"low": 0.0, "high": 0.5}})


def test_what_a_cell_declares_is_searched() -> None:
    """A hyperparameter that the study does not set has the cell's space, and a column."""
    spec = check(parse(compare={"cells": ["rnn", "own"]}), own=OWN)
    assert spec.parameters("adding", "own")["zoneout"] == Range(0.0, 0.5)
    assert "zoneout" not in spec.parameters("adding", "rnn")
    assert spec.searched_keys()[-1] == "zoneout"
    assert check(specs.parse_study(spec.to_plain(), "f.toml"), own=OWN) == spec


@pytest.mark.parametrize("table", ["own", "narrow"])
def test_a_study_says_otherwise(table: str) -> None:
    """[space.<cell>], or that of a variant, takes the place of what the cell declares."""
    compare = {"cells": ["own", "narrow"], "variants": {"narrow": "own"}}
    spec = check(parse(compare=compare, space={table: {"zoneout": 0.25}}), own=OWN)
    expected = {"own": Fixed(0.25), "narrow": Fixed(0.25)}
    expected |= {"own": Range(0.0, 0.5)} if table == "narrow" else {}  # type: ignore[dict-item]
    found = {name: spec.parameters("adding", name)["zoneout"] for name in expected}
    assert found == expected


def test_a_grid_over_what_a_cell_declares() -> None:
    """The sampler grid refuses a range that the cell declares; a list in the study solves it."""
    tables = {"search": {"sampler": "grid"}, "compare": {"cells": ["own"]}}
    with pytest.raises(InputError, match=r"space.own.zoneout: expected a list, for the sampler"):
        check(parse(**tables), own=OWN)
    spec = check(parse(**tables, space={"own": {"zoneout": [0.0, 0.5]}}), own=OWN)
    assert spec.parameters("adding", "own")["zoneout"] == Choice((0.0, 0.5))


# ------------------------------------------------------------------------------------ notes, counts


def test_a_ladder_below_the_searched_range_is_a_note() -> None:
    """It is allowed, and worth a word: it names the task and both ends."""
    spec = check(
        parse(
            space={"sequence_length": {"low": 10, "high": 300}},
            confirm={"sequence_lengths": [10, 20]},
            training={"sequences": 1_600},
        )
    )
    (note,) = specs.study_notes(spec, TASKS, CELLS)
    assert "ladder of adding ends at length 20, below the 300 that is searched" in note


def test_sequences_that_are_not_scored_are_a_note() -> None:
    """A budget that is no multiple of the evaluation's distance leaves a rest, which is named."""
    spec = parse(training={"sequences": 1_000, "evaluate_every": 300})
    (note,) = specs.study_notes(spec, TASKS, CELLS)
    assert "the last 100 sequences" in note


def test_an_initialisation_that_only_a_plug_in_has_and_no_one_searches() -> None:
    """A study that lists the usual ones says nothing of a plugged-in cell's own.

    The user is told.
    """
    own = Cell(
        "own", CELLS["rnn"].factory, 1, {"pytorch": lambda *_: None, "slow": lambda *_: None}
    )
    cells = {**CELLS, "own": own}
    plain = {"compare": {"cells": ["own"]}, "training": {"sequences": 1_600}}
    (note,) = specs.study_notes(check(parse(**plain), own=own), TASKS, cells)
    assert "slow, an initialisation of own, is not searched" in note
    told = {
        **plain,
        "space": {"own": {"initialization": ["pytorch", "slow"]}, "initialization": "pytorch"},
    }
    assert specs.study_notes(check(parse(**told), own=own), TASKS, cells) == ()


def test_a_sound_study_has_no_notes() -> None:
    """Nothing is said where nothing is to be said."""
    assert specs.study_notes(parse(training={"sequences": 1_600}), TASKS, CELLS) == ()


@pytest.mark.parametrize(
    ("lags", "task", "expected"),
    [
        ([10, 30, 100], "delayed_recall", (11, 31, 101)),
        ([10, 30, 100], "adding", (20, 60, 200)),
        # T - 1 - floor(T / 5): 14 - 1 - 2 = 11 but 13 - 1 - 2 = 10; 38 - 1 - 7 = 30
        ([10, 30], "temporal_order", (13, 38)),
        ([1, 2], "adding", (2, 4)),
        ([1, 2, 7], "temporal_order", (10,)),  # the least length has all of them
        ([10, 30, 100], "copy_memory", (1, 20, 90)),  # T + 10: the least length reaches 11
        ([10, 30, 100], "repeat_previous", (40, 120, 400)),
        ([10, 30, 100], "parity", (11, 31, 101)),
        ([10, 30, 100], "selective_copy", (10, 30, 100)),
        ([10, 30, 100], "associative_recall", (18, 38, 108)),
    ],
)
def test_a_ladder_of_lags(lags: list[int], task: str, expected: tuple[int, ...]) -> None:
    """Each lag gets the least length that has it, each length once."""
    assert specs.confirmation_lengths(parse(confirm={"lags": lags}), TASKS[task]) == expected


def test_a_ladder_of_lengths_is_as_written() -> None:
    """Without lags the rungs are those of the file."""
    assert specs.confirmation_lengths(
        parse(confirm={"sequence_lengths": [5, 50]}), TASKS["adding"]
    ) == (5, 50)
    assert (
        specs.confirmation_lengths(parse(confirm={"sequence_lengths": []}), TASKS["adding"]) == ()
    )


def test_count_trials() -> None:
    """Tasks x cells x repeats x trials, and x rungs x seeds, by hand."""
    spec = parse(
        compare={"tasks": ["adding", "delayed_recall"], "cells": ["rnn", "gru", "lstm"]},
        search={"trials": 7, "repeats": 2},
        confirm={"seeds": 4, "sequence_lengths": [10, 20, 30]},
    )
    assert specs.count_trials(spec, TASKS) == (2 * 3 * 7 * 2, 2 * 3 * 2 * 3 * 4)


def test_a_grid_has_no_more_trials_than_points() -> None:
    """2 x 3 points are 6 trials, whatever search.trials says."""
    spec = parse(
        search={"sampler": "grid", "trials": 100, "repeats": 1},
        space={"hidden_size": [8, 16], "learning_rate": [0.1, 0.01, 0.001]},
        confirm={"seeds": 0},
    )
    assert specs.count_trials(spec, TASKS) == (6, 0)
