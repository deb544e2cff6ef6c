"""The report of a bench: its sections and their order. Times nothing."""

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
from harness.rendering.render import WrittenReport
from harness.rendering.sections.machine import machine_section

BENCH_FIGURES = (
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
    """The answer in a few sentences, for the top of the report and the terminal.

    Draws nothing.
    """
    return " ".join(answer.answer_sentences(_page(records, Path(records.directory), language)))


def render_bench(records: BenchRecords, directory: Path, language: str = "en") -> WrittenReport:
    """Write report.html, report.md and figures/ into `directory`; remove figures it lacks.

    The block times come from throughput.json beside the records. The same records give the same
    bytes on the same machine. Raises InputError for a language without texts.
    """
    directory = Path(directory)
    context = _page(records, directory, language)
    with theme.style(context.fonts.families):
        return render.write_report_files(
            _report(context), context, directory, context.timings.missing_cells
        )


def _page(records: BenchRecords, directory: Path, language: str) -> BenchContext:
    return bench_context(records, read_blocks(records.directory), directory, language)


def _report(context: BenchContext) -> Report:
    messages, grid = context.messages, context.records.grid.grid
    picture = answer.answer_picture(context)
    body = [
        variant_gains.section(context),
        throughput.section(context),
        cost_of_length.section(context),
        roofline.section(context),
        step_parts.section(context),
        denormals.section(context),
        peak_memory.section(context),
        precision.section(context),
        inference.section(context),
    ]
    found = [section for section in body if not section.absent]
    absent = context.left_out([section for section in body if section.absent])
    closed = [
        caveats.caveats_section(context),
        machine_section(context, context.records.machine),
        caveats.command_section(context),
    ]
    return Report(
        language=messages.language,
        title=messages("page.title", name=grid.name),
        question=grid.question,
        answer=answer.answer_sentences(context),
        opening=(picture,) if picture else (),
        sections=(*found, *absent, *closed),
        command=context.command,
        footer=messages("page.made_by", version=harness.__version__),
        figures=BENCH_FIGURES,
    )
