"""Gradient gain against lag, in an untrained and in a trained cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness import metric_definitions
from harness.columns import significant
from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.study.report.study_context import StudyContext

STATES = ("initial", "trained")
LINES: Mapping[str, Any] = {"trained": "-", "initial": (0, (1.5, 1.6))}
THRESHOLDS = {
    "forgotten": metric_definitions.FORGOTTEN,
    "float32": metric_definitions.FLOAT32_RESOLUTION,
}
# The text names the gain at this lag, or at the longest measured lag below it.
TEXT_LAG = 30
# Approximate size of the label of a threshold, as shares of a panel.
LABEL_WIDTH, LABEL_HEIGHT = 0.5, 0.08
UNCHANGED = math.log10(
    2.0
)  # training that moves a gain by less than a factor 2 left it about as it was


@dataclasses.dataclass(frozen=True)
class GainCurve:
    """One line of the figure: log10 of the gain at ascending lags, -inf for a gain of 0.

    `reach` is the lag of the task.
    """

    task: str
    cell: str
    state: str
    of: str
    lags: tuple[int, ...]
    log10_gain: tuple[float, ...]
    n_sequences: int | None
    sequence_length: int | None
    reach: float | None

    @property
    def known(self) -> tuple[list[int], list[float]]:
        """Lags and gains that can be drawn."""
        pairs = [
            (k, g) for k, g in zip(self.lags, self.log10_gain, strict=True) if math.isfinite(g)
        ]
        return [lag for lag, _ in pairs], [gain for _, gain in pairs]

    def below(self, threshold: float) -> int | None:
        """The lag from which on the gain stays below a threshold."""
        return metric_definitions.lag_below(self.lags, self.log10_gain, threshold)

    def at(self, lag: int) -> float:
        """log10 of the gain at a measured lag."""
        return self.log10_gain[self.lags.index(lag)]


def section(context: StudyContext) -> Section:
    """log10 of the gradient gain against lag, a panel for each task: before and after training."""
    messages, summary = context.messages, context.summary
    title = messages("gradients.title")
    gains = gradient_gains(context)
    if not gains:
        return context.not_measured("gradients", title, messages("gradients.absent"))
    tasks = [task for task in summary.tasks if any(one.task == task for one in gains)]
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.6)
    labels = {}
    for axes, task in zip(panels, tasks, strict=True):
        own = [one for one in gains if one.task == task]
        labels[axes] = _panel(context, axes, own)
        if context.many_tasks:
            axes.set_title(task)
    panels[0].set_ylabel(messages("gradients.y"))
    direct_labels.label_line_ends(drawing, labels)
    drawing.legend(handles=states_key(context), loc="outside upper left", ncols=2, handlelength=2.2)
    picture = Picture(
        "gradient_gain",
        drawing,
        messages("gradients.description"),
        messages("gradients.caption"),
        _table(context, gains),
    )
    texts = [
        messages("gradients.intro"),
        *(_gain_sentences(context, task, gains) for task in tasks),
    ]
    return Section("gradients", title, (*(Paragraph(text) for text in texts if text), picture))


def diagnostics_entries(context: StudyContext, key: str, parts: set[str]) -> list[dict[str, Any]]:
    """The entries under `key` in diagnostics.json that have all parts, of this study's cells."""
    found = (context.summary.records.diagnostics or {}).get(key) or []
    return [
        one
        for one in found
        if isinstance(one, dict)
        and parts <= set(one)
        and (one["task"], one["cell"]) in context.summary.pairs
    ]


def states_key(context: StudyContext) -> list[Line2D]:
    """Legend: a solid line is after training, a dotted line before it."""
    return [
        Line2D(
            [],
            [],
            color=theme.MUTED.light,
            linestyle=LINES[state],
            label=context.messages.of("gradients", state),
        )
        for state in ("trained", "initial")
    ]


def gradient_gains(context: StudyContext) -> list[GainCurve]:
    """The measured gains, without those of a diverged model."""
    gains = []
    for one in diagnostics_entries(
        context, "gradient_gain", {"task", "cell", "state", "lag", "log10_gain"}
    ):
        pairs = list(zip(one["lag"], one["log10_gain"], strict=False))
        if all(gain is None for _, gain in pairs):
            continue
        trained = float(one.get("trained_length", one.get("sequence_length")) or math.nan)
        gains.append(
            GainCurve(
                one["task"],
                one["cell"],
                str(one["state"]),
                str(one.get("of", "state")),
                tuple(int(lag) for lag, _ in pairs),
                # A gain without a logarithm is 0.
                tuple(-math.inf if gain is None else float(gain) for _, gain in pairs),
                one.get("n_sequences"),
                one.get("sequence_length"),
                context.summary.lags.get((one["task"], trained)),
            )
        )
    return gains


def _panel(
    context: StudyContext, axes: Axes, gains: Sequence[GainCurve]
) -> list[direct_labels.LineEnd]:
    """Draw the lines of one task; returns their labels."""
    messages = context.messages
    ends: dict[str, direct_labels.LineEnd] = {}
    for one in gains:
        style, trained = context.styles[one.cell], one.state == "trained"
        lags, gain = one.known
        axes.plot(
            lags,
            gain,
            color=style.colour,
            linestyle=LINES["trained" if trained else "initial"],
            linewidth=1.9 if trained else 1.3,
        )
        if trained or one.cell not in ends:
            ends[one.cell] = direct_labels.LineEnd(lags[-1], gain[-1], one.cell, style.colour)
    axes.set_ylim(bottom=_lower_limit(gains))
    axes.set_xlim(left=0)
    axes.set_xlabel(messages("gradients.x"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    for name, threshold in THRESHOLDS.items():
        height = math.log10(threshold)
        axes.axhline(height, color=theme.MUTED.light, linewidth=0.9, linestyle=(0, (2, 2)))
        side, above = _label_position(axes, gains, height)
        axes.annotate(
            messages.of("gradients.threshold", name),
            (side, height),
            xycoords=("axes fraction", "data"),
            xytext=(2 if side == 0.0 else 0, 2.5 if above else -2.5),
            textcoords="offset points",
            ha="left" if side == 0.0 else "right",
            va="bottom" if above else "top",
            color=theme.MUTED.light,
            fontsize=theme.FONT_SIZE - 1,
        )
    return list(ends.values())


def _label_position(axes: Axes, gains: Sequence[GainCurve], height: float) -> tuple[float, bool]:
    """The position of a threshold's label that covers the least of the lines.

    It is at the right (1) or left (0) end, above the threshold (True) or below it.
    """
    (bottom, top), right = axes.get_ylim(), axes.get_xlim()[1]
    tall = LABEL_HEIGHT * (top - bottom)

    def covered(place: tuple[float, bool]) -> int:
        side, above = place
        middle = height + (tall / 2 if above else -tall / 2)
        at = right * (np.linspace(0, LABEL_WIDTH, 50) + side * (1 - LABEL_WIDTH))
        lines = (np.interp(at, *one.known, left=np.nan, right=np.nan) for one in gains)
        return sum(int((np.abs(line - middle) < tall / 2).sum()) for line in lines)

    return min([(1.0, True), (1.0, False), (0.0, False), (0.0, True)], key=covered)


def _lower_limit(gains: Sequence[GainCurve]) -> float:
    """Lower limit of the axis: below all trained cells, and 1e-12 or less for untrained ones."""
    lowest = {state: [0.0] for state in STATES}
    for one in gains:
        lowest.setdefault(one.state, [0.0]).extend(one.known[1])
    deepest = min(gain for gains in lowest.values() for gain in gains)
    threshold = math.log10(metric_definitions.FLOAT32_RESOLUTION)
    return min(threshold, max(deepest, min(-12.0, *lowest["trained"]))) - 0.6


def power(value: float) -> str:
    """The text of 10 to the power of a whole number, for an axis."""
    digits = f"{value:.0f}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}" if value else "1"


# --- Sentences --------------------------------------------------------------------------------


def gain_text(context: StudyContext, log10_gain: float) -> str:
    """The text of a gain: 3 %, 1/1,700,000, 1.7, 0."""
    messages = context.messages
    if log10_gain == -math.inf:
        return messages("gradients.nothing")
    if not -9 < log10_gain < 9:
        return power(log10_gain)
    gain = 10.0**log10_gain
    if gain < 0.01:
        return messages("gradients.fraction", value=significant(1 / gain, 2))
    if gain < 0.995:
        return messages("percent", value=significant(100 * gain, 2))
    return messages("gradients.times", value=significant(gain, 2))


def _gain_sentences(context: StudyContext, task: str, gains: Sequence[GainCurve]) -> str:
    """Sentences about the lines of one task, made from its numbers."""
    messages = context.messages
    pairs: dict[str, dict[str, GainCurve]] = {}
    for one in gains:
        if one.task == task:
            pairs.setdefault(one.cell, {})[one.state] = one
    both = {cell: found for cell, found in pairs.items() if set(STATES) <= set(found)}
    if not both:
        return ""
    every = [one for found in both.values() for one in found.values()]
    common = set.intersection(*(set(one.lags) for one in every)) - {0}
    lag = max((k for k in common if k <= TEXT_LAG), default=None)
    sentences = []
    if lag is not None:
        kept = [
            messages(
                "gradients.kept",
                cell=cell,
                initial=gain_text(context, found["initial"].at(lag)),
                trained=gain_text(context, found["trained"].at(lag)),
            )
            for cell, found in both.items()
        ]
        key = "gradients.at_lag_task" if context.many_tasks else "gradients.at_lag"
        sentences.append(
            messages(key, task=task, lag=lag, cells=messages("answer.and_then").join(kept))
        )
        sentences.append(_change_sentence(context, both, lag))
    sentences += [_reach_sentence(context, found["trained"]) for found in both.values()]
    shown = [cell for cell, found in both.items() if found["trained"].of == "output"]
    if shown:
        sentences.append(messages("gradients.by_output", cells=messages.listed(shown)))
    return " ".join(sentences)


def _change_sentence(
    context: StudyContext, both: Mapping[str, Mapping[str, GainCurve]], lag: int
) -> str:
    """The cells whose gain training raised, lowered or changed by less than a factor of 2."""
    groups: dict[str, list[str]] = {"raised": [], "lowered": [], "left": []}
    for cell, found in both.items():
        before, after = found["initial"].at(lag), found["trained"].at(lag)
        change = 0.0 if before == after else after - before
        way = "left" if abs(change) < UNCHANGED else "raised" if change > 0 else "lowered"
        groups[way].append(cell)
    told = [
        context.messages.of("gradients.change", way, cells=context.messages.listed(cells))
        for way, cells in groups.items()
        if cells
    ]
    return context.messages("gradients.training", changes=context.messages.listed(told))


def _reach_sentence(context: StudyContext, gain: GainCurve) -> str:
    """Sentence on the lags from which a trained cell's gain is below each threshold."""
    messages = context.messages
    forgotten, lost = (gain.below(threshold) for threshold in THRESHOLDS.values())
    lost_text = (
        messages("gradients.not_lost", end=gain.lags[-1])
        if lost is None
        else messages("gradients.lost", lag=lost)
    )
    under = (
        messages("gradients.heard", end=gain.lags[-1])
        if forgotten is None
        else messages("gradients.unheard", lag=forgotten, lost=lost_text)
    )
    if gain.reach is None:
        return messages("gradients.reaches", cell=gain.cell, under=under)
    winner = context.summary.records.winners.get((gain.task, gain.cell), {})
    solved = {
        None: "",
        True: messages("gradients.solved"),
        False: messages("gradients.unsolved"),
    }[winner.get("solved")]
    return messages(
        "gradients.reaches_task",
        cell=gain.cell,
        under=under,
        reach=context.number("lag", gain.reach),
        solved=solved,
    )


# --- The table ----------------------------------------------------------------------------------


def _table(context: StudyContext, gains: Sequence[GainCurve]) -> Table:
    messages = context.messages
    rows = []
    for one in gains:
        decay = metric_definitions.decay_per_step(one.lags, one.log10_gain)
        under = [one.below(threshold) for threshold in THRESHOLDS.values()]
        last = one.log10_gain[-1]
        rows.append(
            (
                *context.task_cells(one.task, one.cell),
                messages.of("gradients", one.state),
                messages.of("gradients.of", one.of),
                messages("not_measured") if decay is None else f"{decay:.3f}",
                *(messages("never") if k is None else context.number("lag", k) for k in under),
                "0" if last == -math.inf else f"10^{last:.1f}",
                context.number("lag", one.lags[-1]),
                context.number("sequence_length", one.n_sequences),
            )
        )
    columns = (
        *context.task_columns(),
        Column(messages("column.state")),
        Column(messages("column.gain_of")),
        *(
            context.column(name)
            for name in (
                *("decay", "lag_under", "lag_under_float32"),
                *("gain_at_end", "lag_end", "n_sequences"),
            )
        ),
    )
    return Table(columns, tuple(rows), messages("gradients.note"))
