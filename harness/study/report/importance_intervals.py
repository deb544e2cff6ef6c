"""Importance of each hyperparameter, with its interval over searches.

This module has no texts and draws nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from harness import stats
from harness.columns import TrialStatus
from harness.hyperparameters import Choice, Fixed, Parameter, Range, Value
from harness.stats import MINIMUM_REPEATS
from harness.study.report.study_summary import Summary, rows_of
from harness.study.search.importances import Importances, importances


@dataclasses.dataclass(frozen=True)
class CellImportances:
    """Importances of the hyperparameters of one (task, cell).

    `intervals` has the interval of each share over the searches. It is empty with too few searches.
    """

    task: str
    cell: str
    importances: Importances
    intervals: Mapping[str, stats.Interval]
    n_searches: int


def searched_parameters(summary: Summary, task: str, cell: str) -> dict[str, Range | Choice]:
    """The hyperparameters that were searched for a (task, cell) and are columns of the trials."""
    parameters = summary.records.spec.parameters(task, cell)
    columns = summary.records.trials.columns
    return {
        name: each
        for name, each in parameters.items()
        if not isinstance(each, Fixed) and name in columns and len(set(each.values())) > 1
    }


def cell_importances(summary: Summary, task: str, cell: str) -> CellImportances | None:
    """The importances of a cell's trials over all repeats; None if there are no trials."""
    trials = summary.records.trials.assign(objective=summary.objectives)
    rows = rows_of(trials, task, cell)
    rows = rows[~rows["end"].isin((TrialStatus.PRUNED, TrialStatus.INTERRUPTED))]
    if len(rows) == 0:
        return None
    parameters = searched_parameters(summary, task, cell)
    maximize = summary.objective.direction == "maximize"
    trials_of_cell = [
        (
            {
                name: value
                for name, each in parameters.items()
                if (value := option_of(each, row[name])) is not None
            },
            row["objective"],
        )
        for row in rows.to_dict("records")
    ]
    repeats = rows["repeat"].tolist()
    enough = len(set(repeats)) >= MINIMUM_REPEATS
    found = importances(
        trials_of_cell, parameters, maximize=maximize, groups=repeats if enough else ()
    )
    return CellImportances(task, cell, found, _intervals(found), len(set(repeats)))


def _intervals(found: Importances) -> dict[str, stats.Interval]:
    """The jackknife interval of each share over searches, cut to [0, 1]."""
    intervals = {}
    for name, share in found.shares.items():
        left_out = [shares.get(name, 0.0) for shares in found.without]
        interval = stats.jackknife_interval(share, left_out)
        if interval is not None:
            low, high = max(interval.low, 0.0), min(interval.high, 1.0)
            intervals[name] = stats.Interval(low, high, interval.level)
    return intervals


def option_of(parameter: Parameter, stored: object) -> Value | None:
    """The value of the study file that a value of the table stands for; None for a missing one."""
    if isinstance(parameter, Choice):
        for option in parameter.options:
            same = str(option).lower() == str(stored).lower()
            if same or (isinstance(option, int | float) and option == stored):
                return option
        return None
    if isinstance(stored, float):
        whole = isinstance(parameter, Range) and all(isinstance(v, int) for v in parameter.values())
        return None if math.isnan(stored) else int(stored) if whole else stored
    return stored if isinstance(stored, int | str) else None
