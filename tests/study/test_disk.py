"""A disk that is full or may not be written, for real.

What it costs is one line, and the same study ends once there is room.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.errors import FileError, HarnessError, InputError, StorageError
from harness.records import write_text
from harness.report import __main__ as report_command
from harness.study import run
from harness.study import run as pipeline
from harness.study.coordinator import TrialProgress
from harness.study.execution.local_executor import LocalExecutor
from harness.study.phases import write_tables
from harness.study.trials_to_run import TrialSource
from tests.small import RecordingObserver, run_small, tables
from tests.tally import Tally

PROMISE = "one line that names the file; what was finished is kept; the same command ends once there is room"
SETTINGS = ("search.trials=4", "confirm.seeds=1", "confirm.sequence_lengths=[10]")


class Disk:
    """A disk of its own that is soon full."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ballast = folder, folder / "ballast"
        self.home = folder.parent  # where the study file lies, and results/ is the disk

    def fill(self) -> None:
        """Leave no room at all."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take the ballast away."""
        self.ballast.unlink()

    def forbid(self, *, writing: bool) -> None:
        """Make it read-only, or writable again."""
        self.mount("-o", f"remount,{'ro' if writing else 'rw'}", str(self.folder))

    @staticmethod
    def mount(*arguments: str) -> None:
        """The system's command."""
        subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 8 MiB in memory. Skips where none can be mounted."""
    folder = tmp_path / "results"
    folder.mkdir()
    try:
        Disk.mount("-t", "tmpfs", "-o", "size=8m", "harness", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted: that takes root on Linux")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, executor: LocalExecutor | None) -> Path:
    """The results of the study with room enough."""
    return run_small(
        tmp_path_factory.mktemp("whole"), *SETTINGS, workers=1, executor=executor
    ).directory


class Filling(RecordingObserver):
    """Fills the disk at the n-th end of a trial, or where a phase begins."""

    def __init__(self, disk: Disk, moment: int | str) -> None:
        super().__init__()
        self.disk, self.moment = disk, moment

    def progress(self, progress: TrialProgress) -> None:
        """Count ends."""
        super().progress(progress)
        if progress.result is not None and len(self.ends()) == self.moment:
            self.disk.fill()

    def phase(self, name: str, sources: Sequence[TrialSource], total: int) -> None:
        """Hear of a phase."""
        super().phase(name, sources, total)
        if name == self.moment:
            self.disk.fill()


def lost_rows(results: Path, undisturbed: Path) -> int:
    """Rows of the undisturbed study's tables that are missing, changed or doubled."""
    found, wanted = tables(results), tables(undisturbed)
    assert wanted
    return sum(
        abs(len(found.get(name, [])) - len(rows))
        + sum(row not in found.get(name, []) for row in rows)
        for name, rows in wanted.items()
    )


@pytest.mark.parametrize("moment", [1, 3, 4, "keep"])
def test_full_while_a_study_runs(
    disk: Disk,
    undisturbed: Path,
    executor: LocalExecutor | None,
    tally: Tally,
    moment: int | str,
) -> None:
    """Full at whatever trial, or while weights are kept.

    The trials that had ended are there, and none runs again.
    """
    observer = Filling(disk, moment)
    with pytest.raises(
        FileError, match=r"^[^\n]*/small/[^\n]*: expected disk space to write, got [^\n]*$"
    ):
        run_small(disk.home, *SETTINGS, observer=observer, executor=executor)
    ended = len(observer.ends())
    disk.make_room()
    after = RecordingObserver()
    outcome = run_small(disk.home, *SETTINGS, observer=after, executor=executor)
    again = max(0, ended + len(after.ends()) - 5)  # of 4 trials and 1 confirmation run
    where = "the weights" if moment == "keep" else "the database"
    lost = lost_rows(outcome.directory, undisturbed) + again
    tally.add(f"disk full while writing {where}", PROMISE, lost=lost)
    assert lost == 0


def test_full_while_writing_tables(
    disk: Disk,
    undisturbed: Path,
    executor: LocalExecutor | None,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Full before the first table.

    The old tables stay as they were, and no half of one is left behind.
    """
    fewer = ("search.trials=2", *SETTINGS[1:])
    before = tables(run_small(disk.home, *fewer, executor=executor).directory)
    write = write_tables.write_tables

    def fill_and_write(*arguments: object) -> None:
        disk.fill()
        write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_tables", fill_and_write)
        with pytest.raises(
            FileError, match=r"trials\.csv: expected disk space to write, got No space"
        ):
            run_small(disk.home, *SETTINGS, executor=executor)
    results = disk.folder / "small"
    assert tables(results) == before
    assert list(results.rglob("*.tmp")) == []
    disk.make_room()
    run_small(disk.home, *SETTINGS, executor=executor)
    lost = lost_rows(results, undisturbed)
    tally.add("disk full while writing the tables", PROMISE, lost=lost)
    assert lost == 0


def test_full_while_drawing_the_report(
    disk: Disk, executor: LocalExecutor | None, tally: Tally
) -> None:
    """Full while figures are written.

    The tables are there, and the report is drawn once there is room.
    """
    results = run_small(disk.home, *SETTINGS, executor=executor).directory
    disk.fill()
    with pytest.raises(FileError, match=r"figures/[^ ]*: expected disk space to write"):
        run.render_report(results)
    assert list(results.rglob("*.tmp")) == []
    disk.make_room()
    answer = run.render_report(results)
    lost = sum(not path.stat().st_size for path in (answer.html, answer.markdown))
    tally.add("disk full while writing the figures", PROMISE, lost=lost)
    assert lost == 0


def test_full_from_the_start(disk: Disk, executor: LocalExecutor | None, tally: Tally) -> None:
    """A study without any disk space says so, and not that its storage is unreadable."""
    disk.fill()
    with pytest.raises(FileError, match="expected disk space to write"):
        run_small(disk.home, *SETTINGS, executor=executor)
    disk.make_room()
    outcome = run_small(disk.home, "search.trials=1", executor=executor)
    lost = 1 - len(tables(outcome.directory)["trials.csv"])
    tally.add("disk full before the study", PROMISE, lost=lost)
    assert lost == 0


def test_read_only(disk: Disk, executor: LocalExecutor | None, tally: Tally) -> None:
    """If results are not writable, study and report end with 2 and a line that names the place."""
    results = run_small(disk.home, *SETTINGS, executor=executor).directory
    before = tables(results)
    disk.forbid(writing=True)
    refused: list[tuple[type[HarnessError], Callable[[], object]]] = [
        (StorageError, lambda: run_small(disk.home, *SETTINGS, executor=executor)),
        (InputError, lambda: run_small(disk.home, 'study.name="b"', executor=executor)),
        (InputError, lambda: run.render_report(results)),
    ]
    for kind, action in refused:
        with pytest.raises(kind, match=r"^[^\n]*Read-only file system[^\n]*$") as error:
            action()
        assert error.value.exit_code == 2
    disk.forbid(writing=False)
    lost = int(tables(results) != before)
    tally.add("results folder read-only", "one line, exit code 2", injected=len(refused), lost=lost)
    assert lost == 0


def test_report_command_without_room(
    disk: Disk, executor: LocalExecutor | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report command ends with 1 and one line where the disk is full."""
    results = run_small(disk.home, "search.trials=1", executor=executor).directory
    disk.fill()
    with pytest.raises(SystemExit) as ended:
        report_command.app([str(results)])
    assert ended.value.code == 1
    assert re.fullmatch(
        r"error: [^\n]*: expected disk space to write, got [^\n]*\n", capsys.readouterr().err
    )


@pytest.mark.skipif(os.name != "posix", reason="the size of files is limited on POSIX systems only")
def test_old_file_stays(tmp_path: Path, tally: Tally) -> None:
    """A file that cannot grow far enough stays the old one, with no other beside it."""
    import resource

    path = write_text(tmp_path / "trials.csv", "old\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(FileError, match=r"trials\.csv: expected disk space to write"):
            write_text(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lost = int(path.read_text() != "old\n") + len(list(tmp_path.iterdir())) - 1
    tally.add("no room for a result file", "the old file stays, whole", lost=lost)
    assert lost == 0
