"""Studies that take a second, run as the pipeline runs them.

And their tables without what may differ.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest

from harness import config as specs
from harness.cells import CELLS
from harness.plugin_sources import SOURCES
from harness.plugins import load_plugins, plugin_sources
from harness.study import run, run_context
from harness.study import run as pipeline
from harness.study.coordinator import TrialProgress
from harness.study.execution.local_executor import LocalExecutor
from harness.study.run_context import StudyObserver
from harness.study.trials_to_run import TrialSource
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.study.storage.retrying_storage import RetryingStorage

FAULTY = str(Path(__file__).parent / "study" / "faulty.py")

SMALL = """
[study]
name = "small"
[compare]
tasks = ["temporal_order"]
cells = ["rnn"]
[space]
hidden_size = { low = 2, high = 4 }
num_layers = 1
learning_rate = { low = 1e-3, high = 3e-2, log = true }
sequence_length = { low = 10, high = 14 }
initialization = "pytorch"
[training]
batch_size = 16
sequences = 64
evaluate_every = 32
evaluation_sequences = 32
[search]
trials = 3
repeats = 1
[confirm]
seeds = 0
sequence_lengths = [10, 14]
evaluation_sequences = 64
[throughput]
enabled = false
"""

FAULTS = (
    'compare.cells=["faulty"]',
    'search.sampler="grid"',
    "space.hidden_size=2",
    "space.learning_rate=0.01",
    "space.sequence_length=10",
)
"""Settings of a study whose trials fail: beside them it takes `space.faulty.fault`."""


def write_small(folder: Path) -> Path:
    """The small study's file."""
    path = folder / "small.toml"
    path.write_text(SMALL)
    return path


def small_spec(folder: Path, *settings: str) -> specs.StudySpec:
    """The small study with `KEY=VALUE` settings, as the study command would read it."""
    load_plugins([FAULTY])
    spec = specs.load_study(write_small(folder), settings)
    return specs.check_study(spec, "small.toml", TASKS, CELLS, 8 << 30)


def forget_sources() -> None:
    """Have plug-ins read anew, as another process reads them."""
    SOURCES.clear()
    plugin_sources.cache_clear()


class RecordingObserver(StudyObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.progresses: list[TrialProgress] = []

    def phase(self, name: str, sources: Sequence[TrialSource], total: int) -> None:
        """Keep its name."""
        self.phases.append(name)

    def progress(self, progress: TrialProgress) -> None:
        """Keep it."""
        self.progresses.append(progress)

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def ends(self, phase_size: int | None = None) -> list[str]:
        """How each trial ended, in order."""
        results = [each.result for each in self.progresses if each.result is not None]
        return [result.end.value for result in results][:phase_size]


def run_small(
    folder: Path,
    *settings: str,
    workers: int = 1,
    observer: RecordingObserver | None = None,
    executor: LocalExecutor | None = None,
    **options: Any,
) -> run.StudyOutcome:
    """Run the small study's phases but for the report, with results in `folder`/results.

    `executor` is used and left open, where one is given; else the study starts its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        if executor is not None:
            patch.setattr(executor, "num_workers", workers)
            patch.setattr(pipeline, "_executor", lambda *_: nullcontext(executor))
        patch.setattr(
            pipeline, "render_report", lambda directory: SimpleNamespace(text="", missing=())
        )
        return run.run_study(
            small_spec(folder, *settings),
            run_context.StudyOptions(
                folder / "results", "cpu", workers, **{"plugins": (FAULTY,), **options}
            ),
            observer or RecordingObserver(),
        )


def study_run(
    spec: specs.StudySpec,
    options: run_context.StudyOptions,
    observer: StudyObserver | None = None,
) -> run_context.StudyRun:
    """A study as the phases after the search see it: they never use the storage."""
    storage = cast("RetryingStorage", None)
    return run_context.StudyRun(spec, options, storage, {}, observer or StudyObserver())


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a result file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(path: Path) -> list[dict[str, str]]:
    """The rows of a result file without the columns that may differ from run to run."""
    return [
        {key: value for key, value in row.items() if not key.endswith(("_s", "_per_second"))}
        for row in table(path)
    ]


def tables(results: Path) -> dict[str, list[dict[str, str]]]:
    """What must be equal in two runs of a study."""
    names = ("trials.csv", "confirmation.csv", "evaluations.csv", "extrapolation.csv")
    return {name: timeless(results / name) for name in names if (results / name).exists()}


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def study_command(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`python -m harness.study` in a session of its own.

    Killed at the end where it is still there.
    """
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "harness.study", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # what runs in a shell's background inherits an ignored SIGINT, and a test run may be that
        preexec_fn=_hear_interrupts if os.name == "posix" else None,  # noqa: PLW1509  # sets a handler only
        env={**os.environ, **(environment or {})},
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], word: str) -> str:
    """Read the process' output up to the line that holds `word`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            return seen
    raise AssertionError(f"{word!r} never came:\n{seen}")


def family(pid: int) -> list[psutil.Process]:
    """The processes below this one."""
    return psutil.Process(pid).children(recursive=True)


def survivors(processes: Sequence[psutil.Process], within_s: float = 10.0) -> list[psutil.Process]:
    """Those that are still there after that time, zombies apart."""
    deadline = time.monotonic() + within_s
    alive = list(processes)
    while alive and time.monotonic() < deadline:
        alive = [
            each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
        ]
        time.sleep(0.02)
    return alive
