"""`python -m harness.bench`: training throughput and inference latency over a grid.

Imports nothing, so that --help answers at once.
"""
