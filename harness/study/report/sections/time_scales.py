"""Time scales of the units: how long their memory gates keep a value."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.rendering.figures.ticks import short_number
from harness.study.report.sections.gradients import LINES, STATES, diagnostics_entries, states_key
from harness.study.report.study_context import StudyContext

BINS_A_DECADE = 6


@dataclasses.dataclass(frozen=True)
class Units:
    """The time scales of the units of one layer, in steps, before or after training.

    `lag` is the lag of the task.
    """

    task: str
    cell: str
    state: str
    gate: str
    layer: int
    lag: float
    n_sequences: int
    steps: tuple[float, ...]

    @property
    def beyond(self) -> int:
        """Number of units whose time scale reaches the lag of the task."""
        return sum(each >= self.lag for each in self.steps)


def section(context: StudyContext) -> Section:
    """Histogram of the time scales of the units, a panel for each cell that has some."""
    messages, summary = context.messages, context.summary
    title = messages("time_scales.title")
    layers = _units(context)
    pairs = [pair for pair in summary.pairs if any((one.task, one.cell) == pair for one in layers)]
    if not pairs:
        return context.not_measured("time_scales", title, messages("time_scales.absent"))
    whole = {
        (pair, state): _merged([u for u in layers if (u.task, u.cell, u.state) == (*pair, state)])
        for pair in pairs
        for state in STATES
    }
    drawing, panels = theme.grid(len(pairs), columns=2, height=2.5, sharey=False)
    most = 10.0 ** math.ceil(math.log10(10 * max(10.0, *(one.lag for one in layers))))
    for axes, pair in zip(panels, pairs, strict=True):
        _histogram(context, axes, [one for s in STATES if (one := whole[pair, s])], most)
    drawing.legend(
        handles=_histogram_key(context), loc="outside upper left", ncols=2, handlelength=1.8
    )
    sequences = messages.listed(sorted({f"{one.n_sequences}" for one in layers}))
    caption = messages("time_scales.caption", n=sequences)
    if any(each > most for one in layers for each in one.steps):
        caption += " " + messages("time_scales.caption_beyond", most=f"{most:,.0f}")
    picture = Picture(
        "time_scales",
        drawing,
        messages("time_scales.description"),
        caption,
        _units_table(context, layers),
    )
    sentences = [
        _unit_sentence(context, before, after)
        for pair in pairs
        if (before := whole[pair, "initial"]) and (after := whole[pair, "trained"])
    ]
    texts = [messages("time_scales.intro"), *sentences]
    return Section("time_scales", title, (*map(Paragraph, texts), picture))


def _units(context: StudyContext) -> list[Units]:
    """The stored time scales, without layers that have unknown ones (of a diverged model)."""
    parts = {"task", "cell", "state", "gate", "layer", "task_lag", "n_sequences", "steps"}
    return [
        Units(
            one["task"],
            one["cell"],
            one["state"],
            str(one["gate"]),
            int(one["layer"]),
            float(one["task_lag"]),
            int(one["n_sequences"]),
            tuple(one["steps"]),
        )
        for one in diagnostics_entries(context, "time_scales", parts)
        if one["steps"] and None not in one["steps"] and one["task_lag"] is not None
    ]


def _merged(layers: Sequence[Units]) -> Units | None:
    """The units of all layers together; None without any."""
    if not layers:
        return None
    return dataclasses.replace(layers[0], steps=tuple(each for one in layers for each in one.steps))


def _histogram(context: StudyContext, axes: Axes, states: Sequence[Units], most: float) -> None:
    messages, any_state = context.messages, states[0]
    edges = np.geomspace(1, most, round(math.log10(most) * BINS_A_DECADE) + 1)
    colour = context.styles[any_state.cell].colour
    highest = 1
    for one in states:
        counts, _ = np.histogram(np.clip(one.steps, 1, most), edges)
        highest = max(highest, int(counts.max()))
        if one.state == "trained":
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.55, linewidth=0)
        else:
            axes.stairs(counts, edges, color=colour, linestyle=LINES["initial"], linewidth=1.3)
    axes.set_ylim(0, highest * 1.25)
    axes.axvline(any_state.lag, color=theme.INK.light, linewidth=1.0)
    left = any_state.lag < most**0.55
    axes.annotate(
        messages("time_scales.lag", lag=f"{any_state.lag:,.0f}"),
        (any_state.lag, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(5 if left else -5, -2),
        textcoords="offset points",
        ha="left" if left else "right",
        va="top",
        fontsize=theme.FONT_SIZE - 1,
    )
    axes.set_xscale("log")
    axes.set_xlim(1, most)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    gate = messages.of("gates.name", any_state.gate)
    panel = messages("time_scales.panel", cell=any_state.cell, gate=gate)
    axes.set_title(
        messages("panel_lines", cell=panel, task=any_state.task) if context.many_tasks else panel,
        color=colour,
    )
    axes.set_xlabel(messages("time_scales.x"))
    axes.set_ylabel(messages("time_scales.y"))


def _histogram_key(context: StudyContext) -> list[Line2D | Patch]:
    solid, dotted = states_key(context)
    filled = Patch(
        facecolor=theme.MUTED.light, alpha=0.55, linewidth=0, label=str(solid.get_label())
    )
    return [filled, dotted]


def _unit_sentence(context: StudyContext, before: Units, after: Units) -> str:
    def scale(value: float) -> str:
        return context.number("time_scale", value)

    return context.messages(
        "time_scales.told_task" if context.many_tasks else "time_scales.told",
        task=after.task,
        cell=after.cell,
        n=len(after.steps),
        median=scale(statistics.median(after.steps)),
        initial=scale(statistics.median(before.steps)),
        longest=scale(max(after.steps)),
        beyond=after.beyond,
        beyond_initial=before.beyond,
        lag=context.number("lag", after.lag),
    )


def _units_table(context: StudyContext, layers: Sequence[Units]) -> Table:
    messages = context.messages
    rows = [
        (
            *context.task_cells(one.task, one.cell),
            str(one.layer + 1),
            messages.of("gates.name", one.gate),
            messages.of("gradients", one.state),
            *(
                context.number("time_scale", pick(one.steps))
                for pick in (min, statistics.median, max)
            ),
            messages("k_of_n", k=one.beyond, n=len(one.steps)),
            context.number("lag", one.lag),
        )
        for one in layers
    ]
    columns = (
        *context.task_columns(),
        context.column("layer"),
        Column(messages("column.gate")),
        Column(messages("column.state")),
        *(
            context.column(name)
            for name in (
                *("shortest_scale", "median_scale", "longest_scale"),
                *("units_beyond", "task_lag"),
            )
        ),
    )
    return Table(columns, tuple(rows), messages("time_scales.note"))
