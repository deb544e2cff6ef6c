"""The curve of one cell: points with their intervals, joined by a line. Knows no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.rendering.figures.direct_labels import LineEnd
from harness.rendering.theme import SeriesStyle

ValueRange = tuple[float, float, float]
"""A value and the two ends of its interval; NaN ends where it has none."""


def draw_curve(
    axes: Axes,
    cell: str,
    style: SeriesStyle,
    points: Sequence[tuple[float, ValueRange]],
    **options: Any,
) -> LineEnd:
    """Draw (x, value and interval) points in the style of a cell; returns where its name belongs.

    `options` are matplotlib's, of the line and its markers.
    """
    for x, (_, low, high) in points:
        if not math.isnan(low):
            axes.plot([x, x], [low, high], color=style.colour, alpha=0.4, linewidth=3)
    axes.plot(
        [x for x, _ in points],
        [value for _, (value, _, _) in points],
        **{
            "color": style.colour,
            "linestyle": style.line,
            "marker": style.marker,
            "markeredgecolor": "none",
            **options,
        },
    )
    x, (value, _, _) = points[-1]
    return LineEnd(float(x), float(value), cell, style.colour)
