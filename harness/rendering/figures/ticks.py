"""Places and texts along an axis. Knows no data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.rendering.report_context import ReportContext


def dodge(place: int, of: int) -> float:
    """Factor by which a cell's points are moved sideways, so that no interval hides another."""
    return 1.022 ** (2 * place - of + 1)


def spaced_ticks(lags: Sequence[float], least: float = 0.055) -> list[float]:
    """The lags that have room for a label on a logarithmic axis.

    The first and the last always do.
    """
    if len(lags) < 3:
        return list(lags)
    whole = math.log(lags[-1] / lags[0])
    kept = [lags[0]]
    for lag in lags[1:-1]:
        from_left, to_right = math.log(lag / kept[-1]), math.log(lags[-1] / lag)
        if min(from_left, to_right) >= least * whole:
            kept.append(lag)
    return [*kept, lags[-1]]


def short_number(context: ReportContext, value: float) -> str:
    """A large number for an axis: 20k, 1.5M."""
    for size, key in ((1e6, "short.million"), (1e3, "short.thousand")):
        if abs(value) >= size:
            return context.messages(key, value=f"{value / size:g}")
    return f"{value:g}"
