"""The section on the machine, from machine.json, and the warnings of the run.

A study may take several runs of its command. What differs between them is shown of each.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.columns import seconds, size_in_bytes
from harness.rendering.document import Column, ContentBlock, Paragraph, Section, Table
from harness.rendering.report_context import ReportContext

_NOT_SHOWN = ("schema", "command", "warnings", "notes", "common_trials", "runs")


def machine_section(context: ReportContext, found: Mapping[str, Any]) -> Section:
    """A table of the properties of the machine."""
    messages = context.messages
    runs = [dict(_flat(each)) for each in found.get("runs", ())]
    rows = [
        (
            messages.of("machine", key),
            _of_all_runs(context, [run[key] for run in runs if key in run], value),
        )
        for key, value in _flat({k: v for k, v in found.items() if k not in _NOT_SHOWN})
    ]
    columns = (Column(messages("column.property")), Column(messages("column.value")))
    blocks: tuple[ContentBlock, ...] = (Table(columns, tuple(rows)),)
    if not rows:
        blocks = (Paragraph(messages("machine.absent"), quiet=True),)
    return Section("machine", messages("machine.title"), blocks)


def run_notes(context: ReportContext, found: Mapping[str, Any]) -> list[str]:
    """Letters without a font on this machine, and the stored warnings of the run."""
    said = []
    if context.fonts.missing:
        letters = " ".join(sorted(context.fonts.missing)[:12])
        said.append(context.messages("caveats.fonts", letters=letters))
    warnings = found.get("warnings") or []
    return [*said, *(str(warning) for warning in warnings if isinstance(warning, str))]


def _of_all_runs(context: ReportContext, values: Sequence[str], last: str) -> str:
    """The value of the last run; where it differs between runs, in how many it was what."""
    counts = collections.Counter(values)
    if len(counts) < 2:
        return last
    messages, n = context.messages, len(values)
    if set(counts) == {"True", "False"}:
        return messages("machine.in_runs", count=counts["True"], n=n)
    return messages.listed(
        messages("machine.value_in_runs", value=value, count=count, n=n)
        for value, count in counts.items()
    )


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
