"""What bounds a step on a device.

The rate of a matrix product, that of a copy, and the time of the smallest step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from harness.timing.benchmark_request import Benchmark
from harness.timing.build_steps import AUTOCAST, Subject
from harness.timing.variants import Precision, Variant, parse_variant, precision_on

PRODUCT_SIZE: Mapping[str, int] = {"cpu": 1024, "cuda": 8192}
"""Sides of the square product: about 20 ms each in float32."""
COPY_BYTES: Mapping[str, int] = {"cpu": 256 * 2**20, "cuda": 2**30}
"""More than a processor's last cache holds for one core, and more than a card's."""
ONEDNN = ", oneDNN"  # the end of the name of a product by oneDNN
SMALLEST = {"hidden_size": 8, "num_layers": 1, "batch_size": 1}
"""A step so small that its arithmetic is nothing beside what each time step costs anyway."""
SHORT, LONG = (
    64,
    192,
)  # two lengths: the difference leaves out what a step costs whatever its length


def product(name: str, device: str, precision: Precision) -> Subject:
    """A square matrix product on `device` in that precision: by oneDNN if the name ends so."""
    if name.endswith(ONEDNN):
        return _onednn_product(name, device)
    size, dtype = PRODUCT_SIZE[torch.device(device).type], AUTOCAST.get(precision, torch.float32)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    place = torch.empty(size, size, device=device, dtype=dtype)

    def step() -> object:
        if precision != "tf32":
            return torch.mm(left, right, out=place)
        setting = torch.backends.cuda.matmul
        before, setting.fp32_precision = setting.fp32_precision, "tf32"
        try:
            return torch.mm(left, right, out=place)
        finally:
            setting.fp32_precision = before

    return Subject(name, device, step, lambda: None, 2 * size**3)


def _onednn_product(name: str, device: str) -> Subject:
    """The product in float32 by oneDNN; torch.mm asks another library, which may be slower."""
    size, generator = PRODUCT_SIZE["cpu"], torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to_mkldnn() for _ in range(2))

    def step() -> object:
        return torch.nn.functional.linear(left, right)

    return Subject(name, device, step, lambda: None, 2 * size**3)


def copy(name: str, device: str) -> Subject:
    """A copy of a large tensor on `device`: its bytes are read once and written once."""
    kind = torch.device(device).type
    source = torch.ones(COPY_BYTES[kind] // 4, device=device)
    place = torch.empty_like(source)
    return Subject(
        name,
        device,
        lambda: place.copy_(source),
        lambda: None,
        None,
        num_bytes=2 * COPY_BYTES[kind],
    )


def smallest(benchmark: Benchmark, name: str, length: int) -> Benchmark:
    """The smallest step of the same cell on the same task and device, tuned."""
    return dataclasses.replace(
        benchmark,
        name=name,
        sequence_length=length,
        variant="tuned",
        measure="training_step",
        **SMALLEST,  # type: ignore[arg-type]
    )


def latency_bound_s(latency_s: float, n_steps: int, num_layers: int, device: str) -> float:
    """Seconds that the time steps take which must follow each other, as torch runs them here.

    A card may work on a layer while the next is a step behind: (T + L - 1) latencies. A CPU runs
    the layers one after the other: T L of them.
    """
    if device.startswith("cuda"):
        return (n_steps + num_layers - 1) * latency_s
    return n_steps * num_layers * latency_s


def product_names(benchmark: Benchmark) -> tuple[str, ...]:
    """The matrix products that a benchmark is compared with; the fastest is its limit.

    Benchmarks with equal threads and precision share them. On a CPU in float32 there are two.
    """
    variant = parse_variant(benchmark.variant)
    precision = precision_on(variant, benchmark.device)
    name = f"matrix product, {_threads(variant)}, {precision}, {benchmark.device}"
    has_two = benchmark.device == "cpu" and precision == "float32"
    return (name, name + ONEDNN) if has_two and torch.backends.mkldnn.is_available() else (name,)


def copy_name(benchmark: Benchmark) -> str:
    """The copy that a benchmark is held against."""
    return f"copy, {_threads(parse_variant(benchmark.variant))}, {benchmark.device}"


def latency_name(benchmark: Benchmark, length: int) -> str:
    """The smallest step of a benchmark's cell and task at that length."""
    return f"latency, {benchmark.task}/{benchmark.cell}/{benchmark.initialization}, length {length}, {benchmark.device}"


def _threads(variant: Variant) -> str:
    return "default threads" if variant.n_threads is None else f"threads {variant.n_threads}"
