"""The kinds of results folders: the file that marks each, its report, its entry in the index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import records
from harness.bench.report.bench_report import answer_bench, render_bench
from harness.errors import MOST_NAMES, InputError, Shown, nearest
from harness.regress.compare.report import render_comparison
from harness.regress.selftest.report import answer_selftest, render_selftest
from harness.regress.selftest.selftest_files import read_selftest
from harness.regress.trend.report import answer_trend, render_trend
from harness.regress.trend.trend_file import read_trend
from harness.rendering.messages import load_messages
from harness.rendering.render import WrittenReport
from harness.study.report import study_report


@dataclasses.dataclass(frozen=True)
class IndexEntry:
    """What the index shows of one folder: question, answer, machine record, and its command."""

    title: str
    question: str
    answer: str
    machine: Mapping[str, Any]
    command: str


@dataclasses.dataclass(frozen=True)
class FolderKind:
    """One kind of results folder.

    A folder that holds the file `marker` is of this kind. `render` writes its report, `describe`
    reads its index entry; both take the folder and a language. `describe` is None for a kind that
    the index leaves out.
    """

    marker: str
    render: Callable[[Path, str], WrittenReport]
    describe: Callable[[Path, str], IndexEntry] | None = None


def render_folder(directory: Path, language: str = "en") -> WrittenReport:
    """Read the results in a folder and write their report there.

    Raises InputError where there are none, or where a file is broken.
    """
    directory = Path(directory)
    kind = kind_of(directory)
    if kind is None:
        raise InputError(
            str(directory),
            expected="the folder of a study's results, or of a bench's or a regress command's",
            got=Shown(_what_is_there(directory)),
            remedy=_what_to_name(directory),
        )
    return kind.render(directory, language)


def kind_of(directory: Path) -> FolderKind | None:
    """The first kind whose marker the folder holds; None for any other path."""
    return next((kind for kind in FOLDER_KINDS if (directory / kind.marker).is_file()), None)


def _what_is_there(directory: Path) -> str:
    if directory.is_dir():
        return "a folder without " + ", ".join(kind.marker for kind in FOLDER_KINDS)
    return "a file" if directory.exists() else "no such folder"


def _what_to_name(directory: Path) -> str:
    """The remedy: folders of results around a path that is none, or how to make one."""
    if directory.is_file() and kind_of(directory.parent):
        return f"name its folder: {directory.parent}"
    around = directory if directory.is_dir() else directory.parent
    folders = {each.name for each in around.glob("*") if kind_of(each)} if around.is_dir() else {}
    if not folders:
        return (
            "run `python -m harness.study`, bench or regress first, and name its folder of results"
        )
    if directory.is_dir():
        return f"name one of the folders in it: {', '.join(sorted(folders)[:MOST_NAMES])}"
    return nearest(directory.name, folders)


def _render_study(directory: Path, language: str) -> WrittenReport:
    return study_report.render(records.read_study(directory), directory, language)


def _describe_study(directory: Path, language: str) -> IndexEntry:
    study = records.read_study(directory)
    about, answer = study.spec.study, study_report.answer(study, language)
    command = f"python -m harness.study {about.name}"
    title = _title(directory, about.name)
    return IndexEntry(title, about.question, answer, study.machine, command)


def _render_bench(directory: Path, language: str) -> WrittenReport:
    return render_bench(records.read_bench(directory), directory, language)


def _describe_bench(directory: Path, language: str) -> IndexEntry:
    bench = records.read_bench(directory)
    about, answer = bench.grid.grid, answer_bench(bench, language)
    command = f"python -m harness.bench {about.name}"
    title = _title(directory, about.name)
    return IndexEntry(title, about.question, answer, bench.machine, command)


def _title(directory: Path, name: str) -> str:
    """The name, or that of the folder where it adds something to it, as in bench_quick_h200."""
    return directory.name if directory.name.startswith(name) else name


def _describe_trend(directory: Path, language: str) -> IndexEntry:
    record = read_trend(directory)
    question, answer = load_messages(language)("trend.question"), answer_trend(record, language)
    command = record.command or "python -m harness.regress trend"
    return IndexEntry(directory.name, question, answer, {}, command)


def _describe_selftest(directory: Path, language: str) -> IndexEntry:
    record = read_selftest(directory)
    question = load_messages(language)("selftest.question")
    machine = {**record.machine, "wall_time_s": record.wall_time_s}
    answer = answer_selftest(record, language)
    return IndexEntry(directory.name, question, answer, machine, record.command)


FOLDER_KINDS = (
    FolderKind("grid.toml", _render_bench, _describe_bench),
    FolderKind("spec.toml", _render_study, _describe_study),
    FolderKind("comparison.json", render_comparison),
    FolderKind("trend.json", render_trend, _describe_trend),
    FolderKind("selftest.json", render_selftest, _describe_selftest),
)
