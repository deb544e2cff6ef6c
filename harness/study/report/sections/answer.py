"""The answer in a few sentences, and the figure of the share of solved runs against lag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.rendering import theme
from harness.rendering.document import Column, Picture, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import dodge, spaced_ticks
from harness.stats import MINIMUM_REPEATS, CellComparison
from harness.study.report.sections import published_numbers
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory, rows_of


def answer_sentences(context: StudyContext) -> tuple[str, ...]:
    """The answer: a paragraph for each task, and one for training speed."""
    summary, messages = context.summary, context.messages
    sentences = []
    if context.published:
        sentences.append(published_numbers.sentence(context))
    if summary.confirmed and not summary.has_ladder:
        sentences += [_solved(context, task) for task in summary.tasks]
    elif summary.confirmed:
        sentences += [_spans(context, task) for task in summary.tasks]
        intervals = [m.span.interval for m in summary.memory.values() if m.span.interval]
        if intervals:
            level = context.level(intervals[0])
            sentences[-1] += " " + messages("answer.brackets", level=level, n=summary.repeats)
    else:
        if summary.records.spec.confirm.seeds:
            sentences.append(messages("answer.not_confirmed"))
        sentences += [_best_trials(context, task) for task in summary.tasks]
    sentences += _training_speeds(context)
    if summary.missing:
        sentences.append(messages("answer.missing", pairs=context.listed_pairs(summary.missing)))
    return tuple(sentences)


def _solved(context: StudyContext, task: str) -> str:
    """How many runs of each cell solve a task that has one length."""
    messages, items, lag = context.messages, [], None
    for cell in context.summary.cells:
        memory = context.summary.memory.get((task, cell))
        share = memory.shares[0] if memory and memory.shares else None
        if share is None or share.value is None:
            continue
        sequences = published_numbers.sequences_to_solve(context, task, cell)
        key = "solved.cell_never" if sequences is None else "solved.cell"
        k, n, lag = share.n_solved, share.n_runs, share.lag
        items.append(messages(key, cell=cell, k=k, n=n, sequences=sequences))
    if not items:
        return messages("answer.nothing", task=task)
    spans = messages(
        "solved.spans", task=task, lag=context.number("lag", lag), cells=messages.listed(items)
    )
    return f"{spans}."


def _spans(context: StudyContext, task: str) -> str:
    """The span of each cell on one task, and the differences that are shown."""
    messages = context.messages
    items: list[str] = []
    for cell in context.summary.cells:
        memory = context.summary.memory.get((task, cell))
        if memory is None or memory.span.value is None:
            continue
        span = context.span(memory.span, memory.ladder)
        between = context.span_interval(memory.span, memory.ladder)
        known = memory.span.interval is not None and between != span
        key = ("answer.span" if items else "answer.first_span") + ("_interval" if known else "")
        items.append(messages(key, cell=cell, span=span, interval=between))
    if not items:
        return messages("answer.nothing", task=task)
    spans = messages("answer.spans", task=task, spans=messages.listed(items))
    return " ".join([spans, *_differences(context, context.summary.comparisons.get(task, ()))])


def _differences(context: StudyContext, comparisons: Sequence[CellComparison]) -> list[str]:
    """Sentences about the pairs of cells: differences that are shown, and those that are not."""
    messages = context.messages
    sentences, shorter = [], {}
    for cell in context.summary.cells:
        others = [
            c.second if c.longer == c.first else c.first for c in comparisons if c.longer == cell
        ]
        if others:
            shorter[cell] = others
    if shorter:
        parts = [
            messages("answer.longer", cell=cell, others=messages.listed(others))
            for cell, others in sorted(shorter.items(), key=lambda item: -len(item[1]))
        ]
        sentences.append(
            messages("answer.shown", differences=messages("answer.and_then").join(parts))
        )
    same = [c for c in comparisons if c.verdict == "no_difference_shown"]
    if len(same) > 1 and len(same) == len(comparisons):
        sentences.append(messages("answer.no_difference_at_all"))
    elif len(same) > 3:
        sentences.append(messages("answer.no_difference_else", n=len(same)))
    elif same:
        pairs = [messages("answer.pair", first=c.first, second=c.second) for c in same]
        sentences.append(messages("answer.no_difference", pairs=messages("answer.or").join(pairs)))
    if unclear := [c for c in comparisons if c.verdict == "inconclusive"]:
        n = context.summary.repeats
        key = "answer.too_few" if n < MINIMUM_REPEATS else "answer.too_few_measured"
        key = "answer.too_few_one" if n == 1 else key
        sentences.append(messages(key, n=n, minimum=MINIMUM_REPEATS, pairs=len(unclear)))
    return sentences


def _best_trials(context: StudyContext, task: str) -> str:
    """The best trial of each search, for a study that confirmed nothing. No ranking."""
    messages, best = context.messages, context.summary.best
    items = []
    for cell in context.summary.cells:
        rows = rows_of(best, task, cell)
        if len(rows) == 0:
            continue
        loss, accuracy = rows["loss"].median(), rows["accuracy"].median()
        items.append(
            messages(
                "answer.found_cell",
                cell=cell,
                loss=context.number("loss", loss),
                accuracy=context.number("accuracy", accuracy),
            )
        )
    if not items:
        return messages("answer.nothing", task=task)
    key = "answer.found_one" if context.summary.repeats == 1 else "answer.found"
    return messages(key, task=task, cells=messages.listed(items), n=context.summary.repeats)


def _training_speeds(context: StudyContext) -> list[str]:
    """Tokens per second of each cell at one common shape on the first device."""
    table = context.summary.records.throughput
    if table is None or len(table) == 0:
        return []
    rows = table[(table["origin"] == "grid") & (table["device"] == table["device"].iloc[0])]
    rows = rows[(rows["task"] == context.summary.tasks[0]) & rows["tokens_per_second"].notna()]
    shapes = rows.groupby(["hidden_size", "sequence_length"])["cell"].nunique()
    if len(shapes) == 0:
        return []
    shared = shapes[shapes == shapes.max()].index
    hidden, length = shared[len(shared) // 2]
    rows = rows[(rows["hidden_size"] == hidden) & (rows["sequence_length"] == length)]
    items: list[str] = []
    for cell in context.summary.cells:
        speed = rows.loc[rows["cell"] == cell, "tokens_per_second"]
        if len(speed):
            text = context.number("tokens_per_second", float(speed.iloc[0]))
            key = "answer.speed_cell" if items else "answer.first_speed_cell"
            items.append(context.messages(key, cell=cell, speed=text))
    if not items:
        return []
    return [
        context.messages(
            "answer.speed",
            hidden=context.number("hidden_size", hidden),
            length=context.number("sequence_length", length),
            device=context.messages.of("device", str(rows["device"].iloc[0])),
            cells=context.messages.listed(items),
        )
    ]


def shares_picture(context: StudyContext) -> Picture | None:
    """Share of runs that solve the task against lag; None without a ladder of lags."""
    summary, messages = context.summary, context.messages
    if not summary.has_ladder:
        return None
    tasks = [task for task in summary.tasks if any(key[0] == task for key in summary.memory)]
    if not tasks:
        return None
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.5 if len(tasks) == 1 else 2.9)
    for axes, task in zip(panels, tasks, strict=True):
        if context.many_tasks:
            axes.set_title(task)
        cells = [cell for cell in summary.cells if (task, cell) in summary.memory]
        _draw(context, axes, [summary.memory[task, cell] for cell in cells])
    for axes in panels:
        axes.set_xlabel(messages("memory.x"))
    panels[0].set_ylabel(messages("memory.y"))
    labels = {}
    for axes, task in zip(panels, tasks, strict=True):
        memories = [
            summary.memory[pair]
            for pair in summary.pairs
            if pair[0] == task and pair in summary.memory
        ]
        labels[axes] = _ends(context, memories)
    direct_labels.label_line_ends(drawing, labels)
    table = shares_table(context)
    return Picture("memory", drawing, messages("memory.description"), _caption(context), table)


def _ends(context: StudyContext, memories: Sequence[Memory]) -> list[direct_labels.LineEnd]:
    """The label at the end of each cell's line."""
    ends = []
    for memory in memories:
        shares = [(share.lag, share.value) for share in memory.shares if share.value is not None]
        if shares:
            lag, value = shares[-1]
            # The same factor for all cells puts their names in one column.
            lag *= dodge(len(memories) - 1, len(memories))
            ends.append(
                direct_labels.LineEnd(lag, value, memory.cell, context.styles[memory.cell].colour)
            )
    return ends


def _draw(context: StudyContext, axes: Axes, memories: Sequence[Memory]) -> None:
    lags = sorted({share.lag for memory in memories for share in memory.shares})
    axes.set_xscale("log")
    axes.axhline(0.5, color=theme.FAINT.light, linewidth=1.2, zorder=1)
    for i, memory in enumerate(memories):
        style = context.styles[memory.cell]
        shares = [share for share in memory.shares if share.value is not None]
        at = np.array([share.lag * dodge(i, len(memories)) for share in shares])
        values = np.array([share.value for share in shares], dtype=float)
        for place, share in zip(at, shares, strict=True):
            if share.interval is not None:
                axes.plot(
                    [place, place],
                    [share.interval.low, share.interval.high],
                    color=style.colour,
                    alpha=0.32,
                    linewidth=2.6,
                    zorder=2,
                )
        axes.plot(
            at,
            values,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markeredgecolor="none",
            zorder=3 + 0.1 * i,
        )
    axes.set_ylim(-0.04, 1.04)
    first, last = dodge(0, len(memories)), dodge(len(memories) - 1, len(memories))
    axes.set_xlim(lags[0] * min(1 / 1.18, first / 1.06), lags[-1] * max(1.12, last * 1.06))
    axes.xaxis.set_major_locator(FixedLocator(spaced_ticks(lags)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: context.number("lag", value)))
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: context.percent(value)))


def shares_table(context: StudyContext) -> Table:
    """Solved runs of all runs at each lag, with exact binomial intervals."""
    summary, messages = context.summary, context.messages
    columns = (*((context.task_columns()[0],) if context.many_tasks else ()), context.column("lag"))
    cells = tuple(Column(cell, "cell") for cell in summary.cells)
    rows = []
    for task in summary.tasks:
        found = {
            (cell, share.lag): share
            for cell in summary.cells
            if (task, cell) in summary.memory
            for share in summary.memory[task, cell].shares
        }
        for lag in sorted({lag for _, lag in found}):
            texts = []
            for cell in summary.cells:
                share = found.get((cell, lag))
                if share is None or share.value is None or share.interval is None:
                    texts.append(messages("not_measured"))
                    continue
                between = context.percents(share.interval)
                texts.append(
                    messages("memory.share", k=share.n_solved, n=share.n_runs, interval=between)
                )
            lead = (task,) if context.many_tasks else ()
            rows.append((*lead, context.number("lag", lag), *texts))
    return Table((*columns, *cells), tuple(rows), messages("memory.shares_note"))


def _caption(context: StudyContext) -> str:
    summary, messages = context.summary, context.messages
    seeds = summary.records.spec.confirm.seeds
    key = "memory.caption" if seeds == 1 else "memory.caption_seeds"
    return messages(key, repeats=summary.repeats, seeds=seeds)
