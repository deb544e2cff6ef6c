"""How often the rules err and find: recorded blocks of the same code, replayed through `decide`.

A replay draws whole blocks with replacement, so what the benchmarks and the canary of one pair of
processes share stays together. Correlation from block to block is lost. The interval of a rate
covers the number of replays only: noise that the recorded blocks never had is not replayed, so
record at different hours. Randomness is an argument.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.regress.measuring.blocks import BlockRatios
from harness.regress.verdict.decision_rules import Rules, rules_for
from harness.regress.verdict.verdicts import BenchmarkVerdict, Family, Stop, VerdictOutcome, decide
from harness.stats import binomial_interval

N_RUNS: Final = 1000
"""Replays for a rate: with no false alarm among them its exact interval ends at 0.37 %."""

DETECTABLE: Final = (0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
"""Values of --detect that `advise` tries."""

ENOUGH_POWER: Final = 0.95
"""The least share of runs that find a slow-down of `detect`, and that are OK without one."""

FEW_ALARMS: Final = 0.005
"""The largest share of replays of the same code with a false REGRESSION."""

LEAST_RECORDED: Final = 20
"""Fewer blocks show too little of the noise: 20 have one of the rarest 5 %."""


@dataclass(frozen=True)
class Rate:
    """`k` of `n`, with the exact 95 % interval of the share; None for n = 0."""

    k: int
    n: int
    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        is_known = self.low is not None and self.high is not None
        if not 0 <= self.k <= self.n or self.n >= 2**63 or is_known != (self.n > 0):
            raise ValueError("a rate: k from 0 to n, and an interval where n is above 0")

    @property
    def value(self) -> float:
        """The share, NaN for n = 0."""
        return self.k / self.n if self.n else math.nan


@dataclass(frozen=True)
class Rates:
    """How runs came out; in each one benchmark was slower by `effect`, or none was (0).

    `false_regression`: runs that call a benchmark a REGRESSION that was not slowed. `found`: runs
    that call the slowed one a REGRESSION; n is 0 without an effect. `verdicts`: each run's verdict.
    `all_ok`: runs in which every benchmark is OK. `mean_blocks`: blocks of a run, None without any.
    """

    detect: float
    effect: float
    false_regression: Rate
    found: Rate
    found_by_name: Mapping[str, Rate]
    verdicts: Mapping[BenchmarkVerdict, Rate]
    all_ok: Rate
    mean_blocks: float | None


@dataclass(frozen=True)
class Advice:
    """The least `detect` that works on this machine, None if none of those tried does.

    `tried`: for each value the rates without an effect and with an effect of that size.
    """

    detect: float | None
    tried: tuple[tuple[Rates, Rates], ...]


def rate(k: int, n: int) -> Rate:
    """A share with its exact 95 % interval."""
    interval = binomial_interval(k, n)
    if interval is None:
        return Rate(k, n, None, None)
    return Rate(k, n, interval.low, interval.high)


def slowed(block: BlockRatios, name: str, effect: float) -> BlockRatios:
    """The block as if head had been slower by a share in one benchmark; a NaN stays NaN."""
    values = dict(block.values)
    values[name] = block.value(name) + math.log1p(effect)
    return BlockRatios(values, block.canary)


def run_through(blocks: Iterable[BlockRatios], family: Family, rules: Rules) -> VerdictOutcome:
    """Give blocks to `decide` until it stops; what is open when they end is out of budget."""
    source, held = iter(blocks), list[BlockRatios]()
    while True:
        decision = decide(held, family, rules)
        if isinstance(decision, Stop):
            return decision.outcome
        wanted = len(held) + decision.n_blocks
        held += [block for _, block in zip(range(decision.n_blocks), source, strict=False)]
        if len(held) < wanted:
            stopped = decide(held, family, rules, budget_over=True)
            assert isinstance(stopped, Stop)
            return stopped.outcome


def rates_of(
    outcomes: Sequence[tuple[VerdictOutcome, str | None]], detect: float, effect: float = 0.0
) -> Rates:
    """Count runs; each comes with the name of the benchmark that was slowed in it, or None."""
    n = len(outcomes)
    regressed = [
        ({f.name for f in outcome.findings if f.verdict == "regression"}, name)
        for outcome, name in outcomes
    ]
    slowed_runs = Counter(name for _, name in outcomes if name is not None)
    hits = Counter(name for names, name in regressed if name is not None and name in names)
    verdicts = Counter(outcome.verdict for outcome, _ in outcomes)
    all_ok = sum(all(f.verdict == "ok" for f in outcome.findings) for outcome, _ in outcomes)
    return Rates(
        detect=detect,
        effect=effect,
        false_regression=rate(sum(bool(names - {name}) for names, name in regressed), n),
        found=rate(hits.total(), slowed_runs.total()),
        found_by_name={name: rate(hits[name], k) for name, k in sorted(slowed_runs.items())},
        verdicts={verdict: rate(k, n) for verdict, k in sorted(verdicts.items())},
        all_ok=rate(all_ok, n),
        mean_blocks=sum(outcome.n_blocks for outcome, _ in outcomes) / n if n else None,
    )


def replay(
    recorded: Sequence[BlockRatios],
    detect: float,
    generator: np.random.Generator,
    *,
    effect: float = 0.0,
    n_runs: int = N_RUNS,
) -> Rates:
    """Rates over runs drawn from recorded blocks; with an effect, one benchmark of each is slowed.

    The benchmarks take turns: one of several is the hardest case for Holm's correction. ValueError
    without a block, and without a benchmark.
    """
    names = tuple(sorted({name for block in recorded for name in block.values}))
    if not names:
        raise ValueError("'recorded' must hold blocks with benchmarks")
    family, rules = Family(names), rules_for(len(names), detect)
    outcomes = []
    for run in range(n_runs):
        name = names[run % len(names)] if effect else None
        drawn = generator.integers(len(recorded), size=rules.interim_tests[-1].n_blocks)
        blocks = [recorded[i] for i in drawn]
        if name is not None:
            blocks = [slowed(block, name, effect) for block in blocks]
        outcomes.append((run_through(blocks, family, rules), name))
    return rates_of(outcomes, detect, effect)


def advise(
    recorded: Sequence[BlockRatios],
    generator: np.random.Generator,
    *,
    detectable: Sequence[float] = DETECTABLE,
    n_runs: int = N_RUNS,
) -> Advice:
    """The least `detect`, of those given in ascending order, that works; it stops at the first.

    One works if without an effect at most FEW_ALARMS of runs have a false REGRESSION and
    ENOUGH_POWER of them are OK in all benchmarks, and with a slow-down of that size ENOUGH_POWER of
    runs find it. None below LEAST_RECORDED blocks.
    """
    tried = []
    for detect in detectable if len(recorded) >= LEAST_RECORDED else ():
        same = replay(recorded, detect, generator, n_runs=n_runs)
        slower = replay(recorded, detect, generator, effect=detect, n_runs=n_runs)
        tried.append((same, slower))
        quiet = same.false_regression.value <= FEW_ALARMS and same.all_ok.value >= ENOUGH_POWER
        if quiet and slower.found.value >= ENOUGH_POWER:
            return Advice(detect, tuple(tried))
    return Advice(None, tuple(tried))
