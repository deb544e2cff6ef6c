"""The phases of a study, in order: search, confirm, keep, time, report.

Data flows one way, through the result files.

Whatever a phase has finished lies in the storage before the next begins; a study that is run again
goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cells, machine, records, tasks
from harness.config import StudySpec, ladder
from harness.errors import WorkerError
from harness.plugins import MODULES, plugin_hash
from harness.records.file_lock import hold_file
from harness.records.results_folder import check_folder, make_folder, put_aside, writing
from harness.study.coordinator import Coordinator, Limits
from harness.study.disk_space import low_disk, needed_bytes
from harness.study.execution.executor import Executor
from harness.study.execution.local_executor import LocalExecutor
from harness.study.phases.measure_diagnostics import measure_diagnostics
from harness.study.phases.time_inference import time_inference
from harness.study.phases.time_training import time_grid, time_winners
from harness.study.phases.train_winners import Winner, best_of, best_of_pairs, common_trials, keep
from harness.study.phases.write_tables import write_tables
from harness.study.run_context import Course, RunOptions, Watcher
from harness.study.search.plugin_check import check_plugins
from harness.study.search.search_space import check_sizes
from harness.study.search.trial_source import (
    SearchKey,
    StudyRun,
    TrialSeries,
    open_confirmation,
    open_search,
)
from harness.study.storage.storage import (
    database_file,
    default_url,
    mask,
    move_aside,
    open_storage,
    remember_versions,
)
from harness.tasks import TASKS, Hashed, get_task

if TYPE_CHECKING:
    from harness.rendering.render import Answer

__all__ = ["Outcome", "RunOptions", "Watcher", "report", "run_study"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study came to. `without_result` lists the (task, cell) that have no valid result."""

    directory: Path
    answer: Answer
    without_result: tuple[tuple[str, str], ...]


def run_study(spec: StudySpec, options: RunOptions, watcher: Watcher) -> Outcome:
    """Run every phase, or what is left of them.

    KeyboardInterrupt passes through, with everything saved.

    Raises FileError where a disk is full, InputError where a file may not be written: whatever was
    finished is kept.
    """
    with writing():
        return _run_study(spec, options, watcher)


def _run_study(spec: StudySpec, options: RunOptions, watcher: Watcher) -> Outcome:
    options = dataclasses.replace(options, plugins=_plugins(spec, options))
    course = Course(spec, options, watcher)
    started = time.monotonic()
    machine.configure_process()
    check_sizes(spec, options.where)
    check_plugins(spec, options.where, options.device)
    if options.fresh:
        _set_aside(course)
    check_folder(course.directory, "study", "bench", "grid.toml")
    make_folder(course.directory)
    url = options.storage or default_url(course.directory)
    _note_low_disk(course, database_file(url))
    with contextlib.ExitStack() as held:
        if database_file(url) != (course.directory / "study.db").absolute():
            held.enter_context(hold_file(course.directory / "study.db"))  # the folder is ours too
        storage = held.enter_context(open_storage(url, spec.study.name, watcher.note))
        context = StudyRun(
            spec, storage, options.device, _identity(course), options.where, watcher.note
        )
        return _run_phases(course, context, started)


def _run_phases(course: Course, context: StudyRun, started: float) -> Outcome:
    """The phases in order; the storage stays ours until the report is written."""
    spec, options, watcher = course.spec, course.options, course.watcher
    searches = [open_search(context, key) for key in _search_keys(spec)]
    done_before = sum(len(series.finished) for series in searches)
    warnings = remember_versions(context.storage, [each.ledger.study_id for each in searches])
    for warning in warnings:
        watcher.note(warning)
    with _executor(options) as executor:
        _search(course, executor, searches, started)
        common = common_trials(searches)
        winners = [winner for each in searches if (winner := best_of(each, common))]
        confirmations = _confirm(course, executor, context, winners)
        kept = keep(course, executor, best_of_pairs(spec, winners))
    write_tables(course.directory, spec, searches, confirmations)
    records.write_spec(course.directory, spec.dump())
    facts = {
        **machine.fingerprint(options.device),
        "command": options.command,
        "storage": mask(options.storage) if options.storage else "study.db",
        "workers": options.workers,
        "deterministic": options.deterministic,
        "common_trials": common,
        "warnings": list(warnings),
        "notes": _notes(done_before),
        "search_and_confirmation_time_s": time.monotonic() - started,
    }
    records.write_machine(course.directory, facts)
    _measure(course, kept)
    records.write_machine(course.directory, {**facts, "wall_time_s": time.monotonic() - started})
    watcher.phase("report", (), 1)
    answer = report(course.directory)
    found = {(winner.key.task, winner.key.cell) for winner in winners}
    missing = tuple(pair for pair in spec.pairs if pair not in found or pair in answer.missing)
    return Outcome(course.directory, answer, missing)


def report(directory: Path) -> Answer:
    """Render the report of a results directory from what is stored there."""
    from harness.study.report.study_report import render

    return render(records.read(directory), directory)


def _search_keys(spec: StudySpec) -> list[SearchKey]:
    """Every search of a study; a repeat of all comes before the next, so that a timeout leaves equal budgets."""
    return [
        SearchKey(task, cell, repeat)
        for repeat in range(spec.search.repeats)
        for task, cell in spec.pairs
    ]


def _plugins(spec: StudySpec, options: RunOptions) -> tuple[str, ...]:
    """The plug-ins that the user named, and the modules of the entry points that the study uses."""
    used = [(tasks.GROUP, spec.base(label)) for label in spec.compare.tasks]
    used += [(cells.GROUP, spec.base(label)) for label in spec.compare.cells]
    modules = [MODULES[each] for each in used if each in MODULES]
    return tuple(dict.fromkeys([*options.plugins, *modules]))


def _identity(course: Course) -> dict[str, Any]:
    options = course.options
    plugins: dict[str, list[str]] = {}
    for name in options.plugins:
        shown = Path(name).name if name.endswith(".py") else name
        plugins.setdefault(f"plugin.{shown}", []).append(plugin_hash(name))
    bases = {course.spec.base(label) for label in course.spec.compare.tasks}
    given = {name: get_task(name) for name in sorted(bases)}
    data = {
        f"data.{name}": task.content_hash()
        for name, task in given.items()
        if isinstance(task, Hashed)
    }
    return {**course.spec.identity(), "device": options.device.partition(":")[0], **plugins, **data}


def _notes(done_before: int) -> list[str]:
    """What a reader of the times must know."""
    if not done_before:
        return []
    return [
        f"The study was resumed: {done_before} trials had been done in earlier sessions, whose time is in no sum here."
    ]


def _note_low_disk(course: Course, database: Path | None) -> None:
    """Say so, once for each disk, where the results or the database may not find room."""
    needed = needed_bytes(course.spec, TASKS)
    folders = dict.fromkeys([course.directory.absolute(), *([database.parent] if database else [])])
    devices = {_device(folder): folder for folder in reversed(folders)}
    for folder in devices.values():
        if remark := low_disk(folder, needed):
            course.watcher.note(remark)


def _device(folder: Path) -> int | Path:
    try:
        return folder.stat().st_dev
    except OSError:  # not made yet
        return folder


def _set_aside(course: Course) -> None:
    """Move an older study of that name out of the way.

    Its folder, and its Optuna studies on another storage.
    """
    directory, name, storage_url = course.directory, course.spec.study.name, course.options.storage
    if storage_url:
        with open_storage(storage_url, name) as storage:
            move_aside(storage, name)
    elif directory.exists():
        with hold_file(directory / "study.db"):
            pass  # refuses where another coordinator is at work in it
    put_aside(directory)


@contextlib.contextmanager
def _executor(options: RunOptions) -> Iterator[Executor]:
    spawn = {} if options.spawn is None else {"spawn": options.spawn}
    executor = LocalExecutor(options.workers, options.plugins, standby=options.standby, **spawn)
    try:
        yield executor
    finally:
        executor.close()


def _limits(course: Course) -> Limits:
    search = course.spec.search
    return Limits(
        trial_timeout_s=None if course.options.deterministic else search.trial_timeout_s,
        trial_memory_bytes=search.trial_memory_bytes or machine.memory_bytes(),
        one_in_flight=course.options.deterministic,
    )


def _search(
    course: Course, executor: Executor, searches: Sequence[TrialSeries], started: float
) -> None:
    options, watcher = course.options, course.watcher
    watcher.phase("search", searches, sum(series.total for series in searches))
    limits = _limits(course)
    if options.timeout_s is not None and not options.deterministic:
        limits = dataclasses.replace(limits, stop_at=started + options.timeout_s)
    coordinator = Coordinator(executor, limits, watcher.progress, options.plugins)
    if not coordinator.run(searches):
        watcher.note(
            f"the time is up after {options.timeout_s:g} s: all searches are compared at their "
            f"first {common_trials(searches)} trials"
        )


def _confirm(
    course: Course, executor: Executor, context: StudyRun, winners: Sequence[Winner]
) -> list[tuple[Winner, TrialSeries]]:
    """Train each search's winner anew along the ladder."""
    if not course.spec.confirm.seeds:
        return []
    opened = []
    for winner in winners:
        params = winner.record.params
        rungs = ladder(course.spec, get_task(course.spec.base(winner.key.task)))
        lengths = rungs or (int(params["sequence_length"]),)
        opened.append((winner, open_confirmation(context, winner.key, params, lengths)))
    every = [series for _, series in opened]
    course.watcher.phase("confirm", every, sum(series.total for series in every))
    limits = dataclasses.replace(_limits(course), independent=True)
    options = course.options
    Coordinator(executor, limits, course.watcher.progress, options.plugins).run(every)
    return opened


def _measure(course: Course, kept: Sequence[Winner]) -> None:
    """Look into the kept models, and time them alone on the machine."""
    measure_diagnostics(course, kept)
    records.remove_throughput(course.directory)  # an earlier session's is of other winners
    if not course.spec.throughput.enabled or not kept:
        return
    course.watcher.phase("time", (), len(kept))
    try:
        winners, grid = time_winners(course, kept), time_grid(course, kept)
        records.write_throughput(course.directory, {"winner": winners, "grid": grid})
        records.write_inference(course.directory, {"winner": time_inference(course, kept)})
    except WorkerError as error:
        course.watcher.note(f"{error}; the report goes without what is not timed")
