"""Reading a page as a browser would, as far as tests need it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from harness.rendering import render

VOID = {"meta", "br", "img", "hr", "link", "input"}


class HtmlPage(HTMLParser):
    """Tags, ids, links and visible text of a page; raises AssertionError where tags don't match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href", "action", "data"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is closed at once."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag that ends is the one that is open."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        """Keep what a reader sees."""
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def visible_text(html: str) -> str:
    """What a reader sees of a page, figures included."""
    return " ".join(HtmlPage(html).text)


# Drawing a report's figures takes two thirds of the time of the report, half of that for the PNGs.


@contextmanager
def empty_png() -> Iterator[None]:
    """A report's PNG files are their heads alone; its SVG figures are drawn."""
    draw = render._drawn

    def drawn(figure: Figure, kind: str) -> bytes:
        return draw(figure, kind) if kind == "svg" else _head(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "_drawn", drawn)
        yield


@contextmanager
def empty_figures() -> Iterator[None]:
    """A report's figures are made, and their files are empty: for tests that read its text."""

    def drawn(figure: Figure, kind: str) -> bytes:
        return b'<svg viewBox="0 0 1 1"></svg>' if kind == "svg" else _head(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "_drawn", drawn)
        yield


def _head(figure: Figure) -> bytes:
    """The beginning of a PNG file, up to width and height."""
    width, height = (round(inches * render.PNG_DPI) for inches in figure.get_size_inches())
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
