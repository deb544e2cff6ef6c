"""harness.config.study_file: valid and refused study files, names, files and overrides."""

import math
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness import config as specs
from harness.config.toml_file import parse_toml
from harness.config.validation import BOUNDED
from harness.errors import InputError
from harness.hyperparameters import Fixed, Range
from harness.metric_definitions import OBJECTIVES
from tests.config.least import GIGABYTE, LEAST, WITHOUT_SIZE, check, parse, raw, write
from tests.tally import Tally

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
STUDIES = [path for path in FILES if "study" in tomllib.loads(path.read_text("utf-8"))]


# ---------------------------------------------------------------------------------- what it refuses


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


PUBLISHED = {"task": "adding", "cell": "lstm", "metric": "loss", "value": 1, "source": "a paper"}


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
        {"search": {"sampler": "gp"}, "space": {"hidden_size": {"low": 1, "high": 2_000_000}}},
        "space.hidden_size: expected at most 1,000,000 whole numbers in a range, for the sampler gp",
    ),
    (
        {"search": {"sampler": "grid"}, "space": {"hidden_size": {"low": 8, "high": 9}}},
        "space.hidden_size: expected a list, for the sampler grid",
    ),
    (
        {"training": {"sequences": 800}},
        "training.evaluate_every: expected at most training.sequences \\(800\\), got 1600",
    ),
    (
        {
            "space": {"sequence_length": {"low": 10, "high": 20}},
            "confirm": {"sequence_lengths": []},
        },
        "confirm.sequence_lengths: expected a ladder of lengths or lags where .*need common rungs",
    ),
    ({"confirm": {"extrapolation": [4, 2]}}, "confirm.extrapolation: .*that rise"),
    ({"confirm": {"extrapolation": [1]}}, "confirm.extrapolation.0: "),
    ({"space": {"adding": {"initialization": "pytorch"}}}, r"space.adding.initialization: .*cell"),
    (
        {"compare": {"tasks": ["lstm"], "cells": ["lstm"]}},
        "compare: expected different names for tasks and cells, got 'lstm'",
    ),
    ({"space": {"adding": {"alpha": 0.1}}}, r"space.adding.alpha: .*in the table of a cell"),
    (
        {
            "compare": {"cells": ["lstm", "rnn"]},
            "space": {"rnn": {"sequence_length": 9}},
            "confirm": {"sequence_lengths": []},
        },
        "confirm.sequence_lengths: expected a ladder .*or differs by cell",
    ),
    (
        {"published": [{**PUBLISHED, "metric": "importance", "parameter": "learning_rat"}]},
        "published.0.parameter: expected a hyperparameter that is searched",
    ),
    (
        {"published": [PUBLISHED], "confirm": {"seeds": 0}},
        "published.0.metric: expected diverged_share or importance where confirm.seeds is 0",
    ),
    (
        {"published": [{**PUBLISHED, "metric": "accuracy", "value": 95}]},
        "published.0.value: expected a share of at most 1 .*write 95 % as 0.95",
    ),
    ({"published": {}}, r"published: expected tables headed \[\[published\]\]"),
    ({"published": [{**PUBLISHED, "cell": "gru"}]}, "published.0.cell: expected a cell of this"),
    ({"published": [{**PUBLISHED, "task": "parity"}]}, "published.0.task: expected a task of this"),
    ({"published": [{**PUBLISHED, "metric": "los"}]}, "published.0.metric: .*'loss'"),
    (
        {"published": [{**PUBLISHED, "metric": "importance"}]},
        "published.0.parameter: expected a hy",
    ),
    ({"published": [{**PUBLISHED, "value": 0}]}, "published.0.value: "),
    ({"confirm": {"lags": []}}, "confirm.lags: expected at least one"),
    ({"confirm": {"sequence_lengths": [20, 10]}}, "confirm.sequence_lengths: .*that rise"),
    ({"confirm": {"sequence_lengths": [20, 20]}}, "confirm.sequence_lengths: .*that rise"),
    ({"confirm": {"sequence_lengths": [0, 20]}}, "confirm.sequence_lengths.0: "),
    ({"confirm": {"lags": [30, 10]}}, "confirm.lags: expected numbers that rise"),
    ({"confirm": {"lags": [10], "sequence_lengths": [20]}}, "either lags or sequence_lengths"),
    (
        {"search": {"pruner": "bound", "objective": "loss"}},
        "search.pruner: expected no bound with the objective loss.*remembered_steps",
    ),
    (
        {"compare": {"variants": {"wide": "lstm"}}},
        "compare.variants.wide: expected a name that compare.cells or compare.tasks lists",
    ),
]


def test_bound_suits_the_objectives_that_have_one() -> None:
    """What the file refuses is what the objectives themselves say."""
    known = [name for name, each in OBJECTIVES.items() if math.isfinite(each.reachable(1, 1))]
    assert list(BOUNDED) == known


@pytest.mark.parametrize(("tables", "match"), SENSELESS)
def test_what_makes_no_sense_is_refused(tables: dict[str, Any], match: str) -> None:
    """A contradictory study is refused before anything runs, with the file and the key."""
    with pytest.raises(InputError, match=match) as caught:
        parse(**tables)
    assert str(caught.value).startswith("f.toml: ")


@pytest.mark.parametrize("missing", list(LEAST["space"]))
def test_a_hyperparameter_that_stands_nowhere(missing: str) -> None:
    """Each key of [space] must be somewhere, and the message says where it may be."""
    space = {name: value for name, value in LEAST["space"].items() if name != missing}
    with pytest.raises(InputError, match=rf"space.{missing}: .*got nothing; add {missing} to \[sp"):
        specs.parse_study({**LEAST, "space": space}, "f.toml")


@pytest.mark.parametrize("table", ["study", "compare"])
def test_a_table_that_must_be_there(table: str) -> None:
    """A study has a name, and says what it compares."""
    plain = {name: value for name, value in LEAST.items() if name != table}
    with pytest.raises(InputError, match=rf"{table}\.\w+: expected a value, got nothing"):
        specs.parse_study(plain, "f.toml")


@pytest.mark.parametrize("sizes", [[0, 5_000], {"low": 0, "high": 5_000}])
def test_num_parameters_is_not_searched_through_zero(sizes: object) -> None:
    """0 switches num_parameters off, and a trial without a size has none."""
    with pytest.raises(InputError, match=r"space.num_parameters: expected numbers >= 1"):
        specs.parse_study({**LEAST, "space": {**WITHOUT_SIZE, "num_parameters": sizes}}, "f.toml")


def test_a_variant_may_not_inherit_a_size_beside_num_parameters() -> None:
    """hidden_size in the table of the base cell counts for its variants too."""
    tables = {
        **raw(compare={"cells": ["wide"], "variants": {"wide": "lstm"}}),
        "space": {**WITHOUT_SIZE, "lstm": {"hidden_size": 8}, "wide": {"num_parameters": 5_000}},
    }
    with pytest.raises(InputError, match=r"hidden_size left out"):
        specs.parse_study(tables, "f.toml")


# -------------------------------------------------------------------------------------------- names


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
        *("x" * 81, "한" * 27, "dot.", "CON", "nul.toml", "com1", "NUL .x", "lpt²", "conin$"),
    ],
)
def test_names_that_no_folder_may_have(name: str, tally: Tally) -> None:
    """A name that is a path, hidden, unprintable or impossible on some system is refused."""
    fault = "a name that leaves the folder, hides, or is kept for devices"
    with tally.each(fault, "refused, with its place") as count:
        with count.one(), pytest.raises(InputError, match=r"study.name: expected a printable name"):
            parse(study={"name": name})
        with count.one(), pytest.raises(InputError, match=r"cells.0: expected a printable name"):
            parse(compare={"cells": [name], "variants": {name: "lstm"}})


@pytest.mark.parametrize("cells", [["lstm", "lstm"], ["lstm", "LSTM"], ["caf\u00e9", "cafe\u0301"]])
def test_labels_are_used_once(cells: list[str]) -> None:
    """Two labels that some file systems hold to be one are refused."""
    with pytest.raises(InputError, match=r"compare.cells: expected each name once"):
        parse(compare={"cells": cells, "variants": {cells[1]: "lstm"}})


# --------------------------------------------------------------------------------- files, overrides


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_the_studies_that_come_along_are_valid(path: Path) -> None:
    """Each file of studies/ loads, fits into 8 GB, has its file's name, survives a round trip."""
    spec = specs.load_study(path)
    assert spec.study.name == path.stem
    assert spec.study.question
    checked = check(spec, 8 * GIGABYTE)
    assert specs.parse_study(tomllib.loads(checked.dump()), "again") == checked
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
    monkeypatch.setattr("harness.config.find_studies.study_directory", lambda: tmp_path)
    listed = specs.list_studies()
    assert set(listed) == {"good", "broken", "binary"}
    assert listed["good"] == "?"
    assert "cannot be read" in listed["broken"]
    assert specs.find_study("good").stem == "good"
    with pytest.raises(InputError, match=r"broken.toml: expected TOML"):
        specs.load_study(specs.find_study("broken"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"[study", "f.toml: expected TOML, got"),
        (b"\xff\xfe\x00", "expected a readable text file, got text that is not UTF-8"),
        (b"a = " + b"9" * 5_000, "expected TOML"),  # more digits than Python reads
        (b"a = " + b"[" * 100_000, "expected TOML"),
        (b"a." * 100_000 + b"a = 1", "f.toml: line 1: expected keys of at most 32 parts"),
        (b"\n[" + b'"a b" . ' * 100_000 + b"a]", "f.toml: line 2: expected keys of at most 32"),
        (b"a = {" + b"'a'." * 100_000 + b"a = 1}", "f.toml: line 1: expected keys of at most 32"),
        (b"# " + b"x" * 1_000_000, "f.toml: expected a text file of at most 1,000,000 bytes"),
        (b"study = " + b"0x" + b"f" * 10_000, "study: expected a table, got a value of type int"),
        (b"study = 2020-01-01", "study: expected a table"),
        (b'[study]\nname = "x"\nseed = 2020-01-01', "study.seed"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, text: bytes, match: str, tally: Tally) -> None:
    """Whatever is in the file, the answer is one line."""
    path = tmp_path / "f.toml"
    path.write_bytes(text)
    with tally.each("a file that is no study", "refused, with its place") as count, count.one():
        with pytest.raises(InputError, match=match) as caught:
            specs.load_study(path)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["x" * 900_000, "a." * 30 + "a\n", '"' * 900_000, "'a" * 400_000, "a " * 400_000]
)
def test_a_file_of_letters_is_looked_through_at_once(text: str, tally: Tally) -> None:
    """Looking for deep keys takes time as the length of the text, not as its square."""
    started = time.monotonic()
    with tally.each("a megabyte of letters", "refused at once") as count, count.one():
        with pytest.raises(InputError, match=r"f\.toml: expected TOML"):
            parse_toml(text, "f.toml")
        assert time.monotonic() - started < 5


def test_a_file_as_windows_writes_it(tmp_path: Path) -> None:
    """A byte order mark and its line ends are no part of the study."""
    path = tmp_path / "f.toml"
    path.write_bytes(b"\xef\xbb\xbf" + parse().dump().replace("\n", "\r\n").encode())
    assert specs.load_study(path) == parse()


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        (
            {"compare": {"cells": [f"c{i}" for i in range(1_001)]}},
            "compare: expected at most 1,000 pairs of a task and a cell, got 1,001",
        ),
        (
            {"space": {"hidden_size": list(range(1, 1_002))}},
            "space.hidden_size: expected at most 1,000 values, got 1,001",
        ),
        (
            {"confirm": {"sequence_lengths": list(range(10, 1_011))}},
            "confirm.sequence_lengths: expected a list of at most 1,000",
        ),
        (
            {"search": {"trials": 10**9}},
            "search.trials: expected at most 1,000,000 trials in all, got 5,000,000,000",
        ),
        (
            {"confirm": {"seeds": 10_000, "sequence_lengths": list(range(10, 31))}},
            "confirm.seeds: expected at most 1,000,000 runs in all, got 1,050,000",
        ),
        (
            {"confirm": {"lags": list(range(10, 1_011))}},
            "confirm.lags: expected a list of at most 1,000",
        ),
    ],
)
def test_no_more_than_anybody_would_wait_for(tables: dict[str, Any], match: str) -> None:
    """What is multiplied later is bounded when it is read."""
    with pytest.raises(InputError, match=match):
        parse(**tables)


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    """What cannot be opened is named."""
    with pytest.raises(InputError, match=r"expected a readable text file"):
        specs.load_study(tmp_path)


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
            lambda spec: spec.parameters("adding", "lstm")["num_layers"],
            Fixed(2),
        ),
        ('study.question="a=b"', lambda spec: spec.study.question, "a=b"),
    ],
)
def test_an_override_sets_one_key(least_file: Path, override: str, get: Any, expected: Any) -> None:
    """--set takes any key of the study file, dotted, and TOML as its value."""
    assert get(specs.load_study(least_file, [override])) == expected


def test_the_last_override_counts(least_file: Path) -> None:
    """Overrides are applied in their order."""
    spec = specs.load_study(least_file, ["search.trials=1", "search.trials=2"])
    assert spec.search.trials == 2


def test_a_ladder_that_is_set_takes_the_place_of_the_other(tmp_path: Path) -> None:
    """--set of lengths or of lags replaces what the file says of the other.

    A file that says both is refused.
    """
    path = write(tmp_path, parse(confirm={"lags": [5, 10]}).dump())
    spec = specs.load_study(path, ["confirm.sequence_lengths=[10, 20]"])
    assert (spec.confirm.sequence_lengths, spec.confirm.lags) == ((10, 20), ())
    spec = specs.load_study(path, ["confirm.sequence_lengths=[10]", "confirm.lags=[7]"])
    assert spec.confirm.lags == (7,)
    path = write(tmp_path, path.read_text().replace("lags", "sequence_lengths=[9]\nlags"))
    with pytest.raises(InputError, match="either lags or sequence_lengths"):
        specs.load_study(path)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("search.trials=1\nx=2", "--set: search.trials: expected a TOML value"),
        ("search.trials={" + "a." * 40_000 + "a=1}", "--set: search.trials: expected a TOML value"),
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
        specs.load_study(least_file, [override])


def test_the_objectives_of_a_study_file_are_those_that_exist() -> None:
    """Every objective that metrics defines may be written, and no other."""
    for objective in OBJECTIVES:
        assert parse(search={"objective": objective}).search.objective == objective
    with pytest.raises(InputError) as caught:
        parse(search={"objective": "?"})
    assert set(caught.value.expected.removeprefix("one of ").split(", ")) == set(OBJECTIVES)
