"""harness.machine: seeds, devices, memory, threads and the fingerprint."""

from __future__ import annotations

import getpass
import io
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness import machine
from harness.errors import InputError
from harness.machine import derive_seed, resolve_device


@pytest.mark.parametrize(
    ("parts", "seed"),
    [
        ((0,), 804681139),
        ((0, "training"), 583902906),
        ((0, "evaluation"), 902382421),
        (("quickstart", "temporal_order", "lstm", 0, 3, "trial"), 700316349),
        (("기억", 1), 142474201),
        ((), 1910006305),
    ],
)
def test_seeds_never_change(parts: tuple[object, ...], seed: int) -> None:
    """A study of last year has the seeds of today: these numbers are part of what users rely on."""
    # printf '0\x1ftraining' | sha256sum: the first eight hexadecimal digits, halved
    assert derive_seed(*parts) == seed


@given(st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cc", "Cs"]))))
def test_a_seed_is_one_that_every_library_takes(parts: list[object]) -> None:
    """A whole number in [0, 2^31), the same each time."""
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**31
    assert derive_seed(*parts) == seed


def test_parts_are_kept_apart() -> None:
    """What is joined differently, or is in another order, is another seed.

    Of 20,000 nearly none are equal.
    """
    assert len({derive_seed(*p) for p in (("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"))}) == 4
    assert len({derive_seed(0, slot, "trial") for slot in range(20_000)}) > 19_990


def test_seeds_are_the_same_in_another_process() -> None:
    """No seed hangs on the process's own hash of texts."""
    code = "from harness.machine import derive_seed as d; print(d('lstm', 3))"
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == derive_seed("lstm", 3)


def test_a_settled_process_has_one_thread_and_no_denormals() -> None:
    """In a process of its own: one thread, and what is denormal is zero; before, it was not."""
    code = """
import torch
from harness.machine import configure_process
torch.set_num_threads(2)
tiny = torch.full((64,), 1e-30)
print(torch.get_num_threads(), (tiny * 1e-10).count_nonzero().item())
configure_process()
print(torch.get_num_threads(), (tiny * 1e-10).count_nonzero().item())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert before == "2 64"
    flushes = torch.set_flush_denormal(False)  # says whether this processor can
    assert after == ("1 0" if flushes else "1 64")


# ---------------------------------------------------------------------------------------- devices


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pretend that there are so many CUDA devices."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("count", "name", "expected"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
        (2, "cuda:01", "cuda:1"),
    ],
)
def test_a_device_is_resolved(
    cards: Callable[[int], None], count: int, name: str, expected: str
) -> None:
    """auto takes the first card where there is one; a card is always named with its number."""
    cards(count)
    assert resolve_device(name) == expected


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1.0", "cpu:0"]
)
def test_a_word_that_is_no_device(cards: Callable[[int], None], name: str) -> None:
    """The message lists what may be written."""
    cards(2)
    with pytest.raises(InputError, match="--device: expected auto, cpu, cuda or cuda:I, got"):
        resolve_device(name)


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_card_that_is_not_there(cards: Callable[[int], None], count: int, name: str) -> None:
    """The message says how many there are, and what to do."""
    cards(count)
    with pytest.raises(InputError, match=rf"{name} \({count} CUDA devices found\); use --device"):
        resolve_device(name)


# ------------------------------------------------------------------------------- memory and cores


def pretend_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let the machine's files be these, and no others."""

    def fake_open(path: str, *_: object) -> io.StringIO:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(machine, "open", fake_open, raising=False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_000),
        ({"/sys/fs/cgroup/memory.max": "max\n"}, 8_000),
        ({"/sys/fs/cgroup/memory.max": "5000\n"}, 5_000),
        ({"/sys/fs/cgroup/memory.max": "9000\n"}, 8_000),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "3000\n"}, 3_000),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63)}, 8_000),
    ],
)
def test_memory_is_what_the_group_may_have(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    """The machine's memory, or its control group's where that is less."""

    class Memory:
        """What psutil tells."""

        total = 8_000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    pretend_files(monkeypatch, files)
    assert machine.memory_bytes() == expected


def test_the_processor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system's own name where it gives one, else by its kind; never by nothing."""
    cpuinfo = "processor\t: 0\nmodel name\t: Example CPU @ 2.0GHz\nmodel name\t: other\n"
    pretend_files(monkeypatch, {"/proc/cpuinfo": cpuinfo})
    assert machine.cpu_model() == machine.describe_device("cpu") == "Example CPU @ 2.0GHz"
    pretend_files(monkeypatch, {})
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine.cpu_model() == platform.machine() != ""


def test_cores_are_those_that_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own set where the system has one, else all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert machine.num_cores(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine.num_cores(tmp_path) == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.num_cores(tmp_path) == 1


QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "250000 100000"}, 3),
        ("0::/", {"cpu.max": "1000 100000"}, 1),
        ("0::/", {"cpu.max": "1600000 100000"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2),
        ("0::/a/b", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "max 100000"}, 2),
        ("0::/not/mounted", {"cpu.max": "200000 100000"}, 2),
        ("0::/a", {"b/cpu.max": "100000 100000"}, 8),
        ("4:cpu,cpuacct:/a", {f"cpu/a/{QUOTA}": "150000", f"cpu/a/{PERIOD}": "100000"}, 2),
        ("4:cpu:/a", {f"cpu/a/{QUOTA}": "-1", f"cpu/a/{PERIOD}": "100000"}, 8),
        (
            "4:cpu,cpuacct:/a",
            {f"cpu,cpuacct/{QUOTA}": "300000", f"cpu,cpuacct/{PERIOD}": "100000"},
            3,
        ),
        ("9:memory:/a\n1:name=systemd:/a", {"a/cpu.max": "100000 100000"}, 8),
    ],
)
def test_cores_within_the_quota(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    files: dict[str, str],
    expected: int,
) -> None:
    """No more cores than the quota of the control group and its parents allows, rounded up."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    tree = {"proc/self/cgroup": group} | {
        f"sys/fs/cgroup/{name}": text for name, text in files.items()
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine.num_cores(tmp_path) == expected


# ------------------------------------------------------------------------------------ fingerprint


def texts(value: Any) -> list[str]:
    """All texts in nested plain data."""
    if isinstance(value, dict):
        return [text for item in value.items() for each in item for text in texts(each)]
    return [value] if isinstance(value, str) else []


def test_a_fingerprint_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No user, host, home, working folder or environment variable is in it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    monkeypatch.setattr(platform, "node", lambda: "planted-host")
    for name in list(os.environ):
        if name not in ("PATH", "LD_LIBRARY_PATH", "PYTEST_CURRENT_TEST"):
            monkeypatch.setenv(name, "planted-value")
    for name in ("USER", "LOGNAME", "HOSTNAME", "COMPUTERNAME", "HOME", "SECRET_TOKEN"):
        monkeypatch.setenv(name, f"planted-{name}")
    said = " ".join(texts(machine.fingerprint("cpu")))
    assert "planted" not in said
    monkeypatch.undo()
    private = {getpass.getuser(), socket.gethostname(), str(Path.home()), str(Path.cwd())}
    words = set(said.split())
    assert not private & words
    assert not any(str(path) in said for path in (Path.home(), Path.cwd()) if len(str(path)) > 1)


def test_a_fingerprint_tells_what_decides_speed() -> None:
    """Processor, cores, memory in bytes, versions, threads and denormals, as plain JSON."""
    found = machine.fingerprint("cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"] == found["device_name"] == machine.cpu_model()
    assert found["cores"] == machine.num_cores() >= 1
    assert 10**8 < found["memory_bytes"] <= psutil.virtual_memory().total
    assert found["versions"]["torch"] == torch.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["threads_per_worker"] == 1
    assert found == machine.fingerprint("cpu")


KEEPING = """
import resource, sys, torch
from harness.machine import keep_memory
assert sys.argv[1] == "plain" or keep_memory()
def step():
    return [torch.ones(size << 18) for size in (1, 8, 40)]  # 1, 8 and 40 MiB
for _ in range(20):  # until the heap has settled
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.skipif(not machine.keeps_memory(), reason="glibc needed")
def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    """A step that frees 49 MiB faults it in again by default, and not where memory is kept."""

    def faults(way: str) -> float:
        command = [sys.executable, "-c", KEEPING, way]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("plain") > 10 * max(faults("kept"), 1)  # with huge pages there are few


def test_elsewhere_memory_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without glibc there is no such setting, and nobody says that there is."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not machine.keep_memory()
    assert machine.fingerprint("cpu")["freed_memory"] == "returned"


@pytest.mark.parametrize(
    ("cpuinfo", "family"),
    [
        (
            "processor: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t: 1\n\n" * 2,
            " AuthenticAMD 25",
        ),
        ("CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n", " 0x41 8"),
        (None, ""),
    ],
)
def test_processor_family(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, family: str
) -> None:
    """The family is architecture, vendor and family number; without cpuinfo the architecture."""

    def read(path: str) -> io.StringIO:
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return io.StringIO(cpuinfo)

    monkeypatch.setattr(machine, "open", read, raising=False)
    assert machine.processor_family() == platform.machine() + family
