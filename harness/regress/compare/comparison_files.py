"""The files of a comparison: comparison.json, base.json, head.json and junit.xml.

comparison.json holds everything. base.json and head.json have pytest-benchmark's schema.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from harness.records.atomic_write import write_bytes, write_json
from harness.records.throughput_files import block_statistics
from harness.regress.json_files import (
    Count,
    EstimateRecord,
    Scalar,
    estimate_record,
    read_record,
    write_record,
)
from harness.regress.measuring.comparison_runner import ComparisonResult, SamplingPlan
from harness.regress.measuring.peak_memory import Footprint, MemoryVerdict
from harness.regress.measuring.slowdown_causes import Difference, OperatorGrowth
from harness.regress.sides.side import Side, SideKind
from harness.regress.verdict.decision_rules import InterimTest, Rules
from harness.regress.verdict.verdicts import UNDECIDED_CODE, BenchmarkVerdict, Finding, Reason

COMPARISON_SCHEMA: Final = 1
COMPARISON_FILE: Final = "comparison.json"
_PYTEST_BENCHMARK: Final = "5.1.0"
"""The version of pytest-benchmark whose schema base.json and head.json have."""


@dataclass(frozen=True)
class SideRecord:
    """A side: `text` as the user gave it, `value` without the folders of this machine."""

    kind: SideKind
    text: str
    value: str
    label: str


@dataclass(frozen=True)
class RulesRecord:
    """The rules that decided; `looks` are the interim tests."""

    detect: float
    looks: tuple[InterimTest, ...]
    n_agree: int


@dataclass(frozen=True)
class FindingRecord:
    """What came out for one benchmark, with the median speed of each side over all rounds."""

    name: str
    verdict: BenchmarkVerdict
    reason: Reason
    ratio: EstimateRecord
    p_value: float | None
    fresh: EstimateRecord | None
    improved: bool
    accepted: str | None
    base_sequences_per_second: float | None
    head_sequences_per_second: float | None

    @property
    def is_failure(self) -> bool:
        """Whether the benchmark regressed or is missing, and nobody accepted that."""
        return self.verdict in ("regression", "missing") and self.accepted is None


@dataclass(frozen=True)
class CanaryRecord:
    """What came out for the canary."""

    ratio: EstimateRecord
    p_value: float
    moved: bool


@dataclass(frozen=True)
class MemoryRecord:
    """Peak memory of one benchmark on both sides; None: not measured."""

    name: str
    kind: str
    base_bytes: int | None
    head_bytes: int | None
    accepted: str | None
    growth: float | None
    verdict: MemoryVerdict

    @property
    def is_failure(self) -> bool:
        """Whether memory grew by what counts, and nobody accepted that."""
        return self.verdict == "regression" and self.accepted is None


@dataclass(frozen=True)
class FactsRecord:
    """The facts of both environments, without their packages."""

    base: Mapping[str, Scalar | Mapping[str, str]]
    head: Mapping[str, Scalar | Mapping[str, str]]


@dataclass(frozen=True)
class RoundsRecord:
    """Seconds a step of each round of a block, (base, head); null: not measured."""

    rounds: Mapping[str, tuple[tuple[float | None, ...], ...]]
    canary: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """What comparison.json holds, in its order; `n_steps` are those of a slice, by benchmark."""

    verdict: BenchmarkVerdict
    exit_code: int
    base: SideRecord
    head: SideRecord
    detect: float
    rules: RulesRecord
    pace: SamplingPlan
    pinned: bool = False
    n_blocks: Count
    wall_time_s: float
    command: str = ""
    notes: tuple[str, ...] = ()
    findings: tuple[FindingRecord, ...]
    canary: CanaryRecord
    memory: tuple[MemoryRecord, ...]
    only_in_head: tuple[str, ...]
    differences: tuple[Difference, ...]
    operators: Mapping[str, tuple[OperatorGrowth, ...]]
    facts: FactsRecord
    n_steps: Mapping[str, int]
    sequences_per_step: Mapping[str, float]
    blocks: tuple[RoundsRecord, ...]


def write_comparison(directory: Path, record: ComparisonRecord, result: ComparisonResult) -> None:
    """Write the files of a comparison."""
    write_record(directory / COMPARISON_FILE, record, COMPARISON_SCHEMA)
    for which, side in enumerate(("base", "head")):
        write_json(directory / f"{side}.json", _as_pytest_benchmark(result, which))
    write_bytes(directory / "junit.xml", junit(record))


def read_comparison(directory: Path) -> ComparisonRecord:
    """What comparison.json of a folder holds. Raises InputError that names the file and the key."""
    path = directory / COMPARISON_FILE
    return read_record(path, ComparisonRecord, COMPARISON_SCHEMA, "a comparison")


def comparison_record(
    result: ComparisonResult,
    sides: tuple[Side, Side],
    exit_code: int,
    *,
    command: str = "",
    notes: tuple[str, ...] = (),
) -> ComparisonRecord:
    """What comparison.json holds of a result."""
    outcome = result.outcome
    base, head = map(_side, sides)
    canary = outcome.canary
    return ComparisonRecord(
        verdict=result.verdict,
        exit_code=exit_code,
        base=base,
        head=head,
        detect=result.rules.detect,
        rules=_rules(result.rules),
        pace=result.sampling,
        pinned=result.is_pinned,
        n_blocks=outcome.n_blocks,
        wall_time_s=result.wall_time_s,
        command=command,
        notes=notes,
        findings=tuple(_finding(each, result) for each in outcome.findings),
        canary=CanaryRecord(estimate_record(canary.ratio), canary.p_value, canary.moved),
        memory=tuple(map(_memory, result.footprints)),
        only_in_head=result.only_in_head,
        differences=result.differences,
        operators={each.name: each.operators for each in result.explained},
        facts=FactsRecord(*(each.without_packages() for each in result.facts)),
        n_steps=dict(result.n_steps),
        sequences_per_step=dict(result.sequences),
        blocks=tuple(RoundsRecord(each.rounds, each.canary) for each in result.blocks),
    )


def _side(side: Side) -> SideRecord:
    is_path = side.kind in ("environment", "plugin")
    value = Path(side.value).name if is_path else side.value
    return SideRecord(side.kind, side.text, value, side.label)


def _rules(rules: Rules) -> RulesRecord:
    return RulesRecord(rules.detect, rules.interim_tests, rules.n_agree)


def _finding(found: Finding, result: ComparisonResult) -> FindingRecord:
    times = [_times(result, found.name, which) for which in (0, 1)]
    sequences = result.sequences.get(found.name, math.nan)
    speeds = [sequences / block_statistics(each, 1)["median"] if each else None for each in times]
    return FindingRecord(
        name=found.name,
        verdict=found.verdict,
        reason=found.reason,
        ratio=estimate_record(found.ratio),
        p_value=found.p_value,
        fresh=None if found.fresh is None else estimate_record(found.fresh),
        improved=found.improved,
        accepted=found.accepted,
        base_sequences_per_second=speeds[0],
        head_sequences_per_second=speeds[1],
    )


def _memory(found: Footprint) -> MemoryRecord:
    return MemoryRecord(**dataclasses.asdict(found), growth=found.growth, verdict=found.verdict)


def _times(result: ComparisonResult, name: str, which: int) -> list[float]:
    """Seconds a step of one side, a figure a round, over all blocks in order."""
    return [
        both[which]
        for block in result.blocks
        for both in block.rounds.get(name, ())
        if 0 < both[which] < math.inf
    ]


# --- pytest-benchmark -------------------------------------------------------------------------


def _as_pytest_benchmark(result: ComparisonResult, which: int) -> dict[str, Any]:
    """One side in pytest-benchmark's schema: a round is a round, its time that of one step."""
    entries = []
    for name, n_steps in result.n_steps.items():
        if times := _times(result, name, which):
            statistics = block_statistics(times, 2 * n_steps)
            entries.append(_entry(name, result.sequences[name], statistics))
    return {
        "machine_info": result.facts[which].without_packages(),
        "commit_info": {"id": None, "dirty": None, "branch": None},
        "benchmarks": entries,
        "datetime": dt.datetime.now(dt.UTC).isoformat(),
        "version": _PYTEST_BENCHMARK,
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


def junit(record: ComparisonRecord) -> bytes:
    """A comparison as JUnit XML.

    A regression or a missing benchmark that nobody accepted is a failure. What is undecided is
    skipped, but where it failed the run (exit code 3) it is a failure too.
    """
    cases = [_time_case(each, record.exit_code) for each in record.findings]
    cases += [_memory_case(each, each.growth) for each in record.memory if each.growth is not None]
    suite = ET.Element("testsuite", name="harness.regress")
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    for kind, attribute in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors")):
        suite.set(attribute, str(sum(case.find(kind) is not None for case in cases)))
    suite.set("time", f"{record.wall_time_s:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _time_case(found: FindingRecord, exit_code: int) -> ET.Element:
    case = ET.Element("testcase", classname="harness.regress.time", name=_printable(found.name))
    is_undecided = found.verdict in ("inconclusive", "contaminated")
    if found.is_failure or (is_undecided and exit_code == UNDECIDED_CODE):
        case.append(ET.Element("failure", type=found.verdict, message=_message(found)))
    elif is_undecided:
        case.append(ET.Element("skipped", message=_message(found)))
    elif found.accepted is not None:
        ET.SubElement(case, "system-out").text = _printable(f"accepted: {found.accepted}")
    return case


def _memory_case(found: MemoryRecord, growth: float) -> ET.Element:
    name = _printable(found.name)
    case = ET.Element("testcase", classname="harness.regress.memory", name=name)
    message = f"peak memory {100 * growth:+.1f} %"
    if found.is_failure:
        case.append(ET.Element("failure", type="regression", message=message))
    else:
        ET.SubElement(case, "system-out").text = message
    return case


def _message(found: FindingRecord) -> str:
    ratio = found.ratio
    text = f"{found.verdict.upper()} ({found.reason.replace('_', ' ')})"
    if ratio.value is not None:
        text += f": {100 * (ratio.value - 1):+.1f} % time a step"
    if ratio.low is not None and ratio.high is not None and ratio.level is not None:
        ends = f"{100 * (ratio.low - 1):+.1f} to {100 * (ratio.high - 1):+.1f}"
        text += f" ({100 * ratio.level:.0f} % interval {ends} %, {ratio.n} blocks)"
    return text


def _printable(text: Sequence[str] | str) -> str:
    """A text without the letters that XML does not have."""
    return "".join(letter for letter in text if letter in "\t\n" or ord(letter) >= 32)
