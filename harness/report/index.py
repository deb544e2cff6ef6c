"""The index of answers: one page over a folder of results, from what is stored in each.

Draws nothing, trains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.columns import seconds
from harness.errors import HarnessError, InputError, Shown
from harness.records import write_text
from harness.regular_file import read_regular
from harness.rendering.escaping import escape_markdown
from harness.rendering.messages import Messages, load_messages
from harness.report.dispatch import IndexEntry, kind_of

# The folder of results that are kept.
REFERENCE = "reference"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def write_index(directory: Path, language: str = "en") -> Path:
    """Write README.md into `directory`, with an entry for each folder in its `reference/`.

    An entry holds question, answer, cost, links and command. A folder that has only a README.md is
    shown by that page's title and first paragraph, one that cannot be read by one line with the
    reason. Folders are sorted by name: the same files give the same page.

    Raises InputError where `reference/` is missing or empty.
    """
    directory = Path(directory)
    messages = load_messages(language)
    root = directory / REFERENCE
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not folders:
        raise InputError(
            str(directory),
            REFERENCE,
            expected="a folder of folders of results",
            got=Shown("no such folder" if not root.is_dir() else "an empty folder"),
            remedy=_what_to_do(directory, root),
        )
    entries = [_entry(folder, messages, language) for folder in folders]
    command = f"```sh\npython -m harness.report --index {directory.resolve().name}\n```"
    lines = [f"# {messages('index.title')}", messages("index.intro"), command, *entries]
    return write_text(directory / "README.md", "\n\n".join(lines) + "\n")


def _what_to_do(directory: Path, root: Path) -> str:
    """The remedy for a folder without results in its `reference/`."""
    if directory.absolute().name == REFERENCE and not root.exists():
        return f"name the folder around it: {directory.parent}"
    if directory.is_dir():
        return f"copy folders of results that are kept into {root}"
    return f"name the folder that holds {REFERENCE}/"


def _entry(folder: Path, messages: Messages, language: str) -> str:
    """What one folder holds, as Markdown; one line with the reason where it cannot be read."""
    try:
        kind = kind_of(folder)
        if kind is not None and kind.describe is not None:
            entry = kind.describe(folder, language)
            return "\n\n".join(_parts(folder, entry, messages))
        if (folder / "README.md").is_file():
            return _page(folder)
        reason = messages("index.empty")
    except (HarnessError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).replace(str(folder), folder.name)
    return messages(
        "index.unreadable",
        name=f"**{escape_markdown(folder.name)}**",
        reason=escape_markdown(reason),
    )


def _parts(folder: Path, entry: IndexEntry, messages: Messages) -> Iterator[str]:
    """Question, answer, time and machine, links, and the command."""
    yield f"## {_link(entry.title, folder, 'report.md')}"
    if entry.question:
        yield f"> {escape_markdown(entry.question)}"
    yield escape_markdown(entry.answer)
    pages = [name for name in ("report.md", "report.html") if (folder / name).is_file()]
    figures = sorted(path.name for path in (folder / "figures").glob("*.svg"))
    items = [_took(entry.machine, messages)]
    if pages:
        links = messages.listed(_link(name, folder, name) for name in pages)
        items.append(messages("index.pages", links=links))
    if figures:
        names = (_link(name.removesuffix(".svg"), folder, f"figures/{name}") for name in figures)
        items.append(messages("index.figures", links=messages.listed(names)))
    yield "\n".join(f"- {item}" for item in items if item)
    command = entry.machine.get("command")
    ran = command if isinstance(command, str) and command else entry.command
    yield f"```sh\n{' '.join(ran.replace('```', '').split())}\n```"


def _took(machine: Mapping[str, Any], messages: Messages) -> str:
    """The time of the whole run and its machine; empty where machine.json lacks them."""
    time, cpu, cores = (machine.get(key) for key in ("wall_time_s", "cpu", "cores"))
    if not isinstance(time, int | float) or cpu is None or cores is None:
        return ""
    name = machine.get("device_name") or cpu
    key = "index.took" if name == cpu else "index.took_device"
    text = messages(key, time=seconds(float(time)), cpu=cpu, cores=cores, device=name)
    return escape_markdown(text)


def _page(folder: Path) -> str:
    """The title and the first paragraph of a folder's own page.

    Without that page's links, which are relative to the folder.
    """
    parts = re.split(r"\n\s*\n", read_regular(folder / "README.md").decode("utf-8").strip())
    title = next((part.lstrip("# ") for part in parts if part.startswith("#")), folder.name)
    first = next((part for part in parts if not part.startswith(("#", "|", "```"))), "")
    said = _LINK.sub(r"\1", " ".join(first.split()))
    return f"## {_link(title, folder, 'README.md')}\n\n{said}"


def _link(text: str, folder: Path, file: str) -> str:
    return f"[{escape_markdown(text)}]({quote(f'{REFERENCE}/{folder.name}/{file}')})"
