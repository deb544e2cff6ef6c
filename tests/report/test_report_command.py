from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import records
from harness.records import atomic_write
from harness.report.__main__ import app
from tests.bench.report.synthetic_bench import BenchWish, write_bench
from tests.study.report.synthetic import Wish, write

RUN = CliRunner()


def test_a_report_is_drawn_again_without_training(tmp_path: Path) -> None:
    """From the stored files alone both pages are back, and the terminal shows the answer."""
    directory = write(tmp_path, Wish(repeats=1, trials=2))
    done = RUN.invoke(app, [str(directory)])
    assert done.exit_code == 0, done.output
    assert "On temporal_order, rnn remembers" in done.stdout
    assert (directory / "report.html").exists()
    assert (directory / "report.md").exists()


def test_a_bench_is_drawn_again_without_timing(tmp_path: Path) -> None:
    """A folder with a grid.toml is a bench: the same command draws its report."""
    directory = write_bench(tmp_path, BenchWish(vary="", cells=("lstm",)))
    done = RUN.invoke(app, [str(directory)])
    assert done.exit_code == 0, done.output
    assert "What to change first" in done.stdout
    assert "What to change" in (directory / "report.md").read_text("utf-8")


def test_an_index_of_results_is_written(tmp_path: Path) -> None:
    """--index writes one page over the results in DIR/reference, and says where.

    Without any it is bad input.
    """
    write(tmp_path / "reference" / "quickstart", Wish(repeats=1, trials=1))
    done = RUN.invoke(app, ["--index", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "README.md" in done.stdout
    assert "## [quickstart]" in (tmp_path / "README.md").read_text("utf-8")
    assert RUN.invoke(app, ["--index", str(tmp_path / "reference")]).exit_code == 2


def test_rendering_needs_no_torch(tmp_path: Path) -> None:
    """Drawing a report loads no torch, so it starts in a moment."""
    directory = write(tmp_path, Wish(repeats=1, trials=2))
    code = (
        "import sys; from pathlib import Path; from harness.report.dispatch import render_folder\n"
        f"render_folder(Path({str(directory)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_folder_that_is_no_study_is_bad_input(tmp_path: Path) -> None:
    """One clear line that names the folder and what to do, exit code 2, no traceback."""
    done = RUN.invoke(app, [str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "nowhere: expected the folder of a study's results" in line
    assert "python -m harness.study" in line


@pytest.mark.parametrize("options", [[], ["--index"]])
@pytest.mark.parametrize("name", ["", "file", "n" * 300])
def test_any_other_path_is_bad_input(tmp_path: Path, options: list[str], name: str) -> None:
    """An empty folder, a file and a name that no file system holds: one line, exit code 2."""
    (tmp_path / "file").write_text("")
    directory = tmp_path / (name or "empty")
    if not name:
        directory.mkdir()
    done = RUN.invoke(app, [*options, str(directory)])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}")


def test_the_remedy_names_folders_that_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a folder around results, a file in them or a misspelt name, it says what to type."""
    monkeypatch.chdir(tmp_path)
    directory = write(tmp_path / "results" / "quick", Wish(repeats=1, trials=1))
    named = directory.relative_to(tmp_path)
    for typed, remedy in (
        (named.parent, f"name one of the folders in it: {named.name}"),
        (named / "spec.toml", f"name its folder: {named}"),
        (named.with_name(named.name + "x"), f"did you mean '{named.name}'?"),
        (Path("nowhere"), "run `python -m harness.study`, bench or regress first"),
    ):
        done = RUN.invoke(app, [str(typed)])
        assert done.exit_code == 2
        assert remedy in done.stderr


def test_the_remedy_of_an_index_is_not_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--index without reference/ says what to put there; of reference/ itself, what to name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    done = RUN.invoke(app, ["--index", "results"])
    assert "copy folders of results that are kept into results/reference" in done.stderr
    write(tmp_path / "results" / "reference" / "quickstart", Wish(repeats=1, trials=1))
    done = RUN.invoke(app, ["--index", "results/reference"])
    assert "name the folder around it: results" in done.stderr


def test_a_folder_that_may_not_be_written_has_a_remedy_that_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    """A report into a read-only folder is one line, and proposes no option that report lacks."""
    directory = write(tmp_path, Wish(repeats=1, trials=1))

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(atomic_write, "replace_file", refuse)
    done = RUN.invoke(app, [str(directory)])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("got Read-only file system; allow writing there, or name another path")


def test_a_broken_file_is_bad_input(tmp_path: Path) -> None:
    """A torn file is named in one line, exit code 2."""
    directory = write(tmp_path, Wish(repeats=1, trials=2))
    records.write_text(directory / "machine.json", "{")
    done = RUN.invoke(app, [str(directory)])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "machine.json: expected a JSON file" in line


def test_an_unknown_language_is_bad_input(tmp_path: Path) -> None:
    """A language without a file of texts is refused."""
    directory = write(tmp_path, Wish(repeats=1, trials=1))
    done = RUN.invoke(app, [str(directory), "--language", "xx"])
    assert done.exit_code == 2
    assert "language: expected a language with a file of texts" in done.stderr


@pytest.mark.alone
def test_help_answers_at_once() -> None:
    """--help takes less than 0.3 s: nothing heavy is imported for it."""

    def seconds() -> float:
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "harness.report", "--help"], capture_output=True, check=True
        )
        return time.monotonic() - started

    assert min(seconds() for _ in range(5)) < 0.3
