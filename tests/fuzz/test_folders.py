"""Results folders whose files are pipes or links: never waited for, never written through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import records
from harness.errors import InputError
from harness.report.dispatch import render_folder
from harness.study import result_files
from harness.study.report import study_report
from tests.small import FAULTY, run_small
from tests.study.report.synthetic import Wish, write
from tests.tally import Tally
from tests.test_regular_file import needs_pipes

WINNER = {"solved": True, "value": 1.5, "parameters": {"hidden_size": 8}}
WAITS_NOT = "read as missing, or refused in one line, at once"
KEPT = "replaced or refused in one line; what it leads to stays"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results of a small study."""
    directory = write(tmp_path / "small", Wish(cells=("rnn", "lstm"), repeats=1, trials=2))
    result_files.write_winner(directory, "temporal_order", "lstm", WINNER)
    return directory


@needs_pipes
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "name",
    [
        *("spec.toml", "trials.csv", "machine.json", "confirmation.csv", "evaluations.csv"),
        *("diagnostics.json", "throughput.csv", "throughput.json", "winners/z.toml"),
    ],
)
def test_a_pipe_is_not_waited_for(results: Path, name: str, tally: Tally) -> None:
    """A named pipe in place of each file that a report reads."""
    (results / name).unlink(missing_ok=True)
    os.mkfifo(results / name)
    fault = "a results folder with a named pipe in place of a file"
    with tally.each(fault, WAITS_NOT) as count, count.one():
        refusal = None
        try:
            study_report.answer(records.read_study(results))
            records.read_blocks(results)
        except InputError as error:
            refusal = str(error)
        assert refusal is None or (name in refusal and refusal.isprintable())


def linked(directory: Path, names: list[str], secret: Path) -> None:
    """Links in place of these files, all to the same one elsewhere."""
    secret.write_bytes(b"kept")
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(secret)


def test_a_report_replaces_links(results: Path, tmp_path: Path, tally: Tally) -> None:
    """Each file that a report writes is a link to elsewhere, before it is drawn again."""
    render_folder(results)
    names = ["report.html", "report.md", "paper.tex"]
    names += [str(path.relative_to(results)) for path in (results / "figures").iterdir()]
    secret = tmp_path / "secret"
    linked(results, names, secret)
    render_folder(results)
    through = secret.read_bytes() != b"kept"
    tally.add("a link in place of a file of a report", KEPT, injected=len(names), lost=through)
    assert not through
    assert not any((results / name).is_symlink() for name in names)


def test_a_report_refuses_a_folder_elsewhere(results: Path, tmp_path: Path, tally: Tally) -> None:
    """figures/ leads out of the results: one line, and nothing is written or removed there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "gates.svg").write_text("kept")
    (results / "figures").symlink_to(elsewhere)
    with tally.each("a link in place of figures/ or winners/", KEPT) as count, count.one():
        with pytest.raises(InputError, match=r"figures: expected .*, got a link"):
            render_folder(results)
        assert [path.name for path in elsewhere.iterdir()] == ["gates.svg"]


def test_a_study_replaces_links(tmp_path: Path, tally: Tally) -> None:
    """Each file that a study writes is a link to elsewhere, before it runs."""
    names = ["trials.csv", "confirmation.csv", "evaluations.csv", "spec.toml", "machine.json"]
    names += ["diagnostics.json", "study.db.owner"]
    names += [f"winners/temporal_order-rnn.{kind}" for kind in ("toml", "pt", "initial.pt")]
    directory, secret = tmp_path / "results" / "small", tmp_path / "secret"
    linked(directory, names, secret)
    assert run_small(tmp_path, "search.trials=1", plugins=(FAULTY,)).directory == directory
    through = secret.read_bytes() != b"kept"
    tally.add("a link in place of a file of a study", KEPT, injected=len(names), lost=through)
    assert not through


@needs_pipes
@pytest.mark.timeout(60)
def test_a_study_does_not_wait_for_a_pipe(tmp_path: Path, tally: Tally) -> None:
    """Pipes in place of a winner's files: the winner is trained again."""
    names = [f"winners/temporal_order-rnn.{kind}" for kind in ("toml", "pt", "initial.pt")]
    directory = tmp_path / "results" / "small"
    (directory / "winners").mkdir(parents=True)
    for name in names:
        os.mkfifo(directory / name)
    fault = "a named pipe in place of a winner's file"
    with tally.each(fault, "replaced, at once") as count, count.one():
        run_small(tmp_path, "search.trials=1", plugins=(FAULTY,))
        assert all((directory / name).is_file() for name in names)
