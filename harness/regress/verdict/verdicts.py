"""From blocks to verdicts: what to time next, and what is concluded.

A pure function of the blocks; never times anything.

`decide` is given all blocks so far, in order, and says either what to time next or what came out.
It keeps nothing between calls, so that recorded blocks can be replayed through it: selftest
measures the very rule that a comparison uses.

After each look (10, 15 and 20 blocks) a benchmark that is still open becomes
    a suspect      its test is significant and its median at least the floor: the next 5 blocks
                   confirm it or not
    ok             the whole interval of its median lies below `detect`
    or stays open  until the last look, where it is inconclusive
A canary that moved ends the run at any look.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, Literal

from harness.regress.measuring.blocks import BlockRatios
from harness.regress.verdict.decision_rules import MINIMUM_LEVEL, InterimTest, Rules
from harness.regress.verdict.sign_flip_test import sign_flip_p_values, two_sided_p_value
from harness.stats import Estimate, Interval, holm, median_interval

BenchmarkVerdict = Literal["ok", "regression", "inconclusive", "contaminated", "missing"]

Reason = Literal[
    "confirmed",  # regression: significant, above the floor, and fresh blocks agree
    "below_detect",  # ok: the interval lies below `detect`
    # Inconclusive: significant and above the floor, but fresh blocks did not agree
    "not_confirmed",
    "reaches_detect",  # inconclusive: after the last look the interval still reaches `detect`
    "not_measured",  # inconclusive: too few blocks have a value
    "out_of_budget",  # inconclusive: the budget ended before a look could decide
    # Inconclusive: too few blocks have a canary, so nothing vouches for the run
    "canary_not_measured",
    "canary_moved",  # contaminated
    "absent_in_head",  # missing
]

SEVERITY: Final[tuple[BenchmarkVerdict, ...]] = (
    "missing",
    "contaminated",
    "regression",
    "inconclusive",
    "ok",
)
"""The run's verdict is the first of these that a benchmark has and that is not accepted."""

ACCEPTABLE: Final[tuple[BenchmarkVerdict, ...]] = ("regression", "missing")
"""What --accept lets pass, and shows. Noise can't be intended."""

OK_CODE, REGRESSION_CODE, UNDECIDED_CODE, MISSING_CODE = 0, 1, 3, 4  # DESIGN section 8

FailOn = Literal["inconclusive"]


@dataclass(frozen=True)
class Family:
    """The benchmarks of a comparison: those that both sides have, and those that head lacks.

    `accepted` holds the reason for each benchmark whose regression, or absence, is intended.
    """

    names: tuple[str, ...]
    missing: tuple[str, ...] = ()
    accepted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What came out for one benchmark.

    `ratio` is head's time a step over base's (1.05: 5 % slower), the median of the blocks that the
    verdict rests on, with their interval; `fresh` that of the blocks that were to confirm a
    suspect, None if it was none. `p_value` is the one-sided one at the deciding look, after Holm's
    correction; None without a look. `improved`: as significant, and as large, in the other
    direction; that is told and never fails.
    """

    name: str
    verdict: BenchmarkVerdict
    reason: Reason
    ratio: Estimate
    p_value: float | None = None
    fresh: Estimate | None = None
    improved: bool = False
    accepted: str | None = None


@dataclass(frozen=True)
class Canary:
    """The canary over all blocks.

    Its ratio, its two-sided p-value, and whether it moved at a look.
    """

    ratio: Estimate
    p_value: float
    moved: bool


@dataclass(frozen=True)
class VerdictOutcome:
    """What came out of a comparison, in the order of the family's names and then of those missing."""

    findings: tuple[Finding, ...]
    canary: Canary
    n_blocks: int

    @property
    def verdict(self) -> BenchmarkVerdict:
        """The gravest verdict that is not accepted; `ok` where there is none."""
        found = {finding.verdict for finding in self.findings if finding.accepted is None}
        if self.canary.moved:
            found.add("contaminated")
        return next((verdict for verdict in SEVERITY if verdict in found), "ok")

    def exit_code(self, fail_on: Collection[FailOn] = ()) -> int:
        """0 ok, 1 regression, 3 inconclusive or contaminated if `fail_on` says so (else 0), 4 missing."""
        match self.verdict:
            case "missing":
                return MISSING_CODE
            case "regression":
                return REGRESSION_CODE
            case "ok":
                return OK_CODE
            case "inconclusive" | "contaminated":
                return UNDECIDED_CODE if "inconclusive" in fail_on else OK_CODE


@dataclass(frozen=True)
class MeasureMore:
    """Time `n_blocks` more blocks of the canary and of these benchmarks.

    `confirming` are the suspects among them.

    A benchmark that is not named is decided; timing it all the same changes nothing.
    """

    n_blocks: int
    names: tuple[str, ...]
    confirming: tuple[str, ...]


@dataclass(frozen=True)
class Stop:
    """Nothing more to time."""

    outcome: VerdictOutcome


Decision = MeasureMore | Stop


def decide(
    blocks: Sequence[BlockRatios], family: Family, rules: Rules, *, budget_over: bool = False
) -> Decision:
    """What to do after these blocks.

    With `budget_over` always Stop: what no look could decide is inconclusive.

    Blocks beyond the one that decided are ignored. A NaN is a block that a benchmark has not; the
    looks count all blocks, the tests those with a value. The rules must be those of
    `len(family.names)` benchmarks.
    """
    states: dict[str, BenchmarkState] = dict.fromkeys(family.names, Open())
    n_used = 0
    for look in rules.interim_tests:
        undecided = tuple(name for name, state in states.items() if not isinstance(state, Finding))
        if not undecided:
            break
        if len(blocks) < look.n_blocks:
            if budget_over:
                n_used = len(blocks)
                break
            confirming = tuple(name for name in undecided if isinstance(states[name], Suspect))
            return MeasureMore(look.n_blocks - len(blocks), undecided, confirming)
        n_used, seen = look.n_blocks, blocks[: look.n_blocks]
        if void := _void(seen, look, rules):
            return Stop(_outcome(seen, family, {}, void))
        states |= _confirmed(seen, states, rules) | _looked_at(seen, states, look, rules)
    return Stop(_outcome(blocks[:n_used], family, states))


# --- At a look --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """A benchmark that no look has decided; the p-value is that of the last one."""

    p_value: float | None = None


@dataclass(frozen=True)
class Suspect:
    """A benchmark whose slow-down the look after `n_blocks` found.

    The blocks after it confirm it or not.
    """

    n_blocks: int
    p_value: float


BenchmarkState = Open | Suspect | Finding


def _void(seen: Sequence[BlockRatios], look: InterimTest, rules: Rules) -> Finding | None:
    """What the canary makes of every benchmark, if it moved or says nothing; None if all is well.

    It moved if it is off 0 significantly and by its floor at least. It says nothing where fewer
    than half of the blocks have it.
    """
    values = _known(block.canary for block in seen)
    nothing = median_interval([])
    if len(values) < len(seen) / 2:
        return Finding("", "inconclusive", "canary_not_measured", nothing)
    if (
        abs(median(values)) < rules.log_canary_minimum
        or two_sided_p_value(values) > look.canary_alpha
    ):
        return None
    return Finding("", "contaminated", "canary_moved", nothing)


def _confirmed(
    seen: Sequence[BlockRatios], states: Mapping[str, BenchmarkState], rules: Rules
) -> dict[str, Finding]:
    """What the blocks after a look make of its suspects.

    Confirmed: the fresh blocks' median is at least the floor, and at least `n_agree` of them are
    above 0. One that is not is ok where the interval over all its blocks lies below `detect`, and
    else inconclusive.
    """
    findings = {}
    for name, state in states.items():
        if not isinstance(state, Suspect):
            continue
        values = _values(seen, name)
        fresh = _known(values[state.n_blocks :])
        agree = sum(value > 0 for value in fresh) >= rules.n_agree
        verdict: BenchmarkVerdict
        reason: Reason
        if agree and median(fresh) >= rules.log_minimum:
            verdict, reason = "regression", "confirmed"
        elif _is_below_detect(median_interval(values), rules):
            verdict, reason = "ok", "below_detect"
        else:
            verdict, reason = "inconclusive", "not_confirmed"
        findings[name] = Finding(
            name, verdict, reason, as_ratio(values), state.p_value, as_ratio(fresh)
        )
    return findings


def _looked_at(
    seen: Sequence[BlockRatios],
    states: Mapping[str, BenchmarkState],
    look: InterimTest,
    rules: Rules,
) -> dict[str, BenchmarkState]:
    """The open benchmarks after a look.

    Those decided before count in Holm's correction as p = 1: that only widens it.
    """
    values = {
        name: _values(seen, name) for name, state in states.items() if isinstance(state, Open)
    }
    if look.n_blocks > rules.last_test:
        return {}
    p_values = {name: sign_flip_p_values(own) for name, own in values.items()}
    slower = holm({name: p.above for name, p in p_values.items()}, len(states))
    faster = holm({name: p.below for name, p in p_values.items()}, len(states))
    found: dict[str, BenchmarkState] = {}
    for name, own in values.items():
        estimate = median_interval(own)
        middle = 0.0 if estimate.value is None else estimate.value
        improved = faster[name] <= look.alpha and middle <= -rules.log_minimum
        if slower[name] <= look.alpha and middle >= rules.log_minimum:
            found[name] = Suspect(look.n_blocks, slower[name])
        elif _is_below_detect(estimate, rules):
            found[name] = Finding(
                name, "ok", "below_detect", as_ratio(own), slower[name], improved=improved
            )
        elif look.n_blocks < rules.last_test:
            found[name] = Open(slower[name])
        else:
            reason: Reason = "reaches_detect" if _is_enough(estimate) else "not_measured"
            found[name] = Finding(name, "inconclusive", reason, as_ratio(own), slower[name])
    return found


def _is_enough(estimate: Estimate) -> bool:
    """Whether there are blocks enough for an interval that OK may rest on: 6, for 95 %."""
    return estimate.interval is not None and estimate.interval.level >= MINIMUM_LEVEL


def _is_below_detect(estimate: Estimate, rules: Rules) -> bool:
    return (
        estimate.interval is not None
        and estimate.interval.level >= MINIMUM_LEVEL
        and estimate.interval.high < rules.log_detect
    )


# --- What came out ----------------------------------------------------------------------------


def as_ratio(values: Iterable[float]) -> Estimate:
    """Median of log ratios and its interval (harness.stats.median_interval), as ratios.

    1.05 is 5 % slower.
    """
    estimate = median_interval(value if math.isfinite(value) else math.nan for value in values)
    if estimate.value is None:
        return estimate
    interval = estimate.interval and Interval(
        math.exp(estimate.interval.low),
        math.exp(estimate.interval.high),
        estimate.interval.level,
    )
    return replace(estimate, value=math.exp(estimate.value), interval=interval)


def _outcome(
    blocks: Sequence[BlockRatios],
    family: Family,
    states: Mapping[str, BenchmarkState],
    void: Finding | None = None,
) -> VerdictOutcome:
    """Findings in the family's order.

    What no look decided is inconclusive, what head lacks is missing.
    """
    findings = [
        replace(void, name=name, ratio=as_ratio(_values(blocks, name)))
        if void
        else _decided(name, blocks, states[name])
        for name in family.names
    ]
    findings += [
        Finding(name, "missing", "absent_in_head", as_ratio([])) for name in family.missing
    ]
    moved = void is not None and void.verdict == "contaminated"
    canary = [block.canary for block in blocks]
    return VerdictOutcome(
        tuple(
            replace(finding, accepted=family.accepted.get(finding.name))
            if finding.verdict in ACCEPTABLE
            else finding
            for finding in findings
        ),
        Canary(as_ratio(canary), two_sided_p_value(canary), moved),
        len(blocks),
    )


def _decided(name: str, blocks: Sequence[BlockRatios], state: BenchmarkState) -> Finding:
    if isinstance(state, Finding):
        return state
    values = _values(blocks, name)
    fresh = as_ratio(values[state.n_blocks :]) if isinstance(state, Suspect) else None
    return Finding(name, "inconclusive", "out_of_budget", as_ratio(values), state.p_value, fresh)


def _values(blocks: Sequence[BlockRatios], name: str) -> list[float]:
    return [block.value(name) for block in blocks]


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
