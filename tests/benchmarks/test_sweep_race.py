"""The race of sweeps: what it draws, counts and refuses, and one run of its tiny list.

Asserts nothing of time.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sweep_race
from benchmarks.peers import listed, plain_optuna, products
from benchmarks.sweep_race import HARNESS, IDEAL, PRODUCTS, Program
from harness.tasks import get_task

PROGRAMS = (
    Program("plain_1", "plain", "plain_optuna"),
    Program(HARNESS, "the harness", "harness_sweep"),
    Program(IDEAL, "ideal", "ideal"),
)


def line(program: str, number: int, wall_s: float, *losses: float, **more: Any) -> dict[str, Any]:
    """A run as runs.jsonl holds it."""
    return {
        "program": program,
        "round": number,
        "wall_s": wall_s,
        "losses": list(losses),
        **more,
    }


@pytest.mark.parametrize("name", ["full", "tiny"])
def test_the_lists_are_what_their_seeds_draw(name: str) -> None:
    """So nobody chose the trials; and a list is read as it was written."""
    drawn = {"full": listed.full, "tiny": listed.tiny}[name]()
    assert listed.LISTS[name].read_text(encoding="utf-8") == listed.dump(drawn)
    assert listed.load(listed.LISTS[name]) == drawn


def test_the_full_list_spans_what_it_says() -> None:
    """Each cell as often: sizes 16 to 256, 1 and 2 layers, lengths 50 to 400, one seed each."""
    trials = listed.full().trials
    assert [each.cell for each in trials].count("gru") * 3 == len(trials)
    assert all(16 <= each.hidden_size <= 256 for each in trials)
    assert {each.num_layers for each in trials} == {1, 2}
    assert all(50 <= each.sequence_length <= 400 for each in trials)
    assert len({each.seed for each in trials}) == len(trials)
    assert listed.full().sequences % listed.full().batch_size == 0


@pytest.mark.parametrize(
    ("losses", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.1, 2.0], [1.0, 2.0], 0.1),
        ([1.0, math.nan], [1.0, math.nan], 0.0),
        ([1.0, math.nan], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [1.0, math.nan], math.inf),
        ([1.0], [1.0, 2.0], math.inf),
        ([], [], math.inf),
    ],
)
def test_losses_differ_by_their_largest_relative_difference(
    losses: list[float], reference: list[float], expected: float
) -> None:
    """Two that diverged are alike; one that diverged, or is missing, is infinitely far.

    No losses prove nothing.
    """
    assert sweep_race.difference(losses, reference) == pytest.approx(expected)


def test_every_program_is_first_once_in_as_many_rounds() -> None:
    """And each runs once a round."""
    orders = [sweep_race.order(PROGRAMS, number) for number in range(3)]
    assert {each[0].key for each in orders} == {"plain_1", HARNESS, IDEAL}
    assert all(set(each) == set(PROGRAMS) for each in orders)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine twice as slow in one round leaves the ratios alone.

    A round without the harness does not count.
    """
    runs = [
        *(line("plain_1", 0, 50.0, 1.0), line(HARNESS, 0, 10.0, 1.0)),
        *(line("plain_1", 1, 100.0, 1.0), line(HARNESS, 1, 20.0, 1.0)),
        line("plain_1", 2, 900.0, 1.0),
        line(IDEAL, 0, 12.0, 1.00001, ideal_s=8.0),
    ]
    plain, ours, ideal = sweep_race.judge(PROGRAMS, runs)
    assert plain.ratios == (5.0, 5.0)
    assert ours.ratios == (1.0, 1.0)
    assert (ideal.ratio, ideal.wall_s) == (0.8, 8.0)
    assert ideal.largest_difference == pytest.approx(1e-5)
    assert not any(row.refused for row in (plain, ours, ideal))


def test_unequal_work_is_refused_and_named() -> None:
    """One loss of one round is enough; there is no ratio then."""
    runs = [
        *(line("plain_1", 0, 50.0, 1.0, 2.0), line(HARNESS, 0, 10.0, 1.0, 2.0)),
        *(line("plain_1", 1, 50.0, 1.0, 2.001), line(HARNESS, 1, 10.0, 1.0, 2.0)),
    ]
    plain, _, ideal = sweep_race.judge(PROGRAMS, runs)
    assert plain.refused
    assert plain.ratio is None
    assert plain.said == "refused: losses differ by up to 5.0e-04"
    assert (ideal.said, ideal.refused) == ("not measured: no round yet", False)


def test_half_the_training_is_unequal_work() -> None:
    """The losses of the tiny list then differ by more than is allowed.

    Equal losses do prove something.
    """
    tiny = listed.tiny()
    half = dataclasses.replace(tiny, sequences=tiny.sequences // 2)
    losses = [[plain_optuna.train(trial, each) for trial in tiny.trials] for each in (half, tiny)]
    assert sweep_race.difference(*losses) > sweep_race.TOLERANCE


@pytest.mark.parametrize(
    ("more", "said", "refused"),
    [
        ({"not_measured": "ray is not installed"}, "not measured: ray is not installed", False),
        ({"failed": "no memory"}, "failed: no memory", True),
    ],
)
def test_what_did_not_run_is_said(more: dict[str, str], said: str, refused: bool) -> None:
    """Instead of a number."""
    plain = {"program": "plain_1", "round": 0, **more}
    row = sweep_race.judge(PROGRAMS, [plain, line(HARNESS, 0, 10.0, 1.0)])[0]
    assert (row.said, row.refused, row.ratios) == (said, refused, ())


def test_products_are_a_bound_without_losses() -> None:
    """Their own seconds count, and no losses are asked of them; of all else they are."""
    every = (*PROGRAMS[1:2], Program(PRODUCTS, "products", "products"))
    runs = [line(HARNESS, 0, 10.0, 1.0), {"program": PRODUCTS, "round": 0, "wall_s": 9.0}]
    _, bound = sweep_race.judge(every, [runs[0], {**runs[1], "products_s": 4.0}])
    assert (bound.ratio, bound.wall_s, bound.refused) == (0.4, 4.0, False)
    assert bound.largest_difference is None


@pytest.mark.parametrize("index", range(6))
def test_products_count_what_training_needs(index: int) -> None:
    """Each layer's products with what it reads and with its state.

    Once forward, twice backward, not to the first inputs.
    """
    trials, reads = listed.full(), get_task("temporal_order").input_size
    trial = trials.trials[index]
    size, gates = trial.hidden_size, {"rnn": 1, "gru": 3, "lstm": 4}[trial.cell]
    forward = size + reads + (trial.num_layers - 1) * 2 * size
    each = trials.sequences * (3 * forward - reads) + trials.evaluation_sequences * forward
    assert products.flops(trial, trials) == 2 * gates * size * trial.sequence_length * each


def test_the_parts_beyond_the_ideal_add_up() -> None:
    """To the harness's wall time less the ideal: nothing is left out, nothing counted twice."""
    phases = {
        "imported": 1.0,
        "storage opened": 1.5,
        "workers ready": 4.0,
        "trials done": 14.0,
        "closed": 14.25,
    }
    ours = line(HARNESS, 0, 15.0, 1.0, 1.0, trial_s=[8.0, 10.0], phases_s=phases, workers=2)
    parts = sweep_race.beyond_ideal([ours, line(IDEAL, 0, 20.0, 1.0, 1.0, ideal_s=8.5)])
    assert sum(parts.values()) == pytest.approx(15.0 - 8.5)
    assert list(parts.values()) == [0.75, 1.0, 0.5, 2.5, 0.5, 1.0, 0.25]
    assert sweep_race.beyond_ideal([ours]) == {}


def test_a_line_cut_short_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    """The runs before it stay, and the next one begins a line."""
    path = tmp_path / "runs.jsonl"
    path.write_text('{"round": 0}\n{"rou')
    assert sweep_race.read_runs(path) == [{"round": 0}]
    sweep_race.append(path, {"round": 1})
    assert sweep_race.read_runs(path) == [{"round": 0}, {"round": 1}]
    assert sweep_race.read_runs(tmp_path / "none.jsonl") == []


def test_runs_of_another_race_are_told_apart() -> None:
    """By what they do not share."""
    same = {"list": "a", "sources": "b"}
    assert sweep_race.foreign([{**same, "round": 0}], same) == ""
    assert sweep_race.foreign([{**same, "sources": "c"}], same) == "sources"


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_its_row_says_so() -> None:
    """The program ends well, without a result."""
    ray = next(each for each in sweep_race.programs(2) if each.key == "ray")
    ended = sweep_race.run(ray, listed.LISTS["tiny"])
    assert ended["not_measured"] == "ray is not installed"


def test_a_program_that_fails_says_its_last_words(tmp_path: Path) -> None:
    """A list that is not there is named."""
    ended = sweep_race.run(Program("x", "x", "plain_optuna"), tmp_path / "none.json")
    assert "none.json" in ended["failed"]


@pytest.mark.nightly
def test_the_tiny_list_is_raced_told_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain, tuned and the harness find the same losses; a second call runs nothing.

    Other workers are refused.
    """
    command = ["--list", "tiny", "--rounds", "1", "--workers", "2", "--out", str(tmp_path)]
    command += ["--only", "plain_1", "tuned"]
    assert sweep_race.main(command) == 0
    runs = sweep_race.read_runs(tmp_path / "runs.jsonl")
    assert sorted(each["program"] for each in runs) == ["harness", "plain_1", "tuned"]
    assert all(len(each["losses"]) == 3 for each in runs)
    found = json.loads((tmp_path / "race.json").read_text())
    rows = {row["key"]: row for row in found["rows"]}
    assert rows["plain_1"]["largest_difference"] < sweep_race.TOLERANCE
    assert rows["tuned"]["ratio"] > 0
    assert rows["ray"]["said"] == "not measured: no round yet"
    with (tmp_path / "race.csv").open() as file:
        assert [row["program"] for row in csv.DictReader(file)] == [
            row["label"] for row in found["rows"]
        ]
    for kind in ("svg", "png"):
        assert (tmp_path / "figures" / f"race.{kind}").stat().st_size > 1000
    capsys.readouterr()
    assert sweep_race.main(command) == 0
    assert "round 1" not in capsys.readouterr().out
    assert sweep_race.read_runs(tmp_path / "runs.jsonl") == runs
    assert sweep_race.main([*command, "--workers", "3"]) == 2
    assert "expected runs of the same workers" in capsys.readouterr().err
