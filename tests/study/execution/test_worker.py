"""One request, run here: what it sends, whatever happens."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.columns import TrialStatus
from harness.plugins import load_plugins, plugin_sources
from harness.study.execution.worker import _take_first_steps, preload, run_request
from harness.study.execution.worker_messages import (
    TrialMessage,
    TrialOutcome,
    TrialRequest,
    TrialStarted,
    message_from_line,
    message_to_line,
)
from harness.training.training_loop import Evaluation, Extrapolation, TrainingConfig
from tests.small import FAULTY, forget_sources
from tests.study.requests import KINDS_OF_A_TRIAL, config_of, request_of
from tests.tally import Tally


@pytest.fixture(autouse=True)
def _faulty() -> None:
    load_plugins([FAULTY])


def sent(request: TrialRequest) -> list[Any]:
    """Everything that the request sends but TrialStarted, as it comes out of JSON."""
    messages: list[TrialMessage] = []
    run_request(
        TrialRequest.from_line(request.to_line()),
        lambda message: messages.append(message_from_line(message_to_line(message))),
    )
    assert TrialStarted() not in messages[1:]
    return messages if messages[0] != TrialStarted() else messages[1:]


def test_evaluations_and_outcome() -> None:
    """An evaluation at 0, 32 and 64 sequences, then one outcome, and nothing after it."""
    events = sent(request_of(1))
    assert [type(event) for event in events] == KINDS_OF_A_TRIAL[:-1]
    assert [event.sequences_seen for event in events[:-1]] == [0, 32, 64]
    assert events[-1].end is TrialStatus.COMPLETE


@pytest.mark.parametrize("edit", ["x = 2", "x = 1 +", "x = 1  # a comment"])
def test_a_plugin_that_was_edited(tmp_path: Path, edit: str) -> None:
    """A worker that has other code than the coordinator does not train, and says what differs."""
    plugin = tmp_path / "mine.py"
    plugin.write_text("x = 1")
    names = (FAULTY, str(plugin))
    request = dataclasses.replace(request_of(1), plugins=names, sources=plugin_sources(names))
    forget_plugin(plugin)
    plugin.write_text(edit)
    *trained, outcome = sent(request)
    forget_plugin(plugin)
    if "#" in edit:
        assert (len(trained), outcome.other_source) == (3, "")
    else:
        assert not trained
        assert outcome.other_source in ("plugin.mine.py", "import")


def forget_plugin(path: Path) -> None:
    """Have it imported anew, as another process imports it."""
    forget_sources()
    for name in [each for each in sys.modules if each.endswith(f"_{path.stem}")]:
        del sys.modules[name]


def test_same_request_same_answer() -> None:
    """The same request sends the same numbers, time apart."""
    once, again = (sent(request_of(1))[:-1] for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert dataclasses.replace(first, train_time_s=second.train_time_s) == second


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
    outcome = sent(request_of(1, fault))[-1]
    assert (type(outcome), outcome.end, outcome.reason) == (TrialOutcome, end, reason)


@pytest.mark.parametrize("home", ["/home/planted", "C:\\Users\\planted"])
def test_an_exception_does_not_name_the_home_folder(
    home: str, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """A path in a trial's exception is shown from ~ in its reason and its traceback."""
    monkeypatch.setattr("harness.home_folder._homes", lambda: [home])

    def missing(*arguments: object) -> None:
        raise FileNotFoundError(2, "No such file", f"{home}/data.npy")

    monkeypatch.setattr("harness.study.execution.worker.Training", missing)
    with (
        tally.each("the home folder in a trial's exception", "shown as ~") as count,
        count.one(),
    ):
        (outcome,) = sent(request_of(1))
        assert outcome.reason.endswith("'~/data.npy'")
        assert "planted" not in outcome.traceback


def test_diverged_evaluation_is_sent() -> None:
    """The evaluation that finds the loss not finite is sent too, NaN and all."""
    evaluation = sent(request_of(1, "nan"))[0]
    assert math.isnan(evaluation.loss)
    assert evaluation.skill == -1.0
    assert evaluation.finite is False


def test_bad_request_is_an_error() -> None:
    """A request that makes no sense, such as an unknown cell, costs that trial alone."""
    request = TrialRequest(1, config_of("nosuch"))
    (outcome,) = sent(request)
    assert outcome.end is TrialStatus.ERROR
    assert "nosuch" in outcome.reason


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
    (outcome,) = sent(request_of(1))
    assert outcome.end is TrialStatus.OUT_OF_MEMORY


def test_weights(tmp_path: Path) -> None:
    """The trained and the first weights are written where asked, and load without pickles."""
    path = tmp_path / "rnn.pt"
    sent(dataclasses.replace(request_of(1), weights=str(path)))
    trained = torch.load(path, weights_only=True)
    initial = torch.load(tmp_path / "rnn.initial.pt", weights_only=True)
    assert set(trained) == set(initial)
    assert any(not torch.equal(trained[name], initial[name]) for name in trained)
    for weight in (*trained.values(), *initial.values()):  # none is a part of a larger vector
        assert weight.untyped_storage().nbytes() == weight.nbytes
    assert {each.name for each in tmp_path.iterdir()} == {"rnn.pt", "rnn.initial.pt"}


def test_config_travels() -> None:
    """A configuration that went through JSON is the same."""
    config = config_of("faulty", fault="none")
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "message",
    [
        Evaluation(32, 0.5, 0.25, 0.9, True, True, 1.5, (0.25, 0.75)),
        TrialOutcome(TrialStatus.COMPLETE, predictions=(0.1,), step_kind="captured"),
        TrialOutcome(TrialStatus.COMPLETE, extrapolations=(Extrapolation(2, 20, 0.5, 0.4, 0.9),)),
        TrialOutcome(TrialStatus.ERROR, "no", traceback="line", unwritten=(28, "No space left")),
    ],
)
def test_messages_travel(message: Evaluation | TrialOutcome) -> None:
    """A message that went through JSON is the same; one that is cut short is a ValueError."""
    line = message_to_line(message)
    assert message_from_line(line) == message
    with pytest.raises(ValueError, match=r"."):
        message_from_line(line[: len(line) // 2])


def test_request_travels() -> None:
    """A request that went through JSON is the same."""
    request = dataclasses.replace(request_of(3, "none", 5), weights="rnn.pt")
    assert TrialRequest.from_line(request.to_line()) == request


def test_preloaded_process_is_lean() -> None:
    """The process that forks has one thread, and nothing that only the coordinator needs."""
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
    assert torch.cuda.is_available is torch.accelerator.current_accelerator is wake  # type: ignore[comparison-overlap]


def test_preload_leaves_the_generator() -> None:
    """A trial's numbers come from its own seeds: what is loaded ahead changes nothing in them."""
    before = sent(request_of(1))[0].loss
    preload()
    assert sent(request_of(1))[0].loss == before


def test_random_numbers_of_a_plug_in_follow_the_seed() -> None:
    """torch, numpy and random are seeded for each trial: its noise is its own, and repeats."""
    first, again = (sent(request_of(1, "noise"))[-1].reason for _ in range(2))
    request = request_of(1, "noise")
    other = dataclasses.replace(request, config=dataclasses.replace(request.config, seed=6))
    assert first == again
    numbers, others = first.split()[1:], sent(other)[-1].reason.split()[1:]
    assert len(numbers) == 3
    assert all(one != two for one, two in zip(numbers, others, strict=True))


FLAGS = """
import os, sys, torch
from harness.cells import Cell, register_cell
from harness.study.execution.worker import run_request
from harness.study.execution.worker_messages import TrialRequest

def factory(input_size, hidden_size, num_layers):
    raise RuntimeError(
        f"{torch.are_deterministic_algorithms_enabled()} {torch.backends.cudnn.deterministic} "
        f"{torch.backends.cudnn.benchmark} {os.environ.get('CUBLAS_WORKSPACE_CONFIG')}"
    )

register_cell(Cell("flags", factory, initializations={"pytorch": lambda *_: None}))
torch.backends.cudnn.benchmark = True
run_request(TrialRequest.from_line(sys.stdin.readline()), lambda outcome: print(getattr(outcome, "reason", "")))
"""


@pytest.mark.parametrize(
    ("device", "deterministic", "flags"),
    [
        ("cuda:0", True, "True True False :4096:8"),
        ("cuda:0", False, "False False True None"),
        ("cpu", True, "False False True None"),
    ],
)
def test_deterministic_cuda(device: str, deterministic: bool, flags: str) -> None:
    """Deterministic flags are set before the model is built, on CUDA alone and only if asked.

    The cell tells the flags while it is built, on the CPU, so no card is needed.
    """
    config = dataclasses.replace(config_of("flags"), device=device)
    request = TrialRequest(1, config, deterministic=deterministic)
    environment = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", FLAGS],
        input=request.to_line(),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == f"RuntimeError: {flags}"
