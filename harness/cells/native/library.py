"""The compiled kernels of this machine: finds and loads the library. Never compiles it.

A library that was built from other sources than those beside it is not loaded. Without a library
all else works: the recurrences of fast_recurrence.py and torch's modules take its place.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
from typing import Any, Literal

from harness.cells.native import build
from harness.cells.native.faster_shapes import measured_levels
from harness.errors import InputError

ENVIRONMENT = "HARNESS_NATIVE"
NONE = "0"
REBUILD = "python -m harness.cells.native.build"
DtypeName = Literal["f32", "f64"]

POINTER = ctypes.c_void_p
ARGUMENTS: dict[str, list[Any]] = {
    "lanes": [],
    "workspace": [POINTER],
    "to_rows": [POINTER, POINTER, POINTER, ctypes.c_int32],
    "to_sequences": [POINTER] * 3,
    **{f"{cell}_forward": [POINTER] * 10 for cell in ("rnn", "gru", "lstm")},
    **{f"{cell}_backward": [POINTER] * 8 for cell in ("rnn", "gru", "lstm")},
}
"""The functions of recurrent.c. A pointer is an address or None."""


@dataclasses.dataclass(frozen=True)
class NativeLibrary:
    """The library, with the instruction set that is used."""

    level: str

    def function(self, name: str, precision: DtypeName) -> Any:
        """The function `harness_<name>_<precision>_<level>`."""
        return _function(name, precision, self.level)


@functools.cache
def _function(name: str, precision: DtypeName, level: str) -> Any:
    function = getattr(_load(), f"harness_{name}_{precision}_{level}")
    function.argtypes = ARGUMENTS[name]
    function.restype = ctypes.c_int64 if name in ("lanes", "workspace") else None
    return function


@dataclasses.dataclass(frozen=True)
class NativeStatus:
    """Which instruction set is used, or why none is: one of the two is empty."""

    level: str
    why_none: str

    def __str__(self) -> str:
        return self.level or f"none: {self.why_none}"


def native_library() -> NativeLibrary | None:
    """The library for this processor; None where there is none or $HARNESS_NATIVE is 0.

    Raises InputError if $HARNESS_NATIVE names what this processor does not have.
    """
    level = native_status().level
    return NativeLibrary(level) if level else None


def native_status() -> NativeStatus:
    """Which instruction set the kernels use here. Raises InputError as `native_library`."""
    return _status(os.environ.get(ENVIRONMENT, ""))


@functools.cache
def _status(choice: str) -> NativeStatus:
    if choice == NONE:
        return NativeStatus("", f"{ENVIRONMENT}={NONE}")
    names = {name for names in build.LEVELS.values() for name in names}
    if choice and choice not in names:
        raise InputError(
            ENVIRONMENT, expected=f"0 or one of {', '.join(sorted(names))}", got=choice
        )
    if why_none := _why_unusable():
        return NativeStatus("", why_none)
    supported = supported_levels()
    if choice and choice not in supported:
        expected = f"an instruction set of this processor: {', '.join(supported)}"
        raise InputError(ENVIRONMENT, expected=expected, got=choice)
    timed = [name for name in supported if name in measured_levels()]
    if not choice and not timed:
        return NativeStatus("", f"the kernels for {supported[0]} were never timed")
    return NativeStatus(choice or timed[0], "")


def supported_levels() -> tuple[str, ...]:
    """The instruction sets of this processor that the library holds, the best first."""
    if _why_unusable():
        return ()
    return tuple(name for name in build.levels() if _load().harness_supports(name.encode()))


def _why_unusable() -> str:
    """Why the library cannot be used, without the folders of this machine; empty if it can."""
    path = build.library_path()
    if not path.is_file():
        return f"no library was built; with a C compiler: {REBUILD}"
    try:
        found = ctypes.c_char_p(_load().harness_source_hash()).value
    except (OSError, AttributeError) as error:
        reason = str(error).replace(str(path), path.name)
        return f"the library cannot be loaded ({reason}); build it: {REBUILD}"
    if (found or b"").decode(errors="replace") != build.source_hash():
        return f"the library was built from other sources; build it: {REBUILD}"
    return ""


@functools.cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build.library_path()))
    library.harness_source_hash.restype = ctypes.c_void_p
    return library
