"""The caveats of a bench, and its command."""

from __future__ import annotations

from harness.bench.report.bench_context import BenchContext
from harness.columns import whole
from harness.rendering.document import Block, BulletList, Code, Paragraph, Section
from harness.rendering.sections.machine import noted

NOISY = 0.1  # on a quiet machine intervals of 11 blocks are 1 to 4 % wide


def caveats(page: BenchContext) -> Section:
    """What a careful reader would object, said first."""
    words, timings = page.messages, page.timings
    said = []
    if timings.usual_width > NOISY:
        said.append(words("bench.caveats.noisy", width=page.percent(timings.usual_width)))
    if timings.unsteady:
        n, of = (whole(number) for number in (len(timings.unsteady), len(timings.timed)))
        said.append(words("bench.caveats.unsteady", n=n, of=of))
    if timings.timed:
        said.append(words("bench.caveats.implementation"))
        if any(device == "cpu" for device in timings.devices):
            said.append(words("caveats.cpu"))
        if not any(device.startswith("cuda") for device in timings.devices):
            said.append(words("bench.caveats.no_cuda"))
        said.append(words("bench.caveats.process"))
        said.append(words("bench.caveats.sizes"))
    if timings.changes:
        said.append(words("bench.caveats.over_plain"))
    said += noted(page, page.records.machine)
    blocks: tuple[Block, ...] = (BulletList(tuple(said)),) if said else ()
    return Section("caveats", words("caveats.title"), blocks)


def command(page: BenchContext) -> Section:
    """What to type to run the bench again, and to render the report again."""
    words, records = page.messages, page.records
    known = records.machine.get("command")
    usual = f"python -m harness.bench {records.grid.grid.name}"
    blocks: list[Block] = [
        Paragraph(words("bench.command.run")),
        Code(known if isinstance(known, str) and known else usual),
        Paragraph(words("bench.command.report")),
        Code(page.command),
        Paragraph(words("bench.command.files"), quiet=True),
    ]
    notes = records.machine.get("notes") or []
    if isinstance(notes, list) and notes:
        blocks.append(BulletList(tuple(str(note) for note in notes)))
    return Section("command", words("command.title"), tuple(blocks))
