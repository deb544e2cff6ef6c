"""Runs a selftest: workload, plan, run after run, replays, files and report, in this order.

Both sides of every run are the working tree in this environment. In some runs one benchmark of head
has real extra work (harness.regress.sides.inject_slowdown). A finished run is kept: the same
command makes those that are missing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from harness.errors import InputError, Shown
from harness.regress.json_files import EstimateRecord, Scalar, estimate_record
from harness.regress.measuring import comparison_runner
from harness.regress.measuring.comparison_runner import (
    CompareConfig,
    SamplingPlan,
    TimingProgress,
)
from harness.regress.selftest.report import render_selftest
from harness.regress.selftest.selftest_files import (
    RUNS_FILE,
    SELFTEST_FILE,
    CaseRates,
    Injected,
    RunConditions,
    SelftestRecord,
    SelftestRun,
    SelftestSettings,
    append_run,
    read_runs,
    read_selftest_settings,
    selftest_run,
    write_selftest,
)
from harness.regress.sides.side import find_repository, parse_side
from harness.regress.sides.side_client import side_clients
from harness.regress.sides.side_environment import WORKER, Role, Target, TargetContext, make_target
from harness.regress.sides.worker_answers import facts_of
from harness.regress.sides.workspace import Workspace, workspace
from harness.regress.timed_workload import Workload, resolve_workload
from harness.regress.verdict.decision_rules import parse_detect, rules_for
from harness.regress.verdict.resampling import N_RUNS, Rates, advise, rates_of, replay, run_through
from harness.regress.verdict.verdicts import Family, VerdictOutcome, as_ratio

SLOWDOWN_FILE: Final = WORKER.with_name("inject_slowdown.py")

EFFECTS: Final = ("3%", "5%", "10%")
"""Slow-downs that a selftest injects if the user names no other."""

MAX_RUNS: Final = 10_000


@dataclass(frozen=True)
class SelftestOptions:
    """The options of the command.

    `n_alike` runs have the same code on both sides; each slow-down in `effects` that does not give
    its own number of runs has `n_slowed`.
    """

    workload: Workload = field(default_factory=Workload)
    detect: str = "5%"
    effects: tuple[str, ...] = ()
    n_alike: int = 10
    n_slowed: int = 3
    n_replays: int = N_RUNS
    seed: int = 0
    results: Path | None = None
    command: str = ""
    here: Path = field(default_factory=Path.cwd)
    sampling: SamplingPlan = field(default_factory=SamplingPlan)


@dataclass(frozen=True)
class SelftestOutcome:
    """What came out, as selftest.json holds it, and its files."""

    record: SelftestRecord
    report: Path
    file: Path


class SelftestProgress(TimingProgress, Protocol):
    """Is told the progress of a selftest too."""

    def plan(self, n_runs: int, n_done: int, names: Sequence[str]) -> None:
        """The benchmarks, the number of runs, and how many were made before."""

    def run(self, planned: Injected) -> None:
        """A run begins."""

    def verdict(self, planned: Injected, outcome: VerdictOutcome, wall_time_s: float) -> None:
        """A run is done and kept."""

    def replaying(self, n_blocks: int) -> None:
        """All runs are done, and their blocks are replayed."""


def plan_runs(
    names: Sequence[str], effects: Mapping[float, int], detect: float, n_alike: int
) -> tuple[Injected, ...]:
    """The runs of a selftest: kinds evenly spread over its length, benchmarks slowed in turn.

    `effects`: the number of runs for each slow-down. One below `detect` has a `--detect` of its own
    size, because nothing is promised for less than that.
    """
    kinds = [(0.0, n_alike), *effects.items()]
    spread = sorted(((i + 0.5) / n, effect, i) for effect, n in kinds for i in range(n))
    return tuple(
        Injected(
            number,
            effect,
            names[i % len(names)] if effect else None,
            min(detect, effect) if effect else detect,
        )
        for number, (_, effect, i) in enumerate(spread)
    )


def run_selftest(options: SelftestOptions, progress: SelftestProgress) -> SelftestOutcome:
    """Make the runs that are missing, replay their blocks, and write the files.

    Raises InputError for bad input.
    """
    detect = parse_detect(options.detect)
    effects = parse_effects(options.effects, options.n_slowed)
    side = parse_side("--base", ".", options.here)
    workload = resolve_workload(options.workload, (side, side), options.here)
    directory = options.results or Path("results", "regress", "selftest")
    with workspace(find_repository(options.here)) as space:
        target = make_target("base", side, TargetContext(space, workload, options.here))
        names, machine = _names_and_machine(target)
        settings = SelftestSettings(
            names=names,
            detect=detect,
            effects=tuple(effects.items()),
            n_alike=options.n_alike,
            pace=options.sampling,
            machine=machine,
        )
        planned = plan_runs(names, effects, detect, options.n_alike)
        done = {run.run for run in _kept_runs(directory, settings)}
        progress.plan(len(planned), len(done), names)
        maker = _RunMaker(space, target, options.sampling, directory, progress)
        for each in planned:
            if each.number not in done:
                maker.make(each)
    runs = read_runs(directory)
    progress.replaying(sum(len(run.blocks) for run in runs if run.slowed is None))
    record = summary(runs, settings, options)
    write_selftest(directory, record)
    report = render_selftest(directory).html
    return SelftestOutcome(record, report, directory / SELFTEST_FILE)


def summary(
    runs: Sequence[SelftestRun], settings: SelftestSettings, options: SelftestOptions
) -> SelftestRecord:
    """Rates of the runs and of replays, the advice, and how much blocks deviate."""
    detect, names = settings.detect, settings.names
    alike = [block for run in runs if run.slowed is None for block in run.ratios]
    generator = np.random.default_rng(options.seed)

    def replayed(level: float, effect: float) -> Rates | None:
        if not alike:
            return None
        return replay(alike, level, generator, effect=effect, n_runs=options.n_replays)

    advice = advise(alike, generator, n_runs=options.n_replays)
    cases = [(0.0, detect), *((effect, min(detect, effect)) for effect, _ in settings.effects)]
    return SelftestRecord(
        **{each.name: getattr(settings, each.name) for each in dataclasses.fields(settings)},
        n_runs=len(runs),
        n_blocks=len(alike),
        rates=tuple(
            CaseRates(
                _rates_of_runs(runs, names, effect, level),
                replayed(level, effect),
                _measured(runs, effect),
            )
            for effect, level in cases
        ),
        advice=advice,
        deviation={name: _deviation(block.value(name) for block in alike) for name in names},
        canary_deviation=_deviation(block.canary for block in alike),
        wall_time_s=sum(run.wall_time_s for run in runs),
        command=options.command,
    )


def _rates_of_runs(
    runs: Sequence[SelftestRun], names: Sequence[str], effect: float, detect: float
) -> Rates:
    """The rates of the runs, with the verdicts that the rules give for their blocks now."""
    family, rules = Family(tuple(names)), rules_for(len(names), detect)
    outcomes = [
        (run_through(run.ratios, family, rules), run.slowed)
        for run in runs
        if (run.effect, run.detect) == (effect, detect)
    ]
    return rates_of(outcomes, detect, effect)


def _measured(runs: Sequence[SelftestRun], effect: float) -> EstimateRecord | None:
    """How much slower the slowed benchmarks were: median over runs, as a ratio.

    None for the same code and without a run.
    """
    medians = [
        float(np.nanmedian([block.value(run.slowed) for block in run.ratios]))
        for run in runs
        if run.slowed is not None and run.effect == effect
    ]
    return estimate_record(as_ratio(medians)) if medians else None


def _deviation(values: Iterator[float]) -> float | None:
    """Root mean square of blocks, None where fewer than two are known."""
    known = np.array([value for value in values if np.isfinite(value)])
    return float(np.sqrt(np.mean(known**2))) if len(known) > 1 else None


def parse_effects(texts: Sequence[str], n_slowed: int) -> dict[float, int]:
    """SHARE or SHARE=RUNS texts as the number of runs of each slow-down, in ascending order."""
    found = {}
    for text in texts or EFFECTS:
        share, _, runs = text.partition("=")
        try:
            effect, n_runs = parse_detect(share), int(runs) if runs else n_slowed
        except (InputError, ValueError):
            expected = "a slow-down above 0 % and at most 100 %, as 5%, or with its runs, as 5%=20"
            raise InputError("--slow-down", expected=expected, got=text) from None
        if not 0 <= n_runs <= MAX_RUNS:
            raise InputError("--slow-down", expected=f"0 to {MAX_RUNS} runs", got=text)
        found[effect] = n_runs
    return dict(sorted(found.items()))


def _names_and_machine(target: Target) -> tuple[tuple[str, ...], Mapping[str, Scalar]]:
    """The benchmarks of a target and the machine that its process sees."""
    with side_clients((target.worker,)) as (client,):
        client.fresh()
        names = tuple(client.ask("load", **target.load_arguments())["names"])
        return names, facts_of(client.ask("facts")).machine


def _kept_runs(directory: Path, settings: SelftestSettings) -> tuple[SelftestRun, ...]:
    """The runs that were made before. Raises InputError where they are another selftest's."""
    path = directory / SELFTEST_FILE
    if not path.is_file():
        if (directory / RUNS_FILE).is_file():
            expected = "the selftest whose runs are there"
            raise InputError(str(directory), SELFTEST_FILE, expected=expected, got=Shown("none"))
        write_selftest(directory, settings)
        return ()
    before = read_selftest_settings(directory)
    for name in (each.name for each in dataclasses.fields(settings)):
        old, new = getattr(before, name), getattr(settings, name)
        if old != new:
            raise InputError(
                str(path),
                name,
                expected=f"that of the selftest which is there, {old!r:.60}",
                got=Shown(f"{new!r:.60}"),
                remedy="name another folder with --results",
            )
    return read_runs(directory)


class _RunMaker:
    """Makes runs, one after the other, and keeps each as soon as it is done."""

    def __init__(
        self,
        space: Workspace,
        target: Target,
        sampling: SamplingPlan,
        directory: Path,
        progress: SelftestProgress,
    ) -> None:
        self.target, self.sampling = target, sampling
        self.directory, self.progress = directory, progress
        self.folder = space.folder / "slowdown"
        self.folder.mkdir()
        shutil.copy(SLOWDOWN_FILE, self.folder / SLOWDOWN_FILE.name)

    def make(self, planned: Injected) -> None:
        """One run, from its files of steps to its line in runs.jsonl."""
        self.progress.run(planned)
        base = self._target("base", planned, 0.0)
        head = self._target("head", planned, planned.effect)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        recorded = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        started = time.monotonic()
        config = CompareConfig(planned.detect, (), self.sampling, memory=False)
        result = comparison_runner.compare_targets(base, head, config, self.progress)
        wall_time_s = time.monotonic() - started
        run = selftest_run(
            planned,
            result.outcome,
            [block.ratios for block in result.blocks],
            RunConditions(wall_time_s, load, recorded),
        )
        append_run(self.directory / RUNS_FILE, run)
        self.progress.verdict(planned, result.outcome, wall_time_s)

    def _target(self, role: Role, planned: Injected, effect: float) -> Target:
        """The target with its steps wrapped, those of head with what is injected."""
        path = self.folder / f"{role}_{planned.number}.py"
        arguments = (str(self.target.steps), planned.slowed or "", effect)
        path.write_text(
            f"from inject_slowdown import slower_steps\n\nSTEPS = slower_steps{arguments!r}\n",
            "utf-8",
        )
        worker = dataclasses.replace(self.target.worker, label=role)
        return dataclasses.replace(self.target, worker=worker, steps=path)
