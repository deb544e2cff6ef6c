"""What do coordinator and process add to a trial, compared with Optuna's empty ask and tell?

    python benchmarks/trial_overhead.py [--rounds 3]

A search of 61 trials, whose bodies take about a millisecond, runs with one worker; what a trial
adds is the time from one trial's end to the next one's, less the time that the same training takes
by itself. Counted are trials 20 to 60. The rounds of the two alternate, so that whatever else the
machine does meets both. The bound is 40 ms (median, CPU).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import optuna

from harness import config as specs
from harness.cells import CELLS
from harness.machine import configure_process, cpu_model
from harness.study.coordinator import Coordinator, TrialLimits, TrialProgress
from harness.study.execution.local_executor import start_local_executor
from harness.study.execution.worker import preload
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import open_search
from harness.study.search.search_space import suggested_distributions
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.trials_to_run import SearchKey
from harness.tasks import TASKS
from harness.training.training_loop import Training, TrainingConfig

FIRST, LAST = 20, 60
STUDY = """
[study]
name = "overhead"
[compare]
tasks = ["lesson"]
cells = ["lstm"]
[space]
hidden_size = { low = 2, high = 8 }
num_layers = 1
learning_rate = { low = 1e-3, high = 1.0, log = true }
sequence_length = 4
initialization = ["pytorch", "orthogonal"]
[training]
batch_size = 2
sequences = 4
evaluate_every = 4
evaluation_sequences = 2
stop_when_solved = false
[search]
trials = 61
repeats = 1
objective = "loss"
[confirm]
seeds = 0
"""


def read_study(folder: Path) -> specs.StudySpec:
    """The study above."""
    path = folder / "overhead.toml"
    path.write_text(STUDY)
    return specs.check_study(specs.load_study(path), path.name, TASKS, CELLS, 2**33)


def harness_overheads(folder: Path) -> list[float]:
    """Seconds that a trial costs beyond its training, as `python -m harness.study` runs it."""
    spec = read_study(folder)
    ends: list[float] = []
    configs: list[TrainingConfig] = []

    def watch(progress: TrialProgress) -> None:
        if progress.kind == "finished":
            ends.append(time.monotonic())
            configs.append(progress.job.config)

    with open_storage(default_url(folder), "overhead") as storage:
        options = StudyOptions(folder, "cpu", 1, where="overhead.toml")
        study = StudyRun(spec, options, storage, spec.identity())
        series = open_search(study, SearchKey("lesson", "lstm", 0))
        executor = start_local_executor(1)
        try:
            Coordinator(executor, TrialLimits(trial_timeout_s=300.0), watch).run([series])
        finally:
            executor.close()
    bare = [train(config) for config in configs]
    return [ends[slot] - ends[slot - 1] - bare[slot] for slot in range(FIRST, LAST + 1)]


def train(config: TrainingConfig) -> float:
    """Seconds that the training takes by itself."""
    start = time.monotonic()
    for _ in Training(config).evaluations():
        pass
    return time.monotonic() - start


def optuna_overheads(folder: Path) -> list[float]:
    """Seconds for an ask and a tell of the same parameters by plain Optuna on plain SQLite."""
    space = suggested_distributions(read_study(folder), "lesson", "lstm")
    study = optuna.create_study(storage=f"sqlite:///{folder / 'plain.db'}", direction="minimize")
    ends = []
    for _ in range(LAST + 1):
        trial = study.ask(space)
        study.tell(trial, trial.params["learning_rate"])
        ends.append(time.monotonic())
    return [ends[slot] - ends[slot - 1] for slot in range(FIRST, LAST + 1)]


def describe(name: str, seconds: Sequence[float]) -> str:
    """Median and quartiles in milliseconds."""
    low, median, high = (1000 * each for each in statistics.quantiles(seconds, n=4))
    return (
        f"{name:<36} median {median:6.1f} ms, quartiles {low:.1f} to {high:.1f}, n = {len(seconds)}"
    )


def main() -> None:
    """Measure both in turn, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    configure_process()
    preload()
    ours, plain = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            ours += harness_overheads(Path(name))
            plain += optuna_overheads(Path(name))
    print(f"{cpu_model()}, Python {sys.version.split()[0]}, Optuna {optuna.__version__}")
    print(describe("added to a trial by the harness", ours))
    print(describe("an empty ask/tell of plain Optuna", plain))


if __name__ == "__main__":
    main()
