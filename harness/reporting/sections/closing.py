"""The caveats, the machine and the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.metrics import seconds, size_in_bytes
from harness.reporting.document import Block, Code, Column, Paragraph, Points, Section, Table
from harness.reporting.page import Page
from harness.stats import MINIMUM_REPEATS

_NOT_SHOWN = ("schema", "command", "warnings", "notes", "common_trials")


def caveats(page: Page) -> Section:
    """What a careful reader would object, said first."""
    words, summary = page.words, page.summary
    spec = summary.records.spec
    said = []
    if summary.common_trials < spec.search.trials:
        said.append(
            words("caveats.fewer_trials", n=summary.common_trials, asked=spec.search.trials)
        )
    if summary.repeats < MINIMUM_REPEATS:
        said.append(words("caveats.few_repeats", n=summary.repeats, minimum=MINIMUM_REPEATS))
    if spec.search.trials > 1:
        said.append(words("caveats.luck", n=summary.repeats, trials=spec.search.trials))
        said.append(words("caveats.budget"))
    if summary.confirmed:
        said += [words("caveats.ladder")] if summary.has_ladder else []
        said.append(words("caveats.plateau"))
        if spec.confirm.seeds > 1:
            said.append(words("caveats.seeds", seeds=spec.confirm.seeds))
    if spec.search.pruner != "none":
        said.append(words("caveats.pruner", pruner=spec.search.pruner))
    table = summary.records.throughput
    if table is not None and len(table):
        said.append(words("caveats.implementation"))
        if (table["device"] == "cpu").any():
            said.append(words("caveats.cpu"))
    if page.fonts.missing:
        letters = " ".join(sorted(page.fonts.missing)[:12])
        said.append(words("caveats.fonts", letters=letters))
    warnings = summary.records.machine.get("warnings") or []
    said += [str(warning) for warning in warnings if isinstance(warning, str)]
    return Section("caveats", words("caveats.title"), (Points(tuple(said)),))


def machine(page: Page) -> Section:
    """The machine that ran the study, as machine.json has it."""
    words = page.words
    found = page.summary.records.machine
    rows = [
        (words.of("machine", key), value)
        for key, value in _flat({k: v for k, v in found.items() if k not in _NOT_SHOWN})
    ]
    columns = (Column(words("column.property")), Column(words("column.value")))
    blocks: tuple[Block, ...] = (Table(columns, tuple(rows)),)
    if not rows:
        blocks = (Paragraph(words("machine.absent"), quiet=True),)
    return Section("machine", words("machine.title"), blocks)


def command(page: Page) -> Section:
    """What to type to run the study again, and to render the report again."""
    words, records = page.words, page.summary.records
    known = records.machine.get("command")
    ran = (
        known
        if isinstance(known, str) and known
        else f"python -m harness.study {records.spec.study.name}"
    )
    blocks: list[Block] = [
        Paragraph(words("command.study")),
        Code(ran),
        Paragraph(words("command.report")),
        Code(page.command),
        Paragraph(words("command.files"), quiet=True),
    ]
    notes = records.machine.get("notes") or []
    if isinstance(notes, list) and notes:
        blocks.append(Points(tuple(str(note) for note in notes)))
    return Section("command", words("command.title"), tuple(blocks))


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item)
        elif isinstance(item, list):
            yield key, ", ".join(map(str, item))
        elif key.endswith("_bytes") and isinstance(item, int | float):
            yield key, size_in_bytes(float(item))
        elif key.endswith("_s") and isinstance(item, int | float):
            yield key, seconds(float(item))
        elif item is not None:
            yield key, str(item)
