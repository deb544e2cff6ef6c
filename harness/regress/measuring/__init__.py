"""Blocks of live processes, timed until the rules say stop."""
