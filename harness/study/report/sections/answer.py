"""The answer in a sentence or two, and one picture.

The share of runs that solve the task against lag.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.rendering import theme
from harness.rendering.document import Column, Picture, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.ticks import dodge, spaced
from harness.stats import MINIMUM_REPEATS, Comparison
from harness.study.report.published_summary import checks
from harness.study.report.sections import published_numbers
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory


def sentences(page: StudyContext) -> tuple[str, ...]:
    """The answer, a paragraph a task and one for speed.

    Spans, differences that are shown, tokens a second.
    """
    summary, words = page.summary, page.words
    said = []
    if found := checks(summary):
        said.append(published_numbers.sentence(page, found))
    if summary.confirmed and not summary.has_ladder:
        said += [_solved(page, task) for task in summary.tasks]
    elif summary.confirmed:
        said += [_remembered(page, task) for task in summary.tasks]
        intervals = [m.span.interval for m in summary.memory.values() if m.span.interval]
        if intervals:
            level = page.level(intervals[0])
            said[-1] += " " + words("answer.brackets", level=level, n=summary.repeats)
    else:
        if summary.records.spec.confirm.seeds:
            said.append(words("answer.not_confirmed"))
        said += [_found(page, task) for task in summary.tasks]
    said += _speeds(page)
    if summary.missing:
        said.append(words("answer.missing", pairs=page.listed_pairs(summary.missing)))
    return tuple(said)


def _solved(page: StudyContext, task: str) -> str:
    """How many runs of each cell solve a task at its one length."""
    words, items, lag = page.words, [], None
    for cell in page.summary.cells:
        memory = page.summary.memory.get((task, cell))
        share = memory.shares[0] if memory and memory.shares else None
        if share is None or share.value is None:
            continue
        sequences = published_numbers.sequences_to_solve(page, task, cell)
        key = "solved.cell_never" if sequences is None else "solved.cell"
        k, n, lag = share.n_solved, share.n_runs, share.lag
        items.append(words(key, cell=cell, k=k, n=n, sequences=sequences))
    if not items:
        return words("answer.nothing", task=task)
    spans = words("solved.spans", task=task, lag=page.number("lag", lag), cells=words.listed(items))
    return f"{spans}."


def _remembered(page: StudyContext, task: str) -> str:
    """Each cell's span on one task, and which differences between them are shown."""
    words = page.words
    items: list[str] = []
    for cell in page.summary.cells:
        memory = page.summary.memory.get((task, cell))
        if memory is None or memory.span.value is None:
            continue
        span = page.span(memory.span, memory.ladder)
        between = page.span_interval(memory.span, memory.ladder)
        known = memory.span.interval is not None and between != span
        key = ("answer.span" if items else "answer.first_span") + ("_interval" if known else "")
        items.append(words(key, cell=cell, span=span, interval=between))
    if not items:
        return words("answer.nothing", task=task)
    spans = words("answer.spans", task=task, spans=words.listed(items))
    return " ".join([spans, *_differences(page, page.summary.comparisons.get(task, ()))])


def _differences(page: StudyContext, comparisons: Sequence[Comparison]) -> list[str]:
    """Which cell remembers longer, only where that is shown."""
    words = page.words
    said, shorter = [], {}
    for cell in page.summary.cells:
        others = [
            c.second if c.longer == c.first else c.first for c in comparisons if c.longer == cell
        ]
        if others:
            shorter[cell] = others
    if shorter:
        parts = [
            words("answer.longer", cell=cell, others=words.listed(others))
            for cell, others in sorted(shorter.items(), key=lambda item: -len(item[1]))
        ]
        said.append(words("answer.shown", differences=words("answer.and_then").join(parts)))
    same = [c for c in comparisons if c.verdict == "no_difference_shown"]
    if len(same) > 1 and len(same) == len(comparisons):
        said.append(words("answer.no_difference_at_all"))
    elif len(same) > 3:
        said.append(words("answer.no_difference_else", n=len(same)))
    elif same:
        pairs = [words("answer.pair", first=c.first, second=c.second) for c in same]
        said.append(words("answer.no_difference", pairs=words("answer.or").join(pairs)))
    if unclear := [c for c in comparisons if c.verdict == "inconclusive"]:
        n = page.summary.repeats
        key = "answer.too_few" if n < MINIMUM_REPEATS else "answer.too_few_measured"
        key = "answer.too_few_one" if n == 1 else key
        said.append(words(key, n=n, minimum=MINIMUM_REPEATS, pairs=len(unclear)))
    return said


def _found(page: StudyContext, task: str) -> str:
    """What the searches found, where nothing was confirmed: the best trial of each, no ranking."""
    words, best = page.words, page.summary.best
    items = []
    for cell in page.summary.cells:
        rows = best[(best["task"] == task) & (best["cell"] == cell)]
        if len(rows) == 0:
            continue
        loss, accuracy = rows["loss"].median(), rows["accuracy"].median()
        items.append(
            words(
                "answer.found_cell",
                cell=cell,
                loss=page.number("loss", loss),
                accuracy=page.number("accuracy", accuracy),
            )
        )
    if not items:
        return words("answer.nothing", task=task)
    key = "answer.found_one" if page.summary.repeats == 1 else "answer.found"
    return words(key, task=task, cells=words.listed(items), n=page.summary.repeats)


def _speeds(page: StudyContext) -> list[str]:
    """Tokens per second of each cell at one common shape on the first device."""
    table = page.summary.records.throughput
    if table is None or len(table) == 0:
        return []
    rows = table[(table["origin"] == "grid") & (table["device"] == table["device"].iloc[0])]
    rows = rows[(rows["task"] == page.summary.tasks[0]) & rows["tokens_per_second"].notna()]
    shapes = rows.groupby(["hidden_size", "sequence_length"])["cell"].nunique()
    if len(shapes) == 0:
        return []
    shared = shapes[shapes == shapes.max()].index
    hidden, length = shared[len(shared) // 2]
    rows = rows[(rows["hidden_size"] == hidden) & (rows["sequence_length"] == length)]
    items: list[str] = []
    for cell in page.summary.cells:
        speed = rows.loc[rows["cell"] == cell, "tokens_per_second"]
        if len(speed):
            text = page.number("tokens_per_second", float(speed.iloc[0]))
            key = "answer.speed_cell" if items else "answer.first_speed_cell"
            items.append(page.words(key, cell=cell, speed=text))
    if not items:
        return []
    return [
        page.words(
            "answer.speed",
            hidden=page.number("hidden_size", hidden),
            length=page.number("sequence_length", length),
            device=page.words.of("device", str(rows["device"].iloc[0])),
            cells=page.words.listed(items),
        )
    ]


def picture(page: StudyContext) -> Picture | None:
    """Share of runs that solve the task against lag, by cell, a panel a task.

    None without a ladder of lags.
    """
    summary, words = page.summary, page.words
    if not summary.has_ladder:
        return None
    tasks = [task for task in summary.tasks if any(key[0] == task for key in summary.memory)]
    if not tasks:
        return None
    drawing, panels = theme.grid(len(tasks), columns=2, height=3.5 if len(tasks) == 1 else 2.9)
    for axes, task in zip(panels, tasks, strict=True):
        if page.many_tasks:
            axes.set_title(task)
        cells = [cell for cell in summary.cells if (task, cell) in summary.memory]
        _draw(page, axes, [summary.memory[task, cell] for cell in cells])
    for axes in panels:
        axes.set_xlabel(words("memory.x"))
    panels[0].set_ylabel(words("memory.y"))
    placed = {}
    for axes, task in zip(panels, tasks, strict=True):
        memories = [
            summary.memory[pair]
            for pair in summary.pairs
            if pair[0] == task and pair in summary.memory
        ]
        placed[axes] = _ends(page, memories)
    direct_labels.label_ends(drawing, placed)
    table = shares_table(page)
    return Picture("memory", drawing, words("memory.description"), _caption(page), table)


def _ends(page: StudyContext, memories: Sequence[Memory]) -> list[direct_labels.End]:
    """Where each cell's line ends."""
    ends = []
    for memory in memories:
        shares = [(share.lag, share.value) for share in memory.shares if share.value is not None]
        if shares:
            lag, value = shares[-1]
            lag *= dodge(len(memories) - 1, len(memories))  # all names in one column
            ends.append(direct_labels.End(lag, value, memory.cell, page.marks[memory.cell].colour))
    return ends


def _draw(page: StudyContext, axes: Axes, memories: Sequence[Memory]) -> None:
    lags = sorted({share.lag for memory in memories for share in memory.shares})
    axes.set_xscale("log")
    axes.axhline(0.5, color=theme.FAINT.light, linewidth=1.2, zorder=1)
    for i, memory in enumerate(memories):
        mark = page.marks[memory.cell]
        shares = [share for share in memory.shares if share.value is not None]
        at = np.array([share.lag * dodge(i, len(memories)) for share in shares])
        values = np.array([share.value for share in shares], dtype=float)
        for place, share in zip(at, shares, strict=True):
            if share.interval is not None:
                axes.plot(
                    [place, place],
                    [share.interval.low, share.interval.high],
                    color=mark.colour,
                    alpha=0.32,
                    linewidth=2.6,
                    zorder=2,
                )
        axes.plot(
            at,
            values,
            color=mark.colour,
            linestyle=mark.line,
            marker=mark.marker,
            markeredgecolor="none",
            zorder=3 + 0.1 * i,
        )
    axes.set_ylim(-0.04, 1.04)
    first, last = dodge(0, len(memories)), dodge(len(memories) - 1, len(memories))
    axes.set_xlim(lags[0] * min(1 / 1.18, first / 1.06), lags[-1] * max(1.12, last * 1.06))
    axes.xaxis.set_major_locator(FixedLocator(spaced(lags)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: page.number("lag", value)))
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: page.percent(value)))


def shares_table(page: StudyContext) -> Table:
    """Share of runs that solve the task at each lag: solved of n, with exact binomial intervals."""
    summary, words = page.summary, page.words
    columns = (*((page.task_columns()[0],) if page.many_tasks else ()), page.column("lag"))
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
                    texts.append(words("not_measured"))
                    continue
                between = page.percents(share.interval)
                texts.append(
                    words("memory.share", k=share.n_solved, n=share.n_runs, interval=between)
                )
            lead = (task,) if page.many_tasks else ()
            rows.append((*lead, page.number("lag", lag), *texts))
    return Table((*columns, *cells), tuple(rows), words("memory.shares_note"))


def _caption(page: StudyContext) -> str:
    summary, words = page.summary, page.words
    seeds = summary.records.spec.confirm.seeds
    key = "memory.caption" if seeds == 1 else "memory.caption_seeds"
    return words(key, repeats=summary.repeats, seeds=seeds)
