"""Processes of small studies are killed at random moments.

What is left in the end is what an undisturbed study leaves.

$TORTURE_KILLS says how many kills: a handful without it, 200 in `make torture`. $TORTURE_SEED says
which.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from harness.study.execution import prewarmed_server
from tests.small import family, run_small, study_command, survivors, tables, wait_for, write_small
from tests.tally import Tally

N_KILLS = int(os.environ.get("TORTURE_KILLS", "4"))
SEED = int(os.environ.get("TORTURE_SEED", "0"))
PROMISE = (
    "no finished trial lost or counted twice, none left running, no process left, the same tables"
)
SETTINGS = (
    'compare.tasks=["temporal_order","delayed_recall"]',
    'compare.cells=["rnn","gru"]',
    "search.trials=8",
    "confirm.seeds=2",
)
SHOWN = {
    "worker": "SIGKILL of a worker",
    "server": "SIGKILL of the fork server",
    "coordinator": "SIGKILL of the coordinator",
    "all": "SIGKILL of all processes at once, as when the machine restarts",
}
WINNERS = [
    f"{task}-{cell}{suffix}"
    for task in ("temporal_order", "delayed_recall")
    for cell in ("rnn", "gru")
    for suffix in (".pt", ".initial.pt", ".toml")
]
LATEST_S = 1.2  # after the search began, or went on
AT_THE_START = 0.15  # of the lives: kills come while all is still being loaded and opened
Finished = dict[tuple[str, str], str]


def finished(results: Path) -> tuple[Finished, Counter[tuple[str, str]], int]:
    """By (study, slot's key) what each finished trial found; how many there are of each.

    And how many are RUNNING.

    CompareConfig of the database itself, as nobody who has a part in this would.
    """
    if not (results / "study.db").exists():
        return {}, Counter(), 0
    query = (
        "SELECT study_name, state, k.value_json, r.value_json FROM trials JOIN studies USING (study_id) "
        "LEFT JOIN trial_user_attributes k ON k.trial_id = trials.trial_id AND k.key = 'key' "
        "LEFT JOIN trial_user_attributes r ON r.trial_id = trials.trial_id AND r.key = 'result'"
    )
    with closing(sqlite3.connect(results / "study.db")) as connection:
        try:
            rows = connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # killed before there was a table
            return {}, Counter(), 0
    found: Finished = {}
    counts: Counter[tuple[str, str]] = Counter()
    for study, state, key, result in rows:
        if state == "COMPLETE":
            found[study, key] = json.dumps(without_times(json.loads(json.loads(result))))
            counts[study, key] += 1
    return found, counts, sum(state in ("RUNNING", "WAITING") for _, state, *_ in rows)


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


@pytest.mark.nightly
@pytest.mark.skipif(not prewarmed_server.HAS_FORK_SERVER, reason="no fork server on this system")
@pytest.mark.timeout(120 + 30 * N_KILLS)
def test_killed_at_random_moments(tmp_path: Path, tally: Tally) -> None:
    """SIGKILL of a worker, the fork server, the coordinator and all of them, many times."""
    (tmp_path / "whole").mkdir()
    run_small(tmp_path / "whole", *SETTINGS, workers=2, plugins=(), deterministic=True)
    whole = tables(tmp_path / "whole" / "results" / "small")
    kinds = [list(SHOWN)[i % len(SHOWN)] for i in range(N_KILLS)]
    lots = random.Random(SEED)
    lots.shuffle(kinds)
    n_studies = 0
    while kinds:
        n_studies += 1
        folder = tmp_path / str(n_studies)
        folder.mkdir()
        torture(folder, kinds, lots, whole, tally)
    assert tally.lost == 0
    assert sum(entry.injected for entry in tally.entries) == N_KILLS


def torture(
    folder: Path,
    kinds: list[str],
    lots: random.Random,
    whole: dict[str, list[dict[str, str]]],
    tally: Tally,
) -> None:
    """Run one study to its end, through as many of the kills as fall into its time.

    Each is counted, and what it cost.
    """
    results = folder / "results" / "small"
    arguments = [str(write_small(folder)), "--results", str(folder / "results")]
    arguments += ["--workers", "2", "--deterministic"]
    arguments += [word for setting in SETTINGS for word in ("--set", setting)]
    before: Finished = {}
    killed: Counter[str] = Counter()
    lost = 0
    while True:
        with study_command(*arguments) as process:
            if lots.random() < AT_THE_START:
                time.sleep(lots.uniform(0, LATEST_S))
            else:
                wait_for(process, "Searching")
            started = family(process.pid)
            while kinds and process.poll() is None:
                time.sleep(lots.uniform(0, LATEST_S))
                started += [each for each in living_family(process.pid) if each not in started]
                kind = kinds[0]
                if process.poll() is None and kill(targets(kind, process.pid)):
                    killed[kinds.pop(0)] += 1
                if kind in ("coordinator", "all"):
                    break
            output, _ = process.communicate(timeout=120)
        lost += len(survivors(started))
        found, counts, n_running = finished(results)
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
    for i, (kind, count) in enumerate(killed.items()):  # a study's loss is counted once
        tally.add(SHOWN[kind], PROMISE, injected=count, lost=lost if i == 0 else 0)
    assert lost == 0, output


def living_family(pid: int) -> list[psutil.Process]:
    """The processes below this one; none where it is gone."""
    try:
        return family(pid)
    except psutil.NoSuchProcess:
        return []
