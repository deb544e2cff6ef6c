"""Claims about memory, compared with the memory spans of this study."""

from __future__ import annotations

from collections.abc import Sequence

from harness import stats
from harness.rendering.document import Column, ContentBlock, Paragraph, Section, Table
from harness.study.report.study_context import StudyContext
from harness.study.report.study_summary import ABOUT, ClaimCheck


def section(context: StudyContext) -> Section | None:
    """Each claim with the memory spans of this study; None if the study has no claims."""
    summary, messages = context.summary, context.messages
    if not summary.claims:
        return None
    blocks: list[ContentBlock] = []
    for claim in summary.records.spec.claims:
        checks = [check for check in summary.claims if check.claim == claim]
        found = [
            messages("claims.found", cell=check.cell, task=check.task, span=_span(context, check))
            for check in checks
        ]
        key = "claims.claimed_source" if claim.source else "claims.claimed"
        claimed = messages(key, claim=claim.text, source=claim.source)
        blocks.append(
            Paragraph(f"{claimed} {messages('claims.here', found=messages.listed(found))}")
        )
        blocks.append(_checks(context, claim.lag, checks))
    blocks.append(
        Paragraph(
            messages("claims.note", about=f"{ABOUT:g}", minimum=stats.MINIMUM_REPEATS), quiet=True
        )
    )
    return Section("claims", messages("claims.title"), tuple(blocks))


def _span(context: StudyContext, check: ClaimCheck) -> str:
    if check.memory is None:
        return context.messages("not_measured")
    return context.span(check.memory.span, check.memory.ladder)


def _checks(context: StudyContext, lag: float, checks: Sequence[ClaimCheck]) -> Table:
    messages = context.messages
    rows = []
    for check in checks:
        memory, runs = check.memory, check.runs
        rows.append(
            (
                *context.task_cells(check.task, check.cell),
                _span(context, check),
                context.span_interval(memory.span, memory.ladder) if memory else messages("none"),
                messages("claims.not_on_ladder")
                if runs is None
                else messages("k_of_n", k=runs.n_solved, n=runs.n_runs),
                messages.of("claim_verdict", check.verdict),
            )
        )
    columns = (
        *context.task_columns(),
        context.column("memory_span"),
        context.column("interval"),
        Column(messages("claims.runs_at", lag=context.number("lag", lag)), "number"),
        Column(messages("column.verdict")),
    )
    return Table(columns, tuple(rows))
