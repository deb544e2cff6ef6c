"""`python -m harness.study`: search, confirm, time, report.

Imports nothing, so that --help is fast.
"""
