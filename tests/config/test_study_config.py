"""harness.config.study_config: a study as data.

Defaults, the parameters of a cell, the round trip, and what makes two the same.
"""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import config as specs
from harness.cells import CELLS
from harness.hyperparameters import KINDS, Choice, Fixed, Range
from tests.config.least import LEAST, WITHOUT_SIZE, check, parse

# --------------------------------------------------------------------------------- what a file says


def test_defaults() -> None:
    """What a study file leaves out is the documented default, except for names and spaces."""
    spec = parse()
    assert spec.training.model_dump(exclude_none=True) == {
        "batch_size": 32,
        "sequences": 20_000,
        "stop_when_solved": True,
        "evaluate_every": 1_600,
        "evaluation_sequences": 1_000,
        "optimizer": "adam",
        "learning_rate_schedule": "constant",
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
        "extrapolation": (2, 4),
    }
    assert spec.throughput.enabled
    assert (spec.study.seed, spec.study.question) == (0, "")
    assert (spec.claims, spec.published) == ((), ())


def test_parameters_of_a_cell() -> None:
    """[space] overrides [training], the base cell's table [space], the variant's table all."""
    spec = parse(
        compare={"cells": ["rnn", "lstm", "wide"], "variants": {"wide": "lstm"}},
        space={
            "batch_size": [16, 32],
            "lstm": {"num_layers": 2, "hidden_size": [8, 16]},
            "wide": {"hidden_size": {"low": 64, "high": 128}},
        },
    )
    assert spec.base("wide") == "lstm"
    assert spec.base("rnn") == "rnn"
    by_cell = {label: spec.parameters("adding", label) for label in spec.compare.cells}
    assert by_cell["rnn"]["num_layers"] == Fixed(1)
    assert by_cell["lstm"]["num_layers"] == by_cell["wide"]["num_layers"] == Fixed(2)
    assert by_cell["rnn"]["hidden_size"] == Fixed(8)
    assert by_cell["lstm"]["hidden_size"] == Choice((8, 16))
    assert by_cell["wide"]["hidden_size"] == Range(64, 128)
    assert all(each["batch_size"] == Choice((16, 32)) for each in by_cell.values())
    assert all(each["max_grad_norm"] == Fixed(1.0) for each in by_cell.values())


def test_parameters_of_a_task() -> None:
    """A task has a table too, and further names.

    Where a cell's table sets the same key, the cell's wins.
    """
    spec = parse(
        compare={"tasks": ["adding", "long"], "variants": {"long": "adding"}},
        space={
            "long": {"sequence_length": 500, "sequences": 50_000},
            "adding": {"batch_size": 4, "num_layers": 2},
            "lstm": {"num_layers": 3},
        },
    )
    assert spec.base("long") == "adding"
    assert spec.pairs == (("adding", "lstm"), ("long", "lstm"))
    short, long = (spec.parameters(task, "lstm") for task in spec.compare.tasks)
    assert (short["sequence_length"], long["sequence_length"]) == (Fixed(20), Fixed(500))
    assert (short["sequences"], long["sequences"]) == (Fixed(20_000), Fixed(50_000))
    assert short["batch_size"] == long["batch_size"] == Fixed(4)
    assert short["num_layers"] == long["num_layers"] == Fixed(3)


def test_a_published_number_is_its_own_limit() -> None:
    """What counts as reproduced is the published value, unless the study says another bound."""
    row = {"task": "adding", "cell": "lstm", "metric": "loss", "value": 4, "source": "x"}
    rows = parse(published=[row, {**row, "bound": 1.0}]).published
    assert [one.limit for one in rows] == [4.0, 1.0]


def test_parameters_have_one_order() -> None:
    """The order of the file does not matter.

    That of the tables of hyperparameters does, a cell's own come last.
    """
    names = list(parse(space={"lstm": {"zeta": 1, "alpha": 2}}).parameters("adding", "lstm"))
    assert names == [*KINDS, "alpha", "zeta"]


def test_a_key_of_the_space_may_be_held_fixed_in_training() -> None:
    """[training] may hold any key of [space], and [space] any of [training]."""
    fixed = {name: value for name, value in LEAST["space"].items() if name != "learning_rate"}
    plain = {**LEAST, "space": {**fixed, "optimizer": ["adam", "sgd"]}}
    spec = specs.parse_study({**plain, "training": {"learning_rate": 0.5}}, "f.toml")
    assert spec.parameters("adding", "lstm")["learning_rate"] == Fixed(0.5)
    assert spec.parameters("adding", "lstm")["optimizer"] == Choice(("adam", "sgd"))
    assert "optimizer" in spec.searched_keys()


def test_searched_keys() -> None:
    """The columns of trials.csv: the space, other searched keys, and every cell's own keys."""
    spec = parse(
        compare={"cells": ["gru", "lstm"]},
        space={"batch_size": 16, "lstm": {"optimizer": ["adam", "sgd"], "zoneout": 0.1}},
    )
    assert spec.searched_keys() == (*LEAST["space"], "optimizer", "zoneout")


def test_num_parameters_takes_the_place_of_hidden_size() -> None:
    """With num_parameters, hidden_size is no hyperparameter of the trial."""
    spec = specs.parse_study(
        {**LEAST, "space": WITHOUT_SIZE, "training": {"num_parameters": 5_000}}, "f.toml"
    )
    assert "hidden_size" not in spec.parameters("adding", "lstm")


# ----------------------------------------------------------------------------------- the round trip


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


def published(cells: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A row of [[published]] about one of these cells on adding."""
    return st.fixed_dictionaries(
        {
            "task": st.just("adding"),
            "cell": st.sampled_from(cells),
            "metric": st.sampled_from(["loss", "sequences_to_solve"]),
            "value": st.floats(1e-9, 1e9) | st.integers(1, 10**9),
            "source": names,
        },
        optional={
            "relation": st.sampled_from(["at_least", "at_most", "about"]),
            "bound": st.floats(1e-9, 1e9),
            "note": names,
        },
    )


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
        "adding": draw(st.fixed_dictionaries({}, optional={"sequence_length": ranges(sizes)})),
    }
    training: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "sequences": st.integers(1_600, 10**9),
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
        "published": draw(st.lists(published(cells), max_size=2)),
    }


@settings(max_examples=60)
@given(plain=studies())
def test_what_is_dumped_is_read_back(
    plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The resolved study, before and after the check, is equal when it is read again."""
    spec = specs.parse_study(plain, "f.toml")
    path = tmp_path_factory.getbasetemp() / "round.toml"
    for each in (spec, check(spec, 10**18)):
        path.write_text(each.dump(), encoding="utf-8")
        again = specs.load_study(path)
        assert again == each
        assert again.identity() == each.identity()
        assert all(again.parameters(*pair) == each.parameters(*pair) for pair in spec.pairs)
    checked = check(spec, 10**18)
    assert check(checked, 10**18) == checked


@pytest.mark.parametrize(
    "question", ["a\x9b31mb", "a\u202eb", "\x1b[31m\t\x85", "\U000e0001", "왜?"]
)
def test_what_is_dumped_is_printable(question: str) -> None:
    """No letter that a terminal would obey; the question is the same when it is read again."""
    text = parse(study={"question": question}).dump()
    assert all(line.isprintable() for line in text.split("\n"))
    assert tomllib.loads(text)["study"]["question"] == question


# ----------------------------------------------------------------------------------------- identity


FREE = [
    {"study": {"question": "Another?"}},
    {"search": {"trial_timeout_s": 5.0}},
    {"study": {"print_evaluations": True}},
    {"search": {"trials": 100}},
    {"confirm": {"seeds": 9}},
    {"confirm": {"sequence_lengths": [5, 6]}},
    {"confirm": {"lags": [5, 6]}},
    {"throughput": {"enabled": False}},
    {"claims": [{"cell": "lstm", "text": "100 steps", "lag": 100}]},
    {"confirm": {"extrapolation": [8]}},
    {
        "published": [
            {"task": "adding", "cell": "lstm", "metric": "loss", "value": 1, "source": "x"}
        ]
    },
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
    {"space": {"adding": {"hidden_size": 9}}},
    {"training": {"batch_size": 33}},
    {"training": {"stop_when_solved": False}},
    {"training": {"learning_rate_schedule": "linear"}},
    {"search": {"repeats": 6}},
    {"search": {"objective": "loss"}},
    {"search": {"sampler": "random"}},
    {"search": {"pruner": "median"}},
    {"search": {"trial_memory_bytes": 5}},
]


def test_a_study_of_an_older_version_goes_on() -> None:
    """A key that it did not know is left out of its identity at its default."""
    assert "training.learning_rate_schedule" not in parse().identity()


@pytest.mark.parametrize("tables", FREE)
def test_what_may_change_when_a_study_goes_on(tables: dict[str, Any]) -> None:
    """Trials, time limits, question, confirmation and claims leave trials comparable."""
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
        parse().search.trials = 3
