"""A comparison as it is timed.

Slices of two live processes in turn, blocks of fresh ones, until the rules say stop.

A round goes over all benchmarks and the canary twice: first a slice of base and then one of head
for each, then head and then base. So every slice follows one of another process, and what drifts
steadily falls on both sides alike. All processes keep to one core, another from block to block:
cores have neighbours of their own. The canary has two processes of its own, both in base's
environment. Everything else that a comparison tells is asked before the first block or after the
last: nothing runs beside a slice.

A recording (recording.py) has one side. Then a slice of the canary stands beside each slice of a
benchmark, before and after.

Why slices are so short: on a core that is shared with other machines the speed of one and the same
step wanders by 20 %, and does so over tenths of a second. Two sides that are a few ms apart see
nearly the same core. Measured with the canary, blocks of 1.5 s (standard deviation of a block): 25
ms a slice, each process where the system puts it, 6.3 %; both on one core 2.5 %; 6 ms a slice and
one core 1.3 %; 2 ms a slice 0.7 %.
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
from harness.regress.measuring.blocks import Block, block_value
from harness.regress.measuring.peak_memory import Footprint, footprint, smaller
from harness.regress.measuring.slowdown_causes import Difference, Growth, differences, grown
from harness.regress.sides.side_client import SideClient, StepError, side_clients
from harness.regress.sides.target import Target
from harness.regress.verdict.decision_rules import Rules, parse_accepted, rules_for
from harness.regress.verdict.verdicts import (
    OK_CODE,
    REGRESSION_CODE,
    SEVERITY,
    UNDECIDED_CODE,
    FailOn,
    Family,
    Outcome,
    Stop,
    Verdict,
    decide,
)

CANARY: Final = "canary"

LEAST_ROUNDS: Final = 16
"""A budget makes blocks shorter rather than fewer, down to this or what the pace has."""

USED: Final = 0.85
"""Of a budget, the part that is planned for.

Blocks vary, and one that is missing at the end may be the one that confirms.
"""

Round = tuple[float, ...]
"""Seconds a step of base and of head, each over two slices; of a recording, of its one side."""


@dataclass(frozen=True)
class SamplingPlan:
    """How long a slice is, how many rounds a block has, and seconds for all of it (None: as long as it takes)."""

    slice_s: float = 0.003
    n_rounds: int = 96
    budget_s: float | None = None


@dataclass(frozen=True)
class TimedBlock:
    """The rounds of one pair of fresh processes, by benchmark, and the canary's.

    What conclusions rest on: `value`.
    """

    rounds: Mapping[str, tuple[Round, ...]]
    canary: tuple[Round, ...]

    @property
    def value(self) -> Block:
        """The block as the statistics take it."""
        values = {
            name: block_value(*zip(*rounds, strict=True)) for name, rounds in self.rounds.items()
        }
        return Block(values, block_value(*zip(*self.canary, strict=True)))


@dataclass(frozen=True)
class CompareConfig:
    """What a user asked of a comparison.

    `detect` as a fraction, NAME=REASON texts, `rules` to use instead of the usual ones.
    """

    detect: float = 0.05
    accept: tuple[str, ...] = ()
    pace: SamplingPlan = field(default_factory=SamplingPlan)
    memory: bool = True
    rules: Rules | None = None


@dataclass(frozen=True)
class Explained:
    """A regression's most grown operators."""

    name: str
    operators: tuple[Growth, ...]


@dataclass(frozen=True)
class Comparison:
    """All that came out: raw rounds of each block, the outcome, memory, and the facts of both sides.

    `n_steps` and `sequences` are those of a slice and of a step, by benchmark. `is_pinned`: whether
    all processes of a block kept to one core. `only_in_head`: not compared.
    """

    rules: Rules
    pace: SamplingPlan
    n_steps: Mapping[str, int]
    sequences: Mapping[str, float]
    is_pinned: bool
    blocks: tuple[TimedBlock, ...]
    outcome: Outcome
    footprints: tuple[Footprint, ...]
    facts: tuple[Mapping[str, Any], Mapping[str, Any]]
    only_in_head: tuple[str, ...]
    explained: tuple[Explained, ...]
    wall_time_s: float

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs between the two environments."""
        return differences(*self.facts)

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict that is not accepted, of time and of memory."""
        found = {self.outcome.verdict}
        if any(each.verdict == "regression" and not each.accepted for each in self.footprints):
            found.add("regression")
        return next(verdict for verdict in SEVERITY if verdict in found)

    def exit_code(self, fail_on: Collection[FailOn] = ()) -> int:
        """As DESIGN section 8 has it. CONTAMINATED timing does not excuse memory that grew."""
        code = self.outcome.exit_code(fail_on)
        grew = any(each.verdict == "regression" and not each.accepted for each in self.footprints)
        return REGRESSION_CODE if grew and code in (OK_CODE, UNDECIDED_CODE) else code


class Watcher(Protocol):
    """Is told how a comparison goes, between blocks."""

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """What is timed, and what head lacks."""

    def step(self, text: str) -> None:
        """What begins now."""

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """So many blocks are done, of so many until the next look, at so many benchmarks."""


def compare(base: Target, head: Target, asked: CompareConfig, watcher: Watcher) -> Comparison:
    """Time two sides until the rules say stop.

    Raises InputError for steps that fail, on either side, naming the benchmark.
    """
    started = time.monotonic()
    watcher.step("starting both sides")
    with ExitStack() as live:
        first, second = live.enter_context(side_clients((base.seat, head.seat)))
        bench = Bench((base, head), (first, second), asked.pace)
        family, only_in_head = bench.family(asked.accept)
        rules = asked.rules or rules_for(len(family.names), asked.detect)
        watcher.begin(family.names, family.missing)
        base_facts, head_facts = bench.facts()
        footprints: tuple[Footprint, ...] = ()
        if asked.memory:
            watcher.step("measuring memory")
            footprints = tuple(bench.footprint(name, family) for name in family.names)
        if family.names:
            one, other = live.enter_context(side_clients((base.seat, base.seat)))
            bench.canaries = (one, other)
            one.fresh()
            other.fresh()  # torch is imported before the budget runs
        blocks = list[TimedBlock]()
        outcome = _time(bench, blocks, family, rules, watcher)
        slower = [one.name for one in outcome.findings if one.verdict == "regression"]
        if slower:
            watcher.step("asking the profiler")
        explained = tuple(bench.explain(name) for name in slower)
    return Comparison(
        rules=rules,
        pace=asked.pace,
        n_steps=bench.n_steps,
        sequences=bench.sequences,
        is_pinned=bench.is_pinned,
        blocks=tuple(blocks),
        outcome=outcome,
        footprints=footprints,
        facts=(base_facts, head_facts),
        only_in_head=only_in_head,
        explained=explained,
        wall_time_s=time.monotonic() - started,
    )


def _time(
    bench: Bench, blocks: list[TimedBlock], family: Family, rules: Rules, watcher: Watcher
) -> Outcome:
    """Add blocks until `decide` stops, or the budget is spent."""
    bench.start()
    while True:
        values = [block.value for block in blocks]
        decision = decide(values, family, rules, budget_over=bench.is_spent())
        if isinstance(decision, Stop):
            return decision.outcome
        wanted = len(blocks) + decision.n_blocks
        while len(blocks) < wanted and not bench.is_spent():
            watcher.block(len(blocks), wanted, decision.names)
            n_left = max(wanted, _n_least(rules)) - len(blocks)
            blocks.append(bench.block(decision.names, n_left))


def _n_least(rules: Rules) -> int:
    """Blocks that find a regression at the first look and confirm it.

    A budget must have room for so many.
    """
    return rules.looks[min(1, len(rules.looks) - 1)].n_blocks


class Bench:
    """The live processes of one or two sides, and what stays the same from block to block."""

    def __init__(
        self, places: tuple[Target, ...], sides: tuple[SideClient, ...], pace: SamplingPlan
    ) -> None:
        self.places, self.sides, self.pace = places, sides, pace
        self.canaries = sides  # until they are needed, just before the first block
        seats = [replace(talker.spec, label="") for talker in sides]
        self.are_alike = all(seat == seats[0] for seat in seats)  # of one environment
        self.is_pinned = True  # until a side has several threads, or the system can't
        self.n_blocks = 0
        self.n_steps: dict[str, int] = {}
        self.sequences: dict[str, float] = {}
        self.started = self.set_up_s = self.round_s = 0.0
        self.previous: SideClient | None = None  # whose slice was the last

    def names(self) -> tuple[Sequence[str], ...]:
        """What each side has. Leaves them loaded."""
        return tuple(answer["names"] for answer in self._load(self.sides))

    def family(self, accept: Sequence[str]) -> tuple[Family, tuple[str, ...]]:
        """What base has, and what head alone has. Leaves both sides loaded."""
        base, head = self.names()
        common = tuple(name for name in base if name in head)
        missing = tuple(name for name in base if name not in head)
        accepted = parse_accepted(accept, base)
        added = tuple(name for name in head if name not in base)
        return Family(common, missing, accepted), added

    def facts(self) -> tuple[Mapping[str, Any], ...]:
        """The facts of each side, as they are after loading."""
        return tuple(self._both(self.sides, "facts"))

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
        """Whether the budget has no room for another block; one block is always timed."""
        if self.pace.budget_s is None or self.n_blocks == 0:
            return False
        least_s = self.set_up_s + LEAST_ROUNDS * self.round_s
        return time.monotonic() - self.started + least_s > self.pace.budget_s

    def block(self, names: Sequence[str], n_left: int) -> TimedBlock:
        """Fresh processes on all sides, warmed up; then the rounds.

        With a budget so many that `n_left` such blocks fit.
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

    def explain(self, name: str) -> Explained:
        """Where a benchmark's time grew, by the profiler."""
        self._load(self.sides)
        with naming(name):
            self._both(self.sides, "prepare", name=name)
            base, head = (side.ask("profile", name=name) for side in self.sides)
        return Explained(name, grown(base, head))

    def _n_rounds(self, n_left: int, started: float) -> int:
        """Rounds of a block, of `n_left` that must fit into what was left of the budget when it started."""
        if self.pace.budget_s is None or self.round_s == 0.0:
            return self.pace.n_rounds
        left_s = USED * (self.pace.budget_s - (started - self.started))
        n_rounds = math.floor((left_s / n_left - self.set_up_s) / self.round_s)
        return min(max(LEAST_ROUNDS, n_rounds), self.pace.n_rounds)

    def _renew(self) -> None:
        """Take the luck of a fork server off the sides.

        Its addresses and its hash seed are those of all its forks.

        Where both sides have the same environment they change servers from block to block, so that
        a server's luck falls on both alike. Otherwise, and for one side alone, each block has new
        servers, which must import torch again.
        """
        if len(self.sides) == 2 and self.are_alike:
            self.sides = swapped(self.sides)
        else:
            for talker in self.sides:
                talker.restart()
        self.canaries = swapped(self.canaries)

    def _pin(self, loaded: Sequence[Mapping[str, Any]]) -> None:
        """Keep all processes to one core, unless one of them has several threads."""
        if any(answer["threads"] > 1 for answer in loaded):
            self.is_pinned = False
            return
        for talker in (*self.sides, *self.canaries):
            core = talker.ask("pin", turn=self.n_blocks)["core"]
            self.is_pinned = self.is_pinned and core is not None

    def _round(self, every: Sequence[tuple[str, tuple[SideClient, ...]]]) -> dict[str, Round]:
        """AB for each, then BA for each."""
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

    def _come_after_head(self, talker: SideClient, name: str) -> None:
        """Where the environments differ, let a step of head go before each slice in base's environment.

        A process that follows one of its own environment finds torch's code in the caches, and one
        that follows another does not. So base and both canaries always follow head, as head always
        follows one of them. Measured with torch 2.13.0 against 2.14.1: without it one canary, which
        followed head more often than the other, was 1.4 % slower.
        """
        head = self.sides[1]
        if talker is not head and self.previous is not head and not self.are_alike:
            with naming(name):
                head.ask("slice", name=name, n_steps=1)
        self.previous = talker

    def _beside_the_canary(
        self, every: Sequence[tuple[str, tuple[SideClient, ...]]]
    ) -> dict[str, Round]:
        """Of one side: xC for each, then Cx for each, so that what the machine does for a while falls on both alike.

        The canary's time is the median over benchmarks of its two slices beside each: a sum over as
        many as theirs.
        """
        *benchmarks, (canary, (alone,)) = every
        own: dict[str, float] = {name: 0.0 for name, _ in benchmarks}
        beside = dict(own)
        for order in (benchmarks, benchmarks[::-1]):
            for name, (side,) in order:
                slices = [(name, side, own), (canary, alone, beside)]
                for timed, talker, times in slices if order is benchmarks else slices[::-1]:
                    with naming(timed):
                        answer = talker.ask("slice", name=timed, n_steps=self.n_steps[timed])
                    times[name] += answer["time_s"]
        found: dict[str, Round] = {
            name: (time_s / (2 * self.n_steps[name]),) for name, time_s in own.items()
        }
        return found | {canary: (median(beside.values()) / (2 * self.n_steps[canary]),)}

    def _warm_up(self, name: str, pair: tuple[SideClient, ...]) -> None:
        """The steps of a slice are those of the first warm-up of base, on both sides and in all blocks."""
        for talker in pair:
            n_steps = self.n_steps.get(name, 0)
            answer = talker.ask("warm_up", name=name, slice_s=self.pace.slice_s, n_steps=n_steps)
            self.n_steps[name] = answer["n_steps"]

    def _load(self, pair: tuple[SideClient, ...]) -> list[dict[str, Any]]:
        """Fresh processes that have loaded their steps."""
        for talker in pair:
            talker.fresh()
        if pair is not self.sides:
            return self._both(pair, "load", file="", paths=[], folder="")
        for talker, place in zip(pair, self.places, strict=True):
            talker.send("load", **place.load())
        return [talker.receive() for talker in pair]

    def _both(
        self, pair: tuple[SideClient, ...], do: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Ask both at once; not for what is timed."""
        for talker in pair:
            talker.send(do, **arguments)
        return [talker.receive() for talker in pair]

    def _footprint(self, name: str, family: Family) -> Footprint:
        self._load(self.sides)
        with naming(name):
            base, head = self._both(self.sides, "memory", name=name)
        return footprint(name, base, head, family.accepted.get(name))

    def _refuse_others_code(self) -> None:
        """Refuse a revision whose steps imported the working tree's code.

        Both sides would be the same.
        """
        for talker, place in zip(self.sides, self.places, strict=True):
            if place.watched is None:
                continue
            foreign, own = place.watched
            files = talker.ask("modules", folder=str(foreign))["files"]
            theirs = [file for file in files if (own / file).is_file()]
            if theirs:
                raise InputError(
                    f"--{talker.spec.label}",
                    expected=f"steps that import the code of {place.side.label}",
                    got=Shown(f"{theirs[0]} of the working tree"),
                    remedy='give --install "pip install ."',
                )


def swapped(side_clients: tuple[SideClient, ...]) -> tuple[SideClient, ...]:
    """The processes of two sides, each now the other side's; that of one side alone stays."""
    seats = [talker.spec for talker in side_clients]
    for talker, seat in zip(side_clients, reversed(seats), strict=True):
        talker.spec = seat
    return side_clients[::-1]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors of steps name the benchmark."""
    try:
        yield
    except StepError as error:
        raise error.of(name) from None
