"""harness.config: whatever stands in a file, the answer is a study or one line."""

import copy
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import config as specs
from harness.cells import CELLS
from harness.errors import InputError
from harness.hyperparameters import KINDS
from harness.tasks import TASKS
from tests.config.least import LEAST, check, parse

keys = st.sampled_from(
    [
        *("study", "compare", "space", "training", "search", "confirm", "throughput", "claims"),
        *("published", "metric", "value", "source", "bound", "extrapolation", "adding"),
        *("name", "seed", "question", "tasks", "cells", "variants", "trials", "sampler", "lags"),
        *("sequence_lengths", "seeds", "cell", "text", "lag", "low", "high", "log", "lstm"),
        *KINDS,
    ]
) | st.text(max_size=5)


scalars = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.text(max_size=9)
    | st.sampled_from(["lstm", "adding", "adam", "pytorch", "tpe", 10**400, -(10**4_000)])
)


tables = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)


def merge(below: Any, above: Any) -> Any:
    """A dictionary laid over another, table by table."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merge(below.get(key), value) for key, value in above.items()}
    return above


@settings(max_examples=300)
@given(
    st.dictionaries(keys, tables, max_size=4),
    st.booleans(),
)
def test_anything_is_a_study_or_refused(plain: dict[str, Any], onto_a_study: bool) -> None:
    """Whatever values TOML can hold, alone or laid over a study.

    A valid study, or an InputError.
    """
    if onto_a_study:
        plain = merge(copy.deepcopy(LEAST), plain)
    try:
        spec = check(specs.parse_study(plain, "f.toml"))
        specs.study_notes(spec, TASKS, CELLS)
        specs.count_trials(spec, TASKS)
    except InputError:
        return
    assert specs.parse_study(tomllib.loads(spec.dump()), "again") == spec


places = st.sampled_from(
    [
        (table, key)
        for table, model in (
            ("study", specs.StudyTable),
            ("compare", specs.CompareTable),
            ("training", specs.TrainingTable),
            ("search", specs.SearchTable),
            ("confirm", specs.ConfirmTable),
            ("throughput", specs.ThroughputTable),
        )
        for key in model.model_fields
    ]
    + [("space", key) for key in KINDS]
)


@settings(max_examples=300)
@given(places, tables)
def test_any_value_of_a_known_key_is_read_or_refused(place: tuple[str, str], value: Any) -> None:
    """Each key of a study file takes what it can use, and refuses the rest by name."""
    table, key = place
    try:
        spec = check(parse(**{table: {key: value}}))
    except InputError:
        return
    assert specs.parse_study(tomllib.loads(spec.dump()), "again") == spec
