"""The sentences on gradients, gates and time scales follow from the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import records
from harness.study import result_files
from harness.study.report import study_report
from tests.study.report.synthetic import Wish, write

LAGS = [1, 10, 30, 60, 100]
pytestmark = pytest.mark.usefixtures("no_figures")


def gain(cell: str, state: str, log10_gain: list[float | None], **more: Any) -> dict[str, Any]:
    """One entry of gradient_gain."""
    names = {"task": "temporal_order", "cell": cell, "state": state}
    return {**names, "sequence_length": 101, "lag": LAGS, "log10_gain": log10_gain, **more}


def markdown_of(directory: Path, diagnostics: Mapping[str, Any], **wish: Any) -> str:
    """The Markdown of a study with these diagnostics."""
    write(directory, Wish(repeats=1, trials=2, throughput=False, evaluations=False, **wish))
    (directory / "diagnostics.json").write_text(json.dumps({"schema": 1, **diagnostics}))
    return study_report.render(records.read_study(directory), directory).markdown.read_text("utf-8")


def test_gains_are_told_as_they_are(tmp_path: Path) -> None:
    """Gains, the lags below both thresholds, and the change by training are as measured.

    An RNN may keep more than an LSTM.
    """
    text = markdown_of(
        tmp_path,
        {
            "gradient_gain": [
                gain("rnn", "initial", [0.0, -2.0, -6.2304489, -8.0, -12.0]),
                gain("rnn", "trained", [0.0, -0.5, -1.5228787, -1.0, -0.5]),
                gain("lstm", "initial", [0.0, -0.1, -0.2, -0.3, -0.5]),
                gain("lstm", "trained", [0.0, -4.0, -6.0, -8.0, None]),
            ]
        },
    )
    assert "Gradient gain at lag 30: rnn 1/1,700,000 at" in text
    assert "initialisation and 3.0 % after training; lstm 63 % at" in text
    assert "At that lag, training raised the gain of rnn and lowered the gain of lstm." in text
    assert "The trained rnn does not stay below 10⁻³ within the 100 steps" in text
    assert "The trained lstm stays below 10⁻³ from lag 10 on and below the" in text
    assert "resolution of float32 from lag 60 on" in text


@pytest.mark.parametrize("solved", [True, False])
def test_the_task_is_set_beside_the_gain(tmp_path: Path, solved: bool) -> None:
    """The text says how far back the winner's sequences reached, and whether it solved them."""
    rows = [
        gain("rnn", state, [0.0, 0.5, 1.0, 2.0, 3.0], trained_length=40)
        for state in ("initial", "trained")
    ]
    result_files.write_winner(tmp_path, "temporal_order", "rnn", {"solved": solved})
    text = markdown_of(tmp_path, {"gradient_gain": rows}, ladder=(10, 40))
    known = "it solved the task" if solved else "it did not solve the task"
    # temporal order of 40 steps: 39 - 8
    assert f"Its sequences asked for 31 steps back, and {known}." in text.replace("\\", "")
    assert "training left the gain of rnn within a factor of 2" in text
    assert "Gradient gain at lag 30: rnn 10 at initialisation" in text


def test_a_cell_without_states_says_so(tmp_path: Path) -> None:
    """The text warns that gains by inputs are not compared by height."""
    rows = [
        gain("rnn", state, [0.0, -1.0, -2.0, -3.0, -4.0], of="output")
        for state in ("initial", "trained")
    ]
    text = markdown_of(tmp_path, {"gradient_gain": rows})
    assert "For rnn the gain is that of the output by an earlier input" in text


def test_a_diverged_cell_costs_its_lines_alone(tmp_path: Path) -> None:
    """Gains, gates and time scales without a single known number are left out."""
    names = {"task": "temporal_order", "cell": "lstm", "state": "trained", "sequence_length": 3}
    unknown: list[None] = [None] * 3
    trace = {"gate": "forget", "layer": 0, "mean": unknown, "low": unknown, "high": unknown}
    scales = {"gate": "forget", "layer": 0, "task_lag": 5, "n_sequences": 4, "steps": unknown}
    rows = [gain("rnn", state, [0.0, -1.0, -2.0, -3.0, -4.0]) for state in ("initial", "trained")]
    rows.append(gain("lstm", "trained", [None] * 5))
    text = markdown_of(
        tmp_path,
        {
            "gradient_gain": rows,
            "gates": [names | {"memory_gate": "forget", "informative": None, "traces": [trace]}],
            "time_scales": [names | scales],
        },
    )
    assert "rnn 1.0 % at initialisation" in text
    assert "- What the gates do. diagnostics.json holds no gates" in text
    assert "- How long a unit remembers. diagnostics.json holds no time scales" in text


def test_older_diagnostics_are_rendered(tmp_path: Path) -> None:
    """An older diagnostics.json of gains alone gives its figure; the rest is named as absent."""
    rows = [gain("rnn", state, [0.0, -1.0, -2.0, -3.0, -4.0]) for state in ("initial", "trained")]
    text = markdown_of(tmp_path, {"gradient_gain": rows})
    assert "figures/gradient_gain.svg" in text
    assert "figures/gates.svg" not in text
    assert "- What the gates do." in text


def gates(informative: list[int] | None, trained: Mapping[str, list[float]]) -> dict[str, Any]:
    """Gates of an LSTM: at 0.5 before training, and as given after it."""
    found = []
    for state in ("initial", "trained"):
        traces = [
            {"gate": gate, "layer": 0, "mean": means, "low": means, "high": means}
            for gate, after in trained.items()
            for means in [after if state == "trained" else [0.5] * len(after)]
        ]
        names = {"task": "temporal_order", "cell": "lstm", "state": state, "sequence_length": 4}
        found.append(
            names | {"memory_gate": "forget", "informative": informative, "traces": traces}  # type: ignore[dict-item]
        )
    return {"gates": found}


def test_the_gate_that_moves_most_is_named(tmp_path: Path) -> None:
    """The numbers at the informative steps and at the other steps decide which gate is named."""
    moves = {"forget": [0.9, 0.9, 0.7, 0.9], "input": [0.1, 0.1, 0.8, 0.1]}
    text = markdown_of(tmp_path, gates([2], moves))
    assert "forget 0.85 (0.50) and input 0.28 (0.50)" in text.replace("\\", "")
    assert (
        "At the 1 informative steps the input gate changes most: it is 0.80 there and 0.10" in text
    )
    assert "In an LSTM the forget gate says" in text
    assert "In a GRU" not in text


@pytest.mark.parametrize(
    ("informative", "says"),
    [
        ([2], "No gate differs by more than 0.05 at the 1 informative steps"),
        ([0, 1, 2, 3], "No step is marked"),
        ([], "No step is marked"),
        (None, "No step is marked"),
    ],
)
def test_gates_that_do_not_change(tmp_path: Path, informative: list[int] | None, says: str) -> None:
    """No gate is named without a difference. No step is marked where all steps are alike."""
    assert says in markdown_of(tmp_path, gates(informative, {"forget": [0.9, 0.91, 0.9, 0.9]}))


def test_time_scales_are_counted(tmp_path: Path) -> None:
    """Median, longest and the units that reach the task's lag count all layers together."""
    found = [
        {
            "task": "temporal_order",
            "cell": "lstm",
            "state": state,
            "sequence_length": 40,
            "gate": "forget",
            "layer": layer,
            "task_lag": 31,
            "n_sequences": 4,
            "steps": steps,
        }
        for state, layers in (
            ("initial", ([2.0, 2.0], [2.0])),
            ("trained", ([1.0, 31.0], [9e15])),
        )
        for layer, steps in enumerate(layers)
    ]
    text = markdown_of(tmp_path, {"time_scales": found})
    assert (
        "Half of the 3 units of lstm keep a value for more than 31 steps after training (2.0"
        in text
    )
    assert "The task asks for 31 steps: 2 of 3 units reach them (0 before training)" in text
    assert "The last bar also holds the units beyond 1,000 steps." in text


def test_panels_without_informative_steps_keep_their_size(tmp_path: Path) -> None:
    """A task that marks no step has panels of full size.

    Matplotlib warns where a layout collapses.
    """
    write(tmp_path, Wish(repeats=1, trials=2, throughput=False, evaluations=False))
    path = tmp_path / "diagnostics.json"
    diagnostics = json.loads(path.read_text("utf-8"))
    assert any(one["informative"] for one in diagnostics["gates"])
    for one in diagnostics["gates"]:
        one["informative"] = None
    path.write_text(json.dumps(diagnostics))
    study_report.render(records.read_study(tmp_path), tmp_path)
