"""Does a change leave the tables of a study as they were? Runs studies at two revisions.

    python -m benchmarks.same_tables --base REVISION [--study quickstart] [--study lesson] [--tasks]

Each study runs once at the base revision, in a git worktree, and once in the working tree, with
--deterministic and without timing. Every CSV file, spec.toml and winners/ are compared. Columns
that end in _s or _per_second are left out: they are times. `--tasks` adds one small study for each
task.

About 6 minutes on 2 cores for quickstart, lesson and all tasks. The answer goes to the terminal,
one line for each study. Exit codes: 0 all tables are equal; 1 one differs, or a study failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch

from harness.tasks import TASKS

ROOT = Path(__file__).parents[1]
TIMES = ("_s", "_per_second")
# A search of 2 trials for each cell, and one run at one lag: seconds for each task.
SMALL = (
    *("search.trials=2", "search.repeats=1", "training.sequences=640"),
    *("training.evaluate_every=320", "training.evaluation_sequences=100", "training.batch_size=32"),
    *("space.sequence_length=[12, 16]", "confirm.lags=[12]", "confirm.seeds=1"),
    "confirm.evaluation_sequences=100",
)


def settings_of(tasks: bool, studies: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The name, the study file and the settings of each study."""
    yield from ((study, study, ()) for study in studies)
    if tasks:
        for task in TASKS:
            if task != "lesson":  # the study `lesson` has it: its length is fixed
                chosen = (f'study.name="small_{task}"', f'compare.tasks=["{task}"]')
                yield f"small_{task}", "quickstart", (*SMALL, *chosen)


def run_study(tree: Path, results: Path, study: str, settings: Sequence[str]) -> None:
    """Run a study with the package of `tree`. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "harness.study", study, "--deterministic"]
    command += ["--results", str(results), "--device", "cpu"]
    for setting in (*settings, "throughput.enabled=false"):
        command += ["--set", setting]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)


def table_of(path: Path) -> pd.DataFrame:
    """A table without its times."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[[name for name in table if not str(name).endswith(TIMES)]]


def differences(base: Path, head: Path) -> Iterator[str]:
    """What differs between the results of two runs of one study."""
    patterns = ("*.csv", "spec.toml", "winners/*")
    names = {
        str(path.relative_to(side))
        for side in (base, head)
        for pattern in patterns
        for path in side.glob(pattern)
    }
    for name in sorted(names):
        one, other = base / name, head / name
        if not one.exists() or not other.exists():
            yield f"{name}: only on one side"
        elif name.endswith(".csv"):
            if not table_of(one).equals(table_of(other)):
                yield name
        elif name.endswith(".pt"):
            first, second = torch.load(one), torch.load(other)
            if list(first) != list(second) or not all(
                torch.equal(first[key], second[key]) for key in first
            ):
                yield name
        elif one.read_bytes() != other.read_bytes():
            yield name


def main() -> None:
    """Run and compare; one line for each study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--base", required=True, metavar="REVISION")
    parser.add_argument("--study", action="append", default=[], help="repeatable")
    parser.add_argument("--tasks", action="store_true", help="one small study for each task")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "base")
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--detach", str(tree), options.base], check=True)
        try:
            for name, study, settings in settings_of(options.tasks, options.study):
                for side, source in (("base_results", tree), ("head_results", ROOT)):
                    run_study(source, Path(folder, side), study, settings)
                found = list(
                    differences(
                        Path(folder, "base_results", name), Path(folder, "head_results", name)
                    )
                )
                failed |= bool(found)
                print(
                    f"{name}: {'differs in ' + ', '.join(found) if found else 'equal'}", flush=True
                )
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
