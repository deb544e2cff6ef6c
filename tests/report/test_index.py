from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import records
from harness.errors import InputError
from harness.report import dispatch, index
from harness.study.report import study_report
from tests.bench.report.synthetic_bench import BenchWish, write_bench
from tests.study.report.synthetic import Wish, write


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results: a rendered study, a hostile name, a page alone, a torn one, an empty one."""
    root = tmp_path_factory.mktemp("results")
    reference = root / "reference"
    machine = {"wall_time_s": 300.0, "command": "python -m harness.study quickstart --seed 3"}
    directory = write(reference / "b_study", Wish(trials=2, machine=machine))
    study_report.render(records.read_study(directory), directory)
    write(reference / "c_odd", Wish(name="[x](y)", question="<b>?", trials=1, repeats=1))
    records.write_text(
        reference / "a_page" / "README.md",
        "# Over seeds\n\nIt is so\nin [all](x.csv) of 20.\n\n| a |\n|---|\n",
    )
    write(reference / "d_torn", Wish(trials=1, repeats=1))
    records.write_text(reference / "d_torn" / "machine.json", "{")
    (reference / "e_nothing").mkdir()
    bench = write_bench(reference / "f_bench", BenchWish(vary="", cells=("rnn",)))
    dispatch.render_folder(bench)
    return root


def page(results: Path) -> str:
    """The index of that folder."""
    return index.write_index(results).read_text("utf-8")


def test_a_study_has_question_answer_cost_links_and_command(results: Path) -> None:
    """What its own report says first, what it took, and where to read on."""
    text = page(results)
    found = records.read_study(results / "reference" / "b_study")
    assert "## [quickstart](reference/b_study/report.md)" in text
    assert "> How many steps back can each cell remember?" in text
    assert "On temporal_order, rnn remembers" in text
    assert study_report.answer(found).split("tokens/s")[0].replace("<", "&lt;") in text
    assert "It took 5.00 min on Example CPU @ 2.10GHz, 2 cores." in text
    assert "```sh\npython -m harness.study quickstart --seed 3\n```" in text


def test_every_link_of_the_index_leads_to_a_file(results: Path) -> None:
    """Reports and figures that are named are there."""
    targets = re.findall(r"\]\((reference/b_study/[^)]+)\)", page(results))
    assert "reference/b_study/figures/memory.svg" in targets
    assert [target for target in targets if not (results / target).is_file()] == []


def test_a_folder_with_a_page_alone_is_its_first_paragraph(results: Path) -> None:
    """Its title, linked, and its first paragraph, without the links that would lead astray."""
    line = "## [Over seeds](reference/a_page/README.md)\n\nIt is so in all of 20."
    assert line in page(results)


def test_a_bench_stands_among_the_studies(results: Path) -> None:
    """Its question, its answer, its figures and the command that runs it again."""
    text = page(results)
    assert "## [bench_quick](reference/f_bench/report.md)" in text
    assert "> How fast does each cell train on this machine" in text
    assert "What to change first: run 2 tuned processes at once" in text
    assert "[variants](reference/f_bench/figures/variants.svg)" in text
    assert "```sh\npython -m harness.bench bench_quick\n```" in text


def test_a_folder_that_cannot_be_read_is_one_line(results: Path) -> None:
    """A torn file and an empty folder are named with the reason.

    The others are there all the same.
    """
    lines = page(results).splitlines()
    (torn,) = [line for line in lines if "d_torn" in line]
    assert "can't be read" in torn
    assert "machine.json: expected a JSON file" in torn
    assert "**e_nothing** can't be read: it has no spec.toml, grid.toml or README.md" in lines


def test_names_are_shown_in_the_index(results: Path) -> None:
    """A name or question of Markdown's own signs is text, and makes no link of its own."""
    text = page(results)
    assert r"\[x\](y)" in text
    assert "<b>" not in text


def test_the_same_results_give_the_same_index(results: Path) -> None:
    """Folders come by name, and nothing hangs on the time of writing."""
    first = page(results)
    assert page(results) == first
    places = [first.index(name) for name in ("a_page", "b_study", "c_odd", "d_torn", "e_nothing")]
    assert places == sorted(places)


@pytest.mark.parametrize("make", [False, True])
def test_without_results_there_is_no_index(tmp_path: Path, make: bool) -> None:
    """A folder without reference/, or with nothing in it, is bad input."""
    if make:
        (tmp_path / "reference").mkdir()
    with pytest.raises(InputError, match="reference: expected a folder of folders of results"):
        index.write_index(tmp_path)
