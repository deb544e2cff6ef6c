"""A recording, in order: the history that is there, what is timed, rounds, one more line.

Decides nothing itself.

The history is read before anything is timed, so that none is timed in vain, and again when the line
is appended. What was timed and can't be written is handed on with the error.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import harness
from harness.errors import StorageError
from harness.regress.compare.run import CompareOptions, resolve_task
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.sides import target
from harness.regress.sides.side import find_repository, git, parse_side
from harness.regress.sides.workspace import workspace
from harness.regress.trend import recorder
from harness.regress.trend.history import Entry, History, append_entry, line_of, read_history
from harness.regress.trend.recorder import N_BLOCKS, Watcher
from harness.regress.trend.trend_series import differing

HISTORY: Final = Path("results", "regress", "history.jsonl")

N_BEFORE: Final = 5
"""Recordings whose median a new one is shown against.

A glance, no test: change points are for `trend`.
"""

UNVERSIONED: Final = "unversioned"


@dataclasses.dataclass(frozen=True)
class RecordOptions:
    """What the command line said.

    `steps`, `suite` and `revision` are "" where they were not given.
    """

    suite: str = ""
    steps: str = ""
    history: Path = HISTORY
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    n_blocks: int = N_BLOCKS
    revision: str = ""
    here: Path = dataclasses.field(default_factory=Path.cwd)
    pace: SamplingPlan = dataclasses.field(default_factory=SamplingPlan)


class UnrecordedError(StorageError):
    """The history could not be appended to; `line` is what it lacks, without a line break."""

    def __init__(self, error: StorageError, line: str) -> None:
        super().__init__(f"{error}; what was timed is the line above, to be appended by hand")
        self.line = line


def run_record(options: RecordOptions, watcher: Watcher) -> dict[str, Any]:
    """Time the working tree and append it to the history.

    Returns what the command shows, as JSON takes it.

    Raises InputError for bad input and a history that can't be read, before anything is timed, and
    UnrecordedError.
    """
    before = read_history(options.history)
    side = parse_side("--head", ".", options.here)
    asked = CompareOptions(
        base=".",
        suite=options.suite,
        steps=options.steps,
        device=options.device,
        plugins=options.plugins,
        here=options.here,
    )
    task = resolve_task(asked, (side,))
    revision = options.revision or revision_of(options.here, options.history)
    with workspace(find_repository(options.here)) as space:
        place = target.make_place("head", side, target.TargetContext(space, task, options.here))
        place = dataclasses.replace(
            place, seat=dataclasses.replace(place.seat, label="the working tree")
        )
        found = recorder.time_blocks(place, options.pace, options.n_blocks, watcher)
    recorded = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    entry = found.entry(revision, recorded, {"harness": harness.__version__})
    try:
        torn_bytes = append_entry(options.history, entry)
    except StorageError as error:
        raise UnrecordedError(error, line_of(entry)) from error
    return {
        "schema": 1,
        "history": str(options.history),
        "torn_bytes": torn_bytes,
        "wall_time_s": found.wall_time_s,
        **shown(entry, before),
    }


def revision_of(here: Path, history: Path) -> str:
    """The commit of the tree around a folder, with -dirty where a file that git tracks has changed, the history aside."""
    top = find_repository(here)
    commit = git(here, "rev-parse", "--short=9", "HEAD") if top else None
    if top is None or commit is None:
        return UNVERSIONED
    path = Path(os.path.abspath(here / history))  # noqa: PTH100  # links stay as git knows them
    kept = [f":(top,exclude){path.relative_to(top).as_posix()}"] if path.is_relative_to(top) else []
    changed = git(here, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *kept)
    return f"{commit}-dirty" if changed else commit


def shown(entry: Entry, before: History) -> dict[str, Any]:
    """A recording beside those that were there.

    Of the same fingerprint as figures, of others only that there are any.
    """
    own = [each for each in before.entries if each.fingerprint == entry.fingerprint]
    others = [each for each in before.entries if each.fingerprint != entry.fingerprint]
    newest: dict[str, Entry] = {}  # of each machine its last recording, the last of all at the end
    for each in others:
        newest.pop(each.fingerprint, None)
        newest[each.fingerprint] = each
    known = [value for value in entry.canary_s if value is not None]
    return {
        "revision": entry.revision,
        "recorded": entry.recorded,
        "fingerprint": entry.fingerprint,
        "machine": dict(entry.machine),
        "n_blocks": len(entry.canary_s),
        "n_before": len(own),
        "canary": {"step_time_s": median(known) if known else None, "spread": spread(known)},
        "benchmarks": [_row(name, entry, own) for name in entry.figures_s],
        "others": [
            {
                "fingerprint": fingerprint,
                "n": sum(each.fingerprint == fingerprint for each in others),
                "differs": [
                    {"name": name, "before": before, "after": after}
                    for name, before, after in differing(theirs.machine, entry.machine)
                ],
            }
            for fingerprint, theirs in newest.items()
        ],
    }


def spread(values: Sequence[float]) -> float | None:
    """The highest less the lowest, over the median; None for fewer than two."""
    return (max(values) - min(values)) / median(values) if len(values) > 1 else None


def _row(name: str, entry: Entry, own: Sequence[Entry]) -> dict[str, Any]:
    seconds = [value for value in entry.figures_s[name] if value is not None]
    pairs = zip(entry.figures_s[name], entry.canary_s, strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    past = [value for each in own if (value := each.relative(name)) > 0][-N_BEFORE:]  # not NaN
    return {
        "name": name,
        "step_time_s": median(seconds) if seconds else None,
        "over_canary": median(ratios) if ratios else None,
        "spread": spread(ratios),
        "change": median(ratios) / median(past) - 1 if past and ratios else None,
        "n_compared": len(past),
    }
