"""`python -m harness.report`: the report of any results folder, and the index of many."""
