"""The caveats of a bench, and the commands that run and render it again."""

from __future__ import annotations

from harness.bench.report.bench_context import BenchContext
from harness.columns import whole
from harness.rendering.document import BulletList, Code, ContentBlock, Paragraph, Section
from harness.rendering.sections.machine import run_notes

# Relative width. On a quiet machine, intervals of 11 blocks are 1 to 4 % wide.
NOISY_WIDTH = 0.1


def caveats_section(context: BenchContext) -> Section:
    """The limits of what the numbers show."""
    messages, timings = context.messages, context.timings
    said = []
    if timings.usual_width > NOISY_WIDTH:
        said.append(messages("bench.caveats.noisy", width=context.percent(timings.usual_width)))
    if timings.unsteady:
        n, of = (whole(number) for number in (len(timings.unsteady), len(timings.timed)))
        said.append(messages("bench.caveats.unsteady", n=n, of=of))
    if timings.timed:
        said.append(messages("bench.caveats.implementation"))
        if any(device == "cpu" for device in timings.devices):
            said.append(messages("caveats.cpu"))
        if not any(device.startswith("cuda") for device in timings.devices):
            said.append(messages("bench.caveats.no_cuda"))
        said.append(messages("bench.caveats.process"))
        said.append(messages("bench.caveats.sizes"))
    if timings.changes:
        said.append(messages("bench.caveats.over_plain"))
    said += run_notes(context, context.records.machine)
    blocks: tuple[ContentBlock, ...] = (BulletList(tuple(said)),) if said else ()
    return Section("caveats", messages("caveats.title"), blocks)


def command_section(context: BenchContext) -> Section:
    """The command that runs the bench again, and the one that renders the report again."""
    messages, records = context.messages, context.records
    known = records.machine.get("command")
    usual = f"python -m harness.bench {records.grid.grid.name}"
    blocks: list[ContentBlock] = [
        Paragraph(messages("bench.command.run")),
        Code(known if isinstance(known, str) and known else usual),
        Paragraph(messages("bench.command.report")),
        Code(context.command),
        Paragraph(messages("bench.command.files"), quiet=True),
    ]
    notes = records.machine.get("notes") or []
    if isinstance(notes, list) and notes:
        blocks.append(BulletList(tuple(str(note) for note in notes)))
    return Section("command", messages("command.title"), tuple(blocks))
