"""Blocks to verdicts: pure functions, no process, no clock."""
