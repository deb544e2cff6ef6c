"""The best trial of each search: one row for each search."""

from __future__ import annotations

import math
from typing import Any, Literal

import pandas as pd

from harness.hyperparameters import Fixed
from harness.rendering.document import Column, Paragraph, Section, Table
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import rows_of

# A table with more rows is folded.
_FOLD_ABOVE = 20


def section(context: StudyContext) -> Section:
    """The best trial of each search: its searched hyperparameters and its results."""
    messages, summary = context.messages, context.summary
    title = messages("winners.title")
    best = summary.best
    if len(best) == 0:
        return context.not_measured("winners", title, messages("winners.absent"))
    spec = summary.records.spec
    keys = [key for key in spec.searched_keys() if key in best.columns and _varies(context, key)]
    objective = summary.objective.name
    shown = [name for name in ("num_parameters", "lag", objective) if name not in keys]
    rows = [
        (
            *context.task_cells(task, cell),
            str(row["repeat"]),
            *(value_text(context, key, row[key]) for key in (*keys, *shown)),
        )
        for task, cell in summary.pairs
        for row in rows_of(best, task, cell).to_dict("records")
    ]
    columns = (
        *context.task_columns(),
        context.column("repeat"),
        *(Column(messages.of("column", key), _kind(best[key])) for key in (*keys, *shown)),
    )
    key = "winners.note" if summary.confirmed else "winners.note_unconfirmed"
    note = messages(key, objective=messages.of("column", objective))
    return Section(
        "winners",
        title,
        (
            Paragraph(messages("winners.intro")),
            Table(columns, tuple(rows), note, folded=len(rows) > _FOLD_ABOVE),
        ),
    )


def _varies(context: StudyContext, key: str) -> bool:
    """Whether a hyperparameter is searched for any cell, or derived for each."""
    spec = context.summary.records.spec
    parameters = [spec.parameters(*pair).get(key) for pair in spec.pairs]
    return any(not isinstance(each, Fixed) for each in parameters)


def _kind(column: pd.Series[Any]) -> Literal["text", "number"]:
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def value_text(context: StudyContext, name: str, shown: object) -> str:
    """The text of a hyperparameter or a result, as its metric writes it if it has one."""
    if isinstance(shown, str):
        return shown or context.messages("none")
    if not isinstance(shown, int | float) or math.isnan(shown):
        return context.messages("none")
    try:
        return context.number(name, float(shown))
    except KeyError:
        return f"{shown:g}"
