"""How the pages of these benchmarks write an estimate."""

from __future__ import annotations

from harness.stats import Estimate


def text(estimate: Estimate, digits: int = 2) -> str:
    """A value with its interval, where there is one."""
    if estimate.value is None:
        return "–"
    value = f"{estimate.value:.{digits}f}"
    if estimate.interval is None:
        return value
    return f"{value} ({estimate.interval.low:.{digits}f} – {estimate.interval.high:.{digits}f})"
