"""Latency and bytes of a model that only answers."""

from __future__ import annotations

from harness.bench.report.bench_context import BenchContext
from harness.rendering.document import Section
from harness.rendering.sections.inference import inference_section


def section(page: BenchContext) -> Section:
    """What every report with inference.csv shows."""
    table = page.records.inference
    if table is None or len(table) == 0:
        words = page.messages
        return page.not_measured("inference", words("inference.title"), words("inference.absent"))
    return inference_section(page, table)
