"""For a paper: the table of memory spans and a paragraph of methods in LaTeX, from the same numbers as the report's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import harness
from harness import stats
from harness.columns import METRICS, size_in_bytes
from harness.parameters import Choice, Fixed, Parameter, Range
from harness.rendering.document import Block, Code, Paragraph, Section
from harness.rendering.escaping import escape_latex
from harness.study.report.sections import winners
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory, outcome
from harness.study.search.sampler_arguments import pruner_arguments, sampler_arguments

WIDTH = 100  # of a line of LaTeX
_NOT_SAID = ("num_parameters", "max_grad_norm")  # where they are 0, which means "off"


def section(page: StudyContext) -> Section:
    """The table, where spans were measured, and the methods, each as LaTeX to copy."""
    words = page.words
    blocks: list[Block] = [Paragraph(words("paper.intro_methods"))]
    if page.summary.memory:
        blocks = [Paragraph(words("paper.intro")), Code(table(page), "latex")]
    blocks.append(Code(methods(page), "latex"))
    return Section("paper", words("paper.title"), tuple(blocks))


def text(page: StudyContext) -> str:
    """paper.tex: the table and the methods, as a document inputs it."""
    name = page.summary.records.spec.study.name
    comment = page.words("paper.comment", version=harness.__version__, name=escape_latex(name))
    parts = [f"% {comment}", *([table(page)] if page.summary.memory else []), methods(page)]
    return "\n\n".join(parts) + "\n"


# --- The table ----------------------------------------------------------------------------------


def table(page: StudyContext) -> str:
    """A table with booktabs: a row for each (task, cell) with a confirmation."""
    words, summary = page.words, page.summary
    numbers = [
        words("paper.span"),
        words("paper.reliable"),
        words("paper.longest"),
        words("paper.solved"),
        words("paper.sequences"),
        words("paper.parameters"),
        words("paper.searches"),
    ]
    heads = [*(column.title for column in page.task_columns()), *numbers]
    rows = [
        (*page.task_cells(*pair), *_row(page, memory)) for pair, memory in summary.memory.items()
    ]
    layout = "l" * len(page.task_columns()) + "r" * len(numbers)
    label = re.sub(r"[^a-z0-9]+", "-", summary.records.spec.study.name.lower()).strip("-")
    lines = [
        r"\begin{table}",
        r"  \centering\scriptsize\setlength{\tabcolsep}{2.5pt}",  # so it is as wide as the text
        *_wrapped(rf"\caption{{{escape_latex(_caption(page))}}}", "  "),
        rf"  \label{{tab:{label or 'memory'}}}",
        rf"  \begin{{tabular}}{{@{{}}{layout}@{{}}}}",
        r"    \toprule",
        f"    {_line(heads)}",
        r"    \midrule",
        *(f"    {_line(row)}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(texts: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return " & ".join(map(escape_latex, texts)) + r" \\"


def _caption(page: StudyContext) -> str:
    intervals = [m.span.interval for m in page.summary.memory.values() if m.span.interval]
    tasks = page.words.listed(page.summary.tasks)
    if not intervals:
        return page.words("paper.caption_few", tasks=tasks, minimum=stats.MINIMUM_REPEATS)
    return page.words("paper.caption", tasks=tasks, level=page.level(intervals[0]))


def _row(page: StudyContext, memory: Memory) -> tuple[str, ...]:
    words, top = page.words, memory.shares[-1]
    to_solve, parameters = _at_the_top(page, memory)
    span = page.span(memory.span, memory.ladder)
    solved = words("k_of_n", k=top.n_solved, n=top.n_runs)
    return (
        _between(page, span, page.span_interval(memory.span, memory.ladder)),
        page.span(memory.reliable, memory.ladder),
        page.number("lag", top.lag),
        _between(page, solved, page.percents(top.interval)),
        to_solve,
        parameters,
        str(memory.span.n_repeats),
    )


def _between(page: StudyContext, value: str, interval: str) -> str:
    """A value with its interval in brackets; alone where it has none, or one that says no more."""
    if interval in (page.words("none"), value):
        return value
    return page.words("paper.between", value=value, interval=interval)


def _at_the_top(page: StudyContext, memory: Memory) -> tuple[str, str]:
    """Sequences until the runs at the longest lag solve their task, and the winners' parameters."""
    table = page.summary.records.confirmation
    assert table is not None, "a memory comes from a confirmation"
    rows = table[(table["task"] == memory.task) & (table["cell"] == memory.cell)]
    parameters = rows.groupby("repeat")["num_parameters"].median().median()
    lags = [page.summary.lags.get((memory.task, length)) for length in rows["sequence_length"]]
    runs = rows[[lag == memory.ladder.lags[-1] for lag in lags]]
    searches: dict[int, list[float]] = {}
    for repeat, end, solved, seen in zip(
        *(runs[name] for name in ("repeat", "end", "solved", "sequences_to_solve")), strict=True
    ):
        if (known := outcome(str(end), solved)) is not None:
            searches.setdefault(int(repeat), []).append(float(seen) if known else float("inf"))
    found = stats.median_over_searches(searches.values())
    value = _sequences(page, found.value)
    if found.interval is None:
        return value, page.number("num_parameters", parameters)
    ends = [_sequences(page, end) for end in (found.interval.low, found.interval.high)]
    interval = page.words("range", low=ends[0], high=ends[1]) if ends[0] != ends[1] else ends[0]
    return _between(page, value, interval), page.number("num_parameters", parameters)


def _sequences(page: StudyContext, value: float | None) -> str:
    if value == float("inf"):
        return page.words("never")
    return page.number("sequences_to_solve", value)


# --- The methods --------------------------------------------------------------------------------


def methods(page: StudyContext) -> str:
    """A paragraph: tasks, cells, budget, space, sampler, seeds, confirmation, statistics, versions, machine."""
    return "\n".join(_wrapped(escape_latex(" ".join(_sentences(page)))))


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sentences(page: StudyContext) -> Iterator[str]:
    words, summary, spec = page.words, page.summary, page.summary.records.spec
    cells, tasks = (
        words.listed(
            words("paper.variant", label=label, base=spec.base(label))
            if spec.base(label) != label
            else label
            for label in labels
        )
        for labels in (summary.cells, summary.tasks)
    )
    yield words("paper.compare", cells=cells, tasks=tasks)
    yield from _search(page)
    yield from _space(page)
    yield from _confirmation(page)
    yield words("paper.statistics", minimum=stats.MINIMUM_REPEATS)
    yield from _software(page)


def _search(page: StudyContext) -> Iterator[str]:
    words, summary, search = page.words, page.summary, page.summary.records.spec.search
    sampler = words.of("paper.sampler", search.sampler)
    objective = words.of("column", search.objective).lower()
    key = "paper.search" if search.repeats > 1 else "paper.search_one"
    yield words(
        key,
        sampler=_called(page, sampler, sampler_arguments(search.sampler, search.trials)),
        objective=objective,
        trials=search.trials,
        repeats=search.repeats,
        seed=summary.records.spec.study.seed,
    )
    if search.pruner in ("none", "bound"):
        yield words.of("paper.without", search.pruner)
    else:
        budget, every = (_of_all(page, name) for name in ("sequences", "evaluate_every"))
        given = pruner_arguments(search.pruner, search.trials, budget, every) if budget else {}
        yield words("paper.pruner", pruner=_called(page, search.pruner, given))
    if summary.common_trials < search.trials:
        yield words("paper.common", n=summary.common_trials)


def _called(page: StudyContext, name: str, given: Mapping[str, Any]) -> str:
    """A sampler or pruner with its arguments, as Optuna names them."""
    if not given:
        return name
    items = (page.words("paper.argument", name=key, value=value) for key, value in given.items())
    arguments = page.words("list.between").join(items)
    return page.words("paper.called", name=name, arguments=arguments)


def _of_all(page: StudyContext, name: str) -> int:
    """A training key that is fixed to one value for all; 0 where it is searched, or differs."""
    spec = page.summary.records.spec
    values = {value for pair in spec.pairs for value in spec.parameters(*pair)[name].values()}
    return int(values.pop()) if len(values) == 1 else 0


def _space(page: StudyContext) -> Iterator[str]:
    """What was searched and what was held fixed.

    What a task or a cell has of its own, for that one.
    """
    words, spec = page.words, page.summary.records.spec
    own = {pair: _items(page, spec.parameters(*pair)) for pair in spec.pairs}
    names = list(dict.fromkeys(name for items in own.values() for name in items))
    shared = {}
    for name in names:
        found = [items.get(name) for items in own.values()]
        if None not in found:  # what not all have is said of those that have it
            shared[name] = max(dict.fromkeys(found), key=found.count)  # what most have
    searched = {name for pair in spec.pairs for name in _searched(spec.parameters(*pair))}
    join = words("paper.between_items").join
    space = [item for name, item in shared.items() if name in searched and item]
    fixed = [item for name, item in shared.items() if name not in searched and item]
    yield words("paper.space", space=join(space)) if space else words("paper.space_none")
    others = {
        pair: [item for name, item in items.items() if item != shared.get(name)]
        for pair, items in own.items()
    }
    for name, items in _of_one(page, others):
        yield words("paper.space_own", name=name, space=join(items))
    if fixed:
        yield words("paper.fixed", items=join(fixed))


def _of_one(
    page: StudyContext, others: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[tuple[str, list[str]]]:
    """What all pairs of one task have otherwise, what all of one cell have, and what is left, pair by pair."""
    left = {pair: list(items) for pair, items in others.items()}
    for axis, labels in ((0, page.summary.tasks), (1, page.summary.cells)):
        for label in labels if len(labels) > 1 else ():
            pairs = [pair for pair in left if pair[axis] == label]
            common = [item for item in left[pairs[0]] if all(item in left[pair] for pair in pairs)]
            for pair in pairs:
                left[pair] = [item for item in left[pair] if item not in common]
            if common:
                yield label, common
    for (task, cell), items in left.items():
        if items:
            yield page.words("paper.pair", cell=cell, task=task), items


def _searched(parameters: Mapping[str, Parameter]) -> list[str]:
    return [name for name, each in parameters.items() if len(set(each.values())) > 1]


def _items(page: StudyContext, parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Each hyperparameter of a cell in words."""
    words, found = page.words, {}
    for key, parameter in parameters.items():
        name = words.of("paper.parameter", key)
        name = words.of("column", key) if name == key else name
        texts = [_value(page, key, value) for value in parameter.values()]
        match parameter:
            case Range(_, _, log):
                kind = "paper.item_log" if log else "paper.item_range"
                found[key] = words(kind, name=name, low=texts[0], high=texts[1])
            case Choice(options) if len(options) > 1:
                found[key] = words("paper.item_choice", name=name, options=words.listed(texts))
            case Fixed(0) if key in _NOT_SAID:
                pass
            case _:
                found[key] = words("paper.item_fixed", name=name, value=texts[0])
    return found


def _value(page: StudyContext, key: str, value: object) -> str:
    if isinstance(value, bool):
        return page.words("truth.yes" if value else "truth.no")
    return winners.value(page, key if key in METRICS else "n_runs", value)


def _confirmation(page: StudyContext) -> Iterator[str]:
    words, confirm = page.words, page.summary.records.spec.confirm
    if not confirm.seeds:
        yield words("paper.unconfirmed")
        return
    ladder = words("paper.own_length")
    if steps := confirm.lags or confirm.sequence_lengths:
        listed = words.listed(page.number("lag", step) for step in steps)
        ladder = words("paper.lags" if confirm.lags else "paper.lengths", lags=listed)
    key = "paper.confirm" if confirm.seeds > 1 else "paper.confirm_one"
    n = page.number("n_runs", confirm.evaluation_sequences)
    yield words(key, seeds=confirm.seeds, ladder=ladder, n=n)


def _software(page: StudyContext) -> Iterator[str]:
    """Versions and machine, as machine.json has them; nothing where it has not."""
    words, machine = page.words, page.summary.records.machine
    found = machine.get("versions")
    drawn = page.words("paper.drawn", version=harness.__version__)  # of results older than the key
    versions = {"harness": drawn, **(found if isinstance(found, dict) else {})}
    if "python" in machine:
        versions = {"Python": machine["python"], **versions}
    keys = ("cpu", "cores", "system", "device", "denormals", "evaluation", "memory_bytes")
    if not all(key in machine for key in keys):
        return
    listed = (words("paper.version", name=k, version=v) for k, v in versions.items())
    described = words(
        "paper.machine",
        cpu=machine["cpu"],
        cores=machine["cores"],
        memory=size_in_bytes(float(machine["memory_bytes"])),
        system=machine["system"],
        device=machine["device"],
        denormals=machine["denormals"],
        evaluation=machine["evaluation"],
    )
    yield words("paper.software", versions=words.listed(listed), machine=described)
    spec = page.summary.records.spec
    cells = {spec.base(cell) for cell in spec.compare.cells}
    if cells & {"rnn", "gru"} and machine.get("recurrence", "torch") != "torch":
        yield words("paper.recurrence")
