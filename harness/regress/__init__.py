"""`python -m harness.regress`.

Has training become slower? Imports nothing, so that --help answers at once.
"""
