"""Trains one configuration and yields evaluations. Knows no study, no storage, no other trial.

Evaluations follow a fixed schedule of training sequences. The first is before any update. What is
trained after the last one is not scored.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.cells import TorchCell
from harness.cells.fast_recurrence import use_fast_recurrence
from harness.machine import derive_seed
from harness.metric_definitions import is_solved, skill
from harness.tasks import Batch, HoldsOut, Predicts, Task, get_task
from harness.training.captured_step import CapturedStep, Replayed
from harness.training.flat_parameters import FlatOptimizer, can_be_flat
from harness.training.model import ModelConfig, SequenceModel, build_model
from harness.training.optimizer_step import SCHEDULES, make_optimizer, training_step
from harness.training.training_batches import move, steps_at_once, training_batches

EVALUATION_BATCH = 250  # sequences in one forward pass of an evaluation: bounds its memory
# Fixed sequences whose predictions are kept: as many as a person reads.
MOST_PREDICTIONS = 16
KEPT_NUMBERS = 4_000_000  # held-out inputs that are kept between evaluations: 16 MB in float32
STEPS_BETWEEN_SYNCHRONISATIONS = 16  # on CUDA, how many steps pass before a diverged loss is seen


CAPTURED = "captured"  # steps and evaluations were replayed as CUDA graphs

Step = Callable[[Batch, float], Tensor]
"""Trains on one batch at a learning rate; returns the loss before the update."""
Judgement = tuple[Tensor, Tensor, int]
"""Mean loss of a batch, number of right predictions, number of scored ones."""
Judge = Callable[[Batch], Judgement]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One trial: a model, how it is trained, and on how many sequences. Plain values, for JSON.

    `verification_sequences` > 0: an evaluation that finds the task solved, and the last one, are
    repeated on that many other sequences, and only the repetition counts. `extrapolation`: a model
    that solved its task is evaluated on sequences that many times as long.
    """

    model: ModelConfig
    learning_rate: float
    seed: int
    batch_size: int = 32
    sequences: int = 20_000
    evaluate_every: int = 1_600
    evaluation_sequences: int = 1_000
    verification_sequences: int = 0
    extrapolation: tuple[int, ...] = ()
    stop_when_solved: bool = True
    optimizer: str = "adam"
    learning_rate_schedule: str = "constant"
    max_grad_norm: float = 1.0
    device: str = "cpu"

    @property
    def last_evaluation_at(self) -> int:
        """An evaluation after at least so many training sequences is the last one."""
        return self.sequences // self.evaluate_every * self.evaluate_every

    def ends_after(self, evaluation: Evaluation) -> bool:
        """Whether training needs no further evaluation after this one.

        What is still trained is not scored, but can diverge.
        """
        solved = evaluation.solved and self.stop_when_solved
        return (
            solved or not evaluation.finite or evaluation.sequences_seen >= self.last_evaluation_at
        )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values; `from_dict` is the inverse."""
        plain = dataclasses.asdict(dataclasses.replace(self, model=None))  # type: ignore[arg-type]
        model = {**vars(self.model), "hyperparameters": dict(self.model.hyperparameters)}
        return {**plain, "model": model}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> TrainingConfig:
        """The configuration that `to_dict` wrote."""
        model, factors = ModelConfig(**plain["model"]), tuple(plain["extrapolation"])
        return cls(**{**plain, "model": model, "extrapolation": factors})


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation on held-out data. `finite` is False once training has diverged.

    `loss` is in the task's unit. `predictions` holds probabilities or values for a task with a
    handful of fixed sequences, else nothing.
    """

    sequences_seen: int
    loss: float
    skill: float
    accuracy: float
    solved: bool
    finite: bool
    train_time_s: float
    predictions: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """The result of a trained model on sequences `factor` times as long as the trained length."""

    factor: int
    sequence_length: int
    loss: float
    skill: float
    accuracy: float


class Training:
    """A model in training. Iterate over `evaluations()`, then read `model` and `predictions()`."""

    def __init__(self, config: TrainingConfig, *, capture: bool = True) -> None:
        """Build the model and its optimiser. `capture=False`: no CUDA graphs, to compare with."""
        self.config = config
        self.task: Task = get_task(config.model.task)
        self.device = torch.device(config.device)
        self.model: SequenceModel = build_model(config.model, config.seed).to(self.device)
        if self.device.type == "cpu":
            use_fast_recurrence(self.model.cell)
        self.step, self.judge = self._step_and_judge(capture=capture)
        self.batches = self._training_batches()
        self.held_out: dict[str, list[Batch]] = {}
        self.train_time_s = 0.0

    def evaluations(self) -> Iterator[Evaluation]:
        """Train until the budget is spent, the loss is not finite, or the task is solved.

        A solved task ends training only with `stop_when_solved`.
        """
        config, seen, due = self.config, 0, 0
        while True:
            if seen >= due:
                evaluation = self._evaluate(seen, last=seen >= config.last_evaluation_at)
                yield evaluation
                if not evaluation.finite or (config.stop_when_solved and evaluation.solved):
                    return
                due = (seen // config.evaluate_every + 1) * config.evaluate_every
            if seen >= config.sequences:
                return
            until = min(due, config.sequences)
            seen, finite = self._train(seen, until)
            if not finite:
                yield self._diverged(seen)
                return

    def step_kind(self) -> str:
        """How a CUDA device ran the steps and evaluations: "captured", or why not; "" on a CPU."""
        if not isinstance(self.step, CapturedStep) or not isinstance(self.judge, Replayed):
            return ""
        refusals = {"steps": self.step.replayed.refusal, "evaluations": self.judge.refusal}
        said = [f"{what} not captured: {why}" for what, why in refusals.items() if why]
        return "; ".join(said) or CAPTURED

    def predictions(self) -> tuple[float, ...]:
        """The current predictions for a handful of fixed sequences; () for other tasks."""
        if not isinstance(self.task, Predicts) or not 0 < self.task.finite <= MOST_PREDICTIONS:
            return ()
        with torch.inference_mode():
            self.model.eval()
            held_out = self._held_out("fixed", self.task.finite, self._length)
            outputs = self.model(next(held_out).inputs)
            self.model.train()
        return tuple(self.task.predict(outputs).flatten().tolist())

    def extrapolate(self) -> tuple[Extrapolation, ...]:
        """Evaluate the current model on longer sequences (`config.extrapolation`), other seeds."""
        found = []
        for factor in self.config.extrapolation:
            length = factor * self.config.model.sequence_length
            part = f"{factor} times"
            loss, accuracy = self._score(part, self.config.evaluation_sequences, length)
            known = skill(loss, self.task.chance_loss(length))
            found.append(Extrapolation(factor, length, loss, known, accuracy))
        return tuple(found)

    def _train(self, seen: int, until: int) -> tuple[int, bool]:
        """Train to at least `until` sequences; returns how many were seen, and if all is finite."""
        config = self.config
        every = 1 if self.device.type == "cpu" else STEPS_BETWEEN_SYNCHRONISATIONS
        start, step = time.monotonic(), 0
        finite = True
        while seen < until and finite:
            factor = SCHEDULES[config.learning_rate_schedule](seen / config.sequences)
            batch = next(self.batches)
            loss = self.step(batch, factor * config.learning_rate)
            seen, step = seen + len(batch), step + 1
            if step % every == 0 or seen >= until:
                finite = math.isfinite(loss.item())
        self.train_time_s += time.monotonic() - start
        return seen, finite

    def _evaluate(self, seen: int, *, last: bool) -> Evaluation:
        count, verify = self.config.evaluation_sequences, self.config.verification_sequences
        evaluation = self._evaluation(seen, *self._score("evaluation", count, self._length))
        if verify and (evaluation.solved or last):  # on others: those above have chosen the moment
            evaluation = self._evaluation(seen, *self._score("verification", verify, self._length))
        return evaluation

    @property
    def _length(self) -> int:
        return self.config.model.sequence_length

    @torch.inference_mode()
    def _score(self, part: str, count: int, sequence_length: int) -> tuple[float, float]:
        """Loss and accuracy on up to `count` sequences of that part of the held-out data."""
        losses, right, total, looked_at = 0.0, 0, 0, 0
        self.model.eval()  # torch's cells do not care; one that is plugged in may have dropout
        size = max(1, EVALUATION_BATCH * self._length // sequence_length)  # no more states at once
        batches = self._held_out(part, count, sequence_length)
        for batch in (whole[i : i + size] for whole in batches for i in range(0, len(whole), size)):
            loss, n_right, n_scored = self.judge(batch)
            losses += loss.item() * len(batch)
            right, total = right + int(n_right), total + n_scored
            looked_at += len(batch)
        self.model.train()
        return losses / looked_at, right / total

    def _training_batches(self) -> Iterator[Batch]:
        size, length = self.config.batch_size, self._length
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "training"))

        def draw(count: int) -> Batch:
            return move(self.task.sample(count, length, generator), self.device)

        steps = steps_at_once(self.task, size, length)
        return training_batches(draw, size, self.config.sequences, steps)

    def _judge(self, batch: Batch) -> Judgement:
        outputs = self.model(batch.inputs)
        correct = self.task.correct(outputs, batch.targets)
        return self.task.loss(outputs, batch.targets), correct.sum(), correct.numel()

    def _step_and_judge(self, *, capture: bool) -> tuple[Step, Judge]:
        """What trains on one batch, and what evaluates one."""
        config = self.config
        if self.device.type == "cpu":
            optimizer = self._optimizer()

            def train(batch: Batch, learning_rate: float) -> Tensor:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate
                return training_step(self.model, optimizer, self.task, batch, config.max_grad_norm)

            return train, self._judge
        step = CapturedStep(
            self.model, config.optimizer, self.task, config.max_grad_norm, config.learning_rate
        )
        judge = Replayed(self._judge, self.model)
        if not capture:
            step.replayed.refusal = judge.refusal = "not asked for"
        return step, judge

    def _optimizer(self) -> torch.optim.Optimizer | FlatOptimizer:
        """The optimiser on a CPU, over one vector where that is faster."""
        name, learning_rate = self.config.optimizer, self.config.learning_rate
        parameters = self.model.parameters()
        # A plugged-in cell may have a parameter that gets no gradient
        if type(self.model.cell) is not TorchCell or not can_be_flat(self.model):
            return make_optimizer(name, parameters, learning_rate)
        return FlatOptimizer(parameters, lambda own: make_optimizer(name, own, learning_rate))

    def _diverged(self, seen: int) -> Evaluation:
        return self._evaluation(seen, math.nan, math.nan)

    def _evaluation(self, seen: int, loss: float, accuracy: float) -> Evaluation:
        finite = math.isfinite(loss)
        return Evaluation(
            sequences_seen=seen,
            loss=loss,
            skill=skill(loss, self.task.chance_loss(self._length)),
            accuracy=accuracy,
            solved=finite and is_solved(accuracy),
            finite=finite,
            train_time_s=self.train_time_s,
            predictions=self.predictions() if finite else (),
        )

    def _held_out(self, part: str, count: int, sequence_length: int) -> Iterator[Batch]:
        """Up to `count` sequences that are never trained on, in batches.

        A small set is kept for next time. Each part ("evaluation", "verification", ...) is drawn
        from its own seed. A task that holds out sequences itself has the same ones for all parts.
        """
        given = self.task if isinstance(self.task, HoldsOut) else None
        count = min(count, given.n_held_out) if given else count
        if part in self.held_out:
            yield from self.held_out[part]
            return
        kept: list[Batch] = []
        numbers = 0
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, part))
        for start in range(0, count, EVALUATION_BATCH):
            size = min(EVALUATION_BATCH, count - start)
            if given:
                batch = given.held_out(start, start + size).to(self.device)
            else:
                batch = self.task.sample(size, sequence_length, generator).to(self.device)
            numbers += batch.inputs.numel()
            kept = [*kept, batch] if numbers <= KEPT_NUMBERS else []
            yield batch
        if kept:
            self.held_out[part] = kept
