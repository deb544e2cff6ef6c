"""The answer of a bench: the fastest cell, what to change first, the nearest limit; a figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from harness.bench.report.bench_context import BenchContext
from harness.bench.report.bench_summary import PLAIN, STEP, TUNED, VariantGain, step_limits
from harness.rendering import theme
from harness.rendering.document import Column, Picture, Table
from harness.rendering.figures import direct_labels
from harness.rendering.figures.shape_panels import speed, speed_interval
from harness.rendering.figures.ticks import short_number

# Changes in the answer. The section lists all.
MAX_ADVISED_CHANGES = 3


def answer_sentences(context: BenchContext) -> tuple[str, ...]:
    """Three paragraphs for each device (speeds, advice, limits), then the cells without a time."""
    messages, timings = context.messages, context.timings
    said = []
    for device in timings.devices:
        parts = (_fastest(context, device), _advice(context, device), _limits(context, device))
        said += [context.on(device, " ".join(part)) for part in parts if part]
    if not said:
        said.append(messages("bench.nothing"))
    if timings.missing_cells:
        said.append(messages("bench.missing", cells=context.listed_pairs(timings.missing_cells)))
    return tuple(said)


def _fastest(context: BenchContext, device: str) -> list[str]:
    """The speeds of the cells at the reference shape, plain and tuned, fastest first."""
    messages, timings = context.messages, context.timings
    shape, items = timings.reference(device), []
    if shape is None:
        return []
    for variant in (PLAIN, TUNED):
        rows = [row for cell in context.cells if (row := timings.step(device, variant, cell))]
        if not rows:
            continue
        rows.sort(key=lambda row: -speed(row)[0])
        speeds = [context.number("tokens_per_second", speed(row)[0]) for row in rows]
        rest = [
            messages("bench.speed", cell=row["cell"], speed=text)
            for row, text in zip(rows[1:], speeds[1:], strict=True)
        ]
        apart = len(rows) > 1 and speed(rows[0])[1] > speed(rows[1])[2]
        key = "bench.fastest" if apart else "bench.fastest_not_shown"
        key = key if len(rows) > 1 else "bench.fastest_alone"
        how = messages.of("bench.as", variant)
        listed = messages.listed(rest) if rest else ""
        first = rows[0]["cell"]
        items.append(messages(key, how=how, first=first, speed=speeds[0], rest=listed))
    if not items:
        return []
    at = context.shape(shape, ("hidden_size", "sequence_length", "batch_size"))
    return [messages("bench.speeds", shape=at, speeds=messages("bench.and_then").join(items))]


def _advice(context: BenchContext, device: str) -> list[str]:
    """What to change first, and what loses: only large effects, the largest median gain first."""
    messages = context.messages
    changes = [change for change in context.timings.changes if change.device == device]
    gains = [change for change in changes if change.advised]
    losses = [change for change in changes if change.losing]
    if not changes:
        return []
    said = []
    for i, change in enumerate(gains[:MAX_ADVISED_CHANGES]):
        listed = context.gains(change.advised) if i == 0 else _between(context, change.advised)
        key = "bench.first_change" if i == 0 else "bench.next_change"
        what = context.change(change.variant)
        said.append(messages(key, change=what, variant=change.variant, gains=listed))
    if not gains:
        said.append(messages("bench.no_change"))
    spent = [(change.variant, change.worse_than_tuned) for change in changes]
    for key, items in (
        ("bench.losses", [(change.variant, change.losing) for change in losses]),
        ("bench.spent", [item for item in spent if item[1]]),
    ):
        texts = [messages("bench.loses", variant=v, gains=_between(context, g)) for v, g in items]
        if texts:
            said.append(messages(key, items=messages.listed(texts)))
    return said


def _between(context: BenchContext, gains: Sequence[VariantGain]) -> str:
    """The smallest and the largest of several gains; a single one with its interval."""
    if len(gains) == 1:
        return context.gains(gains)
    ends = min(gain.value for gain in gains), max(gain.value for gain in gains)
    low, high = (context.number("speedup", end) for end in ends)
    cells = context.messages.listed(gain.cell for gain in gains)
    if low == high:
        return context.messages(
            "bench.of_cell", cell=cells, value=context.messages("bench.times", value=low)
        )
    return context.messages("bench.between", low=low, high=high, cells=cells)


def _limits(context: BenchContext, device: str) -> list[str]:
    """The share of its nearest limit that each cell reaches at the reference shape."""
    messages, items = context.messages, list[str]()
    variant = context.timings.usual(device)
    for cell in context.cells:
        row = context.timings.step(device, variant, cell)
        if row is None or (nearest := step_limits(row).nearest) is None:
            continue
        fraction = context.number("fraction_of_limit", step_limits(row).fraction(nearest))
        which = messages.of("limits.of", nearest)
        key = "bench.limit" if items else "bench.first_limit"
        items.append(messages(key, cell=cell, fraction=fraction, limit=which))
    if not items:
        return []
    return [messages("bench.limits", variant=variant, items=messages.listed(items))]


def answer_picture(context: BenchContext) -> Picture | None:
    """Tokens per second of each variant and cell at the reference shape, a panel for each device.

    None without a timed step.
    """
    messages, timings = context.messages, context.timings
    devices = [d for d in timings.devices if timings.reference(d) is not None]
    if not devices:
        return None
    rows = {device: _variants(context, device) for device in devices}
    heights = [0.42 * len(rows[device]) + 0.75 for device in devices]
    drawing = theme.figure(sum(heights) + 0.35)
    panels = drawing.subplots(len(devices), 1, squeeze=False, height_ratios=heights).ravel()
    ends = {}
    for axes, device in zip(panels, devices, strict=True):
        if context.many_devices:
            axes.set_title(context.device(device))
        ends[axes] = _draw(context, axes, device, rows[device])
    panels[-1].set_xlabel(messages("throughput.y"))
    direct_labels.label_points(drawing, ends)
    shape = timings.reference(devices[0])
    assert shape is not None
    caption = messages("bench.caption", shape=context.shape(shape), task=context.tasks[0])
    if context.many_devices:
        caption += " " + messages("bench.caption_devices")
    table = _table(context, devices)
    return Picture("variants", drawing, messages("bench.description"), caption, table)


def _variants(context: BenchContext, device: str) -> list[str]:
    """The variants with a time at the reference shape."""
    timings = context.timings
    return [
        variant
        for variant in timings.variants
        if any(timings.step(device, variant, cell) for cell in context.cells)
    ]


def _draw(
    context: BenchContext, axes: Axes, device: str, variants: Sequence[str]
) -> list[direct_labels.LabelledPoint]:
    spots = []
    axes.set_xscale("log")
    for place in range(1, len(variants)):
        axes.axhline(place - 0.5, color=theme.RULE.light, linewidth=0.8, zorder=0)
    for cell in context.cells:
        style = context.styles[cell]
        found = [
            (place, speed(row))
            for place, variant in enumerate(variants)
            if (row := context.timings.step(device, variant, cell))
        ]
        for place, (_, low, high) in found:
            axes.plot([low, high], [place] * 2, color=style.colour, alpha=0.35, linewidth=4)
        axes.plot(
            [value for _, (value, _, _) in found],
            [place for place, _ in found],
            linestyle="none",
            marker=style.marker,
            color=style.colour,
            markersize=8,
            markeredgecolor="none",
        )
        if found:
            place, (value, _, _) = found[0]
            spots.append(
                direct_labels.LabelledPoint(value, place, place, place, cell, style.colour)
            )
    axes.set_ylim(len(variants) - 0.5, -0.72)
    axes.set_yticks(range(len(variants)), variants)
    axes.tick_params(axis="y", labelcolor=theme.INK.light)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.09)
    _set_log_axis(context, axes)
    return spots


def _set_log_axis(context: BenchContext, axes: Axes) -> None:
    """Label a logarithmic x axis at round numbers, without overlaps."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    found = [tick for tick in LogLocator(10, subs=subs).tick_values(low, high) if low < tick < high]
    axes.xaxis.set_major_locator(FixedLocator(found))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(context, value)))


def _table(context: BenchContext, devices: Sequence[str]) -> Table:
    messages, rows = context.messages, []
    for device in devices:
        for variant in _variants(context, device):
            for cell in context.cells:
                if row := context.timings.step(device, variant, cell):
                    value, low, high = speed(row)
                    rows.append(
                        (
                            *context.lead(device, cell),
                            variant,
                            context.number("step_time_s", row["step_time_s"]),
                            context.number("tokens_per_second", value),
                            speed_interval(context, low, high),
                            _over_plain(context, row),
                            context.number("n_blocks", row["n_blocks"]),
                        )
                    )
    columns = (
        *context.lead_columns(),
        Column(messages("column.variant")),
        *(context.column(name) for name in ("step_time_s", "tokens_per_second", "interval_speed")),
        *(context.column(name) for name in ("speedup", "n_blocks")),
    )
    return Table(columns, tuple(rows), messages("bench.note"))


def _over_plain(context: BenchContext, row: dict[str, object]) -> str:
    """The gain of a row with its interval. That of `plain` is 1 by definition."""
    if row["variant"] == PLAIN and row["measure"] == STEP:
        return context.messages("bench.itself")
    value, low, high = (float(str(row[key])) for key in ("speedup", "speedup_low", "speedup_high"))
    return context.times(value, low, high) if value > 0 else context.messages("not_measured")
