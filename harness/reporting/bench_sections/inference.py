"""Latency and bytes of a model that only answers."""

from __future__ import annotations

from harness.reporting.bench_page import BenchPage
from harness.reporting.document import Section


def section(page: BenchPage) -> Section:
    """Median and 99th percentile of a call by cell and dtype."""
    words = page.words
    return page.not_measured("inference", words("inference.title"), words("inference.absent"))
