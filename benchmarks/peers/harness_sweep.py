"""The list through the harness.

Its coordinator, its worker processes and its storage, as `python -m harness.study` has them.

    python -m benchmarks.peers.harness_sweep --trials FILE --out FILE [--workers 2]

A study file cannot name a list of points, so a proposer that reads the list stands where the
sampler stands; all else is what a study's search does: SQLite on disk, a process for each trial,
its evaluations (one before the first update, one at the end, where the other programs have the
latter alone). No confirmation, no timing, no report. `phases_s` says when each part was done.
"""

from __future__ import annotations

import atexit
import gc
import time

START = time.perf_counter()

from pathlib import Path  # noqa: E402  # the clock starts before the imports

from harness.study.execution.prewarmed_server import ServerProcess  # noqa: E402

STANDBY = ServerProcess() if __name__ == "__main__" else None  # as `study` does: before torch

from optuna.trial import FrozenTrial, TrialState  # noqa: E402

from benchmarks.peers import listed  # noqa: E402
from benchmarks.peers.listed import Trial, TrialList  # noqa: E402
from harness import config as specs  # noqa: E402
from harness import machine  # noqa: E402
from harness.cells import CELLS  # noqa: E402
from harness.hyperparameters import Value  # noqa: E402
from harness.study.coordinator import Coordinator, TrialLimits, TrialProgress  # noqa: E402
from harness.study.execution.local_executor import start_local_executor  # noqa: E402
from harness.study.run_context import StudyOptions, StudyRun  # noqa: E402
from harness.study.search.optuna_trials import Slots, TrialSeries  # noqa: E402
from harness.study.search.search_space import suggested_distributions  # noqa: E402
from harness.study.storage.open_storage import default_url, open_storage  # noqa: E402
from harness.study.trials_to_run import SearchKey  # noqa: E402
from harness.tasks import TASKS  # noqa: E402

STUDY = """
[study]
name = "race"
[compare]
tasks = ["{task}"]
cells = ["rnn", "gru", "lstm"]
[space]
hidden_size = {{ low = 1, high = 256, log = true }}
num_layers = {{ low = 1, high = 2 }}
learning_rate = {{ low = 1e-4, high = 1e-3, log = true }}
sequence_length = {{ low = 10, high = 400, log = true }}
initialization = "pytorch"
[training]
batch_size = {batch_size}
sequences = {sequences}
evaluate_every = {sequences}
evaluation_sequences = {evaluation_sequences}
max_grad_norm = {max_grad_norm}
stop_when_solved = false
[search]
trials = {n_trials}
repeats = 1
objective = "loss"
[confirm]
seeds = 0
"""


class Listed:
    """A proposer whose slots are the trials of the list."""

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = trials

    def restore(self, slot: int, trial: FrozenTrial) -> None:
        """Nothing hangs on the history."""

    def propose(self, slot: int) -> dict[str, Value]:
        """The slot's parameters."""
        trial = self.trials[slot]
        names = ("hidden_size", "num_layers", "learning_rate", "sequence_length")
        return {**{name: getattr(trial, name) for name in names}, "initialization": "pytorch"}

    def report(self, slot: int, step: int, value: float, reachable: float) -> bool:
        """Nothing is pruned."""
        return False

    def give_up(self, slot: int) -> None:
        """Do nothing."""

    def tell(self, slot: int, state: TrialState, value: float | None, violation: float) -> None:
        """Nothing hangs on the history."""


def read_study(folder: Path, trials: TrialList) -> specs.StudySpec:
    """The study that the list is part of."""
    path = folder / "race.toml"
    fixed = ("task", "batch_size", "sequences", "evaluation_sequences", "max_grad_norm")
    filled = {name: getattr(trials, name) for name in fixed}
    path.write_text(STUDY.format(**filled, n_trials=len(trials.trials)), encoding="utf-8")
    return specs.check_study(
        specs.load_study(path), path.name, TASKS, CELLS, machine.memory_bytes()
    )


def open_series(study: StudyRun, cell: str, trials: TrialList) -> TrialSeries:
    """The trials of one cell, as a series of the study."""
    own = [each for each in trials.trials if each.cell == cell]
    key = SearchKey(trials.task, cell, 0)
    slots = Slots(
        keys=tuple(str(slot) for slot in range(len(own))),
        seeds=tuple(each.seed for each in own),
        distributions=suggested_distributions(study.spec, trials.task, cell),
    )
    return TrialSeries(study, key, study.open(key), Listed(own), slots)


def run(
    folder: Path,
    trials: TrialList,
    workers: int,
    phases: dict[str, float],
    standby: ServerProcess | None = None,
) -> dict[int, tuple[float, float]]:
    """Run the list; each trial's final loss and seconds. `phases` is added to."""
    machine.configure_process()
    started: dict[int, float] = {}
    found: dict[int, tuple[float, float]] = {}

    def index_of(progress: TrialProgress) -> int:
        own = [each for each in trials.trials if each.cell == progress.source.key.cell]
        return own[progress.job.slot].index

    def watch(progress: TrialProgress) -> None:
        now = time.perf_counter()
        if progress.kind == "started":
            started[index_of(progress)] = now
        elif progress.result is not None and progress.result.loss is not None:
            index = index_of(progress)
            found[index] = progress.result.loss, now - started[index]

    study = read_study(folder, trials)
    with open_storage(default_url(folder), study.study.name) as storage:
        options = StudyOptions(folder, "cpu", workers, where="race.toml")
        whole = StudyRun(study, options, storage, study.identity())
        series = [open_series(whole, cell, trials) for cell in study.compare.cells]
        phases["storage opened"] = time.perf_counter() - START
        executor = start_local_executor(workers, standby=standby)
        phases["workers ready"] = time.perf_counter() - START
        try:
            limits = TrialLimits(
                trial_timeout_s=study.search.trial_timeout_s,
                trial_memory_bytes=machine.memory_bytes(),
                independent=True,  # as a confirmation: the slots do not hang on each other
            )
            Coordinator(executor, limits, watch).run(series)
            phases["trials done"] = time.perf_counter() - START
        finally:
            executor.close()
    phases["closed"] = time.perf_counter() - START
    return found


def main() -> None:
    """Run the list."""
    atexit.register(gc.freeze)  # as `study` does
    phases = {"imported": time.perf_counter() - START}
    arguments = listed.parse_arguments(__doc__, workers=2)
    trials = listed.load(arguments.trials)
    found = run(arguments.out.parent, trials, arguments.workers, phases, STANDBY)
    listed.write(arguments.out, found, phases_s=phases)


if __name__ == "__main__":
    main()
