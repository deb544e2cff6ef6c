"""The command selftest: how often verdicts are wrong on this machine, and what they find.

run             plan, runs, replays, files and report, in this order
selftest_files  selftest.json and runs.jsonl
terminal_output         progress, tables and the advice, on a terminal and as Markdown
report          report.html and report.md, from the two files
rate_figures    the report's two figures
"""
