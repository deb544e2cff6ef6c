"""Processes of small studies are killed at random moments.

What is left in the end is what an undisturbed study leaves. Each study is drawn anew: its batches,
evaluations, longer sequences, pruner, sampler and storage. $TORTURE_KILLS says how many faults: a
handful without it, 200 in `make torture`. $TORTURE_SEED says which.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from harness.study.execution import prewarmed_server
from harness.study.execution.local_executor import LocalExecutor
from tests.small import family, run_small, study_command, survivors, tables, wait_for, write_small
from tests.study.postgres import PostgresServer, postgres_server
from tests.tally import Tally

N_KILLS = int(os.environ.get("TORTURE_KILLS", "6"))
SEED = int(os.environ.get("TORTURE_SEED", "0"))
FAILING_FORKS = str(Path(__file__).parent / "failing_forks.py")
PROMISE = (
    "no finished trial lost or counted twice, none left running, no process left, the same tables"
)
SHOWN = {
    "worker": "SIGKILL of a worker",
    "server": "SIGKILL of the fork server",
    "coordinator": "SIGKILL of the coordinator",
    "all": "SIGKILL of all processes at once, as when the machine restarts",
    "forks": "no process can be forked for a while",
    "servers": "no fork server can be started in place of one that was killed",
}
CELLS, TASKS = ("rnn", "gru"), ("delayed_recall", "repeat_previous")
WINNERS = [
    f"{task}-{cell}{suffix}"
    for task in TASKS
    for cell in CELLS
    for suffix in (".pt", ".initial.pt", ".toml")
]
MOST_KILLS = 5  # in one run of the command
# After the search began, or went on. With three kills of one trial it would end as crashed, so the
# time between two kills is longer than a trial
EARLIEST_S, LATEST_S = 0.3, 0.9
AT_THE_START = 0.15  # of the lives: kills come while all is still being loaded and opened
Finished = dict[tuple[str, str], str]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One study: its settings, and where it is stored ("" for the default)."""

    settings: tuple[str, ...]
    storage: str

    def arguments(self, folder: Path) -> list[str]:
        """The command line, with results in `folder`."""
        arguments = [str(write_small(folder)), "--results", str(folder / "results")]
        arguments += ["--workers", "2", "--deterministic", "--plugin", FAILING_FORKS]
        arguments += [word for setting in self.settings for word in ("--set", setting)]
        return arguments + (["--storage", self.storage] if self.storage else [])


def draw_study(lots: random.Random, number: int, folder: Path, server: str) -> Drawn:
    """A study of short tasks, which most trials solve, and some do not."""
    every = lots.choice((48, 100, 150))
    settings = (
        f'study.name="small{number}"',
        f"compare.tasks={json.dumps(TASKS)}",
        f"compare.cells={json.dumps(CELLS)}",
        "space.hidden_size={low=4,high=16}",
        "space.sequence_length={low=4,high=7}",
        "space.learning_rate={low=3e-3,high=3e-2,log=true}",
        f"training.batch_size={lots.choice((8, 16, 32))}",
        f"training.evaluate_every={every}",
        f"training.sequences={every * lots.randint(5, 10) + lots.choice((0, 7, 30))}",
        f"training.stop_when_solved={lots.choice(('true', 'false'))}",
        "training.evaluation_sequences=100",
        "search.trials=12",
        "search.repeats=2",
        f'search.sampler="{lots.choice(("tpe", "random"))}"',
        f'search.pruner="{lots.choice(("none", "bound", "median", "halving", "hyperband"))}"',
        "confirm.seeds=2",
        "confirm.sequence_lengths=[4,6]",
        f"confirm.extrapolation={lots.choice(('[2]', '[2,4]', '[]'))}",
    )
    return Drawn(settings, lots.choice(["", f"sqlite:///{folder}/elsewhere.db", server]))


def finished(url: str, name: str) -> tuple[Finished, Counter[tuple[str, str]], int]:
    """By (study, slot's key) what each finished trial found; how many there are of each.

    And how many are RUNNING. Read from the database itself, past the code that is tested.
    """
    query = sqlalchemy.text(
        "SELECT study_name, CAST(state AS VARCHAR(20)), k.value_json, r.value_json "
        "FROM trials JOIN studies USING (study_id) "
        "LEFT JOIN trial_user_attributes k ON k.trial_id = trials.trial_id AND k.key = 'key' "
        "LEFT JOIN trial_user_attributes r ON r.trial_id = trials.trial_id AND r.key = 'result'"
    )
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query).fetchall()
    except sqlalchemy.exc.DBAPIError:  # killed before there was a table
        return {}, Counter(), 0
    finally:
        engine.dispose()
    found: Finished = {}
    counts: Counter[tuple[str, str]] = Counter()
    own = [row for row in rows if row[0].startswith(f"{name}/")]
    for study, state, key, result in own:
        if state == "COMPLETE":
            found[study, key] = json.dumps(without_times(json.loads(json.loads(result))))
            counts[study, key] += 1
    return found, counts, sum(state in ("RUNNING", "WAITING") for _, state, *_ in own)


def without_times(result: dict[str, object]) -> dict[str, object]:
    """What a trial found, but for its times."""
    return {name: value for name, value in result.items() if not name.endswith("_s")}


def targets(kind: str, coordinator: int) -> list[int]:
    """The processes to kill; none where there is none of that kind now."""
    with suppress(psutil.NoSuchProcess):
        servers = psutil.Process(coordinator).children()
        workers = [worker for server in servers for worker in server.children()]
        return {
            "worker": [worker.pid for worker in workers[:1]],
            "server": [server.pid for server in servers[:1]],
            "servers": [server.pid for server in servers[:1]],
            "coordinator": [coordinator],
            "all": [each.pid for each in [psutil.Process(coordinator), *servers, *workers]],
        }[kind]
    return []


def kill(pids: Sequence[int]) -> int:
    """Kill them; says how many were there."""
    n_killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            n_killed += 1
    return n_killed


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as made:
        yield made


@pytest.mark.nightly
@pytest.mark.skipif(not prewarmed_server.HAS_FORK_SERVER, reason="no fork server on this system")
@pytest.mark.timeout(300 + 60 * N_KILLS)
def test_killed_at_random_moments(
    tmp_path: Path, tally: Tally, server: PostgresServer, executor: LocalExecutor
) -> None:
    """SIGKILL of a worker, the fork server, the coordinator and all of them, many times."""
    kinds = [list(SHOWN)[i % len(SHOWN)] for i in range(N_KILLS)]
    lots = random.Random(SEED)
    lots.shuffle(kinds)
    n_studies = 0
    while kinds:
        n_studies += 1
        folder = tmp_path / str(n_studies)
        (folder / "whole").mkdir(parents=True)
        drawn = draw_study(lots, n_studies, folder, server.url)
        whole = run_small(
            folder / "whole",
            *drawn.settings,
            executor=executor,
            workers=2,
            plugins=(),
            deterministic=True,
        )
        torture(folder, drawn, kinds, lots, tables(whole.directory), tally)
    assert tally.lost == 0
    assert sum(entry.injected for entry in tally.entries) >= N_KILLS


def torture(
    folder: Path,
    drawn: Drawn,
    kinds: list[str],
    lots: random.Random,
    whole: dict[str, list[dict[str, str]]],
    tally: Tally,
) -> None:
    """Run one study to its end, through as many of the faults as fall into its time.

    Each is counted, and what it cost.
    """
    name = drawn.settings[0].split('"')[1]
    results = folder / "results" / name
    url = drawn.storage or f"sqlite:///{results}/study.db"
    before: Finished = {}
    faults: Counter[str] = Counter()
    lost = 0
    while True:
        environment = failing_starts(kinds, lots, faults)
        with study_command(*drawn.arguments(folder), environment=environment) as process:
            if lots.random() < AT_THE_START:
                time.sleep(lots.uniform(0, LATEST_S))
            else:
                wait_for(process, "Searching")
            started = disturb(process.pid, kinds, lots, faults, lambda: process.poll() is None)
            output, _ = process.communicate(timeout=120)
        lost += len(survivors(started))
        found, counts, n_running = finished(url, name)
        lost += sum(found.get(key) != result for key, result in before.items())
        lost += sum(count - 1 for count in counts.values())
        before = found
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, output
    final = tables(results)
    lost += n_running + sum(row not in final[name] for name, rows in whole.items() for row in rows)
    lost += sum(abs(len(final[name]) - len(rows)) for name, rows in whole.items())
    lost += sum(not (results / "winners" / name).exists() for name in WINNERS)
    for i, (kind, count) in enumerate(faults.items()):  # a study's loss is counted once
        tally.add(SHOWN[kind], PROMISE, injected=count, lost=lost if i == 0 else 0)
    assert lost == 0, f"{drawn}\n{output}"


def failing_starts(kinds: list[str], lots: random.Random, faults: Counter[str]) -> dict[str, str]:
    """The environment of a run of the command in which processes are not started, if it is time."""
    environment = {}
    if kinds and kinds[0] == "forks":
        faults[kinds.pop(0)] += 1
        environment["FORKS_FAIL_FOR_S"] = f"{lots.uniform(1.0, 4.0):.3f}"
    if kinds and kinds[0] == "servers":  # `disturb` kills the server
        environment["SERVERS_FAIL"] = str(lots.randint(1, 4))
    return environment


def disturb(
    pid: int,
    kinds: list[str],
    lots: random.Random,
    faults: Counter[str],
    runs: Callable[[], bool],
) -> list[psutil.Process]:
    """Kill processes of a running study. Returns all that it has started."""
    started = living_family(pid)
    n_killed = 0
    while kinds and runs():
        time.sleep(lots.uniform(EARLIEST_S, LATEST_S))
        started += [each for each in living_family(pid) if each not in started]
        kind = kinds[0]
        # These need a run of the command with an environment of its own, from its beginning
        needs_new_run = kind == "forks" or (kind == "servers" and n_killed > 0)
        if needs_new_run or (n_killed == MOST_KILLS and kind in ("worker", "server")):
            kind = "coordinator"
        if runs() and kill(targets(kind, pid)):
            faults[kind] += 1
            n_killed += 1
            if kind == kinds[0]:
                kinds.pop(0)
        if kind in ("coordinator", "all"):
            break
    return started


def living_family(pid: int) -> list[psutil.Process]:
    """The processes below this one; none where it is gone."""
    try:
        return family(pid)
    except psutil.NoSuchProcess:
        return []
