"""Latency and bytes of a model in inference."""

from __future__ import annotations

from harness.bench.report.bench_context import BenchContext
from harness.rendering.document import Section
from harness.rendering.sections.inference import inference_section


def section(context: BenchContext) -> Section:
    """The section that every report with inference.csv has."""
    table = context.records.inference
    if table is None or len(table) == 0:
        messages = context.messages
        return context.not_measured(
            "inference", messages("inference.title"), messages("inference.absent")
        )
    return inference_section(context, table)
