"""Expected best objective against the number of trials."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness import stats
from harness.columns import TrialStatus
from harness.rendering import theme
from harness.rendering.document import Picture, Section, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import short_number
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import rows_of


def section(context: StudyContext) -> Section:
    """Expected best objective of n trials, median over searches with its interval."""
    messages, summary = context.messages, context.summary
    title = messages("budget.title")
    curves = {
        pair: found for pair in summary.pairs if (found := _curve(context, *pair)) is not None
    }
    if not curves or max(len(curve.n_trials) for curve in curves.values()) < 2:
        return context.not_measured("budget", title, messages("budget.absent"))
    tasks = [task for task in summary.tasks if any(pair[0] == task for pair in curves)]
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.1)
    labels = {}
    for axes, task in zip(panels, tasks, strict=True):
        ends = []
        for cell in summary.cells:
            if (task, cell) not in curves:
                continue
            curve, style = curves[task, cell], context.styles[cell]
            known = [e for e in curve.estimates if e.value is not None]
            values = [e.value for e in known if e.value is not None]
            at = curve.n_trials[: len(values)]
            bands = [e.interval for e in known if e.interval is not None]
            if len(bands) == len(values):
                low, high = [b.low for b in bands], [b.high for b in bands]
                axes.fill_between(at, low, high, color=style.colour, alpha=0.13, linewidth=0)
            axes.plot(at, values, color=style.colour, linestyle=style.line)
            ends.append(direct_labels.LineEnd(at[-1], values[-1], cell, style.colour))
        if context.many_tasks:
            axes.set_title(task)
        axes.set_xlabel(messages("budget.x"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))
        axes.set_xlim(left=1)
        labels[axes] = ends
    panels[0].set_ylabel(messages.of("column", summary.objective.name))
    direct_labels.label_line_ends(drawing, labels)
    table = _table(context, curves)
    few = summary.repeats < stats.MINIMUM_REPEATS
    key = "budget.caption_few" if few else "budget.caption"
    caption = messages(key, n=summary.repeats, minimum=stats.MINIMUM_REPEATS)
    picture = Picture("expected_best", drawing, messages("budget.description"), caption, table)
    return Section("budget", title, (picture,))


def _curve(context: StudyContext, task: str, cell: str) -> stats.ExpectedBest | None:
    summary = context.summary
    trials = summary.records.trials.assign(objective=summary.objectives)
    rows = rows_of(trials, task, cell)
    rows = rows[(rows["number"] < summary.common_trials) & (rows["end"] != TrialStatus.INTERRUPTED)]
    if len(rows) == 0:
        return None
    worst = summary.worst(task, cell)
    if math.isnan(worst):
        values = rows["objective"]
        worst = float(values.max() if summary.objective.direction == "minimize" else values.min())
    searches = [search["objective"].tolist() for _, search in rows.groupby("repeat")]
    return stats.expected_best(searches, summary.objective.direction, worst)


def _table(context: StudyContext, curves: dict[tuple[str, str], stats.ExpectedBest]) -> Table:
    """The curves at about six numbers of trials."""
    messages, name = context.messages, context.summary.objective.name
    most = max(len(curve.n_trials) for curve in curves.values())
    shown = sorted({int(n) for n in np.unique(np.round(np.geomspace(1, most, 6)))})
    rows = []
    for (task, cell), curve in curves.items():
        for n in shown:
            if n > len(curve.estimates):
                continue
            estimate = curve.estimates[n - 1]
            rows.append(
                (
                    *context.task_cells(task, cell),
                    str(n),
                    context.number(name, estimate.value),
                    context.interval(name, estimate.interval),
                    str(estimate.n),
                )
            )
    columns = (
        *context.task_columns(),
        *(context.column(each) for each in ("n_trials", "expected_best", "interval", "n_searches")),
    )
    level = next(
        (context.level(e.interval) for c in curves.values() for e in c.estimates if e.interval),
        None,
    )
    key = "budget.note" if level is not None else "budget.note_few"
    note = messages(
        key, level=level, objective=messages.of("column", name), minimum=stats.MINIMUM_REPEATS
    )
    return Table(columns, tuple(rows), note)
