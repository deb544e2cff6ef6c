"""This machine: threads, denormals, seeds, devices, memory and fingerprint."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

import harness
from harness.errors import InputError, Shown

FINGERPRINTED = ("torch", "optuna", "numpy", "pandas")


def configure_process() -> None:
    """Use one thread and flush denormals to zero in this process.

    Call it before any pool of threads exists: the setting belongs to a thread, and later threads
    inherit it. Vanishing gradients are denormal floats, on which some CPUs are up to ten times
    slower (measured on an Intel Xeon; results/reference/bench_quick shows none of it on an AMD
    EPYC).
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
NEVER_TRIM = 2**31 - 1


def keep_memory() -> bool:
    """Let this process keep freed memory for its next allocation; returns whether it can.

    Call it before training. glibc gives each large tensor pages of its own (over 32 MiB, at first
    less). It returns them when the tensor is freed, and the kernel clears them when the next step
    asks again. With memory kept, a step of nn.LSTM(hidden_size 256, 2 layers, 100 steps) took 0.74
    and 0.83 of the time on two processors, one of hidden_size 128 with 400 steps 0.43 and 0.55. The
    peak of a process may be higher. Source: mallopt(3); results/reference/faster_steps and
    faster_steps_avx512.
    """
    if not keeps_memory():
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER_TRIM))


def keeps_memory() -> bool:
    """Whether `keep_memory` has an effect here: with glibc, so on most Linux systems."""
    return platform.libc_ver()[0] == "glibc"


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2^31) from names and numbers; equal parts give equal seeds on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def resolve_device(name: str) -> str:
    """The device to use, `cpu` or `cuda:I`, for `auto`, `cpu`, `cuda` or `cuda:I`.

    Raises InputError for any other word, and for a CUDA device that does not exist.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if available else "cpu"
    if name == "cpu":
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or (":" in name and not index.isdecimal()):
        raise InputError("--device", expected="auto, cpu, cuda or cuda:I", got=name)
    if int(index or 0) >= available:
        raise InputError(
            "--device",
            expected="a CUDA device that is there",
            got=Shown(f"{name} ({available} CUDA devices found)"),
            remedy="use --device cpu or install a CUDA build of torch",
        )
    return f"cuda:{int(index or 0)}"


def num_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, or its control group's quota if less.

    A part of a core counts as one. The system's files are below `root`.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _cpu_quotas(root))]))


def _cpu_quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of this process's control groups and of their parents (v2 and v1)."""
    groups = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            mounts = [groups, groups / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [groups / "cpu", groups / controllers]
        else:
            continue
        group = PurePosixPath("/", path)
        for mount, each in itertools.product(mounts, (group, *group.parents)):
            folder = mount / each.relative_to("/")
            names = ["cpu.cfs_quota_us", "cpu.cfs_period_us"] if controllers else ["cpu.max"]
            numbers = " ".join(_read(folder / name) for name in names).split()
            # "max" and -1: no quota
            if len(numbers) == 2 and all(map(str.isdecimal, numbers)) and int(numbers[1]):
                yield int(numbers[0]) / int(numbers[1])


def _read(path: Path) -> str:
    """The text of a file of the system; empty where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def use_deterministic_cuda() -> None:
    """Let CUDA compute the same numbers each time in this process, at some cost of speed.

    Call it before CUDA starts: cuBLAS reads its setting once. An operation that has no
    deterministic form raises RuntimeError. Source: torch's notes on randomness.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def memory_bytes() -> int:
    """Memory of this machine, or of its control group if that is less."""
    import psutil  # here, because timing runs where only torch and numpy are installed

    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def device_memory_bytes(device: str) -> int:
    """Memory of the card, or of this machine for `cpu`."""
    if device == "cpu":
        return memory_bytes()
    return int(torch.cuda.get_device_properties(device).total_memory)


def cpu_model() -> str:
    """The processor's name, as the system reports it."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def processor_family() -> str:
    """The processor's architecture, vendor and family: another one changes last digits.

    Where the system has no /proc/cpuinfo, the architecture alone.
    """
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    names = ("vendor_id", "cpu family", "CPU implementer", "CPU architecture")
    return " ".join([platform.machine(), *(facts[name] for name in names if name in facts)])


def cpu_capability() -> str:
    """The vector instructions that torch's kernels use; the variable ATEN_CPU_CAPABILITY sets it.

    Another one changes last digits.
    """
    return str(torch.backends.cpu.get_cpu_capability())


def describe_device(device: str) -> str:
    """The name of the card, or of the processor for `cpu`."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_model()


def fingerprint(device: str) -> dict[str, Any]:
    """What decides speed and last digits here: processor, cores, memory in bytes, system, versions.

    It holds no names of people, hosts or paths, and no environment variables.
    """
    return {
        "cpu": cpu_model(),
        "cores": num_cores(),
        "memory_bytes": memory_bytes(),
        "cpu_capability": cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "device_name": describe_device(device),
        "python": platform.python_version(),
        "threads_per_worker": 1,
        "denormals": "flushed to zero",
        "evaluation": "inference mode",
        "freed_memory": "kept" if keeps_memory() else "returned",
        "versions": {
            "harness": harness.__version__,
            **{name: importlib.metadata.version(name) for name in FINGERPRINTED},
        },
    }
