"""What a report is made of, before it is HTML or Markdown.

Sections of paragraphs, tables and pictures. All plain text.
"""

import dataclasses
from typing import ClassVar, Literal

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table: numbers are set to the right, the name of a cell gets its colour, a group is named once."""

    title: str
    kind: Literal["text", "number", "cell", "group"] = "text"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts, one text for each column; `note` says units, n and kind of interval.

    A `folded` one opens on demand.
    """

    kind: ClassVar = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """One paragraph; a `quiet` one is an aside."""

    kind: ClassVar = "paragraph"
    text: str
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class BulletList:
    """A list of short texts."""

    kind: ClassVar = "points"
    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Code:
    """Something to type into a shell, on one line; or lines to copy in another language."""

    kind: ClassVar = "code"
    text: str
    language: str = "sh"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with its table. `name` is the stem of its files, `description` what a reader who can't see it is told."""

    kind: ClassVar = "picture"
    name: str
    figure: Figure
    description: str
    caption: str
    table: Table


ContentBlock = Paragraph | BulletList | Code | Table | Picture


@dataclasses.dataclass(frozen=True)
class Section:
    """One heading and what stands under it; `key` is its anchor.

    `absent`: why there is nothing, and then no blocks.
    """

    key: str
    title: str
    blocks: tuple[ContentBlock, ...]
    absent: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report: the question, the answer, one picture, then the sections.

    `figures` names every figure that a report of its kind may have: those that this one lacks are
    removed from its folder.
    """

    language: str
    title: str
    question: str
    answer: tuple[str, ...]
    opening: tuple[ContentBlock, ...]
    sections: tuple[Section, ...]
    command: str
    footer: str
    figures: tuple[str, ...] = ()

    def pictures(self) -> tuple[Picture, ...]:
        """All figures, in order."""
        blocks = [*self.opening, *(block for section in self.sections for block in section.blocks)]
        return tuple(block for block in blocks if isinstance(block, Picture))
