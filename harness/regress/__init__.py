"""`python -m harness.regress`: has training become slower? Imports nothing, so that --help answers at once."""
