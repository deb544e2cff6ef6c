"""trend.json reads back as it was written, or is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.regress.history import SpeedHistory
from harness.regress.trend.trend_file import TrendRecord, read_trend, write_trend
from harness.regress.trend.trend_series import trends_of
from tests.simulated_history import NEWER, entries


@pytest.fixture
def record() -> TrendRecord:
    """Two machines; a benchmark that is new, and one that changed."""
    history = [*entries(16, "a", {("a", 8): 1.5}), *entries(2, "ab", machine=NEWER, first=16)]
    history[3] = type(history[3])(**{**vars(history[3]), "figures_s": {}})
    return TrendRecord("h.jsonl", "command", 0, 7, 1, trends_of(SpeedHistory(tuple(history)), 0))


def plain_lines(record: TrendRecord) -> list[Any]:
    """Every value of every machine."""
    return [
        (
            one.fingerprint,
            line.name,
            line.changes,
            line.values,
        )
        for one in record.machines
        for line in one.benchmarks
    ]


def test_it_reads_back(record: TrendRecord, tmp_path: Path) -> None:
    """All that a report shows."""
    write_trend(tmp_path, record)
    found = read_trend(tmp_path)
    assert plain_lines(found) == plain_lines(record)
    assert sum(len(line.changes) for one in found.machines for line in one.benchmarks) == 1
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
    write_trend(tmp_path, TrendRecord("h", "", 0, 0, 0, trends_of(SpeedHistory((odd,)), 0)))
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
        (lambda plain: plain.pop("seed"), "seed: expected a value, got nothing"),
        (lambda plain: plain.update(machines=[]), "a list of at least 1"),
        (
            lambda plain: plain.update(torn_bytes=-1),
            "torn_bytes: expected greater than or equal to 0",
        ),
        (lambda plain: plain["machines"][0].update(recorded=[]), "2 dates, and 2 values"),
        (lambda plain: plain["machines"][0]["recorded"].append("x"), "2 dates, and 2 values"),
        (
            lambda plain: plain["machines"][0].update(machine={"cpu": []}),
            "machine.cpu: expected a text, a number, true, false or null",
        ),
        (changed("values", [1.0] * 9), "as many as revisions"),
        (changed("values", [1.0] * 15 + [1e60]), "values above 1e-50 and below 1e50"),
        (changed("values", [1.0] * 15 + [0]), "values above 1e-50 and below 1e50"),
        (changed("values", [1.0] * 15 + [True]), "values.15: expected a number, got True"),
        (changed("values", [1.0] * 15 + [10**400]), "expected"),
        (changed("values", [1.0] * 8 + [None] * 8), "a value in each level"),
        (
            changed("changes", [{"position": 16, "ratio": 1.5, "p_value": 0.1}]),
            "positions from 1 to 15",
        ),
        (changed("changes", [{"position": 5, "ratio": 1.5, "p_value": 2}]), "at most 1"),
        (changed("changes", [[]]), "changes.0: expected an object"),
        (changed("name", 3), "name: expected a text, got 3"),
    ],
)
def test_what_is_no_trend_is_one_line(
    record: TrendRecord, tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    """The file is named, and what is wrong."""
    write_trend(tmp_path, record)
    plain = json.loads((tmp_path / "trend.json").read_text())
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
