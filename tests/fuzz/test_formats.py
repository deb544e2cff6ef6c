"""Every kind of file that a user may hand over, with whatever in it.

It is taken, or the answer is one line and exit code 2.

To add a kind of file, add a `Format` to FORMATS.
"""

from __future__ import annotations

import atexit
import io
import shutil
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import records
from harness.bench import __main__ as bench
from harness.errors import InputError
from harness.regress.history import (
    FINGERPRINT_FIELDS,
    HistoryEntry,
    SpeedHistory,
    append_entry,
    read_history,
    series_of,
)
from harness.regress.selftest.report import answer_selftest
from harness.regress.selftest.selftest_files import read_runs, read_selftest
from harness.regress.trend.report import answer_trend
from harness.regress.trend.trend_file import TrendRecord, read_trend, write_trend
from harness.regress.trend.trend_series import trends_of
from harness.report import __main__ as report
from harness.study import __main__ as study
from harness.study import result_files
from harness.study.report import study_report
from harness.timing import __main__ as timing
from tests.config.least import raw
from tests.fuzz.hostile import (
    EXAMPLES,
    NUMBERS,
    SCALARS,
    TEXTS,
    VALUES,
    Format,
    edited,
    guarded,
    mangled,
    one_line,
    places,
    read_plain,
    replaced,
    well_written,
)
from tests.selftests import make_selftest
from tests.simulated_history import NEWER, entries
from tests.study.report.synthetic import Wish, write
from tests.tally import Tally

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
GRIDS = [path for path in FILES if b"[grid]" in path.read_bytes()]
STUDIES = [path for path in FILES if path not in GRIDS]
RUN = CliRunner()
pytestmark = pytest.mark.timeout(3_600)  # for make fuzz


def settled(share: float = 1.0) -> settings:
    """So many examples as the run shall have."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)),
        suppress_health_check=list(HealthCheck),
        database=None,
    )


# ------------------------------------------------------------------------------------------ readers


@cache
def folder() -> Path:
    """A folder of this run's own."""
    path = Path(tempfile.mkdtemp(prefix="harness-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def dry_run(content: bytes, *options: str, app: typer.Typer = study.app) -> bool:
    """`python -m harness.study FILE --dry-run`, or another command.

    What it prints is a file that says the same.
    """
    path = folder() / "f.toml"
    path.write_bytes(content)
    done = RUN.invoke(app, [str(path), "--dry-run", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    taken = one_line(done.exit_code, done.stderr, done.stdout)
    assert all(line.isprintable() for line in done.stdout.split("\n")), done.stdout
    if taken and content != done.stdout_bytes:
        path.write_bytes(done.stdout_bytes)
        again = RUN.invoke(app, [str(path), "--dry-run"])
        assert again.stdout == done.stdout, again.stderr
    return taken


@cache
def results() -> Path:
    """The results of a small study."""
    wish = Wish(cells=("rnn", "lstm"), repeats=1, trials=2, ladder=(10, 20))
    directory = write(folder() / "results", wish)
    winner = {"solved": True, "value": 1.5, "parameters": {"hidden_size": 8}}
    result_files.write_winner(directory, "temporal_order", "lstm", winner)
    return directory


def read_results(name: str, *, draw: bool) -> Callable[[bytes], bool]:
    """What reads a folder of results of which that one file is changed.

    `draw`: by the command that draws a report.
    """

    def read(content: bytes) -> bool:
        path = results() / name
        kept = path.read_bytes()
        path.write_bytes(content)
        try:
            if draw:
                done = RUN.invoke(report.app, [str(results())])
                ended = done.exception is None or isinstance(done.exception, SystemExit)
                assert ended, repr(done.exception)
                return one_line(done.exit_code, done.stderr)
            try:
                study_report.answer(records.read_study(results()))
            except InputError as error:
                return one_line(2, str(error))
            return True
        finally:
            path.write_bytes(kept)

    return read


def request(content: bytes) -> bool:
    """`python -m harness.timing < FILE`, up to where it would begin to time."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
        answer = SimpleNamespace(to_json=dict)
        patch.setattr(timing, "measure_throughput", lambda request: answer)
        patch.setattr(timing, "measure_inference", lambda request: answer)
        patch.setattr(timing.json, "dump", lambda *_, **__: None)  # type: ignore[attr-defined]
        code = timing.main([])
    return one_line(code, errors.getvalue(), out.getvalue())


REQUEST = b"""{"benchmarks": [{"name": "adding/lstm/a", "task": "adding", "cell": "lstm", "hidden_size": 2,
"num_layers": 1, "sequence_length": 10, "batch_size": 4, "learning_rate": 0.001, "initialization": "pytorch",
"optimizer": "adam", "max_grad_norm": 1.0, "hyperparameters": {}, "device": "cpu"}],
"n_blocks": 5, "block_s": 0.01, "time_budget_s": 0.0, "seed": 0, "memory": false, "plugins": [], "schema": 2}"""


def history(content: bytes) -> bool:
    """A history of recordings, read and turned into series; what is read is left as it was."""
    path = folder() / "history.jsonl"
    path.write_bytes(content)
    try:
        kept = read_history(path)
        for fingerprint in kept.fingerprints():
            series_of(kept, fingerprint)
    except InputError as error:
        return one_line(2, str(error))
    finally:
        assert path.read_bytes() == content
    return True


def trend(content: bytes) -> bool:
    """A trend, read and turned into sentences."""
    path = folder() / "trend" / "trend.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        answer_trend(read_trend(path.parent))
    except InputError as error:
        return one_line(2, str(error))
    return True


@cache
def trended() -> bytes:
    """A trend of two machines, in one of which a benchmark changed."""
    parts = [*entries(16, "ab", {("a", 8): 1.5}), *entries(2, "ab", machine=NEWER, first=16)]
    found = trends_of(SpeedHistory(tuple(parts)), 0)
    path = folder() / "trended"
    write_trend(path, TrendRecord("h", "c", 0, 0, 0, found))
    return (path / "trend.json").read_bytes()


def selftest(content: bytes) -> bool:
    """A selftest that is done, read and turned into sentences."""
    path = folder() / "selftest" / "selftest.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        answer_selftest(read_selftest(path.parent))
    except InputError as error:
        return one_line(2, str(error))
    return True


def selftest_runs(content: bytes) -> bool:
    """The runs of a selftest; a last line without a line break is left out."""
    path = folder() / "selftest_runs" / "runs.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        read_runs(path.parent)
    except InputError as error:
        return one_line(2, str(error))
    return True


@cache
def selftested(name: str) -> bytes:
    """A file of a small selftest."""
    path = folder() / "selftested"
    if not path.exists():
        path.mkdir()
        make_selftest(path, n_alike=2)
    return (path / name).read_bytes()


def recordings() -> bytes:
    """A history of two recordings."""
    path = folder() / "good.jsonl"
    path.unlink(missing_ok=True)
    machine = {**dict.fromkeys(FINGERPRINT_FIELDS, "x"), "cores": 2, "gpu": None}
    for revision in ("a1", "b2"):
        figures = {"lstm": (0.3, None, 0.31), "gru": (1.0, 1.1, 1.2)}
        append_entry(
            path, HistoryEntry(machine, revision, "2026-11-24", (0.1, 0.11, 0.12), figures)
        )
    return path.read_bytes()


RESULT_FILES = {
    "spec.toml": "toml",
    "machine.json": "json",
    "diagnostics.json": "json",
    "throughput.json": "json",
    "winners/temporal_order-lstm.toml": "toml",
    "trials.csv": "",
    "confirmation.csv": "",
    "evaluations.csv": "",
    "extrapolation.csv": "",
    "throughput.csv": "",
}


@cache
def formats() -> dict[str, Format]:
    """Every kind of file, by name."""
    studies = (tomli_w.dumps(raw()).encode(), *(path.read_bytes() for path in STUDIES))
    grids = tuple(path.read_bytes() for path in GRIDS)
    found = [
        Format("study", studies, dry_run, "toml"),
        Format("grid", grids, partial(dry_run, app=bench.app), "toml"),
        Format("timing", (REQUEST,), request, "json"),
        Format("history", (recordings(),), history, ""),
        Format("trend", (trended(),), trend, "json"),
        Format("selftest", (selftested("selftest.json"),), selftest, "json"),
        Format("selftest_runs", (selftested("runs.jsonl"),), selftest_runs, ""),
    ]
    for name, notation in RESULT_FILES.items():
        good = ((results() / name).read_bytes(),)
        found.append(Format(name, good, read_results(name, draw=False), notation))
    return {each.name: each for each in found}


FORMATS = (
    *("study", "grid", "timing", "history", "trend"),
    *("selftest", "selftest_runs", *RESULT_FILES),
)
WITH_VALUES = (
    "study",
    "grid",
    "timing",
    "trend",
    "selftest",
    *(name for name, notation in RESULT_FILES.items() if notation),
)


SHOWN = {
    "study": "study file",
    "grid": "grid of a bench",
    "timing": "timing request",
    "history": "history of recordings",
    "trend": "trend of a history",
    "selftest": "selftest",
    "selftest_runs": "runs of a selftest",
}
REFUSED = "or one line and exit code 2"
ANSWERED = f"taken, {REFUSED}"


def shown(name: str) -> str:
    """What a kind of file is called in the table of faults."""
    return SHOWN.get(name, "result file")


def promise(name: str) -> str:
    """What is promised of it."""
    return ANSWERED if name in SHOWN else "read, or one line"


# -------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("name", FORMATS)
def test_good_files_are_taken(name: str) -> None:
    """What is to be broken is whole before."""
    for content in formats()[name].good:
        assert formats()[name].read(content)


@pytest.mark.parametrize("name", FORMATS)
def test_mangled_files(name: str, tally: Tally) -> None:
    """Messages replaced by hostile ones, bytes changed, stretches repeated, ends cut off."""
    each = formats()[name]
    with tally.each(f"{shown(name)}, words and bytes mangled", promise(name)) as count:

        @settled(1.0 if name in ("study", "timing") else 0.5)
        @given(st.sampled_from(each.good).flatmap(mangled))
        def run(content: bytes) -> None:
            if content not in each.good:
                with count.one(), guarded():
                    each.read(content)

        run()


@pytest.mark.parametrize("name", WITH_VALUES)
def test_other_values(name: str, tally: Tally) -> None:
    """Other types, sizes and names; tables removed, exchanged and added, in a well-formed file."""
    each = formats()[name]
    plain = [read_plain(content, each.notation) for content in each.good]
    as_they_were = [well_written(values, each.notation) for values in plain]
    with tally.each(f"{shown(name)}, other values", promise(name)) as count:

        @settled(3.0 if name in ("study", "timing") else 0.5)
        @given(st.sampled_from(plain).flatmap(edited))
        def run(values: dict[str, Any]) -> None:
            content = well_written(values, each.notation)
            if content is not None and content not in as_they_were:
                with count.one(), guarded():
                    each.read(content)

        run()


@pytest.mark.parametrize("name", ["study", "timing"])
def test_each_number_in_each_place(name: str, tally: Tally) -> None:
    """A hostile number in each place takes no more memory than a good file, within 32 MB."""
    each = formats()[name]
    plain = read_plain(each.good[0], each.notation)
    known = list(places(plain))
    chosen = known[:: max(1, len(known) * len(NUMBERS) // EXAMPLES)]
    tracemalloc.start()
    try:
        with tally.each(f"{shown(name)}, a hostile number", "no more than 32 MB") as count:
            for path in chosen:
                for number in NUMBERS:
                    content = well_written(replaced(plain, path, number), each.notation)
                    if content is not None:
                        with count.one():
                            tracemalloc.reset_peak()
                            each.read(content)
                            assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


KEYS = st.one_of(
    st.sampled_from(["study.name", "space.hidden_size", "confirm.lags", "compare.variants.x"]),
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4).map(".".join),
    st.text(max_size=20),
)
WORDS = st.one_of(st.text(max_size=20), st.sampled_from(TEXTS), VALUES.map(repr), SCALARS.map(str))


def test_settings(tally: Tally) -> None:
    """--set with any key and any value, and an option without either."""
    good = formats()["study"].good[0]
    with tally.each("`--set` with any key and value", ANSWERED) as count:

        @settled(3.0)
        @example("a." * 60_000 + "b", "1")
        @example("study.name", "[" * 60_000)
        @given(KEYS, WORDS)
        def run(key: str, value: str) -> None:
            with count.one(), guarded():
                dry_run(good, f"--set={key}={value}")

        run()


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A result file's name, and other content for it."""
    name = draw(st.sampled_from(list(RESULT_FILES)))
    each = formats()[name]
    content = draw(mangled(each.good[0]))
    if each.notation and draw(st.booleans()):
        values = draw(edited(read_plain(each.good[0], each.notation)))
        content = well_written(values, each.notation) or content
    return name, content


def test_reports_are_drawn_or_refused(tally: Tally) -> None:
    """`python -m harness.report` on results of which one file is changed.

    Few in the suite, for drawing takes seconds.
    """
    with tally.each("results of which one file is changed", f"drawn, {REFUSED}") as count:

        @settled(0.05)
        @given(spoilt())
        def run(changed: tuple[str, bytes]) -> None:
            name, content = changed
            if content not in formats()[name].good:
                with count.one(), guarded():
                    read_results(name, draw=True)(content)

        run()
