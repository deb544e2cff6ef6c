"""Times two sides: slices of two live processes in turn, blocks of fresh ones, until a verdict.

A round goes over all benchmarks and the canary twice: for each first a slice of base and then one
of head, then the reverse. So every slice follows one of another process, and a steady drift falls
on both sides alike. All processes of a block run on the same core, those of the next block on
another: each core has other neighbours. The canary (an A/A control) has two processes, both in
base's environment. Everything else is config before the first block or after the last: nothing runs
beside a slice.

A recording (harness.regress.record) has one side. There a slice of the canary comes before and
after each slice of a benchmark.

Why slices are short: on a core that other machines share, the speed of one step varies by 20 %,
over tenths of a second. Two sides that are a few ms apart see nearly the same core. The standard
deviation of the canary's blocks, 1.5 s each: 6.3 % with 25 ms a slice and each process where the
system puts it; 2.5 % with both on one core; 1.3 % with 6 ms a slice too; 0.7 % with 2 ms (measured
by benchmarks/slice_noise.py on a shared machine with 2 cores).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final, Protocol

from harness.errors import InputError, Shown
from harness.regress.measuring.blocks import BlockRatios, block_value
from harness.regress.measuring.peak_memory import Footprint, footprint, smaller
from harness.regress.measuring.slowdown_causes import Difference, OperatorGrowth, differences, grown
from harness.regress.sides.side_client import SideClient, StepError, side_clients
from harness.regress.sides.side_environment import Target
from harness.regress.sides.worker_answers import (
    LoadedSteps,
    SideFacts,
    StepMemory,
    StepProfile,
    facts_of,
)
from harness.regress.verdict.decision_rules import Rules, parse_accepted, rules_for
from harness.regress.verdict.verdicts import (
    OK_CODE,
    REGRESSION_CODE,
    SEVERITY,
    UNDECIDED_CODE,
    BenchmarkVerdict,
    FailOn,
    Family,
    Stop,
    VerdictOutcome,
    decide,
)

CANARY: Final = "canary"

MIN_BLOCK_ROUNDS: Final = 16
"""A budget makes blocks shorter rather than fewer, down to this or to the plan's rounds."""

PLANNED_SHARE: Final = 0.85
"""The share of a budget that is planned.

Blocks vary in length, and the last one may be needed to confirm a regression.
"""

Round = tuple[float, ...]
"""Seconds a step of base and of head, each over two slices; of a recording, of its one side."""


@dataclass(frozen=True)
class SamplingPlan:
    """Seconds of a slice, rounds of a block at most, seconds for everything (None: no limit)."""

    slice_s: float = 0.003
    n_rounds: int = 96
    budget_s: float | None = None


@dataclass(frozen=True)
class TimedBlock:
    """The rounds of one pair of fresh processes, by benchmark, and those of the canary."""

    rounds: Mapping[str, tuple[Round, ...]]
    canary: tuple[Round, ...]

    @property
    def ratios(self) -> BlockRatios:
        """The block as the statistics use it."""
        values = {
            name: block_value(*zip(*rounds, strict=True)) for name, rounds in self.rounds.items()
        }
        return BlockRatios(values, block_value(*zip(*self.canary, strict=True)))


@dataclass(frozen=True)
class CompareConfig:
    """What the user wants of a comparison.

    `detect` is a fraction, `accept` holds NAME=REASON texts. `rules` replace the usual ones.
    """

    detect: float = 0.05
    accept: tuple[str, ...] = ()
    sampling: SamplingPlan = field(default_factory=SamplingPlan)
    memory: bool = True
    rules: Rules | None = None


@dataclass(frozen=True)
class SlowdownCause:
    """The operators whose time grew most in a benchmark that regressed."""

    name: str
    operators: tuple[OperatorGrowth, ...]


@dataclass(frozen=True)
class ComparisonResult:
    """What was measured and concluded: raw rounds, outcome, memory, and the facts of both sides.

    `n_steps` are those of a slice and `sequences` those of a step, by benchmark. `is_pinned`: all
    processes of a block ran on one core. The benchmarks `only_in_head` were not compared.
    """

    rules: Rules
    sampling: SamplingPlan
    n_steps: Mapping[str, int]
    sequences: Mapping[str, float]
    is_pinned: bool
    blocks: tuple[TimedBlock, ...]
    outcome: VerdictOutcome
    footprints: tuple[Footprint, ...]
    facts: tuple[SideFacts, SideFacts]
    only_in_head: tuple[str, ...]
    explained: tuple[SlowdownCause, ...]
    wall_time_s: float

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs between the two environments."""
        return differences(*self.facts)

    @property
    def verdict(self) -> BenchmarkVerdict:
        """The gravest verdict that is not accepted, of time and of memory."""
        found = {self.outcome.verdict, "regression" if self._has_grown else "ok"}
        return next(verdict for verdict in SEVERITY if verdict in found)

    def exit_code(self, fail_on: Collection[FailOn] = ()) -> int:
        """That of the outcome, but 1 where memory regressed and nothing graver came out.

        CONTAMINATED timing does not excuse memory that grew.
        """
        code = self.outcome.exit_code(fail_on)
        return REGRESSION_CODE if self._has_grown and code in (OK_CODE, UNDECIDED_CODE) else code

    @property
    def _has_grown(self) -> bool:
        """Whether memory regressed anywhere, and nobody accepted that."""
        return any(each.verdict == "regression" and not each.accepted for each in self.footprints)


class TimingProgress(Protocol):
    """Is told the progress of a measurement, between blocks."""

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """The benchmarks that are timed, and those that head lacks."""

    def step(self, text: str) -> None:
        """What begins now."""

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """How many blocks are done, of how many until the next test, and of which benchmarks."""


def compare_targets(
    base: Target, head: Target, config: CompareConfig, progress: TimingProgress
) -> ComparisonResult:
    """Time two sides until the rules say stop.

    Raises InputError for steps that fail, on either side, naming the benchmark.
    """
    started = time.monotonic()
    progress.step("starting both sides")
    with ExitStack() as live:
        first, second = live.enter_context(side_clients((base.worker, head.worker)))
        runner = ComparisonRunner((base, head), (first, second), config.sampling)
        family, only_in_head = runner.family(config.accept)
        rules = config.rules or rules_for(len(family.names), config.detect)
        progress.begin(family.names, family.missing)
        base_facts, head_facts = runner.facts()
        footprints: tuple[Footprint, ...] = ()
        if config.memory:
            progress.step("measuring memory")
            footprints = tuple(runner.footprint(name, family) for name in family.names)
        if family.names:
            one, other = live.enter_context(side_clients((base.worker, base.worker)))
            runner.canaries = (one, other)
            one.fresh()
            other.fresh()  # torch is imported before the budget runs
        blocks = list[TimedBlock]()
        outcome = _time(runner, blocks, family, rules, progress)
        slower = [one.name for one in outcome.findings if one.verdict == "regression"]
        if slower:
            progress.step("asking the profiler")
        explained = tuple(runner.explain(name) for name in slower)
    return ComparisonResult(
        rules=rules,
        sampling=config.sampling,
        n_steps=runner.n_steps,
        sequences=runner.sequences,
        is_pinned=runner.is_pinned,
        blocks=tuple(blocks),
        outcome=outcome,
        footprints=footprints,
        facts=(base_facts, head_facts),
        only_in_head=only_in_head,
        explained=explained,
        wall_time_s=time.monotonic() - started,
    )


def _time(
    runner: ComparisonRunner,
    blocks: list[TimedBlock],
    family: Family,
    rules: Rules,
    progress: TimingProgress,
) -> VerdictOutcome:
    """Add blocks until `decide` stops, or the budget is spent."""
    runner.start()
    while True:
        values = [block.ratios for block in blocks]
        decision = decide(values, family, rules, budget_over=runner.is_spent())
        if isinstance(decision, Stop):
            return decision.outcome
        wanted = len(blocks) + decision.n_blocks
        while len(blocks) < wanted and not runner.is_spent():
            progress.block(len(blocks), wanted, decision.names)
            n_left = max(wanted, _n_least(rules)) - len(blocks)
            blocks.append(runner.block(decision.names, n_left))


def _n_least(rules: Rules) -> int:
    """Blocks that find a regression at the first test and confirm it: a budget plans for them."""
    return rules.interim_tests[min(1, len(rules.interim_tests) - 1)].n_blocks


class ComparisonRunner:
    """Times blocks with the live processes of one or two sides, and keeps what blocks share."""

    def __init__(
        self, targets: tuple[Target, ...], sides: tuple[SideClient, ...], sampling: SamplingPlan
    ) -> None:
        self.targets, self.sides, self.sampling = targets, sides, sampling
        self.canaries = sides  # until they are needed, just before the first block
        specs = [replace(client.spec, label="") for client in sides]
        self.is_one_environment = all(spec == specs[0] for spec in specs)
        self.is_pinned = True  # until a side has several threads, or the system can't
        self.n_blocks = 0
        self.n_steps: dict[str, int] = {}
        self.sequences: dict[str, float] = {}
        self.started = self.set_up_s = self.round_s = 0.0
        self.previous: SideClient | None = None  # whose slice was the last

    def names(self) -> tuple[Sequence[str], ...]:
        """The benchmarks of each side. Leaves them loaded."""
        return tuple(loaded.names for loaded in self._load(self.sides))

    def family(self, accept: Sequence[str]) -> tuple[Family, tuple[str, ...]]:
        """The benchmarks to compare, and those that only head has. Leaves both sides loaded."""
        base, head = self.names()
        common = tuple(name for name in base if name in head)
        missing = tuple(name for name in base if name not in head)
        accepted = parse_accepted(accept, base)
        added = tuple(name for name in head if name not in base)
        return Family(common, missing, accepted), added

    def facts(self) -> tuple[SideFacts, ...]:
        """The facts of each side, as they are after loading."""
        return tuple(map(facts_of, self._both(self.sides, "facts")))

    def footprint(self, name: str, family: Family) -> Footprint:
        """Peak memory of one benchmark, in fresh processes; what seems grown is measured again."""
        found = self._footprint(name, family)
        if found.verdict in ("regression", "grown"):
            return smaller(found, self._footprint(name, family))
        return found

    def start(self) -> None:
        """The budget runs from now on."""
        self.started = time.monotonic()

    def is_spent(self) -> bool:
        """Whether too little of the budget is left for a block; one block is always timed."""
        if self.sampling.budget_s is None or self.n_blocks == 0:
            return False
        least_s = self.set_up_s + MIN_BLOCK_ROUNDS * self.round_s
        return time.monotonic() - self.started + least_s > self.sampling.budget_s

    def block(self, names: Sequence[str], n_left: int) -> TimedBlock:
        """Start fresh processes on all sides, warm them up, and time the rounds.

        With a budget there are as many rounds as let `n_left` such blocks fit.
        """
        started = time.monotonic()
        if self.n_blocks > 0:  # those of the first block are new
            self._renew()
        loaded = [*self._load(self.sides), *self._load(self.canaries)]
        for name in names:
            with naming(name):
                for answer in self._both(self.sides, "prepare", name=name):
                    self.sequences[name] = answer["sequences_per_step"]
        self._both(self.canaries, "prepare", name=CANARY)
        self._refuse_others_code()
        self._pin(loaded)
        every = [(name, self.sides) for name in names] + [(CANARY, self.canaries)]
        for name, pair in every:
            with naming(name):
                self._warm_up(name, pair)
        ready = time.monotonic()
        rounds = dict[str, list[Round]]({name: [] for name, _ in every})
        self.set_up_s = ready - started
        while len(rounds[CANARY]) < self._n_rounds(n_left, started):
            for name, both in self._round(every).items():
                rounds[name].append(both)
            self.round_s = (time.monotonic() - ready) / len(rounds[CANARY])
        self.n_blocks += 1
        canary = tuple(rounds.pop(CANARY))
        return TimedBlock({name: tuple(each) for name, each in rounds.items()}, canary)

    def explain(self, name: str) -> SlowdownCause:
        """Where a benchmark's time grew, by the profiler."""
        self._load(self.sides)
        with naming(name):
            self._both(self.sides, "prepare", name=name)
            base, head = (side.ask("profile", name=name) for side in self.sides)
        return SlowdownCause(name, grown(StepProfile(**base), StepProfile(**head)))

    def _n_rounds(self, n_left: int, started: float) -> int:
        """Rounds of a block, if `n_left` such blocks share the budget left when it started."""
        if self.sampling.budget_s is None or self.round_s == 0.0:
            return self.sampling.n_rounds
        left_s = PLANNED_SHARE * (self.sampling.budget_s - (started - self.started))
        n_rounds = math.floor((left_s / n_left - self.set_up_s) / self.round_s)
        return min(max(MIN_BLOCK_ROUNDS, n_rounds), self.sampling.n_rounds)

    def _renew(self) -> None:
        """Let no side keep the advantage or disadvantage of one fork server.

        All forks of a server share its addresses and its hash seed. Two sides of one environment
        swap servers from block to block. Otherwise, and for one side alone, each block has new
        servers, which import torch again.
        """
        if len(self.sides) == 2 and self.is_one_environment:
            self.sides = swapped(self.sides)
        else:
            for client in self.sides:
                client.restart()
        self.canaries = swapped(self.canaries)

    def _pin(self, loaded: Sequence[LoadedSteps]) -> None:
        """Run all processes on one core, unless one of them has several threads."""
        if any(each.threads > 1 for each in loaded):
            self.is_pinned = False
            return
        for client in (*self.sides, *self.canaries):
            core = client.ask("pin", turn=self.n_blocks)["core"]
            self.is_pinned = self.is_pinned and core is not None

    def _round(self, every: Sequence[tuple[str, tuple[SideClient, ...]]]) -> dict[str, Round]:
        """Time two slices of both sides of each benchmark: all in the order AB, then all BA."""
        if len(self.sides) == 1:
            return self._beside_the_canary(every)
        times = {name: [0.0, 0.0] for name, _ in every}
        for order in ((0, 1), (1, 0)):
            for name, pair in every:
                for side in order:
                    self._come_after_head(pair[side], every[0][0])
                    with naming(name):
                        answer = pair[side].ask("slice", name=name, n_steps=self.n_steps[name])
                    times[name][side] += answer["time_s"]
        return {
            name: (base / (2 * self.n_steps[name]), head / (2 * self.n_steps[name]))
            for name, (base, head) in times.items()
        }

    def _come_after_head(self, client: SideClient, name: str) -> None:
        """With two environments, run a step of head before each slice of base's environment.

        A process that follows one of its own environment finds torch's code in the caches, others
        do not. So base and both canaries always follow head, as head always follows one of them.
        Without this, one canary followed head more often than the other and was 1.4 % slower
        (torch 2.13.0 against 2.14.1).
        """
        head = self.sides[1]
        if client is not head and self.previous is not head and not self.is_one_environment:
            with naming(name):
                head.ask("slice", name=name, n_steps=1)
        self.previous = client

    def _beside_the_canary(
        self, every: Sequence[tuple[str, tuple[SideClient, ...]]]
    ) -> dict[str, Round]:
        """Time one side: each benchmark, then the canary; and in reverse, so drift falls on both.

        The canary's time is the median over benchmarks of its two slices beside each.
        """
        *benchmarks, (canary, (alone,)) = every
        own: dict[str, float] = {name: 0.0 for name, _ in benchmarks}
        beside = dict(own)
        for order in (benchmarks, benchmarks[::-1]):
            for name, (side,) in order:
                slices = [(name, side, own), (canary, alone, beside)]
                for timed, client, times in slices if order is benchmarks else slices[::-1]:
                    with naming(timed):
                        answer = client.ask("slice", name=timed, n_steps=self.n_steps[timed])
                    times[name] += answer["time_s"]
        found: dict[str, Round] = {
            name: (time_s / (2 * self.n_steps[name]),) for name, time_s in own.items()
        }
        return found | {canary: (median(beside.values()) / (2 * self.n_steps[canary]),)}

    def _warm_up(self, name: str, pair: tuple[SideClient, ...]) -> None:
        """Warm up; the first warm-up of base decides how many steps all slices have."""
        for client in pair:
            n_steps = self.n_steps.get(name, 0)
            answer = client.ask(
                "warm_up", name=name, slice_s=self.sampling.slice_s, n_steps=n_steps
            )
            self.n_steps[name] = answer["n_steps"]

    def _load(self, pair: tuple[SideClient, ...]) -> list[LoadedSteps]:
        """Start fresh processes and let them load their steps."""
        for client in pair:
            client.fresh()
        canary = {"file": "", "paths": [], "folder": ""}
        arguments = [target.load_arguments() for target in self.targets]
        for client, each in zip(
            pair, arguments if pair is self.sides else [canary] * len(pair), strict=True
        ):
            client.send("load", **each)
        answers = [client.receive() for client in pair]
        return [LoadedSteps(tuple(each["names"]), each["threads"]) for each in answers]

    def _both(
        self, pair: tuple[SideClient, ...], do: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Ask both at the same time; never for what is timed."""
        for client in pair:
            client.send(do, **arguments)
        return [client.receive() for client in pair]

    def _footprint(self, name: str, family: Family) -> Footprint:
        self._load(self.sides)
        with naming(name):
            base, head = self._both(self.sides, "memory", name=name)
        accepted = family.accepted.get(name)
        return footprint(name, StepMemory(**base), StepMemory(**head), accepted)

    def _refuse_others_code(self) -> None:
        """Refuse a revision whose steps imported the working tree's code.

        Both sides would be the same.
        """
        for client, target in zip(self.sides, self.targets, strict=True):
            if target.watched is None:
                continue
            foreign, own = target.watched
            files = client.ask("modules", folder=str(foreign))["files"]
            theirs = [file for file in files if (own / file).is_file()]
            if theirs:
                raise InputError(
                    f"--{client.spec.label}",
                    expected=f"steps that import the code of {target.side.label}",
                    got=Shown(f"{theirs[0]} of the working tree"),
                    remedy='give --install "pip install ."',
                )


def swapped(clients: tuple[SideClient, ...]) -> tuple[SideClient, ...]:
    """The clients of two sides, each now the other side's; that of one side alone stays."""
    specs = [client.spec for client in clients]
    for client, spec in zip(clients, reversed(specs), strict=True):
        client.spec = spec
    return clients[::-1]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors of steps that are raised here name the benchmark."""
    try:
        yield
    except StepError as error:
        raise error.of(name) from None
