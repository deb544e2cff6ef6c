"""A worker process: runs steps in one variant, as JSON lines on its input ask.

It settles threads, denormals, memory and TF32 as its variant says before anything else runs, keeps
what it has prepared until it is told to drop it, and ends when its standard input does. It decides
nothing: `harness.timing.worker_pool` is the other end of the line.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import torch

from harness.machine import keep_memory
from harness.plugins import load_plugins
from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import Subject, build, close, forget_compiled
from harness.timing.clocks import BlockTime, time_block
from harness.timing.float64_reference import (
    Reference,
    captured_deviation,
    check,
    compute_reference,
    denormals_flushed,
    deviation,
)
from harness.timing.hardware_limits import copy, product
from harness.timing.memory import MEMORY_STEPS, cuda_peak
from harness.timing.variants import Variant, precision_on

SPINNING_S = 0.02  # libgomp's threads spin 9 to 10 ms after their last work; measured, torch 2.13


def use(device: str) -> None:
    """Make a CUDA device the current one, and initialise CUDA; nothing for a CPU."""
    if device.startswith("cuda"):
        torch.cuda.init()  # the allocator's counters want it first
        torch.cuda.set_device(device)


def apply_variant(variant: Variant) -> None:
    """Set the calling process's threads, denormals, memory and TF32 as the variant says.

    Before any pool of threads exists.

    `plain` is left as torch comes, TF32 included; in all others TF32 is off but where it is asked
    for, for matrix products and for cuDNN's recurrent layers alike: torch's defaults differ between
    them.
    """
    if variant.n_threads is not None:
        torch.set_num_threads(variant.n_threads)
        precision = "tf32" if variant.precision == "tf32" else "ieee"
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]
    if variant.flush_denormals:
        torch.set_flush_denormal(True)
    if variant.keep_memory:
        keep_memory()


def serve_variant(variant: Variant, inlet: TextIO, outlet: TextIO) -> None:
    """Answer each line of `inlet` with one of `outlet`, until there are no more.

    What fails is an answer too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    apply_variant(variant)
    handler = CommandHandler(variant)
    for line in inlet:
        try:
            with redirect_stdout(sys.stderr):  # a plug-in may print
                answer = handler.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything: it costs its benchmark alone
            answer = {"error": failure_text(error)}
        outlet.write(json.dumps(answer) + "\n")
        outlet.flush()


class CommandHandler:
    """What a worker has prepared, by name, and the commands that it takes."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.subjects: dict[str, Subject] = {}
        self.commands: Mapping[str, Callable[..., dict[str, Any]]] = {
            "plugins": self.plugins,
            "facts": self.facts,
            "reference": self.reference,
            "prepare": self.prepare,
            "product": self.product,
            "copy": self.copy,
            "block": self.block,
            "drop": self.drop,
        }

    def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Do one command: {"do": name, ...its arguments}."""
        arguments = {key: value for key, value in command.items() if key != "do"}
        return self.commands[command["do"]](**arguments)

    def plugins(self, names: list[str]) -> dict[str, Any]:
        """Import plug-ins."""
        load_plugins(names)
        return {}

    def facts(self) -> dict[str, Any]:
        """How this process is set, as found by asking and trying."""
        settings = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)
        tf32 = any(setting.fp32_precision == "tf32" for setting in settings)
        return {
            "n_threads": torch.get_num_threads(),
            "denormals_flushed": denormals_flushed(),
            "tf32": tf32 if torch.cuda.is_available() else None,
        }

    def reference(self, benchmark: dict[str, Any], seed: int, path: str) -> dict[str, Any]:
        """Compute a reference into a file."""
        asked = Benchmark(**benchmark)
        use(asked.device)
        found = compute_reference(asked, seed)
        found.save(Path(path))
        return {
            "precision": found.precision,
            "denormal_fraction": found.denormal_fraction,
            "zero_fraction": found.zero_fraction,
        }

    def prepare(self, benchmark: dict[str, Any], seed: int, reference: str) -> dict[str, Any]:
        """Build a benchmark, hold it against a reference's file ("": none), take the first steps.

        What is known of it by then.
        """
        asked = Benchmark(**benchmark)
        use(asked.device)
        errors: dict[str, Any] = {}
        with cuda_peak(asked.device) as peaks:
            work = build(asked, seed)
            subject = close(asked, work)
            if reference:
                kept = Reference.load(Path(reference))
                if self.variant.cuda_graph:
                    loss = subject.step()
                    assert isinstance(loss, torch.Tensor)
                    found = captured_deviation(work, asked.measure, loss, kept)
                else:
                    found = deviation(work, asked.measure, kept)
                check(found, precision_on(self.variant, asked.device), kept.precision)
                errors = dataclasses.asdict(found)
                del kept, found
            subject.reset()
            for _ in range(MEMORY_STEPS):
                subject.step()
        self.subjects[asked.name] = subject
        own = ("name", "device", "step", "reset")
        facts = {key: value for key, value in vars(subject).items() if key not in own}
        return {**facts, **errors, "peak": [dataclasses.asdict(each) for each in peaks]}

    def product(self, name: str, device: str) -> dict[str, Any]:
        """Prepare a matrix product in this variant's precision."""
        use(device)
        self.subjects[name] = product(name, device, precision_on(self.variant, device))
        return {"flops": self.subjects[name].flops}

    def copy(self, name: str, device: str) -> dict[str, Any]:
        """Prepare a copy of memory."""
        use(device)
        self.subjects[name] = copy(name, device)
        return {"num_bytes": self.subjects[name].num_bytes}

    def block(self, name: str, n_steps: int) -> dict[str, Any]:
        """Time one block, after one step that wakes caches and threads.

        A pool of threads goes on spinning for a while; the answer waits for its end, or the next
        block of another worker would pay for it.
        """
        run = self._run(name)
        if n_steps > 1:
            run(1)
        time_s = run(n_steps)
        if torch.get_num_threads() > 1:
            time.sleep(SPINNING_S)
        return dataclasses.asdict(time_s)

    def drop(self) -> dict[str, Any]:
        """Forget everything prepared, and give its memory back."""
        self.subjects.clear()
        if self.variant.compiled:
            forget_compiled()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return {}

    def _run(self, name: str) -> Callable[[int], BlockTime]:
        subject = self.subjects[name]

        def run(n_steps: int) -> BlockTime:
            subject.reset()  # every block does the same work
            return time_block(subject.step, n_steps, subject.device)

        return run


def failure_text(error: BaseException) -> str:
    """What went wrong, in one line without the home folder; an error of ours has no type."""
    from harness.errors import HarnessError
    from harness.home_folder import hide_home

    text = hide_home(" ".join(str(error).split()))
    if isinstance(error, HarnessError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
