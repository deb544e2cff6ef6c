"""A number against hidden size and against sequence length: panels by device, lines by cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.rendering import theme
from harness.rendering.figures import direct_labels
from harness.rendering.figures.curves import ValueRange, draw_curve
from harness.rendering.figures.ticks import set_size_axis, short_number
from harness.rendering.report_context import ReportContext

TableRow = Mapping[Any, Any]
OTHER = {"hidden_size": "sequence_length", "sequence_length": "hidden_size"}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """The number to draw of each row, and the label of its axis: logarithmic, or from 0."""

    value: Callable[[TableRow], ValueRange]
    name: str
    is_log: bool = True


def plot_against_shape(
    context: ReportContext, rows: pd.DataFrame, drawn: Quantity, sizes: Sequence[str] = tuple(OTHER)
) -> Figure:
    """Draw a positive number of each row against hidden size and against sequence length.

    The other size is fixed at the value with the most rows. `sizes` may leave one of the two out.
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


def speed(row: TableRow) -> ValueRange:
    """Tokens per second with its interval, from the interval of the step's time."""
    value, step = float(row["tokens_per_second"]), float(row["step_time_s"])
    return (
        value,
        value * step / float(row["step_time_high_s"]),
        value * step / float(row["step_time_low_s"]),
    )


def speed_interval(context: ReportContext, low: float, high: float) -> str:
    """The interval of a speed as text; a dash where it has none."""
    if math.isnan(low) or math.isnan(high):
        return context.messages("none")
    low_text, high_text = (context.number("tokens_per_second", end) for end in (low, high))
    return context.messages("range", low=low_text, high=high_text)


def _slice(rows: pd.DataFrame, x: str, other: str) -> tuple[float, pd.DataFrame]:
    """The value of `other` with the most values of `x`, and its rows."""
    widths = rows.groupby(other)[x].nunique()
    fixed = float(widths[widths == widths.max()].index[-1])
    layers = rows["num_layers"].min()
    return fixed, rows[(rows[other] == fixed) & (rows["num_layers"] == layers)]


def _lines(
    context: ReportContext, axes: Axes, rows: pd.DataFrame, x: str, drawn: Quantity
) -> list[direct_labels.LineEnd]:
    """Draw a line for each cell; return where their names belong."""
    if drawn.is_log:
        axes.set_yscale("log")
    ends = []
    set_size_axis(context, axes, x, sorted(rows[x].unique()), 0.09)
    for cell in context.cells:
        own = rows[rows["cell"] == cell].sort_values(x).to_dict("records")
        if own:
            points = [(row[x], drawn.value(row)) for row in own]
            ends.append(draw_curve(axes, cell, context.styles[cell], points))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: short_number(context, at)))
    if drawn.is_log:
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylim(bottom=0)
    axes.yaxis.set_minor_locator(NullLocator())
    return ends
