"""The parts of a training step: forward, backward and update, as shares of its time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from harness import stats
from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import PARTS, SHAPE_KEYS, ShapeValues, shape_of
from harness.columns import seconds
from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table

NAMES = ("forward", "backward", "update")
MAX_BARS = 24


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step and the time of each part, over the rounds that its three measures share."""

    device: str
    variant: str
    cell: str
    shape: ShapeValues
    time_s: float
    parts: tuple[stats.Estimate, stats.Estimate, stats.Estimate]

    @property
    def values(self) -> tuple[float, ...]:
        """Seconds of each part; 0 for a negative estimate."""
        return tuple(max(part.value or 0.0, 0.0) for part in self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the sum of the parts."""
        return tuple(value / sum(self.values) for value in self.values)


def section(context: BenchContext) -> Section:
    """A bar for each step with all three measures; if too many, only at the reference shape."""
    messages = context.messages
    title = messages("parts.title")
    every = _steps(context)
    if not every:
        return context.not_measured("parts", title, messages("parts.absent"))
    shown = every
    if len(shown) > MAX_BARS:
        at = [step for step in every if step.shape == context.timings.reference(step.device)]
        shown = (at or every)[:MAX_BARS]
    drawing = theme.figure(0.27 * len(shown) + 0.95)
    _draw(context, drawing.subplots(), shown)
    shape = context.shape(shown[0].shape) if len({step.shape for step in shown}) == 1 else ""
    caption = messages("parts.caption")
    if shape:
        caption += " " + messages("changes.fixed", shape=shape)
    picture = Picture(
        "parts", drawing, messages("parts.description"), caption, _table(context, every)
    )
    return Section("parts", title, (Paragraph(messages("parts.intro")), picture))


def _steps(context: BenchContext) -> list[_Step]:
    timings = context.timings
    rows = {
        (row["device"], row["variant"], row["cell"], shape_of(row), row["measure"]): row
        for row in timings.timed
    }
    found = []
    keys = itertools.product(timings.devices, timings.variants, context.cells)
    shapes = list(
        dict.fromkeys(shape_of(row) for row in timings.timed if row["measure"] != PARTS[-1])
    )
    for (device, variant, cell), shape in itertools.product(keys, shapes):
        three = [rows.get((device, variant, cell, shape, measure)) for measure in PARTS]
        if three[0] is None or three[1] is None or three[2] is None:
            continue
        forward = stats.median_interval(timings.times(three[0]))
        backward, update = (timings.beyond(three[1], three[0]), timings.beyond(three[2], three[1]))
        step = _Step(
            device, variant, cell, shape, three[2]["step_time_s"], (forward, backward, update)
        )
        if sum(step.values) > 0:
            found.append(step)
    return found


def _draw(context: BenchContext, axes: Axes, steps: Sequence[_Step]) -> None:
    keys = [(step.device, step.variant) for step in steps]
    shapes = len({step.shape for step in steps}) > 1
    for y, step in enumerate(steps):
        left = 0.0
        for share, colour in zip(step.shares, theme.GAINS, strict=True):
            axes.barh(y, share, left=left, height=0.74, color=colour.light, linewidth=0)
            if share >= 0.07:
                axes.text(
                    left + share / 2,
                    y,
                    context.percent(share),
                    ha="center",
                    va="center",
                    fontsize=theme.FONT_SIZE - 1.5,
                    color=theme.INK.light,
                )
            left += share
        axes.text(
            1.012,
            y,
            seconds(step.time_s),
            va="center",
            fontsize=theme.FONT_SIZE - 1,
            color=theme.MUTED.light,
        )
        if y and keys[y] != keys[y - 1]:
            axes.axhline(y - 0.5, color=theme.FAINT.light, linewidth=0.8)
    axes.set_yticks(range(len(steps)), [_label(context, step, shapes=shapes) for step in steps])
    axes.tick_params(axis="y", labelcolor=theme.INK.light)
    axes.set_ylim(len(steps) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: context.percent(value)))
    axes.set_xlabel(context.messages("parts.x"))
    handles = [axes.barh(0, 0, color=colour.light) for colour in theme.GAINS]
    axes.legend(
        handles,
        [context.messages.of("parts.name", name) for name in NAMES],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.6,
    )


def _label(context: BenchContext, step: _Step, *, shapes: bool) -> str:
    """The label of a bar: variant and cell, and device and shape if they differ."""
    names = [step.variant, step.cell]
    if context.many_devices:
        names.insert(0, step.device)
    if shapes:
        names.append(context.shape(step.shape, ("hidden_size", "sequence_length")))
    return context.messages("bench.panel_between").join(names)


def _table(context: BenchContext, steps: Sequence[_Step]) -> Table:
    messages, rows = context.messages, []
    for step in steps:
        texts = []
        for part in step.parts:
            resolved = part.interval is None or part.interval.low > 0
            value = (
                context.number("step_time_s", part.value)
                if resolved
                else messages("parts.unresolved")
            )
            texts += [value, context.interval("step_time_s", part.interval)]
        named = dict(zip(SHAPE_KEYS, step.shape, strict=True))
        lead = context.lead(step.device, step.cell)
        rows.append((*lead, step.variant, *context.shape_cells(named), *texts))
    timed = (
        column
        for name in NAMES
        for column in (
            Column(messages.of("parts.name", name), "number"),
            Column(messages("column.interval"), "number"),
        )
    )
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *context.shape_columns(),
        *timed,
    )
    return Table(columns, tuple(rows), messages("parts.note"))
