"""harness.training.training_batches: what a trial trains on, drawn several batches at a time."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks import BUILT_IN_TASKS, INDEPENDENT_SEQUENCES, TASKS, Batch, get_task
from harness.tasks.delayed_recall import DelayedRecall
from harness.training.training_batches import move, steps_at_once, training_batches


def numbered(count: int, first: int) -> Batch:
    """So many sequences of one step, with numbers from `first` on."""
    numbers = torch.arange(first, first + count)
    return Batch(numbers.float().view(-1, 1, 1), numbers)


@given(batch_size=st.integers(1, 9), sequences=st.integers(1, 100), steps=st.integers(1, 8))
def test_every_sequence_once_and_in_order(batch_size: int, sequences: int, steps: int) -> None:
    """All batches are whole but the last, which is what is left of the budget."""
    drawn = [0]

    def draw(count: int) -> Batch:
        drawn[0] += count
        return numbered(count, drawn[0] - count)

    batches = list(training_batches(draw, batch_size, sequences, steps))
    assert torch.cat([batch.targets for batch in batches]).tolist() == list(range(sequences))
    assert torch.equal(
        *(
            torch.cat([getattr(b, name).flatten().float() for b in batches])
            for name in ("inputs", "targets")
        )
    )
    sizes = [len(batch) for batch in batches]
    assert sizes == [batch_size] * (sequences // batch_size) + [sequences % batch_size] * (
        sequences % batch_size > 0
    )


@pytest.mark.parametrize("name", [name for name in TASKS if not get_task(name).finite])
def test_a_longer_budget_begins_with_the_shorter_one(name: str) -> None:
    """The same batches, whatever is left of the last draw."""
    task = get_task(name)
    length = max(12, task.least_length)
    found = []
    for sequences in (100, 700):
        generator = torch.Generator().manual_seed(3)
        steps = steps_at_once(task, 16, length)
        assert steps > 1
        draw = functools.partial(task.sample, sequence_length=length, generator=generator)
        batches = training_batches(draw, 16, sequences, steps)
        found.append([batch.inputs for batch in batches])
    assert len(found[0]) == 7
    for one, other in zip(found[0], found[1], strict=False):
        assert torch.equal(one, other[: len(one)])


def test_few_batches_of_long_sequences_are_drawn_at_once() -> None:
    """At most 250,000 numbers, and at least one batch: delayed recall has 17 a step."""
    task = get_task("delayed_recall")
    assert [steps_at_once(task, 32, length) for length in (3, 100, 230, 10_000)] == [16, 4, 1, 1]


def test_sequences_that_may_depend_on_each_other_are_not_cut() -> None:
    """Not those of a fixed order, and not those of a plug-in that builds on a task of ours."""

    @dataclasses.dataclass(frozen=True)
    class Plugged(DelayedRecall):
        name = "plugged"

    assert steps_at_once(get_task("lesson"), 1, 4) == 1
    assert steps_at_once(Plugged(), 1, 4) == 1
    ours = [TASKS[name] for name in BUILT_IN_TASKS]
    assert {type(task) for task in ours if not task.finite} < INDEPENDENT_SEQUENCES


def test_a_batch_on_the_cpu_is_not_copied() -> None:
    """Only a CUDA device gets a copy."""
    batch = numbered(3, 0)
    moved = move(batch, torch.device("cpu"))
    assert moved.inputs.data_ptr() == batch.inputs.data_ptr()
