"""A bench: the groups of a grid, measured one after the other, then written as tables and a report.

Each group is in groups.jsonl before the next one begins; a bench that is run again resumes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from harness import cells as cell_registry
from harness import machine, records, tasks, timing
from harness.bench.measured_groups_file import (
    GROUPS_FILE,
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
from harness.records.results_folder import (
    check_folder,
    make_folder,
    name_unwritable_file,
    putting_aside,
)
from harness.timing.benchmark_request import TRAINING_SCHEMA, Benchmark, TimingRequest
from harness.timing.benchmark_session import ProgressCallback
from harness.timing.client import ask
from harness.timing.hardware_limits import latency_bound_s
from harness.timing.inference_request import (
    INFERENCE_SCHEMA,
    InferenceBenchmark,
    InferenceRequest,
)
from harness.timing.timing_results import (
    Answer,
    BenchmarkResult,
    InferenceAnswer,
    InferenceResult,
    MachineFacts,
    TrainingAnswer,
)

Mode = Literal["training", "inference"]
Request = TimingRequest | InferenceRequest
SCHEMAS: Mapping[Mode, int] = {"training": TRAINING_SCHEMA, "inference": INFERENCE_SCHEMA}
ORIGIN = "bench"
OF_A_STUDY = frozenset(("threads_per_worker", "denormals", "evaluation", "freed_memory"))
"""The parts of a fingerprint that are about a study's trials; in a bench they differ by variant."""


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """The command line's options. `devices` are resolved; the report shows `command`."""

    results: Path
    devices: tuple[str, ...] = ("cpu",)
    mode: Mode = "training"
    plugins: tuple[str, ...] = ()
    fresh: bool = False
    command: str = ""
    where: str = "grid file"


@dataclasses.dataclass(frozen=True)
class BenchOutcome:
    """A finished bench: its folder, the results of its mode, and the path of its report."""

    directory: Path
    json_path: Path
    results: tuple[BenchmarkResult, ...] | tuple[InferenceResult, ...]
    report: Path

    @property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """The (cell, device) of which no benchmark was timed."""
        timed: dict[tuple[str, str], bool] = {}
        for each in self.results:
            pair = (each.benchmark.cell, each.benchmark.device)
            timed[pair] = timed.get(pair, False) or each.timed is not None
        return tuple(pair for pair, has_times in timed.items() if not has_times)


class BenchObserver(Protocol):
    """Is told the progress of a bench."""

    def begin(self, groups: Sequence[Group], kept: int) -> None:
        """The groups to measure, and how many an earlier session has measured."""
        ...

    def step(self, group: Group, text: str) -> None:
        """What begins within a group."""
        ...

    def finished(self, group: Group, answer: Answer) -> None:
        """A group has been measured and is on the disk."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


class Engine(Protocol):
    """What measures: from a request to its answer."""

    def measure(self, request: Request, progress: ProgressCallback) -> Answer:
        """Time the benchmarks of the request."""
        ...


class TimingEngine:
    """harness.timing: training in live workers, inference in one process for each group."""

    def __init__(self, workers: timing.WorkerPool) -> None:
        self._workers = workers

    def measure(self, request: Request, progress: ProgressCallback) -> Answer:
        """Time the benchmarks of the request; inference takes as long as its calls take."""
        if isinstance(request, InferenceRequest):
            progress("calls")
            return ask(request, timeout_s=None)
        return timing.measure_throughput(request, self._workers, progress)


@contextlib.contextmanager
def timing_engine(plugins: Sequence[str]) -> Iterator[Engine]:
    """The engine of a session; its workers end with it."""
    with timing.WorkerPool(tuple(plugins)) as workers:
        yield TimingEngine(workers)


def resolve_devices(names: Sequence[str], mode: Mode) -> tuple[str, ...]:
    """The devices to measure on; `auto` is the CPU, and the first CUDA device if there is one.

    Raises InputError for a missing device, and in inference mode for any but the CPU.
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


def plan_groups(spec: GridSpec, devices: Sequence[str], mode: Mode) -> tuple[Group, ...]:
    """The groups of a grid, device after device."""
    if mode == "inference":
        return inference_groups(spec, CELLS)
    return tuple(group for device in devices for group in training_groups(spec, CELLS, device))


def check_bench(spec: GridSpec, options: BenchOptions) -> tuple[Group, ...]:
    """The groups to measure; InputError for an unknown variant or too large a step."""
    for _, block in spec.blocks():
        for name in block["variants"]:
            timing.parse_variant(name, options.where)
    groups = plan_groups(spec, options.devices, options.mode)
    check_memory(groups, options.mode, options.where)
    return groups


def unavailable_variants(groups: Sequence[Group]) -> dict[str, str]:
    """The variants that can't be had on this machine: "<variant> on <device>" to the reason."""
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
    observer: BenchObserver,
    engine: Engine | None = None,
) -> BenchOutcome:
    """Measure every group that has not been measured, then write the tables and the report.

    Raises, before anything is timed, InputError for what can't be measured and IdentityError where
    the folder holds results of another machine; FileError where a disk is full. KeyboardInterrupt
    passes through; every finished group is saved.
    """
    groups = check_bench(spec, options)
    directory = options.results / spec.grid.name
    check_folder(directory, "bench", "study", "spec.toml")
    identities = {device: identity_of(device, options.mode) for device in options.devices}
    with contextlib.ExitStack() as held:
        held.enter_context(name_unwritable_file())
        if options.fresh:
            with putting_aside(directory, GROUPS_FILE):
                pass  # refuses where another bench is writing
        make_folder(directory)
        held.enter_context(hold_file(directory / GROUPS_FILE))
        stored = read_groups(directory)
        of_mode = [group for group in stored.values() if group.mode == options.mode]
        check_identity(of_mode, identities, str(directory))
        bench = _Bench(spec, options, directory, _plugin_hashes(spec, options))
        left = [
            group for group in groups if _is_missing(stored.get(bench.key(group, options.mode)))
        ]
        observer.begin(left, len(groups) - len(left))
        if left and engine is None:
            engine = held.enter_context(timing_engine(options.plugins))
        known: set[tuple[str, str]] = set()
        for group in left:
            assert engine is not None
            request = bench.request(group, options.mode)
            if isinstance(request, TimingRequest):  # limits are measured once in a session
                pairs = {(each.cell, group.device) for each in request.benchmarks}
                request = dataclasses.replace(request, limits=bool(pairs - known))
                known |= pairs
            answer = engine.measure(request, functools.partial(observer.step, group))
            key, identity = bench.key(group, options.mode), identities[group.device]
            line = StoredGroup(key, options.mode, group.label, group.device, identity, answer)
            append_group(directory, line)
            observer.finished(group, answer)
        return _write(bench, read_groups(directory))


def identity_of(device: str, mode: Mode) -> dict[str, Any]:
    """What two numbers of one table must have in common: machine, device and versions.

    In training also torch's default number of threads, with which `plain` runs (environment
    variables change it), and whether the other variants keep freed memory.
    """
    facts = machine.fingerprint(device)
    names = ("cpu", "cores", "cpu_capability", "system", "python", "device_name")
    cudnn = torch.backends.cudnn.version() if device.startswith("cuda") else None
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
    """A grid that is being measured into its folder; `plugins` are their content hashes."""

    spec: GridSpec
    options: BenchOptions
    directory: Path
    plugins: Mapping[str, str]

    def request(self, group: Group, mode: Mode) -> Request:
        """The request to harness.timing for a group."""
        seed, plugins = self.spec.grid.seed, self.options.plugins
        if mode == "inference":
            calls = tuple(InferenceBenchmark(**each) for each in group.benchmarks)
            own = self.spec.inference.model_dump(include={"n_calls", "time_budget_s"})
            return InferenceRequest(calls, **own, seed=seed, plugins=plugins)
        steps = tuple(Benchmark(**each) for each in group.benchmarks)
        return TimingRequest(steps, **self.spec.timing.model_dump(), seed=seed, plugins=plugins)

    def key(self, group: Group, mode: Mode) -> str:
        """What a group's answer is stored under."""
        request = self.request(group, mode).to_dict()
        del request["plugins"]  # their content counts, not their path
        return key_of(request, self.plugins)


def _is_missing(group: StoredGroup | None) -> bool:
    """Whether a group is to be measured.

    It never was, or something in it failed, which may have been bad luck.
    """
    return group is None or group.failed


def _plugin_hashes(spec: GridSpec, options: BenchOptions) -> dict[str, str]:
    """The content hashes of the named plug-ins, and of the entry points that the grid uses."""
    used = [(tasks.TASK_ENTRY_POINTS, spec.shape.task)]
    used += [
        (cell_registry.CELL_ENTRY_POINTS, cell)
        for _, block in spec.blocks()
        for cell in block["cells"]
    ]
    modules = [MODULES[each] for each in used if each in MODULES]
    names = dict.fromkeys([*options.plugins, *modules])
    return {Path(name).name if name.endswith(".py") else name: plugin_hash(name) for name in names}


# ------------------------------------------------------------------------------------- files


def _write(bench: _Bench, stored: Mapping[str, StoredGroup]) -> BenchOutcome:
    """Write all files of a bench: both modes, every device that has been measured."""
    directory, options = bench.directory, bench.options
    records.write_grid(directory, bench.spec.dump())
    here = {
        name: value
        for name, value in machine.fingerprint(options.devices[-1]).items()
        if name not in OF_A_STUDY
    }
    devices = sorted({group.device for group in stored.values()})
    records.write_machine(directory, {**here, "command": options.command, "devices": devices})
    steps = [
        each for each in _answers(bench, stored, "training") if isinstance(each, TrainingAnswer)
    ]
    calls = [
        each for each in _answers(bench, stored, "inference") if isinstance(each, InferenceAnswer)
    ]
    latencies = latencies_of(group.answer for group in stored.values())
    training, inference = combine_training(steps, latencies), combine_inference(calls)
    if training is not None:
        records.write_throughput(directory, {ORIGIN: training}, here)
    if inference is not None:
        records.write_inference(directory, {ORIGIN: inference}, here)
    answer = inference if options.mode == "inference" else training
    name = "inference.json" if options.mode == "inference" else "throughput.json"
    results = () if answer is None else answer.results
    return BenchOutcome(directory, directory / name, results, _render(directory))


def _answers(bench: _Bench, stored: Mapping[str, StoredGroup], mode: Mode) -> list[Answer]:
    """The answers to the groups of the grid as it is now, in its order.

    Also those of a device that this session does not use.
    """
    devices = dict.fromkeys((*bench.options.devices, *(each.device for each in stored.values())))
    keys = [bench.key(group, mode) for group in plan_groups(bench.spec, tuple(devices), mode)]
    return [stored[key].answer for key in keys if key in stored]


def combine_training(
    answers: Sequence[TrainingAnswer], latencies: Mapping[tuple[str, str], float]
) -> TrainingAnswer | None:
    """Several answers as one; every training step has the bound that follows from `latencies`."""
    if not answers:
        return None
    return TrainingAnswer(
        _merged(answers),
        tuple(_bounded(result, latencies) for each in answers for result in each.results),
        tuple(row for each in answers for row in each.matrix_products),
        tuple(row for each in answers for row in each.copies),
        tuple(row for each in answers for row in each.latencies),
        sum(each.wall_time_s for each in answers),
    )


def combine_inference(answers: Sequence[InferenceAnswer]) -> InferenceAnswer | None:
    """Several answers as one."""
    if not answers:
        return None
    results = tuple(result for each in answers for result in each.results)
    return InferenceAnswer(_merged(answers), results, sum(each.wall_time_s for each in answers))


def latencies_of(answers: Iterable[Answer]) -> dict[tuple[str, str], float]:
    """Seconds that one time step costs at least, by (cell, device).

    It is measured once in a session; the newest counts.
    """
    return {
        (result.benchmark.cell, result.benchmark.device): result.timed.latency_s
        for answer in answers
        if isinstance(answer, TrainingAnswer)
        for result in answer.results
        if result.timed is not None and result.timed.latency_s is not None
    }


def _merged(answers: Sequence[Answer]) -> MachineFacts:
    return functools.reduce(MachineFacts.merged_with, (each.machine for each in answers))


def _bounded(
    result: BenchmarkResult, latencies: Mapping[tuple[str, str], float]
) -> BenchmarkResult:
    """The result with a latency bound, where it is a training step that lacks one."""
    benchmark, timed = result.benchmark, result.timed
    latency_s = latencies.get((benchmark.cell, benchmark.device))
    if latency_s is None or timed is None or timed.latency_bound_s is not None:
        return result
    if benchmark.measure != "training_step":
        return result
    bound_s = latency_bound_s(latency_s, timed.n_time_steps, benchmark.num_layers, benchmark.device)
    return dataclasses.replace(
        result, timed=dataclasses.replace(timed, latency_s=latency_s, latency_bound_s=bound_s)
    )


def _render(directory: Path) -> Path:
    """Draw the report of a bench."""
    from harness.bench.report.bench_report import render_bench

    return render_bench(records.read_bench(directory), directory).html
