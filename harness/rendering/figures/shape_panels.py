"""A number against the two sizes of a shape, hidden size and sequence length.

Two panels for each device, a line for each cell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.rendering import theme
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import short_number, spaced_ticks
from harness.rendering.report_context import ReportContext

Row = Mapping[Any, Any]
OTHER = {"hidden_size": "sequence_length", "sequence_length": "hidden_size"}
ValueRange = tuple[float, float, float]  # a value and the two ends of its interval


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What is drawn of each row, and how the axis calls it: a logarithmic one, or one from 0."""

    value: Callable[[Row], ValueRange]
    name: str
    is_log: bool = True


def plot_against_shape(
    context: ReportContext, rows: pd.DataFrame, drawn: Quantity, sizes: Sequence[str] = tuple(OTHER)
) -> Figure:
    """Draw a positive number of each row against hidden size and against length, the other held where most was measured.

    `sizes` may leave one of the two out.
    """
    devices, n = list(rows["device"].unique()), len(sizes)
    drawing, panels = theme.grid(n * len(devices), columns=n, height=2.9, sharey="row")
    placed = {}
    for i, device in enumerate(devices):
        own = rows[rows["device"] == device]
        name = str(own["device_name"].iloc[0]) or device
        for axes, x in zip(panels[n * i : n * i + n], sizes, strict=True):
            other = OTHER[x]
            fixed, those = _slice(own, x, other)
            held = context.messages(f"throughput.at_{other}", value=context.number(other, fixed))
            prefix = context.messages("throughput.device", name=name, device=device)
            axes.set_title(held if len(devices) == 1 else f"{prefix} · {held}")
            placed[axes] = _lines(context, axes, those, x, drawn)
            axes.set_xlabel(context.messages(f"throughput.x_{x}"))
        panels[n * i].set_ylabel(drawn.name)
    direct_labels.label_line_ends(drawing, placed)
    return drawing


def speed(row: Row) -> ValueRange:
    """Tokens per second with its interval: that of the step's time, turned round."""
    value, step = float(row["tokens_per_second"]), float(row["step_time_s"])
    return (
        value,
        value * step / float(row["step_time_high_s"]),
        value * step / float(row["step_time_low_s"]),
    )


def speed_interval(context: ReportContext, low: float, high: float) -> str:
    """The two ends of the interval of a speed; a dash where it has none."""
    if math.isnan(low) or math.isnan(high):
        return context.messages("none")
    low_text, high_text = (context.number("tokens_per_second", end) for end in (low, high))
    return context.messages("range", low=low_text, high=high_text)


def _slice(rows: pd.DataFrame, x: str, other: str) -> tuple[float, pd.DataFrame]:
    """The rows of that value of `other` at which most values of `x` were timed."""
    widths = rows.groupby(other)[x].nunique()
    fixed = float(widths[widths == widths.max()].index[-1])
    layers = rows["num_layers"].min()
    return fixed, rows[(rows[other] == fixed) & (rows["num_layers"] == layers)]


def _lines(
    context: ReportContext, axes: Axes, rows: pd.DataFrame, x: str, drawn: Quantity
) -> list[direct_labels.LineEnd]:
    """A line a cell; returns where they end."""
    values = sorted(rows[x].unique())
    axes.set_xscale("log")
    if drawn.is_log:
        axes.set_yscale("log")
    ends = []
    for cell in context.cells:
        own = rows[rows["cell"] == cell].sort_values(x)
        if len(own) == 0:
            continue
        style = context.styles[cell]
        found = [drawn.value(row) for row in own.to_dict("records")]
        for at, (_, low, high) in zip(own[x], found, strict=True):
            axes.plot([at, at], [low, high], color=style.colour, alpha=0.4, linewidth=3)
        axes.plot(
            own[x],
            [middle for middle, _, _ in found],
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markeredgecolor="none",
        )
        ends.append(direct_labels.LineEnd(float(own[x].iloc[-1]), found[-1][0], cell, style.colour))
    axes.xaxis.set_major_locator(FixedLocator(spaced_ticks(values, 0.09)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: context.number(x, at)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: short_number(context, at)))
    if drawn.is_log:
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylim(bottom=0)
    axes.yaxis.set_minor_locator(NullLocator())
    return ends
