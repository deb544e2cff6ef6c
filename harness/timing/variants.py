"""The ways of running a step that are compared: what each changes, and why one can't be had here.

Times nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import shutil
from collections.abc import Mapping
from typing import Literal

import torch

from harness.cells.native.library import native_status
from harness.errors import InputError, nearest
from harness.machine import keeps_memory

Precision = Literal["float32", "tf32", "bfloat16", "float16"]

MOST_COPIES = 1024  # of threads or processes that a name may ask for
MEASURES = ("training_step", "forward_backward", "forward")
"""What is timed: the whole step; the same without clip and optimiser.

The loss alone, with its graph recorded.
"""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to run a step, in a process of its own.

    `n_threads` None is torch's default, as in a script that sets nothing.

    `keep_memory`: what a step frees stays with the process for the next one, where the C library
    can. `precision` is that of the products: `tf32` rounds their inputs, `bfloat16` and `float16`
    are torch's autocast over float32 weights, float16 with a scaled loss. `native`: the compiled
    kernels of the harness in place of torch's module, at any shape. `n_processes` copies run at the
    same time.
    """

    name: str
    n_threads: int | None = 1
    flush_denormals: bool = True
    fused_optimizer: bool = True
    keep_memory: bool = True
    precision: Precision = "float32"
    compiled: bool = False
    cuda_graph: bool = False
    native: bool = False
    n_processes: int = 1

    @property
    def needs_cuda(self) -> bool:
        """Whether only a CUDA device has it."""
        return self.cuda_graph or self.precision in ("tf32", "float16")


FIXED: Mapping[str, Variant] = {
    each.name: each
    for each in (
        Variant(
            "plain",
            n_threads=None,
            flush_denormals=False,
            fused_optimizer=False,
            keep_memory=False,
        ),
        Variant("tuned"),
        Variant("denormals_kept", flush_denormals=False),
        Variant("memory_returned", keep_memory=False),
        Variant("native", native=True),
        Variant("compiled", compiled=True),
        Variant("bfloat16", precision="bfloat16"),
        Variant("float16", precision="float16"),
        Variant("tf32", precision="tf32"),
        Variant("cuda_graph", cuda_graph=True),
    )
}
COUNTED = ("threads", "processes")
"""Variants with a number: `tuned`, but with so many threads, or so many copies at once."""


def parse_variant(name: str, where: str = "variants") -> Variant:
    """The variant of that name; InputError with the nearest name for an unknown one."""
    if name in FIXED:
        return FIXED[name]
    kind, equals, count = name.partition("=")
    if kind not in COUNTED:
        known = [*FIXED, *(f"{each}=2" for each in COUNTED)]
        raise InputError(where, expected="a variant", got=name, remedy=nearest(name, known))
    digits = count.isascii() and count.isdecimal() and len(count) <= len(str(MOST_COPIES))
    if not digits or not 1 <= int(count) <= MOST_COPIES:
        expected = f"{kind}=N with N from 1 to {MOST_COPIES}"
        raise InputError(where, expected=expected, got=name, remedy=f"for example {kind}=2")
    canonical = f"{kind}{equals}{int(count)}"
    if kind == "threads":
        return Variant(canonical, n_threads=int(count))
    return Variant(canonical, n_processes=int(count))


def precision_on(variant: Variant, device: str) -> Precision:
    """The precision of a variant's products on `cpu` or `cuda:I`.

    `plain` has torch's own on CUDA, where cuDNN's recurrent layers use TF32.
    """
    if variant.n_threads is None and device.startswith("cuda"):
        return "tf32"
    return variant.precision


def unavailable(name: str, device: str) -> str:
    """Why a variant can't be had on `cpu` or `cuda:I` here, in a few words; "" where it can."""
    variant = parse_variant(name)
    on_cuda = device.startswith("cuda")
    if variant.needs_cuda and not on_cuda:
        return "needs a CUDA device"
    if name == "memory_returned" and not keeps_memory():
        return "freed memory is returned in every variant: to keep it takes glibc"
    if variant.native:
        return "runs on a CPU" if on_cuda else native_status().why_none
    if variant.compiled:
        return _without_compiler(on_cuda=on_cuda)
    if on_cuda and variant.precision in ("tf32", "bfloat16"):
        major, _ = torch.cuda.get_device_capability(device)
        if major < 8:  # Ampere, the first with either
            return f"the card has no {variant.precision} products"
    return ""


@functools.cache
def _without_compiler(*, on_cuda: bool) -> str:
    if on_cuda:
        missing = importlib.util.find_spec("triton") is None
        return "torch.compile needs triton on CUDA, which is not installed" if missing else ""
    if not any(shutil.which(compiler) for compiler in ("g++", "clang++", "c++", "cl")):
        return "torch.compile needs a C++ compiler, and none was found"
    return ""
