"""The report of a bench: which sections it has, in which order. Times nothing."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.bench.report.bench_context import BenchContext, bench_context
from harness.bench.report.sections import (
    answer,
    caveats,
    cost_of_length,
    denormals,
    inference,
    peak_memory,
    precision,
    roofline,
    step_parts,
    throughput,
    variant_gains,
)
from harness.records import BenchRecords, read_blocks
from harness.rendering import render, theme
from harness.rendering.document import Report
from harness.rendering.render import Answer
from harness.rendering.sections.machine import machine

FIGURES = (
    "variants",
    "speedup",
    "throughput",
    "lengths",
    "roofline",
    "parts",
    "denormals",
    "peak_memory",
    "inference",
    "inference_size",
)


def answer_bench(records: BenchRecords, language: str = "en") -> str:
    """The answer in a few sentences, as the report opens and as the terminal shows it.

    Draws nothing.
    """
    return " ".join(answer.sentences(_page(records, Path(records.directory), language)))


def render_bench(records: BenchRecords, directory: Path, language: str = "en") -> Answer:
    """Write report.html, report.md and figures/ into `directory`.

    Figures that no longer apply are removed.

    The times of blocks are read from throughput.json beside the records. The same records give the
    same bytes on the same machine. Raises InputError for a language without texts.
    """
    directory = Path(directory)
    page = _page(records, directory, language)
    with theme.style(page.fonts.families):
        return render.write(_report(page), page, directory, page.timings.missing_cells)


def _page(records: BenchRecords, directory: Path, language: str) -> BenchContext:
    return bench_context(records, read_blocks(records.directory), directory, language)


def _report(page: BenchContext) -> Report:
    words, grid = page.messages, page.records.grid.grid
    picture = answer.picture(page)
    body = [
        variant_gains.section(page),
        throughput.section(page),
        cost_of_length.section(page),
        roofline.section(page),
        step_parts.section(page),
        denormals.section(page),
        peak_memory.section(page),
        precision.section(page),
        inference.section(page),
    ]
    found = [section for section in body if not section.absent]
    absent = page.left_out([section for section in body if section.absent])
    closed = [caveats.caveats(page), machine(page, page.records.machine), caveats.command(page)]
    return Report(
        language=words.language,
        title=words("page.title", name=grid.name),
        question=grid.question,
        answer=answer.sentences(page),
        opening=(picture,) if picture else (),
        sections=(*found, *absent, *closed),
        command=page.command,
        footer=words("page.made_by", version=harness.__version__),
        figures=FIGURES,
    )
