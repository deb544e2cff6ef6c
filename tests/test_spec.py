"""harness.spec: the study file, its defaults, what it refuses, and what makes two studies the same."""

import copy
import json
import math
import time
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import spec as specs
from harness.cells import CELLS, Cell
from harness.errors import InputError
from harness.metrics import OBJECTIVES
from harness.parameters import KINDS, Choice, Fixed, Range
from harness.spec import StudySpec
from harness.tasks import TASKS

GIGABYTE = 10**9
STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))

LEAST: dict[str, Any] = {
    "study": {"name": "least"},
    "compare": {"tasks": ["adding"], "cells": ["lstm"]},
    "space": {
        "hidden_size": 8,
        "num_layers": 1,
        "learning_rate": 0.01,
        "sequence_length": 20,
        "initialization": "pytorch",
    },
}
WITHOUT_SIZE = {name: value for name, value in LEAST["space"].items() if name != "hidden_size"}


def raw(**tables: Any) -> dict[str, Any]:
    """The least study with some keys of some tables set."""
    plain = copy.deepcopy(LEAST)
    for table, keys in tables.items():
        if isinstance(keys, dict):
            plain[table] = {**plain.get(table, {}), **keys}
        else:
            plain[table] = keys
    return plain


def parse(**tables: Any) -> StudySpec:
    """The least study with some keys set, read."""
    return specs.parse(raw(**tables), "f.toml")


def check(spec: StudySpec, memory_bytes: int = 16 * GIGABYTE, **cells: Cell) -> StudySpec:
    """The study held against the registries and a memory."""
    return specs.check(spec, "f.toml", TASKS, {**CELLS, **cells}, memory_bytes)


def write(folder: Path, text: str) -> Path:
    """A study file of that text."""
    path = folder / "f.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --------------------------------------------------------------------------------- what a file says


def test_defaults() -> None:
    """What a study file leaves out is as DESIGN's study file says, but for names and spaces."""
    spec = parse()
    assert spec.training.model_dump(exclude_none=True) == {
        "batch_size": 32,
        "sequences": 20_000,
        "stop_when_solved": True,
        "evaluate_every": 1_600,
        "evaluation_sequences": 1_000,
        "optimizer": "adam",
        "max_grad_norm": 1.0,
        "num_parameters": 0,
    }
    assert spec.search.model_dump() == {
        "trials": 12,
        "repeats": 5,
        "objective": "remembered_steps",
        "sampler": "tpe",
        "pruner": "none",
        "trial_timeout_s": 300.0,
        "trial_memory_bytes": 0,
    }
    assert spec.confirm.model_dump() == {
        "seeds": 1,
        "sequence_lengths": (10, 20, 40, 80, 120, 200),
        "lags": (),
        "evaluation_sequences": 10_000,
    }
    assert spec.throughput.enabled
    assert (spec.study.seed, spec.study.question, spec.claims) == (0, "", ())


def test_parameters_of_a_cell() -> None:
    """[training] is overridden by [space], that by the base cell's table, and that by the variant's own."""
    spec = parse(
        compare={"cells": ["rnn", "lstm", "wide"], "variants": {"wide": "lstm"}},
        space={
            "batch_size": [16, 32],
            "lstm": {"num_layers": 2, "hidden_size": [8, 16]},
            "wide": {"hidden_size": {"low": 64, "high": 128}},
        },
    )
    assert spec.base_cell("wide") == "lstm"
    assert spec.base_cell("rnn") == "rnn"
    by_cell = {label: spec.parameters(label) for label in spec.compare.cells}
    assert by_cell["rnn"]["num_layers"] == Fixed(1)
    assert by_cell["lstm"]["num_layers"] == by_cell["wide"]["num_layers"] == Fixed(2)
    assert by_cell["rnn"]["hidden_size"] == Fixed(8)
    assert by_cell["lstm"]["hidden_size"] == Choice((8, 16))
    assert by_cell["wide"]["hidden_size"] == Range(64, 128)
    assert all(each["batch_size"] == Choice((16, 32)) for each in by_cell.values())
    assert all(each["max_grad_norm"] == Fixed(1.0) for each in by_cell.values())


def test_parameters_have_one_order() -> None:
    """The order of the file does not matter: that of the tables of hyperparameters does, a cell's own come last."""
    names = list(parse(space={"lstm": {"zeta": 1, "alpha": 2}}).parameters("lstm"))
    assert names == [*KINDS, "alpha", "zeta"]


def test_a_key_of_the_space_may_be_held_fixed_in_training() -> None:
    """[training] may hold any key of [space], and [space] any of [training]."""
    fixed = {name: value for name, value in LEAST["space"].items() if name != "learning_rate"}
    plain = {**LEAST, "space": {**fixed, "optimizer": ["adam", "sgd"]}}
    spec = specs.parse({**plain, "training": {"learning_rate": 0.5}}, "f.toml")
    assert spec.parameters("lstm")["learning_rate"] == Fixed(0.5)
    assert spec.parameters("lstm")["optimizer"] == Choice(("adam", "sgd"))
    assert "optimizer" in spec.searched_keys()


def test_searched_keys() -> None:
    """The columns of trials.csv: the space, what else is searched for any cell, and every cell's own."""
    spec = parse(
        compare={"cells": ["gru", "lstm"]},
        space={"batch_size": 16, "lstm": {"optimizer": ["adam", "sgd"], "zoneout": 0.1}},
    )
    assert spec.searched_keys() == (*LEAST["space"], "optimizer", "zoneout")


def test_num_parameters_takes_the_place_of_hidden_size() -> None:
    """With num_parameters, hidden_size is no hyperparameter of the trial."""
    spec = specs.parse(
        {**LEAST, "space": WITHOUT_SIZE, "training": {"num_parameters": 5_000}}, "f.toml"
    )
    assert "hidden_size" not in spec.parameters("lstm")


# -------------------------------------------------------------------------------- what it refuses

UNKNOWN = [
    ({"serach": {}}, "f.toml: serach: expected a known table.*did you mean 'search'"),
    ({"study": {"nam": "x"}}, "study.nam: expected a known key, got 'nam'; did you mean 'name'"),
    ({"training": {"batchsize": 3}}, "training.batchsize: .*did you mean 'batch_size'"),
    ({"search": {"sampler": "tep"}}, r"search.sampler: .*got 'tep'; did you mean 'tpe'\?"),
    ({"search": {"pruner": "hyperbnad"}}, "search.pruner: .*did you mean 'hyperband'"),
    ({"search": {"objective": "remembered"}}, "search.objective: .*'remembered_steps'"),
    ({"training": {"optimizer": "rmsporp"}}, "training.optimizer: .*did you mean 'rmsprop'"),
    ({"space": {"hiden_size": 3}}, "space.hiden_size: .*did you mean 'hidden_size'"),
    ({"confirm": {"seed": 3}}, "confirm.seed: .*did you mean 'seeds'"),
    ({"throughput": {"enable": True}}, "throughput.enable: .*did you mean 'enabled'"),
    ({"claims": [{"cel": "lstm"}]}, r"claims.0"),
]


@pytest.mark.parametrize(("tables", "match"), UNKNOWN)
def test_an_unknown_name_is_refused(tables: dict[str, Any], match: str) -> None:
    """An unknown table, key or word names the file, the key and the nearest valid name."""
    with pytest.raises(InputError, match=match):
        parse(**tables)


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
    """A task, cell, initialisation or hyperparameter that no registry has gets the nearest proposed."""
    with pytest.raises(InputError, match=match):
        check(parse(**tables))


SENSELESS = [
    ({"space": {"hidden_size": {"low": 9, "high": 8}}}, "space.hidden_size: expected low <= high"),
    (
        {"space": {"max_grad_norm": {"low": 0, "high": 1, "log": True}}},
        "space.max_grad_norm: expected low > 0",
    ),
    ({"space": {"learning_rate": math.nan}}, "space.learning_rate: .*got nan"),
    ({"training": {"max_grad_norm": math.inf}}, "training.max_grad_norm: "),
    ({"training": {"max_grad_norm": math.nan}}, "training.max_grad_norm: "),
    ({"search": {"trial_timeout_s": math.inf}}, "search.trial_timeout_s: "),
    ({"search": {"trial_timeout_s": 0.0}}, "search.trial_timeout_s: .*greater than 0"),
    ({"search": {"trial_timeout_s": "300"}}, "search.trial_timeout_s: .*got '300'"),
    ({"search": {"trial_timeout_s": True}}, "search.trial_timeout_s: .*got True"),
    ({"search": {"trial_memory_bytes": -1}}, "search.trial_memory_bytes: "),
    ({"search": {"trials": 0}}, "search.trials: .*greater than or equal to 1, got 0"),
    ({"search": {"trials": 12.0}}, "search.trials: "),
    ({"search": {"repeats": 0}}, "search.repeats: "),
    ({"study": {"seed": -1}}, "study.seed: "),
    ({"study": {"seed": 2**63}}, "study.seed: "),
    ({"compare": {"tasks": []}}, "compare.tasks: "),
    ({"compare": {"cells": []}}, "compare.cells: "),
    ({"compare": {"cells": "lstm"}}, "compare.cells: "),
    ({"compare": {"cells": ["lstm", 3]}}, "compare.cells.1: .*got 3"),
    ({"study": []}, "study: expected a table"),
    ({"space": 3}, "space: expected a table, got 3"),
    ({"space": {"lstm": 3}}, "space.lstm: expected a table"),
    ({"claims": {}}, r"claims: expected tables headed \[\[claims\]\]"),
    ({"claims": [3]}, "claims.0: expected a table"),
    (
        {"claims": [{"cell": "gru", "text": "?", "lag": 3}]},
        "claims.0.cell: expected a cell of this study, got 'gru'; known: lstm",
    ),
    ({"claims": [{"cell": "lstm", "lag": 3}]}, "claims.0.text: expected a value, got nothing"),
    ({"claims": [{"cell": "lstm", "text": "?", "lag": 3, "relation": "atleast"}]}, "'at_least'"),
    (
        {"space": {"batch_size": 8}, "training": {"batch_size": 8}},
        r"batch_size: expected one place for each key, got it stands in both \[space\] and",
    ),
    (
        {"space": {"lstm": {"batch_size": 8}}, "training": {"batch_size": 8}},
        r"batch_size: expected one place for each key",
    ),
    ({"training": {"batch_size": [8, 16]}}, r"training.batch_size"),
    (
        {"training": {"num_parameters": 5_000}},
        "training.num_parameters: expected hidden_size left out .*got both; leave hidden_size out",
    ),
    (
        {"space": {**WITHOUT_SIZE, "num_parameters": [5_000, 9_000]}},
        "training.num_parameters: expected hidden_size left out",
    ),
    (
        {"search": {"sampler": "grid"}, "space": {"hidden_size": {"low": 8, "high": 9}}},
        "space.hidden_size: expected a list, for the sampler grid",
    ),
    ({"confirm": {"sequence_lengths": []}}, "confirm.sequence_lengths: expected numbers that rise"),
    ({"confirm": {"sequence_lengths": [20, 10]}}, "confirm.sequence_lengths: .*that rise"),
    ({"confirm": {"sequence_lengths": [20, 20]}}, "confirm.sequence_lengths: .*that rise"),
    ({"confirm": {"sequence_lengths": [0, 20]}}, "confirm.sequence_lengths.0: "),
    ({"confirm": {"lags": [30, 10]}}, "confirm.lags: expected numbers that rise"),
    ({"confirm": {"lags": [10], "sequence_lengths": [20]}}, "either lags or sequence_lengths"),
    (
        {"compare": {"variants": {"wide": "lstm"}}},
        "compare.variants.wide: expected a name that compare.cells lists",
    ),
]


@pytest.mark.parametrize(("tables", "match"), SENSELESS)
def test_what_makes_no_sense_is_refused(tables: dict[str, Any], match: str) -> None:
    """A study that cannot mean anything is refused before anything runs, with the file and the key."""
    with pytest.raises(InputError, match=match) as caught:
        parse(**tables)
    assert str(caught.value).startswith("f.toml: ")


@pytest.mark.parametrize("missing", list(LEAST["space"]))
def test_a_hyperparameter_that_stands_nowhere(missing: str) -> None:
    """Each key of [space] must be somewhere, and the message says where it may be."""
    space = {name: value for name, value in LEAST["space"].items() if name != missing}
    with pytest.raises(InputError, match=rf"space.{missing}: .*got nothing; add {missing} to \[sp"):
        specs.parse({**LEAST, "space": space}, "f.toml")


@pytest.mark.parametrize("table", ["study", "compare"])
def test_a_table_that_must_be_there(table: str) -> None:
    """A study has a name, and says what it compares."""
    plain = {name: value for name, value in LEAST.items() if name != table}
    with pytest.raises(InputError, match=rf"{table}\.\w+: expected a value, got nothing"):
        specs.parse(plain, "f.toml")


@pytest.mark.parametrize("sizes", [[0, 5_000], {"low": 0, "high": 5_000}])
def test_num_parameters_is_not_searched_through_zero(sizes: object) -> None:
    """0 switches num_parameters off, and a trial without a size has none."""
    with pytest.raises(InputError, match=r"space.num_parameters: expected numbers >= 1"):
        specs.parse({**LEAST, "space": {**WITHOUT_SIZE, "num_parameters": sizes}}, "f.toml")


def test_a_variant_may_not_inherit_a_size_beside_num_parameters() -> None:
    """hidden_size in the table of the base cell counts for its variants too."""
    tables = {
        **raw(compare={"cells": ["wide"], "variants": {"wide": "lstm"}}),
        "space": {**WITHOUT_SIZE, "lstm": {"hidden_size": 8}, "wide": {"num_parameters": 5_000}},
    }
    with pytest.raises(InputError, match=r"hidden_size left out"):
        specs.parse(tables, "f.toml")


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
            "space.sequence_length: expected 4, the length of the fixed sequences",
        ),
        (
            {"compare": {"tasks": ["lesson"]}, "space": {"sequence_length": 4}},
            "confirm.sequence_lengths: expected 4, .* got 200; set confirm.seeds = 0",
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
        ({"space": {"initialization": "chrono"}, "compare": {"cells": ["rnn"]}}, "rnn has"),
        (
            {"compare": {"cells": ["gru"], "variants": {"gru": "lstm"}}},
            "compare.variants.gru: expected a name of its own, not that of another cell",
        ),
    ],
)
def test_what_tasks_and_cells_do_not_have_is_refused(tables: dict[str, Any], match: str) -> None:
    """Lengths and lags that a task does not have and initialisations that a cell lacks are found before a trial."""
    with pytest.raises(InputError, match=match):
        check(parse(**tables))


def test_a_ladder_that_is_not_climbed_is_not_checked() -> None:
    """Without confirmation the ladder's lengths, defaults too, do not matter."""
    spec = parse(
        compare={"tasks": ["lesson"]},
        space={"sequence_length": 4},
        confirm={"seeds": 0, "lags": []},
    )
    assert check(spec) == spec


# ---------------------------------------------------------------------------------------- memory


def test_memory_that_cannot_fit_is_named_in_bytes() -> None:
    """The refusal names the memory that is there, the memory that is needed, and the sizes that need it."""
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
    spec = specs.parse(
        {**LEAST, "space": WITHOUT_SIZE, "training": {"num_parameters": 2**31 - 1}}, "f.toml"
    )
    with pytest.raises(InputError, match=r"got about [34][0-9],"):  # 4 x 4 bytes x 2^31
        check(spec)


def test_the_estimate_is_near_what_a_trial_holds() -> None:
    """The largest trial of a small LSTM: weights by torch's count, and the states and gates of its steps."""
    import torch

    spec = parse(space={"hidden_size": 32, "num_layers": 2}, training={"batch_size": 64})
    with pytest.raises(InputError) as caught:
        check(parse(space={"hidden_size": 32, "num_layers": 2, "sequence_length": 200}), 1)
    needed = int(str(caught.value).partition("got about ")[2].split()[0].replace(",", ""))
    weights = sum(w.numel() for w in torch.nn.LSTM(2, 32, 2).parameters())
    states = 32 * 200 * 2 * 32  # one number for each unit at each step, of 4 gates, h and c
    assert 4 * (4 * weights + 3 * states) < needed < 4 * (4 * weights + 10 * states)
    assert check(spec) == spec


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
            check(specs.parse(plain, "f.toml"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert time.monotonic() - start < 20


# ----------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["quickstart", "기억력", "🧠", "a b", "été-1", "x" * 80, "a.b", "한" * 26]
)
def test_names_in_any_script(name: str) -> None:
    """A study and a variant may be called as its user speaks."""
    spec = parse(study={"name": name}, compare={"cells": [name], "variants": {name: "lstm"}})
    assert check(spec).study.name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "a/b", "/etc", "../up", "a\\b", "C:x", "a*", "a?", 'a"', "a<"),
        *(
            "a|b",
            "a\nb",
            "a\x00b",
            "a\x1b[31m",
            "a\u202eb",
            "a\x7f",
            " a",
            "a ",
            "\u200b",
            "\ud800",
        ),
        *("x" * 81, "한" * 27, "dot.", "CON", "nul.toml", "com1"),
    ],
)
def test_names_that_no_folder_may_have(name: str) -> None:
    """A name that leaves the results folder, hides, is unprintable or not possible on some system is refused."""
    with pytest.raises(InputError, match=r"study.name: expected a printable name"):
        parse(study={"name": name})
    with pytest.raises(InputError, match=r"compare.cells.0: expected a printable name"):
        parse(compare={"cells": [name], "variants": {name: "lstm"}})


@pytest.mark.parametrize("cells", [["lstm", "lstm"], ["lstm", "LSTM"], ["caf\u00e9", "cafe\u0301"]])
def test_labels_are_used_once(cells: list[str]) -> None:
    """Two labels that some file systems hold to be one are refused."""
    with pytest.raises(InputError, match=r"compare.cells: expected each name once"):
        parse(compare={"cells": cells, "variants": {cells[1]: "lstm"}})


# -------------------------------------------------------------------------------- initialisations


def test_an_initialisation_that_does_not_apply_is_removed() -> None:
    """Each cell searches those of the list that it has."""
    spec = check(
        parse(
            compare={"cells": ["rnn", "lstm"]},
            space={"initialization": ["pytorch", "orthogonal", "chrono"]},
        )
    )
    assert spec.parameters("rnn")["initialization"] == Choice(("pytorch", "orthogonal"))
    assert spec.parameters("lstm")["initialization"] == Choice(("pytorch", "orthogonal", "chrono"))


def test_an_initialisation_of_a_cell_that_is_plugged_in() -> None:
    """A cell may declare its own; for the others it does not apply."""

    def keep(*_: object) -> None:
        """Change nothing."""

    own = Cell("own", CELLS["rnn"].factory, 1, {"pytorch": keep, "identity": keep})
    spec = check(
        parse(compare={"cells": ["rnn", "own"]}, space={"initialization": ["identity", "pytorch"]}),
        own=own,
    )
    assert spec.parameters("own")["initialization"] == Choice(("identity", "pytorch"))
    assert spec.parameters("rnn")["initialization"] == Choice(("pytorch",))


def test_a_hyperparameter_of_a_cell_that_is_plugged_in() -> None:
    """A table of [space] with the cell's name takes what the cell declares."""
    own = Cell("own", CELLS["rnn"].factory, 1, CELLS["rnn"].initializations, {"zoneout": 0.0})
    spec = parse(compare={"cells": ["own"]}, space={"own": {"zoneout": {"low": 0, "high": 0.5}}})
    assert check(spec, own=own).parameters("own")["zoneout"] == Range(0, 0.5)


# ---------------------------------------------------------------------------------- notes, counts


def test_a_ladder_below_the_searched_range_is_a_note() -> None:
    """It is allowed, and worth a word: it names the task and both ends."""
    spec = check(
        parse(
            space={"sequence_length": {"low": 10, "high": 300}},
            confirm={"sequence_lengths": [10, 20]},
            training={"sequences": 1_600},
        )
    )
    (note,) = specs.notes(spec, TASKS)
    assert "ladder of adding ends at length 20, below the 300 that is searched" in note


def test_sequences_that_are_not_scored_are_a_note() -> None:
    """A budget that is no multiple of the evaluation's distance leaves a rest, which is named."""
    spec = parse(training={"sequences": 1_000, "evaluate_every": 300})
    (note,) = specs.notes(spec, TASKS)
    assert "the last 100 sequences" in note


def test_a_sound_study_has_no_notes() -> None:
    """Nothing is said where nothing is to be said."""
    assert specs.notes(parse(training={"sequences": 1_600}), TASKS) == ()


@pytest.mark.parametrize(
    ("lags", "task", "expected"),
    [
        ([10, 30, 100], "delayed_recall", (11, 31, 101)),
        ([10, 30, 100], "adding", (20, 60, 200)),
        # T - 1 - floor(T / 5): 14 - 1 - 2 = 11 but 13 - 1 - 2 = 10; 38 - 1 - 7 = 30
        ([10, 30], "temporal_order", (13, 38)),
        ([1, 2], "adding", (2, 4)),
        ([1, 2, 7], "temporal_order", (10,)),  # the least length has all of them
    ],
)
def test_a_ladder_of_lags(lags: list[int], task: str, expected: tuple[int, ...]) -> None:
    """Each lag gets the least length that has it, each length once."""
    assert specs.ladder(parse(confirm={"lags": lags}), TASKS[task]) == expected


def test_a_ladder_of_lengths_is_as_written() -> None:
    """Without lags the rungs are those of the file."""
    assert specs.ladder(parse(confirm={"sequence_lengths": [5, 50]}), TASKS["adding"]) == (5, 50)


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


# -------------------------------------------------------------------------------- files, overrides


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_the_studies_that_come_along_are_valid(path: Path) -> None:
    """Each file of studies/ loads, fits a machine of 8 GB, is named as its file, and survives a round trip."""
    spec = specs.load(path)
    assert spec.study.name == path.stem
    assert spec.study.question
    checked = check(spec, 8 * GIGABYTE)
    assert specs.parse(tomllib.loads(checked.dump()), "again") == checked
    assert specs.find_study(path.stem) == path
    assert specs.list_studies()[path.stem] == spec.study.question


def test_a_study_is_found_by_its_path(tmp_path: Path) -> None:
    """A name that ends in .toml is a file."""
    path = write(tmp_path, "")
    assert specs.find_study(str(path)) == path
    with pytest.raises(InputError, match=r"expected a study file, got no such file"):
        specs.find_study(str(tmp_path / "none.toml"))


def test_an_unknown_study_gets_the_nearest() -> None:
    """A name that no file has is answered with one that exists."""
    with pytest.raises(InputError, match=r"STUDY: .*did you mean 'quickstart'"):
        specs.find_study("quikstart")


def test_a_broken_study_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the folder of studies that cannot be read is listed as such, and harms no other."""
    (tmp_path / "good.toml").write_text('[study]\nname = "good"\nquestion = "?"', "utf-8")
    (tmp_path / "broken.toml").write_text("[study", "utf-8")
    (tmp_path / "other.toml").write_text("study = 3", "utf-8")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("harness.spec.reading.study_directory", lambda: tmp_path)
    listed = specs.list_studies()
    assert set(listed) == {"good", "broken", "binary"}
    assert listed["good"] == "?"
    assert "cannot be read" in listed["broken"]
    assert specs.find_study("good").stem == "good"
    with pytest.raises(InputError, match=r"broken.toml: expected TOML"):
        specs.load(specs.find_study("broken"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"[study", "f.toml: expected TOML, got"),
        (b"\xff\xfe\x00", "expected a readable text file, got UnicodeDecodeError"),
        (b"a = " + b"9" * 5_000, "expected TOML"),  # more digits than Python reads
        (b"a = " + b"[" * 100_000, "expected TOML"),
        (b"a." * 3_000 + b"a = 1", "f.toml: a: expected a known table"),
        (b"study = " + b"0x" + b"f" * 10_000, "study: expected a table, got a value of type int"),
        (b"study = 2020-01-01", "study: expected a table"),
        (b'[study]\nname = "x"\nseed = 2020-01-01', "study.seed"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, text: bytes, match: str) -> None:
    """Whatever is in the file, the answer is one line."""
    path = tmp_path / "f.toml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=match):
        specs.load(path)


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    """What cannot be opened is named."""
    with pytest.raises(InputError, match=r"expected a readable text file"):
        specs.load(tmp_path)


@pytest.fixture
def least_file(tmp_path: Path) -> Path:
    """The least study as a file."""
    return write(tmp_path, parse().dump())


@pytest.mark.parametrize(
    ("override", "get", "expected"),
    [
        ("training.batch_size=128", lambda spec: spec.training.batch_size, 128),
        ("search.trials = 3", lambda spec: spec.search.trials, 3),
        ('study.name="ü"', lambda spec: spec.study.name, "ü"),
        ('compare.cells=["gru", "rnn"]', lambda spec: spec.compare.cells, ("gru", "rnn")),
        (
            "space.hidden_size={low = 4, high = 8}",
            lambda spec: spec.space["hidden_size"],
            Range(4, 8),
        ),
        (
            "space.lstm.num_layers=2",
            lambda spec: spec.parameters("lstm")["num_layers"],
            Fixed(2),
        ),
        ('study.question="a=b"', lambda spec: spec.study.question, "a=b"),
    ],
)
def test_an_override_sets_one_key(least_file: Path, override: str, get: Any, expected: Any) -> None:
    """--set takes any key of the study file, dotted, and TOML as its value."""
    assert get(specs.load(least_file, [override])) == expected


def test_the_last_override_counts(least_file: Path) -> None:
    """Overrides are applied in their order."""
    spec = specs.load(least_file, ["search.trials=1", "search.trials=2"])
    assert spec.search.trials == 2


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("training.batch_size", "--set: expected KEY=VALUE, got 'training.batch_size'"),
        ("=3", "--set: expected KEY=VALUE"),
        ("", "--set: expected KEY=VALUE"),
        ("study.name=abc", r"--set: study.name: expected a TOML value, got 'abc'; quote a text"),
        ("search.trials=", "--set: search.trials: expected a TOML value"),
        ("search.trials=" + "9" * 5_000, "--set: search.trials: expected a TOML value"),
        ("search.trials=" + "[" * 100_000, "--set: search.trials: expected a TOML value"),
        ("study.name.first=1", "--set: study.name.first: expected a key of a table, got 'name'"),
        ("trainin.batch_size=3", "expected a known table.*did you mean 'training'"),
        ("training.batchsize=3", "did you mean 'batch_size'"),
        ("training..batch_size=3", "training"),
        ("search.trials=0", "search.trials: "),
        ("seed=3", "expected a known table, got 'seed'"),
        ("study=3", "study: expected a table"),
    ],
)
def test_a_bad_override_is_refused(least_file: Path, override: str, match: str) -> None:
    """What is no key, no TOML or no sense is answered like a mistake in the file."""
    with pytest.raises(InputError, match=match):
        specs.load(least_file, [override])


# -------------------------------------------------------------------------------- the round trip

names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12).filter(
    lambda name: name.upper() not in specs.RESERVED_NAMES and name.casefold() not in CELLS
)
sizes = st.integers(2, 500)


@st.composite
def ranges(draw: st.DrawFn, numbers: st.SearchStrategy[Any]) -> Any:
    """A range, a list or a plain value of such numbers."""
    low, high = sorted((draw(numbers), draw(numbers)))
    return draw(
        st.sampled_from(
            [low, [low], [low, high] if low < high else [low], {"low": low, "high": high}]
        )
        | st.just({"low": low, "high": high, "log": True})
    )


rates = st.floats(1e-12, 1e6)


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """A study file that is valid."""
    variant = draw(names)
    cells = draw(st.permutations(["rnn", "gru", "lstm", variant]))
    space = {
        "num_layers": draw(ranges(st.integers(1, 9))),
        "learning_rate": draw(ranges(rates)),
        "sequence_length": draw(ranges(sizes)),
        "initialization": draw(st.sampled_from(["pytorch", ["pytorch", "orthogonal"]])),
        **draw(st.fixed_dictionaries({}, optional={"batch_size": ranges(sizes)})),
        "lstm": draw(st.fixed_dictionaries({}, optional={"max_grad_norm": ranges(rates)})),
        variant: draw(st.fixed_dictionaries({}, optional={"num_layers": ranges(sizes)})),
    }
    training: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "sequences": st.integers(1, 10**9),
                "stop_when_solved": st.booleans(),
                "optimizer": st.sampled_from(["adam", "sgd"]),
            },
        )
    )
    if draw(st.booleans()):
        space["hidden_size"] = draw(ranges(sizes))
    else:
        training["num_parameters"] = draw(st.integers(100, 10**6))
    rungs = sorted(draw(st.sets(sizes, min_size=1)))
    return {
        "study": {
            "name": draw(names),
            "question": draw(st.text(st.characters(exclude_categories=["Cs"]))),
            "seed": draw(st.integers(0, 2**63 - 1)),
        },
        "compare": {"tasks": ["adding"], "cells": cells, "variants": {variant: "lstm"}},
        "space": space,
        "training": training,
        "search": {"trial_timeout_s": draw(st.floats(1e-3, 1e9))},
        "confirm": {draw(st.sampled_from(["lags", "sequence_lengths"])): rungs},
        "claims": draw(
            st.lists(
                st.fixed_dictionaries(
                    {"cell": st.sampled_from(cells), "text": names, "lag": st.integers(1, 99)}
                ),
                max_size=2,
            )
        ),
    }


@settings(max_examples=60)
@given(plain=studies())
def test_what_is_dumped_is_read_back(
    plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The resolved study, as it is and held against the registries, is an equal study when it is read again."""
    spec = specs.parse(plain, "f.toml")
    path = tmp_path_factory.getbasetemp() / "round.toml"
    for each in (spec, check(spec, 10**18)):
        path.write_text(each.dump(), encoding="utf-8")
        again = specs.load(path)
        assert again == each
        assert again.identity() == each.identity()
        assert {label: again.parameters(label) for label in spec.compare.cells} == {
            label: each.parameters(label) for label in spec.compare.cells
        }
    checked = check(spec, 10**18)
    assert check(checked, 10**18) == checked


# ------------------------------------------------------------------------------------ identity

FREE = [
    {"study": {"question": "Another?"}},
    {"study": {"print_evaluations": True}},
    {"search": {"trials": 100}},
    {"confirm": {"seeds": 9}},
    {"confirm": {"sequence_lengths": [5, 6]}},
    {"confirm": {"lags": [5, 6]}},
    {"throughput": {"enabled": False}},
    {"claims": [{"cell": "lstm", "text": "100 steps", "lag": 100}]},
]
BOUND = [
    {"study": {"name": "other"}},
    {"study": {"seed": 1}},
    {"compare": {"tasks": ["delayed_recall"]}},
    {"compare": {"cells": ["lstm", "rnn"]}},
    {"space": {"hidden_size": 9}},
    {"space": {"hidden_size": [8]}},
    {"space": {"hidden_size": {"low": 8, "high": 9}}},
    {"space": {"lstm": {"hidden_size": 9}}},
    {"training": {"batch_size": 33}},
    {"training": {"stop_when_solved": False}},
    {"search": {"repeats": 6}},
    {"search": {"objective": "loss"}},
    {"search": {"sampler": "random"}},
    {"search": {"pruner": "median"}},
    {"search": {"trial_timeout_s": 5.0}},
    {"search": {"trial_memory_bytes": 5}},
]


@pytest.mark.parametrize("tables", FREE)
def test_what_may_change_when_a_study_goes_on(tables: dict[str, Any]) -> None:
    """Trials, question, confirmation, throughput and claims leave old and new trials comparable."""
    changed = parse(**tables)
    assert changed != parse()
    assert changed.identity() == parse().identity()


@pytest.mark.parametrize("tables", BOUND)
def test_what_may_not_change_when_a_study_goes_on(tables: dict[str, Any]) -> None:
    """Everything else makes trials incomparable, and exactly the key that differs tells."""
    before, after = parse().identity(), parse(**tables).identity()
    differs = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    (table,) = tables
    (key,) = tables[table]
    assert differs
    assert all(each.startswith(f"{table}.{key}") for each in differs)


def test_an_identity_is_plain_data() -> None:
    """It can be stored as JSON, and is the same when it is read again."""
    spec = parse(
        compare={"cells": ["lstm", "b"], "variants": {"b": "lstm"}},
        space={"hidden_size": {"low": 8, "high": 9}, "num_layers": [1, 2]},
    )
    assert json.loads(json.dumps(spec.identity())) == spec.identity()


def test_a_default_and_the_same_written_out_are_one_study() -> None:
    """Spelling a default out changes neither the study nor its identity."""
    assert parse(training={"batch_size": 32}, search={"sampler": "tpe"}) == parse()


def test_a_spec_is_frozen() -> None:
    """A study is data: nobody changes it under way."""
    with pytest.raises(ValueError, match=r"frozen"):
        parse().search.trials = 3  # type: ignore[misc]


def test_the_objectives_of_a_study_file_are_those_that_exist() -> None:
    """Every objective that metrics defines may be written, and no other."""
    for objective in OBJECTIVES:
        assert parse(search={"objective": objective}).search.objective == objective
    with pytest.raises(InputError) as caught:
        parse(search={"objective": "?"})
    assert set(caught.value.expected.removeprefix("one of ").split(", ")) == set(OBJECTIVES)


# ------------------------------------------------------------------------------------------ fuzz

keys = st.sampled_from(
    [
        *("study", "compare", "space", "training", "search", "confirm", "throughput", "claims"),
        *("name", "seed", "question", "tasks", "cells", "variants", "trials", "sampler", "lags"),
        *("sequence_lengths", "seeds", "cell", "text", "lag", "low", "high", "log", "lstm"),
        *KINDS,
    ]
) | st.text(max_size=5)
scalars = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.text(max_size=9)
    | st.sampled_from(["lstm", "adding", "adam", "pytorch", "tpe", 10**400, -(10**4_000)])
)
tables = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)


def merge(below: Any, above: Any) -> Any:
    """A dictionary laid over another, table by table."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merge(below.get(key), value) for key, value in above.items()}
    return above


@settings(max_examples=300)
@given(
    st.dictionaries(keys, tables, max_size=4),
    st.booleans(),
)
def test_anything_is_a_study_or_refused(plain: dict[str, Any], onto_a_study: bool) -> None:
    """Whatever values TOML can hold, alone or laid over a study: a valid study, or an InputError."""
    if onto_a_study:
        plain = merge(copy.deepcopy(LEAST), plain)
    try:
        spec = check(specs.parse(plain, "f.toml"))
        specs.notes(spec, TASKS)
        specs.count_trials(spec, TASKS)
    except InputError:
        return
    assert specs.parse(tomllib.loads(spec.dump()), "again") == spec


places = st.sampled_from(
    [
        (table, key)
        for table, model in (
            ("study", specs.Study),
            ("compare", specs.Compare),
            ("training", specs.Training),
            ("search", specs.Search),
            ("confirm", specs.Confirm),
            ("throughput", specs.Throughput),
        )
        for key in model.model_fields
    ]
    + [("space", key) for key in KINDS]
)


@settings(max_examples=300)
@given(places, tables)
def test_any_value_of_a_known_key_is_read_or_refused(place: tuple[str, str], value: Any) -> None:
    """Each key of a study file takes what it can use, and refuses the rest by name."""
    table, key = place
    try:
        spec = check(parse(**{table: {key: value}}))
    except InputError:
        return
    assert specs.parse(tomllib.loads(spec.dump()), "again") == spec
