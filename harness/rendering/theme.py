"""The theme of every figure: colours, markers, lines, type. Knows no data.

A colour is a pair: one value for a light page, one for a dark page. Figures are drawn in the light
values. In the HTML report each colour becomes a CSS variable, so the page's style chooses the
value. Cells differ by marker and line style as well as by colour.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from harness.columns import TrialStatus

# Inches: the width of the text column.
FIGURE_WIDTH = 7.4
# Points.
FONT_SIZE = 9.5


@dataclasses.dataclass(frozen=True)
class Colour:
    """One colour: the name of its CSS variable, and its values on a light and a dark page."""

    name: str
    light: str
    dark: str


INK = Colour("ink", "#1f2328", "#e6e8eb")
MUTED = Colour("muted", "#646c76", "#9aa3ae")
FAINT = Colour("faint", "#b4bac2", "#59616b")
RULE = Colour("rule", "#e3e6ea", "#32383f")
# After Okabe & Ito 2008, darkened for a white page and lightened for a dark one.
CELL_COLOURS = (
    Colour("cell-0", "#c84e00", "#ff9a52"),
    Colour("cell-1", "#00946c", "#55e0b0"),
    Colour("cell-2", "#005a9c", "#4f9ee6"),
    Colour("cell-3", "#a8447f", "#ea94c4"),
    Colour("cell-4", "#a37500", "#e8bd4a"),
    Colour("cell-5", "#3f95c9", "#8fd3f7"),
    Colour("cell-6", "#6a4fb3", "#b6a3f0"),
    Colour("cell-7", "#5d6b2f", "#b9c979"),
)
# An ordered scale, short to long, with contrast on either page.
RAMP = (
    Colour("ramp-0", "#d9a441", "#ffe08a"),
    Colour("ramp-1", "#d07a3a", "#fbb968"),
    Colour("ramp-2", "#bd5343", "#f2905f"),
    Colour("ramp-3", "#98395a", "#dd6c78"),
    Colour("ramp-4", "#6c2b6b", "#bb5f9a"),
    Colour("ramp-5", "#3f2369", "#8f62b5"),
)
STATUS_COLOURS: Mapping[str, Colour] = {
    TrialStatus.COMPLETE: Colour("end-complete", "#c9d3dd", "#4a545f"),
    TrialStatus.PRUNED: Colour("end-pruned", "#8a97a6", "#7d8a99"),
    TrialStatus.DIVERGED: Colour("end-diverged", "#c23b3b", "#f07f7a"),
    TrialStatus.TIMEOUT: Colour("end-timeout", "#b8860f", "#e6b84a"),
    TrialStatus.OUT_OF_MEMORY: Colour("end-out-of-memory", "#7d3f98", "#c48be0"),
    TrialStatus.ERROR: Colour("end-error", "#7a1f2b", "#c9616e"),
    TrialStatus.CRASHED: Colour("end-crashed", "#3d2b56", "#8d78b0"),
    TrialStatus.INTERRUPTED: Colour("end-interrupted", "#2f6f7e", "#6fb7c6"),
}
# A diverging scale around 1, from a small to a large change: backgrounds for text on either page.
LOSSES = (
    Colour("loss-1", "#fbdfcb", "#4d3023"),
    Colour("loss-2", "#f5b78e", "#7a401f"),
    Colour("loss-3", "#ea8a56", "#a04c1e"),
)
EVEN = Colour("even", "#eceff2", "#272c32")
GAINS = (
    Colour("gain-1", "#d3e6f6", "#1d374c"),
    Colour("gain-2", "#9dc8ea", "#205078"),
    Colour("gain-3", "#64a7db", "#25699f"),
)
# Gains from which the next colour is used; losses at their inverses.
_STEPS = (1.25, 2.0)
SCALE = (*LOSSES, EVEN, *GAINS)
COLOURS = (INK, MUTED, FAINT, RULE, *CELL_COLOURS, *RAMP, *STATUS_COLOURS.values(), *SCALE)
# The same cell has the same colour in every report.
_USUAL = {"rnn": 0, "gru": 1, "lstm": 2}
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
_LINES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    (0, (1.3, 1.5)),
    (0, (5, 1.6)),
    "-",
    (0, (6, 1.6, 1.3, 1.6)),
)


@dataclasses.dataclass(frozen=True)
class SeriesStyle:
    """The style of one cell: `slot` in the palette, colour, marker and matplotlib dash pattern."""

    slot: int
    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def series_styles(cells: Sequence[str]) -> dict[str, SeriesStyle]:
    """The style of each cell.

    rnn, gru and lstm always have the same one. Other cells get the free ones in the order given.
    """
    slots = {cell: _USUAL[cell] for cell in cells if cell in _USUAL}
    free = [slot for slot in range(len(CELL_COLOURS)) if slot not in slots.values()]
    others = [cell for cell in cells if cell not in slots]
    for i, cell in enumerate(others):
        slots[cell] = free[i % len(free)]
    found = {}
    for i, cell in enumerate(cells):
        slot = slots[cell]
        found[cell] = SeriesStyle(
            slot,
            CELL_COLOURS[slot].light,
            _MARKERS[slot],
            _LINES[(slot + i // len(CELL_COLOURS)) % len(_LINES)],
        )
    return found


def ratio_colour(ratio: float) -> Colour:
    """The background for a ratio: blue above 1, orange below 1, grey at 1 and for NaN.

    It is as strong for 1/x as for x.
    """
    if math.isnan(ratio) or ratio == 1:
        return EVEN
    away = max(ratio, 1 / ratio)
    return (GAINS if ratio > 1 else LOSSES)[sum(away >= step for step in _STEPS)]


AxisSharing = bool | Literal["none", "all", "row", "col"]


@contextlib.contextmanager
def style(families: Sequence[str]) -> Iterator[None]:
    """A context manager: figures drawn and saved inside have this theme.

    Text stays text in SVG, and equal data give equal bytes.
    """
    rc: dict[Any, Any] = {
        "font.family": list(families),
        "font.size": FONT_SIZE,
        "axes.titlesize": FONT_SIZE + 0.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.labelsize": FONT_SIZE,
        "axes.labelcolor": MUTED.light,
        "axes.labelpad": 6,
        "axes.edgecolor": FAINT.light,
        "axes.linewidth": 0.8,
        "axes.titlecolor": INK.light,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "grid.color": RULE.light,
        "grid.linewidth": 0.8,
        "text.color": INK.light,
        "xtick.color": FAINT.light,
        "ytick.color": FAINT.light,
        "xtick.labelcolor": MUTED.light,
        "ytick.labelcolor": MUTED.light,
        "xtick.labelsize": FONT_SIZE - 0.5,
        "ytick.labelsize": FONT_SIZE - 0.5,
        "xtick.bottom": True,
        "ytick.left": False,
        "xtick.major.size": 3.5,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.frameon": False,
        "legend.fontsize": FONT_SIZE - 0.5,
        "legend.labelcolor": MUTED.light,
        "lines.linewidth": 1.9,
        "lines.markersize": 6,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "harness",
        # A dollar sign in a study's text is no formula.
        "text.parse_math": False,
        "axes.unicode_minus": True,
    }
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    # Silences the warning about a fallback font without a bold face.
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), mpl.rc_context(), sns.axes_style("ticks"):
            # The report has its own note about letters without a font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            mpl.rcParams.update(rc)
            yield
    finally:
        log.setLevel(level)


def figure(height: float, width: float = FIGURE_WIDTH) -> Figure:
    """An empty figure of the report's width; height in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.08, wspace=0.03, hspace=0.05)
    return Figure(figsize=(width, height), layout=layout)


def grid(
    n_panels: int,
    *,
    columns: int,
    height: float,
    sharey: AxisSharing = True,
    sharex: AxisSharing = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of `n_panels` panels in at most `columns` columns, each `height` inches high."""
    n_columns = min(columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    picture = figure(height * n_rows)
    axes = picture.subplots(n_rows, n_columns, squeeze=False, sharey=sharey, sharex=sharex).ravel()
    for unused in axes[n_panels:]:
        unused.remove()
    return picture, list(axes[:n_panels])
