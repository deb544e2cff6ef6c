"""Beyond the trained length: solved runs evaluated on longer sequences without more training."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness import stats
from harness.rendering import theme
from harness.rendering.document import Column, ContentBlock, Paragraph, Picture, Section, Table
from harness.rendering.figures.ticks import dodge, spaced_ticks
from harness.study.report.study_context import StudyContext

# A table with more rows is folded.
_FOLD_ABOVE = 24


def section(context: StudyContext) -> Section:
    """Share of solved runs that also solve longer sequences; with a figure if there are lags."""
    messages, summary = context.messages, context.summary
    title = messages("extrapolation.title")
    table = summary.records.extrapolation
    if table is None or len(table) == 0:
        return context.not_measured("extrapolation", title, messages("extrapolation.absent"))
    places = zip(table["task"], table["sequence_length"], strict=True)
    lags = [summary.lags.get((str(task), float(length)), math.nan) for task, length in places]
    # A row has no lag if no stored run has its length.
    table = table.assign(lag=lags).dropna(subset="lag")
    if len(table) == 0:
        return context.not_measured("extrapolation", title, messages("extrapolation.absent"))
    factors = sorted(int(factor) for factor in table["factor"].unique())
    sentences = []
    for task, cell in summary.pairs:
        share = _share(_of(table, task, cell, factors[-1]))
        if share.n_runs:
            key = "extrapolation.sentence_task" if context.many_tasks else "extrapolation.sentence"
            k, n = share.n_solved, share.n_runs
            sentences.append(messages(key, factor=factors[-1], task=task, cell=cell, k=k, n=n))
    found, listed = messages.listed(sentences), messages.listed(map(str, factors))
    blocks: list[ContentBlock] = [
        Paragraph(messages("extrapolation.intro", factors=listed, found=found))
    ]
    # At one length a panel has one point for each cell. The table alone shows that.
    ladder = summary.has_ladder
    blocks.append(_picture(context, table, factors) if ladder else _table(context, table, factors))
    return Section("extrapolation", title, tuple(blocks))


def _of(table: pd.DataFrame, task: str, cell: str, factor: int) -> pd.DataFrame:
    rows = (table["task"] == task) & (table["cell"] == cell) & (table["factor"] == factor)
    return table[rows]


def _share(rows: pd.DataFrame) -> stats.SolvedShare:
    """Share of these runs that still solve the task, all lags together."""
    runs = [
        (int(repeat), 0.0, None if pd.isna(solved) else bool(solved))
        for repeat, solved in zip(rows["repeat"], rows["solved"], strict=True)
    ]
    shares = stats.solved_shares(stats.run_ladder(runs))
    return shares[0] if shares else stats.SolvedShare(0.0, 0, 0, 0, None, None)


def _picture(context: StudyContext, table: pd.DataFrame, factors: list[int]) -> Picture:
    """A panel for each task and factor, a line for each cell."""
    messages, summary = context.messages, context.summary
    tasks = [task for task in summary.tasks if (table["task"] == task).any()]
    panels_of = [
        (task, factor)
        for task in tasks
        for factor in factors
        if ((table["task"] == task) & (table["factor"] == factor)).any()
    ]
    drawing, panels = theme.grid(len(panels_of), columns=2, height=2.7)
    drawn: dict[str, Line2D] = {}
    for axes, (task, factor) in zip(panels, panels_of, strict=True):
        times = messages("extrapolation.times", factor=factor)
        axes.set_title(f"{task}, {times}" if context.many_tasks else times)
        shown: set[float] = set()
        for i, cell in enumerate(summary.cells):
            rows, style = _of(table, task, cell, factor), context.styles[cell]
            aside = dodge(i, len(summary.cells))
            points = [(lag, _share(own)) for lag, own in rows.groupby("lag")]
            known = [(float(lag), each) for lag, each in points if each.value is not None]  # type: ignore[arg-type]
            if not known:
                continue
            shown |= {lag for lag, _ in known}
            for lag, each in known:
                if each.interval is not None:
                    between = [each.interval.low, each.interval.high]
                    at = [lag * aside, lag * aside]
                    axes.plot(at, between, color=style.colour, alpha=0.32, linewidth=2.6, zorder=2)
            (line,) = axes.plot(
                [lag * aside for lag, _ in known],
                [each.value or 0.0 for _, each in known],
                color=style.colour,
                linestyle=style.line,
                marker=style.marker,
                markeredgecolor="none",
                zorder=3,
            )
            drawn.setdefault(cell, line)
        axes.set_xscale("log")
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlim(min(shown) / 1.2, max(shown) * 1.2)
        axes.xaxis.set_major_locator(FixedLocator(spaced_ticks(sorted(shown))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: context.number("lag", value)))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: context.percent(value)))
    for axes in panels[-2:]:
        axes.set_xlabel(messages("extrapolation.x"))
    panels[0].set_ylabel(messages("extrapolation.y"))
    order = [cell for cell in summary.cells if cell in drawn]
    handles = [drawn[cell] for cell in order]
    drawing.legend(handles, order, loc="outside upper left", ncols=min(len(order), 4))
    return Picture(
        "extrapolation",
        drawing,
        messages("extrapolation.description"),
        messages("extrapolation.caption"),
        _table(context, table, factors),
    )


def _table(context: StudyContext, table: pd.DataFrame, factors: list[int]) -> Table:
    messages = context.messages
    rows = []
    for (task, cell), factor in (
        (pair, each) for pair in context.summary.pairs for each in factors
    ):
        for lag, own in _of(table, task, cell, factor).groupby("lag"):
            share = _share(own)
            rows.append(
                (
                    *context.task_cells(task, cell),
                    messages("extrapolation.times", factor=factor),
                    context.number("lag", float(lag)),  # type: ignore[arg-type]
                    context.number("lag", float(own["evaluated_lag"].iloc[0])),
                    messages("k_of_n", k=share.n_solved, n=share.n_runs),
                    context.percents(share.interval),
                    context.number("accuracy", float(own["accuracy"].median())),
                    str(share.n_repeats),
                )
            )
    columns = (
        *context.task_columns(),
        *(
            Column(messages.of("extrapolation.column", name), "number")
            for name in ("factor", "lag", "evaluated_lag", "solved", "interval", "accuracy", "n")
        ),
    )
    note = messages("extrapolation.note")
    return Table(columns, tuple(rows), note, folded=len(rows) > _FOLD_ABOVE)
