"""The wheel: built by the hook, installed into a fresh environment, run at every level."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from harness.cells.native import build
from tests.cells.native.here import LEVELS, NEEDS_KERNELS

ROOT = Path(__file__).parents[3]
PROGRAM = """
import harness.study.search  # of the wheel, not of the clone
from harness.cells.fast_recurrence import describe_recurrence
from harness.training.model import ModelConfig
from harness.training.training_loop import Training, TrainingConfig

model = ModelConfig("adding", "gru", hidden_size=16, num_layers=1, sequence_length=10)
config = TrainingConfig(model, 0.01, seed=1, sequences=3200, evaluate_every=1600)
losses = [each.loss for each in Training(config).evaluations()]
print(harness.__file__, describe_recurrence("cpu"), losses[-1] < losses[0], sep="|")
"""


def build_wheel(folder: Path, **environment: str) -> Path:
    """The wheel of this clone, by its build hook. The clone's own library stays."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel, and the dependencies of this one; returns its python."""
    venv.create(folder, with_pip=False)
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    with zipfile.ZipFile(wheel) as files:
        files.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Path(sysconfig.get_path("scripts", "venv", scheme)) / "python"


def run(python: Path, level: str, folder: Path) -> list[str]:
    """Train a little with the package that `python` finds; what it prints, part by part."""
    done = subprocess.run(
        [str(python), "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "HARNESS_NATIVE": level, "PYTHONPATH": ""},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@NEEDS_KERNELS
@pytest.mark.timeout(600)
def test_the_wheel_runs_at_every_level(tmp_path: Path) -> None:
    """Also without the kernels; its library needs nothing newer than glibc 2.28."""
    wheel = build_wheel(tmp_path)
    assert wheel.stem.split("-")[2:4] == ["py3", "none"]
    python = install(wheel, tmp_path / "fresh")
    for level in LEVELS:
        place, recurrence, learns = run(python, level, tmp_path)
        assert Path(place).is_relative_to(tmp_path)
        assert recurrence == f"native kernels ({level}), else torch"
        assert learns == "True"
    assert "no native kernels: HARNESS_NATIVE=0" in run(python, "0", tmp_path)[1]
    if sys.platform == "linux":
        audit = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
        shown = subprocess.run(audit, text=True, capture_output=True, check=True).stdout
        tags = [word.strip("\".,'") for word in shown.split() if "manylinux_2_" in word]
        assert tags
        assert all(int(tag.split("_")[2]) <= 28 for tag in tags), shown


@pytest.mark.timeout(600)
def test_the_wheel_without_a_compiler(tmp_path: Path) -> None:
    """It is built for any machine, holds no library, and trains."""
    wheel = build_wheel(tmp_path, CC="false")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert build.library_path().name not in " ".join(zipfile.ZipFile(wheel).namelist())
    _, recurrence, learns = run(install(wheel, tmp_path / "fresh"), "", tmp_path)
    assert "no native kernels: no library was built" in recurrence
    assert learns == "True"


def test_the_source_distribution_compiles_too(tmp_path: Path) -> None:
    """It has the C sources and what compiles them, and no library of this machine."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    sources = {*build.FOLDER.glob("*.[ch]"), build.FOLDER / "build.py", ROOT / "hatch_build.py"}
    assert {path.relative_to(ROOT).as_posix() for path in sources} <= names
    assert not [name for name in names if "libharness" in name]
