"""One side of a comparison: a script that the side's Python runs and that JSON lines command.

It imports torch and the standard library alone, so that environment needs nothing of the harness,
and uses only syntax of Python 3.9. Where the system has fork it is a fork server: it loads torch,
runs no step, and forks a fresh process for each block, which then answers until the command `end`.
Elsewhere it is the process of one block itself.

With `--ready` it first loads what an optimiser's first step would load. It exits when its standard
input closes and kills its child processes; it ignores SIGINT. What the steps print goes to standard
error. Its client is harness.regress.sides.side_client.

A file of steps is a Python file. `STEPS` in it is a list of functions, or a mapping of names to
functions; without it, every public function that is defined in the file and can be called without
arguments is one. Each returns
    (setup, step, sequences_per_step)            or            (setup, step, sequences_per_step,
                                                 reset)
`setup()` is called once in each process. `step()` is one training step; if setup returned something
other than None it is called as `step(state)` with that. `reset()`, or `reset(state)`, is called
before each slice and is not timed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import math
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

PROTOCOL = 1
WARM_UP_SLICES = 3
MOST_WARM_UP_SLICES = 8
WARM_UP_AGREEMENT = 0.02  # slices of the first warm-up agree when the last three differ by no more
ORPHAN_POLL_MS = 5_000  # where the end of standard input isn't told at once, it is seen so often
# The first step makes the optimiser's state, the second one holds everything at once
MEMORY_STEPS = 2
PROFILED_STEPS = 10
SETTINGS = (
    *(
        "OMP_",
        "MKL_",
        "KMP_",
        "GOMP_",
        "OPENBLAS_",
        "DNNL_",
        "ONEDNN_",
        "ATEN_",
        "TORCH",
        "PYTORCH_",
    ),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_TF32", "MALLOC_", "LD_PRELOAD", "DYLD_INSERT"),
    *("GLIBC_TUNABLES", "PYTHONMALLOC", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "HARNESS_NATIVE"),
)
"""Environment variables that decide speed start so."""
FLAGS = ("avx", "amx", "fma", "f16c", "sse4", "bf16", "asimd", "sve", "neon", "i8mm")
"""Processor flags that kernels of torch and BLAS ask for start so."""

StepFunction = Callable[[], object]


class CommandChannel:
    """JSON lines from and to the client, on descriptors that no print and no input() uses."""

    def __init__(self) -> None:
        self.source, self.sink = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)  # also what C code prints

    def read(self) -> dict[str, Any] | None:
        """The next command; None at the end.

        It reads no byte beyond its line: another process may read the next.
        """
        line = bytearray()
        while not line.endswith(b"\n"):
            got = os.read(self.source, 1)
            if not got:
                return None
            line += got
        command: dict[str, Any] = json.loads(line)
        return command

    def write(self, answer: Mapping[str, Any]) -> None:
        """Send one answer."""
        rest = json.dumps(answer).encode() + b"\n"
        while rest:
            rest = rest[os.write(self.sink, rest) :]


# --- The fork server --------------------------------------------------------------------------


def serve(line: CommandChannel, *, can_fork: bool) -> None:
    """Write the first line, then fork a process for each block, or be the only one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client decides when this process ends
    if "--ready" in sys.argv[1:]:
        with contextlib.suppress(Exception):  # an optimiser's first step does so, in each fork anew
            importlib.import_module("torch._dynamo")
    gc.collect()
    # Or each fork's first collection would touch, and so copy, all that it shares with this process
    gc.freeze()
    line.write({"hello": PROTOCOL, "forks": can_fork, "torch": torch.__version__})
    if not can_fork:
        BlockProcess(line).run()
        return
    woken, wakeup = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wakeup)
    while True:
        command = line.read()
        if command is None:
            return
        if command["do"] != "fork":
            line.write({"error": "no block is open"})
            continue
        child = os.fork()
        if child == 0:
            _be_a_block(line, (woken, wakeup))
        status = _watch(child, line.source, woken)
        if status is None:
            return
        line.write(
            {"ended": True} if status == 0 else {"error": _how(os.waitstatus_to_exitcode(status))}
        )


def _be_a_block(line: CommandChannel, server_only: Sequence[int]) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in server_only:
            os.close(descriptor)
        line.write({"forked": os.getpid()})
        BlockProcess(line).run()
        status = 0
    except BaseException:  # noqa: BLE001  # a forked process must never return into the server's stack
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _watch(child: int, source: int, woken: int) -> int | None:
    """Wait for a block's process; returns its status.

    If the client ends first, kills the process and returns None.
    """
    import select

    server, parent = select.poll(), os.getppid()
    server.register(source, 0)  # its end alone: what comes on it is for the child
    server.register(woken, select.POLLIN)
    while True:
        ready = dict(server.poll(ORPHAN_POLL_MS))
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if source in ready or os.getppid() != parent:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


# --- The process of a block -------------------------------------------------------------------


class Prepared:
    """One benchmark that is set up: its step and its reset without arguments, its sequences."""

    def __init__(self, name: str, made: object) -> None:
        is_plan = isinstance(made, tuple) and len(made) in (3, 4)
        setup, step, sequences, reset = (*made, None)[:4] if is_plan else (None,) * 4  # type: ignore[misc]
        if not (
            is_plan
            and (setup is None or callable(setup))
            and callable(step)
            and (reset is None or callable(reset))
            and isinstance(sequences, (int, float))
            and 0 < sequences < math.inf
        ):
            expected = "(setup, step, sequences_per_step), two functions and a number above 0"
            raise TypeError(f"{name} must return {expected} (got {made!r:.80})")
        self.sequences_per_step = float(sequences)
        torch.manual_seed(0)  # both sides draw alike
        state = setup() if setup else None
        self.step: StepFunction = step if state is None else lambda: step(state)
        self.reset: StepFunction = _nothing
        if reset is not None:
            self.reset = reset if state is None else lambda: reset(state)

    def slice(self, n_steps: int) -> float:
        """Seconds of `n_steps` steps, after one that fills the caches; it waits for the device."""
        step = self.step
        self.reset()
        if n_steps > 1:
            step()
        synchronize()
        start = time.perf_counter_ns()
        for _ in range(n_steps):
            step()
        synchronize()
        return (time.perf_counter_ns() - start) * 1e-9


class BlockProcess:
    """What one fresh process has loaded and prepared, and the commands that it takes."""

    def __init__(self, line: CommandChannel) -> None:
        self.line = line
        self.steps: dict[str, Callable[[], object]] = {}
        self.prepared: dict[str, Prepared] = {}
        self.commands: Mapping[str, Callable[..., Mapping[str, Any]]] = {
            "facts": facts,
            "load": self.load,
            "pin": pin,
            "prepare": self.prepare,
            "warm_up": self.warm_up,
            "slice": self.slice,
            "memory": self.memory,
            "profile": self.profile,
            "modules": modules_below,
        }

    def run(self) -> None:
        """Answer each command with one line until the command `end`; a failure is an answer."""
        configure_process()
        while True:
            command = self.line.read()
            if command is None or command["do"] == "end":
                return
            try:
                do = self.commands[command.pop("do")]
                answer = dict(do(**command))
            except BaseException as error:  # noqa: BLE001  # steps may raise anything, SystemExit too
                traceback.print_exc()
                answer = {"error": one_line(error)}
            self.line.write(answer)

    def load(self, file: str, paths: Sequence[str], folder: str) -> Mapping[str, Any]:
        """Import a file of steps ("": the canary) in a folder, with these paths first on sys.path.

        The file's own folder comes last, so that installed packages come before its neighbours.
        """
        if not file:
            self.steps = {"canary": canary}
            return {"names": ["canary"], "threads": torch.get_num_threads()}
        os.chdir(folder)
        sys.path[:0] = paths
        sys.path.append(str(Path(file).parent))
        self.steps = find_steps(import_file(file), file)
        return {"names": list(self.steps), "threads": torch.get_num_threads()}

    def prepare(self, name: str) -> Mapping[str, Any]:
        """Set a benchmark up and take its first two steps."""
        prepared = self._make(name)
        for _ in range(MEMORY_STEPS):
            prepared.step()
        self.prepared[name] = prepared
        gc.collect()
        gc.freeze()  # later collections pass over what stays
        return {"sequences_per_step": prepared.sequences_per_step}

    def warm_up(self, name: str, slice_s: float, n_steps: int) -> Mapping[str, Any]:
        """Run slices until they agree.

        With `n_steps` 0 find how many steps make a slice of about `slice_s` seconds.
        """
        prepared = self.prepared[name]
        if n_steps:
            times = [prepared.slice(n_steps) for _ in range(WARM_UP_SLICES)]
            return {"n_steps": n_steps, "step_time_s": min(times) / n_steps}
        n_steps = 1
        for _ in range(2):  # one step is a poor guide to many
            n_steps = max(1, math.ceil(slice_s / max(prepared.slice(n_steps) / n_steps, 1e-9)))
        times = []
        while len(times) < MOST_WARM_UP_SLICES:
            times.append(prepared.slice(n_steps))
            last = times[-WARM_UP_SLICES:]
            if len(last) == WARM_UP_SLICES and max(last) <= (1 + WARM_UP_AGREEMENT) * min(last):
                break
        step_time_s = sorted(times)[len(times) // 2] / n_steps
        return {"n_steps": max(1, math.ceil(slice_s / step_time_s)), "step_time_s": step_time_s}

    def slice(self, name: str, n_steps: int) -> Mapping[str, Any]:
        """Time one slice."""
        return {"time_s": self.prepared[name].slice(n_steps)}

    def memory(self, name: str) -> Mapping[str, Any]:
        """The most bytes that a benchmark holds in its first two steps.

        Ask it first, in a process that does nothing else.
        """
        before = high_water_bytes()
        prepared = self._make(name)
        for _ in range(MEMORY_STEPS):
            prepared.step()
        synchronize()
        if torch.cuda.is_initialized():
            devices = range(torch.cuda.device_count())
            peak = sum(torch.cuda.max_memory_allocated(device) for device in devices)
            return {"kind": "cuda_allocator", "peak_bytes": peak, "before_bytes": 0}
        return {
            "kind": "process_high_water",
            "peak_bytes": high_water_bytes(),
            "before_bytes": before,
        }

    def profile(self, name: str) -> Mapping[str, Any]:
        """Seconds a step that each operator took itself, on processor and device together."""
        from torch.profiler import ProfilerActivity, profile

        prepared = self.prepared[name]
        for _ in range(WARM_UP_SLICES):
            prepared.step()
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_initialized():
            activities.append(ProfilerActivity.CUDA)
        synchronize()
        with profile(activities=activities) as found:
            start = time.perf_counter_ns()
            for _ in range(PROFILED_STEPS):
                prepared.step()
            synchronize()
            whole_s = (time.perf_counter_ns() - start) * 1e-9
        operators = {
            event.key: (event.self_cpu_time_total + getattr(event, "self_device_time_total", 0.0))
            * 1e-6
            / PROFILED_STEPS
            for event in found.key_averages()
        }
        return {"operators": operators, "step_time_s": whole_s / PROFILED_STEPS}

    def _make(self, name: str) -> Prepared:
        return Prepared(name, self.steps[name]())


def pin(turn: int) -> Mapping[str, Any]:
    """Run on one core, the same for each process of a turn; None where the system cannot do that.

    Each core has other neighbours: on two cores their load would look like a difference of code.
    """
    if not hasattr(os, "sched_setaffinity"):
        return {"core": None}
    cores = sorted(os.sched_getaffinity(0))
    core = cores[turn % len(cores)]
    os.sched_setaffinity(0, {core})
    return {"core": core}


def modules_below(folder: str) -> Mapping[str, Any]:
    """The files of imported modules below a folder, relative to it, without installed packages."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    below = [Path(file) for file in files if file and Path(file).is_relative_to(folder)]
    prefix = Path(sys.prefix)
    return {
        "files": sorted(
            path.relative_to(folder).as_posix()
            for path in below
            if not path.is_relative_to(prefix) and "site-packages" not in path.parts
        )
    }


def configure_process() -> None:
    """Use one thread and flush denormals, before any pool of threads exists.

    A file of steps may set it otherwise.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def synchronize() -> None:
    """Wait for the device that the steps have used, if they used one."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def _nothing() -> None:
    """Does nothing, where there is nothing to reset."""


# --- Files of steps ---------------------------------------------------------------------------


def import_file(file: str) -> Any:
    """Import a Python file under a name of its own."""
    name = f"steps_{Path(file).stem}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def find_steps(module: Any, file: str) -> dict[str, Callable[[], object]]:
    """The functions of a file of steps by name; ValueError for none or a name twice."""
    listed = getattr(module, "STEPS", None)
    if listed is None:
        public = [
            value
            for name, value in vars(module).items()
            if not name.startswith("_")
            and inspect.isfunction(value)
            and value.__module__ == module.__name__
            and _needs_nothing(value)
        ]
        named: Sequence[tuple[str, Any]] = [(value.__name__, value) for value in public]
    elif isinstance(listed, Mapping):
        named = [(str(name), value) for name, value in listed.items()]
    else:
        named = [(str(getattr(value, "__name__", value)), value) for value in listed]
    if not named:
        raise ValueError(f"{Path(file).name} has no public function without arguments, nor STEPS")
    found = {}
    for name, value in named:
        if not callable(value):
            raise TypeError(f"STEPS must hold functions (got {value!r:.80})")
        if name in found:
            raise ValueError(f"STEPS must hold functions whose names differ (got {name} twice)")
        found[name] = value
    return found


def _needs_nothing(function: Callable[..., object]) -> bool:
    return all(
        parameter.default is not parameter.empty
        or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        for parameter in inspect.signature(function).parameters.values()
    )


def canary() -> tuple[StepFunction, StepFunction, int]:
    """What both canaries train, in plain torch: an LSTM of 32, 40 steps, batch 16, fused Adam."""
    length, batch, inputs, hidden = 40, 16, 8, 32
    network, head = nn.LSTM(inputs, hidden, batch_first=True), nn.Linear(hidden, 4)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], fused=True)
    data, classes = torch.randn(batch, length, inputs), torch.randint(4, (batch,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        outputs, _ = network(data)
        loss = nn.functional.cross_entropy(head(outputs[:, -1]), classes)
        loss.backward()
        optimizer.step()

    return _nothing, step, batch


# --- Facts ------------------------------------------------------------------------------------


def facts() -> Mapping[str, Any]:
    """What decides the speed of this process: processor, versions, variables, packages."""
    flags = sorted(flag for flag in _cpu("flags", "Features").split() if flag.startswith(FLAGS))
    packages = {
        str(distribution.metadata["Name"]).lower().replace("_", "-"): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    is_cuda = torch.cuda.is_available()
    return {
        "cpu": _cpu("model name") or platform.processor() or platform.machine(),
        "cpu_flags": " ".join(flags),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch": torch.__version__,
        "blas": _blas(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if is_cuda else None,
        "cuda": torch.version.cuda,
        "numpy": packages.get("numpy"),
        "native_kernels": _native_kernels(),
        "settings": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)
        },
        "packages": packages,
    }


def _cpu(*names: str) -> str:
    """A line of /proc/cpuinfo; "" where there is none."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in names:
                return value.strip()
    return ""


def _native_kernels() -> str | None:
    """The instruction set of the harness's compiled kernels, or "none" and why.

    None where the steps did not import a harness that has them.
    """
    library = sys.modules.get("harness.cells.native.library")
    return str(library.native_status()) if library else None


def _blas() -> str:
    """Which BLAS and oneDNN torch was built with, as its own configuration says."""
    shown = torch.__config__.show()
    found = [
        line.strip(" -").partition(" (")[0]
        for line in shown.splitlines()
        if "MKL" in line and " v" in line.replace("version", "v")
    ]
    name = shown.partition("BLAS_INFO=")[2].partition(",")[0]
    return ", ".join([*([name] if name else []), *found])[:200]


def high_water_bytes() -> int | None:
    """The most resident memory that this process has held; None on Windows, which does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource  # Unix alone has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def one_line(error: BaseException) -> str:
    """What went wrong, in one line, with the line of the user's file."""
    text = " ".join(str(error).split())
    shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name != Path(__file__).name]
    places = [frame for frame in own if "importlib" not in frame.filename]
    if isinstance(error, SyntaxError) or not places:
        return shown
    return f"{shown} ({Path(places[0].filename).name}, line {places[0].lineno})"


def main() -> int:
    """Serve standard input until it ends."""
    own = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if str(Path(path or ".").resolve()) != own]
    line = CommandChannel()
    can_fork = hasattr(os, "fork") and "--no-fork" not in sys.argv[1:]
    try:
        serve(line, can_fork=can_fork)
    finally:
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():  # what steps have started, too
            os.killpg(0, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
