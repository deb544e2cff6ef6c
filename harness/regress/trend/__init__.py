"""The command trend: where the speed of a history changed.

run            history, series, trend.json and report, in this order
trend_series   the series of each machine, with its change points and levels
change_points  the permutation test that finds them
trend_file     trend.json
terminal_output        the table of change points, on a terminal and as Markdown
report         report.html and report.md, from trend.json
"""
