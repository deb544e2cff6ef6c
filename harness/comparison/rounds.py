"""A comparison as it is timed: slices of two live processes in turn, blocks of fresh ones, until the rules say stop.

A round goes over all benchmarks and the canary twice: first a slice of base and then one of head for each, then head and then
base. So every slice follows one of another process, and what drifts steadily falls on both sides alike. The canary has two
processes of its own, both in base's environment. Everything else that a comparison tells is asked before the first block or after
the last: nothing runs beside a slice.

A recording (recording.py) has one side. Then a slice of the canary stands beside each slice of a benchmark, before and after.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final, Protocol

from harness.comparison.blocks import Block, block_value
from harness.comparison.explaining import Difference, Growth, differences, grown
from harness.comparison.footprints import Footprint, footprint, smaller
from harness.comparison.places import Place
from harness.comparison.rules import Rules, parse_accepted, rules_for
from harness.comparison.talking import StepError, Talker, talkers
from harness.comparison.verdicts import (
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
from harness.errors import InputError, Shown

CANARY: Final = "canary"

LEAST_ROUNDS: Final = 8
"""A budget makes blocks shorter rather than fewer, down to this."""

Round = tuple[float, ...]
"""Seconds a step of base and of head, each over two slices; of a recording, of its one side."""


@dataclass(frozen=True)
class Pace:
    """How long a slice is, how many rounds a block has, and seconds for all of it (None: as long as it takes).

    `new_servers`: each block's processes come from new fork servers, at the cost of importing torch. Forks of one server share
    its addresses and its hash seed, so that without it blocks would share a part of the luck that they are there to average.
    """

    slice_s: float = 0.025
    n_rounds: int = 24
    budget_s: float | None = None
    new_servers: bool = True


@dataclass(frozen=True)
class TimedBlock:
    """The rounds of one pair of fresh processes, by benchmark, and the canary's. What conclusions rest on: `value`."""

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
class Asked:
    """What a user asked of a comparison: `detect` as a fraction, NAME=REASON texts, `rules` to use instead of the usual ones."""

    detect: float = 0.05
    accept: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
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

    `n_steps` and `sequences` are those of a slice and of a step, by benchmark. `only_in_head`: not compared.
    """

    rules: Rules
    pace: Pace
    n_steps: Mapping[str, int]
    sequences: Mapping[str, float]
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


def compare(base: Place, head: Place, asked: Asked, watcher: Watcher) -> Comparison:
    """Time two sides until the rules say stop. Raises InputError for steps that fail, on either side, naming the benchmark."""
    started = time.monotonic()
    watcher.step("starting both sides")
    with ExitStack() as live:
        first, second = live.enter_context(talkers((base.seat, head.seat)))
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
            one, other = live.enter_context(talkers((base.seat, base.seat)))
            bench.canaries = (one, other)
        blocks = list[TimedBlock]()
        outcome = _time(bench, blocks, family, rules, watcher)
        slower = [one.name for one in outcome.findings if one.verdict == "regression"]
        if slower:
            watcher.step("asking the profiler")
        explained = tuple(bench.explain(name) for name in slower)
    return Comparison(
        rules=rules,
        pace=bench.pace,
        n_steps=bench.n_steps,
        sequences=bench.sequences,
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
    started = time.monotonic()
    while True:
        values = [block.value for block in blocks]
        decision = decide(values, family, rules, budget_over=bench.is_spent(started, len(blocks)))
        if isinstance(decision, Stop):
            return decision.outcome
        wanted = len(blocks) + decision.n_blocks
        while len(blocks) < wanted and not bench.is_spent(started, len(blocks)):
            watcher.block(len(blocks), wanted, decision.names)
            blocks.append(bench.block(decision.names, rules.looks[0].n_blocks))


class Bench:
    """The live processes of one or two sides, and what stays the same from block to block."""

    def __init__(self, places: tuple[Place, ...], sides: tuple[Talker, ...], pace: Pace) -> None:
        self.places, self.sides, self.pace = places, sides, pace
        self.canaries = sides  # until they are needed, just before the first block
        self.n_steps: dict[str, int] = {}
        self.sequences: dict[str, float] = {}
        self.slowest_block_s = 0.0

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

    def is_spent(self, started: float, n_blocks: int) -> bool:
        """Whether the budget has no room for another block; one block is always timed."""
        budget_s = self.pace.budget_s
        if budget_s is None or n_blocks == 0:
            return False
        return time.monotonic() - started + self.slowest_block_s > budget_s

    def block(self, names: Sequence[str], n_first: int) -> TimedBlock:
        """Fresh processes on all sides, warmed up; then the rounds. A budget shall hold at least `n_first` of them."""
        started = time.monotonic()
        if self.pace.new_servers and self.slowest_block_s > 0:  # those of the first block are new
            for talker in (*self.sides, *self.canaries):
                talker.restart()
        self._load(self.sides)
        self._load(self.canaries)
        for name in names:
            with naming(name):
                for answer in self._both(self.sides, "prepare", name=name):
                    self.sequences[name] = answer["sequences_per_step"]
        self._both(self.canaries, "prepare", name=CANARY)
        self._refuse_others_code()
        every = [(name, self.sides) for name in names] + [(CANARY, self.canaries)]
        for name, pair in every:
            with naming(name):
                self._warm_up(name, pair)
        ready = time.monotonic()
        rounds = dict[str, list[Round]]({name: [] for name, _ in every})
        while len(rounds[CANARY]) < self.pace.n_rounds:
            for name, both in self._round(every).items():
                rounds[name].append(both)
            if self.slowest_block_s == 0.0 and len(rounds[CANARY]) == 1:
                self._fit(n_first, ready - started, time.monotonic() - ready)
        self.slowest_block_s = max(self.slowest_block_s, time.monotonic() - started)
        canary = tuple(rounds.pop(CANARY))
        return TimedBlock({name: tuple(each) for name, each in rounds.items()}, canary)

    def explain(self, name: str) -> Explained:
        """Where a benchmark's time grew, by the profiler."""
        self._load(self.sides)
        with naming(name):
            self._both(self.sides, "prepare", name=name)
            base, head = (side.ask("profile", name=name) for side in self.sides)
        return Explained(name, grown(base, head))

    def _fit(self, n_first: int, set_up_s: float, round_s: float) -> None:
        """Make blocks so short that those of the first look fit into the budget; from the first round of the first block."""
        if self.pace.budget_s is None:
            return
        room_s = self.pace.budget_s / n_first - set_up_s
        n_rounds = max(LEAST_ROUNDS, math.floor(room_s / round_s))
        self.pace = replace(self.pace, n_rounds=min(n_rounds, self.pace.n_rounds))

    def _round(self, every: Sequence[tuple[str, tuple[Talker, ...]]]) -> dict[str, Round]:
        """AB for each, then BA for each."""
        if len(self.sides) == 1:
            return self._beside_the_canary(every)
        times = {name: [0.0, 0.0] for name, _ in every}
        for order in ((0, 1), (1, 0)):
            for name, pair in every:
                with naming(name):
                    for side in order:
                        answer = pair[side].ask("slice", name=name, n_steps=self.n_steps[name])
                        times[name][side] += answer["time_s"]
        return {
            name: (base / (2 * self.n_steps[name]), head / (2 * self.n_steps[name]))
            for name, (base, head) in times.items()
        }

    def _beside_the_canary(
        self, every: Sequence[tuple[str, tuple[Talker, ...]]]
    ) -> dict[str, Round]:
        """Of one side: xC for each, then Cx for each, so that what the machine does for a while falls on both alike.

        The canary's time is the median over benchmarks of its two slices beside each: a sum over as many as theirs.
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

    def _warm_up(self, name: str, pair: tuple[Talker, ...]) -> None:
        """The steps of a slice are those of the first warm-up of base, on both sides and in all blocks."""
        for talker in pair:
            n_steps = self.n_steps.get(name, 0)
            answer = talker.ask("warm_up", name=name, slice_s=self.pace.slice_s, n_steps=n_steps)
            self.n_steps[name] = answer["n_steps"]

    def _load(self, pair: tuple[Talker, ...]) -> list[dict[str, Any]]:
        """Fresh processes that have loaded their steps."""
        for talker in pair:
            talker.fresh()
        if pair is not self.sides:
            return self._both(pair, "load", file="", paths=[], folder="")
        for talker, place in zip(pair, self.places, strict=True):
            talker.send("load", **place.load())
        return [talker.receive() for talker in pair]

    def _both(self, pair: tuple[Talker, ...], do: str, **arguments: Any) -> list[dict[str, Any]]:
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
        """Refuse a revision whose steps imported the working tree's code: both sides would be the same."""
        for talker, place in zip(self.sides, self.places, strict=True):
            if place.watched is None:
                continue
            foreign, own = place.watched
            files = talker.ask("modules", folder=str(foreign))["files"]
            theirs = [file for file in files if (own / file).is_file()]
            if theirs:
                raise InputError(
                    f"--{talker.seat.label}",
                    expected=f"steps that import the code of {place.side.label}",
                    got=Shown(f"{theirs[0]} of the working tree"),
                    remedy='give --install "pip install ."',
                )


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors of steps name the benchmark."""
    try:
        yield
    except StepError as error:
        raise error.of(name) from None
