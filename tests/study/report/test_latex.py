from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import records
from harness.rendering.escaping import escape_latex
from harness.study.report import study_report
from harness.study.report.sections import latex
from harness.study.report.study_context import study_context
from tests.rendering.pages import visible_text
from tests.study.report.synthetic import Wish, write

CELLS = ("rnn", "lstm", "엘 & 'q' $y$ _z_", "[x] {input}", "*a % b ^^41 ~ #1 {", "}--é&")
HOSTILE = Wish(
    name="기억 & $x$ {end} [a]",
    tasks=("temporal_order", "adding"),
    cells=tuple(cell.replace("*", "") for cell in CELLS),
    variants={cell.replace("*", ""): "lstm" for cell in CELLS[2:]},
    repeats=5,
    trials=3,
    confirm_seeds=2,
)


def paper(directory: Path, wish: Wish) -> str:
    """The text of paper.tex of such a study."""
    return latex.text(study_context(records.read_study(write(directory, wish)), directory, "en"))


def groups(text: str) -> list[int]:
    """The depth of braces after each line.

    Raises AssertionError where one closes that is not open.
    """
    depth, depths = 0, []
    for line in text.splitlines():
        for sign in re.findall(
            r"(?<!\\)(?:\\\\)*([{}])", line.partition("% ")[2 * line.startswith("%")]
        ):
            depth += 1 if sign == "{" else -1
            assert depth >= 0, line
        depths.append(depth)
    return depths


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """paper.tex of a study whose names have special characters of LaTeX."""
    return paper(tmp_path_factory.mktemp("hostile"), HOSTILE)


def test_names_are_escaped(hostile: str) -> None:
    """For any name of a cell, braces match, environments close, and no LaTeX command is left."""
    assert groups(hostile)[-1] == 0
    begun = re.findall(r"\\begin\{(\w+)\}", hostile)
    assert begun == ["table", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", hostile) == begun[::-1]
    body = "\n".join(line for line in hostile.splitlines() if not line.startswith("%"))
    assert hostile.count("\n%") == 0
    assert not re.search(r"(?<!\\)[#%_]|\^\^", body)
    maths = re.sub(r"\$(?:\\geq|\\leq|\\times|\\cdot|<|>|-)\$", "", body)
    assert not re.search(r"(?<!\\)\$", maths)
    assert all(ord(letter) < 256 for letter in hostile)


def test_each_row_has_as_many_cells_as_the_table(hostile: str) -> None:
    """No & of a name makes a column, and no row begins with an argument of the row before."""
    (layout,) = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", hostile)
    (body,) = re.findall(r"\\midrule\n(.*?)\n\s*\\bottomrule", hostile, flags=re.DOTALL)
    rows = [line.strip() for line in body.splitlines()]
    assert len(rows) == len(HOSTILE.tasks) * len(HOSTILE.cells)
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(layout) - 1
        assert row.endswith(r" \\")
        assert row[0] not in "[*"


def test_the_table_has_the_numbers_of_the_report(tmp_path: Path) -> None:
    """Spans, shares at the longest lag, parameters and searches are counted by another route."""
    text = paper(tmp_path, Wish())
    runs = records.read_study(tmp_path).confirmation
    assert runs is not None
    for cell in ("rnn", "gru", "lstm"):
        own = runs[runs["cell"] == cell]
        (row,) = re.findall(rf"^ +{cell} & (.*) \\\\$", text, flags=re.MULTILINE)
        span, _, lag, solved, _, parameters, n = row.split(" & ")
        top = own[own["lag"] == own["lag"].max()]
        by_lag = own.groupby("lag")["solved"].sum()
        reached = [k for k in by_lag.index if (by_lag[by_lag.index <= k] >= 2.5).all()]
        assert (lag, n) == ("159", "5")
        assert solved.startswith(f"{int(top['solved'].sum())} of 5 ")
        assert f"{max(reached):.0f} " in span.replace("$\\geq$ ", "") + " "
        assert parameters == f"{int(own.groupby('repeat')['num_parameters'].first().median()):,}"


def test_the_methods_name_what_was_done(tmp_path: Path) -> None:
    """The paragraph has budget, space, sampler, seed, ladder, statistics, versions and machine."""
    wish = Wish(
        seed=7, machine={"versions": {"harness": "9.9", "torch": "2.13.0", "optuna": "5.0.0"}}
    )
    text = " ".join(paper(tmp_path, wish).split())
    for said in (
        *("rnn, gru and lstm on temporal\\_order", "A search had 12 trials", "study seed 7"),
        *(
            "n\\_startup\\_trials = 4",
            "multivariate = True",
            "hidden size from 8 to 32 (logarithmic)",
        ),
        *("initialisation one of pytorch, orthogonal and chrono", "batch size 32", "20,000"),
        *("one fresh run at each of the sequence lengths of 10, 20, 40, 80, 120 and 200 steps",),
        *("Clopper and Pearson", "Holm", "Newcombe", "harness 9.9", "torch 2.13.0", "optuna 5.0.0"),
        *("Example CPU @ 2.10GHz", "No trial was ended early"),
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("cells", "recurrence", "said"),
    [
        (("gru", "lstm"), "own for small RNN and GRU, else torch", "trained by loops"),
        (("lstm",), "own for small RNN and GRU, else torch", ""),
        (("gru", "lstm"), "torch", ""),
        (("lstm",), "native kernels (avx2), else torch", "trained by compiled kernels"),
    ],
)
def test_own_recurrences_are_named(
    tmp_path: Path, cells: tuple[str, ...], recurrence: str, said: str
) -> None:
    """The methods name the loops or the kernels of the harness if a cell was trained by them."""
    wish = Wish(cells=cells, trials=2, machine={"recurrence": recurrence})
    text = " ".join(paper(tmp_path, wish).split())
    for trained in ("trained by loops", "trained by compiled kernels"):
        assert (trained in text) is (trained == said)


def test_a_space_of_one_cell_is_named(tmp_path: Path) -> None:
    """The methods name the space of a cell that overrides the shared space."""
    directory = write(tmp_path, Wish(trials=2))
    spec = (directory / "spec.toml").read_text("utf-8")
    own = '[space.rnn]\ninitialization = ["pytorch"]\n[search]'
    records.write_text(directory / "spec.toml", spec.replace("[search]", own))
    text = " ".join(
        latex.text(study_context(records.read_study(directory), directory, "en")).split()
    )
    assert "For rnn instead: initialisation pytorch." in text


def test_without_a_confirmation_there_are_methods_and_no_table(tmp_path: Path) -> None:
    """A study that confirms nothing has a paragraph, which says so."""
    text = paper(tmp_path, Wish(confirm_seeds=0, trials=2, repeats=1))
    assert "tabular" not in text
    assert "No trial was confirmed by fresh runs" in " ".join(text.split())


@pytest.mark.usefixtures("no_figures")
def test_the_report_shows_the_file(tmp_path: Path) -> None:
    """The page and the Markdown hold table and methods line by line as paper.tex has them."""
    study_report.render(records.read_study(write(tmp_path, Wish(trials=2))), tmp_path)
    text = (tmp_path / "paper.tex").read_text("utf-8")
    assert text == latex.text(study_context(records.read_study(tmp_path), tmp_path, "en"))
    parts = text.split("\n\n")[1:]
    page = visible_text((tmp_path / "report.html").read_text("utf-8"))
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert len(parts) == 2
    for part in parts:
        assert f"```latex\n{part.strip()}\n```" in markdown
        assert " ".join(part.split()) in " ".join(page.split()).replace("\u00a0", " ").replace(
            "\u2060", ""
        )


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 5 % #1 {x} $y$", r"a\_b \& 5 \% \#1 \{x\} \$y\$"),
        ("\\input{x} ~^", r"\textbackslash{}input\{x\} \textasciitilde{}\textasciicircum{}"),
        ("[1] *", "{[}1{]} {*}"),
        ("a--b – ≥ 3", r"a-{}-b -- $\geq$ 3"),
        ("“q” 'r' `s`", r"``q'' 'r' \textasciigrave{}s\textasciigrave{}"),
        ("é\n엘 ą\x1b[31m", "é {[}U+C5D8{]} {[}U+0105{]}"),
        ("", ""),
    ],
)
def test_text_is_escaped_for_latex(text: str, latex: str) -> None:
    """Special characters of LaTeX are escaped; a letter without a font becomes its number."""
    assert escape_latex(text) == latex
