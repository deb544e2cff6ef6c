"""The gains of every variant over `plain`, by cell and shape; and the rows without a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Container, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.text import Text

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import (
    PLAIN,
    SHAPE_KEYS,
    STEP,
    Effect,
    ShapeValues,
    VariantEffect,
    VariantGain,
)
from harness.bench.report.sections.throughput import FEW_ROWS
from harness.columns import whole
from harness.rendering import theme
from harness.rendering.document import (
    BulletList,
    Column,
    ContentBlock,
    Paragraph,
    Picture,
    Section,
    Table,
)

SHOWN: Mapping[Effect, str] = {
    "gain": "changes.gain",
    "loss": "changes.loss",
    "undecided": "changes.undecided",
}
# Rows of the heat map. More shapes are pooled: one row for several of them.
MAX_MAP_ROWS = 45
# Sizes that tell rows apart, tried in this order until the map has few enough rows.
POOLS: tuple[tuple[str, ...], ...] = (
    SHAPE_KEYS,
    ("hidden_size", "sequence_length"),
    ("hidden_size",),
    (),
)
# Columns. With more, their names are broken into lines.
MAX_UNBROKEN_COLUMNS = 6
MAX_FAILED_ROWS = 100


def section(context: BenchContext) -> Section:
    """A list of effects, the heat map of gains, and the rows without a time."""
    messages, timings = context.messages, context.timings
    title = messages("changes.title")
    without = _without(context)
    if not timings.changes:
        if not without:
            return context.not_measured("changes", title, messages("changes.absent"))
        return Section("changes", title, (Paragraph(messages("changes.absent")), *without))
    blocks: list[ContentBlock] = [Paragraph(messages("changes.intro"))]
    for device in timings.devices:
        items = [_item(context, change) for change in timings.changes if change.device == device]
        if items:
            if context.many_devices:
                blocks.append(Paragraph(messages("changes.on", device=context.device(device))))
            blocks.append(BulletList(tuple(items)))
    blocks.append(_picture(context))
    return Section("changes", title, (*blocks, *without))


def _item(context: BenchContext, change: VariantEffect) -> str:
    """The effect of one variant at the reference shape, and its number of gains and losses."""
    messages = context.messages
    said = [
        messages(key, gains=context.gains(gains))
        for effect, key in SHOWN.items()
        if (gains := change.at_reference(effect))
    ]
    if change.worse_than_tuned:
        said.append(messages("changes.spent", gains=context.gains(change.worse_than_tuned)))
    if not said:
        said.append(messages("changes.elsewhere"))
    n = len(change.gains)
    over_all = ""
    if n > len(change.reference):
        over_all = messages(
            "changes.over_all",
            n=n,
            median=context.times(change.median),
            gain=change.count("gain"),
            loss=change.count("loss"),
        )
    return messages(
        "changes.item",
        variant=change.variant,
        change=context.change(change.variant),
        said=messages("bench.and_then").join(said),
        over_all=over_all,
    )


# --- The heat map -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Square:
    """One square of the map: the gains of one variant in the pooled rows."""

    gains: tuple[VariantGain, ...]

    @property
    def loses(self) -> bool:
        """Whether any of them loses."""
        return any(gain.effect == "loss" for gain in self.gains)

    @property
    def colour(self) -> theme.Colour:
        """The colour of the median gain; grey unless most intervals show its direction."""
        middle = statistics.median(gain.value for gain in self.gains)
        effect = "gain" if middle > 1 else "loss"
        shown = sum(gain.effect == effect for gain in self.gains)
        return theme.ratio_colour(middle if 2 * shown > len(self.gains) else 1.0)


# A cell, and the sizes that tell its rows apart.
MapRow = tuple[str, ShapeValues]


@dataclasses.dataclass(frozen=True)
class _Map:
    """The heat map of one device: a row for each cell and each value of the sizes `pooled`.

    `lines` has the square of each variant in each row, `lost` the squares whose timing failed.
    """

    pooled: tuple[str, ...]
    lines: Mapping[MapRow, Mapping[str, _Square]]
    lost: Container[tuple[str, str, ShapeValues]]


def _picture(context: BenchContext) -> Picture:
    messages, timings = context.messages, context.timings
    maps: dict[str, _Map] = {}
    for pooled in POOLS:
        every_map = {device: _mapped(context, device, pooled) for device in timings.devices}
        maps = {device: one for device, one in every_map.items() if one.lines}
        if sum(len(one.lines) for one in maps.values()) <= MAX_MAP_ROWS:
            break
    variants = [v for v in timings.variants if v != PLAIN]
    heights = [0.235 * len(one.lines) + 0.5 for one in maps.values()]
    drawing = theme.figure(sum(heights) + 0.75)
    panels = drawing.subplots(len(maps), 1, squeeze=False, height_ratios=heights).ravel()
    for axes, (device, one) in zip(panels, maps.items(), strict=True):
        if context.many_devices:
            axes.set_title(context.device(device))
        _draw(context, axes, one, variants)
    _key(context, panels[-1])
    every = [gain for change in timings.changes for gain in change.gains]
    shapes = [dict(zip(SHAPE_KEYS, gain.shape, strict=True)) for gain in every]
    fixed = [key for key in SHAPE_KEYS if len({shape[key] for shape in shapes}) == 1]
    caption = messages("changes.caption")
    if fixed:
        caption += " " + messages("changes.fixed", shape=context.shape(every[0].shape, fixed))
    if any(one.pooled != SHAPE_KEYS for one in maps.values()):
        caption += " " + messages("changes.pooled")
    return Picture("speedup", drawing, messages("changes.description"), caption, _table(context))


def _mapped(context: BenchContext, device: str, pooled: tuple[str, ...]) -> _Map:
    found: dict[MapRow, dict[str, list[VariantGain]]] = {}
    for change in context.timings.changes:
        if change.device != device:
            continue
        for gain in change.gains:
            named = dict(zip(SHAPE_KEYS, gain.shape, strict=True))
            line = (gain.cell, tuple(named[key] for key in pooled))
            found.setdefault(line, {}).setdefault(change.variant, []).append(gain)
    lines = sorted(found, key=lambda line: (context.cells.index(line[0]), line[1]))
    squares = {
        line: {variant: _Square(tuple(gains)) for variant, gains in found[line].items()}
        for line in lines
    }
    lost = {
        (str(row["variant"]), str(row["cell"]), tuple(row[key] for key in pooled))
        for row in context.timings.rows
        if row["device"] == device and row["measure"] == STEP and not row["step_time_s"] > 0
    }
    return _Map(pooled, squares, lost)


# Positions of the names left of the map, as shares of its width.
HEAD, COLUMN = -0.02, 0.13


def _draw(context: BenchContext, axes: Axes, drawn: _Map, variants: Sequence[str]) -> None:
    _name_lines(context, axes, drawn)
    for y, (line, squares) in enumerate(drawn.lines.items()):
        for x, variant in enumerate(variants):
            square = squares.get(variant)
            if square is None and (variant, *line) in drawn.lost:
                _hatch(axes, x, y)
            else:
                _square(context, axes, x, y, square)
    axes.set_xlim(-0.5, len(variants) - 0.5)
    axes.set_ylim(len(drawn.lines) - 0.5, -0.5)
    axes.set_yticks([])
    names = [variant.replace("_", "\n") for variant in variants]
    if len(names) > MAX_UNBROKEN_COLUMNS:
        names = [name.replace("=", "\n= ") for name in names]
    axes.set_xticks(range(len(variants)), names)
    axes.tick_params(axis="x", top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.tick_params(axis="x", labelcolor=theme.INK.light, labelsize=theme.FONT_SIZE - 1)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)


def _name_lines(context: BenchContext, axes: Axes, drawn: _Map) -> None:
    """Write left of the map: each cell once, and a column for each size that varies."""
    shapes = [dict(zip(drawn.pooled, shape, strict=True)) for _, shape in drawn.lines]
    varying = [key for key in drawn.pooled if len({shape[key] for shape in shapes}) > 1]
    above = None
    for y, ((cell, _), shape) in enumerate(zip(drawn.lines, shapes, strict=True)):
        if cell != above:
            name = _write(axes, len(varying), y, cell, context.styles[cell].colour)
            name.set_fontweight("bold")
            if y:
                axes.axhline(y - 0.5, color=theme.FAINT.light, linewidth=0.8, zorder=3)
        above = cell
        for i, key in enumerate(reversed(varying)):
            is_word = key == "initialization"
            text = str(shape[key]) if is_word else context.number(key, shape[key])
            _write(axes, i, y, text, theme.MUTED.light).set_fontsize(theme.FONT_SIZE - 1)
    for i, key in enumerate(reversed(varying)):
        head = _write(axes, i, -0.78, context.messages.of("changes.head", key), theme.MUTED.light)
        head.set(fontsize=theme.FONT_SIZE - 1.5, verticalalignment="bottom")


def _write(axes: Axes, column: int, y: float, text: str, colour: str) -> Text:
    """Write a text left of the map. Columns are counted from the map outwards."""
    return axes.text(
        HEAD - COLUMN * column,
        y,
        text,
        ha="right",
        va="center",
        color=colour,
        transform=axes.get_yaxis_transform(),
    )


def _hatch(axes: Axes, x: int, y: int) -> None:
    rule = theme.FAINT.light
    corner = (x - 0.48, y - 0.46)
    axes.add_patch(
        Rectangle(corner, 0.96, 0.92, fill=False, hatch="////", edgecolor=rule, linewidth=0)
    )


def _square(context: BenchContext, axes: Axes, x: int, y: int, square: _Square | None) -> None:
    corner, size = (x - 0.48, y - 0.46), (0.96, 0.92)
    if square is None:
        axes.text(x, y, context.messages("none"), ha="center", va="center", color=theme.FAINT.light)
        return
    axes.add_patch(Rectangle(corner, *size, facecolor=square.colour.light, linewidth=0))
    values = sorted(gain.value for gain in square.gains)
    low, high = (_few_digits(context, value) for value in (values[0], values[-1]))
    text = low if low == high else context.messages("range", low=low, high=high)
    # A corner marks a square in which some of several rows lose.
    if square.loses and square.colour not in theme.LOSSES:
        right, top = x + 0.48, y - 0.46
        points = [(right - 0.16, top), (right, top), (right, top + 0.34)]
        axes.add_patch(Polygon(points, facecolor=theme.LOSSES[-1].light, linewidth=0))
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=theme.FONT_SIZE - (1 if len(text) < 7 else 2.5),
        color=theme.INK.light,
        fontweight="bold" if square.loses else "normal",
    )


def _few_digits(context: BenchContext, value: float) -> str:
    """A gain in the few digits that fit into a square: 0.62, 1.04, 3.1, 12."""
    digits = 2 if value < 2 else 1 if value < 10 else 0
    return f"{value:.{digits}f}" if math.isfinite(value) else context.messages("not_measured")


def _key(context: BenchContext, axes: Axes) -> None:
    """The legend of the colours, below the last panel."""
    messages = context.messages
    steps = [*reversed(theme.LOSSES), theme.EVEN, *theme.GAINS]
    names = ("loss_3", "loss_2", "loss_1", "even", "gain_1", "gain_2", "gain_3")
    patches = [Patch(facecolor=colour.light, linewidth=0) for colour in steps]
    axes.legend(
        patches,
        [messages.of("changes.key", name) for name in names],
        loc="upper center",
        bbox_to_anchor=(0.42, -0.01),
        ncols=len(names),
        handlelength=1.1,
        handleheight=1.0,
        handletextpad=0.45,
        columnspacing=1.1,
        fontsize=theme.FONT_SIZE - 1.5,
    )


def _table(context: BenchContext) -> Table:
    """Every gain and every loss, with its interval."""
    messages, rows = context.messages, []
    for device, variant in itertools.product(context.timings.devices, context.timings.variants):
        for change in context.timings.changes:
            if (change.device, change.variant) == (device, variant):
                for gain in change.gains:
                    named = dict(zip(SHAPE_KEYS, gain.shape, strict=True))
                    rows.append(
                        (
                            *context.lead(device, gain.cell),
                            variant,
                            *context.shape_cells(named),
                            context.number("speedup", gain.value),
                            context.ends(gain.low, gain.high),
                            *_over_tuned(context, gain),
                            messages.of("changes.effect", gain.effect),
                        )
                    )
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *context.shape_columns(),
        *(context.column(name) for name in ("speedup", "interval", "over_tuned", "interval")),
        Column(messages("column.effect")),
    )
    return Table(columns, tuple(rows), messages("changes.note"))


def _over_tuned(context: BenchContext, gain: VariantGain) -> tuple[str, str]:
    own = gain.over_tuned
    if own is None:
        return context.messages("none"), context.messages("none")
    return context.number("speedup", own.value), context.ends(own.low, own.high)


# --- What has no time -------------------------------------------------------------------------


def _without(context: BenchContext) -> tuple[ContentBlock, ...]:
    """Variants that are not available and rows that failed, each with its reason."""
    messages = context.messages
    nowhere = [one for one in context.timings.missing if one.everywhere]
    failed = [one for one in context.timings.missing if not one.everywhere]
    blocks: list[ContentBlock] = []
    if nowhere:
        columns = (
            *(Column(messages(f"column.{name}")) for name in ("variant", "device", "reason")),
            context.column("n_rows"),
        )
        rows = [
            (
                one.variant,
                one.device,
                one.reason or messages("changes.no_reason"),
                whole(len(one.benchmarks)),
            )
            for one in nowhere
        ]
        blocks.append(Paragraph(messages("changes.unavailable")))
        blocks.append(Table(columns, tuple(rows)))
    if failed:
        names = [
            (name, one.reason or messages("changes.no_reason"))
            for one in failed
            for name in one.benchmarks
        ]
        columns = (Column(messages("column.benchmark")), Column(messages("column.reason")))
        note = ""
        if len(names) > MAX_FAILED_ROWS:
            note = messages("changes.more_failed", n=whole(len(names) - MAX_FAILED_ROWS))
        blocks.append(Paragraph(messages("changes.failed", n=whole(len(names)))))
        blocks.append(
            Table(columns, tuple(names[:MAX_FAILED_ROWS]), note, folded=len(names) > FEW_ROWS)
        )
    return tuple(blocks)
