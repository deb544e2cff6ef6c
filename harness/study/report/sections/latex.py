"""For a paper: the table of memory spans and a paragraph of methods in LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import harness
from harness import stats
from harness.columns import COLUMNS, size_in_bytes
from harness.hyperparameters import Choice, Fixed, Parameter, Range
from harness.rendering.document import Code, ContentBlock, Paragraph, Section
from harness.rendering.escaping import escape_latex
from harness.study.report.sections import winners
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import Memory, outcome
from harness.study.search.pruners import pruner_arguments
from harness.study.search.samplers import sampler_arguments

LATEX_LINE_WIDTH = 100  # characters
# Hyperparameters that are left out where they are 0, which means "off".
_OFF_AT_ZERO = ("num_parameters", "max_grad_norm")


def section(context: StudyContext) -> Section:
    """The table (if spans were measured) and the methods, as LaTeX to copy."""
    messages = context.messages
    blocks: list[ContentBlock] = [Paragraph(messages("paper.intro_methods"))]
    if context.summary.memory:
        blocks = [Paragraph(messages("paper.intro")), Code(table(context), "latex")]
    blocks.append(Code(methods(context), "latex"))
    return Section("paper", messages("paper.title"), tuple(blocks))


def text(context: StudyContext) -> str:
    """The text of paper.tex: the table and the methods."""
    name = context.summary.records.spec.study.name
    comment = context.messages(
        "paper.comment", version=harness.__version__, name=escape_latex(name)
    )
    parts = [
        f"% {comment}",
        *([table(context)] if context.summary.memory else []),
        methods(context),
    ]
    return "\n\n".join(parts) + "\n"


# --- The table ----------------------------------------------------------------------------------


def table(context: StudyContext) -> str:
    """A booktabs table with a row for each (task, cell) that has a confirmation."""
    messages, summary = context.messages, context.summary
    numbers = [
        messages("paper.span"),
        messages("paper.reliable"),
        messages("paper.longest"),
        messages("paper.solved"),
        messages("paper.sequences"),
        messages("paper.parameters"),
        messages("paper.searches"),
    ]
    heads = [*(column.title for column in context.task_columns()), *numbers]
    rows = [
        (*context.task_cells(*pair), *_row(context, memory))
        for pair, memory in summary.memory.items()
    ]
    layout = "l" * len(context.task_columns()) + "r" * len(numbers)
    label = re.sub(r"[^a-z0-9]+", "-", summary.records.spec.study.name.lower()).strip("-")
    lines = [
        r"\begin{table}",
        r"  \centering\scriptsize\setlength{\tabcolsep}{2.5pt}",  # so it is as wide as the text
        *_wrapped(rf"\caption{{{escape_latex(_caption(context))}}}", "  "),
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


def _caption(context: StudyContext) -> str:
    intervals = [m.span.interval for m in context.summary.memory.values() if m.span.interval]
    tasks = context.messages.listed(context.summary.tasks)
    if not intervals:
        return context.messages("paper.caption_few", tasks=tasks, minimum=stats.MINIMUM_REPEATS)
    return context.messages("paper.caption", tasks=tasks, level=context.level(intervals[0]))


def _row(context: StudyContext, memory: Memory) -> tuple[str, ...]:
    messages, top = context.messages, memory.shares[-1]
    to_solve, parameters = _at_the_top(context, memory)
    span = context.span(memory.span, memory.ladder)
    solved = messages("k_of_n", k=top.n_solved, n=top.n_runs)
    return (
        _between(context, span, context.span_interval(memory.span, memory.ladder)),
        context.span(memory.reliable, memory.ladder),
        context.number("lag", top.lag),
        _between(context, solved, context.percents(top.interval)),
        to_solve,
        parameters,
        str(memory.span.n_repeats),
    )


def _between(context: StudyContext, value: str, interval: str) -> str:
    """A value with its interval in brackets; the value alone if the interval adds nothing."""
    if interval in (context.messages("none"), value):
        return value
    return context.messages("paper.between", value=value, interval=interval)


def _at_the_top(context: StudyContext, memory: Memory) -> tuple[str, str]:
    """Sequences to solve at the longest lag, and the number of parameters of the winners."""
    table = context.summary.records.confirmation
    assert table is not None, "a memory comes from a confirmation"
    rows = table[(table["task"] == memory.task) & (table["cell"] == memory.cell)]
    parameters = rows.groupby("repeat")["num_parameters"].median().median()
    lags = [context.summary.lags.get((memory.task, length)) for length in rows["sequence_length"]]
    runs = rows[[lag == memory.ladder.lags[-1] for lag in lags]]
    searches: dict[int, list[float]] = {}
    for repeat, end, solved, seen in zip(
        *(runs[name] for name in ("repeat", "end", "solved", "sequences_to_solve")), strict=True
    ):
        if (known := outcome(str(end), solved)) is not None:
            searches.setdefault(int(repeat), []).append(float(seen) if known else float("inf"))
    found = stats.median_over_searches(searches.values())
    value = _sequences(context, found.value)
    if found.interval is None:
        return value, context.number("num_parameters", parameters)
    ends = [_sequences(context, end) for end in (found.interval.low, found.interval.high)]
    interval = (
        context.messages("range", low=ends[0], high=ends[1]) if ends[0] != ends[1] else ends[0]
    )
    return _between(context, value, interval), context.number("num_parameters", parameters)


def _sequences(context: StudyContext, value: float | None) -> str:
    if value == float("inf"):
        return context.messages("never")
    return context.number("sequences_to_solve", value)


# --- The methods --------------------------------------------------------------------------------


def methods(context: StudyContext) -> str:
    """The methods in one paragraph, from the tasks and cells to the versions and the machine."""
    return "\n".join(_wrapped(escape_latex(" ".join(_sentences(context)))))


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line,
        LATEX_LINE_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sentences(context: StudyContext) -> Iterator[str]:
    messages, summary, spec = context.messages, context.summary, context.summary.records.spec
    cells, tasks = (
        messages.listed(
            messages("paper.variant", label=label, base=spec.base(label))
            if spec.base(label) != label
            else label
            for label in labels
        )
        for labels in (summary.cells, summary.tasks)
    )
    yield messages("paper.compare", cells=cells, tasks=tasks)
    yield from _search(context)
    yield from _space(context)
    yield from _confirmation(context)
    yield messages("paper.statistics", minimum=stats.MINIMUM_REPEATS)
    yield from _software(context)


def _search(context: StudyContext) -> Iterator[str]:
    messages, summary, search = (
        context.messages,
        context.summary,
        context.summary.records.spec.search,
    )
    sampler = messages.of("paper.sampler", search.sampler)
    objective = messages.of("column", search.objective).lower()
    startup = summary.startup_trials
    key = "paper.search" if search.repeats > 1 else "paper.search_one"
    yield messages(
        key,
        sampler=_called(context, sampler, sampler_arguments(search.sampler, startup)),
        objective=objective,
        trials=search.trials,
        repeats=search.repeats,
        seed=summary.records.spec.study.seed,
    )
    if search.pruner in ("none", "bound"):
        yield messages.of("paper.without", search.pruner)
    else:
        budget, every = (_of_all(context, name) for name in ("sequences", "evaluate_every"))
        given = pruner_arguments(search.pruner, budget, every, startup) if budget else {}
        yield messages("paper.pruner", pruner=_called(context, search.pruner, given))
    if summary.common_trials < search.trials:
        yield messages("paper.common", n=summary.common_trials)


def _called(context: StudyContext, name: str, given: Mapping[str, Any]) -> str:
    """A sampler or pruner with its arguments, as Optuna names them."""
    if not given:
        return name
    items = (
        context.messages("paper.argument", name=key, value=value) for key, value in given.items()
    )
    arguments = context.messages("list.between").join(items)
    return context.messages("paper.called", name=name, arguments=arguments)


def _of_all(context: StudyContext, name: str) -> int:
    """The value of a training key that is fixed and equal for all; otherwise 0."""
    spec = context.summary.records.spec
    values = {value for pair in spec.pairs for value in spec.parameters(*pair)[name].values()}
    return int(values.pop()) if len(values) == 1 else 0


def _space(context: StudyContext) -> Iterator[str]:
    """Searched and fixed hyperparameters, and the differences of single tasks and cells."""
    messages, spec = context.messages, context.summary.records.spec
    own = {pair: _items(context, spec.parameters(*pair)) for pair in spec.pairs}
    names = list(dict.fromkeys(name for items in own.values() for name in items))
    shared = {}
    for name in names:
        found = [items.get(name) for items in own.values()]
        if None not in found:
            shared[name] = max(dict.fromkeys(found), key=found.count)  # The most frequent one.
    searched = {name for pair in spec.pairs for name in _searched(spec.parameters(*pair))}
    join = messages("paper.between_items").join
    space = [item for name, item in shared.items() if name in searched and item]
    fixed = [item for name, item in shared.items() if name not in searched and item]
    yield messages("paper.space", space=join(space)) if space else messages("paper.space_none")
    others = {
        pair: [item for name, item in items.items() if item != shared.get(name)]
        for pair, items in own.items()
    }
    for name, items in _of_one(context, others):
        yield messages("paper.space_own", name=name, space=join(items))
    if fixed:
        yield messages("paper.fixed", items=join(fixed))


def _of_one(
    context: StudyContext, others: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[tuple[str, list[str]]]:
    """The differences of a task, then of a cell, then of single (task, cell) pairs."""
    left = {pair: list(items) for pair, items in others.items()}
    for axis, labels in ((0, context.summary.tasks), (1, context.summary.cells)):
        for label in labels if len(labels) > 1 else ():
            pairs = [pair for pair in left if pair[axis] == label]
            common = [item for item in left[pairs[0]] if all(item in left[pair] for pair in pairs)]
            for pair in pairs:
                left[pair] = [item for item in left[pair] if item not in common]
            if common:
                yield label, common
    for (task, cell), items in left.items():
        if items:
            yield context.messages("paper.pair", cell=cell, task=task), items


def _searched(parameters: Mapping[str, Parameter]) -> list[str]:
    return [name for name, each in parameters.items() if len(set(each.values())) > 1]


def _items(context: StudyContext, parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """The text of each hyperparameter of a cell."""
    messages, found = context.messages, {}
    for key, parameter in parameters.items():
        name = messages.of("paper.parameter", key)
        name = messages.of("column", key) if name == key else name
        texts = [_value(context, key, value) for value in parameter.values()]
        match parameter:
            case Range(_, _, log):
                kind = "paper.item_log" if log else "paper.item_range"
                found[key] = messages(kind, name=name, low=texts[0], high=texts[1])
            case Choice(options) if len(options) > 1:
                found[key] = messages(
                    "paper.item_choice", name=name, options=messages.listed(texts)
                )
            case Fixed(0) if key in _OFF_AT_ZERO:
                pass
            case _:
                found[key] = messages("paper.item_fixed", name=name, value=texts[0])
    return found


def _value(context: StudyContext, key: str, value: object) -> str:
    if isinstance(value, bool):
        return context.messages("truth.yes" if value else "truth.no")
    return winners.value_text(context, key if key in COLUMNS else "n_runs", value)


def _confirmation(context: StudyContext) -> Iterator[str]:
    messages, confirm = context.messages, context.summary.records.spec.confirm
    if not confirm.seeds:
        yield messages("paper.unconfirmed")
        return
    ladder = messages("paper.own_length")
    if steps := confirm.lags or confirm.sequence_lengths:
        listed = messages.listed(context.number("lag", step) for step in steps)
        ladder = messages("paper.lags" if confirm.lags else "paper.lengths", lags=listed)
    key = "paper.confirm" if confirm.seeds > 1 else "paper.confirm_one"
    n = context.number("n_runs", confirm.evaluation_sequences)
    yield messages(key, seeds=confirm.seeds, ladder=ladder, n=n)


def _software(context: StudyContext) -> Iterator[str]:
    """Versions and machine from machine.json; nothing if machine.json lacks them."""
    messages, machine = context.messages, context.summary.records.machine
    found = machine.get("versions")
    drawn = context.messages(
        "paper.drawn", version=harness.__version__
    )  # For results without versions.
    versions = {"harness": drawn, **(found if isinstance(found, dict) else {})}
    if "python" in machine:
        versions = {"Python": machine["python"], **versions}
    keys = ("cpu", "cores", "system", "device", "denormals", "evaluation", "memory_bytes")
    if not all(key in machine for key in keys):
        return
    listed = (messages("paper.version", name=k, version=v) for k, v in versions.items())
    described = messages(
        "paper.machine",
        cpu=machine["cpu"],
        cores=machine["cores"],
        memory=size_in_bytes(float(machine["memory_bytes"])),
        system=machine["system"],
        device=machine["device"],
        denormals=machine["denormals"],
        evaluation=machine["evaluation"],
    )
    yield messages("paper.software", versions=messages.listed(listed), machine=described)
    spec = context.summary.records.spec
    cells = {spec.base(cell) for cell in spec.compare.cells}
    recurrence = machine.get("recurrence", "torch")
    if cells & {"rnn", "gru", "lstm"} and recurrence.startswith("native"):
        yield messages("paper.native")
    elif cells & {"rnn", "gru"} and recurrence != "torch":
        yield messages("paper.recurrence")
