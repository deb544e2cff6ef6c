"""Blocks of live processes, timed until the rules say stop.

comparison_runner  times slices, rounds and blocks of one or two sides
blocks             from the rounds of a block to its values
peak_memory        peak memory of a step on both sides, and what counts as grown
slowdown_causes    differences of the environments, and the operators whose time grew
"""
