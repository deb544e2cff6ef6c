"""Would a pruner have found as good a trial in less time? Recorded searches, replayed.

    python -m benchmarks.pruner_replay [--studies quickstart] [--out FOLDER]

Every search in results/reference/ that ran without a pruner and kept its learning curves is
replayed: its trials in their order, each evaluation reported to the pruner with the study's own
objective, and a trial that it prunes costs the part of its training time up to there. Writes
pruners.csv (a row a search and pruner) and README.md to results/reference/pruner_replay/.
Takes about a minute.

What a replay can't tell: a sampler that learns from pruned trials would have proposed others. It
takes the pruner's side, though, in that every trial proposed by a search that saw whole curves is
at its disposal.
"""

from __future__ import annotations

import argparse
import csv
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from benchmarks.telling import text
from harness import records
from harness.columns import Direction
from harness.hyperparameters import Fixed
from harness.metric_definitions import OBJECTIVES, Outcome, is_solved
from harness.plugins import load_plugins
from harness.stats import median_interval
from harness.study.search.pruners import pruner_arguments
from harness.study.search.samplers import old_startup_trials
from harness.study.trials_to_run import first_solved
from harness.tasks import get_task
from harness.training.training_loop import Evaluation

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
STUDIES = ("quickstart", "initialization", "greff_2017", "collins_2017", "hochreiter_1997")
OURS = ("bound", "plateau", "plateau_long", "bound_plateau", "bound_plateau_long")
"""Rules of our own: see `ends_it`. The program has `bound`; the others are tried here alone."""

PRUNERS = ("none", "median", "late_median", "halving", "hyperband", *OURS)
"""`late_median` is the median rule that waits for half of the budget.

These curves are plateaus followed by a drop.
"""

PLATEAU_SKILL = 0.05
"""A trial that was never above it has not yet gained on chance.

Evaluations of 500 sequences have skills within 0.02 of 0 by luck.
"""

LEFT_BY = 2 / 3
LEAST_SOLVED = 3
"""The plateau rule: the least solved trials, and by which share of sequences they had left it."""

SHARES = (0.25, 0.5, 0.75)
"""Of the time that the search took without a pruner."""

WORDS: Mapping[str, str] = {
    "none": "none",
    "median": "median",
    "late_median": "median from half of the budget on",
    "halving": "successive halving",
    "hyperband": "hyperband",
    "bound": "bound",
    "plateau": "plateau (not in the program)",
    "plateau_long": "plateau, of trials as long (not in the program)",
    "bound_plateau": "bound and plateau (not in the program)",
    "bound_plateau_long": "bound and plateau, of trials as long (not in the program)",
}


@dataclass(frozen=True)
class Trial:
    """A recorded trial: value and skill at each evaluation, its final value, its training time."""

    curve: tuple[tuple[int, float], ...]
    skills: tuple[float, ...]
    lag: float
    value: float
    solved: bool
    time_s: float

    @property
    def left_plateau(self) -> float:
        """The training sequences after which it first gained on chance.

        Infinite where it never did.
        """
        pairs = zip(self.curve, self.skills, strict=True)
        return next((float(step) for (step, _), skill in pairs if skill > PLATEAU_SKILL), math.inf)


@dataclass(frozen=True)
class Search:
    """A recorded search of one study, task, cell and repeat."""

    study: str
    task: str
    cell: str
    repeat: int
    objective: str
    direction: Direction
    budget: int
    evaluate_every: int
    trials: tuple[Trial, ...]

    @property
    def time_s(self) -> float:
        """What it took without a pruner."""
        return sum(trial.time_s for trial in self.trials)


@dataclass(frozen=True)
class Replay:
    """The time at which each trial ended under a pruner, and its value.

    NaN for one that was pruned.
    """

    ends_s: tuple[float, ...]
    found: tuple[float, ...]

    def best(self, direction: str, until_s: float = math.inf) -> float:
        """The best value of trials that had ended by then; NaN where there is none."""
        known = [
            value
            for end_s, value in zip(self.ends_s, self.found, strict=True)
            if end_s <= until_s and not math.isnan(value)
        ]
        if not known:
            return math.nan
        return max(known) if direction == "maximize" else min(known)


def searches(study: str) -> Iterator[Search]:
    """The searches of a reference study whose trials all have their curves."""
    found = records.read_study(REFERENCE / study)
    assert found.evaluations is not None
    spec = found.spec
    objective = OBJECTIVES[spec.search.objective]
    curves = found.evaluations[found.evaluations["phase"] == "search"]
    by_trial = dict(iter(curves.groupby(["task", "cell", "repeat", "number"])))
    for (task, cell, repeat), group in found.trials.groupby(["task", "cell", "repeat"]):
        fixed = spec.parameters(str(task), str(cell))
        budget, every = (_fixed(fixed[name]) for name in ("sequences", "evaluate_every"))
        trials = []
        for row in group.sort_values("number").to_dict("records"):
            curve = by_trial[task, cell, repeat, row["number"]].sort_values("sequences_seen")
            length = int(row["sequence_length"])
            about = get_task(spec.base(str(task)))
            seen: list[Evaluation] = []
            values = []
            for kept in curve.to_dict("records"):
                names = ("sequences_seen", "loss", "skill", "accuracy")
                point = Evaluation(
                    **{name: kept[name] for name in names},
                    solved=is_solved(kept["accuracy"]),
                    finite=math.isfinite(kept["loss"]),
                    train_time_s=math.nan,
                )
                seen.append(point)
                outcome = Outcome(
                    lag=about.lag(length),
                    loss=point.loss,
                    skill=point.skill,
                    solved=point.solved,
                    sequences_to_solve=first_solved(seen),
                    chance_loss=about.chance_loss(length),
                    budget=budget,
                )
                values.append((int(point.sequences_seen), objective.value(outcome)))
            time_s = row["train_time_s"]
            trials.append(
                Trial(
                    curve=tuple(values),
                    skills=tuple(point.skill for point in seen),
                    lag=about.lag(length),
                    value=values[-1][1],
                    solved=point.solved,
                    time_s=0.0 if pd.isna(time_s) else time_s,
                )
            )
        yield Search(
            study,
            str(task),
            str(cell),
            int(str(repeat)),
            objective.name,
            objective.direction,
            budget,
            every,
            tuple(trials),
        )


def _fixed(parameter: object) -> int:
    """A hyperparameter that these studies do not search."""
    assert isinstance(parameter, Fixed)
    return int(parameter.value)


def pruner_of(name: str, search: Search) -> optuna.pruners.BasePruner:
    """A pruner as the harness makes it; `late_median` with half of the budget as its warm-up."""
    known = name.removeprefix("late_")
    startup = old_startup_trials(len(search.trials))
    given = pruner_arguments(known, search.budget, search.evaluate_every, startup)
    if name == "late_median":
        given["n_warmup_steps"] = search.budget // 2
    match known:
        case "median":
            return optuna.pruners.MedianPruner(**given)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(**given)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(**given)
        case _:
            return optuna.pruners.NopPruner()


def ends_it(rule: str, search: Search, finished: Sequence[Trial], trial: Trial, seen: int) -> bool:
    """Whether one of our rules ends a trial that has seen so many sequences.

    bound: its remembered steps can't exceed its lag, and a finished trial has as many; so it is
    never trained. Safe, but only for this objective. plateau: it has not gained on chance, and at
    least 3 finished trials solved their task, all of which had gained by 2/3 of the sequences that
    this one has seen; `long` asks that of trials with at least its lag.
    """
    if "bound" in rule and search.objective == "remembered_steps":
        best = max((each.value for each in finished), default=-math.inf)
        if trial.lag <= best:
            return True
    if "plateau" not in rule or trial.left_plateau <= seen:
        return False
    alike = [
        each for each in finished if each.solved and (each.lag >= trial.lag or "long" not in rule)
    ]
    left = max((each.left_plateau for each in alike), default=math.inf)
    return len(alike) >= LEAST_SOLVED and left <= LEFT_BY * seen


def replay(search: Search, pruner: str) -> Replay:
    """Run the recorded trials through a pruner."""
    study = optuna.create_study(
        study_name=f"{search.study}-{search.task}-{search.cell}-{search.repeat}",
        direction=search.direction,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner_of(pruner, search),
    )
    now_s, ends_s, values = 0.0, [], []
    finished: list[Trial] = []
    for recorded in search.trials:
        trial, last = study.ask(), recorded.curve[-1][0]
        value, spent = recorded.value, last
        never = pruner in OURS and ends_it(pruner, search, finished, recorded, 0)
        if never:
            value, spent = math.nan, 0
        for step, reported in () if never else recorded.curve:
            trial.report(reported, step)
            ours = pruner in OURS and ends_it(pruner, search, finished, recorded, step)
            if step < last and (ours or trial.should_prune()):
                value, spent = math.nan, step
                break
        if math.isnan(value):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
            finished.append(recorded)
        now_s += recorded.time_s * (spent / last if last else 1.0)
        ends_s.append(now_s)
        values.append(value)
    return Replay(tuple(ends_s), tuple(values))


def gain(direction: str, found: float, without: float) -> float | None:
    """By which factor a value is better than that without a pruner.

    What was not there at all has none.
    """
    if math.isnan(found) or math.isnan(without):
        return None
    low = 1.0 if direction == "maximize" else 1e-6  # remembered steps may be 0, a loss is above it
    better, worse = (found, without) if direction == "maximize" else (without, found)
    return (better + low) / (worse + low)


def rows(search: Search) -> Iterator[dict[str, Any]]:
    """A row for each pruner."""
    without = replay(search, "none")
    winner = without.best(search.direction)
    for name in PRUNERS:
        found = replay(search, name)
        row = {
            "study": search.study,
            "task": search.task,
            "cell": search.cell,
            "repeat": search.repeat,
            "pruner": name,
            "trials": len(search.trials),
            "pruned": sum(math.isnan(value) for value in found.found),
            "time_share": found.ends_s[-1] / search.time_s,
            "keeps_best": found.best(search.direction) == winner,
            "gain": gain(search.direction, found.best(search.direction), winner),
        }
        for share in SHARES:
            until_s = share * search.time_s
            row[f"gain_at_{share}"] = gain(
                search.direction,
                found.best(search.direction, until_s),
                without.best(search.direction, until_s),
            )
        yield row


def told(gains: Iterable[float | None]) -> tuple[str, str]:
    """The median gain, and in how many searches there is one and in how many a loss."""
    known = [gain for gain in gains if gain is not None]
    better, worse = (sum(one > 1 for one in known), sum(one < 1 for one in known))
    return text(median_interval(known)), f"{better}, {worse}"


def page(table: list[dict[str, Any]]) -> str:
    """The README: one table over all searches, and one a study."""
    lines = [
        "# What pruners would have saved, and lost",
        "",
        (
            f"{len(table) // len(PRUNERS)} recorded searches, replayed trial by trial through each pruner by "
            "`python -m benchmarks.pruner_replay`. Time: of all of a search's trials, against no pruner. Best kept: searches "
            "in which the best trial is not pruned. Better by: the best value found against the one without a pruner, above 1 is "
            "better (remembered steps + 1, or the inverse of loss or sequences); *at half*: after half of the time that the search took "
            "without a pruner, at equal time. Medians over searches with 95 % intervals."
        ),
        "",
        "A replay can't tell what a sampler would have proposed that had learned from pruned trials.",
        "",
        (
            "Two rules are of our own, and the program has the first. Bound: where remembered steps are the objective, a trial "
            "whose lag is not above the best value so far can't win, and is never trained. Plateau: a trial that has not gained on chance "
            f"(skill above {PLATEAU_SKILL}) is ended once at least {LEAST_SOLVED} finished trials solved their task and all of them had gained by "
            "2/3 of the sequences that it has seen; *of trials as long*: counting only trials with at least its lag."
        ),
    ]
    for study in ("", *STUDIES):
        kept = [row for row in table if not study or row["study"] == study]
        lines += ["", f"## {study or 'All searches'}", ""]
        lines += [
            "| pruner | time | best kept | at the end better by | better, worse | at half better by | better, worse |",
            "|---|---|---|---|---|---|---|",
        ]
        for name in PRUNERS:
            own = [row for row in kept if row["pruner"] == name]
            best = sum(row["keeps_best"] for row in own)
            cells = [
                WORDS[name],
                text(median_interval(row["time_share"] for row in own)),
                f"{best} of {len(own)}",
                *(
                    part
                    for key in ("gain", "gain_at_0.5")
                    for part in told(row[key] for row in own)
                ),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    none = [row for row in table if row["pruner"] == "none"]
    assert all(
        row["gain"] == 1 for row in none if row["gain"] is not None
    )  # the replay is the search
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replay everything and write the table and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=STUDIES)
    parser.add_argument("--out", type=Path, default=REFERENCE / "pruner_replay")
    options = parser.parse_args()
    folder: Path = options.out
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    load_plugins([])
    table = [row for study in options.studies for search in searches(study) for row in rows(search)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pruners.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    said = page(table)
    (folder / "README.md").write_text(said, encoding="utf-8")
    print(said)


if __name__ == "__main__":
    main()
