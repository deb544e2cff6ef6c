from __future__ import annotations

import dataclasses
import re
import struct
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness import records
from harness.rendering import fonts
from harness.rendering.render import WrittenReport
from harness.study.report import study_report
from tests.kinds import NIGHTLY
from tests.rendering.pages import HtmlPage, empty_png, visible_text
from tests.study.report.synthetic import MACHINE, Wish, write

HOSTILE = "엘 & 'q' `b` $y$ _z_"
QUESTION = "몇 단계? <script>alert(1)</script> | **b** [x](http://evil.example) $\\alpha$"
CLAIMS = """
[[claims]]
cell = "rnn"
text = "an RNN fades after about 30 steps"
lag = 31
source = "the lesson"
[[claims]]
cell = "lstm"
text = "an LSTM keeps 100"
lag = 95
relation = "at_least"
"""
ENDS = {
    "rnn": {"diverged": 0.2, "pruned": 0.1},
    "gru": {"timeout": 0.1, "error": 0.1},
    "lstm": {"out_of_memory": 0.1, "crashed": 0.05, "interrupted": 0.03},
}
PUBLISHED = """
[[published]]
task = "adding"
cell = "lstm"
metric = "sequences_to_solve"
value = 74_000
bound = 18_500
source = "A paper, table 1"
note = "Theirs: another recipe."
[[published]]
task = "adding"
cell = "rnn"
metric = "accuracy"
value = 0.5
relation = "at_least"
source = "A paper, table 2"
[[published]]
task = "delayed_recall"
cell = "lstm"
metric = "diverged_share"
value = 0.12
relation = "about"
source = "A paper, table 3"
[[published]]
task = "delayed_recall"
cell = "lstm"
metric = "importance"
parameter = "learning_rate"
value = 0.66
relation = "at_least"
source = "A paper, table 4"
"""
WISHES = {
    "published": Wish(
        name="published",
        tasks=("adding", "delayed_recall"),
        cells=("rnn", "lstm"),
        length=60,
        repeats=6,
        confirm_seeds=2,
        objective="sequences_to_solve",
        throughput=False,
        claims=PUBLISHED,
    ),
    "quickstart": Wish(),
    "published once": Wish(
        name="once",
        tasks=("adding", "delayed_recall"),
        cells=("rnn", "lstm"),
        length=60,
        repeats=1,
        trials=2,
        throughput=False,
        claims=PUBLISHED.partition('[[published]]\ntask = "delayed_recall"')[0],
    ),
    "all diverge": Wish(
        ends={cell: {"diverged": 1.0} for cell in ("rnn", "gru", "lstm")}, throughput=False
    ),
    "several tasks": Wish(
        tasks=("temporal_order", "delayed_recall"),
        cells=("rnn", "gru", "lstm", "lstm_default"),
        variants={"lstm_default": "lstm"},
        trials=8,
        devices=("cpu", "cuda:0"),
        confirm_seeds=2,
        ends=ENDS,
        claims=CLAIMS,
    ),
    "one search": Wish(repeats=1, trials=4, throughput=False, diagnostics=False, evaluations=False),
    "lesson": Wish(
        name="lesson",
        question="",
        tasks=("lesson",),
        repeats=1,
        trials=1,
        confirm_seeds=0,
        objective="loss",
        throughput=False,
    ),
    "a dead cell": Wish(ends={"rnn": {"diverged": 1.0}}, reach={"gru": 3.0, "lstm": 90.0}),
    "nothing works": Wish(
        ends={cell: {"error": 1.0} for cell in ("rnn", "gru", "lstm")}, trials=2, throughput=False
    ),
    "hostile": Wish(
        name="기억 & $x$",
        question=QUESTION,
        cells=("rnn", "lstm", HOSTILE),
        variants={HOSTILE: "lstm"},
        ends={HOSTILE: {"error": 0.1}},
    ),
    "identical": Wish(
        cells=("lstm", "twin"), variants={"twin": "lstm"}, reach={"lstm": 60, "twin": 60}, repeats=6
    ),
}


@dataclasses.dataclass(frozen=True)
class Rendered:
    """One report on disk."""

    directory: Path
    answer: WrittenReport
    html: str
    markdown: str
    page: HtmlPage


WITH_PNG = ("published", "hostile")  # of the others every night


class Reports(dict[str, Rendered]):
    """A report of each kind of study, rendered when it is first asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self.folders = folders

    def __missing__(self, name: str) -> Rendered:
        directory = write(self.folders.mktemp(name.replace(" ", "_")), WISHES[name])
        with nullcontext() if NIGHTLY or name in WITH_PNG else empty_png():
            answer = study_report.render(records.read_study(directory), directory)
        html, markdown = answer.html.read_text("utf-8"), answer.markdown.read_text("utf-8")
        self[name] = Rendered(directory, answer, html, markdown, HtmlPage(html))
        return self[name]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """A report of each kind of study."""
    return Reports(tmp_path_factory)


@pytest.fixture(scope="module", params=WISHES)
def report(request: pytest.FixtureRequest, every: Reports) -> Rendered:
    """Each of these reports in turn."""
    return every[request.param]


# --- Every report -------------------------------------------------------------------------------


def test_the_page_is_well_formed(report: Rendered) -> None:
    """Tags match (checked by the fixture), ids are unique, and every link has a target."""
    assert len(set(report.page.ids)) == len(report.page.ids)
    assert {link for link in report.page.links if not link.startswith("#")} == set()
    assert {link.removeprefix("#") for link in report.page.links} <= set(report.page.ids)
    clips = set(re.findall(r"url\(#([^)]+)\)", report.html))
    assert clips <= set(report.page.ids)


def test_the_page_loads_nothing(report: Rendered) -> None:
    """One file: no script, no frame, no image from elsewhere, and a policy that forbids them."""
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(
        report.page.tags
    )
    assert "default-src 'none'" in report.html
    drawn = re.sub(r">[^<]*<", "><", report.html)  # what is no text
    assert not re.search(r"https?://|@import|url\((?!#)|\son\w+=", drawn)


def test_figures_lie_beside_the_page(report: Rendered) -> None:
    """Each figure of the page is an SVG and a PNG file, and no other file is there."""
    names = {i.removeprefix("figure-") for i in report.page.ids if i.startswith("figure-")}
    folder = report.directory / "figures"
    files = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert files == {f"{name}{suffix}" for name in names for suffix in (".svg", ".png")}
    for name in names:
        assert f"(figures/{name}.svg)" in report.markdown
        width, height = struct.unpack(">II", (folder / f"{name}.png").read_bytes()[16:24])
        assert width >= 1000
        assert 200 < height < 8000


def test_every_figure_has_its_table_and_command(report: Rendered) -> None:
    """Beside each figure: a caption, the numbers, and the command that draws it."""
    figures = re.findall(r"<figure.*?</figure>", report.html, flags=re.DOTALL)
    for figure in figures:
        assert re.search(r"<figcaption>[^<]{60,}</figcaption>", figure)
        assert "<tbody>\n<tr" in figure
        assert "python -m harness.report" in figure
        assert 'role="img" aria-label="' in figure


def test_sections_come_in_their_order(report: Rendered) -> None:
    """Measured sections keep their order; those not measured are listed near the end."""
    order = [
        *("published", "spans", "claims", "extrapolation", "learning", "tradeoff", "throughput"),
        *("winners", "sensitivity", "budget", "gradients", "gates", "time_scales", "ends"),
        *("absent", "caveats", "machine", "command", "paper"),
    ]
    found = [i for i in report.page.ids if i in order]
    assert found == [key for key in order if key in found]
    assert {"caveats", "machine", "command", "paper"} <= set(found)


def test_the_answer_is_in_the_page_and_in_the_terminal(report: Rendered) -> None:
    """The same sentences open the page, the Markdown and end the run."""
    answer = study_report.answer(records.read_study(report.directory))
    assert answer == report.answer.text
    assert " ".join(answer.split()) in " ".join(
        visible_text(report.html).replace("\u00a0", " ").replace("\u2060", "").split()
    )


def test_both_pages_have_the_same_headings(report: Rendered) -> None:
    """Markdown and HTML have the same headings in the same order."""
    headings = re.findall(r"^## (.*)$", report.markdown, flags=re.MULTILINE)
    assert headings == report.page.headings[1:]


def test_rendering_again_gives_the_same_bytes(every: Reports) -> None:
    """Equal records give equal files, so that a report can be compared with an older one."""
    directory = every["hostile"].directory
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    study_report.render(records.read_study(directory), directory)
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()} == before


def test_nothing_reads_nan_or_none(report: Rendered) -> None:
    """A number that is not known is text, never nan, None or an empty bracket."""
    text = visible_text(report.html)
    for reason in ("loss is nan after", "RuntimeError:"):
        text = text.replace(reason, "")
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\(\)", text)
    without = re.sub(r"<pre><code>[^<]*</code></pre>", "", report.html)  # LaTeX has braces
    assert not re.search(r"\{\w*\}", visible_text(without))


# --- Particular ones ----------------------------------------------------------------------------


def test_the_quickstart_answers_its_question(every: Reports) -> None:
    """Spans with intervals, the differences that are shown, and speed, each in a sentence."""
    text = every["quickstart"].answer.text
    assert re.search(r"On temporal_order, rnn remembers [<≥ \d]+ steps back", text)
    assert "94 % intervals over 5 searches" in text
    assert "longer than rnn" in text
    assert "tokens/s" in text


def test_below_five_searches_there_is_no_ranking(every: Reports) -> None:
    """One search gives values; no sentence and no table compares cells."""
    for name in ("one search", "lesson"):
        text = visible_text(every[name].html)
        assert "longer than" not in text
        assert "P(first" not in text
        assert "no ranking" in text or "not a ranking" in text


def test_twins_are_not_called_different(every: Reports) -> None:
    """Two cells that are the same show no difference."""
    assert "No difference is shown between lstm and twin." in every["identical"].answer.text


def test_a_study_without_confirmation_answers_from_its_trials(every: Reports) -> None:
    """The lesson's report has final loss and accuracy, and its first figure is the losses."""
    report = every["lesson"]
    assert re.search(r"loss [\d.]+ and accuracy [\d.]+ % for rnn", report.answer.text)
    assert report.page.ids.index("figure-learning") < report.page.ids.index("winners")
    absent = report.html[report.html.index('id="absent"') :]
    assert "Memory spans. This study has no confirmation." in absent


def test_a_cell_without_result_is_named(every: Reports) -> None:
    """The answer names it, the table says not measured, and the caller is told."""
    report = every["a dead cell"]
    assert report.answer.missing == (("temporal_order", "rnn"),)
    assert "No valid result: rnn." in report.answer.text
    assert "not measured" in visible_text(report.html)


def test_a_study_without_any_result_still_has_a_report(every: Reports) -> None:
    """If every trial raised, the report says so, with the reasons."""
    report = every["nothing works"]
    assert len(report.answer.missing) == 3
    assert "shapes" in report.html


def test_claims_are_compared_with_the_spans(every: Reports) -> None:
    """Claimed ..., here ..., for every label the claim is about and every task."""
    text = visible_text(every["several tasks"].html)
    assert "Claim: “an RNN fades after about 30 steps” (the lesson). Found here: rnn on" in text
    assert text.count("Runs that solve lag 95") == 1


def test_published_numbers_open_the_report(every: Reports) -> None:
    """How many are reproduced, each beside ours, in the first sentence and the first figure.

    Their set-up in a note.
    """
    report = every["published"]
    assert re.match(
        r"\d of 4 published numbers are reproduced here(, \d of them by the value .*)?: adding, lstm: ",
        report.answer.text,
    )
    assert "(published 74,000)" in report.answer.text
    figures = [i for i in report.page.ids if i.startswith("figure-")]
    assert figures[0] == "figure-published"
    assert "A paper, table 1: Theirs: another recipe." in visible_text(report.html)


def test_at_one_length_there_is_no_span(every: Reports) -> None:
    """The report has the share of solved runs and the training that they took instead."""
    report = every["published"]
    assert "figure-memory" not in report.page.ids
    assert "steps back" not in report.answer.text
    solves = r"On adding \(lag 30\), .*lstm solves \d+ of 12 runs"
    assert re.search(solves, report.answer.text)
    assert "Runs that solve the task" in report.page.headings


def test_extrapolation_counts_the_runs_that_had_solved(every: Reports) -> None:
    """The sentence has the numbers of the file: those that still solve, of those that solved."""
    report = every["quickstart"]
    table = records.read_study(report.directory).extrapolation
    assert table is not None
    own = table[(table["cell"] == "lstm") & (table["factor"] == 4)]
    still, had = int(own["solved"].sum()), len(own)
    assert 0 < still < had
    said = f"lstm still solves {still} of {had} at 4 times the length"
    assert said in visible_text(report.html)


def test_every_end_is_counted_with_its_reason(every: Reports) -> None:
    """Each way to end that occurs is named, with the reason that was kept."""
    text = visible_text(every["several tasks"].html)
    for name in ("diverged", "out of time", "error", "out of memory", "crashed", "interrupted"):
        assert name in text
    assert "signal 11 (SIGSEGV), 3 attempts" in text


def test_markup_in_names_is_shown_as_text(every: Reports) -> None:
    """Markup in a name, a question or a reason is shown letter by letter in both pages."""
    report = every["hostile"]
    assert "<script>" not in report.html
    assert "<b>shapes" not in report.html
    assert "<script>alert(1)</script>" in visible_text(report.html)
    assert not re.search(r"(?<!\\)\](\(|\[)http", report.markdown)
    assert "<script" not in report.markdown


def test_korean_survives(every: Reports) -> None:
    """Hangul is text in the page and in the SVG files, with its fonts, and a $ stays a $."""
    report = every["hostile"]
    assert "몇 단계?" in visible_text(report.html)
    svg = (report.directory / "figures" / "memory.svg").read_text("utf-8")
    assert "엘 &amp; 'q' `b` $y$ _z_</text>" in svg
    assert "'Noto Sans KR'" in svg


@pytest.mark.usefixtures("no_png")
def test_letters_that_no_font_has_are_a_caveat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a font for Hangul nothing fails or warns, and the report names the letters."""
    dejavu = {"DejaVu Sans": fonts._installed()["DejaVu Sans"]}
    monkeypatch.setattr(fonts, "_installed", lambda: dejavu)
    monkeypatch.setattr(fonts, "_installed_now", lambda: dejavu)
    wish = Wish(cells=("rnn", "엘"), variants={"엘": "lstm"}, repeats=1, trials=2)
    directory = write(tmp_path, wish)
    answer = study_report.render(records.read_study(directory), directory)
    assert "has the letters 엘" in answer.html.read_text("utf-8")


@pytest.mark.usefixtures("no_figures")
def test_old_figures_are_removed(tmp_path: Path) -> None:
    """A figure that no longer applies does not stay behind; a file that is not ours does."""
    directory = write(tmp_path, Wish(repeats=1, trials=2))
    study_report.render(records.read_study(directory), directory)
    records.write_text(directory / "figures" / "mine.svg", "<svg/>")
    assert (directory / "figures" / "throughput.svg").exists()
    (directory / "throughput.csv").unlink()
    study_report.render(records.read_study(directory), directory)
    assert not (directory / "figures" / "throughput.svg").exists()
    assert (directory / "figures" / "mine.svg").exists()


@pytest.mark.usefixtures("no_figures")
def test_warnings_of_the_run_are_caveats(tmp_path: Path) -> None:
    """What the study noted about itself is repeated where a reader looks."""
    machine = {**MACHINE, "warnings": ["torch 2.11 before, 2.13 now"]}
    directory = write(tmp_path, Wish(repeats=1, trials=1, machine=machine))
    page = study_report.render(records.read_study(directory), directory).html
    assert "torch 2.11 before, 2.13 now" in visible_text(page.read_text("utf-8"))


@pytest.mark.usefixtures("no_figures")
def test_what_differs_between_runs_is_shown_of_each(tmp_path: Path) -> None:
    """A study that took two runs of its command shows in how many of them each value held."""
    runs = [
        {**MACHINE, "deterministic": True, "workers": 4},
        {**MACHINE, "deterministic": False, "workers": 1, "versions": {"torch": "2.14.0"}},
    ]
    directory = write(tmp_path, Wish(repeats=1, trials=1, machine={**runs[-1], "runs": runs}))
    page = study_report.render(records.read_study(directory), directory).html
    text = " ".join(visible_text(page.read_text("utf-8")).split())
    for words in (
        "Deterministic in 1 of 2 runs",
        "Workers 4 in 1 of 2 runs and 1 in 1 of 2 runs",
        "torch 2.13.0 in 1 of 2 runs and 2.14.0 in 1 of 2 runs",
        "Processor Example CPU @ 2.10GHz Cores",
    ):
        assert words in text


@pytest.mark.nightly
def test_ten_thousand_trials_are_a_page_that_a_browser_opens(tmp_path: Path) -> None:
    """It hardly grows with the trials; benchmarks/scale.py times the report."""
    sizes = []
    for trials in (40, 420):
        wish = Wish(trials=trials, repeats=8, diagnostics=False)
        found = records.read_study(write(tmp_path / str(trials), wish))
        sizes.append(study_report.render(found, tmp_path / str(trials)).html.stat().st_size)
    assert len(found.trials) > 10_000
    assert sizes[1] < min(2 * sizes[0], 10 * 2**20)
