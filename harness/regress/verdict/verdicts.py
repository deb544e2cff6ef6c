"""From blocks to verdicts: what to time next, and what is concluded. A pure function.

`decide` is given all blocks so far, in order, and returns what to time next or what came out. It
keeps nothing between calls, so recorded blocks can be replayed through it: selftest measures the
very rules that a comparison uses.

At each interim test (after 10, 15 and 20 blocks) a benchmark that is still open becomes
    a suspect      the test is significant and the median at least half of `detect`: the next 5
                   blocks confirm it or not
    ok             the whole interval of its median is below `detect`
    or stays open  until the last test, where it is inconclusive
A canary that moved ends the run at any test.
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
    "confirmed",  # regression: significant, large enough, and fresh blocks agree
    "below_detect",  # ok: the interval is below `detect`
    # Inconclusive: significant and large enough, but fresh blocks did not agree
    "not_confirmed",
    "reaches_detect",  # inconclusive: after the last test the interval still reaches `detect`
    "not_measured",  # inconclusive: too few blocks have a value
    "out_of_budget",  # inconclusive: the budget ended before a test could decide
    # Inconclusive: too few blocks have a canary, so the run cannot be trusted
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
"""The verdicts that --accept lets pass, and shows. Noise is never intended."""

OK_CODE, REGRESSION_CODE, UNDECIDED_CODE, MISSING_CODE = 0, 1, 3, 4

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

    `ratio` is head's time a step over base's (1.05: 5 % slower): the median of the blocks that the
    verdict depends on, with their interval. `fresh` is that of the blocks after a suspect, None
    where there was none. `p_value` is one-sided, from the last test, after Holm's correction; None
    without a test. `improved`: as significant and as large in the other direction; it never fails.
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
    """The canary over all blocks: ratio, two-sided p-value, and whether it moved at a test."""

    ratio: Estimate
    p_value: float
    moved: bool


@dataclass(frozen=True)
class VerdictOutcome:
    """What came out of a comparison: the family's benchmarks in order, then those missing."""

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
        """0 ok, 1 regression, 4 missing; 0 for undecided, or 3 if `fail_on` has "inconclusive"."""
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

    `confirming` are the suspects among them. A benchmark that is not named is decided; timing it
    all the same changes nothing.
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

    With `budget_over` always Stop: what no test could decide is inconclusive. Blocks beyond the one
    that decided are ignored. A benchmark lacks the blocks in which it is NaN: all blocks count for
    when a test is made, those with a value for its result. The rules must be those of
    `len(family.names)` benchmarks.
    """
    states: dict[str, BenchmarkState] = dict.fromkeys(family.names, Open())
    n_used = 0
    for test in rules.interim_tests:
        undecided = tuple(name for name, state in states.items() if not isinstance(state, Finding))
        if not undecided:
            break
        if len(blocks) < test.n_blocks:
            if budget_over:
                n_used = len(blocks)
                break
            confirming = tuple(name for name in undecided if isinstance(states[name], Suspect))
            return MeasureMore(test.n_blocks - len(blocks), undecided, confirming)
        n_used, seen = test.n_blocks, blocks[: test.n_blocks]
        if void := _void(seen, test, rules):
            return Stop(_outcome(seen, family, {}, void))
        states |= _confirmed(seen, states, rules) | _tested(seen, states, test, rules)
    return Stop(_outcome(blocks[:n_used], family, states))


# --- At a test --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """A benchmark that no test has decided; the p-value is that of the last one."""

    p_value: float | None = None


@dataclass(frozen=True)
class Suspect:
    """A benchmark that the test after `n_blocks` found slower; later blocks confirm it or not."""

    n_blocks: int
    p_value: float


BenchmarkState = Open | Suspect | Finding


def _void(seen: Sequence[BlockRatios], test: InterimTest, rules: Rules) -> Finding | None:
    """The finding of every benchmark if the canary moved or is not known; None if all is well.

    It moved if it is significantly off 0 and by a quarter of `detect` at least. It is not known
    where fewer than half of the blocks have it.
    """
    values = _known(block.canary for block in seen)
    nothing = median_interval([])
    if len(values) < len(seen) / 2:
        return Finding("", "inconclusive", "canary_not_measured", nothing)
    if (
        abs(median(values)) < rules.log_canary_minimum
        or two_sided_p_value(values) > test.canary_alpha
    ):
        return None
    return Finding("", "contaminated", "canary_moved", nothing)


def _confirmed(
    seen: Sequence[BlockRatios], states: Mapping[str, BenchmarkState], rules: Rules
) -> dict[str, Finding]:
    """The findings of the suspects, from the blocks after their test.

    A regression is confirmed if the fresh blocks' median is at least half of `detect` and at least
    `n_agree` of them are above 0. Otherwise the benchmark is ok where the interval over all its
    blocks is below `detect`, and else inconclusive.
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


def _tested(
    seen: Sequence[BlockRatios],
    states: Mapping[str, BenchmarkState],
    test: InterimTest,
    rules: Rules,
) -> dict[str, BenchmarkState]:
    """The open benchmarks after a test.

    Those decided before count as p = 1 in Holm's correction, which only makes it stricter.
    """
    values = {
        name: _values(seen, name) for name, state in states.items() if isinstance(state, Open)
    }
    if test.n_blocks > rules.last_test:
        return {}
    p_values = {name: sign_flip_p_values(own) for name, own in values.items()}
    slower = holm({name: p.above for name, p in p_values.items()}, len(states))
    faster = holm({name: p.below for name, p in p_values.items()}, len(states))
    found: dict[str, BenchmarkState] = {}
    for name, own in values.items():
        estimate = median_interval(own)
        middle = 0.0 if estimate.value is None else estimate.value
        improved = faster[name] <= test.alpha and middle <= -rules.log_minimum
        if slower[name] <= test.alpha and middle >= rules.log_minimum:
            found[name] = Suspect(test.n_blocks, slower[name])
        elif _is_below_detect(estimate, rules):
            found[name] = Finding(
                name, "ok", "below_detect", as_ratio(own), slower[name], improved=improved
            )
        elif test.n_blocks < rules.last_test:
            found[name] = Open(slower[name])
        else:
            reason: Reason = "reaches_detect" if _is_enough(estimate) else "not_measured"
            found[name] = Finding(name, "inconclusive", reason, as_ratio(own), slower[name])
    return found


def _is_enough(estimate: Estimate) -> bool:
    """Whether there are enough blocks for the interval that OK needs: 6, for 95 %."""
    return estimate.interval is not None and estimate.interval.level >= MINIMUM_LEVEL


def _is_below_detect(estimate: Estimate, rules: Rules) -> bool:
    return (
        estimate.interval is not None
        and estimate.interval.level >= MINIMUM_LEVEL
        and estimate.interval.high < rules.log_detect
    )


# --- What came out ----------------------------------------------------------------------------


def as_ratio(values: Iterable[float]) -> Estimate:
    """Median of log ratios and its interval, as ratios: 1.05 is 5 % slower."""
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
    """Findings in the family's order; what no test decided is inconclusive."""
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
