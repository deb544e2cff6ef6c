"""The commands that run the study again and write its report again."""

from __future__ import annotations

from harness.rendering.document import BulletList, Code, ContentBlock, Paragraph, Section
from harness.study.report.study_context import StudyContext


def section(context: StudyContext) -> Section:
    """The commands that run the study and write its report again, and the notes of the run."""
    messages, records = context.messages, context.summary.records
    stored = records.machine.get("command")
    default = f"python -m harness.study {records.spec.study.name}"
    blocks: list[ContentBlock] = [
        Paragraph(messages("command.study")),
        Code(stored if isinstance(stored, str) and stored else default),
        Paragraph(messages("command.report")),
        Code(context.command),
        Paragraph(messages("command.files"), quiet=True),
    ]
    notes = records.machine.get("notes") or []
    if isinstance(notes, list) and notes:
        blocks.append(BulletList(tuple(str(note) for note in notes)))
    return Section("command", messages("command.title"), tuple(blocks))
