"""The report of a study: figures, tables and sentences from the stored records. Never trains, never changes a result.

rendering.py   report.html, report.md, paper.tex and figures/
index.py       one page over a folder of results
summary.py     from records to numbers: spans, shares, comparisons, claims
sections/      the parts of a report, each with its sentences, its table and its figure
catalogue/     all words, one file for each language
document.py    what a report is made of before it is HTML or Markdown
page.py        what every section is given
theme.py       how every figure looks; fonts.py: which fonts draw its letters
markup.py      escaping, and SVG that fits the page
templates/     the two pages and their style
"""

from harness.reporting.index import write_index
from harness.reporting.rendering import Answer, answer, render

__all__ = ["Answer", "answer", "render", "write_index"]
