"""The numbers of a bench's report, from its rows: gains over `plain`, limits, cost of length.

All are computed when the stored rows are read. A number that was not measured is None, NaN or
absent, never 0. No texts, no drawing.
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
SHAPE_KEYS = ("hidden_size", "num_layers", "sequence_length", "batch_size", "initialization")

ThroughputRow = Mapping[Any, Any]
# The values of SHAPE.
ShapeValues = tuple[Any, ...]
Effect = Literal["gain", "loss", "undecided"]
PROCESS_MARGIN = 1.05
"""A smaller gain is no advice.

Each variant runs in its own process. The same code in two processes differs by more than 5 % in a
quarter to a half of all pairs (measured on 2 virtual cores). The interval over the rounds of one
pair does not include this difference."""
LIMITS = ("arithmetic", "bytes", "latency")
OTHER_LATENCY = frozenset(("compiled", "cuda_graph"))
"""Variants without a latency limit: it was measured for eager time steps, which they replace."""


@dataclasses.dataclass(frozen=True)
class VariantGain:
    """The speed of one row as a multiple of another row's speed in the same rounds.

    `low` and `high` are the ends of the interval; NaN with too few rounds. `over_tuned` is the gain
    over `tuned`, on which every variant except `plain` is built; None if `tuned` was not timed.
    """

    cell: str
    shape: ShapeValues
    value: float
    low: float
    high: float
    over_tuned: VariantGain | None = None

    @property
    def effect(self) -> Effect:
        """The effect that the interval shows: "undecided" if the interval contains 1."""
        if self.low > 1:
            return "gain"
        return "loss" if self.high < 1 else "undecided"

    @property
    def is_large(self) -> bool:
        """Whether the whole interval is further from 1 than PROCESS_MARGIN."""
        return self.low > PROCESS_MARGIN or self.high < 1 / PROCESS_MARGIN

    @property
    def is_advised(self) -> bool:
        """Whether there is a large gain over `plain`, and over `tuned` if that was timed.

        Without the second condition, all of the gain may be that of `tuned`.
        """
        shown = (self, self.over_tuned or self)
        return all(gain.is_large and gain.effect == "gain" for gain in shown)


@dataclasses.dataclass(frozen=True)
class VariantEffect:
    """The gains of one variant on one device, at every shape.

    `reference` holds those at the reference shape.
    """

    device: str
    variant: str
    gains: tuple[VariantGain, ...]
    reference: tuple[VariantGain, ...]

    @property
    def median(self) -> float:
        """Median gain over cells and shapes. Changes are ranked by it."""
        return statistics.median(gain.value for gain in self.gains)

    def at_reference(self, effect: Effect) -> tuple[VariantGain, ...]:
        """The gains at the reference shape with this effect."""
        return tuple(gain for gain in self.reference if gain.effect == effect)

    @property
    def advised(self) -> tuple[VariantGain, ...]:
        """The advised gains at the reference shape, the largest first.

        Empty for `denormals_kept`, which is only a comparison.
        """
        found = (gain for gain in self.reference if gain.is_advised and self.variant != KEPT)
        return tuple(sorted(found, key=lambda gain: -gain.value))

    @property
    def losing(self) -> tuple[VariantGain, ...]:
        """The large losses at the reference shape."""
        return tuple(gain for gain in self.at_reference("loss") if gain.is_large)

    @property
    def worse_than_tuned(self) -> tuple[VariantGain, ...]:
        """Gains over `plain` at the reference shape that are large losses over `tuned`."""
        if self.variant == KEPT:
            return ()
        gaining = (g.over_tuned for g in self.reference if g.effect == "gain")
        return tuple(own for own in gaining if own and own.effect == "loss" and own.is_large)

    def count(self, effect: Effect) -> int:
        """Number of rows with this effect."""
        return sum(gain.effect == effect for gain in self.gains)


@dataclasses.dataclass(frozen=True)
class StepLimits:
    """The lower bounds of a step's time: seconds by name ("arithmetic", "bytes", "latency").

    An unknown bound is absent.
    """

    step_time_s: float
    bounds_s: Mapping[str, float]

    @property
    def nearest(self) -> str | None:
        """The name of the largest bound; None if no bound is known."""
        return max(self.bounds_s, key=lambda name: self.bounds_s[name], default=None)

    def fraction(self, name: str) -> float:
        """A bound as a share of the time taken; NaN if it is unknown."""
        return self.bounds_s.get(name, math.nan) / self.step_time_s


@dataclasses.dataclass(frozen=True)
class MissingRows:
    """The rows of one variant on one device that have no time, for one reason.

    `everywhere`: no row of the variant on this device has a time.
    """

    device: str
    variant: str
    reason: str
    benchmarks: tuple[str, ...]
    everywhere: bool


@dataclasses.dataclass(frozen=True)
class Timings:
    """The numbers of a report, from the records of one bench.

    `blocks` has the time of every block, by name of the benchmark.
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
        """The variant used to compare shapes on a device: `tuned` if it was timed."""
        found = {row["variant"] for row in self.steps if row["device"] == device}
        return next((each for each in (TUNED, *self.variants) if each in found), TUNED)

    def reference(self, device: str) -> ShapeValues | None:
        """The grid's own shape if it was timed on the device, else the shape with the most rows.

        None if the device has no training step.
        """
        counts: dict[ShapeValues, int] = {}
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
        """(task, cell) of the grid without any time, of training or of inference."""
        found = {row["cell"] for row in self.timed}
        if (table := self.records.inference) is not None:
            found |= set(table.loc[table["median_us"].notna(), "cell"])
        task = self.records.grid.shape.task
        return tuple((task, cell) for cell in self.cells if cell not in found)

    @functools.cached_property
    def unsteady(self) -> tuple[str, ...]:
        """Benchmarks whose warm-up ended before their blocks agreed."""
        known = ((row["benchmark"], row["steady"]) for row in self.timed)
        return tuple(str(name) for name, steady in known if isinstance(steady, bool) and not steady)

    @functools.cached_property
    def usual_width(self) -> float:
        """Median relative width of the intervals of step times; NaN without intervals."""
        ends = ((r["step_time_high_s"], r["step_time_low_s"], r["step_time_s"]) for r in self.steps)
        widths = [(high - low) / middle for high, low, middle in ends if high >= low]
        return statistics.median(widths) if widths else math.nan

    # --- What a variant changes -------------------------------------------------------------

    @functools.cached_property
    def changes(self) -> tuple[VariantEffect, ...]:
        """Each variant except `plain` with a known gain, the largest median gain first."""
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
            found.append(VariantEffect(device, variant, gains, reference))
        return tuple(sorted(found, key=lambda change: -change.median))

    def _gain(self, row: ThroughputRow) -> VariantGain:
        ends = float(row["speedup_low"]), float(row["speedup_high"])
        cell, shape, own = str(row["cell"]), shape_of(row), None
        tuned = self._tuned.get((row["device"], cell, shape))
        if tuned is not None and row["variant"] != TUNED:
            ratio = self.ratio(tuned, row)
            copies = float(row["n_processes"]) if row["n_processes"] > 1 else 1.0
            if ratio.value is not None:
                between = ratio.interval or stats.Interval(math.nan, math.nan, 0.0)
                low, high = copies * between.low, copies * between.high
                own = VariantGain(cell, shape, copies * ratio.value, low, high)
        return VariantGain(cell, shape, float(row["speedup"]), *ends, own)

    @functools.cached_property
    def _tuned(self) -> dict[tuple[Any, ...], ThroughputRow]:
        """Tuned training steps by device, cell and shape."""
        return {
            (row["device"], row["cell"], shape_of(row)): row
            for row in self.steps
            if row["variant"] == TUNED
        }

    @functools.cached_property
    def missing(self) -> tuple[MissingRows, ...]:
        """Rows without a time, grouped by device, variant and reason."""
        has_time = {(row["device"], row["variant"]) for row in self.timed}
        groups: dict[tuple[str, str, str], list[str]] = {}
        for row in self.rows:
            if not row["step_time_s"] > 0:
                key = (str(row["device"]), str(row["variant"]), str(row["reason"]))
                groups.setdefault(key, []).append(str(row["benchmark"]))
        return tuple(
            MissingRows(device, variant, reason, tuple(names), (device, variant) not in has_time)
            for (device, variant, reason), names in groups.items()
        )

    # --- Against the blocks -----------------------------------------------------------------

    def times(self, row: ThroughputRow) -> Sequence[float]:
        """Block times of a row, in the order of rounds; only the median if none are stored."""
        return self.blocks.get(str(row["benchmark"])) or (float(row["step_time_s"]),)

    def ratio(self, first: ThroughputRow, second: ThroughputRow) -> stats.Estimate:
        """The time of `first` divided by that of `second`, over their shared rounds."""
        a, b = self.times(first), self.times(second)
        if len(a) != len(b):
            value = float(first["step_time_s"]) / float(second["step_time_s"])
            return stats.Estimate(value, None, 1)
        return stats.paired_ratio(a, b)

    def beyond(self, longer: ThroughputRow, shorter: ThroughputRow) -> stats.Estimate:
        """The time of `longer` minus that of `shorter`, in seconds, over their shared rounds."""
        a, b = self.times(longer), self.times(shorter)
        if len(a) != len(b):
            value = float(longer["step_time_s"]) - float(shorter["step_time_s"])
            return stats.Estimate(value, None, 1)
        return stats.median_interval(one - other for one, other in zip(a, b, strict=True))

    def growth(self, rows: Sequence[ThroughputRow]) -> stats.PowerLaw | None:
        """The power law of step time against sequence length. `rows` differ in nothing else."""
        return stats.power_law({float(row["sequence_length"]): self.times(row) for row in rows})

    # --- Choices of rows --------------------------------------------------------------------

    def along(self, name: str, rows: Sequence[ThroughputRow]) -> list[ThroughputRow]:
        """Rows that differ only in the size `name` (and in initialisation).

        The other sizes are those with the most values of `name`; in a tie, the grid's own.
        """
        others = [key for key in SHAPE_KEYS if key not in (name, "initialization")]
        groups: dict[ShapeValues, list[ThroughputRow]] = {}
        for row in rows:
            groups.setdefault(tuple(row[key] for key in others), []).append(row)
        base = tuple(getattr(self.records.grid.shape, key) for key in others)
        most = max(
            groups,
            key=lambda at: (len({row[name] for row in groups[at]}), at == base),
            default=None,
        )
        return [] if most is None else groups[most]

    def comparable(self, device: str) -> list[ThroughputRow]:
        """Training steps of the usual variant on a device, at the grid's initialisation."""
        rows: list[ThroughputRow] = [
            row
            for row in self.steps
            if row["device"] == device and row["variant"] == self.usual(device)
        ]
        shape = self.reference(device)
        own = [row for row in rows if shape and row["initialization"] == shape[-1]]
        return own or rows


def shape_of(row: ThroughputRow) -> ShapeValues:
    """The values of SHAPE of a row."""
    return tuple(row[key] for key in SHAPE_KEYS)


def step_limits(row: ThroughputRow) -> StepLimits:
    """The limits of a row's step, from the rates that were measured in the same run.

    Rates and bytes are sums over all processes of the row.
    """
    step, gflops = float(row["step_time_s"]), float(row["gflops_per_second"])
    peak, moved = float(row["peak_gflops_per_second"]), _bytes_of_all(row)
    rate = float(row["copy_bytes_per_second"])
    bounds = {
        "arithmetic": gflops * step / peak if peak > 0 else math.nan,
        "bytes": moved / rate if rate > 0 else math.nan,
        "latency": math.nan if row["variant"] in OTHER_LATENCY else float(row["latency_bound_s"]),
    }
    return StepLimits(step, {name: value for name, value in bounds.items() if value > 0})


def flops_per_byte(row: ThroughputRow) -> float:
    """FLOP of a step for each byte that it moves, both by formula; NaN if one is unknown."""
    moved = _bytes_of_all(row)
    work = float(row["gflops_per_second"]) * 1e9 * float(row["step_time_s"])
    return work / moved if moved > 0 else math.nan


def _bytes_of_all(row: ThroughputRow) -> float:
    """The least bytes of a step, summed over the row's processes."""
    copies = float(row["n_processes"])
    return float(row["bytes_per_step"]) * (copies if copies > 1 else 1.0)


def ordered(
    rows: Sequence[ThroughputRow], cells: Sequence[str]
) -> Iterator[tuple[str, list[ThroughputRow]]]:
    """The rows of each cell that has any, in the order of the cells."""
    for cell in cells:
        if own := [row for row in rows if row["cell"] == cell]:
            yield cell, own


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row with its known sizes as whole numbers."""
    whole = {
        key: int(value)
        for key, value in row.items()
        if key in SHAPE_KEYS and isinstance(value, float) and value.is_integer()
    }
    return {str(key): value for key, value in row.items()} | whole
