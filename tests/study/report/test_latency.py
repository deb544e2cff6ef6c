"""The section on latency, bytes and memory, and the figures of any report with inference.csv."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import records
from harness.rendering import theme
from harness.rendering.document import Picture
from harness.rendering.sections import inference
from harness.stats import CellComparison, Estimate
from harness.study.report import study_report
from harness.study.report.sections import latency
from harness.study.report.sections.latency import Deployed, round_up, round_up_bytes
from harness.study.report.study_context import StudyContext, study_context
from harness.timing.timing_results import InferenceAnswer
from tests.study.report.synthetic import Wish, inference_answer, write

ABSENT = "Latency, bytes and memory. There is no inference.csv."
pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> StudyContext:
    """The context of a study with five searches a cell."""
    directory = write(tmp_path_factory.mktemp("latency"), Wish(evaluations=False))
    return study_context(records.read_study(directory), directory, "en")


def bench_table(tmp_path: Path, sizes: tuple[int, ...]) -> pd.DataFrame:
    """A bench's inference.csv, read as a study's."""
    write(tmp_path, Wish(trials=1, evaluations=False, diagnostics=False))
    answer = inference_answer(("temporal_order",), ("rnn", "gru", "lstm"), {}, sizes)
    records.write_inference(tmp_path, {"bench": InferenceAnswer.from_json(answer)})
    table = records.read_study(tmp_path).inference
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("value", "rounded"), [(18.4, 20), (20.0, 20), (20.1, 50), (51, 100), (0.3, 0.5), (1, 1)]
)
def test_times_are_rounded_up(value: float, rounded: float) -> None:
    """To 1, 2 or 5 times a power of ten, never down."""
    assert round_up(value) == pytest.approx(rounded)


@pytest.mark.parametrize(
    ("size", "rounded"),
    [(96, 100), (1000, 1000), (1001, 1024), (3756, 5 * 1024), (1_100_000, 2 * 1024**2)],
)
def test_sizes_are_rounded_up_in_their_unit(size: float, rounded: float) -> None:
    """Bytes up to a thousand, then KiB, then MiB."""
    assert round_up_bytes(size) == pytest.approx(rounded)


def winner(context: StudyContext, cell: str, span: float, time_us: float, size: int) -> Deployed:
    """A winner made by hand."""
    memory = context.summary.memory["temporal_order", cell]
    measured = dataclasses.replace(memory.span, value=span, state="measured")
    row = {"median_us": time_us, "weights_bytes": size, "state_bytes": 0}
    return Deployed(row, dataclasses.replace(memory, span=measured))


def compared(
    first: str, second: str, longer: str | None = None, few: bool = False
) -> CellComparison:
    """What the study's comparison of two cells says."""
    verdict = "inconclusive" if few else "difference_shown" if longer else "no_difference_shown"
    return CellComparison(
        first,
        second,
        Estimate(None, None, 0, 0),
        None,
        verdict,  # type: ignore[arg-type]
        longer,
        "",
        5,
        5,
    )


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (
            [("rnn", "gru", "gru"), ("gru", "lstm", "gru"), ("rnn", "lstm", None)],
            "The best cell within 50 us a step and 20 KiB is gru (60 steps back).",
        ),
        (
            [("rnn", "gru", "gru"), ("gru", "lstm", None), ("rnn", "lstm", None)],
            (
                "Within 50 us a step and 20 KiB: gru (60 steps back) and lstm (40 steps back). "
                "No difference is shown between gru and lstm."
            ),
        ),
        (
            [("rnn", "gru", None), ("gru", "lstm", None), ("rnn", "lstm", None)],
            (
                "Within 50 us a step and 20 KiB: gru (60 steps back), rnn (7 steps back) and lstm "
                "(40 steps back). No difference is shown between gru and rnn or lstm."
            ),
        ),
        (
            [],
            (
                "Within 50 us a step and 20 KiB: rnn (7 steps back), gru (60 steps back) and lstm "
                "(40 steps back). These are values, not a ranking."
            ),
        ),
    ],
)
def test_only_the_comparison_says_which_is_best(
    context: StudyContext, verdicts: list[tuple[str, str, str | None]], says: str
) -> None:
    """The best cell is the one that the comparison shows to remember longer than all others."""
    cells = [
        winner(context, cell, *numbers)
        for cell, *numbers in (
            ("rnn", 7, 18, 4000),
            ("gru", 60, 22, 16000),
            ("lstm", 40, 47, 20000),
        )
    ]
    given = [compared(*each) for each in verdicts]
    assert latency._best(context, cells, given, (50.0, 20 * 1024.0)) == says
    if not verdicts:
        few = [compared("rnn", "gru", few=True), compared("gru", "lstm", few=True)]
        assert latency._best(context, cells, few, (50.0, 20 * 1024.0)) == says


def test_budgets_are_those_of_the_winners(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence for each distinct time and size, rounded up.

    A faster cell that needs more bytes is not within.
    """
    monkeypatch.setitem(vars(context.summary), "comparisons", {})
    winners = [
        winner(context, "rnn", 7, 18, 4000),
        winner(context, "gru", 60, 17, 16000),
        winner(context, "lstm", 40, 47, 19000),
    ]
    small, medium, large = latency.budget_sentences(context, "temporal_order", winners)
    assert small == "Only rnn (7 steps back) fits into 20 us a step and 5 KiB."
    assert medium.startswith("Within 20 us a step and 20 KiB: rnn (7 steps back) and gru")
    assert large.startswith("Within 50 us a step and 20 KiB: rnn (7 steps back), gru")
    assert latency.budget_sentences(context, "temporal_order", winners[:1]) == []


def test_a_study_that_timed_its_winners(tmp_path: Path) -> None:
    """Its report has the figure, a row for every timed call and a reason for each missing one."""
    directory = write(tmp_path, Wish(trials=4))
    study_report.render(records.read_study(directory), directory)
    text = (directory / "report.md").read_text("utf-8")
    section = text.partition("## Latency, bytes and memory")[2].partition("\n## ")[0]
    assert "figures/latency.svg" in section
    assert section.count("| one step |") == section.count("| sequence |") == 8
    assert "- Not timed: rnn in int8 (torch has no dynamic int8 nn.RNN)." in section
    assert section.count("torch has no dynamic int8") == 1
    row = next(line for line in section.splitlines() if "| bfloat16 | one step | 21.0 |" in line)
    # hidden 24: 24 x 34 + 4 x 24 + 4 numbers of two bytes
    assert "| 1.79 KiB | 48.0 B | 0.00400 | 20 |" in row


def test_few_searches_are_no_ranking(tmp_path: Path) -> None:
    """With three searches for each cell the sentences tell values."""
    context = study_context(records.read_study(write(tmp_path, Wish(repeats=3))), tmp_path, "en")
    table = context.summary.records.inference
    assert table is not None
    winners = latency.deployed(context, "temporal_order", table)
    said = latency.budget_sentences(context, "temporal_order", winners)
    assert "best" not in " ".join(said)
    assert said[-1].endswith("These are values, not a ranking.")


def test_older_results_are_not_measured(tmp_path: Path) -> None:
    """Results without inference.csv are read, and their report names what is missing.

    The figure goes.
    """
    directory = write(tmp_path, Wish(trials=4))
    study_report.render(records.read_study(directory), directory)
    (directory / "inference.csv").unlink()
    found = records.read_study(directory)
    assert found.inference is None
    study_report.render(found, directory)
    assert ABSENT in (directory / "report.md").read_text("utf-8")
    assert not (directory / "figures" / "latency.png").exists()
    assert (directory / "figures" / "memory_speed.png").exists()


def test_without_spans_the_numbers_stand_alone(tmp_path: Path) -> None:
    """A study that confirmed nothing has its times and no figure."""
    directory = write(tmp_path, Wish(trials=4, confirm_seeds=0))
    study_report.render(records.read_study(directory), directory)
    text = (directory / "report.md").read_text("utf-8")
    section = text.partition("## Latency, bytes and memory")[2].partition("\n## ")[0]
    assert "| one step |" in section
    assert "figures/" not in section


def test_a_bench_with_one_size(context: StudyContext, tmp_path: Path) -> None:
    """One figure: a line for each cell and dtype that was timed, a panel for each measure."""
    table = bench_table(tmp_path, (24,))
    with theme.style(context.fonts.families):
        section = inference.inference_section(context, table)
    picture, failed = section.blocks
    assert isinstance(picture, Picture)
    axes = picture.figure.axes
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels[:3] == ["rnn · float32", "rnn · bfloat16", "gru · float32"]
    assert len(labels) == 8
    assert [each.get_title("left") for each in axes] == [
        "one step, hidden size 24",
        "sequence, hidden size 24",
    ]
    assert failed.kind == "points"


def test_a_bench_that_varied_the_size(context: StudyContext, tmp_path: Path) -> None:
    """A second figure has time and bytes of weights and state against hidden size, by dtype."""
    table = bench_table(tmp_path, (8, 32, 128))
    with theme.style(context.fonts.families):
        section = inference.inference_section(context, table)
    picture = section.blocks[1]
    assert isinstance(picture, Picture)
    assert picture.name == "inference_size"
    assert len(picture.figure.axes) == 6
    lines = [line for line in picture.figure.axes[3].lines if np.size(line.get_xdata()) == 3]
    assert np.asarray(lines[0].get_xdata()).tolist() == [8, 32, 128]
    first = (8 * 18 + 4 * 8 + 4) * 4 + 8 * 4  # an rnn's numbers in float32, and its state
    assert np.asarray(lines[0].get_ydata())[0] == pytest.approx(first / 1024)


def test_a_bench_in_which_nothing_could_be_timed(context: StudyContext, tmp_path: Path) -> None:
    """The section has only the reasons."""
    table = bench_table(tmp_path, (24,))
    only = table[table["reason"] != ""]
    (points,) = inference.inference_section(context, only).blocks
    assert points.kind == "points"
