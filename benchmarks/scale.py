"""What one large search costs.

Each trial's coordination as trials add up, resuming it, memory, and its report.

    python -m benchmarks.scale [--trials 10000] [--sampler tpe] [--out FILE]

Nothing is trained: an executor answers at once, with a curve of ten evaluations made from the
parameters. All else is what a study has: proposals, SQLite on disk, the ledger, tables, report.
`run`, `resume` and `report` are processes of their own, so that each one's greatest memory is its
own. Exit code 1 where a target is missed: 25 ms a trial, resume 10 s, report 60 s, 1 GB.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import config as specs
from harness import machine, records
from harness.cells import CELLS
from harness.columns import TrialStatus
from harness.report import dispatch
from harness.study.coordinator import Coordinator, TrialLimits, TrialProgress
from harness.study.execution.worker_messages import Event, TrialOutcome, TrialRequest
from harness.study.phases.write_tables import write_tables
from harness.study.run_context import StudyOptions, StudyRun
from harness.study.search.optuna_trials import TrialSeries, open_search
from harness.study.storage.open_storage import default_url, open_storage
from harness.study.trials_to_run import SearchKey
from harness.tasks import TASKS
from harness.training.training_loop import Evaluation, TrainingConfig

EVALUATIONS = 10
STUDY = """
[study]
name = "scale"
[compare]
tasks = ["temporal_order"]
cells = ["lstm"]
[space]
hidden_size = {{ low = 4, high = 256, log = true }}
num_layers = {{ low = 1, high = 3 }}
learning_rate = {{ low = 1e-4, high = 1e-1, log = true }}
sequence_length = {{ low = 10, high = 200, log = true }}
initialization = ["pytorch", "orthogonal"]
[training]
sequences = 3200
evaluate_every = 320
[search]
trials = {trials}
repeats = 1
sampler = "{sampler}"
objective = "loss"
[confirm]
seeds = 0
[throughput]
enabled = false
"""


class AtOnce:
    """An executor that trains nothing: each trial's events are there as soon as it is submitted."""

    num_workers = 1

    def __init__(self) -> None:
        self.events: collections.deque[Event] = collections.deque()
        self.ids = 0

    def new_id(self) -> int:
        """A number that no request had."""
        self.ids += 1
        return self.ids

    def submit(self, request: TrialRequest) -> None:
        """Answer with a curve that falls towards the loss which `loss_of` gives."""
        end = loss_of(request.config)
        for step in range(1, EVALUATIONS + 1):
            loss = end + (1.4 - end) * math.exp(-step / 2)
            evaluation = Evaluation(
                sequences_seen=320 * step,
                loss=loss,
                skill=1 - loss / 1.4,
                accuracy=0.5,
                solved=False,
                finite=True,
                train_time_s=0.1 * step,
            )
            self.events.append(Event(request.request_id, evaluation))
        self.events.append(Event(request.request_id, TrialOutcome(TrialStatus.COMPLETE)))

    def next_event(self, timeout_s: float | None) -> Event | None:
        """The next of them."""
        return self.events.popleft() if self.events else None

    def cancel(self, request_id: int) -> None:
        """Forget what was to come of a trial."""
        self.events = collections.deque(e for e in self.events if e.request_id != request_id)

    def close(self) -> None:
        """Nothing runs."""


def loss_of(config: TrainingConfig) -> float:
    """A loss with one valley in the space above, at size 90, learning rate 0.004 and one layer."""
    size, rate = math.log(config.model.hidden_size / 90), math.log(config.learning_rate / 0.004)
    layers = config.model.num_layers - 1
    return 0.05 + 0.05 * size**2 + 0.03 * (rate + 0.5 * size) ** 2 + 0.05 * layers


def open_study(folder: Path, trials: int, sampler: str) -> specs.StudySpec:
    """The study above."""
    path = folder / "scale.toml"
    path.write_text(STUDY.format(trials=trials, sampler=sampler), encoding="utf-8")
    return specs.check_study(specs.load_study(path), path.name, TASKS, CELLS, 2**33)


def phase(name: str, folder: Path, trials: int, sampler: str) -> dict[str, Any]:
    """One of run, resume and report, in this process."""
    machine.configure_process()
    spec = open_study(folder, trials, sampler)
    results = folder / "scale"
    results.mkdir(exist_ok=True)
    started = time.perf_counter()
    if name == "report":
        dispatch.render_folder(results)
        return {"s": time.perf_counter() - started, "memory_mib": memory_mib()}
    with open_storage(default_url(folder), "scale") as storage:
        options = StudyOptions(folder, "cpu", 1, where="scale.toml")
        study = StudyRun(spec, options, storage, spec.identity())
        series = open_search(study, SearchKey("temporal_order", "lstm", 0))
        opened = time.perf_counter() - started
        if name == "resume":
            found = {"s": opened, "memory_mib": memory_mib()}
            tabulate(results, spec, series)
            return found
        return {**run(series), "memory_mib": memory_mib()}


def run(series: TrialSeries) -> dict[str, Any]:
    """Seconds of each trial, and the best loss so far."""
    ends: list[float] = [time.perf_counter()]

    def watch(progress: TrialProgress) -> None:
        if progress.kind == "finished":
            ends.append(time.perf_counter())

    Coordinator(AtOnce(), TrialLimits(), watch).run([series])
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    values = [series.finished[slot].value for slot in sorted(series.finished)]
    return {"trial_s": seconds, "losses": values}


def tabulate(results: Path, spec: specs.StudySpec, series: TrialSeries) -> None:
    """The result files that a report is made of."""
    write_tables(results, spec, [series], [])
    records.write_spec(results, spec.dump())
    facts = {
        **machine.fingerprint("cpu"),
        "command": "python -m benchmarks.scale",
        "storage": "study.db",
        "workers": 1,
        "deterministic": True,
        "common_trials": len(series.finished),
        "warnings": [],
        "notes": [],
        "search_and_confirmation_time_s": 0.0,
        "wall_time_s": 0.0,
    }
    records.write_machine(results, facts)


def memory_mib() -> float:
    """The greatest memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def describe(found: dict[str, Any], trials: int) -> list[str]:
    """The lines to print."""
    seconds, losses = found["run"]["trial_s"], found["run"]["losses"]
    lines = []
    for least in dict.fromkeys((0, 100, 450, 1_000, 2_500, 5_000, max(trials - 100, 0))):
        part: Sequence[float] = seconds[least : least + 100]
        if part:
            low, median, high = (1000 * each for each in statistics.quantiles(part, n=4))
            lines.append(
                f"trials {least} to {least + len(part) - 1}: {median:.1f} ms each (quartiles {low:.1f} to {high:.1f}); "
                f"best loss {min(losses[: least + len(part)]):.5f}"
            )
    lines.append(
        f"all {len(seconds)} trials: {sum(seconds):.0f} s, {1000 * statistics.mean(seconds):.1f} ms each, "
        f"{found['run']['memory_mib']:.0f} MiB"
    )
    for name in ("resume", "report"):
        lines += [f"{name}: {found[name]['s']:.1f} s, {found[name]['memory_mib']:.0f} MiB"]
    return lines


def missed(found: dict[str, Any]) -> list[str]:
    """The targets that were not reached, a line for each."""
    measured = (
        ("a trial", "s", 0.025, statistics.mean(found["run"]["trial_s"])),
        ("resume", "s", 10.0, found["resume"]["s"]),
        ("report", "s", 60.0, found["report"]["s"]),
        ("memory", "MiB", 1e9 / 2**20, max(each["memory_mib"] for each in found.values())),
    )
    return [
        f"target missed: {name}, expected at most {most:.4g} {unit}, got {value:.4g}"
        for name, unit, most, value in measured
        if value > most
    ]


def main() -> int:
    """Run the three phases, each in a process of its own, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--out", type=Path, help="a JSON file with every number")
    parser.add_argument("--phase", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        name, folder = given.phase[0], Path(given.phase[1])
        print(json.dumps(phase(name, folder, given.trials, given.sampler)))
        return 0
    found = {}
    told = ["--trials", str(given.trials), "--sampler", given.sampler]
    with tempfile.TemporaryDirectory() as folder_name:
        for name in ("run", "resume", "report"):
            command = [sys.executable, "-m", "benchmarks.scale", *told]
            done = subprocess.run(
                [*command, "--phase", name, folder_name],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{machine.cpu_model()}, {machine.num_cores()} cores, {given.trials} trials of {given.sampler}"
    )
    print("\n".join(describe(found, given.trials)))
    if given.out is not None:
        given.out.write_text(json.dumps(found), encoding="utf-8")
    beyond = missed(found)
    print("\n".join(beyond), file=sys.stderr, end="\n" if beyond else "")
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main())
