"""The phases of a study, in order: search, confirm, train the winners, time, report.

Each phase stores what it finished before the next one begins, so a study that is run again resumes.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cells, machine, records, tasks
from harness.atomic_file import remove_temporary_files
from harness.cells.fast_recurrence import describe_recurrence
from harness.cells.native.library import native_status
from harness.config import StudySpec, confirmation_lengths
from harness.errors import WorkerError
from harness.home_folder import hide_home
from harness.plugins import MODULES, plugin_sources
from harness.records.file_lock import hold_file
from harness.records.results_folder import (
    check_folder,
    make_folder,
    name_unwritable_file,
    putting_aside,
)
from harness.study.coordinator import Coordinator, TrialLimits
from harness.study.disk_space import low_disk, needed_bytes
from harness.study.execution.executor import Executor
from harness.study.execution.local_executor import start_local_executor
from harness.study.phases.measure_diagnostics import measure_diagnostics
from harness.study.phases.time_inference import time_inference
from harness.study.phases.time_training import time_grid, time_winners
from harness.study.phases.train_winners import (
    Winner,
    best_of,
    best_of_pairs,
    common_trials,
    train_winners,
)
from harness.study.phases.write_tables import write_tables
from harness.study.run_context import StudyObserver, StudyOptions, StudyRun, results_of
from harness.study.search.optuna_trials import (
    TrialSeries,
    end_confirmations,
    open_confirmation,
    open_search,
)
from harness.study.search.plugin_check import check_plugins
from harness.study.search.trial_config import check_sizes
from harness.study.storage.open_storage import (
    check_storage,
    database_file,
    default_url,
    mask,
    open_storage,
)
from harness.study.storage.study_identity import NATIVE, NUMERICS, move_aside, remember_versions
from harness.study.trials_to_run import SearchKey
from harness.tasks import TASKS, Hashed, get_task
from harness.training.training_loop import CAPTURED

if TYPE_CHECKING:
    from harness.rendering.render import WrittenReport


@dataclasses.dataclass(frozen=True)
class StudyOutcome:
    """The result of a study. `without_result` lists each (task, cell) without a valid result."""

    directory: Path
    answer: WrittenReport
    without_result: tuple[tuple[str, str], ...]


def run_study(spec: StudySpec, options: StudyOptions, observer: StudyObserver) -> StudyOutcome:
    """Run every phase, or what is left of them.

    KeyboardInterrupt passes through, with everything saved. Raises FileError where a disk is full,
    InputError where a file may not be written; what was finished is kept.
    """
    with name_unwritable_file():
        return _run_study(spec, options, observer)


def _run_study(spec: StudySpec, options: StudyOptions, observer: StudyObserver) -> StudyOutcome:
    options = dataclasses.replace(options, plugins=_plugins(spec, options))
    directory = results_of(spec, options)
    started = time.monotonic()
    machine.configure_process()
    check_sizes(spec, options.where)
    check_plugins(spec, options.where, options.device)
    if options.storage and not _is_in_folder(options.storage, directory):
        check_storage(options.storage)
    if options.fresh:
        _set_aside(spec, options)
    check_folder(directory, "study", "bench", "grid.toml")
    make_folder(directory)
    url = options.storage or default_url(directory)
    for remark in _low_disks(spec, directory, database_file(url)):
        observer.note(remark)
    with contextlib.ExitStack() as held:
        if not _is_in_folder(url, directory):
            held.enter_context(hold_file(directory / "study.db"))  # lock the folder too
        storage = held.enter_context(open_storage(url, spec.study.name, observer.note))
        for folder in (directory, directory / "winners", directory / "figures"):
            remove_temporary_files(folder)
        study = StudyRun(spec, options, storage, _identity(spec, options), observer)
        return _run_phases(study, started)


def _run_phases(study: StudyRun, started: float) -> StudyOutcome:
    """Run the phases in order. The storage stays locked until the report is written."""
    spec, options, observer = study.spec, study.options, study.observer
    searches = [open_search(study, key) for key in search_keys(spec)]
    done_before = sum(len(series.finished) for series in searches)
    warnings = remember_versions(study.storage, [each.ledger.study_id for each in searches])
    for warning in warnings:
        observer.note(warning)
    runs = _record_run(study)
    with _executor(options, observer) as executor:
        run_searches(study, executor, searches, started)
        common = common_trials(searches)
        winners = [winner for each in searches if (winner := best_of(each, common))]
        confirmations = run_confirmations(study, executor, winners)
        limits = dataclasses.replace(_limits(study), independent=True)
        coordinator = Coordinator(executor, limits, lambda progress: None, options.plugins)
        kept = train_winners(study, coordinator, best_of_pairs(spec, winners))
    write_tables(study.directory, spec, searches, confirmations)
    records.write_spec(study.directory, spec.dump())
    facts = {
        **runs[-1],
        "runs": runs,
        "storage": mask(hide_home(options.storage)) if options.storage else "study.db",
        "common_trials": common,
        "startup_trials": searches[0].slots.startup_trials,
        "warnings": list(warnings),
        "notes": [*_notes(done_before), *capture_notes(_step_kinds(searches, confirmations))],
        "search_and_confirmation_time_s": time.monotonic() - started,
    }
    records.write_machine(study.directory, facts)
    _measure(study, kept)
    records.write_machine(study.directory, {**facts, "wall_time_s": time.monotonic() - started})
    observer.phase("report", (), 1)
    answer = render_report(study.directory)
    found = {(winner.key.task, winner.key.cell) for winner in winners}
    missing = tuple(pair for pair in spec.pairs if pair not in found or pair in answer.missing)
    return StudyOutcome(study.directory, answer, missing)


def _record_run(study: StudyRun) -> list[dict[str, Any]]:
    """Store the machine, the command and its options in machine.json before anything trains.

    Returns the records of all runs of the command, this one last. A file from before there were
    such records holds one run.
    """
    options = study.options
    record = {
        **machine.fingerprint(options.device),
        "recurrence": describe_recurrence(options.device),
        "command": options.command,
        "workers": options.workers,
        "deterministic": options.deterministic,
    }
    stored = records.read_machine_if_any(study.directory)
    known = {key: stored[key] for key in record if key in stored}
    runs = [*stored.get("runs", [known] if known else []), record]
    records.write_machine(study.directory, {**(stored or record), "runs": runs})
    return runs


def render_report(directory: Path) -> WrittenReport:
    """Render the report of a results directory from what is stored there."""
    from harness.study.report.study_report import render

    return render(records.read_study(directory), directory)


def search_keys(spec: StudySpec) -> list[SearchKey]:
    """Every search of a study, by repeat first, so that a timeout leaves equal budgets."""
    return [
        SearchKey(task, cell, repeat)
        for repeat in range(spec.search.repeats)
        for task, cell in spec.pairs
    ]


def _plugins(spec: StudySpec, options: StudyOptions) -> tuple[str, ...]:
    """The plug-ins that the user named, and the modules of the entry points that the study uses."""
    used = [(tasks.TASK_ENTRY_POINTS, spec.base(label)) for label in spec.compare.tasks]
    used += [(cells.CELL_ENTRY_POINTS, spec.base(label)) for label in spec.compare.cells]
    modules = [MODULES[each] for each in used if each in MODULES]
    return tuple(dict.fromkeys([*options.plugins, *modules]))


def _identity(spec: StudySpec, options: StudyOptions) -> dict[str, Any]:
    """What may not change between two runs of the command."""
    bases = {spec.base(label) for label in spec.compare.tasks}
    given = {name: get_task(name) for name in sorted(bases)}
    data = {
        f"data.{name}": task.content_hash()
        for name, task in given.items()
        if isinstance(task, Hashed)
    }
    return {
        **spec.identity(),
        "numerics": NUMERICS,
        "device": options.device.partition(":")[0],
        "processor": machine.processor_family(),
        "cpu_capability": machine.cpu_capability(),
        NATIVE: native_status().level if options.device == "cpu" else "",
        **plugin_sources(options.plugins),
        **data,
    }


def _notes(done_before: int) -> list[str]:
    """Notes for the reader of the times."""
    if not done_before:
        return []
    return [
        f"The study was resumed: {done_before} trials had been done in earlier sessions, whose time is in no sum here."
    ]


def _step_kinds(
    searches: Sequence[TrialSeries], confirmations: Sequence[tuple[Winner, TrialSeries]]
) -> Iterator[str]:
    for series in (*searches, *(each for _, each in confirmations)):
        yield from (record.result.step_kind for record in series.finished.values())


def capture_notes(step_kinds: Iterable[str]) -> list[str]:
    """A note on how many trials a CUDA device ran as captured steps, and why not all.

    Not counted is a trial that was pruned or killed: it does not come to say so.
    """
    counts = collections.Counter(filter(None, step_kinds))
    if not counts:
        return []
    first = f"{counts[CAPTURED]} of {counts.total()} trials on CUDA ran as captured graphs."
    others = sorted(kind for kind in counts if kind != CAPTURED)
    return [first, *(f"{counts[kind]} of them: {kind}." for kind in others)]


def _low_disks(spec: StudySpec, directory: Path, database: Path | None) -> list[str]:
    """A remark for each disk that may be too small for the results or the database."""
    needed = needed_bytes(spec, TASKS)
    folders = dict.fromkeys([directory.absolute(), *([database.parent] if database else [])])
    devices = {_device(folder): folder for folder in reversed(folders)}
    return [remark for folder in devices.values() if (remark := low_disk(folder, needed))]


def _device(folder: Path) -> int | Path:
    try:
        return folder.stat().st_dev
    except OSError:  # not made yet
        return folder


def _set_aside(spec: StudySpec, options: StudyOptions) -> None:
    """Rename an older study of the same name: its folder, and its Optuna studies elsewhere."""
    directory, name = results_of(spec, options), spec.study.name
    with putting_aside(directory, "study.db"):
        if options.storage and not _is_in_folder(options.storage, directory):
            with open_storage(options.storage, name) as storage:
                move_aside(storage, name)


def _is_in_folder(url: str, directory: Path) -> bool:
    """Whether a storage is the study.db of the results folder, whose lock is the folder's."""
    return database_file(url) == (directory / "study.db").absolute()


@contextlib.contextmanager
def _executor(options: StudyOptions, observer: StudyObserver) -> Iterator[Executor]:
    executor = start_local_executor(
        options.workers,
        options.plugins,
        spawn=options.spawn,
        standby=options.standby,
        notify=observer.note,
    )
    try:
        yield executor
    finally:
        executor.close()


def _limits(study: StudyRun) -> TrialLimits:
    search = study.spec.search
    return TrialLimits(
        trial_timeout_s=None if study.options.deterministic else search.trial_timeout_s,
        trial_memory_bytes=search.trial_memory_bytes or machine.memory_bytes(),
        one_in_flight=study.options.deterministic,
    )


def run_searches(
    study: StudyRun, executor: Executor, searches: Sequence[TrialSeries], started: float
) -> None:
    """Run what is left of the searches. `started` is a reading of the study's clock."""
    options, observer = study.options, study.observer
    observer.phase("search", searches, sum(series.total for series in searches))
    limits = _limits(study)
    if options.timeout_s is not None and not options.deterministic:
        limits = dataclasses.replace(limits, stop_at=started + options.timeout_s)
    coordinator = Coordinator(executor, limits, observer.progress, options.plugins, study.clock)
    if not coordinator.run(searches):
        observer.note(
            f"the time is up after {options.timeout_s:g} s: all searches are compared at their "
            f"first {common_trials(searches)} trials"
        )


def run_confirmations(
    study: StudyRun, executor: Executor, winners: Sequence[Winner]
) -> list[tuple[Winner, TrialSeries]]:
    """Train each search's winner with fresh seeds at each length."""
    opened = []
    for winner in winners if study.spec.confirm.seeds else ():
        params = winner.record.params
        rungs = confirmation_lengths(study.spec, get_task(study.spec.base(winner.key.task)))
        lengths = rungs or (int(params["sequence_length"]),)
        opened.append((winner, open_confirmation(study, winner.key, params, lengths)))
    end_confirmations(study, set(search_keys(study.spec)) - {winner.key for winner, _ in opened})
    every = [series for _, series in opened]
    if not every:
        return []
    study.observer.phase("confirm", every, sum(series.total for series in every))
    limits = dataclasses.replace(_limits(study), independent=True)
    plugins, observer = study.options.plugins, study.observer
    Coordinator(executor, limits, observer.progress, plugins, study.clock).run(every)
    return opened


def _measure(study: StudyRun, kept: Sequence[Winner]) -> None:
    """Measure the diagnostics and the times of the winners that were trained."""
    measure_diagnostics(study, kept)
    records.remove_throughput(study.directory)  # those of an earlier session
    if not study.spec.throughput.enabled or not kept:
        return
    study.observer.phase("time", (), len(kept))
    try:
        winners, grid = time_winners(study, kept), time_grid(study, kept)
        records.write_throughput(study.directory, {"winner": winners, "grid": grid})
        records.write_inference(study.directory, {"winner": time_inference(study, kept)})
    except WorkerError as error:
        study.observer.note(f"{error}; the report goes without what is not timed")
