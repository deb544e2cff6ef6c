"""The report toolkit: document model, HTML and Markdown, figures, messages, shared sections.

    document.py        a report before it is HTML or Markdown: sections, tables, pictures
    report_context.py  what every section is given, and phrases that several of them use
    render.py          writes report.html, report.md and figures/, from templates/
    escaping.py        text and SVG made safe for HTML, Markdown and LaTeX
    messages/          all texts, one file for each language
    theme.py fonts.py  colours, markers, lines and type of every figure
    figures/           figures and parts of figures that several reports draw
    sections/          sections that several reports have

To add a section to a report: write a function that takes the report's context and returns a
Section, in the sections/ folder of that report; put its texts into messages/en.toml; call it in the
report's module (study_report.py, bench_report.py).

It never trains and never changes a result.
"""
