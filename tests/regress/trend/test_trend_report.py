"""The report of a history, from its stored trend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.errors import InputError
from harness.regress.history import HistoryEntry, SpeedHistory
from harness.regress.trend.report import render_trend
from harness.regress.trend.trend_file import TrendRecord, write_trend
from harness.regress.trend.trend_series import trends_of
from harness.rendering import messages, theme
from harness.rendering.figures import small_multiples
from harness.report.dispatch import render_folder
from harness.report.index import write_index
from tests.rendering.pages import visible_text
from tests.simulated_history import NEWER, NINE, entries

STEP = {(NINE[2], 20): 1.10, (NINE[2], 28): 0.8, (NINE[0], 25): 0.9}


def folder_of(path: Path, *parts: Sequence[HistoryEntry], torn_bytes: int = 0) -> Path:
    """A folder with the trend of these recordings."""
    history = SpeedHistory(tuple(entry for part in parts for entry in part))
    record = TrendRecord(
        "h.jsonl", "python -m harness.regress trend", 0, torn_bytes, 0, trends_of(history, 0)
    )
    write_trend(path, record)
    return path


def drawn_texts(folder: Path) -> list[set[str]]:
    """The texts of each figure, by name."""
    return [
        {text.strip() for text in ET.fromstring(path.read_text("utf-8")).itertext()}
        for path in sorted((folder / "figures").glob("*.svg"))
    ]


def test_it_opens_with_what_changed_and_where(tmp_path: Path) -> None:
    """A sentence, a table of change points, a panel for each benchmark with marks.

    A torn line is told.
    """
    folder = folder_of(tmp_path, entries(36, NINE, STEP), torn_bytes=9)
    answer = render_trend(folder)
    assert answer.text.startswith("In 36 recordings on this machine ")
    assert re.search(rf"{NINE[2]} became \d+\.\d % slower at \w{{9}}", answer.text)
    assert re.search(rf"{NINE[0]} became \d+\.\d % faster at \w{{9}}", answer.text)
    assert "Others: no change shown. A last line of 9 bytes was torn" in answer.text
    assert (
        len(
            re.findall(
                r"^\| temporal_order.*\| 1cc6d58dd136 \|", answer.markdown.read_text(), re.MULTILINE
            )
        )
        == 3
    )
    (texts,) = drawn_texts(folder)
    assert {"lstm/h16", "rnn/h96", "Recordings, in order"} <= texts
    assert "All of them have in common: temporal_order, t30 and b16." in answer.html.read_text(
        "utf-8"
    )


@pytest.mark.parametrize("n", [1, 3])
def test_few_recordings_say_so(tmp_path: Path, n: int) -> None:
    """And are drawn all the same."""
    answer = render_trend(folder_of(tmp_path, entries(n, NINE[:1])))
    assert answer.text.endswith("no change can be found yet: that needs at least 6.")
    assert len(drawn_texts(tmp_path)) == 1
    assert "No change of level is shown on any machine." in answer.markdown.read_text()


def test_machines_have_sections_of_their_own(tmp_path: Path) -> None:
    """The newest first, with what sets them apart.

    A figure each, and none of a machine that is gone.
    """
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "trend-gone.svg").write_text("")
    parts = entries(12, NINE[:2]), entries(7, NINE[:3], machine=NEWER, first=12)
    page = render_trend(folder_of(tmp_path, *parts)).markdown.read_text()
    assert page.index("torch 2.13.0") < page.index("torch 2.12.1")
    assert "- torch: 2.12.1 → 2.13.0" in page
    assert "- Processor flags: – → avx512f" in page
    assert len(drawn_texts(tmp_path)) == 2


def test_a_long_life_is_drawn_in_part(tmp_path: Path) -> None:
    """Of many machines the newest, of many benchmarks some; the rest stands in tables."""
    machines = [{**NEWER, "python": f"3.12.{i}"} for i in range(9)]
    many = [f"b{i}" for i in range(20)]
    parts = [entries(1, ["a"], machine=each, first=i) for i, each in enumerate(machines[:-1])]
    parts.append(entries(1, many, machine=machines[-1], first=9))
    page = render_trend(folder_of(tmp_path, *parts)).markdown.read_text()
    assert len(drawn_texts(tmp_path)) == 6
    assert "Recordings were made in 3 more environments" in page
    assert "18 of 20 benchmarks are drawn" in page
    assert "| b19 | 1 |" in page


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """By the command of every folder of results too; the index of results lists it."""
    folder = folder_of(tmp_path / "reference" / "trend", entries(8, NINE[:2]))
    first = render_trend(folder).html.read_bytes()
    assert render_folder(folder).html.read_bytes() == first
    index = write_index(tmp_path).read_text()
    assert "In 8 recordings on this machine no change is shown." in index
    (folder / "trend.json").write_text("[]")
    assert "can't be read" in write_index(tmp_path).read_text()


def test_a_folder_without_a_trend_is_refused(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(InputError, match=r"trend\.json"):
        render_trend(tmp_path)


def test_every_word_comes_from_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a catalogue of fields alone, nothing but data is left."""
    blank = {
        key: " ".join(f"{{{field}}}" for field in sorted(messages.fields(text))) or "·"
        for key, text in messages.load_messages("en").texts.items()
    }
    monkeypatch.setattr(messages, "_read_texts", lambda _: blank)
    parts = entries(30, "ab", {("a", 15): 1.2}), entries(3, "ab", machine=NEWER, first=30)
    page = render_trend(folder_of(tmp_path, *parts, torn_bytes=3))
    text = visible_text(page.html.read_text("utf-8"))
    for command in (f"python -m harness.report {tmp_path}", "python -m harness.regress trend"):
        text = text.replace(command, "")
    text = re.sub(r"\b[0-9a-f]{9,12}\b", "", text)  # revisions and fingerprints
    data = {"jsonl", "Example", "CPU", "GHz", "mkl", "MKL", "DNN", "avx", "avx2", "avx512f"}
    assert set(re.findall(r"[A-Za-z_]{3,}", text)) <= data


def test_texts_of_changes_do_not_cover_each_other() -> None:
    """Two changes close together stand to both sides of their lines, inside the panel.

    A third in another row.
    """
    marks = [small_multiples.LevelChange(at, "+5 %", "a1b2c3d", worse=True) for at in (30, 33, 36)]
    panel = small_multiples.Panel("x", [1.0] * 60, [small_multiples.LevelSpan(0, 60, 1.0)], marks)
    places = small_multiples._places(panel, 0.3)
    boxes = [
        (row, *small_multiples._reach((mark.position - 0.5) / 60, 0.3, is_left=is_left))
        for mark, (is_left, row) in zip(marks, places, strict=True)
    ]
    for i, (row, low, high) in enumerate(boxes):
        assert 0 <= low < high <= 1
        assert all(row != other[0] or high <= other[1] or other[2] <= low for other in boxes[:i])


def test_what_is_far_away_is_drawn_at_the_edge() -> None:
    """One wild recording does not flatten the others."""
    values = [1.0, 1.01, 0.99, 1.0, 9.0, 1.0, 1.01]
    panel = small_multiples.Panel("x", values, [small_multiples.LevelSpan(0, 7, 1.0)], ())
    low, high = small_multiples._range([panel])
    assert 0.9 < low < 0.99
    assert 1.01 < high < 1.2
    frame = small_multiples.Frame(["r"] * 7, "x", "y", "{value} %")
    with theme.style(["DejaVu Sans"]):
        (axes,) = small_multiples.multiples([panel], frame).axes
    shown = [line.get_ydata() for line in axes.lines if line.get_marker() == "^"]
    assert len(shown) == 1
