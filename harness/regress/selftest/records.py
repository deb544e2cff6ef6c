"""runs.jsonl and selftest.json: what a selftest's runs came to, kept run by run.

Decides nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, Shown, unwritable
from harness.records.atomic_write import write_json
from harness.records.jsonl import append_line
from harness.regress.compare.records import estimate
from harness.regress.measuring.blocks import Block
from harness.regress.verdict.verdicts import Outcome

SCHEMA = 1
FILE = "selftest.json"
RUNS = "runs.jsonl"


@dataclass(frozen=True)
class Run:
    """One comparison of a selftest.

    Its place in the plan, what was slowed (None: nothing) by how much, and its blocks.

    `verdict` and `verdicts` (by benchmark) are what came out. `load`: processes that wanted to run
    when it began, on average over a minute, None where the system does not say.
    """

    number: int
    effect: float
    slowed: str | None
    detect: float
    verdict: str
    verdicts: Mapping[str, str]
    blocks: tuple[Block, ...]
    wall_time_s: float
    load: float | None


def run_of(
    number: int, injected: tuple[float, str | None], detect: float, outcome: Outcome
) -> dict[str, Any]:
    """A run's outcome as a line holds it, but for its blocks and times."""
    return {
        "schema": SCHEMA,
        "run": number,
        "effect": injected[0],
        "slowed": injected[1],
        "detect": detect,
        "verdict": outcome.verdict,
        "n_blocks": outcome.n_blocks,
        "findings": [
            {"name": each.name, "verdict": each.verdict, "reason": each.reason}
            | {"ratio": estimate(each.ratio)}
            for each in outcome.findings
        ],
        "canary": estimate(outcome.canary.ratio),
    }


def append_run(path: Path, line: Mapping[str, Any], blocks: tuple[Block, ...]) -> None:
    """Append a run and sync it. Raises FileError or InputError where the file can't be written."""
    plain = [
        {"values": {name: _known(x) for name, x in each.values.items()}}
        | {"canary": _known(each.canary)}
        for each in blocks
    ]
    text = json.dumps({**line, "blocks": plain}, ensure_ascii=False, allow_nan=False)
    try:
        append_line(path, text.encode() + b"\n", _torn_bytes(path))
    except OSError as error:
        raise unwritable(path, error) from error


def _torn_bytes(path: Path) -> int:
    """Bytes after the last line break of a file, which a crash left there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    return len(content) - (content.rfind(b"\n") + 1)


def read_runs(directory: Path) -> tuple[Run, ...]:
    """The runs of a folder, in the order in which they were made.

    Raises InputError that names the line that is none.

    A last line without a line break was torn by a crash, and is left out.
    """
    path = directory / RUNS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(
            str(path), expected="a file that can be read", got=Shown(str(error.strerror))
        ) from None
    *lines, _ = content.split(b"\n")
    return tuple(_run(path, number, line) for number, line in enumerate(lines, 1) if line)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_known(value: object) -> bool:
    return value is None or _is_number(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _are_known(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_known, value.values()))


def _is_plain(value: object) -> bool:
    kinds = str | int | float | bool | None
    return isinstance(value, dict) and all(isinstance(each, kinds) for each in value.values())


_RATE = {"k": _is_count, "n": _is_count, "low": _is_known, "high": _is_known}
_RATES = {
    "detect": _is_number,
    "effect": _is_number,
    "mean_blocks": _is_known,
    "false_regression": _RATE,
    "found": _RATE,
    "all_ok": _RATE,
}
_ESTIMATE = {"value": _is_number, "low": _is_known, "high": _is_known}
ASKED: Mapping[str, Any] = {"names": _are_texts, "detect": _is_number, "machine": _is_plain}
"""What selftest.json must have from its beginning.

A dictionary asks for keys, a list for elements, at least so many.
"""
DONE: Mapping[str, Any] = {
    **ASKED,
    "rates": [{"runs": _RATES, "replay": (_RATES,), "measured": (_ESTIMATE,)}, 1],
    "advice": {"detect": _is_known, "tried": [[_RATES, 2], 0]},
    "deviation": _are_known,
    "canary_deviation": _is_known,
    "n_blocks": _is_count,
    "wall_time_s": _is_number,
    "command": _is_text,
}


def _misfit(value: Any, shape: Any, where: str = "") -> str:
    """The key whose value is of another kind than asked for, "" for none. (shape,): it, or null."""
    if isinstance(shape, tuple):
        return "" if value is None else _misfit(value, shape[0], where)
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return where or "selftest"
        inner = (
            (value.get(key, ...), each, f"{where}.{key}".strip(".")) for key, each in shape.items()
        )
        return next((found for each in inner if (found := _misfit(*each))), "")
    if isinstance(shape, list):
        if not isinstance(value, list) or len(value) < shape[1]:
            return where
        return next((found for each in value if (found := _misfit(each, shape[0], where))), "")
    return "" if shape(value) else where


def write_selftest(directory: Path, plain: Mapping[str, Any]) -> None:
    """Write selftest.json."""
    write_json(directory / FILE, {"schema": SCHEMA, **plain})


def read_selftest(directory: Path, *, done: bool = False) -> dict[str, Any]:
    """What selftest.json of a folder holds.

    Raises InputError where it isn't one of ours, and if `done`, where runs are missing.
    """
    path = directory / FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), expected="a selftest as JSON", got=Shown(str(error))) from error
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        got = plain.get("schema") if isinstance(plain, dict) else plain
        raise InputError(str(path), "schema", expected=str(SCHEMA), got=got)
    if done and "rates" not in plain:
        remedy = "run the same command again: it goes on where it was"
        got = Shown("one whose runs are not all there")
        raise InputError(str(path), expected="a selftest that is done", got=got, remedy=remedy)
    if key := _misfit(plain, DONE if done else ASKED):
        raise InputError(str(path), key, expected="that of a selftest", got=Shown("another kind"))
    return plain


def _rate_as_plain(found: Any) -> dict[str, Any]:
    """A rate as JSON takes it (harness.regress.verdict.resampling.Rate)."""
    interval = found.interval
    return {
        "k": found.k,
        "n": found.n,
        "low": interval and interval.low,
        "high": interval and interval.high,
    }


def rates_as_plain(found: Any) -> dict[str, Any]:
    """Rates as JSON takes them (harness.regress.verdict.resampling.Rates)."""
    return {
        "detect": found.detect,
        "effect": found.effect,
        "false_regression": _rate_as_plain(found.false_regression),
        "found": _rate_as_plain(found.found),
        "found_by_name": {name: _rate_as_plain(each) for name, each in found.found_by_name},
        "verdicts": {verdict: _rate_as_plain(each) for verdict, each in found.verdicts},
        "all_ok": _rate_as_plain(found.all_ok),
        "mean_blocks": _known(found.mean_blocks),
    }


def _run(path: Path, number: int, line: bytes) -> Run:
    expected = f"a run of a selftest, schema {SCHEMA}"
    try:
        plain = json.loads(line)
        blocks = tuple(
            Block({name: _value(x) for name, x in each["values"].items()}, _value(each["canary"]))
            for each in plain["blocks"]
        )
        verdicts = {str(each["name"]): str(each["verdict"]) for each in plain["findings"]}
        load = plain.get("load")
        run = Run(
            number=int(plain["run"]),
            effect=float(plain["effect"]),
            slowed=None if plain["slowed"] is None else str(plain["slowed"]),
            detect=float(plain["detect"]),
            verdict=str(plain["verdict"]),
            verdicts=verdicts,
            blocks=blocks,
            wall_time_s=float(plain["wall_time_s"]),
            load=None if load is None else float(load),
        )
        schema = plain["schema"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = Shown(f"{type(error).__name__}: {error}")
        raise InputError(str(path), f"line {number}", expected=expected, got=got) from None
    if schema != SCHEMA:
        raise InputError(str(path), f"line {number}", expected=expected, got=schema)
    return run


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(plain: float | None) -> float:
    return math.nan if plain is None else float(plain)
