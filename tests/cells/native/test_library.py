"""harness.cells.native.library and build: which library is loaded, and why none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cells.native import build, library
from harness.cells.native.library import (
    NativeStatus,
    native_library,
    native_status,
    supported_levels,
)
from harness.errors import InputError
from tests.cells.native.here import LEVELS, NEEDS_KERNELS

LIBRARY, SOURCE_HASH = build.library_path(), build.source_hash


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the C sources and no library, in place of the package's."""
    for path in (*build.FOLDER.glob("*.c"), *build.FOLDER.glob("*.h")):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(build, "library_path", lambda folder=tmp_path: folder / LIBRARY.name)
    monkeypatch.setattr(build, "source_hash", lambda folder=tmp_path: SOURCE_HASH(folder))
    for cached in (library._status, library._load, library._function):
        cached.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for cached in (library._status, library._load, library._function):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("avx3", "HARNESS_NATIVE: expected 0 or one of avx2, avx512, baseline, neon, got 'avx3'"),
        (" ", "HARNESS_NATIVE: expected 0 or one of"),
        pytest.param(
            "neon" if build.machine() == "x86_64" else "avx2",
            "HARNESS_NATIVE: expected an instruction set of this processor: ",
            marks=NEEDS_KERNELS,
        ),
    ],
)
def test_a_wrong_choice(monkeypatch: pytest.MonkeyPatch, choice: str, message: str) -> None:
    """A name that is none, or is not of this processor, is bad input."""
    monkeypatch.setenv("HARNESS_NATIVE", choice)
    with pytest.raises(InputError, match=message):
        native_status()


def test_none_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """HARNESS_NATIVE=0 leaves everything to torch and the loops."""
    monkeypatch.setenv("HARNESS_NATIVE", "0")
    assert native_status() == NativeStatus("", "HARNESS_NATIVE=0")
    assert native_library() is None


@NEEDS_KERNELS
@pytest.mark.parametrize("level", LEVELS)
def test_each_level_of_this_processor_can_be_chosen(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """From the best one of the processor downwards."""
    monkeypatch.setenv("HARNESS_NATIVE", level)
    assert str(native_status()) == level


@NEEDS_KERNELS
def test_instructions_that_were_never_timed(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are used only if they are chosen: without the library the loops are fast."""
    shutil.copy(LIBRARY, sources)
    monkeypatch.delenv("HARNESS_NATIVE", raising=False)
    *better, last = supported_levels()
    monkeypatch.setattr(library, "measured_levels", lambda: {last})
    assert native_status() == NativeStatus(last, "")
    library._status.cache_clear()
    monkeypatch.setattr(library, "measured_levels", set)
    assert native_status() == NativeStatus(
        "", f"the kernels for {[*better, last][0]} were never timed"
    )
    monkeypatch.setenv("HARNESS_NATIVE", last)
    assert native_status() == NativeStatus(last, "")


def test_no_library(sources: Path) -> None:
    """The reason names the command that builds it."""
    assert "no library was built" in str(native_status())
    assert "python -m harness.cells.native.build" in str(native_status())


@NEEDS_KERNELS
def test_a_library_of_other_sources_is_not_loaded(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an edit of a source the library is refused until it is built again."""
    monkeypatch.setenv("HARNESS_NATIVE", LEVELS[0])
    shutil.copy(LIBRARY, sources)
    assert build.is_built(sources)
    assert native_status().level
    with (sources / "recurrent.c").open("a") as file:
        file.write("/* edited */\n")
    library._status.cache_clear()
    assert "built from other sources" in native_status().why_none
    assert not build.is_built(sources)


def test_what_is_no_library_is_not_loaded(sources: Path) -> None:
    """A file that cannot be loaded is a reason, not a crash. The reason names no folder."""
    (sources / LIBRARY.name).write_bytes(b"not a library")
    why_none = native_status().why_none
    assert f"cannot be loaded ({LIBRARY.name}: " in why_none
    assert str(sources) not in why_none
    assert not build.is_built(sources)


def test_a_compiler_that_fails(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler, one that is not there, fails or hangs, or is no command are one line each."""
    monkeypatch.setattr(build, "COMPILE_TIMEOUT_S", 0.1)
    hangs = sources / "hangs.py"
    hangs.write_text("import time; time.sleep(60)")
    for compiler, message in (
        ("false", "the C compiler failed"),
        ("/nope", "cannot be started"),
        ("'cc", "CC='cc is no command: No closing quotation"),
        (f"{sys.executable} {hangs}", "the C compiler took over 0.1 s"),
    ):
        monkeypatch.setenv("CC", compiler)
        with pytest.raises(build.CompileError, match=message):
            build.compile_library(sources)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(sources))
    with pytest.raises(build.CompileError, match="no C compiler"):
        build.compile_library(sources)
    assert not [path for path in sources.iterdir() if path.suffix not in (".c", ".h", ".py")]


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is one line too, so that an installation goes on."""
    monkeypatch.setenv("CC", "true")
    with pytest.raises(build.CompileError, match="cannot be written: No such file"):
        build.compile_library(tmp_path / "gone")


@NEEDS_KERNELS
def test_building_if_needed_keeps_a_library_that_fits(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks no compiler then; without the option it does."""
    shutil.copy(LIBRARY, sources)
    monkeypatch.setenv("CC", "false")
    assert build.main(["--if-needed"]) == 0
    assert capsys.readouterr().out == f"{sources / LIBRARY.name}\n"
    assert build.main([]) == 1
    assert "the C compiler failed" in capsys.readouterr().err


@NEEDS_KERNELS
def test_version_names_the_kernels() -> None:
    """`python -m harness --version`, also with a wrong choice."""

    def version(choice: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", "--version"],
            env={**os.environ, "HARNESS_NATIVE": choice},
            text=True,
            capture_output=True,
            check=False,
        )

    assert version(LEVELS[-1]).stdout.endswith(f"native kernels {LEVELS[-1]}\n")
    assert version("0").stdout.endswith("native kernels none: HARNESS_NATIVE=0\n")
    wrong = version("x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: HARNESS_NATIVE: expected 0 or one of")
