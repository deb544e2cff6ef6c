from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.rendering import theme

# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
PAPER = {"light": "#ffffff", "dark": "#14171b"}


def linear(colour: str) -> NDArray[np.float64]:
    """Linear RGB of #rrggbb."""
    raw = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(raw <= 0.04045, raw / 12.92, ((raw + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear RGB, white D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_the_usual_cells_differ_for_every_eye(page: str, sight: str) -> None:
    """rnn, gru and lstm can be told apart by colour alone, with any colour blindness."""
    matrix = np.array(SIGHT[sight])
    seen = [lab(matrix @ linear(getattr(colour, page))) for colour in theme.CELL_COLOURS[:3]]
    for one, other in combinations(seen, 2):
        assert float(np.linalg.norm(one - other)) > 15


@pytest.mark.parametrize("page", ["light", "dark"])
def test_what_is_drawn_stands_out_from_the_page(page: str) -> None:
    """Text has the contrast of WCAG AA (4.5), lines and marks that of graphics (3)."""
    for colour in (theme.INK, theme.MUTED):
        assert contrast(getattr(colour, page), PAPER[page]) >= 4.5
    for colour in theme.CELL_COLOURS:
        assert contrast(getattr(colour, page), PAPER[page]) >= 3


@pytest.mark.parametrize("page", ["light", "dark"])
def test_ink_stands_on_the_grounds_of_a_scale(page: str) -> None:
    """Numbers written on a ground of the diverging scale have the contrast of WCAG AA."""
    for ground in (*theme.LOSSES, theme.EVEN, *theme.GAINS):
        assert contrast(getattr(theme.INK, page), getattr(ground, page)) >= 4.5


@pytest.mark.parametrize("page", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_a_loss_looks_unlike_a_gain(page: str, sight: str) -> None:
    """Equally strong losses and gains can be told apart by every eye."""
    matrix = np.array(SIGHT[sight])
    for loss, gain in zip(theme.LOSSES, theme.GAINS, strict=True):
        one, other = (lab(matrix @ linear(getattr(colour, page))) for colour in (loss, gain))
        assert float(np.linalg.norm(one - other)) > 15


@pytest.mark.parametrize(
    ("ratio", "name"),
    [
        *((1, "even"), (float("nan"), "even"), (1.1, "gain-1"), (1.25, "gain-2"), (7, "gain-3")),
        *((1 / 1.1, "loss-1"), (0.7, "loss-2"), (0.5, "loss-3")),
    ],
)
def test_the_scale_is_as_strong_below_1_as_above(ratio: float, name: str) -> None:
    """1/x is as far from grey as x."""
    assert theme.ratio_colour(ratio).name == name


def test_every_colour_is_one_colour() -> None:
    """No two names share a light value: the page finds its variable by it."""
    assert len({colour.light for colour in theme.COLOURS}) == len(theme.COLOURS)
    assert len({colour.name for colour in theme.COLOURS}) == len(theme.COLOURS)


def test_usual_cells_keep_their_marks() -> None:
    """rnn, gru and lstm look the same in every report, whatever stands beside them."""
    alone = theme.series_styles(["rnn", "gru", "lstm"])
    among = theme.series_styles(["mine", "lstm", "lstm_default", "gru", "rnn"])
    for cell in alone:
        assert (among[cell].colour, among[cell].marker) == (alone[cell].colour, alone[cell].marker)


def test_marks_differ() -> None:
    """Up to eight cells differ in colour and in marker; more repeat colours with other lines."""
    marks = list(theme.series_styles([f"c{i}" for i in range(16)]).values())
    assert len({(m.colour, m.marker) for m in marks[:8]}) == 8
    assert len({(m.colour, str(m.line)) for m in marks}) == 16


def test_a_style_ends_with_its_block() -> None:
    """What a style sets is set back, also matplotlib's log level."""
    import logging

    import matplotlib as mpl

    before = (dict(mpl.rcParams), logging.getLogger("matplotlib.font_manager").level)
    with theme.style(["DejaVu Sans"]):
        assert mpl.rcParams["svg.fonttype"] == "none"
    assert (dict(mpl.rcParams), logging.getLogger("matplotlib.font_manager").level) == before
