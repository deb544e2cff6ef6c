"""The command compare: it times base and head in the same run and says whether head is slower.

run               sides, workload, timing, files and report, in this order
comparison_files  comparison.json, base.json, head.json, junit.xml
terminal_output           progress, table and verdict, on a terminal and as Markdown
report            report.html and report.md, from comparison.json
"""
