"""harness.timing.benchmark_request: requests as data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.errors import InputError
from harness.timing.benchmark_request import Benchmark, TimingRequest

BENCHMARK = Benchmark("one", "adding", "lstm", 6, 2, 12, batch_size=4, learning_rate=0.01)
PLAIN = TimingRequest((BENCHMARK,)).to_dict()


def changed(**values: Any) -> Any:
    """The plain request with other values in its only benchmark; None removes a key."""
    benchmark = {**PLAIN["benchmarks"][0], **values}
    return {**PLAIN, "benchmarks": [{k: v for k, v in benchmark.items() if v is not None}]}


def test_a_request_survives_json() -> None:
    """What to_dict writes, from_dict reads."""
    request = TimingRequest((BENCHMARK,), n_blocks=7, limits=True, plugins=("mine",))
    assert TimingRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ([], "request: expected a JSON object"),
        ({}, "request: benchmarks: expected a list of at least one"),
        ({**PLAIN, "n_block": 3}, "did you mean 'n_blocks'"),
        ({**PLAIN, "n_blocks": 0}, "n_blocks: expected a whole number of at least 1"),
        ({**PLAIN, "n_blocks": True}, "n_blocks: expected a whole number"),
        ({**PLAIN, "block_s": float("nan")}, "block_s: expected a finite number"),
        ({**PLAIN, "schema": 99}, "schema: expected 2, got 99"),
        ({**PLAIN, "limits": 1}, "limits: expected true or false"),
        (changed(variant="tund"), "benchmarks[0]: variant: expected a variant, got 'tund'"),
        (changed(variant="threads=0"), "threads=N with N from 1"),
        (changed(measure="backward"), "measure: expected a measure, got 'backward'"),
        ({**PLAIN, "benchmarks": PLAIN["benchmarks"] * 2}, "expected names that differ, got 'one'"),
        (changed(hiden_size=3), "did you mean 'hidden_size'"),
        (changed(hidden_size=None), "benchmarks[0]: hidden_size: expected a value"),
        (changed(hidden_size=0), "hidden_size: expected a whole number of at least 1"),
        (changed(hidden_size="wide"), "hidden_size: expected a whole number"),
        (changed(learning_rate=float("nan")), "learning_rate: expected a finite number"),
        (changed(optimizer="adma"), "did you mean 'adam'"),
        (changed(task="addin"), "did you mean 'adding'"),
        (changed(cell="lstn"), "did you mean 'lstm'"),
        (changed(sequence_length=1), "at least 2, the shortest that adding allows"),
        (
            changed(task="lesson", sequence_length=5),
            "benchmarks[0]: sequence_length: expected 4, the length of the fixed sequences of lesson, got 5",
        ),
    ],
)
def test_bad_input_is_named(
    plain: dict[str, bool | float | list[dict[str, dict[str, object] | float | str]] | list[object]]
    | dict[str, object]
    | list[object],
    says: str,
) -> None:
    """A wrong request is refused with the place, what was expected and the nearest name."""
    with pytest.raises(InputError) as caught:
        TimingRequest.from_dict(plain)
    assert says in str(caught.value)
