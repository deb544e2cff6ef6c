"""harness.config.grid_config and .groups.

What a grid file may say, what is refused, and the benchmarks that it stands for.
"""

import itertools
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from harness import config as specs
from harness.cells import CELLS
from harness.config.grid_config import ShapeTable
from harness.errors import InputError
from harness.hyperparameters import OPTIMIZER_NAMES
from harness.tasks import TASKS

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
GRIDS = [path for path in FILES if "grid" in tomllib.loads(path.read_text("utf-8"))]
LEAST: dict[str, Any] = {"grid": {"name": "least"}, "compare": {"cells": ["lstm"]}}


def parse(**tables: Any) -> specs.GridSpec:
    """The least grid with some tables set, read."""
    return specs.parse_grid({**LEAST, **tables}, "f.toml")


def check(**tables: Any) -> None:
    """The same, held against the cells and tasks at hand."""
    specs.check_grid(parse(**tables), "f.toml", TASKS, CELLS)


def benchmarks(spec: specs.GridSpec, device: str = "cpu") -> list[Any]:
    """All benchmarks of training steps, in order."""
    return [
        each for group in specs.training_groups(spec, CELLS, device) for each in group.benchmarks
    ]


# -------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", GRIDS, ids=[path.stem for path in GRIDS])
def test_the_grids_that_come_along_are_valid(path: Path) -> None:
    """Each has its file's name and a question, passes the check, and survives a round trip."""
    spec = specs.load_grid(path)
    assert spec.grid.name == path.stem
    assert spec.grid.question
    specs.check_grid(spec, path.name, TASKS, CELLS)
    assert specs.parse_grid(tomllib.loads(spec.dump()), "again") == spec
    assert specs.find_grid(path.stem) == path
    assert specs.list_grids()[path.stem] == spec.grid.question


def test_grids_and_studies_are_told_apart() -> None:
    """Each command lists its own kind, and names the command for a file of the other kind."""
    assert not set(specs.list_grids()) & set(specs.list_studies())
    assert {*specs.list_grids(), *specs.list_studies()} == {path.stem for path in FILES}
    with pytest.raises(InputError, match=r"got a grid; run it by `python -m harness.bench bench_q"):
        specs.find_study("bench_quick")
    with pytest.raises(InputError, match=r"got a study; run it by `python -m harness.study quick"):
        specs.find_grid("quickstart")


@pytest.mark.parametrize(
    ("read", "name", "command"),
    [(specs.load_study, "bench_quick", "bench"), (specs.load_grid, "quickstart", "study")],
)
def test_a_path_to_a_file_of_the_other_kind(read: Any, name: str, command: str) -> None:
    """Given by its path, it is found out when it is read."""
    (path,) = (path for path in FILES if path.stem == name)
    with pytest.raises(InputError, match=f"run it by `python -m harness.{command} {name}.toml`"):
        read(path)


def test_an_unknown_grid_gets_the_nearest() -> None:
    """A name that no file has is answered with one that exists."""
    with pytest.raises(InputError, match=r"GRID: expected .*did you mean 'bench_quick'"):
        specs.find_grid("bench_quik")


def test_settings_reach_every_table() -> None:
    """--set sets a key, or all blocks at once."""
    settings = ["shape.hidden_size=7", "timing.block_s=1", "vary=[]", 'compare.variants=["tuned"]']
    spec = specs.load_grid(specs.find_grid("bench_quick"), settings)
    assert (spec.shape.hidden_size, spec.timing.block_s, spec.vary) == (7, 1.0, ())
    assert {each["hidden_size"] for each in benchmarks(spec)} == {7}


# ---------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        ({"shap": {}}, "shap: expected a known table.*did you mean 'shape'"),
        ({"shape": {"hiden_size": 3}}, "shape.hiden_size: .*did you mean 'hidden_size'"),
        ({"shape": {"hidden_size": 0}}, "shape.hidden_size: .*got 0"),
        ({"shape": {"hidden_size": 8.0}}, "shape.hidden_size: .*got 8.0"),
        ({"shape": {"hidden_size": True}}, "shape.hidden_size: .*got True"),
        ({"shape": {"hidden_size": 2**70}}, "shape.hidden_size: "),
        ({"shape": {"optimizer": "adm"}}, "shape.optimizer: expected one of adam, .*'adam'"),
        ({"shape": {"max_grad_norm": float("nan")}}, "shape.max_grad_norm: "),
        ({"shape": {"learning_rate": float("inf")}}, "shape.learning_rate: "),
        ({"compare": {}}, "compare.cells: expected a value, got nothing"),
        (
            {"compare": {"cells": ["lstm"], "measures": ["forwards"]}},
            "measures.0: .*did you mean 'forward'",
        ),
        ({"compare": {"cells": ["lstm", "LSTM"]}}, "compare.cells: expected each name once"),
        ({"vary": {}}, r"vary: expected tables headed \[\[vary\]\]"),
        ({"vary": [{}, {"hidden_size": []}]}, "vary.1.hidden_size: expected at least one"),
        ({"vary": [{"hidden_size": 8}]}, "vary.0.hidden_size: .*list, got 8"),
        ({"vary": [{"hidden_size": [8, "9"]}]}, "vary.0.hidden_size.1: .*got '9'"),
        ({"vary": [{"variant": ["tuned"]}]}, "vary.0.variant: .*did you mean 'variants'"),
        ({"timing": {"n_blocks": 0}}, "timing.n_blocks: "),
        ({"timing": {"block_s": 0.0}}, "timing.block_s: "),
        ({"inference": {"dtypes": ["int4"]}}, "inference.dtypes.0: .*did you mean 'int8'"),
        ({"inference": {"n_calls": 10**9}}, "inference.n_calls: "),
        ({"grid": {"name": "../up"}}, "grid.name: expected a printable name"),
    ],
)
def test_what_makes_no_sense_is_refused(tables: dict[str, Any], match: str) -> None:
    """A grid that means nothing is refused in one line, with the file and the key."""
    with pytest.raises(InputError, match=match) as caught:
        parse(**tables)
    assert str(caught.value).startswith("f.toml: ")


def test_a_hostile_number_of_shapes_is_refused_before_it_is_written_out() -> None:
    """10^9 shapes are counted, not listed."""
    many = list(range(1, 1001))
    started = time.monotonic()
    with pytest.raises(
        InputError, match=r"vary: expected at most 100,000 benchmarks, got 2,000,000,000"
    ):
        parse(vary=[{"hidden_size": many, "sequence_length": many, "batch_size": many}])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        ({"shape": {"task": "temporal_ordr"}}, "shape.task: expected a known task.*temporal_order"),
        ({"compare": {"cells": ["ltsm"]}}, "compare.cells: expected a known cell.*'lstm'"),
        ({"vary": [{"cells": ["ltsm"]}]}, "vary.0.cells: expected a known cell.*'lstm'"),
        ({"shape": {"initialization": "crono"}}, "shape.initialization: .*did you mean 'chrono'"),
        ({"vary": [{"initialization": ["crono"]}]}, "vary.0.initialization: .*'chrono'"),
        ({"shape": {"sequence_length": 9}}, "shape.sequence_length: expected at least 10 for the"),
        ({"vary": [{"sequence_length": [50, 9]}]}, "vary.0.sequence_length: .*got 9"),
        ({"shape": {"task": "lesson"}}, "shape.sequence_length: expected 4, the length of"),
        (
            {"compare": {"cells": ["rnn"]}, "shape": {"initialization": "chrono"}},
            r"shape.initialization: expected one that rnn has \(pytorch, orthogonal\)",
        ),
    ],
)
def test_what_is_not_at_hand_is_refused(tables: dict[str, Any], match: str) -> None:
    """Unknown names, lengths that the task lacks, and a cell without benchmarks are refused."""
    with pytest.raises(InputError, match=match):
        check(**tables)


def test_the_words_of_optimisers_are_those_of_a_study() -> None:
    """The grid file takes what a study takes."""
    assert get_args(ShapeTable.model_fields["optimizer"].annotation) == OPTIMIZER_NAMES


# -------------------------------------------------------------------------------------- written out


def test_a_block_is_the_product_of_its_lists() -> None:
    """What a block does not name is that of [shape] and [compare].

    The order is that of the file.
    """
    spec = parse(
        compare={"cells": ["rnn", "lstm"], "variants": ["plain", "tuned"]},
        shape={"hidden_size": 16, "batch_size": 4},
        vary=[{"sequence_length": [20, 30]}, {"hidden_size": [8], "variants": ["tuned"]}],
    )
    found = [
        (each["hidden_size"], each["sequence_length"], each["cell"], each["variant"])
        for each in benchmarks(spec)
    ]
    wanted = list(itertools.product([16], [20, 30], ["rnn", "lstm"], ["plain", "tuned"]))
    wanted += [(8, 100, "rnn", "tuned"), (8, 100, "lstm", "tuned")]
    assert found == wanted
    assert {each["batch_size"] for each in benchmarks(spec)} == {4}
    assert len({each["name"] for each in benchmarks(spec)}) == len(wanted)


def test_without_blocks_the_shape_is_timed() -> None:
    """A grid may be a single point."""
    (group,) = specs.training_groups(parse(), CELLS, "cpu")
    assert [each["variant"] for each in group.benchmarks] == ["plain", "tuned"]


def test_a_group_is_a_shape_and_equal_benchmarks_stand_once() -> None:
    """Two blocks that meet at a shape give one group, in which each benchmark is timed once."""
    spec = parse(
        vary=[{"hidden_size": [8, 32]}, {"hidden_size": [32], "variants": ["tuned", "threads=2"]}]
    )
    first, second = specs.training_groups(spec, CELLS, "cuda:0")
    assert [each["variant"] for each in first.benchmarks] == ["plain", "tuned"]
    assert [each["variant"] for each in second.benchmarks] == ["plain", "tuned", "threads=2"]
    assert {each["device"] for each in second.benchmarks} == {"cuda:0"} == {second.device}


def test_an_initialisation_that_a_cell_lacks_is_left_out_for_it() -> None:
    """A plain RNN has no gates that chrono could set."""
    spec = parse(
        compare={"cells": ["rnn", "gru"], "variants": ["tuned"]},
        vary=[{"initialization": ["pytorch", "chrono"]}],
    )
    specs.check_grid(spec, "f.toml", TASKS, CELLS)
    found = {(each["cell"], each["initialization"]) for each in benchmarks(spec)}
    assert found == {("rnn", "pytorch"), ("gru", "pytorch"), ("gru", "chrono")}


def test_variants_that_are_asked_for() -> None:
    """They replace those of [compare].

    A block with its own keeps what was asked for, and goes where nothing is left.
    """
    spec = parse(
        vary=[
            {"hidden_size": [8]},
            {"hidden_size": [9], "variants": ["tuned", "denormals_kept"]},
            {"hidden_size": [10], "variants": ["compiled"]},
        ]
    ).with_variants(["tuned", "threads=2"])
    found = [(each["hidden_size"], each["variant"]) for each in benchmarks(spec)]
    assert found == [(8, "tuned"), (8, "threads=2"), (9, "tuned")]
    assert specs.parse_grid(tomllib.loads(spec.dump()), "again") == spec


def test_inference_is_one_group_for_each_size_of_network() -> None:
    """A step costs the same at every length, so it is there once.

    Sequences are there at each length, whatever the batch.
    """
    spec = parse(
        vary=[{"hidden_size": [8, 9], "sequence_length": [20, 30], "batch_size": [1, 2]}],
        inference={"dtypes": ["float32", "int8"]},
    )
    groups = specs.inference_groups(spec, CELLS)
    assert len(groups) == 2
    for group in groups:
        steps = [each for each in group.benchmarks if each["measure"] == "step"]
        whole = [each for each in group.benchmarks if each["measure"] == "sequence"]
        assert [each["dtype"] for each in steps] == ["float32", "int8"]
        assert sorted((each["sequence_length"], each["dtype"]) for each in whole) == [
            (20, "float32"), (20, "int8"), (30, "float32"), (30, "int8"),
        ]  # fmt: skip
        assert len({each["name"] for each in group.benchmarks}) == 6


def test_inference_takes_an_initialisation_that_the_cell_has() -> None:
    """That of [shape] where the cell has it, and else its first.

    Weights do not decide how long a call takes.
    """
    cells = {"lstm": SimpleNamespace(initializations={"own": None})}
    (group,) = specs.inference_groups(parse(), cells)
    assert {each["initialization"] for each in group.benchmarks} == {"own"}
