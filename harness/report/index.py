"""The index of answers: one page over a folder of results, from what is stored in each.

Draws nothing, trains nothing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness import records
from harness.bench.report.bench_report import answer_bench
from harness.columns import seconds
from harness.errors import HarnessError, InputError, Shown
from harness.records import BenchRecords, StudyRecords, write_text
from harness.regress.selftest.records import read_selftest
from harness.regress.selftest.report import answer_selftest
from harness.regress.trend.records import read_trend
from harness.regress.trend.report import answer_trend
from harness.rendering.escaping import escape_markdown
from harness.rendering.messages import Messages, load_messages
from harness.study.report.study_report import answer

REFERENCE = "reference"  # the folder of results that are kept
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def write_index(directory: Path, language: str = "en") -> Path:
    """Write README.md into `directory`.

    Question, answer, cost, links and command of each folder in its `reference/`.

    A folder with a README.md alone is named with that page's title and first paragraph; one that
    can't be read is one line that says so. Folders come by name, so the same files give the same
    page. Raises InputError where there is none.
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
            remedy="name the folder that holds reference/, such as results",
        )
    entries = [_entry(folder, messages, language) for folder in folders]
    command = f"```sh\npython -m harness.report --index {directory.resolve().name}\n```"
    lines = [f"# {messages('index.title')}", messages("index.intro"), command, *entries]
    return write_text(directory / "README.md", "\n\n".join(lines) + "\n")


def _entry(folder: Path, messages: Messages, language: str) -> str:
    """What one folder holds, as Markdown."""
    try:
        if (folder / "grid.toml").exists():
            return "\n\n".join(_said(_bench(records.read_bench(folder), language), messages))
        if (folder / "spec.toml").exists():
            return "\n\n".join(_said(_study(records.read(folder), language), messages))
        if (folder / "trend.json").exists():
            return "\n\n".join(_said(_trend(folder, messages, language), messages))
        if (folder / "selftest.json").exists():
            return "\n\n".join(_said(_selftest(folder, messages, language), messages))
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


@dataclasses.dataclass(frozen=True)
class _Found:
    """What one folder says at its top, and how it came about."""

    folder: Path
    name: str
    question: str
    answer: str
    machine: Mapping[str, Any]
    command: str


def _study(study: StudyRecords, language: str) -> _Found:
    about = study.spec.study
    command = f"python -m harness.study {about.name}"
    said = answer(study, language)
    return _Found(
        study.directory,
        _title(study.directory, about.name),
        about.question,
        said,
        study.machine,
        command,
    )


def _bench(bench: BenchRecords, language: str) -> _Found:
    about = bench.grid.grid
    command = f"python -m harness.bench {about.name}"
    said = answer_bench(bench, language)
    return _Found(
        bench.directory,
        _title(bench.directory, about.name),
        about.question,
        said,
        bench.machine,
        command,
    )


def _title(folder: Path, name: str) -> str:
    """The name, and what the folder's adds to it, as in bench_quick_h200."""
    return folder.name if folder.name.startswith(name) else name


def _trend(folder: Path, messages: Messages, language: str) -> _Found:
    record = read_trend(folder)
    said = answer_trend(record, language)
    command = record.command or "python -m harness.regress trend"
    return _Found(folder, folder.name, messages("trend.question"), said, {}, command)


def _selftest(folder: Path, messages: Messages, language: str) -> _Found:
    plain = read_selftest(folder, done=True)
    said, question = answer_selftest(plain, language), messages("selftest.question")
    about = {**plain["machine"], "wall_time_s": plain["wall_time_s"]}
    return _Found(folder, folder.name, question, said, about, plain["command"])


def _said(found: _Found, messages: Messages) -> Iterator[str]:
    """Question, answer, what it took, where to read on, and the command."""
    folder = found.folder
    yield f"## {_link(found.name, folder, 'report.md')}"
    if found.question:
        yield f"> {escape_markdown(found.question)}"
    yield escape_markdown(found.answer)
    pages = [name for name in ("report.md", "report.html") if (folder / name).is_file()]
    figures = sorted(path.name for path in (folder / "figures").glob("*.svg"))
    items = [_took(found.machine, messages)]
    if pages:
        links = messages.listed(_link(name, folder, name) for name in pages)
        items.append(messages("index.pages", links=links))
    if figures:
        names = (_link(name.removesuffix(".svg"), folder, f"figures/{name}") for name in figures)
        items.append(messages("index.figures", links=messages.listed(names)))
    yield "\n".join(f"- {item}" for item in items if item)
    command = found.machine.get("command")
    ran = command if isinstance(command, str) and command else found.command
    yield f"```sh\n{' '.join(ran.replace('```', '').split())}\n```"


def _took(found: Mapping[str, Any], messages: Messages) -> str:
    """The time of the whole and the machine, as far as machine.json has them."""
    time, cpu, cores = (found.get(key) for key in ("wall_time_s", "cpu", "cores"))
    if not isinstance(time, int | float) or cpu is None or cores is None:
        return ""
    name = found.get("device_name") or cpu
    key = "index.took" if name == cpu else "index.took_device"
    text = messages(key, time=seconds(float(time)), cpu=cpu, cores=cores, device=name)
    return escape_markdown(text)


def _page(folder: Path) -> str:
    """The title and the first paragraph of a folder's own page.

    Its links would lead astray from here.
    """
    parts = re.split(r"\n\s*\n", (folder / "README.md").read_text(encoding="utf-8").strip())
    title = next((part.lstrip("# ") for part in parts if part.startswith("#")), folder.name)
    first = next((part for part in parts if not part.startswith(("#", "|", "```"))), "")
    said = _LINK.sub(r"\1", " ".join(first.split()))
    return f"## {_link(title, folder, 'README.md')}\n\n{said}"


def _link(text: str, folder: Path, file: str) -> str:
    return f"[{escape_markdown(text)}]({quote(f'{REFERENCE}/{folder.name}/{file}')})"
