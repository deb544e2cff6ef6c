"""Compile the native kernels into this folder: `python -m harness.cells.native.build`.

The package's build does it too (hatch_build.py), so nothing of the package is imported here.
recurrent.c is compiled once for each instruction set and precision; the library holds them all.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
COMPILER_FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast"),
    *("-fno-math-errno", "-fno-trapping-math"),
)
LEVELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "avx512": ("-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"),
        "avx2": ("-mavx2", "-mfma"),
        "baseline": (),
    },
    "aarch64": {"neon": ()},
}
"""Instruction sets of a processor, the best first, with their flags."""
C_TYPES = {"f32": "float", "f64": "double"}
COMPILE_TIMEOUT_S = 300


class CompileError(Exception):
    """The library cannot be built here: no compiler, one that fails, a folder that is read-only."""


def machine() -> str:
    """The processor's family, as LEVELS names it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def levels() -> dict[str, tuple[str, ...]]:
    """The instruction sets that a library for this machine holds."""
    return LEVELS.get(machine(), {"baseline": ()})


def library_path(folder: Path = FOLDER) -> Path:
    """Where the library is, once it is built."""
    return folder / ("libharness.dylib" if sys.platform == "darwin" else "libharness.so")


def source_hash(folder: Path = FOLDER) -> str:
    """A hash of the C sources and of all flags: the library carries it."""
    parts = [repr((COMPILER_FLAGS, LEVELS, C_TYPES)).encode()]
    for path in sorted((*folder.glob("*.c"), *folder.glob("*.h"))):
        parts += [path.name.encode(), path.read_bytes().replace(b"\r\n", b"\n")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def is_built(folder: Path = FOLDER) -> bool:
    """Whether the library of `folder` is there and was built from these sources. Loads nothing."""
    try:
        return source_hash(folder).encode() in library_path(folder).read_bytes()
    except OSError:
        return False


def find_compiler() -> list[str]:
    """The command of a C compiler: $CC, else cc, gcc or clang. Raises CompileError."""
    if named := os.environ.get("CC", "").strip():
        try:
            return shlex.split(named)
        except ValueError as error:
            raise CompileError(f"CC={named} is no command: {error}") from error
    if sys.platform != "win32":
        for name in ("cc", "gcc", "clang"):
            if found := shutil.which(name):
                return [found]
    raise CompileError("no C compiler (GCC or Clang) was found")


def compile_library(folder: Path = FOLDER) -> Path:
    """Compile the sources of `folder` and put the library there in one rename. Raises CompileError.

    It may be called by several processes at once.
    """
    compiler, path = find_compiler(), library_path(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as temporary:
            objects = Path(temporary)
            _run_all([*compiler, *command] for command in compile_commands(folder, objects))
            built = objects / path.name
            names = map(str, sorted(objects.glob("*.o")))
            _run_all([[*compiler, "-shared", "-o", str(built), *names]])
            built.replace(path)
    except OSError as error:
        raise CompileError(f"{path} cannot be written: {error.strerror}") from error
    return path


def compile_commands(folder: Path, objects: Path) -> Iterator[list[str]]:
    """The arguments of the compiler for each object."""
    given = f'-DSOURCE_HASH="{source_hash(folder)}"'
    yield [
        *COMPILER_FLAGS,
        given,
        "-c",
        str(folder / "dispatch.c"),
        "-o",
        str(objects / "dispatch.o"),
    ]
    for level, own in levels().items():
        for precision, real in C_TYPES.items():
            names = [f"-DLEVEL={level}", f"-DLEVEL_{level.upper()}"]
            names += [f"-DDTYPE={precision}", f"-DDTYPE_{precision.upper()}", f"-DREAL={real}"]
            target = str(objects / f"{level}-{precision}.o")
            yield [*COMPILER_FLAGS, *own, *names, "-c", str(folder / "recurrent.c"), "-o", target]


def _run_all(commands: Iterable[list[str]]) -> None:
    """Run all commands at once. Raises CompileError with the first line that says what is wrong."""
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(_start(command))  # noqa: PERF401  # kept where a later one cannot start
        outputs = [process.communicate(timeout=COMPILE_TIMEOUT_S)[0] for process in running]
    except OSError as error:
        raise CompileError(f"the C compiler cannot be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"the C compiler took over {COMPILE_TIMEOUT_S} s") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            lines = output.strip().splitlines() or [f"exit code {process.returncode}"]
            line = next((each for each in lines if "error" in each), lines[0])
            raise CompileError(f"the C compiler failed: {line.strip()}")


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def main(words: Sequence[str]) -> int:
    """Build, and print where the library is or why there is none. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Compile the native kernels.")
    parser.add_argument(
        "--if-needed", action="store_true", help="only if the library does not fit its sources"
    )
    only_if_needed = parser.parse_args(words).if_needed
    try:
        print(library_path() if only_if_needed and is_built() else compile_library())
    except CompileError as error:
        print(f"native kernels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
