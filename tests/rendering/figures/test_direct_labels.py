from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.rendering import theme
from harness.rendering.figures import direct_labels

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=8).map(sorted)


@given(PLACES, st.floats(1, 10))
def test_spread_places_keep_their_distance(wanted: list[float], gap: float) -> None:
    """Places are in order, at least a gap apart, and inside where there is room."""
    places = direct_labels._spread(wanted, gap, (0, 100))
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(places))
    assert places[0] >= -1e-6
    assert places[-1] <= 100 + 1e-6


def test_places_with_room_stay() -> None:
    """A name that is in nobody's way stands where its line ends."""
    assert direct_labels._spread([10, 50, 90], 5) == [10, 50, 90]


def test_a_crowd_is_centred() -> None:
    """Three names at one height are moved as little as can be."""
    assert direct_labels._spread([50, 50, 50], 4) == [46, 50, 54]


def test_names_of_close_points_do_not_cover_each_other() -> None:
    """Two points side by side have names that don't overlap."""
    with theme.style(["DejaVu Sans"]):
        drawing, (axes,) = theme.grid(1, columns=1, height=3)
        axes.set_xlim(0, 10)
        axes.set_ylim(0, 10)
        spots = [
            direct_labels.LabelledPoint(x, 5, 4, 6, f"cell {x}", "#000000") for x in (4.5, 5, 5.5)
        ]
        direct_labels.label_points(drawing, {axes: spots})
        boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 3
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert direct_labels._overlap(one, other) == 0


def test_a_line_that_ends_early_has_its_name_there() -> None:
    """The name of a short line stands at its own end, not at the edge of the picture."""
    with theme.style(["DejaVu Sans"]):
        drawing, (axes,) = theme.grid(1, columns=1, height=3)
        axes.set_xlim(0, 10)
        ends = [
            direct_labels.LineEnd(3, 0.5, "short", "#000000"),
            direct_labels.LineEnd(10, 0.5, "long", "#000000"),
        ]
        direct_labels.label_line_ends(drawing, {axes: ends})
    assert {text.get_text(): text.xy[0] for text in axes.texts} == {"short": 3, "long": 10}  # type: ignore[attr-defined]
