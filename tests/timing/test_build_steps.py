"""harness.timing.build_steps.

The closures of the steps that are timed, in every variant that runs in this process.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from harness.cells import CELLS, Cell, TorchCell
from harness.errors import HarnessError
from harness.machine import derive_seed
from harness.tasks import get_task
from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import build, forget_compiled, prepare
from harness.timing.variants import FIXED, unavailable
from harness.training.captured_step import WARM_UP_STEPS
from harness.training.model import build_model
from tests.cells.native.here import NEEDS_KERNELS_IN_USE
from tests.known import known

PRECISION = {"float16": 0.05, "bfloat16": 0.05, "tf32": 0.01}  # of losses, relative
BENCHMARK = Benchmark("one", "adding", "lstm", 6, 2, 12, batch_size=4, learning_rate=0.01)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_the_step_is_the_plain_training_step(cell: str, max_grad_norm: float) -> None:
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
        assert float(subject.step()) == pytest.approx(float(loss.detach()), rel=1e-4)  # type: ignore[arg-type]


def test_reset_brings_the_first_weights_back() -> None:
    """After a reset the first batch's turn gives the first loss again."""
    subject = prepare(BENCHMARK)
    first = [float(subject.step()) for _ in range(4)]  # type: ignore[arg-type]
    subject.reset()
    assert float(subject.step()) == pytest.approx(first[0], rel=1e-6)  # type: ignore[arg-type]


def test_what_is_prepared_follows_from_the_seed() -> None:
    """The same seed gives the same losses, another seed others."""
    first, again, other = (float(prepare(BENCHMARK, seed).step()) for seed in (0, 0, 1))  # type: ignore[arg-type]
    assert first == again != other


def test_a_subject_counts_its_sequences_and_tokens() -> None:
    """Tokens are time steps of sequences, by the batch that is really read."""
    subject = prepare(BENCHMARK)
    assert (subject.num_sequences, subject.num_tokens) == (4, 48)
    assert subject.num_parameters == 4 * (6 * 2 + 6 * 6 + 12) + 4 * (6 * 6 + 6 * 6 + 12) + 7


def test_the_steps_that_a_task_adds_count() -> None:
    """Copy memory at T = 12 has 32 steps of 10 numbers and as many outputs of 8.

    Tokens and products by hand.
    """
    subject = prepare(dataclasses.replace(BENCHMARK, task="copy_memory"))
    assert subject.num_tokens == 4 * 32
    assert subject.flops == 3 * 2 * (4 * 6 * (10 + 6) + 4 * 6 * (6 + 6) + 6 * 8) * 4 * 32
    assert float(subject.step()) == pytest.approx(math.log(8), rel=0.1)  # type: ignore[arg-type]


def test_each_measure_does_its_part() -> None:
    """forward leaves no gradients, forward_backward keeps the weights, training_step moves them."""
    for measure, has_gradient, moves in (
        ("forward", False, False),
        ("forward_backward", True, False),
        ("training_step", True, True),
    ):
        benchmark = dataclasses.replace(BENCHMARK, measure=measure)
        work = build(benchmark)
        run = {"forward": work.loss, "forward_backward": work.backward}.get(measure, work.train)
        run(work.batches[0])
        weights = list(work.model.parameters())
        assert all((weight.grad is not None) == has_gradient for weight in weights), measure
        moved = any(
            not torch.equal(weight, first)
            for weight, first in zip(weights, work.first_weights, strict=True)
        )
        assert moved == moves, measure


def test_the_parts_of_a_step_cost_their_share() -> None:
    """forward is a third of the operations of forward and backward, and of the whole step."""
    forward, both, whole = (
        prepare(dataclasses.replace(BENCHMARK, measure=measure))
        for measure in ("forward", "forward_backward", "training_step")
    )
    assert 3 * forward.flops == both.flops == whole.flops  # type: ignore[operator]
    assert known(forward.num_bytes) < both.num_bytes < whole.num_bytes  # type: ignore[operator]


def test_plain_trains_as_torch_does_by_default() -> None:
    """plain uses the optimiser as torch makes it unasked; tuned asks for the fused one."""
    plain, tuned = (
        build(dataclasses.replace(BENCHMARK, variant=name)).optimizer.defaults["fused"]
        for name in ("plain", "tuned")
    )
    assert (plain, tuned) == (None, True)


def test_bfloat16_products_over_float32_weights() -> None:
    """Under bfloat16 the loss is off by rounding only; weights and outputs stay float32."""
    gru = dataclasses.replace(BENCHMARK, cell="gru", hidden_size=32)  # oneDNN's LSTM needs AVX-512
    work, exact = build(dataclasses.replace(gru, variant="bfloat16")), build(gru)
    batch = work.batches[0]
    assert work.forward(batch.inputs).dtype == torch.float32
    assert {weight.dtype for weight in work.model.parameters()} == {torch.float32}
    loss, expected = float(work.backward(batch)), float(exact.backward(batch))
    assert loss != expected
    assert loss == pytest.approx(expected, rel=0.05)


@pytest.mark.nightly
@pytest.mark.filterwarnings(
    "ignore"
)  # dynamo looks at what torch warns of, and imports what it deprecates
def test_a_compiled_step_is_the_same_step() -> None:
    """Compiled losses equal the plain step's; torch's recurrent layer breaks the graph."""
    if reason := unavailable("compiled", "cpu"):
        pytest.skip(reason)
    compiled = prepare(dataclasses.replace(BENCHMARK, variant="compiled"))
    plain = prepare(BENCHMARK)
    losses = [float(compiled.step()) for _ in range(3)]  # type: ignore[arg-type]
    assert losses == pytest.approx([float(plain.step()) for _ in range(3)], rel=1e-3)  # type: ignore[arg-type]
    assert known(compiled.compile_time_s) > 0
    assert known(compiled.graph_breaks) >= 1
    forget_compiled()


@NEEDS_KERNELS_IN_USE
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_native_steps_are_the_same_steps(cell: str) -> None:
    """The losses are torch's to rounding; the last digits show that the kernels ran."""
    benchmark = dataclasses.replace(BENCHMARK, cell=cell, hidden_size=20)
    native = dataclasses.replace(benchmark, variant="native")
    steps = [prepare(each).step for each in (benchmark, native)]
    tuned, ours = ([float(step()) for _ in range(8)] for step in steps)  # type: ignore[arg-type]
    assert ours == pytest.approx(tuned, rel=1e-4)
    assert ours != tuned


@NEEDS_KERNELS_IN_USE
def test_a_cell_without_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark of a plugged-in cell says so instead of timing torch under another name."""

    class Own(TorchCell):
        """A cell of a user's."""

    cell = Cell("own", lambda *sizes: Own(torch.nn.GRU, *sizes))
    monkeypatch.setitem(CELLS, "own", cell)
    benchmark = dataclasses.replace(BENCHMARK, cell="own", variant="native")
    with pytest.raises(HarnessError, match="no native kernels for this cell"):
        prepare(benchmark)


def test_float16_steps_are_timed_at_a_scale_that_no_gradient_overflows() -> None:
    """A first scale of 2^16 overflows here.

    It is lowered before anything is timed, and no step is lost after.
    """
    variant = FIXED["float16"]
    wide = dataclasses.replace(
        BENCHMARK, cell="rnn", hidden_size=128, initialization="orthogonal", sequence_length=50
    )
    work = build(dataclasses.replace(wide, variant="float16"))
    scale = known(work.scaler).get_scale()
    work.settle_scale()
    assert variant.precision == "float16"
    assert known(work.scaler).get_scale() < scale
    settled = known(work.scaler).get_scale()
    for batch in work.batches:
        work.train(batch)
    assert known(work.scaler).get_scale() == settled


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")
@pytest.mark.parametrize("variant", ["cuda_graph", "float16", "bfloat16", "tf32", "compiled"])
def test_cuda_variants_take_the_same_steps(variant: str) -> None:
    """On CUDA each variant's first losses are those of the plain step, to its precision.

    What a variant ran to be captured or compiled has left its mark on Adam's moments (and on
    nothing else): so here too.
    """
    if reason := unavailable(variant, "cuda:0"):
        pytest.skip(reason)
    asked = dataclasses.replace(BENCHMARK, device="cuda:0", hidden_size=32)
    found = prepare(dataclasses.replace(asked, variant=variant))
    plain = build(asked)
    for _ in range({"cuda_graph": WARM_UP_STEPS, "compiled": 2}.get(variant, 0)):
        plain.train(plain.batches[0])
    plain.reset()
    for batch in plain.batches[:3]:
        near = pytest.approx(float(plain.train(batch)), rel=PRECISION.get(variant, 1e-3))
        assert float(found.step()) == near  # type: ignore[arg-type]
