"""A bench: the groups of a grid, measured one after the other, kept as they come, and written as tables and a report.

What is measured lies in groups.jsonl before the next group begins; a bench that is run again goes
on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from harness import cells as cell_registry
from harness import machine, records, tasks, timing
from harness.bench.groups_file import (
    FILE,
    StoredGroup,
    append_group,
    check_identity,
    key_of,
    read_groups,
)
from harness.bench.memory_check import check_memory
from harness.cells import CELLS
from harness.config import GridSpec, Group, inference_groups, training_groups
from harness.errors import InputError
from harness.plugins import MODULES, plugin_hash
from harness.records.file_lock import hold_file
from harness.records.results_folder import check_folder, make_folder, put_aside, writing
from harness.timing.benchmark_request import SCHEMA as TRAINING_SCHEMA
from harness.timing.client import ask
from harness.timing.hardware_limits import latency_bound_s
from harness.timing.inference import INFERENCE_SCHEMA

Mode = Literal["training", "inference"]
Progress = Callable[[str], None]
SCHEMAS: Mapping[Mode, int] = {"training": TRAINING_SCHEMA, "inference": INFERENCE_SCHEMA}
ORIGIN = "bench"
OF_A_STUDY = frozenset(
    ("threads_per_worker", "denormals", "evaluation", "freed_memory", "recurrence")
)
"""What a fingerprint says of a study's trials; here it is each variant's own."""
WRITERS: Mapping[Mode, Callable[..., Path]] = {
    "training": records.write_throughput,
    "inference": records.write_inference,
}


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """What the command line says. `devices` are resolved; `command` is shown in the report."""

    results: Path
    devices: tuple[str, ...] = ("cpu",)
    mode: Mode = "training"
    plugins: tuple[str, ...] = ()
    fresh: bool = False
    command: str = ""
    where: str = "grid file"


@dataclasses.dataclass(frozen=True)
class BenchOutcome:
    """What a bench came to: its folder, the rows of its mode, and the report's path, if one was drawn."""

    directory: Path
    json_path: Path
    rows: tuple[Mapping[str, Any], ...]
    report: Path | None

    @property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """(cell, device) without a single time."""
        timed = {
            (row["cell"], row["device"])
            for row in self.rows
            if row.get("step_time_s") or row.get("median_us")
        }
        every = dict.fromkeys((row["cell"], row["device"]) for row in self.rows)
        return tuple(pair for pair in every if pair not in timed)


class BenchWatcher(Protocol):
    """Who is told how the bench goes."""

    def begin(self, groups: Sequence[Group], kept: int) -> None:
        """The groups that are left to be measured, and how many were kept of earlier sessions."""
        ...

    def step(self, group: Group, text: str) -> None:
        """What begins within a group."""
        ...

    def finished(self, group: Group, answer: Mapping[str, Any]) -> None:
        """A group has been measured and is on the disk."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


class Engine(Protocol):
    """What measures: a request of harness.timing to its answer."""

    def measure(self, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Time the benchmarks of the request."""
        ...


class TimingEngine:
    """harness.timing: training in live workers, kept from group to group.

    Inference in a process of its own.
    """

    def __init__(self, workers: timing.WorkerPool) -> None:
        self._workers = workers

    def measure(self, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Time the benchmarks of the request."""
        if request.get("mode") == "inference":
            progress("calls")
            return ask(
                request, timeout_s=None
            )  # as long as its calls take, and it is interrupted by hand
        return timing.measure(
            timing.TimingRequest.from_dict(dict(request)), self._workers, progress
        )


@contextlib.contextmanager
def timing_engine(plugins: Sequence[str]) -> Iterator[Engine]:
    """The engine of a session; its workers end with it."""
    with timing.WorkerPool(tuple(plugins)) as workers:
        yield TimingEngine(workers)


def resolve_devices(names: Sequence[str], mode: Mode) -> tuple[str, ...]:
    """The devices to measure on; `auto` is the CPU, and the first CUDA device where there is one.

    Raises InputError for a device that is not there, and for another than the CPU in inference
    mode.
    """
    resolved: list[str] = []
    for name in names or ("auto",):
        if mode == "inference":
            if name not in ("auto", "cpu"):
                expected = "cpu, on which inference is measured"
                raise InputError("--device", expected=expected, got=name)
            resolved.append("cpu")
            continue
        resolved += ["cpu"] if name == "auto" else []
        resolved.append(machine.resolve_device(name))
    return tuple(dict.fromkeys(resolved))


def plan(spec: GridSpec, devices: Sequence[str], mode: Mode) -> tuple[Group, ...]:
    """The groups of a grid, device after device."""
    if mode == "inference":
        return inference_groups(spec, CELLS)
    return tuple(group for device in devices for group in training_groups(spec, CELLS, device))


def check_bench(spec: GridSpec, options: BenchOptions) -> tuple[Group, ...]:
    """The groups to measure. Raises InputError for an unknown variant and for a step that cannot fit into memory."""
    for _, block in spec.blocks():
        for name in block["variants"]:
            timing.parse_variant(name, options.where)
    groups = plan(spec, options.devices, options.mode)
    check_memory(groups, options.mode, options.where)
    return groups


def not_to_be_had(groups: Sequence[Group]) -> dict[str, str]:
    """The variants of a grid that this machine has not got, as "<variant> on <device>", each with the reason."""
    pairs = dict.fromkeys(
        (each["variant"], each["device"])
        for group in groups
        for each in group.benchmarks
        if "variant" in each
    )
    reasons = {f"{name} on {device}": timing.unavailable(name, device) for name, device in pairs}
    return {name: reason for name, reason in reasons.items() if reason}


def run_bench(
    spec: GridSpec,
    options: BenchOptions,
    watcher: BenchWatcher,
    engine: Engine | None = None,
) -> BenchOutcome:
    """Measure every group, or what is left of them.

    KeyboardInterrupt passes through, with everything finished saved.

    Raises InputError for what cannot be measured, and IdentityError where the folder holds another
    machine's results, before anything is timed; FileError where a disk is full.
    """
    groups = check_bench(spec, options)
    directory = options.results / spec.grid.name
    check_folder(directory, "bench", "study", "spec.toml")
    identities = {device: identity_of(device, options.mode) for device in options.devices}
    with contextlib.ExitStack() as held:
        held.enter_context(writing())
        if options.fresh and directory.exists():
            with hold_file(directory / FILE):
                pass  # refuses where another bench is at work in it
            put_aside(directory)
        make_folder(directory)
        held.enter_context(hold_file(directory / FILE))
        stored = read_groups(directory)
        of_mode = [group for group in stored.values() if group.mode == options.mode]
        check_identity(of_mode, identities, str(directory))
        bench = _Bench(spec, options, directory, _plugin_hashes(spec, options))
        left = [
            group for group in groups if _is_missing(stored.get(bench.key(group, options.mode)))
        ]
        watcher.begin(left, len(groups) - len(left))
        if left and engine is None:
            engine = held.enter_context(timing_engine(options.plugins))
        known: set[tuple[str, str]] = set()
        for group in left:
            assert engine is not None
            request = bench.request(group, options.mode)
            if options.mode == "training":
                pairs = {(each["cell"], group.device) for each in group.benchmarks}
                request["limits"] = bool(pairs - known)
                known |= pairs
            answer = engine.measure(request, functools.partial(watcher.step, group))
            key, identity = bench.key(group, options.mode), identities[group.device]
            line = StoredGroup(key, options.mode, group.label, group.device, identity, answer)
            append_group(directory, line)
            watcher.finished(group, answer)
        return _write(bench, read_groups(directory))


def identity_of(device: str, mode: Mode) -> dict[str, Any]:
    """What must be the same for two numbers to stand in one table.

    Machine, device, versions of what measures.

    In training also torch's default number of threads, with which `plain` runs (environment
    variables change it), and whether every other variant keeps freed memory.
    """
    facts = machine.fingerprint(device)
    names = ("cpu", "cores", "cpu_capability", "system", "python", "device_name")
    cudnn = torch.backends.cudnn.version() if device.startswith("cuda") else None  # type: ignore[no-untyped-call]
    return {
        **{name: facts[name] for name in names},
        "torch": facts["versions"]["torch"],
        "cudnn": cudnn,
        "schema of harness.timing": SCHEMAS[mode],
        **(
            {"default threads": torch.get_num_threads(), "freed memory": facts["freed_memory"]}
            if mode == "training"
            else {}
        ),
    }


@dataclasses.dataclass(frozen=True)
class _Bench:
    """A grid under way in its folder."""

    spec: GridSpec
    options: BenchOptions
    directory: Path
    plugins: Mapping[str, str]

    def request(self, group: Group, mode: Mode) -> dict[str, Any]:
        """The request to harness.timing for a group."""
        spec = self.spec
        request: dict[str, Any] = {
            "schema": SCHEMAS[mode],
            "benchmarks": [dict(each) for each in group.benchmarks],
            "seed": spec.grid.seed,
            "plugins": list(self.options.plugins),
        }
        if mode == "inference":
            own = spec.inference.model_dump(include={"n_calls", "time_budget_s"})
            return request | {"mode": "inference", **own}
        return request | spec.timing.model_dump()

    def key(self, group: Group, mode: Mode) -> str:
        """What a group's answer is kept under."""
        request = self.request(group, mode)
        del request["plugins"]  # their sources count, not where they lie
        return key_of(request, self.plugins)


def _is_missing(group: StoredGroup | None) -> bool:
    """Whether a group is to be measured.

    It never was, or something in it failed, which may have been bad luck.
    """
    return group is None or group.failed


def _plugin_hashes(spec: GridSpec, options: BenchOptions) -> dict[str, str]:
    """The content hashes of the plug-ins that the user named, and of the entry points' modules that the grid uses."""
    used = [(tasks.GROUP, spec.shape.task)]
    used += [(cell_registry.GROUP, cell) for _, block in spec.blocks() for cell in block["cells"]]
    modules = [MODULES[each] for each in used if each in MODULES]
    names = dict.fromkeys([*options.plugins, *modules])
    return {Path(name).name if name.endswith(".py") else name: plugin_hash(name) for name in names}


# ------------------------------------------------------------------------------------- files


def _write(bench: _Bench, stored: Mapping[str, StoredGroup]) -> BenchOutcome:
    """All files of a bench from what is stored of its grid, in either mode and on every device."""
    directory, options = bench.directory, bench.options
    records.write_grid(directory, bench.spec.dump())
    here = {
        name: value
        for name, value in machine.fingerprint(options.devices[-1]).items()
        if name not in OF_A_STUDY
    }
    devices = sorted({group.device for group in stored.values()})
    records.write_machine(directory, {**here, "command": options.command, "devices": devices})
    rows: dict[Mode, Sequence[Mapping[str, Any]]] = {}
    latencies = latencies_of(stored.values())
    for mode, write in WRITERS.items():
        answers = [group.answer for group in _of_this_grid(bench, stored, mode)]
        whole = combine(answers, latencies)
        if answers:
            write(directory, {ORIGIN: whole}, here)
        rows[mode] = whole["results"]
    name = "inference.json" if options.mode == "inference" else "throughput.json"
    return BenchOutcome(directory, directory / name, tuple(rows[options.mode]), _render(directory))


def _of_this_grid(
    bench: _Bench, stored: Mapping[str, StoredGroup], mode: Mode
) -> list[StoredGroup]:
    """What is stored of the grid as it is now, in its order.

    Also of a device that this session does not use.
    """
    devices = dict.fromkeys((*bench.options.devices, *(each.device for each in stored.values())))
    keys = [bench.key(group, mode) for group in plan(bench.spec, tuple(devices), mode)]
    return [stored[key] for key in keys if key in stored]


def combine(
    answers: Sequence[Mapping[str, Any]], latencies: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    """The answers to several requests as one, with the bound that follows from the latencies in every row that lacks it."""
    facts: dict[str, Any] = {}
    for answer in answers:
        found = answer["machine"]
        merged = {
            name: {**facts.get(name, {}), **found[name]}
            for name in ("devices", "variants")
            if isinstance(found.get(name), Mapping)
        }
        facts |= found | merged
    lists = {
        name: [row for answer in answers for row in answer.get(name, ())]
        for name in ("matrix_products", "copies", "latencies", "results")
    }
    return {
        "machine": facts,
        **lists,
        "results": [_bounded(row, latencies) for row in lists["results"]],
    }


def latencies_of(stored: Iterable[StoredGroup]) -> dict[tuple[str, str], float]:
    """Seconds that one time step costs at least, by cell and device.

    Measured once a session, of which the newest counts.
    """
    return {
        (row["cell"], row["device"]): row["latency_bound_s"] / latency_bound_s(1.0, *_depth(row))
        for group in stored
        for row in group.answer["results"]
        if row.get("latency_bound_s") is not None
    }


def _bounded(row: Mapping[str, Any], latencies: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    latency = latencies.get((row["cell"], row["device"]))
    lacks = row.get("measure") == "training_step" and row.get("latency_bound_s") is None
    if latency is None or not lacks or not row.get("step_time_s"):
        return dict(row)
    return {**row, "latency_bound_s": latency_bound_s(latency, *_depth(row))}


def _depth(row: Mapping[str, Any]) -> tuple[int, int, str]:
    """Time steps that follow each other (a task may add some to its length), layers, device."""
    n_steps = row["tokens_per_second"] / row["sequences_per_second"]
    return round(n_steps), row["num_layers"], row["device"]


def _render(directory: Path) -> Path:
    """Draw the report of a bench."""
    from harness.bench.report.bench_report import render_bench

    return render_bench(records.read_bench(directory), directory).html
