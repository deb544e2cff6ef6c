"""Learning curves: skill, or the loss of a study that confirms nothing, against sequences seen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness import stats
from harness.columns import COLUMNS
from harness.rendering import theme
from harness.rendering.document import Column, Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import short_number
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import rows_of

# A panel with more runs draws this many of them, evenly chosen. The caption says so.
MOST_LINES = 400
# Up to this many runs of searches share one panel, with their names at their ends.
FEW_RUNS = 12
RUN = ["task", "cell", "repeat", "number", "sequence_length", "seed"]


def section(context: StudyContext) -> Section:
    """One line for each run: of the confirmation if there is one, else of the searches."""
    title = context.messages("learning.title")
    if (curves := _curves(context)) is None:
        return context.not_measured("learning", title, context.messages("learning.absent"))
    return Section("learning", title, (curves,))


def _curves(context: StudyContext) -> Picture | None:
    table = context.summary.records.evaluations
    if table is None or len(table) == 0:
        return None
    confirmed = table[table["phase"] == "confirm"]
    if len(confirmed):
        return _by_length(context, confirmed)
    searched = table[table["phase"] == "search"]
    n_runs = searched.groupby(RUN, dropna=False).ngroups
    return _by_cell(context, searched) if n_runs <= FEW_RUNS else _by_length(context, searched)


def _by_length(context: StudyContext, rows: pd.DataFrame) -> Picture:
    """A panel for each (task, cell), a line for each run, coloured by its sequence length."""
    messages, summary = context.messages, context.summary
    lengths = sorted(rows["sequence_length"].unique())
    bins = _bins(lengths)
    colours = {length: theme.RAMP[bins[length]].light for length in lengths}
    n_columns = min(len(summary.cells), 4)
    pairs = [(task, cell) for task in summary.tasks for cell in summary.cells]
    drawing, panels = theme.grid(
        len(pairs), columns=n_columns, height=2.9 if len(pairs) <= n_columns else 2.3, sharex=True
    )
    thinned = False
    for axes, (task, cell) in zip(panels, pairs, strict=True):
        axes.set_title(
            messages("panel_lines", task=task, cell=cell) if context.many_tasks else cell,
            color=context.styles[cell].colour,
        )
        own = rows_of(rows, task, cell)
        thinned |= _lines(axes, own, colours)
        axes.set_ylim(-0.12, 1.05)
        _sequences_axis(context, axes, float(rows["sequences_seen"].max()))
    for axes in panels[-n_columns:]:
        axes.set_xlabel(messages("learning.x"))
        axes.tick_params(labelbottom=True)
    for axes in panels[::n_columns]:
        axes.set_ylabel(messages("learning.y_skill"))
    drawing.legend(
        handles=_length_key(context, lengths, bins),
        title=messages("learning.key"),
        loc="outside upper left",
        ncols=len(set(bins.values())),
        alignment="left",
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    n = COLUMNS["n_runs"].text(rows.groupby(RUN, dropna=False).ngroups)
    key = "learning.caption_thinned" if thinned else "learning.caption"
    caption = messages(key, most=MOST_LINES, n=n)
    return Picture("learning", drawing, messages("learning.description"), caption, _solved(context))


def _bins(lengths: Sequence[float]) -> dict[float, int]:
    """The colour of each length, as an index of the ramp; the lengths use the whole ramp."""
    most = len(theme.RAMP) - 1
    last = max(len(lengths) - 1, 1)
    return {length: round(i * most / last) for i, length in enumerate(lengths)}


def _length_key(
    context: StudyContext, lengths: Sequence[float], bins: dict[float, int]
) -> list[Line2D]:
    handles = []
    for place in sorted(set(bins.values())):
        group = [length for length in lengths if bins[length] == place]
        low, high = (context.number("sequence_length", end) for end in (group[0], group[-1]))
        label = low if low == high else context.messages("range", low=low, high=high)
        handles.append(Line2D([], [], color=theme.RAMP[place].light, linewidth=3, label=label))
    return handles


def _lines(axes: Axes, rows: pd.DataFrame, colours: dict[float, str]) -> bool:
    """Draw a line for each run and a dot at its end; returns whether some runs are left out."""
    runs = [run.sort_values("sequences_seen") for _, run in rows.groupby(RUN, dropna=False)]
    step = -(-len(runs) // MOST_LINES)
    shown = runs[::step] if runs else []
    segments = [run[["sequences_seen", "skill"]].to_numpy(dtype=float) for run in shown]
    hues = [colours[run["sequence_length"].iloc[0]] for run in shown]
    axes.add_collection(LineCollection(segments, colors=hues, linewidths=1.3, alpha=0.85))
    ends = [(*segment[-1], hue) for segment, hue in zip(segments, hues, strict=True)]
    axes.scatter(
        [x for x, _, _ in ends],
        [y for _, y, _ in ends],
        c=[hue for _, _, hue in ends],
        s=11,
        linewidths=0,
        zorder=3,
    )
    return step > 1


def _sequences_axis(context: StudyContext, axes: Axes, most: float) -> None:
    # `most` is 0 if every run diverged at once.
    axes.set_xlim(0, most * 1.03 if most > 0 else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))


def _by_cell(context: StudyContext, rows: pd.DataFrame) -> Picture:
    """The loss of a few runs, all cells of a task in one panel, with their names at their ends."""
    messages, summary = context.messages, context.summary
    tasks = [task for task in summary.tasks if (rows["task"] == task).any()]
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.3)
    for axes, task in zip(panels, tasks, strict=True):
        own = rows[(rows["task"] == task) & (rows["loss"] > 0)]
        if context.many_tasks:
            axes.set_title(task)
        cells = [cell for cell in summary.cells if (own["cell"] == cell).any()]
        for cell in cells:
            style = context.styles[cell]
            sns.lineplot(
                own[own["cell"] == cell],
                x="sequences_seen",
                y="loss",
                units="repeat",
                estimator=None,
                color=style.colour,
                linestyle=style.line,
                linewidth=1.9,
                ax=axes,
            )
        if len(own) and own["loss"].max() > 10 * own["loss"].min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        _sequences_axis(context, axes, float(own["sequences_seen"].max()))
        axes.set_xlabel(messages("learning.x"))
        axes.set_ylabel(messages("learning.y_loss") if axes is panels[0] else "")
    labels = {}
    for axes, task in zip(panels, tasks, strict=True):
        own = rows[(rows["task"] == task) & (rows["loss"] > 0)]
        last = own.sort_values("sequences_seen").groupby(["cell", "repeat"]).tail(1)
        ends = [
            direct_labels.LineEnd(
                row["sequences_seen"], row["loss"], cell, context.styles[cell].colour
            )
            for row in last.drop_duplicates("cell").to_dict("records")
            for cell in [str(row["cell"])]
        ]
        labels[axes] = ends
    direct_labels.label_line_ends(drawing, labels)
    description = messages("learning.description_loss")
    table = _evaluations_table(context, rows)
    return Picture(
        "learning",
        drawing,
        description,
        messages("learning.caption_loss", n=rows.groupby(RUN, dropna=False).ngroups),
        table,
    )


def _evaluations_table(context: StudyContext, rows: pd.DataFrame) -> Table:
    """Loss and accuracy at about twelve of the evaluations, two columns for each cell."""
    messages = context.messages
    medians = rows.groupby(["task", "sequences_seen", "cell"])[["loss", "accuracy"]].median()
    table = {key: row.to_dict() for key, row in medians.iterrows()}
    texts = []
    for task in context.summary.tasks:
        seen = sorted(rows.loc[rows["task"] == task, "sequences_seen"].unique())
        for at in sorted({*seen[:: -(-len(seen) // 12) or 1], *seen[-1:]}):
            row = [context.number("sequences_seen", at)]
            for cell in context.summary.cells:
                known = table.get((task, at, cell), {})
                row += [context.number(name, known.get(name)) for name in ("loss", "accuracy")]
            texts.append(((task,) if context.many_tasks else ()) + tuple(row))
    columns = [
        *((context.task_columns()[0],) if context.many_tasks else ()),
        context.column("sequences_seen"),
    ]
    for cell in context.summary.cells:
        columns.append(Column(messages("learning.column_loss", cell=cell), "number"))
        columns.append(Column(messages("learning.column_accuracy", cell=cell), "number"))
    return Table(tuple(columns), tuple(texts), messages("learning.loss_note"))


def _solved(context: StudyContext) -> Table:
    """How many runs of each length solve the task, and after how many sequences."""
    messages, records = context.messages, context.summary.records
    confirmed = context.summary.confirmed
    source = (
        records.confirmation if confirmed and records.confirmation is not None else records.trials
    )
    rows = []
    for task, cell in context.summary.pairs:
        own = rows_of(source, task, cell)
        lengths = sorted(own["sequence_length"].unique()) if confirmed else [None]
        for length in lengths:
            runs = own if length is None else own[own["sequence_length"] == length]
            if len(runs) == 0:
                continue
            searches = runs["sequences_to_solve"].fillna(float("inf")).groupby(runs["repeat"])
            estimate = stats.median_over_searches(own.tolist() for _, own in searches)
            solved = int(runs["solved"].fillna(value=False).sum())
            rows.append(
                (
                    *context.task_cells(task, cell),
                    messages("all")
                    if length is None
                    else context.number("sequence_length", length),
                    messages("k_of_n", k=solved, n=len(runs)),
                    str(estimate.n),
                    _to_solve(context, estimate.value),
                    _between(context, estimate.interval),
                )
            )
    names = ("sequence_length", "solved", "n_searches", "sequences_to_solve", "interval")
    columns = (*context.task_columns(), *(context.column(name) for name in names))
    return Table(columns, tuple(rows), messages("learning.solved_note"))


def _between(context: StudyContext, interval: stats.Interval | None) -> str:
    if interval is None:
        return context.messages("none")
    low, high = _to_solve(context, interval.low), _to_solve(context, interval.high)
    return low if low == high else context.messages("range", low=low, high=high)


def _to_solve(context: StudyContext, value: float | None) -> str:
    if value == float("inf"):
        return context.messages("never")
    return context.number("sequences_to_solve", value)
