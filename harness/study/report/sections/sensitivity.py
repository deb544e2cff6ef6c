"""Importance of each hyperparameter, and the objective of every trial against each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness import stats
from harness.columns import TrialStatus
from harness.hyperparameters import Choice, Parameter, Range
from harness.rendering import theme
from harness.rendering.document import Column, ContentBlock, Paragraph, Picture, Section, Table
from harness.rendering.figures.ticks import short_number
from harness.study.report.importance_intervals import (
    CellImportances,
    cell_importances,
    option_of,
    searched_parameters,
)
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import rows_of
from harness.study.search.importances import LEAST_TRIALS

# With fewer trials there is no figure.
FEWEST_POINTS = 10
# With more trials the figure has every second one, or fewer. The caption says so.
MOST_POINTS = 1500


def section(context: StudyContext) -> Section:
    """Importances, if there are enough trials, and the trials themselves."""
    messages = context.messages
    measured = [
        cell_importances(context.summary, task, cell) for task, cell in context.summary.pairs
    ]
    blocks: list[ContentBlock] = []
    shown = [one for one in measured if one is not None and one.importances.missing is None]
    if shown:
        blocks.append(_importances(context, shown))
    sentences = _missing(context, [one for one in measured if one is not None])
    if (slices := _slices(context)) is not None:
        blocks += [*(Paragraph(text, quiet=True) for text in sentences), slices]
    elif blocks:
        blocks += [Paragraph(text, quiet=True) for text in sentences]
    title = messages("sensitivity.title")
    if not blocks:
        reason = " ".join(sentences) or messages("sensitivity.absent")
        return context.not_measured("sensitivity", title, reason)
    return Section("sensitivity", title, tuple(blocks))


def _missing(context: StudyContext, measured: list[CellImportances]) -> list[str]:
    """Why importances were not measured: a sentence for all cells with the same reason."""
    pairs: dict[tuple[str, int, int], list[tuple[str, str]]] = {}
    for one in measured:
        if one.importances.missing is not None:
            reason = (one.importances.missing, one.importances.n_trials, one.importances.n_best)
            pairs.setdefault(reason, []).append((one.task, one.cell))
    return [
        context.messages.of(
            "sensitivity.missing",
            missing,
            cells=context.listed_pairs(named),
            n=n_trials,
            least=LEAST_TRIALS,
            best=n_best,
        )
        for (missing, n_trials, n_best), named in pairs.items()
    ]


def _importances(context: StudyContext, measured: list[CellImportances]) -> Picture:
    """A dot for each parameter and cell, with the interval over searches."""
    messages = context.messages
    tasks = [task for task in context.summary.tasks if any(one.task == task for one in measured)]
    totals: dict[str, float] = {}
    for one in measured:
        for name, share in one.importances.shares.items():
            totals[name] = totals.get(name, 0.0) + share
    names = sorted(totals, key=lambda name: totals[name])
    drawing, panels = theme.grid(len(tasks), columns=2, height=0.9 + 0.42 * len(names), sharey=True)
    for axes, task in zip(panels, tasks, strict=True):
        own = [one for one in measured if one.task == task]
        for i, one in enumerate(own):
            style = context.styles[one.cell]
            named = [name for name in names if name in one.importances.shares]
            for name in named:
                j = names.index(name)
                share, interval = one.importances.shares[name], one.intervals.get(name)
                at = j + (i - (len(own) - 1) / 2) * -0.19
                if interval is not None:
                    ends = [interval.low, interval.high]
                    axes.plot(ends, [at, at], color=style.colour, alpha=0.32, linewidth=2.6)
                axes.plot(
                    share,
                    at,
                    marker=style.marker,
                    color=style.colour,
                    linestyle="",
                    markeredgecolor="none",
                    label=one.cell if name == named[0] else None,
                )
        if context.many_tasks:
            axes.set_title(task)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_yticks(range(len(names)), [messages.of("column", name) for name in names])
        axes.tick_params(axis="y", labelcolor=theme.INK.light)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: context.percent(value)))
        axes.set_xlabel(messages("sensitivity.x"))
    handles, names_shown = panels[0].get_legend_handles_labels()
    drawing.legend(
        handles, names_shown, loc="outside upper left", ncols=len(names_shown), handletextpad=0.2
    )
    rows = []
    for one in measured:
        for name, share in one.importances.shares.items():
            between = context.percents(one.intervals.get(name))
            lead = context.task_cells(one.task, one.cell)
            shown = context.percent(share)
            n = (str(one.importances.n_trials), str(one.n_searches))
            rows.append((*lead, messages.of("column", name), shown, between, *n))
    columns = (
        *context.task_columns(),
        Column(messages("column.parameter")),
        *(context.column(name) for name in ("importance", "interval", "n_trials", "n_searches")),
    )
    table = Table(columns, tuple(rows), messages("sensitivity.note"))
    caption, description = messages("sensitivity.caption"), messages("sensitivity.description")
    return Picture("importances", drawing, description, caption, table)


def _slices(context: StudyContext) -> Picture | None:
    """Each trial's objective against each searched hyperparameter, all cells in one panel."""
    messages, summary = context.messages, context.summary
    trials = summary.records.trials.assign(objective=summary.objectives)
    trials = trials[
        trials["objective"].notna()
        & ~trials["end"].isin((TrialStatus.PRUNED, TrialStatus.INTERRUPTED))
    ]
    names: dict[str, Parameter] = {}
    for pair in summary.pairs:
        for name, parameter in searched_parameters(summary, *pair).items():
            names[name] = _merged(names.get(name), parameter)
    if len(trials) < FEWEST_POINTS or not names:
        return None
    step = -(-len(trials) // MOST_POINTS)
    drawing = _panels(context, trials.iloc[::step], names)
    panels = drawing.get_axes()
    handles, names_shown = panels[0].get_legend_handles_labels()
    drawing.legend(
        handles, names_shown, loc="outside upper left", ncols=len(names_shown), handletextpad=0.2
    )
    best = summary.best.assign(objective=summary.objectives)
    name, rows = summary.objective.name, []
    for task, cell in summary.pairs:
        own = rows_of(trials, task, cell)["objective"]
        top = rows_of(best, task, cell)["objective"]
        if len(own):
            of_best = stats.median_interval(top)
            texts = (context.number(name, v) for v in (own.median(), of_best.value))
            between = context.interval(name, of_best.interval)
            lead = context.task_cells(task, cell)
            rows.append((*lead, str(len(own)), *texts, between, str(of_best.n)))
    columns = (
        *context.task_columns(),
        *(context.column(each) for each in ("n_trials", "median_trial", "median_best")),
        *(context.column(each) for each in ("interval", "n_searches")),
    )
    note = messages("sensitivity.slices_note")
    key = "sensitivity.slices_caption" if step == 1 else "sensitivity.slices_caption_thinned"
    objective = messages.of("column", summary.objective.name)
    caption = messages(key, n=len(trials), step=step, objective=objective)
    table = Table(columns, tuple(rows), note)
    return Picture("slices", drawing, messages("sensitivity.slices_description"), caption, table)


def _merged(one: Parameter | None, other: Parameter) -> Parameter:
    """A parameter with the options of both: cells may have different options."""
    if isinstance(one, Choice) and isinstance(other, Choice):
        return Choice(tuple(dict.fromkeys([*one.options, *other.options])))
    return other if one is None else one


def _panels(context: StudyContext, trials: pd.DataFrame, names: Mapping[str, Parameter]) -> Figure:
    """A panel for each hyperparameter; with several tasks a row for each task, if it fits."""
    objective = context.messages.of("column", context.summary.objective.name)
    a_row_each = context.many_tasks and len(names) <= 5
    tasks = context.summary.tasks if a_row_each else (None,)
    columns = len(names) if a_row_each else 3
    n_panels = len(names) * len(tasks)
    height = 1.75 if a_row_each else 2.3
    drawing, panels = theme.grid(
        n_panels, columns=columns, height=height, sharey="row" if a_row_each else "all"
    )
    places = [(task, name) for task in tasks for name in names]
    for i, (axes, (task, name)) in enumerate(zip(panels, places, strict=True)):
        if i < len(names):
            axes.set_title(context.messages.of("column", name))
        own = trials if task is None else trials[trials["task"] == task]
        _scatter(context, axes, own, name, names[name])
        if i % columns == 0:
            axes.set_ylabel(objective if task is None else task)
    return drawing


def _scatter(
    context: StudyContext, axes: Axes, trials: pd.DataFrame, name: str, parameter: Parameter
) -> None:
    place = axes.get_subplotspec()
    narrow = place is not None and place.get_gridspec().ncols > 3
    options = [str(option) for option in parameter.values()]
    words_only = isinstance(parameter, Choice)
    for i, cell in enumerate(context.summary.cells):
        own = trials[(trials["cell"] == cell) & trials[name].notna()]
        style = context.styles[cell]
        if words_only:
            order = {option: place for place, option in enumerate(options)}
            dodge = (i - (len(context.summary.cells) - 1) / 2) * 0.24
            places = [order.get(str(option_of(parameter, v)), math.nan) for v in own[name]]
            x = np.array(places, dtype=float) + dodge
        else:
            x = own[name].to_numpy(dtype=float)
        sns.scatterplot(
            x=x,
            y=own["objective"].to_numpy(dtype=float),
            ax=axes,
            color=style.colour,
            marker=style.marker,
            s=17,
            alpha=0.6,
            linewidth=0,
            label=cell,
            legend=False,
        )
    if words_only:
        axes.set_xticks(range(len(options)), options)
        axes.set_xlim(-0.6, len(options) - 0.4)
        if narrow:
            axes.tick_params(axis="x", rotation=35)
    elif isinstance(parameter, Range) and parameter.log:
        axes.set_xscale("log")
        ticks = range_ticks(float(parameter.low), float(parameter.high), 2 if narrow else 3)
        axes.set_xlim(parameter.low / 1.12, parameter.high * 1.12)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(2 if narrow else 4, integer=True))
    axes.set_xlabel("")
    axes.set_ylabel("")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))


def range_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers (1, 2 or 5 times a power of ten) in a range, evenly spread."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if 0 < len(found) <= most:
            return found
    found = [s * 10.0**p for p in powers for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    if not found:
        return [low, high]
    places = {round(i * (len(found) - 1) / max(most - 1, 1)) for i in range(most)}
    return [found[place] for place in sorted(places)]
