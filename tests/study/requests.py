"""Requests for trials that take a moment, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.study.execution.local_executor import LocalExecutor
from harness.study.execution.worker_messages import (
    Event,
    ProcessEnded,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
)
from harness.training.model import ModelConfig
from harness.training.training_loop import Evaluation, TrainingConfig
from tests.small import FAULTY


def config_of(cell: str = "rnn", **hyperparameters: Any) -> TrainingConfig:
    """A training of two evaluations after the first."""
    model = ModelConfig(
        task="temporal_order",
        cell=cell,
        hidden_size=3,
        num_layers=1,
        sequence_length=10,
        initialization="pytorch",
        hyperparameters=hyperparameters,
    )
    return TrainingConfig(
        model,
        learning_rate=0.01,
        seed=5,
        batch_size=16,
        sequences=64,
        evaluate_every=32,
        evaluation_sequences=32,
    )


def request_of(number: int, fault: str = "none", memory_bytes: int = 0) -> TrialRequest:
    """A request for a trial that fails as `fault` says."""
    return TrialRequest(number, config_of("faulty", fault=fault), (FAULTY,), memory_bytes)


def events_of(executor: LocalExecutor, *numbers: int, timeout_s: float = 60.0) -> list[Event]:
    """Every event up to the end of these trials' processes, but TrialStarted."""
    waiting, found = set(numbers), []  # type: ignore[var-annotated]
    while waiting:
        event = executor.next_event(timeout_s)
        assert event is not None, f"nothing more came of {waiting} after {found}"
        if not isinstance(event.message, TrialStarted):
            found.append(event)
        if isinstance(event.message, ProcessEnded):
            waiting.discard(event.request_id)
    return found


def kinds_of(events: Sequence[Event]) -> list[type]:
    """What kind of message each event holds."""
    return [type(event.message) for event in events]


def outcome_in(event: Event) -> TrialOutcome:
    """The outcome that an event holds."""
    assert isinstance(event.message, TrialOutcome), event
    return event.message


KINDS_OF_A_TRIAL = [*[Evaluation] * 3, TrialOutcome, ProcessEnded]
"""The kinds of all events of a trial that trains to its end."""


def submit(executor: LocalExecutor, fault: str = "none", memory_bytes: int = 0) -> int:
    """Start a trial; returns its number."""
    number = executor.new_id()
    executor.submit(request_of(number, fault, memory_bytes))
    return number


def run_one(executor: LocalExecutor, fault: str = "none", memory_bytes: int = 0) -> list[Event]:
    """Run a trial to its process' end."""
    return events_of(executor, submit(executor, fault, memory_bytes))
