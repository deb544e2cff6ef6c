"""From what a session measured to the answer as JSON takes it.

Raw times, and what follows from them. Times nothing.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from harness.machine import cpu_model, describe_device, num_cores
from harness.timing.benchmark_request import SCHEMA, Benchmark, TimingRequest
from harness.timing.benchmark_session import Measured, Timed, same_gradients
from harness.timing.clocks import BlockTime, median_of
from harness.timing.hardware_limits import (
    LONG,
    SHORT,
    copy_name,
    latency_bound_s,
    latency_name,
    product_name,
)
from harness.timing.memory import PeakMemory
from harness.timing.variants import parse_variant


def answer_of(request: TimingRequest, measured: Measured, wall_time_s: float) -> dict[str, Any]:
    """The answer to a request, a row for each of its benchmarks in their order."""
    limits = Limits(measured)
    timed = {each.name for each in measured.timed}
    plain = {
        _same_work(each): [block.step_time_s for block in measured.blocks[each.name]]
        for each in request.benchmarks
        if each.variant == "plain" and each.name in timed
    }
    return {
        "schema": SCHEMA,
        "machine": machine_facts({each.device for each in request.benchmarks})
        | {"variants": measured.settings},
        **limits.answer(),
        "results": [_row(each, measured, limits, plain) for each in request.benchmarks],
        "wall_time_s": wall_time_s,
    }


def machine_facts(devices: Iterable[str]) -> dict[str, Any]:
    """What decides speed here, and can be told where only torch is installed."""
    return {
        "cpu": cpu_model(),
        "cores": num_cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "devices": {device: describe_device(device) for device in sorted(devices)},
        "regime": "weights of the initialisation at the start of each block",
    }


class Limits:
    """What bounds steps here, as measured between them."""

    def __init__(self, measured: Measured) -> None:
        self._facts = {each.name: each.facts for each in measured.limits}
        self._times = {
            each.name: times_of(each, measured.blocks[each.name]) for each in measured.limits
        }

    def peak(self, benchmark: Benchmark, copies: int) -> float | None:
        """GFLOP/s of the matrix product at the benchmark's threads and precision.

        Of so many copies of it.
        """
        name = product_name(benchmark)
        if name not in self._times:
            return None
        at_once = _at_once(benchmark, copies)
        return _rate(self._facts[name]["flops"], self._times[name]["step_time_s"], at_once)

    def bandwidth(self, benchmark: Benchmark, copies: int) -> float | None:
        """Bytes per second of a copy at the benchmark's threads.

        Of so many at once, were they not to share memory.
        """
        name = copy_name(benchmark)
        if name not in self._times:
            return None
        at_once = _at_once(benchmark, copies)
        return float(at_once * self._facts[name]["num_bytes"] / self._times[name]["step_time_s"])

    def latency_bound_s(self, benchmark: Benchmark, n_steps: int) -> float | None:
        """Seconds that the time steps of a training step take at least.

        None for other measures, or if not asked for.
        """
        pair = [latency_name(benchmark, length) for length in (SHORT, LONG)]
        if benchmark.measure != "training_step" or not all(name in self._times for name in pair):
            return None
        steps = [self._facts[name]["num_tokens"] for name in pair]  # a batch of one sequence
        times = [self._times[name]["step_time_s"] for name in pair]
        latency_s = max((times[1] - times[0]) / (steps[1] - steps[0]), 0.0)
        return latency_bound_s(latency_s, n_steps, benchmark.num_layers, benchmark.device)

    def answer(self) -> dict[str, Any]:
        """As the answer holds them: raw times and the rates that follow."""
        rows: dict[str, list[dict[str, Any]]] = {"matrix product": [], "copy": [], "latency": []}
        for name, times in self._times.items():
            facts = self._facts[name]
            kind = next(kind for kind in rows if name.startswith(kind))
            rate = {
                "gflops_per_second": _rate(facts.get("flops"), times["step_time_s"], 1),
                "bytes_per_second": (facts.get("num_bytes") or 0) / times["step_time_s"] or None,
            }
            rows[kind].append({"name": name, **times, **(rate if kind != "latency" else {})})
        return {
            "matrix_products": rows["matrix product"],
            "copies": rows["copy"],
            "latencies": rows["latency"],
        }


def _row(
    benchmark: Benchmark, measured: Measured, limits: Limits, plain: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """One row of the answer: the benchmark, its numbers if it was timed, and why if it was not."""
    name = benchmark.name
    row = benchmark.to_dict()
    row |= _memory_result(measured.memory.get(name))
    row |= {"unavailable": measured.missing.get(name, ""), "error": measured.failures.get(name)}
    timed = next((each for each in measured.timed if each.name == name), None)
    if timed is None:
        return row
    own, facts = times_of(timed, measured.blocks[name]), timed.facts
    copies, time_s = parse_variant(benchmark.variant).n_processes, own["step_time_s"]
    gflops = _rate(facts["flops"], time_s, copies)
    peak = limits.peak(benchmark, copies)
    reference = measured.references.get(same_gradients(benchmark), {})
    has_gradient = benchmark.measure != "forward"
    base = plain.get(_same_work(benchmark))
    return row | {
        "device_name": describe_device(benchmark.device),
        "num_parameters": facts["num_parameters"],
        "n_processes": copies,
        "n_threads": measured.settings[benchmark.variant]["n_threads"],
        "flops_per_step": facts["flops"],
        "bytes_per_step": facts["num_bytes"],
        **own,
        "sequences_per_second": copies * facts["num_sequences"] / time_s,
        "tokens_per_second": copies * facts["num_tokens"] / time_s,
        "gflops_per_second": gflops,
        "peak_gflops_per_second": peak,
        "fraction_of_peak": None if gflops is None or peak is None else gflops / peak,
        "copy_bytes_per_second": limits.bandwidth(benchmark, copies),
        "latency_bound_s": limits.latency_bound_s(
            benchmark, facts["num_tokens"] // facts["num_sequences"]
        ),
        **_speedup(base, own["step_times_s"], copies),
        "loss_error": facts.get("loss_error"),
        "gradient_error": facts.get("gradient_error"),
        "reference": reference.get("precision"),
        "denormal_fraction": reference.get("denormal_fraction") if has_gradient else None,
        "zero_fraction": reference.get("zero_fraction") if has_gradient else None,
        "compile_time_s": facts["compile_time_s"],
        "graph_breaks": facts["graph_breaks"],
    }


def _same_work(benchmark: Benchmark) -> str:
    """What benchmarks have in common that differ in their variant alone."""
    plain = benchmark.to_dict()
    return json.dumps({k: v for k, v in plain.items() if k not in ("name", "variant")}, default=str)


def times_of(timed: Timed, blocks: Sequence[BlockTime]) -> dict[str, Any]:
    """Raw times of the blocks, their median and its interval."""
    median = median_of([block.step_time_s for block in blocks])
    return {
        "n_blocks": median.n,
        "n_steps_per_block": timed.warm_up.n_steps,
        "steady": timed.warm_up.steady,
        "step_times_s": [block.step_time_s for block in blocks],
        "wall_times_s": [block.wall_time_s for block in blocks],
        "warm_up_times_s": [block.step_time_s for block in timed.warm_up.blocks],
        "step_time_s": median.value,
        "step_time_low_s": median.low,
        "step_time_high_s": median.high,
        "interval_level": median.level,
        "host_time_s": median_of([block.wall_time_s for block in blocks]).value,
    }


def _speedup(base: Sequence[float] | None, own: Sequence[float], copies: int) -> dict[str, Any]:
    """Sequences per second over those of `plain`, as ratios of the blocks of the same round."""
    if base is None:
        return {"speedup": None, "speedup_low": None, "speedup_high": None}
    median = median_of([copies * a / b for a, b in zip(base, own, strict=True)])
    return {"speedup": median.value, "speedup_low": median.low, "speedup_high": median.high}


def _at_once(benchmark: Benchmark, copies: int) -> int:
    """How many copies have a core of their own; all share one card."""
    return 1 if benchmark.device.startswith("cuda") else min(copies, num_cores())


def _rate(flops: int | None, time_s: float, copies: int) -> float | None:
    return None if flops is None else copies * flops / time_s / 1e9


def _memory_result(memory: PeakMemory | None) -> dict[str, Any]:
    if memory is None:
        return {"peak_memory_bytes": None, "memory_before_bytes": None, "memory_kind": None}
    return {
        "peak_memory_bytes": memory.peak_bytes,
        "memory_before_bytes": memory.before_bytes,
        "memory_kind": memory.kind,
    }
