"""The rules of a comparison, fixed before anything is timed: tests, error budgets, confirmation.

How the 1 % of false alarms is shared among the tests. Of 9 benchmarks, one that regressed must pass
Holm's first step, a ninth of alpha. The least p-value of n blocks is 2^-n, so a test after n blocks
needs a share of at least 9 * 2^-n: 0.0088 after 10 blocks, 0.000275 after 15, 0.0000086 after 20.
So the first test gets 0.0088, and the other two 0.0006 each. After 15 blocks that allows two
assignments of signs of 32768 (9 * 2 / 32768 = 0.00055): one small block on the wrong side. After 20
blocks it allows 69 of 1048576. With more than 9 benchmarks a test that could find nothing alone
gives its share to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harness.errors import InputError, nearest

DETECT: Final = 0.05
"""The slow-down to find, unless the user names another."""

TEST_BLOCKS: Final = (10, 15, 20)
"""Blocks after which the tests are made; fewer than 10 find nothing among 9 benchmarks."""

ALPHA_SHARES: Final = (0.0088, 0.0006, 0.0006)
"""Of alpha = 1 %, for each test: see the module's docstring."""

CANARY_SHARES: Final = (0.004, 0.002, 0.002, 0.002)
"""Of another 1 %, two-sided, for each test and for the blocks that confirm after the last one.

After 10 blocks the least two-sided p is 0.00195, so one small block on the wrong side (0.0039) is
allowed from the first test on."""

N_CONFIRMING: Final = 5
"""Blocks that confirm a regression. The tests are as far apart, so open benchmarks use them too."""

N_AGREE: Final = 4
"""How many of the fresh blocks must be above 0. Source: simulation (docs/regressions.md).

Where blocks deviate by 3 %, four times the usual, noise alone confirms in 3.0 % of cases and a
slow-down of 5 % in 94.0 %. With the median alone it would be 4.5 and 95.1 %, with all five above 0
a slow-down would be confirmed in 77 %."""

MINIMUM_LEVEL: Final = 0.95
"""The least level of the interval of OK: so OK is wrong in at most 2.5 % at a test."""


@dataclass(frozen=True)
class InterimTest:
    """A test after `n_blocks` blocks: its share of alpha for the benchmarks, and the canary's.

    `alpha` 0: nothing is tested here; the last one only confirms.
    """

    n_blocks: int
    alpha: float
    canary_alpha: float


@dataclass(frozen=True)
class Rules:
    """What is to be found (`detect`, a fraction of time) and how; made by `rules_for`."""

    detect: float
    interim_tests: tuple[InterimTest, ...]
    n_agree: int = N_AGREE

    @property
    def log_detect(self) -> float:
        """`detect` as a log ratio: OK must be below it."""
        return math.log1p(self.detect)

    @property
    def log_minimum(self) -> float:
        """Half of `detect` as a log ratio: the least median of a REGRESSION.

        A threshold at `detect` itself would find a slow-down of just that size half the time.
        """
        return math.log1p(self.detect / 2)

    @property
    def log_canary_minimum(self) -> float:
        """A quarter of `detect` as a log ratio: the least move of the canary that contaminates.

        A smaller one cannot turn a slow-down below a quarter of `detect` into a regression. By
        simulation (docs/regressions.md), half of `detect` would find 3 % of contaminations by 2 %
        at the first test and a quarter finds 98 %, with no false alarm in 1,500 runs (7 where
        blocks deviate by 3 %, as many as half of `detect` has at 6 %).
        """
        return math.log1p(self.detect / 4)

    @property
    def last_test(self) -> int:
        """Blocks at the last test of the benchmarks; what is open then stays open."""
        return max(test.n_blocks for test in self.interim_tests if test.alpha > 0)


def rules_for(n_benchmarks: int, detect: float = DETECT) -> Rules:
    """The rules for a family of benchmarks. ValueError unless 0 < detect <= 1.

    Up to 9 benchmarks a single regression can be found from the first test on, up to 308 from the
    second on, up to 10485 at the last one; with more only several at once.
    """
    if not 0 < detect <= 1:
        raise ValueError(f"'detect' must be above 0 and at most 1 (got {detect!r})")
    shares, saved = [], 0.0
    for n_blocks, share in zip(TEST_BLOCKS, ALPHA_SHARES, strict=True):
        saved += share
        usable = saved >= max(n_benchmarks, 1) * 2.0**-n_blocks or n_blocks == TEST_BLOCKS[-1]
        shares.append(saved if usable else 0.0)
        saved = 0.0 if usable else saved
    stops = (*TEST_BLOCKS, TEST_BLOCKS[-1] + N_CONFIRMING)
    tests = zip(stops, (*shares, 0.0), CANARY_SHARES, strict=True)
    return Rules(detect, tuple(InterimTest(*test) for test in tests))


def parse_detect(text: str) -> float:
    """`5%`, `2.5 %` or `0.05` as a fraction; InputError for others and outside (0 %, 100 %]."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        expected = "a slow-down above 0 % and at most 100 %, as 5% or 0.05"
        raise InputError("--detect", expected=expected, got=text)
    return value


def parse_accepted(texts: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """NAME=REASON texts as reasons by name; InputError for an unknown name, an empty reason."""
    accepted: dict[str, str] = {}
    known = sorted(
        names, key=len, reverse=True
    )  # a name may hold the sign itself: the longest fits
    for text in texts:
        stripped = text.strip()
        name = next((one for one in known if stripped.startswith(f"{one}=")), None)
        given, _, reason = stripped.partition("=")
        if name is not None:
            given, reason = name, stripped.removeprefix(f"{name}=")
        if not given or not reason.strip():
            raise InputError("--accept", expected="NAME=REASON, with a reason", got=text)
        if name is None:
            expected, remedy = "the name of a benchmark", nearest(given, known)
            raise InputError("--accept", expected=expected, got=given, remedy=remedy)
        accepted[name] = reason.strip()
    return accepted
