"""The reports of a study and of a bench: figures, tables and sentences from the stored records. Never trains, never changes a result.

    study_report.py    the report of a study: its sections in order, and paper.tex
    study_page.py      what each of those sections is given
    summary.py         from a study's records to numbers: spans, shares, comparisons, claims
    sections/          the parts of a study's report, each with its sentences, its table and its figure
    bench_report.py    the report of a bench: its sections in order
    bench_page.py      what each of those sections is given
    timings.py         from a bench's rows to numbers: gains, limits, growth
    bench_sections/    the parts of a bench's report
    comparison_report.py    the report of a comparison of two sides, and forest.py, its figure
    trend_report.py         the report of a history, and multiples.py, its figures
    selftest_report.py      the report of a selftest, and rates.py, its figures
    folders.py         the report of a folder, whichever it holds
    index.py           one page over a folder of results

What every report shares:

    rendering.py       a report as report.html, report.md and figures/
    document.py        what a report is made of before it is HTML or Markdown
    page.py            what every section is given
    catalogue/         all words, one file for each language
    theme.py           how every figure looks; fonts.py: which fonts draw its letters
    axes.py            places and texts along an axis; labels.py: names beside what they name
    shapes.py          a number against hidden size and length; machine_facts.py: what machine.json says
    markup.py          escaping, and SVG that fits the page
    templates/         the two pages and their style
"""

from harness.reporting.bench_report import answer_bench, render_bench
from harness.reporting.comparison_report import render_comparison
from harness.reporting.folders import render_folder
from harness.reporting.index import write_index
from harness.reporting.rendering import Answer
from harness.reporting.selftest_report import answer_selftest, render_selftest
from harness.reporting.study_report import answer, render
from harness.reporting.trend_report import answer_trend, render_trend

__all__ = [
    "Answer",
    "answer",
    "answer_bench",
    "answer_selftest",
    "answer_trend",
    "render",
    "render_bench",
    "render_comparison",
    "render_folder",
    "render_selftest",
    "render_trend",
    "write_index",
]
