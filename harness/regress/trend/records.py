"""trend.json: the series of a history with their change points, written and read.

All that its report shows is in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, Shown, visible
from harness.records.atomic_write import write_json
from harness.regress.trend.change_points import ChangePoint
from harness.regress.trend.history import Scalar
from harness.regress.trend.trend_series import Line, MachineTrend, is_known

SCHEMA = 1
FILE = "trend.json"


@dataclass(frozen=True)
class TrendRecord:
    """What trend.json holds: the machines, the newest first.

    Where from, and the seed of the permutations.

    `torn_bytes`: of a torn last line that was left out. `n_left_out`: recordings of machines that
    were not asked for.
    """

    history: str
    command: str
    seed: int
    torn_bytes: int
    n_left_out: int
    machines: tuple[MachineTrend, ...]


def write_trend(directory: Path, record: TrendRecord) -> dict[str, Any]:
    """Write trend.json; returns what it holds."""
    plain = {
        "schema": SCHEMA,
        "history": visible(record.history),
        "command": visible(record.command),
        "seed": record.seed,
        "torn_bytes": record.torn_bytes,
        "n_left_out": record.n_left_out,
        "machines": [_machine(machine) for machine in record.machines],
    }
    write_json(directory / FILE, plain)
    return plain


def read_trend(directory: Path) -> TrendRecord:
    """What trend.json of a folder holds. Raises InputError where it isn't one of ours."""
    path = directory / FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), expected="a trend as JSON", got=Shown(str(error))) from error
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        got = plain.get("schema") if isinstance(plain, dict) else plain
        raise InputError(str(path), "schema", expected=str(SCHEMA), got=got)
    try:
        return TrendRecord(
            history=_text(plain["history"]),
            command=_text(plain["command"]),
            seed=_count(plain["seed"]),
            torn_bytes=_count(plain["torn_bytes"]),
            n_left_out=_count(plain["n_left_out"]),
            machines=tuple(_read_machine(each) for each in _list(plain["machines"], 1)),
        )
    except KeyError as error:
        got = Shown(f"none named {error}")
        raise InputError(str(path), expected="a trend with all its keys", got=got) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(str(path), expected="a trend", got=Shown(str(error))) from error


def _machine(found: MachineTrend) -> dict[str, Any]:
    """One machine as JSON takes it.

    Letters that no terminal and no page shall obey are escaped here, once.
    """
    return {
        "fingerprint": found.fingerprint,
        "machine": {
            visible(name): visible(value) if isinstance(value, str) else value
            for name, value in found.machine.items()
        },
        "revisions": [visible(each) for each in found.revisions],
        "recorded": [visible(each) for each in found.recorded],
        "benchmarks": [
            {
                "name": visible(line.name),
                "values": [value if is_known(value) else None for value in line.values],
                "changes": [
                    {"position": each.position, "ratio": each.ratio, "p_value": each.p_value}
                    for each in line.changes
                ],
            }
            for line in found.lines
        ],
    }


def _read_machine(plain: Any) -> MachineTrend:
    known = _object(plain)
    revisions = tuple(_text(each) for each in _list(known["revisions"], 1))
    recorded = tuple(_text(each) for each in _list(known["recorded"], 1))
    if len(recorded) != len(revisions):
        raise ValueError(f"{len(revisions)} dates expected, as many as revisions")
    return MachineTrend(
        fingerprint=_text(known["fingerprint"]),
        machine={_text(name): _scalar(value) for name, value in _object(known["machine"]).items()},
        revisions=revisions,
        recorded=recorded,
        lines=tuple(_line(each, len(revisions)) for each in _list(known["benchmarks"])),
    )


def _line(plain: Any, n: int) -> Line:
    known = _object(plain)
    values = tuple(math.nan if each is None else _figure(each) for each in _list(known["values"]))
    if len(values) != n:
        raise ValueError(f"values: {n} expected, as many as revisions, got {len(values)}")
    changes = tuple(_change(_object(each)) for each in _list(known["changes"]))
    positions = [change.position for change in changes]
    if positions != sorted(set(positions)) or not all(0 < each < n for each in positions):
        raise ValueError(f"changes: ascending positions from 1 to {n - 1} expected")
    line = Line(_text(known["name"]), values, changes)
    if len(line.levels) != len(changes) + 1 and (changes or line.n_known):
        raise ValueError("changes: each level with a value expected")
    return line


def _change(plain: Mapping[str, Any]) -> ChangePoint:
    position, p_value = _count(plain["position"]), _above_0(plain["p_value"])
    if p_value > 1:
        raise ValueError(f"p_value: at most 1 expected, got {p_value}")
    return ChangePoint(position, _above_0(plain["ratio"]), p_value)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object expected, not {value!r:.60}")
    return value


def _list(value: Any, least: int = 0) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) < least:
        raise TypeError(f"a list of at least {least} expected, not {value!r:.60}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text expected, not {value!r:.60}")
    return visible(value)


def _scalar(value: Any) -> Scalar:
    if not isinstance(value, str | int | float | bool | None):
        raise TypeError(f"a plain value expected, not {value!r:.60}")
    return visible(value) if isinstance(value, str) else value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise TypeError(f"a whole number from 0 on expected, not {value!r:.60}")
    return value


def _figure(value: Any) -> float:
    known = _above_0(value)
    if not is_known(known):
        raise ValueError(f"a figure expected, got {value!r:.60}")
    return known


def _above_0(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"a number expected, not {value!r:.60}")
    if not 0 < value < 1e101:  # the quotient of two figures at most
        raise ValueError(f"a number above 0 expected, got {value!r:.60}")
    return float(value)
