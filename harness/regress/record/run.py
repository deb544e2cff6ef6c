"""Records: the history is read, the working tree is timed, and a line is appended, in this order.

The history is read first, so that nothing is timed in vain, and again when the line is appended.
What was timed and cannot be written is passed on with the error.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import harness
from harness.errors import StorageError
from harness.regress.history import (
    HISTORY,
    FactDifference,
    HistoryEntry,
    SpeedHistory,
    append_entry,
    differing,
    line_of,
    ratios_to_canary,
    read_history,
)
from harness.regress.json_files import Scalar
from harness.regress.measuring.comparison_runner import SamplingPlan, TimingProgress
from harness.regress.record import measure_recording
from harness.regress.record.measure_recording import N_RECORDED_BLOCKS
from harness.regress.sides.side import find_repository, git, parse_side
from harness.regress.sides.side_environment import TargetContext, make_target
from harness.regress.sides.workspace import workspace
from harness.regress.timed_workload import Workload, resolve_workload

RECORD_SCHEMA: Final = 1

N_BEFORE: Final = 5
"""Recordings whose median a new one is shown against. It is no test: `trend` makes tests."""

UNVERSIONED: Final = "unversioned"


@dataclass(frozen=True)
class RecordOptions:
    """The options of the command; `revision` "": the commit."""

    workload: Workload = field(default_factory=Workload)
    history: Path = HISTORY
    n_blocks: int = N_RECORDED_BLOCKS
    revision: str = ""
    here: Path = field(default_factory=Path.cwd)
    sampling: SamplingPlan = field(default_factory=SamplingPlan)


class UnrecordedError(StorageError):
    """The history could not be appended to; `line` is what it lacks, without a line break."""

    def __init__(self, error: StorageError, line: str) -> None:
        super().__init__(f"{error}; append the line above by hand: it is what was timed")
        self.line = line


@dataclass(frozen=True)
class RecordedCanary:
    """The canary's seconds a step, and their spread over the blocks."""

    step_time_s: float | None
    spread: float | None


@dataclass(frozen=True)
class RecordedBenchmark:
    """One benchmark: seconds a step, the same over the canary's, and its change.

    `change` is that against the median of the last `n_compared` recordings; None: not known.
    """

    name: str
    step_time_s: float | None
    over_canary: float | None
    spread: float | None
    change: float | None
    n_compared: int


@dataclass(frozen=True)
class OtherMachine:
    """Recordings of another fingerprint: how many, and what differs from it."""

    fingerprint: str
    n: int
    differs: tuple[FactDifference, ...]


@dataclass(frozen=True, kw_only=True)
class RecordOutcome:
    """What was recorded, and the earlier recordings beside it, as the command shows it."""

    history: str = ""
    torn_bytes: int = 0
    wall_time_s: float = 0.0
    revision: str
    recorded: str
    fingerprint: str
    machine: Mapping[str, Scalar]
    n_blocks: int
    n_before: int
    canary: RecordedCanary
    benchmarks: tuple[RecordedBenchmark, ...]
    others: tuple[OtherMachine, ...]


def run_record(options: RecordOptions, progress: TimingProgress) -> RecordOutcome:
    """Time the working tree and append it to the history.

    Raises InputError for bad input and for a history that cannot be read, before anything is timed,
    and UnrecordedError.
    """
    before = read_history(options.history)
    side = parse_side("--head", ".", options.here)
    workload = resolve_workload(options.workload, (side,), options.here)
    revision = options.revision or revision_of(options.here, options.history)
    with workspace(find_repository(options.here)) as space:
        target = make_target("head", side, TargetContext(space, workload, options.here))
        worker = dataclasses.replace(target.worker, label="the working tree")
        target = dataclasses.replace(target, worker=worker)
        found = measure_recording.time_blocks(target, options.sampling, options.n_blocks, progress)
    recorded = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    entry = found.entry(revision, recorded, {"harness": harness.__version__})
    try:
        torn_bytes = append_entry(options.history, entry)
    except StorageError as error:
        raise UnrecordedError(error, line_of(entry)) from error
    return dataclasses.replace(
        beside_earlier(entry, before),
        history=str(options.history),
        torn_bytes=torn_bytes,
        wall_time_s=found.wall_time_s,
    )


def revision_of(here: Path, history: Path) -> str:
    """The commit of the tree around a folder, with -dirty if a file that git tracks has changed.

    Changes of the history do not count.
    """
    top = find_repository(here)
    commit = git(here, "rev-parse", "--short=9", "HEAD") if top else None
    if top is None or commit is None:
        return UNVERSIONED
    path = Path(os.path.abspath(here / history))  # noqa: PTH100  # links stay as git knows them
    kept = [f":(top,exclude){path.relative_to(top).as_posix()}"] if path.is_relative_to(top) else []
    changed = git(here, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *kept)
    return f"{commit}-dirty" if changed else commit


def beside_earlier(entry: HistoryEntry, before: SpeedHistory) -> RecordOutcome:
    """A recording beside earlier ones: compared with those of its machine, others are counted."""
    own = [each for each in before.entries if each.fingerprint == entry.fingerprint]
    others = [each for each in before.entries if each.fingerprint != entry.fingerprint]
    newest: dict[
        str, HistoryEntry
    ] = {}  # each machine's last recording, the last of all at the end
    for each in others:
        newest.pop(each.fingerprint, None)
        newest[each.fingerprint] = each
    known = [value for value in entry.canary_s if value is not None]
    return RecordOutcome(
        revision=entry.revision,
        recorded=entry.recorded,
        fingerprint=entry.fingerprint,
        machine=dict(entry.machine),
        n_blocks=len(entry.canary_s),
        n_before=len(own),
        canary=RecordedCanary(median(known) if known else None, spread(known)),
        benchmarks=tuple(_benchmark(name, entry, own) for name in entry.figures_s),
        others=tuple(
            OtherMachine(
                fingerprint,
                sum(each.fingerprint == fingerprint for each in others),
                differing(theirs.machine, entry.machine),
            )
            for fingerprint, theirs in newest.items()
        ),
    )


def spread(values: Sequence[float]) -> float | None:
    """The highest less the lowest, over the median; None for fewer than two."""
    return (max(values) - min(values)) / median(values) if len(values) > 1 else None


def _benchmark(name: str, entry: HistoryEntry, own: Sequence[HistoryEntry]) -> RecordedBenchmark:
    seconds = [value for value in entry.figures_s[name] if value is not None]
    ratios = ratios_to_canary(entry, name)
    past = [value for each in own if (value := each.relative(name)) > 0][-N_BEFORE:]  # not NaN
    return RecordedBenchmark(
        name=name,
        step_time_s=median(seconds) if seconds else None,
        over_canary=median(ratios) if ratios else None,
        spread=spread(ratios),
        change=median(ratios) / median(past) - 1 if past and ratios else None,
        n_compared=len(past),
    )
