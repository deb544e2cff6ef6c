"""harness.timing.inference: requests, calls timed alone, medians and 99th percentiles."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from typing import Any

import pytest
import torch

from harness.cells import CELLS, Cell
from harness.errors import HarnessError, InputError
from harness.machine import derive_seed
from harness.tasks import get_task
from harness.timing import deployed_model, inference
from harness.timing.inference import (
    ModelFacts,
    ReadyModel,
    measure_inference,
    percentile,
    prepare_inference,
)
from harness.timing.inference_request import InferenceBenchmark, InferenceRequest
from harness.timing.timing_results import InferenceAnswer
from harness.training.model import build_model
from tests.known import known
from tests.timing.test_deployed_model import Averaging

FACTS = ModelFacts(1, 4, None, 0.0)
BENCHMARK = InferenceBenchmark("one", "temporal_order", "lstm", 4, 1, 12)
PLAIN = InferenceRequest((BENCHMARK,)).to_dict()


def changed(**values: Any) -> Any:
    """The plain request with other values in its only benchmark; None removes a key."""
    benchmark = {**PLAIN["benchmarks"][0], **values}
    return {**PLAIN, "benchmarks": [{k: v for k, v in benchmark.items() if v is not None}]}


def test_a_request_survives_json() -> None:
    """What to_dict writes, from_dict reads."""
    request = InferenceRequest(
        (dataclasses.replace(BENCHMARK, dtype="int8", measure="sequence"),), 300, 6, plugins=("a",)
    )
    assert InferenceRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ([], "request: expected a JSON object"),
        ({}, "request: benchmarks: expected a list of at least one"),
        ({**PLAIN, "mode": "inferense"}, "request: mode: expected 'inference', got 'inferense'"),
        ({**PLAIN, "n_call": 3}, "did you mean 'n_calls'"),
        ({**PLAIN, "n_calls": 0}, "n_calls: expected a whole number of at least 1"),
        ({**PLAIN, "schema": 99}, "schema: expected 1, got 99"),
        ({**PLAIN, "benchmarks": PLAIN["benchmarks"] * 2}, "expected names that differ, got 'one'"),
        (changed(dtyp="int8"), "did you mean 'dtype'"),
        (changed(dtype="int4"), "benchmarks[0]: dtype: expected one of float32, bfloat16, int8"),
        (changed(measure="steps"), "did you mean 'step'"),
        (changed(device="cuda:0"), "benchmarks[0]: device: expected one of cpu"),
        (changed(hidden_size=None), "benchmarks[0]: hidden_size: expected a value"),
        (changed(hidden_size=0), "hidden_size: expected a whole number of at least 1"),
        (changed(task="temporal_ordre"), "did you mean 'temporal_order'"),
        (changed(cell="lstn"), "did you mean 'lstm'"),
        (changed(sequence_length=9), "at least 10, the shortest that temporal_order allows"),
    ],
)
def test_bad_input_is_named(
    plain: dict[str, float | list[dict[str, dict[str, object] | int | str]] | list[object] | str]
    | dict[str, object]
    | list[object],
    says: str,
) -> None:
    """A wrong request is refused with the place, what was expected and the nearest name."""
    with pytest.raises(InputError) as caught:
        InferenceRequest.from_dict(plain)
    assert says in str(caught.value)


@torch.inference_mode()
def test_calls_carry_the_state_through_the_tasks_own_steps() -> None:
    """The k-th call answers what the whole sequence gives at step k, and a reset begins again."""
    ready = prepare_inference(BENCHMARK, seed=3)
    assert isinstance(ready, ReadyModel)
    model = build_model(BENCHMARK.model, derive_seed(3, "weights"))
    generator = torch.Generator().manual_seed(derive_seed(3, "batches"))
    inputs = get_task("temporal_order").sample(4, 12, generator).inputs[:1]
    whole = model.head(model.cell(inputs))
    answers = torch.cat([ready.call() for _ in range(12)])  # type: ignore[misc]
    assert torch.allclose(answers, whole[0], atol=1e-6)
    further = ready.call()  # the first step again, with the state that the last one left
    assert not torch.allclose(further, whole[:, 0], atol=1e-6)  # type: ignore[arg-type]
    ready.reset()
    assert torch.allclose(ready.call(), whole[:, 0], atol=1e-6)  # type: ignore[arg-type]
    assert known(ready.facts.output_error) < 1e-5


@torch.inference_mode()
def test_whole_sequences_are_the_tasks_own() -> None:
    """Each call is the model's answer to one of the prepared sequences, in turn."""
    ready = prepare_inference(dataclasses.replace(BENCHMARK, measure="sequence"))
    assert isinstance(ready, ReadyModel)
    model = build_model(BENCHMARK.model, derive_seed(0, "weights"))
    generator = torch.Generator().manual_seed(derive_seed(0, "batches"))
    inputs = get_task("temporal_order").sample(4, 12, generator).inputs
    answers = torch.cat([ready.call() for _ in range(5)])  # type: ignore[misc]
    assert torch.allclose(answers, model(inputs[[0, 1, 2, 3, 0]]), atol=1e-6)


def test_an_error_beyond_the_dtype_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model further from float64 than its dtype explains is not timed."""
    monkeypatch.setattr(deployed_model, "OUTPUT_TOLERANCE", {"bfloat16": 1e-9})
    with pytest.raises(HarnessError, match=r"differ from float64 by 0\.0\d+, more than bfloat16"):
        prepare_inference(dataclasses.replace(BENCHMARK, dtype="bfloat16"))


class Forgetful(Averaging):
    """Its single step drops the state."""

    def step(self, inputs: Any, state: Any) -> Any:
        """The map alone."""
        state = 0.5 * self.input(inputs)[None]
        return state[0], state

    def forward(self, inputs: Any) -> Any:
        """With the state."""
        return Averaging.forward(Remembering(self.input), inputs)


class Remembering(Averaging):
    """The same weights in a cell that keeps its state."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.input = linear


def test_a_row_that_fails_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that drops its state fails by its number, an unavailable dtype by its reason.

    The others are timed.
    """
    monkeypatch.setitem(CELLS, "forgetful", Cell("forgetful", lambda *_: Forgetful()))
    rows = (
        InferenceBenchmark("forgets", "temporal_order", "forgetful", 2, 1, 12),
        InferenceBenchmark("none", "temporal_order", "rnn", 2, 1, 12, dtype="int8"),
        InferenceBenchmark("whole", "temporal_order", "forgetful", 2, 1, 12, measure="sequence"),
    )
    answer = measure_inference(InferenceRequest(rows, n_calls=402, n_blocks=6))
    plain = json.loads(json.dumps(answer.to_json()))
    assert InferenceAnswer.from_json(plain) == answer
    forgets, none, whole = plain["results"]
    assert forgets["error"].startswith("not timed: its outputs differ from float64 by 0.")
    assert none["unavailable"] == "torch has no dynamic int8 nn.RNN"
    assert none["error"] is None
    for row in (forgets, none):
        assert "median_us" not in row
    assert (whole["n_calls"], len(whole["call_times_ns"])) == (402, 402)
    assert whole["median_low_us"] <= whole["median_us"] <= whole["median_high_us"]
    assert whole["median_us"] < whole["p99_us"]
    assert (
        min(whole["call_times_ns"]) / 1e3 <= whole["median_us"] <= max(whole["call_times_ns"]) / 1e3
    )


def test_numbers_come_from_the_raw_times() -> None:
    """Median and 99th percentile of each block, and their median over blocks, by hand."""
    blocks = [[1000 * (block + call) for call in range(1, 101)] for block in (4, 0, 3, 1, 2)]
    row = vars(inference._numbers(FACTS, blocks))
    assert (row["median_us"], row["median_low_us"], row["median_high_us"]) == (52.5, 50.5, 54.5)
    assert row["p99_us"] == pytest.approx(2 + 0.99 * (100 + 1 / 3) + 1 / 3)
    assert row["p99_high_us"] - row["p99_low_us"] == pytest.approx(4)
    assert row["interval_level"] == 0.9375
    assert row["call_times_ns"][:2] == (5000, 6000)


def test_few_calls_have_no_tail() -> None:
    """Below 67 calls a block there is no 99th percentile, below 5 blocks no interval."""
    assert percentile(range(66), 0.99) is None
    assert percentile(range(67), 0.99) is not None
    row = vars(inference._numbers(FACTS, [[1, 2, 3]] * 4))
    assert (row["p99_us"], row["p99_low_us"], row["median_low_us"]) == (None, None, None)
    assert row["median_us"] == 0.002


def test_the_percentile_of_known_samples() -> None:
    """Hyndman and Fan's eighth definition: place p (n + 1/3) + 1/3 of the sorted sample."""
    samples = [3.0, 1.0, 2.0, 5.0, 4.0]
    assert percentile(samples, 0.5) == 3.0
    assert percentile(samples, 0.25) == pytest.approx(1 + (0.25 * (5 + 1 / 3) + 1 / 3 - 1))
    assert percentile([7.0] * 100, 0.99) == 7.0


def _covered(random_: Any, wobble: Any, n: int = 400) -> Any:
    """How often both intervals of 10 blocks of 100 calls hold the true values."""
    hits = [0, 0]
    for _ in range(n):
        blocks = []
        for _ in range(10):
            shift = random_.gauss(0, wobble)
            blocks.append([10 + shift + random_.expovariate(1) for _ in range(100)])
        row = vars(inference._numbers(FACTS, [[1e3 * time for time in block] for block in blocks]))
        hits[0] += row["median_low_us"] <= 10 + 0.6931 <= row["median_high_us"]
        hits[1] += row["p99_low_us"] <= 10 + 4.6052 <= row["p99_high_us"]
    return [each / n for each in hits]


@pytest.mark.parametrize("wobble", [0.0, 0.3])
def test_intervals_hold_the_true_values(wobble: float) -> None:
    """Exponential times, alone and with a shift that a block's calls share.

    97.9 % of intervals hold the truth.
    """
    for share in _covered(random.Random(1), wobble):
        assert 0.95 <= share <= 0.998  # 0.979 with a deviation of 0.007


def test_blocks_are_interleaved() -> None:
    """A B A B: each row has its block from its first state, and the budget ends whole rounds."""
    seen = []
    rows = [
        ReadyModel(lambda n=n: seen.append(n), lambda n=n: seen.append(n.upper()), FACTS)  # type: ignore[misc]
        for n in "ab"
    ]
    request = InferenceRequest((BENCHMARK,), n_calls=24, n_blocks=12)
    rounds = inference._rounds(rows, request, deadline=0.0)
    assert "".join(seen) == ("A" + 5 * "a" + "B" + 5 * "b") * 5
    assert [[len(block) for block in each] for each in rounds] == [[2, 2]] * 5


def ask(request: pytest.FixtureRequest, *options: Any) -> Any:
    """Run the command with a request; its exit code and what it wrote."""
    command = [sys.executable, "-W", "error", "-m", "harness.timing"]
    return subprocess.run(
        [*command, *options], input=json.dumps(request), capture_output=True, text=True, check=False
    )


def test_the_command_answers() -> None:
    """JSON in, JSON out, in one thread with denormals flushed, and without a warning of torch's."""
    rows = tuple(
        dataclasses.replace(BENCHMARK, name=dtype, dtype=dtype) for dtype in deployed_model.DTYPES
    )
    done = ask(InferenceRequest(rows, n_calls=20, n_blocks=5).to_dict())  # type: ignore[arg-type]
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["machine"]["threads"] == 1
    assert answer["machine"]["denormals_flushed"] is True
    assert [row["dtype"] for row in answer["results"]] == ["float32", "bfloat16", "int8"]
    assert all(row["median_us"] > 0 and row["device"] == "cpu" for row in answer["results"])


def test_the_command_refuses_another_mode() -> None:
    """One line and exit code 2."""
    done = ask({**PLAIN, "mode": "training"})  # type: ignore[arg-type]
    assert done.returncode == 2
    assert done.stderr == "request: mode: expected 'inference', got 'training'\n"
