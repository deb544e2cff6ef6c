"""Escapes plain text for Markdown and LaTeX, and adapts matplotlib's SVG to a page."""

from __future__ import annotations

import re
import unicodedata

from harness.rendering import theme
from harness.rendering.fonts import STACK

_MARKDOWN = re.compile(r"([\\`*\[\]<>|~$#])|(?<![^\W_])_|_(?![^\W_])")


_BREAKS = re.compile(r"(?<=[≥<]) (?=\d)|(?<=\d) (?=%)")
# A line may break after a dash, unless a word joiner follows it.
_RANGE = re.compile(r"(?<=[\d%]) – (?=[≥<\d])")


def without_control_characters(text: str) -> str:
    """The text without control characters, such as a terminal's colour codes."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "".join(c for c in plain if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def escape_markdown(text: object) -> str:
    """The text escaped for Markdown, on one line.

    Nothing in it starts a tag, a link, a table cell or a heading.
    """
    line = " ".join(without_control_characters(str(text)).split()).replace("&", "&amp;")
    escaped = _MARKDOWN.sub(lambda match: "\\" + match.group(0), line)
    escaped = escaped.replace("\\<", "&lt;").replace("\\>", "&gt;")
    # At the start, Markdown takes a backslash before the sign of a list, not before its digits.
    return re.sub(r"^(\d*)([-+=](?=[\s=-]|$)|(?<=\d)[.)](?=\s|$))", r"\1\\\2", escaped)


_LATEX = {
    **{sign: "\\" + sign for sign in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "<": "$<$",
    ">": "$>$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "−": "$-$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "\x00": "{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
# The accents of LaTeX's oldest font encoding.
_ACCENTS = set("\u0300\u0301\u0302\u0303\u0308\u030c")


def escape_latex(text: object) -> str:
    """The text escaped for LaTeX, on one line.

    A letter that LaTeX's default font lacks becomes its code point, such as [U+C5D8].
    """
    line = re.sub(r"[ \t\n]+", " ", without_control_characters(str(text)))
    # Two hyphens would become a dash.
    apart = re.sub(r"-(?=-)", "-\x00", line)
    return "".join(map(_latex_letter, apart))


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    parts = unicodedata.normalize("NFD", letter)
    if parts[0].isascii() and set(parts[1:]) <= _ACCENTS:
        return letter
    return f"{{[}}U+{ord(letter):04X}{{]}}"


def unbroken(value: object) -> object:
    """The text with no-break spaces, so that a number keeps its sign, unit and range on one line.

    A value that is not a plain str, such as markup, is returned unchanged.
    """
    if type(value) is not str:
        return value
    return _BREAKS.sub(
        "\u00a0", _RANGE.sub("\u00a0–\u2060\u00a0", without_control_characters(value))
    )


def standalone_svg(svg: str) -> str:
    """The SVG for a file of its own: after the font it was measured with, fallback fonts."""
    return re.sub(
        r"font-family: ([^;\"]*)",
        lambda match: "font-family: " + ", ".join(_families(match.group(1))),
        svg,
    )


def inline_svg(svg: str, name: str, description: str) -> str:
    """The SVG for a page: ids prefixed by `name`, the page's font and colours, no background.

    `description` must be escaped for an attribute.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"patch_1\">.*?</g>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"\bid=\"([^\"]+)\"", rf'id="{name}-\1"', svg)
    svg = re.sub(r"(xlink:href=\"#|url\(#)", rf"\g<1>{name}-", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour in theme.COLOURS:
        svg = re.sub(rf"{colour.light}\b", f"var(--{colour.name})", svg, flags=re.IGNORECASE)
    opening = re.match(r"<svg[^>]*viewBox=\"([^\"]+)\"[^>]*>", svg)
    assert opening is not None, "matplotlib writes a viewBox"
    head = f'<svg viewBox="{opening.group(1)}" role="img" aria-label="{description}">'
    return head + svg[opening.end() :].rstrip()


def _families(listed: str) -> list[str]:
    measured = [family.strip() for family in listed.split(",")]
    return list(dict.fromkeys([*measured, *STACK]))
