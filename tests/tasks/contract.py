"""The contract of a task, as a class of tests that each task inherits:

    class TestMajority(TaskContract):
        task = Majority()
        oracle = staticmethod(majority_oracle)

An oracle stands for a network that remembers everything. It is written from the task's description,
not from its code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.metric_definitions import skill
from harness.tasks import Batch, Informs, Lengthened, Task

SURE = 30.0  # a logit whose probability is 1 in float32
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available")

Oracle = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Inputs (batch_size, steps, input_size) to right outputs and what each of them needs.

The outputs are what a model would give: (batch_size, output_size), or (batch_size, steps,
output_size) where the task is dense. What they need is boolean (batch_size, n, steps), n = 1 for
the one output after the last step, and n = steps where the task is dense: [i, t, s] says whether
the output at step t needs the input at step s. A row of False is a step at which nothing is asked.
"""


def draw(task: Task, batch_size: int, sequence_length: int, seed: int = 0) -> Batch:
    """A batch from that seed."""
    return task.sample(batch_size, sequence_length, torch.Generator().manual_seed(seed))


def output_shape(task: Task, batch: Batch) -> tuple[int, ...]:
    """The shape of what a model gives for the batch."""
    return (*batch.inputs.shape[: 2 if task.dense else 1], task.output_size)


def random_outputs(task: Task, batch: Batch) -> Tensor:
    """What an untrained model might give."""
    return torch.randn(output_shape(task, batch), generator=torch.Generator().manual_seed(1))


def by_output(task: Task, outputs: Tensor) -> Tensor:
    """Outputs with the axis n of what they need: (batch_size, n, output_size)."""
    return outputs if task.dense else outputs.unsqueeze(1)


def step_of(task: Task, read: Tensor) -> Tensor:
    """The step at which each of the n outputs stands."""
    steps = read.shape[2]
    return torch.arange(steps) if task.dense else torch.tensor([steps - 1])


class FixedTaskContract:
    """What every task keeps, also one with a handful of fixed sequences."""

    task: Task
    oracle: Oracle
    lag_is_the_farthest = False  # a task whose reach varies states the least of it, or says so here

    def lengths(self) -> list[int]:
        """Lengths to try: the least ones, odd and even; fixed sequences have one."""
        least = self.task.least_length
        if self.task.finite:
            return [least]
        return list(dict.fromkeys([least, least + 1, max(least, 24), max(least, 57)]))

    # ------------------------------------------------------------------------------------ form

    def test_a_task_is_a_task(self) -> None:
        """It has what the protocol asks."""
        assert isinstance(self.task, Task)
        assert self.task.least_length >= 1
        assert self.task.input_size >= 1
        assert self.task.output_size >= 1

    def test_shapes_and_types(self) -> None:
        """Inputs are float32 (batch_size, steps, input_size) and finite, at every batch size.

        Steps as the task says.
        """
        for length, batch_size in itertools.product(self.lengths(), (1, 2, 7)):
            batch = draw(self.task, batch_size, length)
            steps = self.task.steps(length) if isinstance(self.task, Lengthened) else length
            assert batch.inputs.shape == (batch_size, steps, self.task.input_size)
            assert batch.inputs.dtype == torch.float32
            assert batch.inputs.isfinite().all()
            assert not batch.inputs.requires_grad
            assert len(batch.targets) == batch_size

    def test_a_seed_is_reproducible(self) -> None:
        """The same generator state gives the same batch; torch's global generator is not used."""
        for length in self.lengths():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                before = torch.get_rng_state()
                one = draw(self.task, 5, length, seed=3)
                assert torch.equal(torch.get_rng_state(), before)
                torch.manual_seed(2)
                two = draw(self.task, 5, length, seed=3)
            assert torch.equal(one.inputs, two.inputs)
            assert torch.equal(one.targets, two.targets)

    # -------------------------------------------------------------------------------- the loss

    def test_loss_and_correct_take_what_a_model_gives(self) -> None:
        """The loss is one number; exactly the scored outputs have a finite gradient."""
        batch = draw(self.task, 6, self.task.least_length)
        outputs = random_outputs(self.task, batch).requires_grad_()
        loss = self.task.loss(outputs, batch.targets)
        loss.backward()
        assert loss.shape == ()
        assert loss.item() > 0
        assert outputs.grad is not None
        assert outputs.grad.isfinite().all()
        asked = self.oracle(batch.inputs)[1].any(dim=-1)
        assert torch.equal(by_output(self.task, outputs.grad).any(dim=-1), asked)
        correct = self.task.correct(outputs, batch.targets)
        assert correct.dtype == torch.bool
        assert correct.numel() == asked.sum()

    def test_the_loss_is_a_mean(self) -> None:
        """The loss of a batch is the mean over its sequences, so parts can be added up."""
        batch = draw(self.task, 6, self.task.least_length)
        outputs = random_outputs(self.task, batch)
        parts = [
            self.task.loss(outputs[i : i + 1], batch.targets[i : i + 1]).item() for i in range(6)
        ]
        assert self.task.loss(outputs, batch.targets).item() == pytest.approx(
            sum(parts) / 6, rel=1e-5
        )

    def test_a_diverged_output_is_a_diverged_loss(self) -> None:
        """Outputs that are NaN give a loss that is NaN, no exception."""
        batch = draw(self.task, 3, self.task.least_length)
        outputs = torch.full(output_shape(self.task, batch), math.nan)
        assert self.task.loss(outputs, batch.targets).isnan()

    def test_the_chance_loss_is_that_of_the_best_constant_prediction(self) -> None:
        """On 20,000 sequences no constant beats the closed form, and one reaches it, to 2 %."""
        for length in self.lengths()[:3:2]:
            batch = draw(self.task, 20_000, length, seed=5)
            best = best_constant_loss(self.task, batch)
            assert best == pytest.approx(self.task.chance_loss(length), rel=0.02)

    def test_an_oracle_solves_the_task(self) -> None:
        """What remembers the steps that matter is always right, with a skill of 1."""
        for length in self.lengths():
            batch = draw(self.task, 300, length)
            outputs, _ = self.oracle(batch.inputs)
            assert self.task.correct(outputs, batch.targets).all()
            loss = self.task.loss(outputs, batch.targets).item()
            assert skill(loss, self.task.chance_loss(length)) > 0.9999

    @NEEDS_CUDA
    def test_cpu_and_cuda_agree(self) -> None:
        """The same batch on CUDA has the same loss, and the same predictions are right."""
        for length in self.lengths():
            here = draw(self.task, 20, length)
            outputs = random_outputs(self.task, here)
            there = here.to(torch.device("cuda"))
            assert torch.equal(there.inputs.cpu(), here.inputs)
            loss = self.task.loss(outputs.cuda(), there.targets).item()
            assert loss == pytest.approx(self.task.loss(outputs, here.targets).item(), rel=1e-5)
            right = self.task.correct(outputs.cuda(), there.targets)
            assert torch.equal(right.cpu(), self.task.correct(outputs, here.targets))
            assert isinstance(self.task, Informs)
            informative = self.task.informative(there.inputs)
            assert torch.equal(informative.cpu(), self.task.informative(here.inputs))

    # ---------------------------------------------------------------------------- what matters

    def test_the_lag_is_how_far_back_the_earliest_input_that_matters_lies(self) -> None:
        """The least (or most) that an output reaches back is the lag, or one more."""
        for length in self.lengths():
            _, read = self.oracle(draw(self.task, 2_000, length).inputs)
            first = read.float().argmax(dim=-1)  # the first of equals
            reach = (step_of(self.task, read) - first)[read.any(dim=-1)]
            stated = reach.max() if self.lag_is_the_farthest else reach.min()
            lag = self.task.lag(length)
            assert isinstance(lag, int)
            assert lag <= stated.item() <= lag + 1

    def test_lag_and_chance_loss_at_every_length(self) -> None:
        """The lag lies inside of the sequence and never falls with its length.

        The chance loss is positive.
        """
        if self.task.finite:
            lengths = [self.task.least_length]
        else:
            lengths = [self.task.least_length + extra for extra in (*range(120), 999, 99_999)]
        lags = [self.task.lag(length) for length in lengths]
        assert lags == sorted(lags)
        for length, lag in zip(lengths, lags, strict=True):
            steps = self.task.steps(length) if isinstance(self.task, Lengthened) else length
            assert 0 < lag < steps
            assert 0 < self.task.chance_loss(length) < math.inf

    def test_causality(self) -> None:
        """An output needs nothing that comes after it, and the future can be another sequence's."""
        for length in self.lengths():
            inputs = draw(self.task, 200, length).inputs
            outputs, read = self.oracle(inputs)
            late = torch.arange(inputs.shape[1]) > step_of(self.task, read).unsqueeze(1)
            assert not (read & late).any()
            for n in outputs_of(read):
                mixed = torch.where(late[n].unsqueeze(-1), inputs.roll(1, dims=0), inputs)
                assert not self.changed(mixed, outputs, n).any()

    def test_the_informative_steps_are_those_that_the_oracle_reads(self) -> None:
        """Boolean (batch_size, steps): what some output needs."""
        for length in self.lengths():
            inputs = draw(self.task, 50, length).inputs
            _, read = self.oracle(inputs)
            assert isinstance(self.task, Informs)
            informative = self.task.informative(inputs)
            assert informative.dtype == torch.bool
            assert torch.equal(informative, read.any(dim=1))

    def changed(self, inputs: Tensor, outputs: Tensor, n: int) -> Tensor:
        """Whether the oracle's n-th output is another for `inputs`."""
        new, _ = self.oracle(inputs)
        return (by_output(self.task, new)[:, n] != by_output(self.task, outputs)[:, n]).any(dim=-1)


class TaskContract(FixedTaskContract):
    """What a task keeps whose every batch is fresh, on top of the rest."""

    def test_batches_are_fresh(self) -> None:
        """Other seeds give other data, and so does the next batch of one generator."""
        length = max(24, self.task.least_length)
        generator = torch.Generator().manual_seed(0)
        batches = [self.task.sample(16, length, generator).inputs for _ in range(2)]
        batches += [draw(self.task, 16, length, seed).inputs for seed in (1, 2)]
        for one, other in itertools.combinations(batches, 2):
            assert not torch.equal(one, other)

    def test_another_first_input_is_another_target(self) -> None:
        """Exchanging the earliest needed input of two sequences changes that output alone."""
        for length in self.lengths():
            inputs = draw(self.task, 200, length).inputs
            outputs, read = self.oracle(inputs)
            rows = torch.arange(200)
            for n in outputs_of(read):
                first = read[:, n].float().argmax(dim=1)
                mixed = inputs.clone()
                mixed[rows, first] = inputs[rows.roll(1), first.roll(1)]
                differs = (mixed[rows, first] != inputs[rows, first]).any(dim=1)
                assert torch.equal(self.changed(mixed, outputs, n), differs)
                assert differs.sum() > 50

    def test_what_lies_before_it_does_not_matter(self) -> None:
        """What stands before the earliest input that an output needs can be another sequence's."""
        for length in self.lengths():
            inputs = draw(self.task, 200, length).inputs
            outputs, read = self.oracle(inputs)
            informative, other = read.any(dim=1), inputs.roll(1, dims=0)
            alike = informative == informative.roll(
                1, dims=0
            )  # else the mixture may be no sequence
            for n in outputs_of(read):
                before = read[:, n].cumsum(dim=1) == 0
                mixed = torch.where((before & alike).unsqueeze(-1), other, inputs)
                assert not self.changed(mixed, outputs, n).any()

    def test_nothing_else_tells_the_target(self) -> None:
        """No step but those that an output needs is correlated with it.

        |z| < 5 for each of some thousand pairs.
        """
        count = 8_000
        inputs = draw(self.task, count, max(24, self.task.least_length), seed=11).inputs
        outputs, read = self.oracle(inputs)
        for n in outputs_of(read):
            hidden = (inputs * ~read[:, n].unsqueeze(-1)).reshape(count, -1).double()
            answers = by_output(self.task, outputs)[:, n].double()
            assert largest_correlation(hidden, answers) * math.sqrt(count) < 5


def outputs_of(read: Tensor) -> list[int]:
    """The numbers of the outputs that are asked for: of many, eight from the first to the last."""
    asked = read.any(dim=-1).all(dim=0).nonzero().flatten()
    assert len(asked), "nothing is asked at any step of every sequence"
    return asked[torch.linspace(0, len(asked) - 1, min(8, len(asked))).long()].tolist()


def best_constant_loss(task: Task, batch: Batch) -> float:
    """The least loss of one prediction for all sequences and steps, found by LBFGS."""
    constant = torch.zeros(task.output_size, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], line_search_fn="strong_wolfe", max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = task.loss(constant.expand(output_shape(task, batch)), batch.targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


def largest_correlation(one: Tensor, other: Tensor) -> float:
    """The largest correlation between a column of `one` and a column of `other`.

    Columns that are constant are left out.
    """
    one, other = one - one.mean(dim=0), other - other.mean(dim=0)
    spread = one.std(dim=0).unsqueeze(1) * other.std(dim=0).unsqueeze(0)
    varies = spread > 1e-9
    correlation = (one.T @ other / len(one))[varies] / spread[varies]
    return correlation.abs().max().item() if len(correlation) else 0.0
