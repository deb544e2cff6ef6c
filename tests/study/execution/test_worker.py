"""One request, run here: what it sends, whatever happens."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.columns import TrialStatus
from harness.plugins import load_plugins
from harness.study.execution.worker import _take_first_steps, preload, run_request
from harness.training.training_loop import TrainingConfig
from tests.small import FAULTY
from tests.study.requests import config_of, request_of


@pytest.fixture(autouse=True)
def _faulty() -> None:
    load_plugins([FAULTY])


def sent(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the request sends, as it comes out of JSON."""
    events: list[dict[str, Any]] = []
    run_request(request, lambda event: events.append(json.loads(json.dumps(event))))
    return events


def test_evaluations_and_outcome() -> None:
    """An evaluation at 0, 32 and 64 sequences, then one outcome, and nothing after it."""
    events = sent(request_of(1).to_dict())
    assert [event["kind"] for event in events] == ["evaluation"] * 3 + ["outcome"]
    assert [event["sequences_seen"] for event in events[:-1]] == [0, 32, 64]
    assert events[-1]["end"] == TrialStatus.COMPLETE


def test_same_request_same_answer() -> None:
    """The same request sends the same numbers, time apart."""
    once, again = (sent(request_of(1).to_dict())[:-1] for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert {**first, "train_time_s": 0} == {**second, "train_time_s": 0}


@pytest.mark.parametrize(
    ("fault", "end", "reason"),
    [
        ("raise", TrialStatus.ERROR, "RuntimeError: no such luck"),
        ("raise_in_factory", TrialStatus.ERROR, "RuntimeError: cannot be built"),
        ("nan", TrialStatus.DIVERGED, "the loss was not finite after 0 training sequences"),
    ],
)
def test_failures(fault: str, end: TrialStatus, reason: str) -> None:
    """A trial that raises or diverges sends one outcome with its end and a reason of one line."""
    outcome = sent(request_of(1, fault).to_dict())[-1]
    assert (outcome["kind"], outcome["end"], outcome["reason"]) == ("outcome", end, reason)


def test_diverged_evaluation_is_sent() -> None:
    """The evaluation that finds the loss not finite is sent too, NaN and all."""
    evaluation = sent(request_of(1, "nan").to_dict())[0]
    assert math.isnan(evaluation["loss"])
    assert evaluation["skill"] == -1.0
    assert evaluation["finite"] is False


def test_bad_request_is_an_error() -> None:
    """A request that makes no sense, such as an unknown cell, costs that trial alone."""
    request = request_of(1).to_dict()
    request["training"]["model"]["cell"] = "nosuch"
    (outcome,) = sent(request)
    assert outcome["end"] == TrialStatus.ERROR
    assert "nosuch" in outcome["reason"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """However Python and torch say that there is no memory, it is out of memory and no error."""

    def no_memory(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("harness.study.execution.worker.Training", no_memory)
    (outcome,) = sent(request_of(1).to_dict())
    assert outcome["end"] == TrialStatus.OUT_OF_MEMORY


def test_weights(tmp_path: Path) -> None:
    """Where weights are asked for, the trained ones and the first ones are written, and both load without pickles."""
    path = tmp_path / "rnn.pt"
    request = {**request_of(1).to_dict(), "weights": str(path)}
    sent(request)
    trained = torch.load(path, weights_only=True)
    initial = torch.load(tmp_path / "rnn.initial.pt", weights_only=True)
    assert set(trained) == set(initial)
    assert any(not torch.equal(trained[name], initial[name]) for name in trained)
    assert {each.name for each in tmp_path.iterdir()} == {"rnn.pt", "rnn.initial.pt"}


def test_config_travels() -> None:
    """A configuration that went through JSON is the same."""
    config = config_of("faulty", fault="none")
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_preloaded_process_is_lean() -> None:
    """What is forked from has one thread, so that it can fork safely, and nothing that only the coordinator needs."""
    code = (
        "import sys, psutil, harness.study.execution.fork_server as forkserver\n"
        "forkserver.configure_process(); forkserver.preload()\n"
        "coordinators = {'optuna', 'sqlalchemy', 'pandas', 'matplotlib', 'rich', 'typer'}\n"
        "print(psutil.Process().num_threads(), coordinators & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 set()"


def test_preload_leaves_cuda_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks for CUDA wakes it, and then no process forked from this one can use it.

    An optimiser's step looks.
    """

    def wake(**_: object) -> bool:
        raise AssertionError("CUDA was looked for")

    monkeypatch.setattr("torch.cuda.is_available", wake)
    monkeypatch.setattr("torch.accelerator.current_accelerator", wake)
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: True)
    with pytest.raises(AssertionError, match="looked for"):
        _take_first_steps()
    preload()
    assert torch.cuda.is_available is torch.accelerator.current_accelerator is wake


def test_preload_leaves_the_generator() -> None:
    """A trial's numbers come from its own seeds: what is loaded ahead changes nothing in them."""
    before = sent(request_of(1).to_dict())[0]["loss"]
    preload()
    assert sent(request_of(1).to_dict())[0]["loss"] == before
