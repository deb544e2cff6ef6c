from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.rendering import escaping, theme

SPECIAL = st.text(alphabet="\\`*_[]()<>#|~$&-+=.1!:\"' aB한\n", max_size=30)


@given(st.one_of(SPECIAL, st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)))
@example("1)")
@example("12. x")
@example("- x")
def test_escaped_text_is_shown_as_it_was(text: str) -> None:
    """A Markdown reader shows escaped text letter by letter, as one plain paragraph."""
    plain = " ".join(text.split())
    shown = (
        MarkdownIt("commonmark")
        .enable("table")
        .enable("strikethrough")
        .render(f"x {escaping.escape_markdown(text)}")
    )
    assert re.sub(r"</?p>", "", shown).count("<") == 0, shown
    assert " ".join(html.unescape(re.sub(r"</?p>", "", shown)).split()) == f"x {plain}".strip()


@given(SPECIAL)
@example("---")
@example("===")
@example("1. x")
def test_escaped_text_starts_nothing(text: str) -> None:
    """At the start of a line escaped text is no list, no heading and no quotation either."""
    shown = MarkdownIt("commonmark").render(escaping.escape_markdown(text))
    assert set(re.findall(r"</?([a-z0-9]+)", shown)) <= {"p"}


def test_control_characters_are_left_out() -> None:
    """The colours of a terminal and other controls do not reach a page."""
    text = "\x1b[31mRuntimeError\x1b[0m:\x00 bad\x07\ud800"
    assert escaping.without_control_characters(text) == "RuntimeError: bad"
    assert escaping.escape_markdown(text) == "RuntimeError: bad"
    assert escaping.unbroken(text) == "RuntimeError: bad"


def test_a_table_cell_stays_a_cell() -> None:
    """A bar in a name does not start another column."""
    row = f"| {escaping.escape_markdown('a|b')} | c |"
    shown = MarkdownIt("commonmark").enable("table").render(f"| x | y |\n| - | - |\n{row}\n")
    assert re.findall(r"<td>(.*?)</td>", shown) == ["a|b", "c"]


def test_names_keep_their_underscores() -> None:
    """Inside a word an underscore needs no escape, so that the source stays readable."""
    assert escaping.escape_markdown("hidden_size") == "hidden_size"


SVG = """<?xml version="1.0"?>
<!DOCTYPE svg>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" height="9pt" viewBox="0 0 9 9" version="1.1">
 <metadata><rdf:RDF>x</rdf:RDF></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="figure_1"><g id="patch_1"><path d="M 0 0" style="fill: #ffffff"/></g>
 <g id="patch_2"><use xlink:href="#m1" clip-path="url(#p1)" style="stroke: #C84E00"/></g>
 <text style="font-size: 9px; font-family: 'Liberation Sans', 'NanumGothic'; fill: #1f2328">1</text></g>
</svg>"""


def test_inline_svg_fits_the_page() -> None:
    """No prologue, no background, no size, no font of its own.

    Ids are its own and colours the page's.
    """
    found = escaping.inline_svg(SVG, "memory", "a &lt; b")
    assert found.startswith('<svg viewBox="0 0 9 9" role="img" aria-label="a &lt; b">')
    assert "#ffffff" not in found
    assert "http:" not in found
    assert "font-family" not in found
    assert 'href="#memory-m1"' in found
    assert "url(#memory-p1)" in found
    assert "stroke: var(--cell-0)" in found
    assert "fill: var(--ink)" in found


def test_a_standalone_svg_names_fallbacks() -> None:
    """The file names the fonts it was measured with and then those that a reader may have."""
    found = escaping.standalone_svg(SVG)
    families = re.findall(r"font-family: ([^;]*)", found)[0].split(", ")
    assert families[:2] == ["'Liberation Sans'", "'NanumGothic'"]
    assert "sans-serif" in families
    assert "'Noto Sans KR'" in families
    assert theme.CELL_COLOURS[0].light in found.lower()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("≥ 159", "≥\u00a0159"),
        ("94 % intervals", "94\u00a0% intervals"),
        ("7 – 15", "7\u00a0–\u2060\u00a015"),
        ("7 – ≥ 159", "7\u00a0–\u2060\u00a0≥\u00a0159"),
        ("5 to 6 and so on – or not", "5 to 6 and so on – or not"),
    ],
)
def test_numbers_do_not_break(text: str, kept: str) -> None:
    """A sign, a unit and a range stay on one line; a sentence may break."""
    assert escaping.unbroken(text) == kept
