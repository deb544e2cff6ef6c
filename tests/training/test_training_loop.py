"""harness.training: one trial, from the first evaluation to the end of its budget."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import cells, tasks
from harness.cells import CELLS, Cell
from harness.machine import derive_seed
from harness.tasks import TASKS, Batch
from harness.tasks.copy_memory import CopyMemory
from harness.tasks.delayed_recall import DelayedRecall
from harness.tasks.tensor_task import TensorTask
from harness.training import training_batches, training_loop
from harness.training.model import ModelConfig, build_model
from harness.training.training_loop import Evaluation, Training, TrainingConfig

MODEL = ModelConfig("delayed_recall", "gru", hidden_size=4, num_layers=1, sequence_length=6)
PLAIN = TrainingConfig(
    MODEL,
    learning_rate=0.01,
    seed=0,
    batch_size=16,
    sequences=96,
    evaluate_every=32,
    evaluation_sequences=20,
)


def config(**changes: Any) -> TrainingConfig:
    """A short trial; what belongs to the model goes to the model."""
    model = {name: changes.pop(name) for name in list(changes) if hasattr(MODEL, name)}
    return dataclasses.replace(PLAIN, model=dataclasses.replace(MODEL, **model), **changes)


def run(trial: TrainingConfig) -> list[Evaluation]:
    """All evaluations of a trial."""
    return list(Training(trial).evaluations())


def untimed(evaluations: list[Evaluation]) -> list[Evaluation]:
    """The same without the time they took."""
    return [dataclasses.replace(each, train_time_s=0.0) for each in evaluations]


@dataclasses.dataclass(frozen=True)
class Watched(DelayedRecall):
    """Delayed recall with wrong answers about what is lost and what is right."""

    name = "watched"
    drawn: list[Batch] = dataclasses.field(default_factory=list)
    trained: list[Tensor] = dataclasses.field(default_factory=list)  # the targets of each batch
    held_out: list[Batch] = dataclasses.field(default_factory=list)
    losses: list[bool] = dataclasses.field(default_factory=list)
    poison: Callable[[int], float] = lambda _: 1.0
    right: Callable[[int], bool | None] = lambda _: None

    def sample(self, batch_size: int, sequence_length: int, generator: torch.Generator) -> Batch:
        """Draw, and note which of the two streams was drawn from."""
        batch = super().sample(batch_size, sequence_length, generator)
        training_seed = derive_seed(0, "training")
        seen = self.drawn if generator.initial_seed() == training_seed else self.held_out
        seen.append(batch)
        return batch

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, times what the poison says of the n-th batch of training."""
        self.losses.append(torch.is_inference_mode_enabled())
        loss = super().loss(outputs, targets)
        if self.losses[-1]:
            return loss
        self.trained.append(targets)
        return loss * self.poison(len(self.trained))

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether it is right, unless the number of sequences decides."""
        right = self.right(len(targets))
        found = super().correct(outputs, targets)
        return found if right is None else torch.full_like(found, right)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    """Registers a watched task."""

    def register(**fields: Any) -> Watched:
        task = Watched(**fields)
        monkeypatch.setitem(tasks.TASKS, "watched", task)
        return task

    return register


# ------------------------------------------------------------------------------ budget and schedule


@pytest.mark.parametrize(("is_own", "ahead"), [(True, 16), (False, 1)])
def test_what_is_drawn_ahead_is_trained_on_in_order(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, is_own: bool, ahead: int
) -> None:
    """Each sequence once, in the order of the drawing, however often the model is evaluated.

    A plugged-in task is asked for one batch at a time.
    """
    if is_own:
        monkeypatch.setattr(training_batches, "INDEPENDENT_SEQUENCES", frozenset({Watched}))
    found = []
    for every in (32, 96):
        task = watch()
        run(config(task="watched", sequences=40 * 32, batch_size=32, evaluate_every=every))
        assert {len(batch) for batch in task.drawn} == {32 * ahead}
        drawn = torch.cat([batch.targets for batch in task.drawn])
        trained = torch.cat(task.trained)
        assert torch.equal(trained, drawn[: len(trained)])
        found.append(trained)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("sequences", "batch_size", "sizes"),
    [
        (96, 16, [16] * 6),
        (100, 16, [16] * 6 + [4]),
        (10, 16, [10]),
        (1, 1, [1]),
        (33, 32, [32, 1]),
    ],
)
def test_the_budget_is_exact(
    watch: Callable[..., Watched], sequences: int, batch_size: int, sizes: list[int]
) -> None:
    """Exactly so many sequences are trained on: the last batch is what is left."""
    task = watch()
    run(config(task="watched", sequences=sequences, batch_size=batch_size, evaluate_every=1_000))
    assert [len(targets) for targets in task.trained] == sizes


@pytest.mark.parametrize(
    ("sequences", "evaluate_every", "batch_size", "expected"),
    [
        (96, 32, 16, [0, 32, 64, 96]),
        (100, 30, 16, [0, 32, 64, 96]),  # the last 4 are trained on and not scored
        (100, 25, 16, [0, 32, 64, 80, 100]),
        (100, 16, 64, [0, 64, 100]),  # a batch that passes four dues is looked at once
        (10, 100, 4, [0]),
        (10, 10, 4, [0, 10]),
        (10, 1, 4, [0, 4, 8, 10]),
    ],
)
def test_when_a_trial_is_evaluated(
    sequences: int, evaluate_every: int, batch_size: int, expected: list[int]
) -> None:
    """Before any update, and after the first batch that reaches each multiple of evaluate_every."""
    trial = config(sequences=sequences, evaluate_every=evaluate_every, batch_size=batch_size)
    assert [each.sequences_seen for each in run(trial)] == expected


@settings(max_examples=30)
@given(
    sequences=st.integers(1, 60), evaluate_every=st.integers(1, 70), batch_size=st.integers(1, 40)
)
def test_the_schedule_in_closed_form(sequences: int, evaluate_every: int, batch_size: int) -> None:
    """For each multiple of evaluate_every, the first number of sequences that reaches it."""
    trial = config(
        sequences=sequences,
        evaluate_every=evaluate_every,
        batch_size=batch_size,
        evaluation_sequences=1,
        hidden_size=1,
        sequence_length=3,
        stop_when_solved=False,
    )
    multiples = range(0, sequences + 1, evaluate_every)
    reached = {min(-(-each // batch_size) * batch_size, sequences) for each in multiples}
    assert [each.sequences_seen for each in run(trial)] == sorted(reached)


def test_sequences_after_the_last_evaluation_are_trained_on() -> None:
    """The model goes on to the end of the budget, though nobody scores it."""
    short, long = Training(config(sequences=96)), Training(config(sequences=100))
    assert untimed(list(short.evaluations())) == untimed(list(long.evaluations()))
    weights = [torch.cat([w.flatten() for w in each.model.parameters()]) for each in (short, long)]
    assert not torch.equal(weights[0], weights[1])


def test_the_first_evaluation_is_of_the_untrained_model() -> None:
    """Its loss is that of the first weights on the held-out data, weighed by batch size."""
    trial = config(evaluation_sequences=600, task="adding")
    first = next(iter(Training(trial).evaluations()))
    model, task = build_model(trial.model, trial.seed), TASKS["adding"]
    generator = torch.Generator().manual_seed(derive_seed(0, "evaluation"))
    parts = [task.sample(size, 6, generator) for size in (250, 250, 100)]
    inputs = torch.cat([part.inputs for part in parts])
    targets = torch.cat([part.targets for part in parts])
    with torch.no_grad():
        errors = (model(inputs) - targets).double()
    assert first.sequences_seen == 0
    assert first.loss == pytest.approx((errors**2).mean().item(), rel=1e-5)
    assert first.accuracy == pytest.approx((errors.abs() < 0.04).double().mean().item(), abs=1e-9)
    assert first.skill == pytest.approx(max(-1, 1 - first.loss * 6), abs=1e-6)


def test_an_evaluation_changes_nothing(watch: Callable[..., Watched]) -> None:
    """The weights after training do not depend on how often, and on how much, one looked."""
    found: list[Any] = []
    for every, count in ((32, 20), (96, 700)):
        watch()
        trial = Training(config(task="watched", evaluate_every=every, evaluation_sequences=count))
        list(trial.evaluations())
        found.append(torch.cat([weight.flatten() for weight in trial.model.parameters()]))
    assert torch.equal(found[0], found[1])


# ------------------------------------------------------------------------------------- solved


def test_a_trial_ends_when_the_task_is_solved() -> None:
    """The first evaluation that finds it solved is the last.

    Without stop_when_solved the budget is used up.
    """
    easy = config(
        sequence_length=3,
        hidden_size=16,
        learning_rate=0.05,
        sequences=3_200,
        evaluate_every=320,
        evaluation_sequences=200,
    )
    ended = run(easy)
    assert ended[-1].solved
    assert ended[-1].accuracy >= 0.99
    assert 0 < ended[-1].sequences_seen < 3_200
    assert not any(each.solved for each in ended[:-1])
    whole = run(dataclasses.replace(easy, stop_when_solved=False))
    assert whole[-1].sequences_seen == 3_200
    assert untimed(whole)[: len(ended)] == untimed(ended)


def test_a_trial_that_starts_solved_trains_nothing(watch: Callable[..., Watched]) -> None:
    """The evaluation before any update counts as any other."""
    task = watch(right=lambda _: True)
    (only,) = run(config(task="watched"))
    assert (only.sequences_seen, only.accuracy, only.solved) == (0, 1.0, True)
    assert task.trained == []


def test_only_the_verification_counts(watch: Callable[..., Watched]) -> None:
    """What a few sequences find solved is looked at again on many.

    If those say no, training goes on.
    """
    watch(right=lambda count: count == 20)
    evaluations = run(config(task="watched", verification_sequences=30))
    assert [each.sequences_seen for each in evaluations] == [0, 32, 64, 96]
    assert [each.accuracy for each in evaluations] == [0.0] * 4
    assert not any(each.solved for each in evaluations)


def test_a_verified_solution_ends_the_trial(watch: Callable[..., Watched]) -> None:
    """If the many agree, it is solved."""
    watch(right=lambda _: True)
    (only,) = run(config(task="watched", verification_sequences=30))
    assert only.solved


@pytest.mark.parametrize(("sequences", "evaluate_every"), [(96, 32), (100, 30), (100, 16)])
def test_the_last_evaluation_is_verified(
    watch: Callable[..., Watched], sequences: int, evaluate_every: int
) -> None:
    """The number that a trial ends with comes from the many, those before it from the few.

    So too where a rest is left.
    """
    task = watch(right=lambda count: False if count == 20 else None)
    evaluations = run(
        config(
            task="watched",
            sequences=sequences,
            evaluate_every=evaluate_every,
            batch_size=64 if evaluate_every == 16 else 16,
            verification_sequences=230,
        )
    )
    assert [each.accuracy for each in evaluations[:-1]] == [0.0] * (len(evaluations) - 1)
    assert 0 < evaluations[-1].accuracy < 0.99
    assert [len(batch.inputs) for batch in task.held_out] == [20, 230]


# ------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_loss_that_is_not_finite_ends_the_trial_at_once(
    watch: Callable[..., Watched], poison: float, batch: int
) -> None:
    """The batch that diverges is the last.

    One evaluation says so, with skill -1 and no accuracy.
    """
    task = watch(poison=lambda count: poison if count == batch else 1.0)
    evaluations = run(config(task="watched", evaluate_every=96))
    assert len(task.trained) == batch
    assert [each.finite for each in evaluations] == [True, False]
    last = evaluations[-1]
    assert last.sequences_seen == 16 * batch
    assert math.isnan(last.loss)
    assert math.isnan(last.accuracy)
    assert (last.skill, last.solved, last.predictions) == (-1.0, False, ())


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("learning_rate", [1e20, 1e38])
def test_a_huge_learning_rate_is_a_diverged_trial(cell: str, learning_rate: float) -> None:
    """No exception: the evaluations end with one that is not finite."""
    evaluations = run(
        config(
            cell=cell,
            task="adding",
            optimizer="sgd",
            learning_rate=learning_rate,
            max_grad_norm=0.0,
            sequences=1_600,
            evaluate_every=1_600,
        )
    )
    assert [each.finite for each in evaluations] == [True, False]
    assert evaluations[-1].skill == -1.0
    assert evaluations[-1].sequences_seen < 1_600


def test_weights_that_diverge_in_the_last_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loss was still finite and the weights are not, the evaluation finds it."""
    trial = Training(config(sequences=16, evaluate_every=16, stop_when_solved=False))
    real = training_loop.training_step  # type: ignore[attr-defined]

    def spoil(model: nn.Module, *arguments: Any) -> Tensor:
        loss = real(model, *arguments)
        next(model.parameters()).data.fill_(math.nan)
        return loss

    monkeypatch.setattr(training_loop, "training_step", spoil)
    first, last = trial.evaluations()
    assert first.finite
    assert (last.finite, last.skill, last.solved, last.sequences_seen) == (False, -1.0, False, 16)


# ------------------------------------------------------------------------------------- data, seeds


def test_held_out_data_are_not_trained_on(watch: Callable[..., Watched]) -> None:
    """No held-out sequence of 20 steps was trained on, and none is held out twice."""
    task = watch()
    run(config(task="watched", sequence_length=20))
    trained = torch.cat([batch.inputs for batch in task.drawn]).argmax(dim=-1)
    held_out = torch.cat([batch.inputs for batch in task.held_out]).argmax(dim=-1)
    rows = [tuple(row) for row in (*trained.tolist(), *held_out.tolist())]
    assert len(rows) == 96 + 20
    assert len(set(rows)) == len(rows)


def test_held_out_data_are_the_same_at_each_look(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are kept or drawn anew each time, a trial's evaluations are the same."""
    watch()
    kept = run(config(task="watched", evaluation_sequences=600))
    monkeypatch.setattr(training_loop, "KEPT_NUMBERS", 0)
    task = watch()
    drawn = run(config(task="watched", evaluation_sequences=600))
    assert untimed(kept) == untimed(drawn)
    assert [len(batch.inputs) for batch in task.held_out] == [250, 250, 100] * 4
    for first, again in zip(task.held_out[:3], task.held_out[3:6], strict=True):
        assert torch.equal(first.inputs, again.inputs)


@pytest.mark.parametrize(("numbers", "times"), [(600 * 26 * 10, 1), (600 * 26 * 10 - 1, 4)])
def test_what_is_kept_is_counted_in_steps(
    monkeypatch: pytest.MonkeyPatch, numbers: int, times: int
) -> None:
    """Copy memory at T = 6 has 26 steps of 10 numbers.

    So many are kept between four looks, and not one more.
    """
    drawn = []

    class Counted(CopyMemory):
        def sample(
            self, batch_size: int, sequence_length: int, generator: torch.Generator
        ) -> Batch:
            if generator.initial_seed() == derive_seed(0, "evaluation"):
                drawn.append(batch_size)
            return super().sample(batch_size, sequence_length, generator)

    monkeypatch.setitem(tasks.TASKS, "copy_memory", Counted())
    monkeypatch.setattr(training_loop, "KEPT_NUMBERS", numbers)
    run(config(task="copy_memory", evaluation_sequences=600))
    assert drawn == [250, 250, 100] * times


def test_a_dense_task_is_scored_by_its_predictions() -> None:
    """Loss and accuracy are means over the recall steps of all sequences, by a plain loop."""
    trial = Training(config(task="copy_memory", sequence_length=3, sequences=32))
    *_, last = trial.evaluations()
    batch = TASKS["copy_memory"].sample(
        20, 3, torch.Generator().manual_seed(derive_seed(0, "evaluation"))
    )
    losses, right = [], []
    with torch.no_grad():
        probabilities = torch.softmax(trial.model(batch.inputs).double(), dim=-1)[:, 13:]
    for sequence, targets in zip(probabilities.tolist(), batch.targets.tolist(), strict=True):
        for classes, target in zip(sequence, targets, strict=True):
            losses.append(-math.log(classes[target]))
            right.append(max(classes) == classes[target])
    assert len(losses) == 200
    assert last.loss == pytest.approx(sum(losses) / 200, rel=1e-5)
    assert last.accuracy == sum(right) / 200
    assert last.skill == pytest.approx(1 - last.loss / math.log(8))


def test_a_dense_task_is_learned() -> None:
    """A small LSTM repeats the symbol of 2 steps ago after a second of training."""
    trial = config(
        cell="lstm",
        task="repeat_previous",
        sequence_length=8,
        hidden_size=24,
        batch_size=32,
        sequences=9_600,
        evaluate_every=800,
        evaluation_sequences=200,
    )
    assert run(trial)[-1].solved


def test_another_seed_is_another_trial(watch: Callable[..., Watched]) -> None:
    """Other weights, other training data, and other held-out data."""
    found: list[Any] = []
    for seed in (0, 1):
        task = watch()
        trial = Training(config(task="watched", seed=seed, sequence_length=20))
        weights = torch.cat([weight.detach().flatten() for weight in trial.model.parameters()])
        list(trial.evaluations())
        found.append((weights, task.held_out[0].inputs))
    assert not torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("task", list(TASKS))
def test_the_same_configuration_gives_the_same_evaluations(cell: str, task: str) -> None:
    """Bit for bit, whatever torch's global generator did before.

    Another seed gives others, but for fixed data.
    """
    length = max(12, TASKS[task].least_length) if not TASKS[task].finite else 4
    trial = config(cell=cell, task=task, sequence_length=length, stop_when_solved=False)
    found: list[Any] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        found.append(untimed(run(dataclasses.replace(trial, seed=seed))))
    assert found[0] == found[1]
    assert len(found[0]) == 4
    assert [each.loss for each in found[0]] != [each.loss for each in found[2]]


# -------------------------------------------------------------------------------------- hygiene


def test_an_evaluation_leaves_no_gradient(watch: Callable[..., Watched]) -> None:
    """Evaluations run in inference mode, training does not.

    Weights keep no gradient of a look and stay trainable.
    """
    task = watch()
    trial = Training(config(task="watched"))
    evaluations = trial.evaluations()
    next(evaluations)
    assert task.losses == [True]
    assert all(weight.grad is None for weight in trial.model.parameters())
    next(evaluations)
    assert task.losses == [True, False, False, True]
    assert all(weight.grad is not None for weight in trial.model.parameters())
    assert all(weight.requires_grad for weight in trial.model.parameters())
    assert not torch.is_inference_mode_enabled()


class Dropping(nn.Module):
    """A cell of torch's with dropout on its states."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.inner = CELLS["gru"].factory(input_size, hidden_size, num_layers)
        self.dropout = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """States, half of them zero while training."""
        self.modes.append(self.training)
        states: Tensor = self.dropout(self.inner(inputs))
        return states


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a cell with dropout."""
    cell = Cell("dropping", Dropping, 3, {"pytorch": cells.keep_pytorch})
    monkeypatch.setitem(cells.CELLS, "dropping", cell)
    return "dropping"  # type: ignore[return-value]


def test_dropout_acts_in_training_alone(dropping: str) -> None:
    """A plugged-in cell is evaluated in evaluation mode and trained in training mode."""
    trial = Training(config(cell=dropping))
    evaluations = trial.evaluations()
    first = next(evaluations)
    with torch.no_grad():
        trial.model.eval()
        generator = torch.Generator().manual_seed(derive_seed(0, "evaluation"))
        batch = trial.task.sample(20, 6, generator)
        expected = trial.task.loss(trial.model(batch.inputs), batch.targets).item()
        trial.model.train()
    assert first.loss == pytest.approx(expected, rel=1e-6)
    trial.model.cell.modes.clear()  # type: ignore[operator, union-attr]
    next(evaluations)
    assert trial.model.cell.modes == [True, True, False]


def test_the_time_of_training_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations are outside of it.

    A clock that ticks at each reading ticks once for each stretch of training.
    """
    ticks = iter(range(1_000))
    monkeypatch.setattr(training_loop.time, "monotonic", lambda: float(next(ticks)))  # type: ignore[attr-defined]
    assert [each.train_time_s for each in run(config())] == [0.0, 1.0, 2.0, 3.0]


def test_a_task_that_holds_out_its_own_is_evaluated_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each test sequence counts once, however many are asked for and however they are cut.

    None is trained on.
    """
    n, generator = 600, torch.Generator().manual_seed(0)  # more than two of an evaluation's batches
    drawn = [torch.randn(n, 4, 1, generator=generator) for _ in range(2)]
    train, test = (Batch(each, (each[:, 0, 0] > 0).long()) for each in drawn)
    monkeypatch.setitem(TASKS, "given", TensorTask("given", train, test))
    model = ModelConfig("given", "rnn", 4, 1, 4)
    for asked, looked_at in ((100, 100), (599, 599), (600, 600), (10_000, 600)):
        plain = TrainingConfig(
            model,
            1e-2,
            seed=0,
            batch_size=16,
            sequences=320,
            evaluate_every=160,
            evaluation_sequences=asked,
            stop_when_solved=False,
        )
        trial = Training(plain)
        for evaluation in trial.evaluations():
            part = test[:looked_at]
            with torch.no_grad():
                outputs = trial.model(part.inputs)
            expected = nn.functional.cross_entropy(outputs, part.targets).item()
            assert evaluation.loss == pytest.approx(expected, rel=1e-5)
            right = (outputs.argmax(dim=1) == part.targets).double().mean().item()
            assert evaluation.accuracy == pytest.approx(right)
            share = test.targets.double().mean()  # of all test sequences
            chance = torch.distributions.Bernoulli(probs=share).entropy().item()
            assert evaluation.skill == pytest.approx(1 - expected / chance, rel=1e-3, abs=1e-5)
            assert evaluation.predictions == ()


def test_predictions_of_the_fixed_sequences() -> None:
    """The lesson's evaluations carry the probabilities of both sequences.

    Other tasks' carry none.
    """
    trial = Training(
        config(task="lesson", sequence_length=4, batch_size=2, sequences=4, evaluate_every=2)
    )
    for evaluation in trial.evaluations():
        with torch.no_grad():
            batch = trial.task.sample(2, 4, torch.Generator())
            logits = trial.model(batch.inputs).flatten().tolist()
        by_hand = [1 / (1 + math.exp(-logit)) for logit in logits]
        assert evaluation.predictions == pytest.approx(by_hand, abs=1e-6)
        assert trial.predictions() == evaluation.predictions
    assert all(each.predictions == () for each in run(config()))


# ---------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    monkeypatch: pytest.MonkeyPatch, schedule: str, factors: list[float]
) -> None:
    """Each step has the rate of the share of the budget that was spent before it."""
    rates = []

    def note(model: nn.Module, optimizer: torch.optim.Optimizer, *_: object) -> Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        return torch.zeros(())

    monkeypatch.setattr(training_loop, "training_step", note)
    run(config(sequences=64, learning_rate_schedule=schedule))
    assert rates == pytest.approx([0.01 * factor for factor in factors])


# ----------------------------------------------------------------------------------- held-out data


def test_each_part_of_the_held_out_data_has_its_own_seed(watch: Callable[..., Watched]) -> None:
    """What an evaluation has seen, its verification has not, and neither is trained on."""
    task = watch(right=lambda _: True)
    run(config(task="watched", verification_sequences=20))
    evaluated, verified = task.held_out
    for part, batch in (("evaluation", evaluated), ("verification", verified)):
        generator = torch.Generator().manual_seed(derive_seed(0, part))
        assert torch.equal(batch.inputs, DelayedRecall().sample(20, 6, generator).inputs)
    assert not torch.equal(evaluated.inputs, verified.inputs)


def test_extrapolation_is_on_longer_sequences() -> None:
    """The trained model, unchanged, on sequences 2 and 4 times as long."""
    trial = Training(config(extrapolation=(2, 4)))
    list(trial.evaluations())
    found = trial.extrapolate()
    assert [(one.factor, one.sequence_length) for one in found] == [(2, 12), (4, 24)]
    for one in found:
        generator = torch.Generator().manual_seed(derive_seed(0, f"{one.factor} times"))
        batch = trial.task.sample(20, one.sequence_length, generator)
        with torch.no_grad():
            outputs = trial.model(batch.inputs)
        expected = trial.task.loss(outputs, batch.targets).item()
        assert one.loss == pytest.approx(expected, rel=1e-6)
        assert one.skill == pytest.approx(1 - expected / math.log(8), rel=1e-6)
        assert one.accuracy == (outputs.argmax(dim=1) == batch.targets).double().mean().item()


def test_longer_sequences_come_in_smaller_batches(watch: Callable[..., Watched]) -> None:
    """Sequences four times as long go through the model a quarter of them at a time.

    No more states at once.
    """
    watch()
    trial = Training(config(task="watched", evaluation_sequences=250, extrapolation=(4,)))
    sizes: list[tuple[int, ...]] = []
    trial.model.cell.register_forward_hook(
        lambda _module, inputs, _outputs: sizes.append(tuple(inputs[0].shape[:2]))
    )
    trial.extrapolate()
    assert sizes == [(62, 24)] * 4 + [(2, 24)]


def test_no_extrapolation_unless_asked() -> None:
    """A trial of a search looks at no other length."""
    assert Training(config()).extrapolate() == ()


# ------------------------------------------------------------------------------------ plain values


@given(
    st.builds(
        TrainingConfig,
        model=st.builds(
            ModelConfig,
            task=st.text(),
            cell=st.text(),
            hidden_size=st.integers(1),
            num_layers=st.integers(1),
            sequence_length=st.integers(1),
            initialization=st.text(),
            hyperparameters=st.dictionaries(st.text(), st.integers() | st.floats(-1, 1)),
        ),
        learning_rate=st.floats(0, 1),
        seed=st.integers(0),
        stop_when_solved=st.booleans(),
        max_grad_norm=st.floats(0, 10),
        verification_sequences=st.integers(0),
        extrapolation=st.lists(st.integers(2)).map(tuple),
        device=st.sampled_from(["cpu", "cuda:1"]),
    )
)
def test_a_configuration_travels_as_json(trial: TrainingConfig) -> None:
    """What is written as JSON and read again is the same configuration."""
    assert TrainingConfig.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


def test_a_configuration_of_defaults_travels_as_json() -> None:
    """Without hyperparameters of its own, too, and every field is there."""
    plain = json.loads(json.dumps(PLAIN.to_dict()))
    assert TrainingConfig.from_dict(plain) == PLAIN
    assert set(plain) == {field.name for field in dataclasses.fields(TrainingConfig)}
    assert set(plain["model"]) == {field.name for field in dataclasses.fields(ModelConfig)}


# ------------------------------------------------------------------------------------------- cuda


@pytest.mark.cuda
def test_a_trial_on_cuda() -> None:
    """On a card the same trial has the same first loss as on the CPU, and learns."""
    if not torch.cuda.is_available():
        pytest.skip("CUDA device needed")
    easy = config(sequence_length=3, hidden_size=16, learning_rate=0.05, sequences=3_200)
    on_cpu, on_cuda = run(easy), run(dataclasses.replace(easy, device="cuda:0"))
    assert on_cuda[0].loss == pytest.approx(on_cpu[0].loss, rel=1e-4)
    assert on_cuda[-1].solved  # and by then the search had ended it


@pytest.mark.cuda
def test_divergence_on_cuda(watch: Callable[..., Watched]) -> None:
    """On a card a loss that is not finite is seen within sixteen steps, without a capture, too."""
    if not torch.cuda.is_available():
        pytest.skip("CUDA device needed")
    task = watch(poison=lambda count: math.nan if count >= 3 else 1.0)
    trial = config(task="watched", device="cuda:0", sequences=3_200, evaluate_every=3_200)
    evaluations = list(Training(trial, capture=False).evaluations())
    assert [each.finite for each in evaluations] == [True, False]
    assert 3 <= len(task.trained) <= 3 + training_loop.STEPS_BETWEEN_SYNCHRONISATIONS
