"""The caveats, the machine and the command."""

from __future__ import annotations

from harness.rendering.document import BulletList, Code, ContentBlock, Paragraph, Section
from harness.rendering.sections.machine import run_notes
from harness.stats import MINIMUM_REPEATS
from harness.study.report.study_context import StudyContext


def caveats(context: StudyContext) -> Section:
    """What a careful reader would object, said first."""
    messages, summary = context.messages, context.summary
    spec = summary.records.spec
    said = []
    if summary.common_trials < spec.search.trials:
        said.append(
            messages("caveats.fewer_trials", n=summary.common_trials, asked=spec.search.trials)
        )
    if summary.repeats < MINIMUM_REPEATS:
        said.append(messages("caveats.few_repeats", n=summary.repeats, minimum=MINIMUM_REPEATS))
    if spec.search.trials > 1:
        said.append(messages("caveats.luck", n=summary.repeats, trials=spec.search.trials))
        said.append(messages("caveats.budget"))
    if summary.confirmed:
        said += [messages("caveats.ladder")] if summary.has_ladder else []
        said.append(messages("caveats.plateau"))
        if spec.confirm.seeds > 1:
            said.append(messages("caveats.seeds", seeds=spec.confirm.seeds))
    if spec.search.pruner != "none":
        key = "caveats.bound" if spec.search.pruner == "bound" else "caveats.pruner"
        said.append(messages(key, pruner=spec.search.pruner))
    table = summary.records.throughput
    if table is not None and len(table):
        said.append(messages("caveats.implementation"))
        if (table["device"] == "cpu").any():
            said.append(messages("caveats.cpu"))
    said += run_notes(context, summary.records.machine)
    return Section("caveats", messages("caveats.title"), (BulletList(tuple(said)),))


def command(context: StudyContext) -> Section:
    """What to type to run the study again, and to render the report again."""
    messages, records = context.messages, context.summary.records
    known = records.machine.get("command")
    ran = (
        known
        if isinstance(known, str) and known
        else f"python -m harness.study {records.spec.study.name}"
    )
    blocks: list[ContentBlock] = [
        Paragraph(messages("command.study")),
        Code(ran),
        Paragraph(messages("command.report")),
        Code(context.command),
        Paragraph(messages("command.files"), quiet=True),
    ]
    notes = records.machine.get("notes") or []
    if isinstance(notes, list) and notes:
        blocks.append(BulletList(tuple(str(note) for note in notes)))
    return Section("command", messages("command.title"), tuple(blocks))
