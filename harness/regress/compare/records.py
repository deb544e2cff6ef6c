"""comparison.json, base.json and head.json, junit.xml.

What a comparison of two sides came to, for people's and others' tools.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from harness.errors import InputError, Shown
from harness.records.atomic_write import write_bytes, write_json
from harness.records.throughput_files import block_statistics
from harness.regress.measuring.comparison_runner import Comparison
from harness.regress.measuring.peak_memory import Footprint
from harness.regress.sides.side import Side
from harness.regress.verdict.verdicts import Finding
from harness.stats import Estimate

SCHEMA = 1
_VERSION = "5.1.0"  # of the pytest-benchmark whose schema this is
FILE = "comparison.json"


def write_comparison(
    directory: Path,
    comparison: Comparison,
    sides: tuple[Side, Side],
    said: Mapping[str, Any],
    exit_code: int,
) -> dict[str, Any]:
    """Write the files of a comparison; returns what comparison.json holds.

    `said`: its command and its notes.
    """
    plain = to_plain(comparison, sides, said, exit_code)
    write_json(directory / FILE, plain)
    for which, side in enumerate(("base", "head")):
        write_json(directory / f"{side}.json", _as_benchmarks(comparison, which))
    write_bytes(directory / "junit.xml", junit(plain))
    return plain


def read_comparison(directory: Path) -> dict[str, Any]:
    """What comparison.json of a folder holds. Raises InputError where it isn't one of ours."""
    path = directory / FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            str(path), expected="a comparison as JSON", got=Shown(str(error))
        ) from error
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        got = plain.get("schema") if isinstance(plain, dict) else plain
        raise InputError(str(path), "schema", expected=str(SCHEMA), got=got)
    return plain


def to_plain(
    comparison: Comparison, sides: tuple[Side, Side], said: Mapping[str, Any], exit_code: int
) -> dict[str, Any]:
    """A comparison as JSON takes it, raw rounds last."""
    outcome = comparison.outcome
    sequences = comparison.sequences
    return {
        "schema": SCHEMA,
        "verdict": comparison.verdict,
        "exit_code": exit_code,
        **{
            name: {
                "kind": side.kind,
                "text": side.text,
                "value": _public(side),
                "label": side.label,
            }
            for name, side in zip(("base", "head"), sides, strict=True)
        },
        "detect": comparison.rules.detect,
        "rules": dataclasses.asdict(comparison.rules),
        "pace": dataclasses.asdict(comparison.pace),
        "pinned": comparison.is_pinned,
        "n_blocks": outcome.n_blocks,
        "wall_time_s": comparison.wall_time_s,
        **said,
        "findings": [_finding(each, comparison) for each in outcome.findings],
        "canary": {
            "ratio": estimate(outcome.canary.ratio),
            "p_value": outcome.canary.p_value,
            "moved": outcome.canary.moved,
        },
        "memory": [_footprint(each) for each in comparison.footprints],
        "only_in_head": list(comparison.only_in_head),
        "differences": [dataclasses.asdict(each) for each in comparison.differences],
        "operators": {
            each.name: [dataclasses.asdict(growth) for growth in each.operators]
            for each in comparison.explained
        },
        "facts": {
            name: {key: value for key, value in facts.items() if key != "packages"}
            for name, facts in zip(("base", "head"), comparison.facts, strict=True)
        },
        "n_steps": dict(comparison.n_steps),
        "sequences_per_step": dict(sequences),
        "blocks": [
            {"rounds": {name: list(each) for name, each in block.rounds.items()}}
            | {"canary": list(block.canary)}
            for block in comparison.blocks
        ],
    }


def estimate(found: Estimate) -> dict[str, Any]:
    """An estimate as JSON takes it."""
    interval = found.interval
    return {
        "value": found.value,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "level": interval and interval.level,
        "n": found.n,
    }


def _public(side: Side) -> str:
    """A side's value without the paths of this machine."""
    return Path(side.value).name if side.kind in ("environment", "plugin") else side.value


def _finding(found: Finding, comparison: Comparison) -> dict[str, Any]:
    times = [_times(comparison, found.name, which) for which in (0, 1)]
    sequences = comparison.sequences.get(found.name, math.nan)
    speeds = [sequences / block_statistics(each, 1)["median"] if each else None for each in times]
    return {
        "name": found.name,
        "verdict": found.verdict,
        "reason": found.reason,
        "ratio": estimate(found.ratio),
        "p_value": found.p_value,
        "fresh": None if found.fresh is None else estimate(found.fresh),
        "improved": found.improved,
        "accepted": found.accepted,
        "base_sequences_per_second": speeds[0],
        "head_sequences_per_second": speeds[1],
    }


def _footprint(found: Footprint) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "growth": found.growth, "verdict": found.verdict}


def _times(comparison: Comparison, name: str, which: int) -> list[float]:
    """Seconds a step of one side, a figure a round, over all blocks in order."""
    return [
        both[which]
        for block in comparison.blocks
        for both in block.rounds.get(name, ())
        if 0 < both[which] < math.inf
    ]


# --- pytest-benchmark -------------------------------------------------------------------------


def _as_benchmarks(comparison: Comparison, which: int) -> dict[str, Any]:
    """One side in pytest-benchmark's schema: a round is a round, its time that of one step."""
    facts = comparison.facts[which]
    entries = []
    for name, n_steps in comparison.n_steps.items():
        times = _times(comparison, name, which)
        if times:
            sequences = comparison.sequences[name]
            statistics = block_statistics(times, 2 * n_steps)
            entries.append(_entry(name, sequences, statistics))
    return {
        "machine_info": {key: value for key, value in facts.items() if key != "packages"},
        "commit_info": {"id": None, "dirty": None, "branch": None},
        "benchmarks": entries,
        "datetime": dt.datetime.now(dt.UTC).isoformat(),
        "version": _VERSION,
    }


def _entry(name: str, sequences: float, statistics: Mapping[str, Any]) -> dict[str, Any]:
    speed = sequences / statistics["median"]
    return {
        "group": None,
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": {"sequences_per_step": sequences, "sequences_per_second": speed},
        "options": {"timer": "perf_counter", "warmup": True, "min_rounds": statistics["rounds"]},
        "stats": dict(statistics),
    }


# --- JUnit ------------------------------------------------------------------------------------


def junit(plain: Mapping[str, Any]) -> bytes:
    """A comparison as JUnit XML: a regression or an absence that nobody accepted is a failure, what is undecided is skipped.

    Where the run failed because it is undecided (exit code 3), what is undecided is a failure too.
    """
    cases = [_time_case(each, plain["exit_code"]) for each in plain["findings"]]
    cases += [_memory_case(each) for each in plain["memory"] if each["growth"] is not None]
    suite = ET.Element("testsuite", name="harness.regress")
    for case in cases:
        suite.append(case)
    suite.set("tests", str(len(cases)))
    for kind, attribute in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors")):
        suite.set(attribute, str(sum(case.find(kind) is not None for case in cases)))
    suite.set("time", f"{plain['wall_time_s']:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _time_case(found: Mapping[str, Any], exit_code: int) -> ET.Element:
    case = ET.Element("testcase", classname="harness.regress.time", name=_printable(found["name"]))
    verdict = found["verdict"]
    fails = verdict in ("regression", "missing") and found["accepted"] is None
    undecided = verdict in ("inconclusive", "contaminated")
    if fails or (undecided and exit_code == 3):  # 3: DESIGN section 8
        case.append(ET.Element("failure", type=verdict, message=_said(found)))
    elif undecided:
        case.append(ET.Element("skipped", message=_said(found)))
    elif found["accepted"] is not None:
        ET.SubElement(case, "system-out").text = _printable(f"accepted: {found['accepted']}")
    return case


def _memory_case(found: Mapping[str, Any]) -> ET.Element:
    case = ET.Element(
        "testcase", classname="harness.regress.memory", name=_printable(found["name"])
    )
    said = f"peak memory {100 * found['growth']:+.1f} %"
    if found["verdict"] == "regression" and found["accepted"] is None:
        case.append(ET.Element("failure", type="regression", message=said))
    else:
        ET.SubElement(case, "system-out").text = said
    return case


def _said(found: Mapping[str, Any]) -> str:
    ratio = found["ratio"]
    said = f"{found['verdict'].upper()} ({found['reason'].replace('_', ' ')})"
    if ratio["value"] is not None:
        said += f": {100 * (ratio['value'] - 1):+.1f} % time a step"
    if ratio["low"] is not None:
        ends = " to ".join(f"{100 * (ratio[end] - 1):+.1f}" for end in ("low", "high"))
        said += f" ({100 * ratio['level']:.0f} % interval {ends} %, {ratio['n']} blocks)"
    return said


def _printable(text: Sequence[str] | str) -> str:
    """A text without the letters that XML has not."""
    return "".join(letter for letter in text if letter in "\t\n" or ord(letter) >= 32)
