"""What the gates of the trained cells do on one sequence."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.rendering import theme
from harness.rendering.document import Column, Paragraph, Picture, Section, Table
from harness.study.report.sections.gradients import LINES, STATES, diagnostics_entries, states_key
from harness.study.report.study_context import StudyContext

# With more rows of panels the figure has only the layers nearest to the input.
MOST_PANEL_ROWS = 8
# With more informative steps the panel has triangles and no upright lines.
MOST_UPRIGHTS = 12
# A smaller difference between the means of a gate is not visible in the figure.
VISIBLE_DIFFERENCE = 0.05
BAND_ALPHA = 0.18


@dataclasses.dataclass(frozen=True)
class Trace:
    """One gate of one layer on one sequence, before or after training.

    `informative` has the informative steps. It is None if the task does not say them.
    """

    task: str
    cell: str
    state: str
    gate: str
    layer: int
    informative: tuple[int, ...] | None
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def marked(self) -> tuple[int, ...]:
        """The informative steps; none if all steps are informative."""
        steps = self.informative or ()
        return steps if len(steps) < len(self.mean) else ()

    def over(self, *, informative: bool) -> float:
        """The mean over the marked steps, or over the other steps; NaN if there are none."""
        inside = set(self.marked)
        values = [value for i, value in enumerate(self.mean) if (i in inside) == informative]
        return statistics.fmean(values) if values else math.nan


def section(context: StudyContext) -> Section:
    """The opening of each gate against the step, a row of panels for each layer of a cell."""
    messages, summary = context.messages, context.summary
    title = messages("gates.title")
    traces = _traces(context)
    if not traces:
        return context.not_measured("gates", title, messages("gates.absent"))
    drawing, all_layers = _figure(context, traces)
    marked = any(trace.marked for trace in traces)
    caption = messages(
        "gates.caption" if marked else "gates.caption_unmarked",
        lengths=messages.listed(
            sorted({f"{len(t.mean):,}" for t in traces}, key=lambda n: (len(n), n))
        ),
    )
    if not all_layers:
        caption += " " + messages("gates.caption_layers")
    picture = Picture(
        "gates", drawing, messages("gates.description"), caption, _traces_table(context, traces)
    )
    bases = dict.fromkeys(summary.records.spec.base(trace.cell) for trace in traces)
    about = [
        messages.of("gates.about", base)
        for base in bases
        if f"gates.about.{base}" in messages.texts
    ]
    texts = [" ".join([messages("gates.intro"), *about])]
    texts += [_gate_sentences(context, *pair, traces) for pair in summary.pairs]
    with_gates = {(trace.task, trace.cell) for trace in traces}
    looked = [
        (one["task"], one["cell"])
        for one in diagnostics_entries(context, "gradient_gain", {"task", "cell"})
    ]
    without = [pair for pair in dict.fromkeys(looked) if pair not in with_gates]
    if without:
        texts.append(messages("gates.without", cells=context.listed_pairs(without)))
    return Section("gates", title, (*(Paragraph(text) for text in texts if text), picture))


def _traces(context: StudyContext) -> list[Trace]:
    """The stored traces, without those that have unknown values (of a diverged model)."""
    found = []
    for one in diagnostics_entries(context, "gates", {"task", "cell", "state", "traces"}):
        steps = one.get("informative")
        for trace in one["traces"]:
            values = {key: trace.get(key) or () for key in ("mean", "low", "high")}
            whole = len({len(each) for each in values.values()}) == 1
            if not whole or not values["mean"] or any(None in each for each in values.values()):
                continue
            found.append(
                Trace(
                    one["task"],
                    one["cell"],
                    one["state"],
                    str(trace["gate"]),
                    int(trace["layer"]),
                    None if steps is None else tuple(steps),
                    **{key: tuple(each) for key, each in values.items()},
                )
            )
    return found


def _figure(context: StudyContext, traces: Sequence[Trace]) -> tuple[Any, bool]:
    """The figure, and whether it has all layers."""
    messages = context.messages
    rows: dict[tuple[str, str, int], dict[str, dict[str, Trace]]] = {}
    for trace in traces:
        key = (trace.task, trace.cell, trace.layer)
        rows.setdefault(key, {}).setdefault(trace.gate, {})[trace.state] = trace
    layers = {
        pair: max(t.layer for t in traces if (t.task, t.cell) == pair) + 1
        for pair in ((t.task, t.cell) for t in traces)
    }
    all_layers = len(rows) <= MOST_PANEL_ROWS
    if not all_layers:
        rows = {key: gates for key, gates in rows.items() if key[2] == 0}
    n_columns = max(len(gates) for gates in rows.values())
    drawing = theme.figure(0.75 + 1.45 * len(rows))
    panels = drawing.subplots(len(rows), n_columns, squeeze=False, sharey=True)
    for row, ((task, cell, layer), gates) in zip(panels, rows.items(), strict=True):
        for axes in row[len(gates) :]:
            axes.remove()
        for axes, (gate, states) in zip(row, gates.items(), strict=False):
            name = messages.of("gates.name", gate)
            many = layers[task, cell] > 1
            panel = messages(
                "gates.panel_layer" if many else "gates.panel",
                cell=cell,
                gate=name,
                layer=layer + 1,
            )
            axes.set_title(
                messages("panel_lines", cell=panel, task=task) if context.many_tasks else panel,
                color=context.styles[cell].colour,
                fontsize=theme.FONT_SIZE,
                pad=7,
            )
            _panel(context, axes, states)
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(messages("gates.y"))
    for axes in panels[-1][: len(list(rows.values())[-1])]:
        axes.set_xlabel(messages("gates.x"))
    handles: list[Line2D | Patch] = [*states_key(context)]
    handles.append(
        Patch(
            facecolor=theme.MUTED.light, alpha=BAND_ALPHA, linewidth=0, label=messages("gates.band")
        )
    )
    if any(trace.marked for trace in traces):
        handles.append(
            Line2D(
                [],
                [],
                color=theme.INK.light,
                marker="^",
                markersize=5,
                linestyle="none",
                label=messages("gates.informative"),
            )
        )
    drawing.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        handlelength=1.8,
        columnspacing=1.4,
    )
    return drawing, all_layers


def _panel(context: StudyContext, axes: Axes, states: Mapping[str, Trace]) -> None:
    for state in STATES:
        if state not in states:
            continue
        trace, trained = states[state], state == "trained"
        steps = range(len(trace.mean))
        colour = context.styles[trace.cell].colour
        if trained:
            axes.fill_between(
                steps, trace.low, trace.high, color=colour, alpha=BAND_ALPHA, linewidth=0
            )
        axes.plot(
            steps,
            trace.mean,
            color=colour,
            linestyle=LINES[state],
            linewidth=1.4 if trained else 1.1,
        )
    trace = next(iter(states.values()))
    if 0 < len(trace.marked) <= MOST_UPRIGHTS:
        for step in trace.marked:
            axes.axvline(step, color=theme.FAINT.light, linewidth=0.8, zorder=0.5)
    # An empty line that is not clipped would change the layout.
    if trace.marked:
        axes.plot(
            trace.marked,
            [-0.07] * len(trace.marked),
            color=theme.INK.light,
            marker="^",
            markersize=4.5,
            linestyle="none",
            clip_on=False,
            zorder=3,
        )
    axes.set_ylim(-0.07, 1.02)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0, len(trace.mean) - 1)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _gate_sentences(context: StudyContext, task: str, cell: str, traces: Sequence[Trace]) -> str:
    """Sentences on the mean of each gate of a cell, and the gate that differs most at the marks."""
    messages = context.messages
    own = [trace for trace in traces if (trace.task, trace.cell) == (task, cell)]
    trained = [trace for trace in own if trace.state == "trained"]
    initial = [trace for trace in own if trace.state == "initial"]
    if not trained or not initial:
        return ""
    named = dict.fromkeys(trace.gate for trace in trained)
    means = [
        messages(
            "gates.mean",
            gate=messages.of("gates.name", gate),
            trained=_mean_opening(trained, gate),
            initial=_mean_opening(initial, gate),
        )
        for gate in named
    ]
    key = "gates.means_task" if context.many_tasks else "gates.means"
    sentences = [messages(key, task=task, cell=cell, gates=messages.listed(means))]
    marked = [trace for trace in trained if trace.marked]
    if marked:
        most = max(marked, key=_difference)
        n = len(most.marked)
        if _difference(most) < VISIBLE_DIFFERENCE:
            sentences.append(messages("gates.still", margin=f"{VISIBLE_DIFFERENCE:g}", n=n))
        else:
            at, others = (f"{most.over(informative=i):.2f}" for i in (True, False))
            gate = messages.of("gates.name", most.gate)
            sentences.append(messages("gates.most", n=n, gate=gate, at=at, others=others))
    return " ".join(sentences)


def _mean_opening(traces: Sequence[Trace], gate: str) -> str:
    """The mean of a gate over all layers and steps."""
    return f"{statistics.fmean(v for t in traces if t.gate == gate for v in t.mean):.2f}"


def _difference(trace: Trace) -> float:
    """Difference of the mean at the marked steps from that at the others; 0 without marks."""
    difference = abs(trace.over(informative=True) - trace.over(informative=False))
    return 0.0 if math.isnan(difference) else difference


def _traces_table(context: StudyContext, traces: Sequence[Trace]) -> Table:
    messages = context.messages
    rows = [
        (
            *context.task_cells(trace.task, trace.cell),
            str(trace.layer + 1),
            messages.of("gates.name", trace.gate),
            messages.of("gradients", trace.state),
            context.number("gate", statistics.fmean(trace.mean)),
            *(
                context.number("gate", trace.over(informative=informative))
                if trace.marked
                else messages("none")
                for informative in (True, False)
            ),
            messages(
                "range",
                low=context.number("gate", statistics.fmean(trace.low)),
                high=context.number("gate", statistics.fmean(trace.high)),
            ),
        )
        for trace in traces
    ]
    columns = (
        *context.task_columns(),
        context.column("layer"),
        Column(messages("column.gate")),
        Column(messages("column.state")),
        *(
            context.column(name)
            for name in ("gate_mean", "gate_informative", "gate_others", "gate_band")
        ),
    )
    return Table(columns, tuple(rows), messages("gates.note"))
