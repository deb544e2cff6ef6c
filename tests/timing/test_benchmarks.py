"""harness.timing.benchmarks: requests as data, and the training step that is timed."""

import dataclasses
import json
import math

import pytest
import torch

from harness.errors import InputError
from harness.machine import derive_seed
from harness.models import build_model
from harness.tasks import get_task
from harness.timing.benchmarks import Benchmark, TimingRequest, prepare

BENCHMARK = Benchmark("one", "adding", "lstm", 6, 2, 12, batch_size=4, learning_rate=0.01)
PLAIN = TimingRequest((BENCHMARK,)).to_dict()


def changed(**values):
    """The plain request with other values in its only benchmark; None removes a key."""
    benchmark = {**PLAIN["benchmarks"][0], **values}
    return {**PLAIN, "benchmarks": [{k: v for k, v in benchmark.items() if v is not None}]}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_the_step_is_the_plain_training_step(cell, max_grad_norm):
    """Losses equal those of a loop by hand: zero_grad, forward, loss, backward, clip, step."""
    benchmark = dataclasses.replace(BENCHMARK, cell=cell, max_grad_norm=max_grad_norm)
    subject = prepare(benchmark, seed=3)
    task = get_task("adding")
    model = build_model(benchmark.model, derive_seed(3, "weights"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(derive_seed(3, "batches"))
    batches = [task.sample(4, 12, generator) for _ in range(4)]
    for i in range(6):
        batch = batches[i % 4]
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(batch.inputs), batch.targets)
        loss.backward()
        if max_grad_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        assert float(subject.step()) == pytest.approx(float(loss.detach()), rel=1e-4)


def test_reset_brings_the_first_weights_back():
    """After a reset the first batch's turn gives the first loss again."""
    subject = prepare(BENCHMARK)
    first = [float(subject.step()) for _ in range(4)]
    subject.reset()
    assert float(subject.step()) == pytest.approx(first[0], rel=1e-6)


def test_what_is_prepared_follows_from_the_seed():
    """The same seed gives the same losses, another seed others."""
    first, again, other = (float(prepare(BENCHMARK, seed).step()) for seed in (0, 0, 1))
    assert first == again != other


def test_a_subject_counts_its_sequences_and_tokens():
    """Tokens are time steps of sequences, by the batch that is really read."""
    subject = prepare(BENCHMARK)
    assert (subject.num_sequences, subject.num_tokens) == (4, 48)
    assert subject.num_parameters == 4 * (6 * 2 + 6 * 6 + 12) + 4 * (6 * 6 + 6 * 6 + 12) + 7


def test_the_steps_that_a_task_adds_count():
    """Copy memory at T = 12 has 32 steps of 10 numbers and as many outputs of 8: tokens and products by hand."""
    subject = prepare(dataclasses.replace(BENCHMARK, task="copy_memory"))
    assert subject.num_tokens == 4 * 32
    assert subject.flops == 3 * 2 * (4 * 6 * (10 + 6) + 4 * 6 * (6 + 6) + 6 * 8) * 4 * 32
    assert float(subject.step()) == pytest.approx(math.log(8), rel=0.1)


def test_a_request_survives_json():
    """What to_dict writes, from_dict reads."""
    request = TimingRequest((BENCHMARK,), n_blocks=7, plugins=("mine",))
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
        ({**PLAIN, "schema": 99}, "schema: expected 1, got 99"),
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
def test_bad_input_is_named(plain, says):
    """A wrong request is refused with the place, what was expected and the nearest name."""
    with pytest.raises(InputError) as caught:
        TimingRequest.from_dict(plain)
    assert says in str(caught.value)
