"""Does a sampler find as good trials if it receives only a part of the history?

    python -m benchmarks.shown [--seeds 5] [--trials 1000] [--out results/reference/shown]

Each function is searched with TPE by the harness's own proposals, shown all finished trials or at
most so many, with the same seeds; searches of one seed are the same up to where the first is no
longer shown all. Nothing is trained. After each seed shown.csv (a row a function, seed and number)
and README.md hold what is there; a seed that is there is not searched again.

What this can't tell: functions of other spaces, and searches longer than these.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from harness import machine, records
from harness.columns import Direction
from harness.config import STARTUP_TRIALS
from harness.stats import Estimate, median_interval
from harness.study.search.propose_parameters import SearchPlan, SearchProposer

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
ALL = sys.maxsize
MOST = (ALL, 500, 300, 200, 100)
ASKS = 50  # the last ones of a search, whose median time is taken
SPACE: dict[str, BaseDistribution] = {
    "hidden_size": IntDistribution(4, 256, log=True),
    "num_layers": IntDistribution(1, 3),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "sequence_length": IntDistribution(10, 200, log=True),
    "initialization": CategoricalDistribution(("pytorch", "orthogonal", "chrono")),
}
NEIGHBOURS = 5
RECORDED: dict[str, BaseDistribution] = {
    "hidden_size": IntDistribution(8, 128, log=True),
    "learning_rate": FloatDistribution(1e-4, 10.0, log=True),
    "sequence_length": IntDistribution(10, 50),
    "cell": CategoricalDistribution(("rnn", "gru", "lstm")),
}  # of the study collins_2017

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Function:
    """A function to search: `value` without noise, and the noise in its logarithm."""

    words: str
    direction: Direction
    space: Mapping[str, BaseDistribution]
    value: Callable[[Params], float]
    noise: float = 0.0

    @property
    def sign(self) -> int:
        """What makes a value one of which less is better."""
        return 1 if self.direction == "minimize" else -1


@dataclasses.dataclass(frozen=True)
class Found:
    """One search: parameters and value of each trial, and the time of its last asks."""

    params: tuple[Params, ...]
    seen: tuple[float, ...]
    ask_ms: float


# -------------------------------------------------------------------------------------- functions


def valley(params: Params) -> float:
    """A loss with one bent valley: size 90, learning rate 0.004, one layer, orthogonal."""
    size = math.log(params["hidden_size"] / 90)
    rate = math.log(params["learning_rate"] / 0.004)
    length = math.log(params["sequence_length"] / 10)
    start = {"orthogonal": 0.0, "chrono": 0.03, "pytorch": 0.1}[params["initialization"]]
    bend = (rate + 0.5 * size) ** 2
    layers: int = params["num_layers"] - 1
    return 0.05 + 0.05 * size**2 + 0.03 * bend + 0.05 * layers + 0.01 * length + start


def cliff(params: Params) -> float:
    """Remembered steps: the lag, while the model can bridge it, which the other parameters decide.

    Beyond, next to nothing.
    """
    size = math.log(params["hidden_size"] / 120)
    rate = math.log(params["learning_rate"] / 0.006) + 0.4 * size
    start = {"orthogonal": 0.8, "chrono": 1.0, "pytorch": 0.4}[params["initialization"]]
    reach = 180 * start * math.exp(-0.5 * rate**2 - 0.2 * size**2) / params["num_layers"] ** 0.5
    lag: int = params["sequence_length"] - 5
    return lag * (1.0 if lag <= reach else 0.05)


@functools.cache
def _recorded() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By cell: the recorded trials in the unit cube, and their losses."""
    trials = records.read_study(REFERENCE / "collins_2017").trials
    worst = trials["loss"][np.isfinite(trials["loss"])].max()
    return {
        str(cell): (
            np.array([_place(row) for _, row in group.iterrows()]),
            np.where(np.isfinite(group["loss"]), group["loss"], worst),
        )
        for cell, group in trials.groupby("cell")
    }


def _place(params: Params | pd.Series[Any]) -> list[float]:
    return [
        math.log(params["hidden_size"] / 8) / math.log(128 / 8),
        math.log(params["learning_rate"] / 1e-4) / math.log(1e5),
        (params["sequence_length"] - 10) / 40,
    ]


def recorded(params: Params) -> float:
    """The mean loss of the nearest recorded trials of the cell.

    Steps, and as uneven as training is.
    """
    places, losses = _recorded()[params["cell"]]
    distances = ((places - np.array(_place(params))) ** 2).sum(axis=1)
    return float(losses[np.argsort(distances, kind="stable")[:NEIGHBOURS]].mean())


FUNCTIONS = {
    "valley": Function("smooth: a loss with one bent valley", "minimize", SPACE, valley),
    "cliff": Function(
        "steps and a cliff: remembered steps, which fall to a twentieth beyond what a model can bridge",
        "maximize",
        SPACE,
        cliff,
    ),
    "noise": Function(
        "the valley times log-normal noise (sigma 0.3); given is the loss without noise of the trial that looked best",
        "minimize",
        SPACE,
        valley,
        noise=0.3,
    ),
    "recorded": Function(
        f"1,500 trials of collins_2017: the mean loss of the {NEIGHBOURS} nearest of the same cell",
        "minimize",
        RECORDED,
        recorded,
    ),
}

# --------------------------------------------------------------------------------------- searches


def search(name: str, seed: int, trials: int, most: int, begun: Found | None) -> Found:
    """One search, shown at most so many trials.

    It takes over what `begun`, shown all, found before that mattered.
    """
    same = max(STARTUP_TRIALS, most) + 1
    if begun is not None and same >= trials:
        return begun
    function = FUNCTIONS[name]
    plan = SearchPlan("tpe", "none", function.direction, trials, (name, seed), 1, 1)
    proposals = SearchProposer(plan, function.space)
    proposals.storage.limit = most
    params: list[Params] = []
    seen: list[float] = []
    if begun is not None:
        params, seen = list(begun.params[:same]), list(begun.seen[:same])
    for slot, (given, value) in enumerate(zip(params, seen, strict=True)):
        proposals.restore(
            slot,
            create_trial(value=value, params=dict(given), distributions=dict(function.space)),
        )
    asks: list[float] = []
    for slot in range(len(params), trials):
        asked = time.process_time()
        params.append(proposals.propose(slot))
        asks.append(time.process_time() - asked)
        luck = random.Random(f"{name} {seed} {slot}").gauss(0.0, function.noise)
        seen.append(function.value(params[-1]) * math.exp(luck))
        proposals.tell(slot, TrialState.COMPLETE, seen[-1], 0.0)
    return Found(tuple(params), tuple(seen), 1000 * statistics.median(asks[-ASKS:]))


def best(function: Function, found: Found, trials: int) -> float:
    """The value without noise of the trial that looked best among the first so many."""
    chosen = min(range(trials), key=lambda slot: function.sign * found.seen[slot])
    return function.value(found.params[chosen])


def points(trials: int) -> tuple[int, ...]:
    """After how many trials the best is looked at: a quarter is random and the same for all."""
    return trials // 2, 3 * trials // 4, trials


def search_all(name: str, seed: int, trials: int) -> list[dict[str, Any]]:
    """The rows of one function and seed."""
    rows: list[dict[str, Any]] = []
    whole: Found | None = None
    for most in MOST:
        found = search(name, seed, trials, most, whole)
        whole = whole or found
        bests = {f"best_{n}": best(FUNCTIONS[name], found, n) for n in points(trials)}
        shown = "all" if most == ALL else most
        rows.append(
            {"function": name, "seed": seed, "shown": shown, **bests, "ask_ms": found.ask_ms}
        )
    return rows


# ---------------------------------------------------------------------------------------- writing


def better_by(
    rows: Sequence[Mapping[str, Any]], whole: Sequence[Mapping[str, Any]], column: str, sign: int
) -> list[float]:
    """How many times as good each search is as the one of the same seed that was shown all."""
    pairs = zip(rows, whole, strict=True)
    return [(float(a[column]) / float(b[column])) ** -sign for a, b in pairs]


def page(rows: Sequence[Mapping[str, Any]], trials: int) -> str:
    """README.md."""
    seeds = len({row["seed"] for row in rows})
    lines = [
        "# How much of the history a sampler needs",
        "",
        (
            f"TPE with all finished trials, and with at most so many of them (the best 100 and an even selection of the others), "
            f"in searches of {trials:,} trials with {seeds} seeds, the first {STARTUP_TRIALS} random. Better by: the best "
            "value found against that of the same seed with all trials shown, above 1 is better. Medians over seeds, in brackets "
            "their intervals. Time: the processor's, of an ask at a search's end."
        ),
    ]
    for name, function in FUNCTIONS.items():
        of_it = [row for row in rows if row["function"] == name]
        whole = [row for row in of_it if row["shown"] == "all"]
        lines += [
            "",
            f"## {name}",
            "",
            f"{function.words[0].upper()}{function.words[1:]}. To {function.direction}.",
        ]
        lines += [
            "",
            _line(
                "shown",
                *(f"best after {n}" for n in points(trials)),
                "better by",
                "better, worse",
                "an ask, ms",
            ),
        ]
        lines.append(_line(*["---"] * 7))
        for shown in dict.fromkeys(row["shown"] for row in of_it):
            part = [row for row in of_it if row["shown"] == shown]
            ratios = better_by(part, whole, f"best_{trials}", function.sign)
            lines.append(
                _line(
                    shown,
                    *(
                        _text(median_interval(float(row[f"best_{n}"]) for row in part), 4)
                        for n in points(trials)
                    ),
                    _text(median_interval(ratios), 3),
                    f"{sum(each > 1 for each in ratios)}, {sum(each < 1 for each in ratios)}",
                    f"{statistics.median(float(row['ask_ms']) for row in part):.0f}",
                )
            )
    command = f"python -m benchmarks.shown --seeds {seeds} --trials {trials}"
    lines += ["", f"Made by `{command}` on {machine.cpu_model()}, optuna {optuna.__version__}."]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _text(estimate: Estimate, digits: int) -> str:
    interval = estimate.interval
    ends = f" ({interval.low:.{digits}g} – {interval.high:.{digits}g})" if interval else ""
    return f"{estimate.value:.{digits}g}{ends}"


def main() -> None:
    """Search what is missing, seed by seed, and write what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=REFERENCE / "shown")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given.out.mkdir(parents=True, exist_ok=True)
    table, rows = given.out / "shown.csv", []
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    there = {int(row["seed"]) for row in rows}
    for seed in (each for each in range(given.seeds) if each not in there):
        for name in FUNCTIONS:
            for row in search_all(name, seed, given.trials):
                rows.append({column: str(value) for column, value in row.items()})
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (given.out / "README.md").write_text(page(rows, given.trials), encoding="utf-8")


if __name__ == "__main__":
    main()
