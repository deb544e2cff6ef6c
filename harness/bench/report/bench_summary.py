"""From the rows of a bench to the numbers that its report shows.

Gains over `plain`, limits, growth with length. No words, no drawing.

Everything is derived from the stored rows on reading. What was not measured is None, NaN or empty,
never 0.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from harness import stats
from harness.records import BenchRecords

PLAIN, TUNED, KEPT = "plain", "tuned", "denormals_kept"
STEP = "training_step"
PARTS = ("forward", "forward_backward", STEP)
SHAPE = ("hidden_size", "num_layers", "sequence_length", "batch_size", "initialization")

Row = Mapping[Any, Any]
Shape = tuple[Any, ...]  # the values of SHAPE
Effect = Literal["gain", "loss", "undecided"]
PROCESS_MARGIN = 1.05
"""Each variant runs in a process of its own, and the same code in two processes differs by more than 5 % in a quarter to a half
of pairings (measured on 2 virtual cores), which no interval over the rounds of one pair knows of.
So a smaller gain is no advice."""
LIMITS = ("arithmetic", "bytes", "latency")
OTHER_LATENCY = frozenset(("compiled", "cuda_graph"))
"""Variants that run a time step in another way than the eager one whose latency was measured, so that it bounds none of theirs."""


@dataclasses.dataclass(frozen=True)
class Gain:
    """The speed of one row as a multiple of another's in the same rounds.

    `low` and `high` are NaN with too few of them.

    `over_tuned`: the same over `tuned`, which every other variant but `plain` is built on; None
    where that was not timed.
    """

    cell: str
    shape: Shape
    value: float
    low: float
    high: float
    over_tuned: Gain | None = None

    @property
    def effect(self) -> Effect:
        """What the interval shows: only one that lies wholly on one side of 1 shows anything."""
        if self.low > 1:
            return "gain"
        return "loss" if self.high < 1 else "undecided"

    @property
    def is_large(self) -> bool:
        """Whether the whole interval lies further from 1 than another process might move it."""
        return self.low > PROCESS_MARGIN or self.high < 1 / PROCESS_MARGIN

    @property
    def is_advised(self) -> bool:
        """Whether it gains over `plain`, and over `tuned` where that was timed.

        Else the gain may be all of `tuned`'s.
        """
        shown = (self, self.over_tuned or self)
        return all(gain.is_large and gain.effect == "gain" for gain in shown)


@dataclasses.dataclass(frozen=True)
class Change:
    """What one variant does to the speed of training on one device, at every shape.

    `reference` are those at the reference shape.
    """

    device: str
    variant: str
    gains: tuple[Gain, ...]
    reference: tuple[Gain, ...]

    @property
    def median(self) -> float:
        """Median gain over cells and shapes: what the changes are ranked by."""
        return statistics.median(gain.value for gain in self.gains)

    def at_reference(self, effect: Effect) -> tuple[Gain, ...]:
        """The cells for which the reference shape shows that effect."""
        return tuple(gain for gain in self.reference if gain.effect == effect)

    @property
    def advised(self) -> tuple[Gain, ...]:
        """The gains at the reference shape that an interval shows, the largest first.

        None of a variant that is there to compare.
        """
        found = (gain for gain in self.reference if gain.is_advised and self.variant != KEPT)
        return tuple(sorted(found, key=lambda gain: -gain.value))

    @property
    def losing(self) -> tuple[Gain, ...]:
        """The losses at the reference shape that are large enough to be told."""
        return tuple(gain for gain in self.at_reference("loss") if gain.is_large)

    @property
    def worse_than_tuned(self) -> tuple[Gain, ...]:
        """At the reference shape, over `tuned`.

        What gains over `plain` and loses what `tuned` alone would gain.
        """
        if self.variant == KEPT:
            return ()
        gaining = (g.over_tuned for g in self.reference if g.effect == "gain")
        return tuple(own for own in gaining if own and own.effect == "loss" and own.is_large)

    def count(self, effect: Effect) -> int:
        """Rows that show that effect, of all."""
        return sum(gain.effect == effect for gain in self.gains)


@dataclasses.dataclass(frozen=True)
class Limit:
    """What bounds a step: seconds that arithmetic, bytes and latency ask for at least, by name.

    One that is not known is absent.
    """

    step_time_s: float
    bounds_s: Mapping[str, float]

    @property
    def nearest(self) -> str | None:
        """The limit that asks for most; None where none is known."""
        return max(self.bounds_s, key=lambda name: self.bounds_s[name], default=None)

    def fraction(self, name: str) -> float:
        """The time that a limit asks for, as a share of the time taken.

        NaN where it is not known.
        """
        return self.bounds_s.get(name, math.nan) / self.step_time_s


@dataclasses.dataclass(frozen=True)
class Missing:
    """Rows without a time: of one variant on one device, for one reason.

    `everywhere`: the variant has no time there at all.
    """

    device: str
    variant: str
    reason: str
    benchmarks: tuple[str, ...]
    everywhere: bool


@dataclasses.dataclass(frozen=True)
class Timings:
    """The numbers of a report, over the records of one bench.

    `blocks` has the time of every block by name of the benchmark.
    """

    records: BenchRecords
    blocks: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """All rows of throughput.csv, in the order of the file."""
        table = self.records.throughput
        return () if table is None else tuple(_plain(row) for row in table.to_dict("records"))

    @functools.cached_property
    def timed(self) -> tuple[dict[str, Any], ...]:
        """Rows that have a time."""
        return tuple(row for row in self.rows if row["step_time_s"] > 0)

    @functools.cached_property
    def steps(self) -> tuple[dict[str, Any], ...]:
        """Timed rows of whole training steps."""
        return tuple(row for row in self.timed if row["measure"] == STEP)

    @functools.cached_property
    def cells(self) -> tuple[str, ...]:
        """The cells, in the grid's order."""
        found = [str(row["cell"]) for row in self.rows]
        if self.records.inference is not None:
            found += [str(cell) for cell in self.records.inference["cell"]]
        return tuple(dict.fromkeys([*self.records.grid.compare.cells, *found]))

    @functools.cached_property
    def devices(self) -> tuple[str, ...]:
        """Devices with a timed row, in the order of the file."""
        return tuple(dict.fromkeys(str(row["device"]) for row in self.timed))

    @functools.cached_property
    def variants(self) -> tuple[str, ...]:
        """The variants with a row, in the grid's order, `plain` and `tuned` first."""
        listed = [PLAIN, TUNED, *self.records.grid.compare.variants]
        found = dict.fromkeys(str(row["variant"]) for row in self.rows)
        return tuple(each for each in dict.fromkeys([*listed, *found]) if each in found)

    def usual(self, device: str) -> str:
        """The variant in which shapes are compared on a device: `tuned` where it was timed."""
        found = {row["variant"] for row in self.steps if row["device"] == device}
        return next((each for each in (TUNED, *self.variants) if each in found), TUNED)

    def reference(self, device: str) -> Shape | None:
        """The grid's own shape where it was timed on a device, else the one at which most was.

        None without any.
        """
        counts: dict[Shape, int] = {}
        for row in self.steps:
            if row["device"] == device:
                counts[shape_of(row)] = counts.get(shape_of(row), 0) + 1
        base = shape_of(vars(self.records.grid.shape))
        if base in counts or not counts:
            return base if counts else None
        return max(counts, key=lambda shape: counts[shape])

    def step(self, device: str, variant: str, cell: str) -> dict[str, Any] | None:
        """The row of a training step at the device's reference shape."""
        shape = self.reference(device)
        return next(
            (
                row
                for row in self.steps
                if (row["device"], row["variant"], row["cell"]) == (device, variant, cell)
                and shape_of(row) == shape
            ),
            None,
        )

    @functools.cached_property
    def missing_cells(self) -> tuple[tuple[str, str], ...]:
        """(task, cell) of the grid without a single time, of training or of inference."""
        found = {row["cell"] for row in self.timed}
        if (table := self.records.inference) is not None:
            found |= set(table.loc[table["median_us"].notna(), "cell"])
        task = self.records.grid.shape.task
        return tuple((task, cell) for cell in self.cells if cell not in found)

    @functools.cached_property
    def unsteady(self) -> tuple[str, ...]:
        """Names of timed rows whose warm-up ended before its blocks agreed."""
        known = ((row["benchmark"], row["steady"]) for row in self.timed)
        return tuple(str(name) for name, steady in known if isinstance(steady, bool) and not steady)

    @functools.cached_property
    def usual_width(self) -> float:
        """Median width of the intervals of step times, as a share of the time; NaN without any."""
        ends = ((r["step_time_high_s"], r["step_time_low_s"], r["step_time_s"]) for r in self.steps)
        widths = [(high - low) / middle for high, low, middle in ends if high >= low]
        return statistics.median(widths) if widths else math.nan

    # --- What a variant changes -------------------------------------------------------------

    @functools.cached_property
    def changes(self) -> tuple[Change, ...]:
        """Each variant but `plain` whose gain is known on a device, the largest median gain first."""
        found = []
        for device, variant in itertools.product(self.devices, self.variants):
            rows = [
                row
                for row in self.steps
                if (row["device"], row["variant"]) == (device, variant) and row["speedup"] > 0
            ]
            if variant == PLAIN or not rows:
                continue
            gains = tuple(self._gain(row) for row in rows)
            at = self.reference(device)
            reference = tuple(gain for gain in gains if gain.shape == at)
            found.append(Change(device, variant, gains, reference))
        return tuple(sorted(found, key=lambda change: -change.median))

    def _gain(self, row: Row) -> Gain:
        ends = float(row["speedup_low"]), float(row["speedup_high"])
        cell, shape, own = str(row["cell"]), shape_of(row), None
        tuned = self._tuned.get((row["device"], cell, shape))
        if tuned is not None and row["variant"] != TUNED:
            ratio = self.ratio(tuned, row)
            copies = float(row["n_processes"]) if row["n_processes"] > 1 else 1.0
            if ratio.value is not None:
                between = ratio.interval or stats.Interval(math.nan, math.nan, 0.0)
                low, high = copies * between.low, copies * between.high
                own = Gain(cell, shape, copies * ratio.value, low, high)
        return Gain(cell, shape, float(row["speedup"]), *ends, own)

    @functools.cached_property
    def _tuned(self) -> dict[tuple[Any, ...], Row]:
        """Tuned training steps by device, cell and shape."""
        return {
            (row["device"], row["cell"], shape_of(row)): row
            for row in self.steps
            if row["variant"] == TUNED
        }

    @functools.cached_property
    def missing(self) -> tuple[Missing, ...]:
        """Rows without a time, by device, variant and reason."""
        has_time = {(row["device"], row["variant"]) for row in self.timed}
        groups: dict[tuple[str, str, str], list[str]] = {}
        for row in self.rows:
            if not row["step_time_s"] > 0:
                key = (str(row["device"]), str(row["variant"]), str(row["reason"]))
                groups.setdefault(key, []).append(str(row["benchmark"]))
        return tuple(
            Missing(device, variant, reason, tuple(names), (device, variant) not in has_time)
            for (device, variant, reason), names in groups.items()
        )

    # --- Against the blocks -----------------------------------------------------------------

    def times(self, row: Row) -> Sequence[float]:
        """The times of a row's blocks, in the order of its rounds.

        Its median alone where they were not kept.
        """
        return self.blocks.get(str(row["benchmark"])) or (float(row["step_time_s"]),)

    def ratio(self, first: Row, second: Row) -> stats.Estimate:
        """How many times as long `first` takes as `second`, from the rounds that they share."""
        a, b = self.times(first), self.times(second)
        if len(a) != len(b):
            value = float(first["step_time_s"]) / float(second["step_time_s"])
            return stats.Estimate(value, None, 1)
        return stats.paired_ratio(a, b)

    def beyond(self, longer: Row, shorter: Row) -> stats.Estimate:
        """What `longer` takes beyond `shorter`, in seconds, from the rounds that they share."""
        a, b = self.times(longer), self.times(shorter)
        if len(a) != len(b):
            value = float(longer["step_time_s"]) - float(shorter["step_time_s"])
            return stats.Estimate(value, None, 1)
        return stats.median_interval(one - other for one, other in zip(a, b, strict=True))

    def growth(self, rows: Sequence[Row]) -> stats.PowerLaw | None:
        """How the time of a step grows with the length of its sequences, over rows that differ in nothing else."""
        return stats.power_law({float(row["sequence_length"]): self.times(row) for row in rows})

    # --- Choices of rows --------------------------------------------------------------------

    def along(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Rows that differ in one size alone.

        At those other sizes at which most of it was timed, the grid's own if it can be.
        """
        others = [key for key in SHAPE if key not in (name, "initialization")]
        groups: dict[Shape, list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row[key] for key in others), []).append(row)
        base = tuple(getattr(self.records.grid.shape, key) for key in others)
        most = max(
            groups,
            key=lambda at: (len({row[name] for row in groups[at]}), at == base),
            default=None,
        )
        return [] if most is None else groups[most]

    def comparable(self, device: str) -> list[Row]:
        """Training steps of the usual variant on a device, with the grid's initialisation where there is any."""
        rows: list[Row] = [
            row
            for row in self.steps
            if row["device"] == device and row["variant"] == self.usual(device)
        ]
        shape = self.reference(device)
        own = [row for row in rows if shape and row["initialization"] == shape[-1]]
        return own or rows


def shape_of(row: Row) -> Shape:
    """What a row was timed at, apart from task, cell, device and variant."""
    return tuple(row[key] for key in SHAPE)


def limit(row: Row) -> Limit:
    """The limits of a row's step, from what was measured in the same run.

    Rates are of all copies together, and so are the bytes.
    """
    step, gflops = float(row["step_time_s"]), float(row["gflops_per_second"])
    peak, moved = float(row["peak_gflops_per_second"]), _bytes_of_all(row)
    rate = float(row["copy_bytes_per_second"])
    bounds = {
        "arithmetic": gflops * step / peak if peak > 0 else math.nan,
        "bytes": moved / rate if rate > 0 else math.nan,
        "latency": math.nan if row["variant"] in OTHER_LATENCY else float(row["latency_bound_s"]),
    }
    return Limit(step, {name: value for name, value in bounds.items() if value > 0})


def flops_per_byte(row: Row) -> float:
    """Arithmetic of a step for each byte that it moves, by formula.

    NaN where one of them is not known.
    """
    moved = _bytes_of_all(row)
    work = float(row["gflops_per_second"]) * 1e9 * float(row["step_time_s"])
    return work / moved if moved > 0 else math.nan


def _bytes_of_all(row: Row) -> float:
    """The least bytes of a step in each of the row's processes, as its rates have the arithmetic of all."""
    copies = float(row["n_processes"])
    return float(row["bytes_per_step"]) * (copies if copies > 1 else 1.0)


def distinct(rows: Sequence[Row], keys: Sequence[str] = SHAPE) -> tuple[str, ...]:
    """Those keys in which the rows differ."""
    return tuple(key for key in keys if len({row[key] for row in rows}) > 1)


def ordered(rows: Sequence[Row], cells: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each cell that has any, in the order of the cells."""
    for cell in cells:
        if own := [row for row in rows if row["cell"] == cell]:
            yield cell, own


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row whose sizes are whole numbers where they are known."""
    whole = {
        key: int(value)
        for key, value in row.items()
        if key in SHAPE and isinstance(value, float) and value.is_integer()
    }
    return {str(key): value for key, value in row.items()} | whole
