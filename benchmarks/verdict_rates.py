"""How often is a verdict wrong, and what does it find? Simulated blocks with known truth.

    python benchmarks/verdict_rates.py --runs 2000

Writes tables to results/reference/verdict_rates/: `runs.csv` (nine benchmarks and a canary, on
machines from as quiet as measured to eight times as noisy), `level.csv` (the sign-flip test with
Holm and split alpha, floor and confirmation aside), `confirmation.csv` (rules for the five fresh
blocks) and `changes.csv` (change points). Nothing here decides what is right: it counts. Takes
about six minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.regress.measuring.blocks import BlockRatios
from harness.regress.trend.change_points import change_points
from harness.regress.verdict.decision_rules import rules_for
from harness.regress.verdict.resampling import Rate, rate, rates_of, run_through, slowed
from harness.regress.verdict.verdicts import Family, Stop, VerdictOutcome, decide

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, this one finds tests/simulated_blocks.py
from tests import simulated_blocks  # noqa: E402  # after the line above
from tests.simulated_blocks import NINE, QUIET, Noise, blocks_of  # noqa: E402

REFERENCE = ROOT / "results" / "reference" / "verdict_rates"
NOISE = (1, 2, 4, 8)  # times what was measured
WORLDS = {
    "as measured": QUIET,
    "ten times the drift": dataclasses.replace(QUIET, drift=10 * QUIET.drift),
    "processes ten times as unlike": dataclasses.replace(QUIET, process=10 * QUIET.process),
    "tails so heavy that the variance hardly exists": dataclasses.replace(QUIET, tail=2.1),
}
Row = dict[str, object]


def shown(name: str, found: Rate) -> Row:
    """A rate as columns: how many, the share, its exact interval."""
    low, high = ("", "") if found.low is None else (found.low, found.high)
    return {name: found.k, f"{name}_share": found.value, f"{name}_low": low, f"{name}_high": high}


def simulated(
    generator: np.random.Generator, n_blocks: int, n: int, noise: Noise = QUIET
) -> np.ndarray:
    """Values of many blocks, made in parts that fit into memory."""
    parts = [min(2000, n_blocks - start) for start in range(0, n_blocks, 2000)]
    return np.concatenate([simulated_blocks.values(generator, part, n, noise) for part in parts])


def runs(values: np.ndarray, n_runs: int) -> Iterator[Row]:
    """Verdicts by noise, `detect`, the slow-down of one benchmark, and the canary's move."""
    cases = [(0.05, 0.0, canary) for canary in (0.0, 0.01, 0.02, 0.03)]
    cases += [(0.05, effect, 0.0) for effect in (0.015, 0.025, 0.03, 0.05, 0.1)]
    cases += [(0.03, effect, 0.0) for effect in (0.0, 0.015, 0.03, 0.05)]
    for noise in NOISE:
        deviation = float((noise * values).std())
        for detect, effect, canary in cases:
            moved = noise * values
            moved[:, -1] += np.log1p(canary)
            rates = rates_of(
                list(outcomes(blocks_of(moved), n_runs, detect, effect)), detect, effect
            )
            verdicts = dict(rates.verdicts)
            yield {
                "block_deviation": deviation,
                "detect": detect,
                "slower_by": effect,
                "canary_by": canary,
                "runs": n_runs,
                "mean_blocks": rates.mean_blocks,
                **shown("false_regression", rates.false_regression),
                **shown("found", rates.found),
                **shown("all_ok", rates.all_ok),
                **shown("inconclusive", verdicts.get("inconclusive", rate(0, n_runs))),
                **shown("contaminated", verdicts.get("contaminated", rate(0, n_runs))),
            }


def outcomes(
    held: list[BlockRatios], n_runs: int, detect: float, effect: float
) -> Iterator[tuple[VerdictOutcome, str | None]]:
    """Each run with 25 blocks of its own; the benchmarks are slowed in turn."""
    family, rules = Family(NINE), rules_for(len(NINE), detect)
    for run in range(n_runs):
        own, name = held[25 * run : 25 * run + 25], NINE[run % 9] if effect else None
        if name is not None:
            own = [slowed(block, name, effect) for block in own]
        yield run_through(own, family, rules), name


def level(generator: np.random.Generator, n_runs: int) -> Iterator[Row]:
    """Runs in which any of nine equal benchmarks is found slower, without a minimum effect."""
    family, rules = Family(NINE), rules_for(len(NINE), 1e-9)
    for world, noise in WORLDS.items():
        values = simulated(generator, 20 * n_runs, len(NINE), noise)
        held = blocks_of(np.column_stack([values, np.zeros(len(values))]))
        k = 0
        for run in range(n_runs):
            decision = decide(held[20 * run : 20 * run + 20], family, rules, budget_over=True)
            assert isinstance(decision, Stop)
            k += any(finding.fresh is not None for finding in decision.outcome.findings)
        found = rate(k, n_runs)
        yield {"noise": world, "promised": 0.01, "runs": n_runs, **shown("significant", found)}


def confirmation(values: np.ndarray) -> Iterator[Row]:
    """How often five blocks confirm a slow-down, if so many must be above 0."""
    fives = values[: len(values) // 5 * 5, :-1].reshape(-1, 5, values.shape[1] - 1)
    fresh = fives.transpose(0, 2, 1).reshape(-1, 5)
    least = rules_for(9).log_minimum
    for noise in NOISE:
        for effect in (0.0, 0.025, 0.03, 0.05, 0.1):
            own = noise * fresh + np.log1p(effect)
            reaches = np.median(own, axis=1) >= least
            for agree in (3, 4, 5):
                k = int((reaches & ((own > 0).sum(axis=1) >= agree)).sum())
                yield {
                    "block_deviation": float((noise * values).std()),
                    "slower_by": effect,
                    "must_agree": agree,
                    "n": len(own),
                    "share": k / len(own),
                }


def changes(generator: np.random.Generator, n_runs: int) -> Iterator[Row]:
    """Change points in histories of 30 recordings and some after a step, one series of nine.

    Noise of 1.2 %, heavy tails.
    """
    for step in (0.0, 0.03, 0.05, 0.1):
        for after in (3, 4, 5, 6, 8, 10):
            k = placed = 0
            for _ in range(n_runs):
                values = np.exp(0.007 * generator.standard_t(3, 30 + after))
                values[30:] *= 1 + step
                found = change_points(values.tolist(), generator, n_series=9 if step else 1)
                k += bool(found)
                placed += any(abs(point.position - 30) <= 2 for point in found)
            yield {
                "step": step,
                "series": 9 if step else 1,
                "recordings_after": after,
                "runs": n_runs,
                **shown("marked", rate(k, n_runs)),
                **shown("within_two", rate(placed, n_runs)),
            }


def write(path: Path, rows: Iterator[Row]) -> None:
    """Write a table and print it."""
    listed = [
        {key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    print(path.name, *(" ".join(map(str, row.values())) for row in listed), sep="\n")


def main() -> None:
    """Count, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, default=REFERENCE)
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    values = simulated(generator, 25 * given.runs, len(NINE) + 1)
    write(given.directory / "runs.csv", runs(values, given.runs))
    write(given.directory / "confirmation.csv", confirmation(values))
    write(given.directory / "level.csv", level(generator, given.runs))
    write(given.directory / "changes.csv", changes(generator, given.runs // 4))


if __name__ == "__main__":
    main()
