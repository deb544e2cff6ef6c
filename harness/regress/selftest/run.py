"""A selftest, in order: what is timed, its plan, run after run, replays, files, report.

Decides nothing itself.

Both sides of every run are the working tree in this environment. In some runs one benchmark of head
has real extra work (harness.regress.sides.inject_slowdown). A run that is finished is kept: the
same command goes on with those that are missing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from harness.errors import InputError, Shown
from harness.regress.compare.records import estimate
from harness.regress.compare.run import CompareOptions, resolve_task
from harness.regress.measuring import comparison_runner
from harness.regress.measuring.comparison_runner import CompareConfig, SamplingPlan, Watcher
from harness.regress.selftest.records import (
    FILE,
    RUNS,
    Run,
    append_run,
    rates_as_plain,
    read_runs,
    read_selftest,
    run_of,
    write_selftest,
)
from harness.regress.selftest.report import render_selftest
from harness.regress.sides import target
from harness.regress.sides.side import find_repository, parse_side
from harness.regress.sides.side_client import side_clients
from harness.regress.sides.target import Target
from harness.regress.sides.workspace import Workspace, workspace
from harness.regress.verdict.decision_rules import parse_detect, rules_for
from harness.regress.verdict.resampling import N_RUNS, Rates, advise, rates_of, replay, run_through
from harness.regress.verdict.verdicts import Family, Outcome, as_ratio

SLOWER: Final = target.WORKER.with_name("slower.py")

EFFECTS: Final = ("3%", "5%", "10%")
"""Slow-downs that a selftest injects unless it is told others: issue 5."""


MOST_RUNS: Final = 10_000


@dataclasses.dataclass(frozen=True)
class SelftestOptions:
    """What the command line said; "" and None where it said nothing.

    `n_alike` runs of the same code on both sides; `n_slowed` for each slow-down in `effects` that
    doesn't say its own number.
    """

    suite: str = ""
    steps: str = ""
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    detect: str = "5%"
    effects: tuple[str, ...] = ()
    n_alike: int = 10
    n_slowed: int = 3
    n_replays: int = N_RUNS
    seed: int = 0
    results: Path | None = None
    command: str = ""
    here: Path = dataclasses.field(default_factory=Path.cwd)
    pace: SamplingPlan = dataclasses.field(default_factory=SamplingPlan)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that is to be made: what is slowed in it by how much (nothing by 0), and the `--detect` under which it is decided."""

    number: int
    effect: float
    slowed: str | None
    detect: float


@dataclasses.dataclass(frozen=True)
class SelftestOutcome:
    """What came out, as selftest.json has it, and where its files are."""

    plain: Mapping[str, Any]
    directory: Path
    report: Path


class SelftestWatcher(Watcher, Protocol):
    """Is told how a selftest goes as well."""

    def plan(self, n_runs: int, n_done: int, names: Sequence[str]) -> None:
        """What is timed, how many runs there are, and how many were there already."""

    def run(self, planned: Planned) -> None:
        """A run begins."""

    def verdict(self, planned: Planned, outcome: Outcome, wall_time_s: float) -> None:
        """A run is done and kept."""

    def replaying(self, n_blocks: int) -> None:
        """All runs are done; their blocks are drawn anew."""


def plan(
    names: Sequence[str], effects: Mapping[float, int], detect: float, n_alike: int
) -> tuple[Planned, ...]:
    """The runs of a selftest, its kinds spread evenly over its length and the benchmarks slowed in turn.

    `effects`: how many runs for each slow-down. One below `detect` is looked for with a `--detect`
    of its own size: of less than that nothing is promised.
    """
    kinds = [(0.0, n_alike), *effects.items()]
    spread = sorted(((i + 0.5) / n, effect, i) for effect, n in kinds for i in range(n))
    return tuple(
        Planned(
            number,
            effect,
            names[i % len(names)] if effect else None,
            min(detect, effect) if effect else detect,
        )
        for number, (_, effect, i) in enumerate(spread)
    )


def run_selftest(options: SelftestOptions, watcher: SelftestWatcher) -> SelftestOutcome:
    """Make the runs that are missing, replay their blocks, write what came out.

    Raises InputError for bad input.
    """
    detect = parse_detect(options.detect)
    effects = parse_effects(options.effects, options.n_slowed)
    side = parse_side("--base", ".", options.here)
    asked = CompareOptions(
        base=".",
        suite=options.suite,
        steps=options.steps,
        device=options.device,
        plugins=options.plugins,
        here=options.here,
    )
    task = resolve_task(asked, (side, side))
    directory = options.results or Path("results", "regress", "selftest")
    with workspace(find_repository(options.here)) as space:
        ground = target.TargetContext(space, task, options.here)
        place = target.make_place("base", side, ground)
        names, facts = _known(place)
        planned = plan(names, effects, detect, options.n_alike)
        settings = _settings(options, names, effects, detect, facts)
        done = {run.number for run in _kept(directory, settings)}
        watcher.plan(len(planned), len(done), names)
        maker = _Maker(space, place, options.pace, directory, watcher)
        for each in planned:
            if each.number not in done:
                maker.make(each)
    runs = read_runs(directory)
    watcher.replaying(sum(len(run.blocks) for run in runs if run.slowed is None))
    plain = {
        **settings,
        **summary(runs, names, detect, effects, options),
        "command": options.command,
    }
    write_selftest(directory, plain)
    return SelftestOutcome(plain, directory, render_selftest(directory).html)


def summary(
    runs: Sequence[Run],
    names: Sequence[str],
    detect: float,
    effects: Iterable[float],
    options: SelftestOptions,
) -> dict[str, Any]:
    """Rates of the runs and of replays, the advice, and how much blocks deviate.

    All from the blocks that were kept.
    """
    alike = [block for run in runs if run.slowed is None for block in run.blocks]
    generator = np.random.default_rng(options.seed)

    def drawn(level: float, effect: float) -> dict[str, Any] | None:
        if not alike:
            return None
        found = replay(alike, level, generator, effect=effect, n_runs=options.n_replays)
        return rates_as_plain(found)

    advice = advise(alike, generator, n_runs=options.n_replays)
    cases = [(0.0, detect), *((effect, min(detect, effect)) for effect in effects)]
    return {
        "n_runs": len(runs),
        "n_blocks": len(alike),
        "rates": [
            {
                "runs": rates_as_plain(_real(runs, names, effect, level)),
                "replay": drawn(level, effect),
                "measured": _measured(runs, effect),
            }
            for effect, level in cases
        ],
        "advice": {
            "detect": advice.detect,
            "tried": [[rates_as_plain(each) for each in both] for both in advice.tried],
        },
        "deviation": {name: _deviation(block.value(name) for block in alike) for name in names},
        "canary_deviation": _deviation(block.canary for block in alike),
        "wall_time_s": sum(run.wall_time_s for run in runs),
    }


def _real(runs: Sequence[Run], names: Sequence[str], effect: float, detect: float) -> Rates:
    """The rates of the runs that were made, their verdicts as the rules give them for their blocks."""
    family, rules = Family(tuple(names)), rules_for(len(names), detect)
    outcomes = [
        (run_through(run.blocks, family, rules), run.slowed)
        for run in runs
        if (run.effect, run.detect) == (effect, detect)
    ]
    return rates_of(outcomes, detect, effect)


def _measured(runs: Sequence[Run], effect: float) -> dict[str, Any] | None:
    """How much slower the slowed benchmarks were, median over runs, as a ratio.

    None for the same code and without a run.
    """
    medians = [
        float(np.nanmedian([block.value(run.slowed) for block in run.blocks]))
        for run in runs
        if run.slowed is not None and run.effect == effect
    ]
    return estimate(as_ratio(medians)) if medians else None


def _deviation(values: Iterator[float]) -> float | None:
    """Standard deviation of blocks around 0, None where fewer than two are known."""
    known = np.array([value for value in values if np.isfinite(value)])
    return float(np.sqrt(np.mean(known**2))) if len(known) > 1 else None


def parse_effects(texts: Sequence[str], n_slowed: int) -> dict[float, int]:
    """SHARE or SHARE=RUNS, any number of them, as how many runs for each slow-down, in ascending order."""
    found = {}
    for text in texts or EFFECTS:
        share, _, runs = text.partition("=")
        try:
            found[parse_detect(share)] = int(runs) if runs else n_slowed
        except (InputError, ValueError):
            expected = "a slow-down above 0 % and at most 100 %, as 5%, or with its runs, as 5%=20"
            raise InputError("--slow-down", expected=expected, got=text) from None
        if not 0 <= found[parse_detect(share)] <= MOST_RUNS:
            raise InputError("--slow-down", expected=f"0 to {MOST_RUNS} runs", got=text)
    return dict(sorted(found.items()))


def _known(place: Target) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The benchmarks of a place and the facts of its environment."""
    with side_clients((place.seat,)) as (talker,):
        talker.fresh()
        names = tuple(talker.ask("load", **place.load())["names"])
        facts = talker.ask("facts")
    return names, {key: facts[key] for key in facts if key not in ("packages", "settings")}


def _settings(
    options: SelftestOptions,
    names: Sequence[str],
    effects: Mapping[float, int],
    detect: float,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """What must be the same for runs to be counted together."""
    return {
        "names": list(names),
        "detect": detect,
        "effects": [list(each) for each in effects.items()],
        "n_alike": options.n_alike,
        "pace": dataclasses.asdict(options.pace),
        "machine": dict(facts),
    }


def _kept(directory: Path, settings: Mapping[str, Any]) -> tuple[Run, ...]:
    """The runs that are there. Raises InputError where they are those of another selftest."""
    if not (directory / FILE).is_file():
        if (directory / RUNS).is_file():
            raise InputError(
                str(directory),
                FILE,
                expected="the selftest whose runs are there",
                got=Shown("none"),
            )
        write_selftest(directory, settings)
        return ()
    before = read_selftest(directory)
    for name, value in settings.items():
        if before.get(name) != value:
            raise InputError(
                str(directory / FILE),
                name,
                expected=f"that of the selftest which is there, {before.get(name)!r:.60}",
                got=Shown(f"{value!r:.60}"),
                remedy="name another folder with --results",
            )
    return read_runs(directory)


class _Maker:
    """Makes runs, one after the other, and keeps each as soon as it is done."""

    def __init__(
        self,
        space: Workspace,
        place: Target,
        pace: SamplingPlan,
        directory: Path,
        watcher: SelftestWatcher,
    ) -> None:
        self.space, self.place, self.pace = space, place, pace
        self.directory, self.watcher = directory, watcher
        self.folder = space.folder / "slower"
        self.folder.mkdir()
        shutil.copy(SLOWER, self.folder / SLOWER.name)

    def make(self, planned: Planned) -> None:
        """One run, from its files of steps to its line in runs.jsonl."""
        self.watcher.run(planned)
        base = self._side("base", planned, 0.0)
        head = self._side("head", planned, planned.effect)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        recorded = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        started = time.monotonic()
        asked = CompareConfig(planned.detect, (), self.pace, memory=False)
        comparison = comparison_runner.compare(base, head, asked, self.watcher)
        wall_time_s = time.monotonic() - started
        blocks = tuple(block.value for block in comparison.blocks)
        line = run_of(
            planned.number, (planned.effect, planned.slowed), planned.detect, comparison.outcome
        )
        line |= {"wall_time_s": wall_time_s, "load": load, "recorded": recorded}
        append_run(self.directory / RUNS, line, blocks)
        self.watcher.verdict(planned, comparison.outcome, wall_time_s)

    def _side(self, role: target.Role, planned: Planned, effect: float) -> Target:
        """The place of a side with its steps wrapped, those of head with what is injected."""
        path = self.folder / f"{role}_{planned.number}.py"
        arguments = (str(self.place.steps), planned.slowed or "", effect)
        path.write_text(
            f"from slower import slower_steps\n\nSTEPS = slower_steps{arguments!r}\n", "utf-8"
        )
        seat = dataclasses.replace(self.place.seat, label=role)
        return dataclasses.replace(self.place, seat=seat, steps=path)
