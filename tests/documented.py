"""Code and commands of a documentation page, written to files and made small for a test."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = (
    *("search.trials=2", "search.repeats=1", "throughput.enabled=false", "space.hidden_size=4"),
    *("training.sequences=64", "training.evaluate_every=32", "training.evaluation_sequences=32"),
    *("space.sequence_length=10", "confirm.sequence_lengths=[10]"),
    "confirm.evaluation_sequences=32",
)
"""Settings that turn any study with a [space] for sizes and lengths into one of seconds."""


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(name: str, language: str) -> list[str]:
    """The text of each block of the page that is marked with that language; "" for none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    return [text for marked, text in found if marked == language]


def blocks(name: str, language: str) -> list[tuple[str, str]]:
    """The page's blocks of that language that begin with a file's name as a comment.

    (file, text), in order.
    """
    heads = [
        (re.match(r"# ([\w.]+)(, continued)?\n", text), text) for text in fenced(name, language)
    ]
    return [(head[1], text[head.end() :]) for head, text in heads if head]


def write_files(name: str, folder: Path) -> None:
    """Write every file that the page shows; blocks of one name follow each other in it."""
    texts: dict[str, str] = {}
    for language in ("python", "toml"):
        for file, text in blocks(name, language):
            texts[file] = (texts[file] + "\n" if file in texts else "") + text
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")


def study_commands(name: str) -> list[list[str]]:
    """Each `python -m harness.study ...` of the page that names a plug-in, as words."""
    lines = "".join(fenced(name, "")).replace("\\\n", " ").splitlines()
    return [[sys.executable, *shlex.split(line)[1:]] for line in lines if "--plugin" in line]


def tiny(*changes: str) -> list[str]:
    """TINY as options, with changes in place of the setting of the same key.

    `key=` leaves one out.
    """
    settings = {each.partition("=")[0]: each for each in (*TINY, *changes)}
    return [
        word for each in settings.values() if not each.endswith("=") for word in ("--set", each)
    ]
