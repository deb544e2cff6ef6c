"""What every section of a bench's report is given: its numbers, and phrases for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.bench.report.bench_summary import SHAPE_KEYS, ShapeValues, Timings, VariantGain
from harness.records import BenchRecords
from harness.rendering import fonts, theme
from harness.rendering.document import Column
from harness.rendering.messages import load_messages
from harness.rendering.report_context import ReportContext, report_command


@dataclasses.dataclass(frozen=True)
class BenchContext(ReportContext):
    """A ReportContext with the numbers of a bench."""

    timings: Timings

    @property
    def records(self) -> BenchRecords:
        """The result files of the bench."""
        return self.timings.records

    @property
    def many_devices(self) -> bool:
        """Whether sentences and tables must name the device."""
        return len(self.timings.devices) > 1

    def device(self, device: str) -> str:
        """The name of a device for a reader, such as CPU."""
        return self.messages.of("device", device)

    def on(self, device: str, sentence: str) -> str:
        """A sentence about one device, with the device's name if there are several."""
        if not self.many_devices:
            return sentence
        return self.messages("bench.on", device=self.device(device), sentence=sentence)

    def lead_columns(self) -> tuple[Column, ...]:
        """The leading columns of a table with a row for each (device, cell)."""
        cell = Column(self.messages("column.cell"), "cell")
        return (
            (Column(self.messages("column.device"), "group"), cell)
            if self.many_devices
            else (cell,)
        )

    def lead(self, device: str, cell: str) -> tuple[str, ...]:
        """The texts of a row in the leading columns."""
        return (device, cell) if self.many_devices else (cell,)

    def shape_columns(self, keys: Sequence[str] = SHAPE_KEYS) -> tuple[Column, ...]:
        """The columns for the shape of a row."""
        return tuple(
            Column(self.messages(f"column.{key}"), "text" if key == "initialization" else "number")
            for key in keys
        )

    def shape_cells(
        self, row: Mapping[Any, Any], keys: Sequence[str] = SHAPE_KEYS
    ) -> tuple[str, ...]:
        """The texts of a row in the shape columns."""
        return tuple(
            str(row[key]) if key == "initialization" else self.number(key, row[key]) for key in keys
        )

    def shape(self, shape: ShapeValues, keys: Sequence[str] = SHAPE_KEYS) -> str:
        """The sizes `keys` of a shape, as text for a sentence."""
        named = dict(zip(SHAPE_KEYS, shape, strict=True))
        items = []
        for key in keys:
            text = str(named[key]) if key == "initialization" else self.number(key, named[key])
            items.append(self.messages.of("bench.shape", key, value=text))
        return self.messages("bench.shape_between").join(items)

    def times(self, value: float, low: float = math.nan, high: float = math.nan) -> str:
        """A ratio, with its interval in brackets if it has one: 3.12 times (2.95 – 3.31)."""
        text = self.messages("bench.times", value=self.number("speedup", value))
        if math.isnan(low) or math.isnan(high):
            return text
        return self.messages("bench.with_interval", value=text, interval=self.ends(low, high))

    def ends(self, low: float, high: float) -> str:
        """The interval of a ratio as text; a dash for NaN ends."""
        if math.isnan(low) or math.isnan(high):
            return self.messages("none")
        low_text, high_text = (self.number("speedup", end) for end in (low, high))
        return self.messages("range", low=low_text, high=high_text)

    def gains(self, gains: Sequence[VariantGain]) -> str:
        """The gains of several cells as a list in a sentence."""
        items = (
            self.messages("bench.of_cell", cell=g.cell, value=self.times(g.value, g.low, g.high))
            for g in gains
        )
        return self.messages.listed(items)

    def change(self, variant: str) -> str:
        """The advice that leads to a variant, such as "run one thread, flush denormals"."""
        kind, equals, count = variant.partition("=")
        return (
            self.messages.of("bench.change", kind, n=count)
            if equals
            else self.messages.of("bench.change", variant)
        )


def bench_context(
    records: BenchRecords, blocks: Mapping[str, Sequence[float]], directory: Path, language: str
) -> BenchContext:
    """The context of the report in `directory`. `blocks` are the block times of each benchmark.

    Raises InputError for a language without texts.
    """
    messages = load_messages(language)
    timings = Timings(records, blocks)
    named = ("cell", "device", "device_name", "variant", "initialization", "reason")
    drawn = [*messages.texts.values(), *timings.cells, records.grid.shape.task]
    drawn += [str(row[key]) for row in timings.rows for key in named]
    return BenchContext(
        messages=messages,
        styles=theme.series_styles(timings.cells),
        fonts=fonts.choose(drawn),
        command=report_command(directory),
        tasks=(records.grid.shape.task,),
        cells=timings.cells,
        timings=timings,
    )
