"""The C sources alone: sanitizers, accuracy of the functions, and another processor's vectors."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cells.native import build
from tests.cells.native.here import LEVELS, NEEDS_KERNELS

HERE = Path(__file__).parent
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_driver(compiler: Sequence[str], level: str, flags: Sequence[str], folder: Path) -> Path:
    """driver.c with the kernels of a level in both precisions."""
    named = next(known[level] for known in build.LEVELS.values() if level in known)
    objects = []
    for precision, real in build.C_TYPES.items():
        target = folder / f"{precision}.o"
        names = [f"-D{each}" for each in (f"LEVEL={level}", f"LEVEL_{level.upper()}")]
        names += [f"-DDTYPE={precision}", f"-DDTYPE_{precision.upper()}", f"-DREAL={real}"]
        source = str(build.FOLDER / "recurrent.c")
        command = [
            *compiler,
            *build.COMPILER_FLAGS,
            *named,
            *flags,
            *names,
            "-c",
            source,
            "-o",
            str(target),
        ]
        subprocess.run(command, check=True)
        objects.append(str(target))
    driver = folder / "driver"
    warnings = ("-Wall", "-Wextra", "-Werror")
    names = [f"-DLEVEL={level}", f"-I{build.FOLDER}"]
    source = str(HERE / "driver.c")
    command = [*compiler, *flags, *warnings, *names, source, *objects, "-lm", "-o", str(driver)]
    subprocess.run(command, check=True)
    return driver


@NEEDS_KERNELS
@pytest.mark.parametrize("level", LEVELS)
def test_under_sanitizers(level: str, tmp_path: Path) -> None:
    """No access out of bounds and nothing undefined; the numbers are those of plain loops."""
    driver = compile_driver(build.find_compiler(), level, SANITIZERS, tmp_path)
    done = subprocess.run([str(driver)], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@NEEDS_KERNELS
@pytest.mark.parametrize(("level", "precision"), list(itertools.product(LEVELS, build.C_TYPES)))
def test_accuracy_of_tanh_and_sigmoid(level: str, precision: str, tmp_path: Path) -> None:
    """Within 2.5 units in the last place, as vector.h says."""
    names = [f"-DLEVEL_{level.upper()}", f"-DDTYPE_{precision.upper()}"]
    names += [f"-DREAL={build.C_TYPES[precision]}", f"-I{build.FOLDER}"]
    flags = [*build.COMPILER_FLAGS, *build.levels()[level], *names]
    program = str(tmp_path / "accuracy")
    command = [*build.find_compiler(), *flags, str(HERE / "accuracy.c"), "-lm", "-o", program]
    subprocess.run(command, check=True)
    shown = subprocess.run([program], text=True, capture_output=True, check=True).stdout
    assert all(0.5 <= float(worst) <= 2.5 for worst in shown.split())


@pytest.mark.nightly
def test_neon_on_an_emulated_processor(tmp_path: Path) -> None:
    """The kernels for NEON give the numbers of plain loops (gcc-aarch64-linux-gnu, qemu-user)."""
    driver = compile_driver(["aarch64-linux-gnu-gcc"], "neon", ["-static"], tmp_path)
    done = subprocess.run(
        ["qemu-aarch64", str(driver)], text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
