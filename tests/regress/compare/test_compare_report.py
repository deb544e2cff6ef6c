"""The report of a comparison, from its stored file."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.errors import InputError
from harness.regress.compare.report import render_comparison
from harness.rendering import messages, theme
from harness.rendering.figures import forest_plot
from harness.report.dispatch import render_folder
from tests.regress.compare.test_comparison_files import SIDES, comparison, write
from tests.rendering.pages import visible_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a comparison in which lstm is slower and old is missing."""
    command = "python -m harness.regress compare --base main"
    result = comparison({"old": "of no use"})
    write(tmp_path, result, SIDES, 1, command=command, notes=("N1",))
    return tmp_path


def test_it_opens_with_the_verdict_and_the_forest(folder: Path) -> None:
    """What is slower and by how much, what was accepted, the canary; both pages and the figure."""
    answer = render_comparison(folder)
    assert answer.text.startswith("REGRESSION. Slower: lstm (+10.1 %).")
    assert "old was accepted: of no use." in answer.text
    assert (
        "The canary, which is base on both sides (an A/A control), moved by +0.1 %" in answer.text
    )
    for page in (answer.html, answer.markdown):
        text = page.read_text("utf-8")
        assert "aten::lstm" in text
        assert "--base main" in text
    assert (folder / "figures" / "forest.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_names_every_benchmark(folder: Path) -> None:
    """And the canary, with a verdict each."""
    render_comparison(folder)
    drawn = ET.fromstring((folder / "figures" / "forest.svg").read_text("utf-8"))
    texts = [text.strip() for text in drawn.itertext() if text.strip()]
    assert {"lstm", "gru", "rnn", "old", "canary", "REGRESSION", "MISSING", "still"} <= set(texts)


def test_the_same_file_gives_the_same_bytes(folder: Path) -> None:
    """By the command of every folder of results too."""
    first = render_comparison(folder).html.read_bytes()
    assert render_folder(folder).html.read_bytes() == first


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(InputError, match=r"comparison.json"):
        render_comparison(tmp_path)


def test_every_word_comes_from_the_catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a catalogue of fields alone, nothing but data is left."""
    blank = {
        key: " ".join(f"{{{field}}}" for field in sorted(messages.fields(text))) or "·"
        for key, text in messages.load_messages("en").texts.items()
    }
    monkeypatch.setattr(messages, "_read_texts", lambda _: blank)
    text = visible_text(render_comparison(folder).html.read_text("utf-8"))
    text = text.replace(f"python -m harness.report {folder}", "")
    text = text.replace("python -m harness.regress compare --base main", "")
    data = {
        "lstm",
        "gru",
        "rnn",
        "old",
        "new",
        "main",
        "working",
        "tree",
        "aaaaaaaaa",
        "aten",
        "use",
    }
    data |= {"threads", "package", "numpy", "KiB"}
    assert set(re.findall(r"[A-Za-z_]{3,}", text)) <= data


def test_a_forest_holds_what_is_looked_for_and_0() -> None:
    """Whatever the rows are, also none that was measured."""
    axis = forest_plot.ForestAxis("time", "{value} %", 0.05, 0.025, "looked for")
    rows = [
        forest_plot.ForestRow("a", -0.2, -0.21, -0.19, "OK"),
        forest_plot.ForestRow("b", None, None, None, "MISSING", stands_out=True),
        forest_plot.ForestRow("c", 0.01, None, None, "still", is_quiet=True),
    ]
    with theme.style(["DejaVu Sans"]):
        for some in (rows, rows[1:2]):
            (axes, *_) = forest_plot.forest(some, axis).axes
            low, high = axes.get_xlim()
            assert low < 0
            assert high > axis.detect
            assert all(row.low is None or low < row.low for row in some)
            assert [label.get_text() for label in axes.get_yticklabels()] == [r.name for r in some]
