from __future__ import annotations

import dataclasses
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from harness import records
from harness.bench.report import bench_report
from harness.rendering.render import WrittenReport
from harness.report import dispatch
from tests.bench.report.synthetic_bench import FACTOR, BenchWish, write_bench
from tests.kinds import NIGHTLY
from tests.rendering.pages import HtmlPage, empty_png, visible_text

QUESTION = "몇 배? <script>alert(1)</script> | **b** [x](http://evil.example) $\\alpha$"
HOSTILE = "엘 & 'q' `b` $y$ _z_"
WIDE = """
[[vary]]
hidden_size = [8, 32, 64, 128]
num_layers = [1, 2]
batch_size = [8, 32]
[[vary]]
sequence_length = [25, 50, 100]
"""
CUDA = ("plain", "tuned", "processes=2", "bfloat16", "compiled", "float16", "tf32", "cuda_graph")
WISHES = {
    "quick": BenchWish(),
    "two devices": BenchWish(
        devices=("cpu", "cuda:0"),
        variants=CUDA,
        unavailable={"tf32": "needs a CUDA device", "compiled": "no C++ compiler was found"},
        failed={"gru/training_step/bfloat16/pytorch/h128": "RuntimeError: <b>shapes</b> | 3 and 4"},
    ),
    "many shapes": BenchWish(vary=WIDE, memory=False),
    "one shape": BenchWish(vary="", n_blocks=5),
    "few rounds": BenchWish(n_blocks=3),
    "no plain": BenchWish(variants=("tuned",)),
    "bare": BenchWish(limits=False, reference=False, memory=False, vary=""),
    "nothing works": BenchWish(failed={"/": "RuntimeError: nothing"}, unavailable={}),
    "no difference": BenchWish(factors=dict.fromkeys(FACTOR, 1.0) | {"processes=2": 2.0}, vary=""),
    "hostile": BenchWish(
        name="측정 & $x$",
        question=QUESTION,
        cells=("rnn", HOSTILE),
        unavailable={"tf32": "</td><script>x</script> | `no`"},
        failed={"rnn/training_step/bfloat16": "[x](http://evil.example)"},
        machine={"notes": ["<i>a note</i>"]},
    ),
}


@dataclasses.dataclass(frozen=True)
class Rendered:
    """One report as it lies on the disk."""

    directory: Path
    answer: WrittenReport
    html: str
    markdown: str
    page: HtmlPage


WITH_PNG = ("quick", "hostile")  # of the others every night
pytestmark = pytest.mark.usefixtures("no_png")


class Reports(dict[str, Rendered]):
    """A report of each kind of bench, rendered when it is first asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self.folders = folders

    def __missing__(self, name: str) -> Rendered:
        directory = write_bench(self.folders.mktemp(name.replace(" ", "_")), WISHES[name])
        with nullcontext() if NIGHTLY or name in WITH_PNG else empty_png():
            answer = dispatch.render_folder(directory)
        html, markdown = answer.html.read_text("utf-8"), answer.markdown.read_text("utf-8")
        self[name] = Rendered(directory, answer, html, markdown, HtmlPage(html))
        return self[name]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """A report of each kind of bench."""
    return Reports(tmp_path_factory)


@pytest.fixture(scope="module", params=WISHES)
def report(request: pytest.FixtureRequest, every: Reports) -> Rendered:
    """Each of these reports in turn."""
    return every[request.param]


# --- Every report ---------------------------------------------------------------------------------


def test_both_pages_have_every_section(report: Rendered) -> None:
    """Headings of the page are those of the Markdown file, and no id stands twice."""
    below = re.findall(r"^## (.*)$", report.markdown, re.MULTILINE)
    assert below == report.page.headings[1:]
    assert len(set(report.page.ids)) == len(report.page.ids)
    for title in ("Caveats", "The machine", "The command"):
        assert title in below


def test_every_figure_is_in_the_folder_and_in_both_pages(report: Rendered) -> None:
    """Each figure of the page has one SVG, one PNG, and a link in the Markdown file."""
    names = {i.removeprefix("figure-") for i in report.page.ids if i.startswith("figure-")}
    assert names <= set(bench_report.BENCH_FIGURES)
    files = {path.stem for path in (report.directory / "figures").glob("*.svg")}
    assert files == names == {p.stem for p in (report.directory / "figures").glob("*.png")}
    assert names == set(re.findall(r"\]\(figures/(\w+)\.svg\)", report.markdown))


def test_the_page_loads_nothing(report: Rendered) -> None:
    """No script, no picture and no style from elsewhere."""
    assert not {"script", "img", "link", "iframe"} & set(report.page.tags)
    assert all(link.startswith("#") for link in report.page.links)


def test_nothing_reads_nan_or_none(report: Rendered) -> None:
    """What is not known is said in words."""
    text = visible_text(report.html)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\(\)|\{\w*\}|\[\]", text)


def test_tables_are_rectangles(report: Rendered) -> None:
    """Each row of a table has as many cells as its head has columns."""
    for table in re.findall(r"<table.*?</table>", report.html, re.DOTALL):
        counts = {len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr.*?</tr>", table)}
        assert len(counts) == 1


def test_the_same_records_give_the_same_bytes(every: Reports) -> None:
    """A report that is rendered again is the same file, figures included."""
    directory = every["two devices"].directory
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    bench_report.render_bench(records.read_bench(directory), directory)
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()} == before


# --- The answer ----------------------------------------------------------------------------------


def test_the_answer_says_what_is_fastest_and_what_to_change(every: Reports) -> None:
    """The fastest cell, the first change with its interval, what is slower, and the limit."""
    report = every["quick"]
    table = records.read_bench(report.directory).throughput
    assert table is not None
    own = table[(table["measure"] == "training_step") & (table["initialization"] == "pytorch")]
    own = own[(own["hidden_size"] == 32) & (own["sequence_length"] == 100)]
    tuned = own[own["variant"] == "tuned"].set_index("cell")["tokens_per_second"]
    assert tuned.idxmax() == "rnn"
    assert "tuned, rnn trains fastest" in report.answer.text
    first = own[(own["variant"] == "processes=2") & (own["cell"] == "lstm")].iloc[0]
    said = (
        f"{first['speedup']:.2f} times ({first['speedup_low']:.2f} – {first['speedup_high']:.2f})"
    )
    assert "What to change first: run 2 tuned processes at once" in report.answer.text
    assert f"{said} for lstm" in report.answer.text
    assert re.search(
        r"What loses against plain: bfloat16 \(0\.\d+ to 0\.\d+ times", report.answer.text
    )
    assert re.search(
        r"less than tuned alone: threads=2 \(0\.7\d+ to 0\.7\d+ times", report.answer.text
    )
    assert "threads" not in report.answer.text.partition("What loses")[0]
    assert re.search(
        r"rnn reaches [\d.]+ % \(the latency of its time steps in torch\)", report.answer.text
    )


def test_nothing_is_advised_where_intervals_hold_1(every: Reports) -> None:
    """Variants that differ by noise alone.

    Neither advice nor loss, and no fastest cell where intervals overlap.
    """
    text = every["no difference"].answer.text
    assert "No change is shown to gain 5 % or more at this shape." in text
    assert "What to change first" not in text
    assert "What loses" not in text


def test_nothing_is_advised_from_too_few_rounds(every: Reports) -> None:
    """Three rounds give no interval.

    Gains of 3 times are shown and not advised, and no cell is the fastest.
    """
    report = every["few rounds"]
    assert "No change is shown to gain 5 % or more at this shape." in report.answer.text
    assert "trains fastest" not in report.answer.text
    assert "none is shown to be the fastest" in report.answer.text
    assert re.search(r"no difference is shown for 3\.\d+ times for", visible_text(report.html))


def test_each_device_has_its_own_answer(every: Reports) -> None:
    """With two devices each paragraph says which it is about."""
    text = every["two devices"].answer.text
    assert re.search(r"On CPU: At hidden size 32.*On CPU: What to change first", text)
    assert re.search(r"On cuda:0: At hidden size 32.*On cuda:0: What to change first", text)


def test_without_a_time_the_report_says_so(every: Reports) -> None:
    """If every row failed, one sentence names the cells and the page has the reasons."""
    report = every["nothing works"]
    assert report.answer.text.startswith(
        "No training step was timed. Without a single time: rnn, gru"
    )
    assert len(report.answer.missing) == 3
    assert "RuntimeError: nothing" in visible_text(report.html)
    assert not [i for i in report.page.ids if i.startswith("figure-")]


def test_the_answer_alone_needs_no_figures(every: Reports) -> None:
    """What the index and the terminal show is what the report opens with."""
    report = every["two devices"]
    found = records.read_bench(report.directory)
    assert bench_report.answer_bench(found) == report.answer.text


# --- Sections ------------------------------------------------------------------------------------


def test_losing_and_missing_variants_are_shown(every: Reports) -> None:
    """A variant that loses is in the map and its table.

    One that is not to be had stands with its reason.
    """
    text = visible_text(every["two devices"].html)
    assert "needs a CUDA device" in text
    assert "no C++ compiler was found" in text
    assert "RuntimeError: <b>shapes</b> | 3 and 4" in text
    assert "it is slower, 0.6" in text
    svg = (every["two devices"].directory / "figures" / "speedup.svg").read_text("utf-8")
    assert "bfloat16" in svg
    assert "compiled" in svg
    assert "<pattern" in svg  # hatched: no time there


def test_the_map_pools_many_shapes(every: Reports) -> None:
    """More shapes than lines: a line stands for several, and the table has them all."""
    report = every["many shapes"]
    assert "One line can hold several shapes" in visible_text(report.html)
    table = records.read_bench(report.directory).throughput
    assert table is not None
    gains = table[table["speedup"].notna() & (table["variant"] == "bfloat16")]
    speedups = report.html[report.html.index('id="figure-speedup"') :]
    speedups = speedups[: speedups.index("</figure>")]
    assert len(re.findall(r"<td>bfloat16</td>", speedups)) == len(gains) > 45 / 3


def test_doubling_the_length_is_said_in_words(every: Reports) -> None:
    """Time in proportion to length doubles with the length; the interval contains 2."""
    text = every["quick"].markdown
    found = re.search(
        r"From length 50 to 400, twice the length costs ([\d.]+) times \(([\d.]+) – ([\d.]+)\) for rnn",
        text,
    )
    assert found is not None
    value, low, high = map(float, found.groups())
    assert low < 2.0 < high
    assert value == pytest.approx(2, abs=0.1)


def test_two_lengths_are_no_power_law(tmp_path: Path) -> None:
    """Any two points lie on a line, so that is not measured."""
    vary = "[[vary]]\nsequence_length = [50, 100]"
    directory = write_bench(tmp_path, BenchWish(vary=vary, cells=("rnn",)))
    text = visible_text(dispatch.render_folder(directory).html.read_text("utf-8"))
    assert "What a longer sequence costs. It takes at least 3 lengths" in text


def test_flushing_wins_where_gradients_vanish(every: Reports) -> None:
    """With pytorch's initialisation entries are denormal and flushing wins.

    With the others neither.
    """
    text = every["quick"].markdown
    found = re.search(
        r"length 400 with pytorch initialisation, of the gradient entries, 22\.5 % are denormal and 40 %"
        r" zero in rnn.*?There, flushing makes a step faster: (\d\.\d+) times",
        text,
    )
    assert found is not None
    assert float(found.group(1)) == pytest.approx(1 + 6 * 0.225, rel=0.1)  # as the generator has it
    assert (
        "orthogonal initialisation no gradient entry is denormal or zero in rnn, gru and lstm"
        in text
    )
    assert "There flushing shows no gain." in text


def test_parts_that_noise_hides_are_not_resolved(tmp_path: Path) -> None:
    """An update that is smaller than the noise is said to be so, not shown as a negative time."""
    vary = 'measures = ["training_step", "forward", "forward_backward"]'
    wish = BenchWish(vary=f"[[vary]]\n{vary}", cells=("lstm",), variants=("tuned",), noise=0.4)
    directory = write_bench(tmp_path, wish)
    html = dispatch.render_folder(directory).html.read_text("utf-8")
    assert "not resolved" in visible_text(html)
    assert not re.search(r"<td[^>]*>-\d[\d.]* .?s</td>", html)


def test_what_was_not_measured_is_named(every: Reports) -> None:
    """A bench without limits, references and lengths says so in one place, and draws the rest."""
    text = every["bare"].markdown.partition("## Not measured")[2]
    for reason in ("No limit was measured", "least 3 lengths", "timing.memory", "inference.csv"):
        assert reason in text
    assert "No variant was compared with a reference." in text
    assert every["bare"].answer.text.count("reaches") == 0


def test_a_machine_that_was_not_quiet_is_a_caveat(every: Reports, tmp_path: Path) -> None:
    """Wide intervals are told first among the caveats; narrow ones are not."""
    directory = write_bench(tmp_path, BenchWish(vary="", noise=0.2))
    noisy = dispatch.render_folder(directory).markdown.read_text("utf-8")
    assert re.search(r"## Caveats\s+- The machine was not quiet: half .* wider than \d\d %", noisy)
    assert "not quiet" not in every["quick"].markdown


def test_rows_that_never_settled_are_a_caveat(every: Reports, tmp_path: Path) -> None:
    """One of three variants of each of three cells.

    Tables of earlier versions say nothing of it.
    """
    variants = ("plain", "tuned", "threads=2")
    wish = BenchWish(vary="", variants=variants, unsteady="/training_step/tuned/")
    directory = write_bench(tmp_path, wish)
    settled = r"3 of 9 rows had not settled when their timed blocks began"
    assert re.search(settled, dispatch.render_folder(directory).markdown.read_text("utf-8"))
    assert "had not settled" not in every["quick"].markdown
    table = pd.read_csv(directory / "throughput.csv", dtype=str, keep_default_na=False)
    table.drop(columns="steady").to_csv(directory / "throughput.csv", index=False)
    found = records.read_bench(directory).throughput
    assert found is not None
    assert found["steady"].isna().all()
    assert "had not settled" not in dispatch.render_folder(directory).markdown.read_text("utf-8")


def test_without_plain_nothing_is_compared(every: Reports) -> None:
    """Gains are over plain, so without it there are none; speeds are there all the same."""
    report = every["no plain"]
    assert "What to change" in report.markdown.partition("## Not measured")[2]
    assert "trains fastest" in report.answer.text
    assert "No change" not in report.answer.text


def test_names_are_shown_not_obeyed(every: Reports) -> None:
    """Markup in a name, a question, a reason or a note is shown letter by letter in both pages."""
    report = every["hostile"]
    assert "<script>" not in report.html
    assert "<i>a note" not in report.html
    text = visible_text(report.html)
    assert "<script>alert(1)</script>" in text
    assert "</td><script>x</script> | `no`" in text
    assert HOSTILE in text
    assert not re.search(r"(?<!\\)\](\(|\[)http", report.markdown)
    assert "<script" not in report.markdown


def test_old_figures_are_removed(every: Reports, tmp_path: Path) -> None:
    """A figure that no longer applies does not stay behind; a file that is not ours does."""
    directory = tmp_path / "copy"
    shutil.copytree(every["quick"].directory, directory)
    records.write_text(directory / "figures" / "mine.svg", "<svg/>")
    (directory / "throughput.csv").unlink()
    dispatch.render_folder(directory)
    assert {path.name for path in (directory / "figures").iterdir()} == {"mine.svg"}


def test_without_blocks_there_is_a_report(every: Reports, tmp_path: Path) -> None:
    """The table alone is enough: what needs single blocks has no interval, and nothing fails."""
    directory = tmp_path / "copy"
    shutil.copytree(every["quick"].directory, directory)
    (directory / "throughput.json").unlink()
    text = visible_text(dispatch.render_folder(directory).html.read_text("utf-8"))
    assert re.search(r"twice the length costs \d\.\d+ times for rnn", text)
    assert "What to change first: run one thread" in text


def test_columns_without_a_number_are_safe(every: Reports, tmp_path: Path) -> None:
    """Each number column in turn is emptied where it may be.

    The report is drawn, and never says nan.
    """
    directory = tmp_path / "copy"
    shutil.copytree(every["two devices"].directory, directory)
    table = pd.read_csv(directory / "throughput.csv", dtype=str, keep_default_na=False)
    empty = ("host_time_s", "gflops_per_second", "speedup_low", "speedup_high", "step_time_low_s")
    empty += ("step_time_high_s", "n_blocks", "n_processes", "latency_bound_s", "bytes_per_step")  # type: ignore[assignment]
    empty += ("loss_error", "zero_fraction", "graph_breaks", "fraction_of_peak", "device_name")  # type: ignore[assignment]
    table[list(empty)] = ""
    table.to_csv(directory / "throughput.csv", index=False)
    text = visible_text(dispatch.render_folder(directory).html.read_text("utf-8"))
    assert not re.search(r"\bnan\b|\bNone\b", text)
    assert "not measured" in text
