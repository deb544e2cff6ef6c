"""The document model: a report as sections of paragraphs, tables and pictures, in plain text."""

import dataclasses
from typing import ClassVar, Literal

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    "number" aligns to the right, "cell" shows the name of a recurrent cell in its colour, "group"
    shows a repeated text once.
    """

    title: str
    kind: Literal["text", "number", "cell", "group"] = "text"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: rows of texts, one text for each column.

    `note` explains units, n and the kind of interval. A `folded` table opens on a click.
    """

    kind: ClassVar = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """One paragraph. A `quiet` paragraph is shown in grey."""

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
    """A shell command on one line, or lines of another language to copy."""

    kind: ClassVar = "code"
    text: str
    language: str = "sh"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with its table.

    `name` is the stem of its files. `description` is the text for a screen reader.
    """

    kind: ClassVar = "picture"
    name: str
    figure: Figure
    description: str
    caption: str
    table: Table


ContentBlock = Paragraph | BulletList | Code | Table | Picture


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and its blocks. `key` is its anchor.

    `absent` is the reason why a section has no blocks.
    """

    key: str
    title: str
    blocks: tuple[ContentBlock, ...]
    absent: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report: the question, the answer, one picture, then the sections.

    `figures` names every figure that a report of this kind can have. Those that this report lacks
    are removed from its folder.
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
