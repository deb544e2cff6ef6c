"""Where the ticks of an axis are, and their texts. Knows no data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.rendering.report_context import ReportContext


def dodge(place: int, of: int) -> float:
    """The factor that moves the points of series `place` of `of` sideways, so that all are seen."""
    return 1.022 ** (2 * place - of + 1)


def spaced_ticks(values: Sequence[float], least: float = 0.055) -> list[float]:
    """Those of the ascending values whose labels do not overlap on a logarithmic axis.

    Ticks are at least the share `least` of the axis apart. The first and the last are always kept.
    """
    if len(values) < 3:
        return list(values)
    whole = math.log(values[-1] / values[0])
    kept = [values[0]]
    for value in values[1:-1]:
        from_left, to_right = math.log(value / kept[-1]), math.log(values[-1] / value)
        if min(from_left, to_right) >= least * whole:
            kept.append(value)
    return [*kept, values[-1]]


def set_size_axis(
    context: ReportContext, axes: Axes, name: str, values: Sequence[float], least: float
) -> None:
    """Label a logarithmic x axis at the values of a size, such as hidden_size, that fit."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(spaced_ticks(values, least)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: context.number(name, at)))


def short_number(context: ReportContext, value: float) -> str:
    """A large number for an axis: 20k, 1.5M."""
    for size, key in ((1e6, "short.million"), (1e3, "short.thousand")):
        if abs(value) >= size:
            return context.messages(key, value=f"{value / size:g}")
    return f"{value:g}"
