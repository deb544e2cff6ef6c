"""A hyperparameter sweep and benchmarking harness for recurrent networks.

It answers two questions with evidence: how many steps back can each cell remember, once each was
tuned with the same budget, and how fast does it train? `python -m harness` lists the commands.
This module imports nothing, so that every command starts quickly.
"""

__version__ = "0.1.0"
