"""Names written beside their lines or points, so that no name covers another. Knows no data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from harness.rendering import theme

LONGEST = 32
"""The most letters of a name beside a line. The table has the whole name."""


@dataclasses.dataclass(frozen=True)
class LineEnd:
    """The name of a line, to be written beside its last point (x, y) in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def label_line_ends(drawing: Figure, ends: Mapping[Axes, Sequence[LineEnd]]) -> None:
    """Write each name to the right of its line's end, moved up or down so that none overlap.

    A line that ends well before the others of its panel has its name at its own end.
    """
    # Once for all panels: it is the slow part.
    drawing.draw_without_rendering()
    for axes, those in ends.items():
        if those:
            _label_panel(axes, those, drawing.dpi)


def _label_panel(axes: Axes, ends: Sequence[LineEnd], dpi: float) -> None:
    transform = axes.transData
    gap = theme.FONT_SIZE * 1.35 * dpi / 72
    right = max(end.x for end in ends)
    edge = float(transform.transform((right, ends[0].y))[0]) - 0.05 * axes.bbox.width
    early = [end for end in ends if transform.transform((end.x, end.y))[0] < edge]
    for end in early:
        _write(axes, end, end.x, 0.0)
    ranked = sorted((end for end in ends if end not in early), key=lambda end: end.y)
    wanted = [float(transform.transform((end.x, end.y))[1]) for end in ranked]
    inside = (axes.bbox.ymin + gap / 3, axes.bbox.ymax)
    for end, place, own in zip(ranked, _spread(wanted, gap, inside), wanted, strict=True):
        _write(axes, end, right, (place - own) * 72 / dpi)


def _write(axes: Axes, end: LineEnd, x: float, up: float) -> None:
    axes.annotate(
        end.text if len(end.text) <= LONGEST else f"{end.text[: LONGEST - 1]}…",
        xy=(x, end.y),
        xytext=(10, up),
        textcoords="offset points",
        va="center",
        color=end.colour,
        fontsize=theme.FONT_SIZE,
        fontweight="bold",
        annotation_clip=False,
    )


def _spread(
    wanted: Sequence[float], gap: float, inside: tuple[float, float] = (-1e9, 1e9)
) -> list[float]:
    """Positions at least `gap` apart, nearest to the wanted ascending ones by least squares.

    A group of positions that reaches out of `inside` is moved back in as far as it fits.
    """

    def moved_inside(centre: float, n: int) -> float:
        half = (n - 1) / 2 * gap
        return min(max(centre, inside[0] + half), inside[1] - half)

    groups: list[tuple[list[int], float]] = []
    for i, place in enumerate(wanted):
        members, centre = [i], moved_inside(place, 1)
        while groups and centre - groups[-1][1] < gap * (len(groups[-1][0]) + len(members)) / 2:
            members = groups.pop()[0] + members
            centre = moved_inside(sum(wanted[k] for k in members) / len(members), len(members))
        groups.append((members, centre))
    places = [0.0] * len(wanted)
    for members, centre in groups:
        for j, i in enumerate(members):
            places[i] = centre + (j - (len(members) - 1) / 2) * gap
    return places


@dataclasses.dataclass(frozen=True)
class LabelledPoint:
    """A point (x, y) in data coordinates and the name to be written near it.

    `low` and `high` are the ends of its vertical error bar.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    colour: str


# Offset (right, up) from the point, in typographic points, and the alignment of the text there.
_AROUND = (
    (11, 4, "left"),
    (-11, 4, "right"),
    (11, -13, "left"),
    (-11, -13, "right"),
    (11, 17, "left"),
    (-11, 17, "right"),
)


def label_points(drawing: Figure, spots: Mapping[Axes, Sequence[LabelledPoint]]) -> None:
    """Write each name where it covers the least of the points, error bars and other names."""
    drawing.draw_without_rendering()
    for axes, those in spots.items():
        _label_points(axes, those, drawing.dpi / 72)


def _label_points(axes: Axes, spots: Sequence[LabelledPoint], points: float) -> None:
    taken = []
    for spot in spots:
        x, y = axes.transData.transform((spot.x, spot.y))
        low, high = (axes.transData.transform((spot.x, end))[1] for end in (spot.low, spot.high))
        taken.append(Bbox([[x - 6 * points, y - 6 * points], [x + 6 * points, y + 6 * points]]))
        taken.append(Bbox([[x - 2 * points, low], [x + 2 * points, high]]))
    for spot in spots:
        written: list[tuple[float, int, Annotation, Bbox]] = []
        for right, up, side in _AROUND:
            text = axes.annotate(
                spot.text,
                (spot.x, spot.y),
                xytext=(right, up),
                textcoords="offset points",
                ha=side,
                color=spot.colour,
                fontweight="bold",
                annotation_clip=False,
            )
            box = text.get_window_extent()
            outside = max(0.0, box.xmax - axes.bbox.xmax) + max(0.0, axes.bbox.xmin - box.xmin)
            outside += max(0.0, axes.bbox.ymin + 2 * points - box.ymin)
            outside += max(0.0, box.ymax - axes.bbox.ymax)
            cost = outside * box.height + sum(_overlap(box, other) for other in taken)
            written.append((cost, len(written), text, box))
        best = min(written, key=lambda one: one[:2])
        for one in written:
            if one is not best:
                one[2].remove()
        taken.append(best[3])


def _overlap(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else shared.width * shared.height
