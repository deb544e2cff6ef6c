"""Gradients that vanish: the share of denormal and of zero entries against length, and what flushing denormals wins."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness import stats
from harness.reporting import labels, theme
from harness.reporting.axes import spaced
from harness.reporting.bench_page import BenchPage
from harness.reporting.document import Column, Paragraph, Picture, Section, Table
from harness.reporting.timings import KEPT, TUNED, Row, shape_of


@dataclasses.dataclass(frozen=True)
class _Point:
    """One cell at one length and initialisation. `gain`: how many times as long a step takes that keeps denormals."""

    cell: str
    initialization: str
    length: float
    row: Row
    gain: stats.Estimate

    @property
    def denormal(self) -> float:
        """Share of gradient entries that are denormal."""
        return float(self.row["denormal_fraction"])

    @property
    def zero(self) -> float:
        """Share of gradient entries that are zero."""
        return float(self.row["zero_fraction"])


NOT_TIMED = stats.Estimate(None, None, 0)


def section(page: BenchPage) -> Section:
    """Shares above, gains below, a column for each initialisation; both in words at the longest length."""
    words = page.words
    title = words("denormals.title")
    points = _points(page)
    if not points:
        return page.not_measured("denormals", title, words("denormals.absent"))
    said = [text for name in _initializations(points) if (text := _sentence(page, points, name))]
    blocks = [Paragraph(words("denormals.intro")), Paragraph(" ".join(said))]
    return Section("denormals", title, (*blocks[: 2 if said else 1], _picture(page, points)))


def _points(page: BenchPage) -> list[_Point]:
    """Steps on the first CPU with a known share or gain, at the sizes at which most lengths were timed."""
    timings = page.timings
    steps = [row for row in timings.steps if not str(row["device"]).startswith("cuda")]
    kept: dict[tuple[str, object], Row] = {
        (row["cell"], shape_of(row)): row for row in steps if row["variant"] == KEPT
    }
    chosen: dict[tuple[str, object], Row] = {}
    for row in sorted(steps, key=lambda row: row["variant"] != TUNED):  # flushed ones first
        known = not math.isnan(row["denormal_fraction"])
        if known or (row["variant"] == TUNED and (row["cell"], shape_of(row)) in kept):
            chosen.setdefault((row["cell"], shape_of(row)), row)
    found = []
    for each in timings.along("sequence_length", list(chosen.values())):
        slow = kept.get((each["cell"], shape_of(each)))
        gain = timings.ratio(slow, each) if slow and each["variant"] == TUNED else NOT_TIMED
        length, name = float(each["sequence_length"]), str(each["initialization"])
        found.append(_Point(str(each["cell"]), name, length, each, gain))
    order = {cell: i for i, cell in enumerate(page.cells)}
    return sorted(found, key=lambda point: (point.length, order[point.cell]))


def _initializations(points: Sequence[_Point]) -> list[str]:
    """The initialisations, the one with most denormals first."""
    names = dict.fromkeys(point.initialization for point in points)

    def most(name: str) -> float:
        shares = [p.denormal + p.zero for p in points if p.initialization == name]
        return max((share for share in shares if not math.isnan(share)), default=0.0)

    return sorted(names, key=lambda name: -most(name))


def _sentence(page: BenchPage, points: Sequence[_Point], name: str) -> str:
    """Shares and gains of each cell at the longest length with an initialisation."""
    words = page.words
    own = [point for point in points if point.initialization == name]
    longest = [point for point in own if point.length == own[-1].length]
    shares = [
        words(
            "denormals.share",
            cell=point.cell,
            denormal=page.number("denormal_fraction", point.denormal),
            zero=page.number("zero_fraction", point.zero),
        )
        for point in longest
        if not math.isnan(point.denormal + point.zero)
    ]
    gains = [
        words("bench.of_cell", cell=point.cell, value=_gain(page, point.gain))
        for point in longest
        if point.gain.value is not None
    ]
    length = page.number("sequence_length", own[-1].length)
    said = []
    if shares:
        listed = words.listed(shares)
        said.append(words("denormals.at", length=length, initialization=name, shares=listed))
    if gains:
        key = "denormals.wins" if shares else "denormals.wins_at"
        listed = words.listed(gains)
        said.append(words(key, length=length, initialization=name, gains=listed))
    return " ".join(said)


def _gain(page: BenchPage, gain: stats.Estimate) -> str:
    assert gain.value is not None
    between = gain.interval
    ends = (between.low, between.high) if between else (math.nan, math.nan)
    return page.times(gain.value, *ends)


# --- The picture ------------------------------------------------------------------------------


def _picture(page: BenchPage, points: Sequence[_Point]) -> Picture:
    words = page.words
    names = _initializations(points)
    kinds: list[tuple[str, Callable[[_Point], tuple[float, float, float]]]] = [
        ("denormal", lambda point: (point.denormal,) * 3),
        ("zero", lambda point: (point.zero,) * 3),
        ("gain", _ends),
    ]
    kinds = [kind for kind in kinds if any(not math.isnan(kind[1](p)[0]) for p in points)]
    drawing, panels = theme.grid(
        len(names) * len(kinds), columns=len(names), height=1.95, sharey="row", sharex=True
    )
    placed = {}
    for i, (kind, value) in enumerate(kinds):
        for j, name in enumerate(names):
            axes = panels[i * len(names) + j]
            own = [point for point in points if point.initialization == name]
            placed[axes] = _draw(page, axes, own, value)
            _scale(page, axes, kind, points)
            if i == 0:
                axes.set_title(name)
            if i == len(kinds) - 1:
                axes.set_xlabel(words("throughput.x_sequence_length"))
        panels[i * len(names)].set_ylabel(words(f"denormals.y.{kind}"))
    labels.label_ends(drawing, placed)
    first = points[0].row
    caption = words(
        "denormals.caption",
        hidden=page.number("hidden_size", first["hidden_size"]),
        batch=page.number("batch_size", first["batch_size"]),
    )
    table = _table(page, points)
    return Picture("denormals", drawing, words("denormals.description"), caption, table)


def _ends(point: _Point) -> tuple[float, float, float]:
    """The gain and its interval; NaN where it is not known."""
    if point.gain.value is None:
        return math.nan, math.nan, math.nan
    between = point.gain.interval
    low, high = (between.low, between.high) if between else (point.gain.value,) * 2
    return point.gain.value, low, high


def _draw(
    page: BenchPage,
    axes: Axes,
    points: Sequence[_Point],
    value: Callable[[_Point], tuple[float, float, float]],
) -> list[labels.End]:
    ends = []
    for cell in page.cells:
        own = [p for p in points if p.cell == cell and not math.isnan(value(p)[0])]
        if not own:
            continue
        mark = page.marks[cell]
        at, found = [point.length for point in own], [value(point) for point in own]
        for x, (_, low, high) in zip(at, found, strict=True):
            axes.plot([x, x], [low, high], color=mark.colour, alpha=0.4, linewidth=3)
        axes.plot(
            at,
            [middle for middle, _, _ in found],
            color=mark.colour,
            linestyle=mark.line,
            marker=mark.marker,
            markersize=5,
            markeredgecolor="none",
        )
        ends.append(labels.End(at[-1], found[-1][0], cell, mark.colour))
    return ends


def _scale(page: BenchPage, axes: Axes, kind: str, points: Sequence[_Point]) -> None:
    lengths = sorted({point.length for point in points})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(spaced(lengths, 0.2)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: page.number("sequence_length", at)))
    if kind == "gain":
        axes.axhline(1.0, color=theme.FAINT.light, linewidth=1.2, zorder=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda at, _: page.words("denormals.tick", value=f"{at:g}"))
        )
        return
    shares = [p.denormal if kind == "denormal" else p.zero for p in points]
    top = max((share for share in shares if not math.isnan(share)), default=0.0)
    axes.set_ylim(-0.04 * max(top, 0.05), 1.12 * max(top, 0.05))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: page.percent(at)))


def _table(page: BenchPage, points: Sequence[_Point]) -> Table:
    rows = []
    order = {name: i for i, name in enumerate(_initializations(points))}
    for point in sorted(points, key=lambda point: order[point.initialization]):
        between = point.gain.interval
        rows.append(
            (
                point.initialization,
                page.number("sequence_length", point.length),
                point.cell,
                page.number("denormal_fraction", point.denormal),
                page.number("zero_fraction", point.zero),
                page.number("speedup", point.gain.value),
                page.ends(between.low, between.high) if between else page.words("none"),
            )
        )
    columns = (
        Column(page.words("column.initialization"), "group"),
        page.column("sequence_length"),
        Column(page.words("column.cell"), "cell"),
        *(page.column(name) for name in ("denormal_fraction", "zero_fraction")),
        *(page.column(name) for name in ("flushing_wins", "interval")),
    )
    return Table(columns, tuple(rows), page.words("denormals.note"))
