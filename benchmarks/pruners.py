"""Which pruner gets furthest in the same time? Whole studies, each with one pruner.

    python -m benchmarks.pruners [--seconds 20] [--stages 2] [--seeds 5] [--out
    results/reference/pruners]

A study (pruners.toml with one task, one pruner and one study seed) searches for so many seconds and
confirms its winner along a ladder of lags; then the same command goes on with it for as long again,
and so on, a stage at a time. A search that has used up its trials before its time goes on with
twice as many. Each core runs one study at a time, pinned to it; seeds are outermost and the
pruners' order moves on, so that whatever disturbs the machine disturbs all alike.

`runs.jsonl` has a row as soon as a stage ends, and the same command measures what is missing;
README.md and `figures/` are made of it. The studies themselves stay in results/pruners/. Nothing
else should run on the machine meanwhile. Exit codes: 0 done; 1 a study failed; 2 the folder holds
runs of something else.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import math
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.sweep_race import append, foreign, read_runs, sources_hash
from benchmarks.telling import text
from harness import records, stats
from harness.columns import TrialStatus
from harness.machine import cpu_model, fingerprint
from harness.records import write_bytes, write_text

ROOT = Path(__file__).parents[1]
STUDY = Path(__file__).with_suffix(".toml")
STUDIES = ROOT / "results" / "pruners"
SEQUENCES = {"temporal_order": 8_000, "delayed_recall": 5_120, "adding": 10_240}
"""A trial's training budget on each task, so that the first trials leave room.

Of adding, 12,800 sequences put the first winner at
the top of the ladder after 8 s, and 8,000 left it at 0 after 20."""

EVALUATIONS = 8  # of a trial, at most
PRUNERS = ("none", "bound", "median", "halving", "hyperband")
NONE = PRUNERS[0]
TRIALS = 100  # as in the study file
# What is left of a stage is not worth a start; a longer break between two trials is one between
# sessions
SHORT_S = 1.0
LEVEL = 0.05
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """One study, of one task, pruner and study seed, in its own folder."""

    task: str
    pruner: str
    seed: int
    folder: Path

    @property
    def directory(self) -> Path:
        """Where the study's files are."""
        return self.folder / "pruners"


# --- Running ----------------------------------------------------------------------------------


def order(
    tasks: Sequence[str], pruners: Sequence[str], seeds: int
) -> Iterator[tuple[str, str, int]]:
    """Task, pruner and seed of every study in their order.

    Each group of pruners begins one further on.
    """
    for seed in range(seeds):
        for place, task in enumerate(tasks):
            first = (seed + place) % len(pruners)
            for pruner in (*pruners[first:], *pruners[:first]):
                yield task, pruner, seed


def go_on(job: Job, until_s: float) -> dict[str, Any]:
    """Search until a study has searched for so long in all, and confirm its winner.

    What it then knows.
    """
    spent_s, n_trials, limit = *searched(job), TRIALS
    while True:
        while n_trials >= limit:
            limit *= 2
        command = [sys.executable, "-m", "harness.study", str(STUDY.relative_to(ROOT))]
        command += ["--device", "cpu", "--workers", "1", "--seed", str(job.seed)]
        command += ["--set", f"compare.tasks={json.dumps([job.task])}"]
        command += ["--set", f"training.sequences={SEQUENCES[job.task]}"]
        command += ["--set", f"training.evaluate_every={SEQUENCES[job.task] // EVALUATIONS}"]
        command += ["--set", f"search.pruner={json.dumps(job.pruner)}", "--trials", str(limit)]
        command += ["--timeout", f"{max(0.0, until_s - spent_s):.2f}", "--results", str(job.folder)]
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
        )
        if ended.returncode not in (0, 3):  # 3: no trial has a valid result yet
            words = (ended.stderr or ended.stdout).strip().splitlines()
            return {"failed": words[-1] if words else f"exit code {ended.returncode}"}
        spent_s, n_trials = searched(job)
        if n_trials < limit or until_s - spent_s < SHORT_S:
            return look(job)


def searched(job: Job) -> tuple[float, int]:
    """The wall time that a study has searched for, and its trials, as its storage has them."""
    import optuna

    database = job.directory / "study.db"
    if not database.exists():
        return 0.0, 0
    storage = optuna.storages.RDBStorage(f"sqlite:///{database}")
    name = f"pruners/{job.task}/lstm/r0"
    times = [
        (each.datetime_start.timestamp(), each.datetime_complete.timestamp())
        for each in optuna.load_study(study_name=name, storage=storage).trials
        if each.datetime_start and each.datetime_complete
    ]
    storage.remove_session()
    storage.engine.dispose()
    return searched_s(times), len(times)


def look(job: Job) -> dict[str, Any]:
    """What a study has found, and what it took.

    Its best trial's remembered steps, and (lag, remembered steps) of each fresh run.
    """
    study = records.read_study(job.directory)
    trials, runs = study.trials, study.confirmation
    pruned = trials["end"] == TrialStatus.PRUNED
    known = trials.loc[~pruned, "remembered_steps"].dropna()
    fresh = [] if runs is None else zip(runs["lag"], runs["remembered_steps"], strict=True)
    return {
        "search_s": searched(job)[0],
        "trials": len(trials),
        "pruned": int(pruned.sum()),
        "train_s": float(trials["train_time_s"].sum()),
        "pruned_s": float(trials.loc[pruned, "train_time_s"].sum()),
        "found": float(known.max()) if len(known) else 0.0,
        "confirmed": [[lag, 0.0 if math.isnan(steps) else steps] for lag, steps in fresh],
    }


def searched_s(times: Iterable[tuple[float, float]]) -> float:
    """Wall time of a search: from its trials, without the breaks between sessions."""
    total, last = 0.0, None
    for start, end in sorted(times):
        between = 0.0 if last is None else start - last
        total += end - start + (between if 0 <= between < SHORT_S else 0.0)
        last = end
    return total


def identity(seconds: float) -> dict[str, Any]:
    """What all rows of one comparison have in common."""
    machine = json.dumps(fingerprint("cpu"), sort_keys=True)
    study = STUDY.read_bytes() + json.dumps([SEQUENCES, EVALUATIONS]).encode()
    return {
        "study": hashlib.sha256(study).hexdigest()[:16],
        "sources": sources_hash(),
        "machine": hashlib.sha256(machine.encode()).hexdigest()[:16],
        "seconds": seconds,
    }


def run(jobs: Sequence[Job], stages: int, path: Path, same: Row) -> bool:
    """Run what is not in `path` yet, one study a core; whether all went well."""
    runs = read_runs(path)
    done = {(row["task"], row["pruner"], row["seed"], row["stage"]) for row in runs}
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    usable = sorted(os.sched_getaffinity(0))
    for core in usable:
        cores.put(core)
    writing = threading.Lock()

    def study(job: Job) -> bool:
        core = cores.get()
        os.sched_setaffinity(0, {core})  # this thread's, which the study inherits
        try:
            for stage in range(1, stages + 1):
                if (job.task, job.pruner, job.seed, stage) in done:
                    continue
                outcome = go_on(job, stage * same["seconds"])
                name = f"seed {job.seed}, {job.task}, {job.pruner}, stage {stage}"
                if "failed" in outcome:
                    print(f"{name}: {outcome['failed']}", flush=True)
                    return False
                row = {**same, "task": job.task, "pruner": job.pruner, "seed": job.seed}
                row |= {"stage": stage, "date": time.strftime("%Y-%m-%d", time.gmtime()), **outcome}
                with writing:
                    append(path, row)
                    print(f"{name}: {confirmed(row):.1f} steps", flush=True)
        finally:
            cores.put(core)
        return True

    with ThreadPoolExecutor(len(usable)) as pool:
        return all(list(pool.map(study, jobs)))


# --- Judging ----------------------------------------------------------------------------------


def confirmed(row: Row) -> float:
    """The largest confirmed remembered steps of a study's winner: the median run at each lag."""
    runs: dict[float, list[float]] = {}
    for lag, remembered in row["confirmed"]:
        runs.setdefault(lag, []).append(remembered)
    return max((statistics.median_low(each) for each in runs.values()), default=0.0)


def over_ladder(row: Row) -> float:
    """The mean of a winner's confirmed remembered steps over all fresh runs of the ladder."""
    return statistics.fmean(remembered for _, remembered in row["confirmed"] or [[0.0, 0.0]])


def found(row: Row) -> float:
    """The remembered steps of a study's best trial, in the search itself."""
    return float(row["found"])


Measure = Callable[[Row], float]
MEASURES: Mapping[str, Measure] = {
    "Confirmed: the largest of the ladder": confirmed,
    "Confirmed: the mean over the ladder": over_ladder,
    "Found by the search, not confirmed": found,
}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A pruner against none, on the same tasks and seeds.

    How often it is ahead, and by which factor.
    """

    better: int
    worse: int
    equal: int
    p_value: float | None
    ratio: stats.Estimate

    @property
    def counts(self) -> str:
        """As the tables say it."""
        return f"{self.better}, {self.worse}, {self.equal}"


def pairs(rows: Iterable[Row], pruner: str, stage: int, measure: Measure) -> Pairs:
    """Compare after a stage; the p-value is the exact sign test's, two-sided, ties left out.

    None below MINIMUM_REPEATS.
    """
    values = {
        (row["task"], row["seed"], row["pruner"]): measure(row)
        for row in rows
        if row["stage"] == stage
    }
    both = [
        (value, values[task, seed, NONE])
        for (task, seed, name), value in values.items()
        if name == pruner and (task, seed, NONE) in values
    ]
    better, worse = sum(a > b for a, b in both), sum(a < b for a, b in both)
    decided = better + worse
    p_value = None
    if decided >= stats.MINIMUM_REPEATS:
        p_value = min(1.0, 2 * stats.binomial_cdf(min(better, worse), decided, 0.5))
    # remembered steps may be 0
    ratio = stats.paired_ratio([a + 1 for a, _ in both], [b + 1 for _, b in both])
    return Pairs(better, worse, len(both) - decided, p_value, ratio)


def verdict(compared: Pairs, adjusted: float | None) -> str:
    """What the pairs show, in words."""
    if adjusted is None:
        decided = compared.better + compared.worse
        return f"not measured: unequal pairs {decided}, fewer than {stats.MINIMUM_REPEATS}"
    if adjusted > LEVEL:
        return "no difference shown"
    return "further than none" if compared.better > compared.worse else "less far than none"


# --- Telling ----------------------------------------------------------------------------------


def against_none(rows: Sequence[Row], stages: Sequence[int], measure: Measure) -> Iterator[str]:
    """The table of pruners against none over all tasks, after each stage."""
    yield "| pruner | searched for | better, worse, equal | times none's | p (Holm) | shown |"
    yield "|---|---|---|---|---|---|"
    for stage in stages:
        every = {name: pairs(rows, name, stage, measure) for name in PRUNERS if name != NONE}
        every = {name: compared for name, compared in every.items() if compared.ratio.n}
        p_values = {name: each.p_value for name, each in every.items() if each.p_value is not None}
        adjusted = stats.holm(p_values, len(every))
        for name, compared in every.items():
            p_value = adjusted.get(name)
            cells = [
                name,
                f"{stage * rows[0]['seconds']:g} s",
                compared.counts,
                text(compared.ratio),
                "–" if p_value is None else f"{p_value:.2g}",
                verdict(compared, p_value),
            ]
            yield f"| {' | '.join(cells)} |"


def of_task(rows: Sequence[Row], stages: Sequence[int]) -> Iterator[str]:
    """The table of one task: each pruner after each stage, and what its last stage took."""
    heads = [f"after {stage * rows[0]['seconds']:g} s" for stage in stages]
    heads += ["better, worse, equal", "mean over the ladder", "found by the search"]
    heads += ["trials", "pruned", "training time in pruned trials"]
    yield f"| pruner | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in PRUNERS:
        own = [row for row in rows if row["pruner"] == name]
        last = [row for row in own if row["stage"] == stages[-1]]
        if not own:
            continue
        cells = [
            text(stats.median_interval(confirmed(row) for row in own if row["stage"] == stage), 0)
            for stage in stages
        ]
        cells += ["" if name == NONE else pairs(rows, name, stages[-1], confirmed).counts]
        for measure in (over_ladder, found):
            cells += [text(stats.median_interval(measure(row) for row in last), 0)]
        cells += [
            text(stats.median_interval(row[key] for row in last), 0) for key in ("trials", "pruned")
        ]
        shares = stats.median_interval(
            row["pruned_s"] / row["train_s"] if row["train_s"] else None for row in last
        )
        yield f"| {name} | {' | '.join([*cells, text(shares)])} |"


def page(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The README, of the rows that there are."""
    stages = sorted({row["stage"] for row in rows})
    seeds = len({row["seed"] for row in rows})
    lines = [
        "# pruners",
        "",
        "> Which pruner gets furthest in the same time?",
        "",
        (
            "Whole studies of the real program, each one search with an LSTM (`benchmarks/pruners.toml`), stopped after the same "
            "time: how many steps does the winner remember, once it is trained anew? At each lag of a ladder some fresh networks are "
            "trained (`confirm.seeds`), and their median counts (of two in the middle, the worse); the largest of these is the study's. Half-knowledge of a lag "
            "counts for at most half of it. The ladder goes beyond the winner's own length, and a new winner may do worse on it than the "
            "last one: so the number may fall with time. "
            f"Medians over study seeds (at most {seeds} a task) with 95 % intervals; of 5 they are the smallest and the largest, and fewer "
            "give none."
        ),
        "",
        "![confirmed remembered steps against search time](figures/pruners.png)",
        "",
        "## Against no pruner",
        "",
        (
            "The same tasks and seeds in pairs. Times none's: the median of the ratio of remembered steps + 1. p: exact sign test over "
            "the unequal pairs of all tasks, two-sided, after Holm's correction over the pruners. The first table answers the question; the "
            "others are the same studies by other measures."
        ),
    ]
    for name, measure in MEASURES.items():
        lines += ["", f"### {name}", "", *against_none(rows, stages, measure)]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        lines += ["", f"## {task}", "", *of_task(own, stages)]
    shares = stats.median_interval(row["search_s"] / row["stage"] / row["seconds"] for row in rows)
    lines += [
        "",
        (
            "Confirmed remembered steps after each stage; the other columns are of the last one. Better, worse, equal: seeds, against none. "
            f"Searches lasted {shares.value or 0:.2f} times their time (median), from the first trial's start to the last one's end."
        ),
        "",
        "```sh",
        facts["command"],
        "```",
        "",
        (
            f"{facts['cpu']}, {facts['cores']}, each with a study of its own; torch {facts['torch']}, "
            f"Optuna {facts['optuna']}, Python {facts['python']}, {facts['date']}. Every stage of every study: [runs.jsonl](runs.jsonl)."
        ),
    ]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Confirmed remembered steps against search time, one panel a task, as SVG and PNG."""
    from harness.rendering import fonts, theme

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    seconds, stages = rows[0]["seconds"], sorted({row["stage"] for row in rows})
    styles = theme.series_styles(PRUNERS)
    with theme.style(fonts.choose([*tasks, *PRUNERS]).families):
        picture, panels = theme.grid(len(tasks), columns=3, height=2.9, sharey=False)
        for axes, task in zip(panels, tasks, strict=True):
            for place, name in enumerate(PRUNERS):
                aside = (
                    (place - (len(PRUNERS) - 1) / 2) * 0.06 * seconds
                )  # so that bars stand apart
                at, medians = [], []
                for stage in stages:
                    estimate = stats.median_interval(
                        confirmed(row)
                        for row in rows
                        if (row["task"], row["pruner"], row["stage"]) == (task, name, stage)
                    )
                    if estimate.value is None:
                        continue
                    x = stage * seconds + aside
                    at.append(x)
                    medians.append(estimate.value)
                    if estimate.interval:
                        ends = [estimate.interval.low, estimate.interval.high]
                        axes.plot([x, x], ends, color=styles[name].colour, linewidth=1.0, alpha=0.6)
                if not at:
                    continue
                mark = styles[name]
                axes.plot(
                    *(at, medians),
                    color=mark.colour,
                    marker=mark.marker,
                    linestyle=mark.line,
                    linewidth=1.5,
                    label=name,
                )
            axes.set_title(task)
            axes.set_ylim(bottom=0)
            axes.set_xlim(0.6 * seconds, (stages[-1] + 0.4) * seconds)
            axes.set_xticks([stage * seconds for stage in stages])
            axes.set_xlabel("search time (s)")
        panels[0].set_ylabel("confirmed remembered steps")
        handles, labels = panels[0].get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside upper center", ncols=len(PRUNERS))
        for kind in ("svg", "png"):
            file = io.BytesIO()
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            picture.savefig(file, format=kind, dpi=160, metadata=metadata)
            write_bytes(folder / "figures" / f"pruners.{kind}", file.getvalue())


def tell(rows: Sequence[Row], folder: Path, command: str) -> None:
    """Write everything that is made of the rows."""
    machine = fingerprint("cpu")
    facts = {
        "command": command,
        "cpu": cpu_model(),
        "cores": f"cores: {len(os.sched_getaffinity(0))}",
        "torch": machine["versions"]["torch"],
        "optuna": machine["versions"]["optuna"],
        "python": machine["python"],
        "date": max(row["date"] for row in rows),
    }
    write_text(folder / "README.md", page(rows, facts))
    draw(rows, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not yet there, then tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="search time of a stage")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=list(SEQUENCES), default=list(SEQUENCES))
    parser.add_argument("--pruners", nargs="+", choices=PRUNERS, default=PRUNERS)
    parser.add_argument("--out", type=Path, default=Path("results") / "reference" / "pruners")
    told = parser.parse_args(arguments)
    path, same = told.out / "runs.jsonl", identity(told.seconds)
    (told.out / "figures").mkdir(parents=True, exist_ok=True)
    if other := foreign(read_runs(path), same):
        print(
            f"{path}: expected runs of the same {other}, got others; name another --out, or remove it",
            file=sys.stderr,
        )
        return 2
    folder = STUDIES / hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]
    jobs = [
        Job(task, pruner, seed, folder / f"{task}-{pruner}-{seed}")
        for task, pruner, seed in order(told.tasks, told.pruners, told.seeds)
    ]
    well = run(jobs, told.stages, path, same)
    if rows := read_runs(path):
        command = (
            f"python -m benchmarks.pruners --seconds {told.seconds:g} --stages {told.stages} "
            f"--seeds {told.seeds}"
        )
        tell(rows, told.out, command)
        print((told.out / "README.md").read_text(encoding="utf-8"))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
