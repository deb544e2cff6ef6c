"""Runs a comparison: sides, workload, targets, timing, files and report, in this order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from harness.records.results_folder import check_writable, make_folder
from harness.regress.compare.comparison_files import (
    COMPARISON_FILE,
    ComparisonRecord,
    comparison_record,
    write_comparison,
)
from harness.regress.compare.report import render_comparison
from harness.regress.measuring import comparison_runner
from harness.regress.measuring.comparison_runner import (
    CompareConfig,
    SamplingPlan,
    TimingProgress,
)
from harness.regress.sides.side import find_repository, parse_side
from harness.regress.sides.side_environment import Target, TargetContext, make_target
from harness.regress.sides.workspace import workspace
from harness.regress.timed_workload import ResolvedWorkload, Workload, resolve_workload
from harness.regress.verdict.decision_rules import Rules, parse_detect
from harness.regress.verdict.verdicts import FailOn


@dataclass(frozen=True)
class CompareOptions:
    """The options of the command. `results` None: a folder named after the sides.

    `rules` and `memory` are for other callers: rules to use instead of the usual ones, and whether
    peak memory is measured.
    """

    base: str
    head: str = "."
    workload: Workload = field(default_factory=Workload)
    detect: str = "5%"
    install: str = ""
    accept: tuple[str, ...] = ()
    fail_on: Collection[FailOn] = ()
    results: Path | None = None
    command: str = ""
    here: Path = field(default_factory=Path.cwd)
    sampling: SamplingPlan = field(default_factory=SamplingPlan)
    rules: Rules | None = None
    memory: bool = True


@dataclass(frozen=True)
class CompareOutcome:
    """What came out, as comparison.json holds it, and the folder of its files."""

    record: ComparisonRecord
    directory: Path

    @property
    def file(self) -> Path:
        """comparison.json."""
        return self.directory / COMPARISON_FILE


def run_compare(options: CompareOptions, progress: TimingProgress) -> CompareOutcome:
    """Compare two sides and write the files.

    Raises InputError for bad input, before anything is timed.
    """
    detect = parse_detect(options.detect)
    base = parse_side("--base", options.base, options.here)
    head = parse_side("--head", options.head, options.here)
    workload = resolve_workload(options.workload, (base, head), options.here)
    directory = options.results or Path("results", "regress", f"{base.slug}-{head.slug}")
    config = CompareConfig(detect, options.accept, options.sampling, options.memory, options.rules)
    with workspace(find_repository(options.here)) as space:
        context = TargetContext(space, workload, options.here, options.install)
        make_folder(directory)
        check_writable(directory)  # before the timing, which would be lost
        progress.step("preparing both sides")
        base_target = make_target("base", base, context)
        head_target = make_target("head", head, context)
        result = comparison_runner.compare_targets(base_target, head_target, config, progress)
        notes = _notes(base_target, head_target, workload)
    record = comparison_record(
        result,
        (base, head),
        result.exit_code(options.fail_on),
        command=options.command,
        notes=notes,
    )
    write_comparison(directory, record, result)
    render_comparison(directory)
    return CompareOutcome(record, directory)


def _notes(base: Target, head: Target, workload: ResolvedWorkload) -> tuple[str, ...]:
    """What a reader should know about the timing."""
    if workload.steps is None or base.steps.read_bytes() == head.steps.read_bytes():
        return ()
    name = workload.steps.name
    return (f"{name} differs between the sides: each was timed with its own version",)
