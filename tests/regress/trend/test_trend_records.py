"""trend.json reads back as it was written, or is one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.regress.trend.history import History
from harness.regress.trend.records import TrendRecord, read_trend, write_trend
from harness.regress.trend.trend_series import trends_of
from tests.simulated_history import NEWER, entries


@pytest.fixture
def record() -> TrendRecord:
    """Two machines; a benchmark that is new, and one that changed."""
    history = [*entries(16, "a", {("a", 8): 1.5}), *entries(2, "ab", machine=NEWER, first=16)]
    history[3] = type(history[3])(**{**vars(history[3]), "figures_s": {}})
    return TrendRecord("h.jsonl", "command", 0, 7, 1, trends_of(History(tuple(history)), 0))


def plain_lines(record: TrendRecord) -> list[Any]:
    """Every value, NaN as None, so that they can be compared."""
    return [
        (
            one.fingerprint,
            line.name,
            line.changes,
            [None if math.isnan(v) else v for v in line.values],
        )
        for one in record.machines
        for line in one.lines
    ]


def test_it_reads_back(record: TrendRecord, tmp_path: Path) -> None:
    """All that a report shows."""
    write_trend(tmp_path, record)
    found = read_trend(tmp_path)
    assert plain_lines(found) == plain_lines(record)
    assert sum(len(line.changes) for one in found.machines for line in one.lines) == 1
    for one, other in zip(found.machines, record.machines, strict=True):
        assert (one.machine, one.revisions, one.recorded) == (
            other.machine,
            other.revisions,
            other.recorded,
        )
    assert (found.seed, found.torn_bytes, found.n_left_out) == (0, 7, 1)


def test_letters_that_are_obeyed_are_escaped(tmp_path: Path) -> None:
    """A revision may hold anything; neither a terminal nor a page obeys it."""
    (entry,) = entries(1, "a")
    odd = type(entry)(**{**vars(entry), "revision": "\x1b[31m\ud800"})
    write_trend(tmp_path, TrendRecord("h", "", 0, 0, 0, trends_of(History((odd,)), 0)))
    assert read_trend(tmp_path).machines[0].revisions == ("\\x1b[31m\\ud800",)


def changed(key: str, value: object) -> Callable[[Any], None]:
    """Sets a key of the first machine's first benchmark that has a change."""

    def change(plain: Any) -> None:
        plain["machines"][1]["benchmarks"][0][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plain: plain.update(schema=2), "schema: expected 1, got 2"),
        (lambda plain: plain.pop("seed"), "none named 'seed'"),
        (lambda plain: plain.update(machines=[]), "a list of at least 1"),
        (lambda plain: plain.update(torn_bytes=-1), "a whole number from 0 on"),
        (lambda plain: plain["machines"][0].update(recorded=[]), "a list of at least 1"),
        (lambda plain: plain["machines"][0]["recorded"].append("x"), "dates expected"),
        (lambda plain: plain["machines"][0].update(machine={"cpu": []}), "a plain value"),
        (changed("values", [1.0]), "as many as revisions"),
        (changed("values", [1.0] * 15 + [1e60]), "a figure expected"),
        (changed("values", [1.0] * 15 + [0]), "a number above 0"),
        (changed("values", [1.0] * 15 + [True]), "a number expected"),
        (changed("values", [1.0] * 15 + [10**400]), "a number above 0"),
        (changed("values", [1.0] * 8 + [None] * 8), "each level with a value"),
        (changed("changes", [{"position": 16, "ratio": 1.5, "p_value": 0.1}]), "positions"),
        (changed("changes", [{"position": 5, "ratio": 1.5, "p_value": 2}]), "at most 1"),
        (changed("changes", [[]]), "an object expected"),
        (changed("name", 3), "a text expected"),
    ],
)
def test_what_is_no_trend_is_one_line(
    record: TrendRecord, tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    """The file is named, and what is wrong."""
    plain = write_trend(tmp_path, record)
    plain = json.loads(json.dumps(plain, allow_nan=True).replace("NaN", "null"))
    change(plain)
    (tmp_path / "trend.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"trend\.json") as caught:
        read_trend(tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '"text"', "[" * 100_000])
def test_what_is_no_json_object_is_one_line(tmp_path: Path, content: str) -> None:
    """The file is named."""
    (tmp_path / "trend.json").write_text(content)
    with pytest.raises(InputError, match=r"trend\.json"):
        read_trend(tmp_path)
