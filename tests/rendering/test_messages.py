from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness import records
from harness.bench.report import bench_report
from harness.columns import COLUMNS, TrialStatus
from harness.config import Claim
from harness.errors import InputError
from harness.rendering import messages
from harness.study.report import study_report
from harness.study.search.samplers import sampler_arguments
from tests.bench.report.synthetic_bench import BenchWish, write_bench
from tests.rendering.pages import visible_text
from tests.study.report.synthetic import Wish, write

PACKAGE = Path(harness.__file__).parent
TEXTS = messages.load_messages("en").texts
# Keys that are put together from a fixed stem and a fixed set of endings.
BUILT = {
    "answer.first_span_interval",
    "answer.span_interval",
    "throughput.at_hidden_size",
    "throughput.at_sequence_length",
    "throughput.x_hidden_size",
    "throughput.x_sequence_length",
    *("compare.command.run", "compare.command.report"),
    *("trend.command.run", "trend.command.report"),
}


def calls() -> Iterator[tuple[str, set[str], bool]]:
    """Each text that the code asks for.

    Its key (a family ends in a dot), the fields given, whether all are known.
    """
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func)
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            for key in _constants(node.args[0]):
                if name.endswith("messages"):
                    yield key, given, True
                elif name.endswith("messages.of"):
                    yield f"{key}.", given, False
                elif name.endswith(".column") and key not in COLUMNS:  # those have a label
                    yield f"column.{key}", given, False
    for path in (PACKAGE / "rendering" / "templates").glob("*.jinja"):
        for key in re.findall(r'messages\("([^"]+)"', path.read_text("utf-8")):
            yield key, set(), False


def _constants(node: ast.expr) -> Iterator[str]:
    """The texts that an argument may be: a literal, or either side of a condition."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def literals() -> set[str]:
    """Every text constant of the code: keys that reach a call through a variable are among them."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_key_that_is_asked_for_exists() -> None:
    """No section and no template asks for a text that the catalogue lacks."""
    families = {key.rpartition(".")[0] + "." for key in TEXTS}
    asked = {key for key, _, _ in calls()}
    assert {key for key in asked if key not in TEXTS and key not in families} == set()


def test_every_key_is_asked_for() -> None:
    """Each text is used: by its key, by its family, or as the name of a column."""
    asked = {key for key, _, _ in calls()}
    held = literals()
    unused = {
        key
        for key in TEXTS
        if key not in asked | held | BUILT
        and f"{key.rpartition('.')[0]}." not in asked
        and not (key.startswith("column.") and key.removeprefix("column.") in held)
    }
    assert unused == set()


def test_every_field_is_given() -> None:
    """A call with a literal key gives every field that its text has."""
    for key, given, literal in calls():
        if literal and key in TEXTS:
            assert messages.fields(TEXTS[key]) <= given, key


@pytest.mark.parametrize("language", messages.languages())
def test_languages_say_the_same(language: str) -> None:
    """Each language has the keys and the fields of English."""
    other = messages.load_messages(language).texts
    assert set(other) == set(TEXTS)
    assert {
        key for key in TEXTS if messages.fields(other[key]) != messages.fields(TEXTS[key])
    } == set()


@pytest.mark.parametrize("language", messages.languages())
def test_texts_are_plain(language: str) -> None:
    """No text holds markup: what looks like it would be shown as it is."""
    for key, text in messages.load_messages(language).texts.items():
        assert not re.search(r"</?[a-z]|\*\*|`|\]\(|&[a-z]+;", text), key


def test_what_data_names_has_a_text() -> None:
    """Ends, verdicts and relations have words of their own."""
    wanted = [f"end.{end}" for end in TrialStatus]
    wanted += [f"verdict.{v}" for v in ("difference_shown", "no_difference_shown", "inconclusive")]
    wanted += [f"claim_verdict.{v}" for v in ("agrees", "disagrees", "undecided", "not_measured")]
    assert set(wanted) <= set(TEXTS)


def test_an_unknown_language_proposes_the_nearest() -> None:
    """A language without a file of texts is bad input."""
    with pytest.raises(InputError, match="did you mean 'en'"):
        messages.load_messages("eng")


def test_lists_read_as_a_sentence() -> None:
    """One, two and three items."""
    words = messages.load_messages("en")
    assert [words.listed(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


CLAIM = '[[claims]]\ncell = "rnn"\ntext = "C1"\nlag = 31\nsource = "S1"'
DATA = {
    *("temporal_order", "adding", "rnn", "gru", "lstm", "pytorch", "orthogonal", "chrono", "cpu"),
    *("Example", "CPU", "KiB"),  # the device's name, and a unit
    *("begin", "table", "centering", "scriptsize", "setlength", "tabcolsep", "caption", "label"),
    *("tab", "tabular", "toprule", "midrule", "bottomrule", "end", "geq", "cdot", "lrrrrrrr"),
    *("llrrrrrrr", "temporal", "True", "False", "adam"),  # LaTeX, Optuna's arguments, the optimiser
    *re.findall(r"[A-Za-z_]{3,}", " ".join(sampler_arguments("tpe")).replace("_", r"\_")),
    "_order",  # temporal\_order, as LaTeX has it
    *("How", "many", "steps", "back", "can", "each", "cell", "remember"),  # the question
}


@pytest.mark.usefixtures("no_png")
def test_every_word_of_a_report_comes_from_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a catalogue of fields alone, nothing but data is left in figures and pages."""
    ends = {"rnn": {"diverged": 0.3}, "gru": {"error": 0.2}}
    wish = Wish(tasks=("temporal_order", "adding"), trials=8, ends=ends, claims=CLAIM, name="N1")
    directory = write(tmp_path, wish)
    blank = {
        key: " ".join(f"{{{field}}}" for field in sorted(messages.fields(text))) or "·"
        for key, text in TEXTS.items()
    }
    monkeypatch.setattr(messages, "_read_texts", lambda _: blank)
    found = records.read_study(directory)
    machine = {"command": "·"}
    found = type(found)(**{**vars(found), "machine": machine})
    assert isinstance(found.spec.claims[0], Claim)
    page = study_report.render(found, tmp_path / "out")
    text = visible_text(page.html.read_text("utf-8"))
    text = text.replace(f"python -m harness.report {tmp_path / 'out'}", "")
    for reason in found.trials["reason"].unique():
        text = text.replace(str(reason), "")
    if found.confirmation is not None:
        for reason in found.confirmation["reason"].unique():
            text = text.replace(str(reason), "")
    assert found.inference is not None
    for reason in found.inference["reason"].unique():
        text = text.replace(str(reason), "")
    assert set(re.findall(r"[A-Za-z_]{3,}", text)) <= DATA


BENCH_DATA = {
    *("temporal_order", "rnn", "gru", "lstm", "pytorch", "orthogonal", "chrono", "cpu", "cuda"),
    *("Example", "CPU", "GPU"),  # the devices' names
    *(
        "plain",
        "tuned",
        "threads",
        "processes",
        "bfloat16",
        "denormals_kept",
        "memory_returned",
        "native",
        "compiled",
    ),
    *("denormals", "kept", "bfloat", "training_step"),
    *("MiB", "N1", "Q1", "R1", "R2"),
}


@pytest.mark.usefixtures("no_png")
def test_every_word_of_a_bench_comes_from_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of a bench's report."""
    wish = BenchWish(
        name="N1",
        question="Q1",
        devices=("cpu", "cuda:0"),
        unavailable={"tf32": "R1"},
        failed={"gru/training_step/bfloat16/pytorch/h128": "R2"},
        variants=("plain", "tuned", "threads=2", "bfloat16", "compiled", "tf32"),
    )
    directory = write_bench(tmp_path, wish)
    blank = {
        key: " ".join(f"{{{field}}}" for field in sorted(messages.fields(text))) or "·"
        for key, text in TEXTS.items()
    }
    monkeypatch.setattr(messages, "_read_texts", lambda _: blank)
    found = dataclasses.replace(records.read_bench(directory), machine={"command": "·"})
    page = bench_report.render_bench(found, tmp_path / "out")
    text = visible_text(page.html.read_text("utf-8"))
    text = text.replace(f"python -m harness.report {tmp_path / 'out'}", "")
    for name in found.throughput["benchmark"]:  # type: ignore[index]
        text = text.replace(str(name), "")
    assert set(re.findall(r"[A-Za-z_]{3,}", text)) <= BENCH_DATA
