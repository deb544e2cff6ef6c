"""The rules of a comparison, as data that is fixed before anything is timed.

Looks, error budgets, floor, confirmation.

How the budgets are split. Of 9 benchmarks, one that regressed must pass Holm's first step, a share
of alpha over 9. The least p-value of n blocks is 2^-n, so a look after n blocks can find it only if
its share is at least 9 * 2^-n: 0.0088 after 10 blocks, 0.000275 after 15, 0.0000086 after 20. Of
the 1 % the first look therefore gets 0.0088, and the other two 0.0006 each, which after 15 blocks
allows two assignments of 32768 (9 * 2 / 32768 = 0.00055), so one small block on the wrong side, and
after 20 blocks 69 of 1048576. With more than 9 benchmarks a look that could find nothing alone
gives its share to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harness.errors import InputError, nearest

DETECT: Final = 0.05
"""The slow-down to find. DESIGN section 8."""

TEST_BLOCKS: Final = (10, 15, 20)
"""Blocks after which the test is made.

DESIGN section 8; fewer than 10 find nothing among 9 benchmarks.
"""

ALPHA_SHARES: Final = (0.0088, 0.0006, 0.0006)
"""Of alpha = 1 %, for each look: see the module's docstring."""

CANARY_SHARES: Final = (0.004, 0.002, 0.002, 0.002)
"""Of another 1 %, two-sided, for each look and the blocks that confirm the last one.

After 10 blocks the least two-sided p is
0.00195, so that one small block on the wrong side (0.0039) is allowed from the first look on."""

N_CONFIRMING: Final = 5
"""Blocks that confirm a regression.

DESIGN section 8; the looks are as far apart, so they serve those undecided as well.
"""

N_AGREE: Final = 4
"""Of the fresh blocks, how many must be above 0. Source: simulation (docs/regressions.md).

Where blocks deviate by 3 %,
four times the usual, noise alone confirms in 3.0 % instead of the 4.5 % of "the median alone", and
a slow-down of 5 % in 94.0 % instead of 95.1 %; "all five" would confirm it in 77 %."""

MINIMUM_LEVEL: Final = 0.95
"""OK rests on an interval of at least this level, so that it is wrong in at most 2.5 % at a look."""


@dataclass(frozen=True)
class InterimTest:
    """A stop after `n_blocks` blocks in all.

    The share of alpha for the benchmarks, and the canary's.

    `alpha` of 0 means that nothing is tested here: the last one, which only confirms.
    """

    n_blocks: int
    alpha: float
    canary_alpha: float


@dataclass(frozen=True)
class Rules:
    """What is asked (`detect`, a fraction of time) and how it is decided.

    Make them with `rules_for`.
    """

    detect: float
    interim_tests: tuple[InterimTest, ...]
    n_agree: int = N_AGREE

    @property
    def log_detect(self) -> float:
        """What OK must stay below, as a log ratio."""
        return math.log1p(self.detect)

    @property
    def log_minimum(self) -> float:
        """The least median of a REGRESSION, as a log ratio: half of `detect`.

        A threshold at `detect` itself would find a slow-down of just that size half the time
        (FACTS, "Timing noise").
        """
        return math.log1p(self.detect / 2)

    @property
    def log_canary_minimum(self) -> float:
        """The least move of the canary that contaminates, as a log ratio.

        A quarter of `detect`, half of the floor.

        Less can't turn a slow-down of less than half the floor into a regression. Source:
        simulation (docs/regressions.md): of contaminations by 2 % the floor itself would see 3 % of
        runs at the first look, half of it 98 %, with a false alarm in none of 1,500 runs (7 where
        blocks deviate by 3 %, as many as the floor itself has at 6 %).
        """
        return math.log1p(self.detect / 4)

    @property
    def last_test(self) -> int:
        """Blocks at the last look that tests; what is open then stays open."""
        return max(look.n_blocks for look in self.interim_tests if look.alpha > 0)


def rules_for(n_benchmarks: int, detect: float = DETECT) -> Rules:
    """The rules for a family of benchmarks. ValueError unless 0 < detect <= 1.

    Up to 9 benchmarks a single regression can be found from the first look on, up to 308 from the
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
    looks = zip(stops, (*shares, 0.0), CANARY_SHARES, strict=True)
    return Rules(detect, tuple(InterimTest(*look) for look in looks))


def parse_detect(text: str) -> float:
    """`5%`, `2.5 %` or `0.05` as a fraction.

    InputError for anything else, and outside (0 %, 100 %].
    """
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
    """NAME=REASON, any number of them, as name to reason.

    InputError for an unknown name and an empty reason.
    """
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
