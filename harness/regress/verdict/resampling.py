"""Recorded blocks of the same code on both sides, drawn again and again through `decide`.

How often it errs and finds.

A run by replay draws whole blocks, with replacement, so that what the benchmarks and the canary of
one pair of processes share stays together; what follows upon one another across blocks is lost. The
interval of a rate says how much the number of replays leaves open. It can't know what the recorded
blocks have never seen: record at different hours. Randomness is an argument.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.regress.measuring.blocks import Block
from harness.regress.verdict.decision_rules import Rules, rules_for
from harness.regress.verdict.verdicts import Family, Outcome, Stop, Verdict, decide
from harness.stats import Interval, binomial_interval

N_RUNS: Final = 1000
"""Replays for a rate: without a false alarm among them the exact interval ends at 0.37 %, below the 0.5 % of issue 5."""

DETECTABLE: Final = (0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
"""Values of --detect that `advise` tries."""

ENOUGH_POWER: Final = 0.95
"""19 of 20: what issue 5 promises for a slow-down of `detect`."""

FEW_ALARMS: Final = 0.005
"""What issue 5 promises for code against itself, by replay."""

LEAST_RECORDED: Final = 20
"""Fewer blocks, drawn with replacement, show too little of the noise.

Of the rarest 5 % of blocks they have one.
"""


@dataclass(frozen=True)
class Rate:
    """`k` of `n`, with the exact interval of the share (harness.stats.binomial_interval).

    None for n = 0.
    """

    k: int
    n: int
    interval: Interval | None

    @property
    def value(self) -> float:
        """The share, NaN for n = 0."""
        return self.k / self.n if self.n else math.nan


@dataclass(frozen=True)
class Rates:
    """How runs came out in which one benchmark was slower by `effect` (0: none was).

    `false_regression`: runs that call a benchmark a REGRESSION that was not slowed. `found`: runs
    that call the slowed one a REGRESSION, also by benchmark; n is 0 without an effect. `verdicts`:
    each run's verdict. `all_ok`: runs in which every benchmark is OK. `mean_blocks`: blocks a run.
    """

    detect: float
    effect: float
    false_regression: Rate
    found: Rate
    found_by_name: tuple[tuple[str, Rate], ...]
    verdicts: tuple[tuple[Verdict, Rate], ...]
    all_ok: Rate
    mean_blocks: float


@dataclass(frozen=True)
class Advice:
    """The least `detect` that this machine can hold, None if none of those tried.

    And what each came to.

    `tried`: for each value, without effect and with an effect of that size.
    """

    detect: float | None
    tried: tuple[tuple[Rates, Rates], ...]


def rate(k: int, n: int) -> Rate:
    """A share with its exact 95 % interval."""
    return Rate(k, n, binomial_interval(k, n))


def slowed(block: Block, name: str, effect: float) -> Block:
    """The block as if head had been slower by a share in one benchmark; a NaN stays NaN."""
    values = dict(block.values)
    values[name] = block.value(name) + math.log1p(effect)
    return Block(values, block.canary)


def run_through(blocks: Iterable[Block], family: Family, rules: Rules) -> Outcome:
    """Feed blocks to `decide` until it stops. What is still open when they end is out of budget."""
    source, held = iter(blocks), list[Block]()
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
    outcomes: Sequence[tuple[Outcome, str | None]], detect: float, effect: float = 0.0
) -> Rates:
    """Count runs; each comes with the name of the benchmark that was slowed in it, None for none.

    For real runs as well as for replayed ones.
    """
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
        found_by_name=tuple((name, rate(hits[name], k)) for name, k in sorted(slowed_runs.items())),
        verdicts=tuple((verdict, rate(k, n)) for verdict, k in sorted(verdicts.items())),
        all_ok=rate(all_ok, n),
        mean_blocks=sum(outcome.n_blocks for outcome, _ in outcomes) / n if n else math.nan,
    )


def replay(
    recorded: Sequence[Block],
    detect: float,
    generator: np.random.Generator,
    *,
    effect: float = 0.0,
    n_runs: int = N_RUNS,
) -> Rates:
    """Rates over runs drawn from recorded blocks, the benchmarks slowed in turn, one a run, if there is an effect.

    One of several is the hardest case for Holm's correction. ValueError without a block, and for no
    benchmark.
    """
    names = tuple(sorted({name for block in recorded for name in block.values}))
    if not names:
        raise ValueError("'recorded' must hold blocks with benchmarks")
    family, rules = Family(names), rules_for(len(names), detect)
    outcomes = []
    for run in range(n_runs):
        name = names[run % len(names)] if effect else None
        drawn = generator.integers(len(recorded), size=rules.looks[-1].n_blocks)
        blocks = [recorded[i] for i in drawn]
        if name is not None:
            blocks = [slowed(block, name, effect) for block in blocks]
        outcomes.append((run_through(blocks, family, rules), name))
    return rates_of(outcomes, detect, effect)


def advise(
    recorded: Sequence[Block],
    generator: np.random.Generator,
    *,
    detectable: Sequence[float] = DETECTABLE,
    n_runs: int = N_RUNS,
) -> Advice:
    """The least `detect`, of those given in ascending order, that this machine can hold.

    Stops at the first that it can.

    It can if without effect at most FEW_ALARMS of runs have a false REGRESSION and ENOUGH_POWER of
    them are OK in all benchmarks, and with a slow-down of that size ENOUGH_POWER of runs find it.
    None below LEAST_RECORDED blocks.
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
