"""The files of a selftest: selftest.json, and runs.jsonl with a line for each run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InputError, Shown, unwritable
from harness.records.jsonl import append_line, read_lines
from harness.regress.json_files import (
    Count,
    EstimateRecord,
    Scalar,
    estimate_record,
    parse_object,
    read_object,
    record_of,
    write_record,
)
from harness.regress.measuring.blocks import BlockRatios
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.verdict.resampling import Advice, Rates
from harness.regress.verdict.verdicts import BenchmarkVerdict, Reason, VerdictOutcome

SELFTEST_SCHEMA: Final = 1
SELFTEST_FILE: Final = "selftest.json"
RUNS_FILE: Final = "runs.jsonl"


@dataclass(frozen=True)
class RatiosRecord:
    """The values of a block (BlockRatios); None: not measured."""

    values: Mapping[str, float | None]
    canary: float | None

    @property
    def ratios(self) -> BlockRatios:
        """The block as the statistics use it."""
        return BlockRatios(
            {name: _or_nan(x) for name, x in self.values.items()}, _or_nan(self.canary)
        )


@dataclass(frozen=True)
class RunFinding:
    """What came out for one benchmark of a run."""

    name: str
    verdict: BenchmarkVerdict
    reason: Reason
    ratio: EstimateRecord


@dataclass(frozen=True, kw_only=True)
class SelftestRun:
    """One comparison of a selftest: its number in the plan, what was injected, and what came out.

    `slowed` None: both sides were the same code. `load` is how many processes wanted to run when it
    began, on average over a minute; None where the system does not say.
    """

    run: Count
    effect: float
    slowed: str | None
    detect: float
    verdict: BenchmarkVerdict
    n_blocks: Count
    findings: tuple[RunFinding, ...]
    canary: EstimateRecord
    wall_time_s: float
    load: float | None = None
    recorded: str = ""
    blocks: tuple[RatiosRecord, ...]

    @property
    def ratios(self) -> tuple[BlockRatios, ...]:
        """Its blocks as the statistics use them."""
        return tuple(block.ratios for block in self.blocks)


@dataclass(frozen=True)
class Injected:
    """A run that is planned: `slowed` is slower by `effect`, and `detect` is to be found.

    `effect` 0 and `slowed` None: nothing is injected.
    """

    number: int
    effect: float
    slowed: str | None
    detect: float


@dataclass(frozen=True)
class RunConditions:
    """When a run was made, how long it took, and the load when it began."""

    wall_time_s: float
    load: float | None
    recorded: str


def selftest_run(
    planned: Injected,
    outcome: VerdictOutcome,
    blocks: Iterable[BlockRatios],
    conditions: RunConditions,
) -> SelftestRun:
    """A run as its line holds it."""
    return SelftestRun(
        run=planned.number,
        effect=planned.effect,
        slowed=planned.slowed,
        detect=planned.detect,
        verdict=outcome.verdict,
        n_blocks=outcome.n_blocks,
        findings=tuple(
            RunFinding(each.name, each.verdict, each.reason, estimate_record(each.ratio))
            for each in outcome.findings
        ),
        canary=estimate_record(outcome.canary.ratio),
        **dataclasses.asdict(conditions),
        blocks=tuple(
            RatiosRecord(
                {name: _or_none(x) for name, x in each.values.items()}, _or_none(each.canary)
            )
            for each in blocks
        ),
    )


@dataclass(frozen=True, kw_only=True)
class SelftestSettings:
    """What runs must have in common to be counted together."""

    names: tuple[str, ...]
    detect: float
    effects: tuple[tuple[float, int], ...]
    n_alike: int
    pace: SamplingPlan
    machine: Mapping[str, Scalar]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("names: a list of at least 1")


@dataclass(frozen=True)
class CaseRates:
    """Rates of the runs and of replays of one injected slow-down, and how large it came out."""

    runs: Rates
    replay: Rates | None
    measured: EstimateRecord | None


@dataclass(frozen=True, kw_only=True)
class SelftestRecord(SelftestSettings):
    """A finished selftest; `deviation` is the root mean square of blocks of the same code."""

    n_runs: Count
    n_blocks: Count
    rates: tuple[CaseRates, ...]
    advice: Advice
    deviation: Mapping[str, float | None]
    canary_deviation: float | None
    wall_time_s: float
    command: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rates:
            raise ValueError("rates: a list of at least 1")


# --- selftest.json ----------------------------------------------------------------------------


def write_selftest(directory: Path, record: SelftestSettings) -> None:
    """Write selftest.json: the settings before the first run, everything after the last."""
    write_record(directory / SELFTEST_FILE, record, SELFTEST_SCHEMA)


def read_selftest_settings(directory: Path) -> SelftestSettings:
    """The settings of a selftest, finished or not. Raises InputError that names the key."""
    path = directory / SELFTEST_FILE
    plain = read_object(path, SELFTEST_SCHEMA, "a selftest")
    return record_of(plain, SelftestSettings, str(path))


def read_selftest(directory: Path) -> SelftestRecord:
    """A finished selftest. Raises InputError that names the key, or where runs are missing."""
    path = directory / SELFTEST_FILE
    plain = read_object(path, SELFTEST_SCHEMA, "a selftest")
    if "rates" not in plain:
        raise InputError(
            str(path),
            expected="a selftest that is done",
            got=Shown("one whose runs are not all there"),
            remedy="run the same command again: it makes those that are missing",
        )
    return record_of(plain, SelftestRecord, str(path))


# --- runs.jsonl -------------------------------------------------------------------------------


def append_run(path: Path, run: SelftestRun) -> None:
    """Append a run and sync it. Raises FileError or InputError where it cannot be written."""
    plain = {"schema": SELFTEST_SCHEMA, **dataclasses.asdict(run)}
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    try:
        append_line(path, text)
    except OSError as error:
        raise unwritable(path, error) from error


def read_runs(directory: Path) -> tuple[SelftestRun, ...]:
    """The runs of a folder, in the order in which they were made.

    A torn last line is left out. Raises InputError that
    names the line that is no run.
    """
    path = directory / RUNS_FILE
    try:
        lines = read_lines(path).lines
    except OSError as error:
        got = Shown(str(error.strerror))
        raise InputError(str(path), expected="a file that can be read", got=got) from None
    return tuple(_run(path, number, line) for number, line in enumerate(lines, 1) if line)


def _run(path: Path, number: int, line: bytes) -> SelftestRun:
    where, key = str(path), f"line {number}"
    plain = parse_object(line, SELFTEST_SCHEMA, "a run of a selftest", where, key)
    return record_of(plain, SelftestRun, where, key)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
