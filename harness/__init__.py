"""A hyperparameter sweep and benchmarking harness for recurrent networks.

It answers two questions with evidence: how many steps back can each cell remember once each has
been tuned fairly, and how fast does it train? The commands are `python -m harness.study`,
`harness.report`, `harness.bench` and `harness.regress`; `python -m harness` lists them. This module
imports nothing, so that every command starts quickly.
"""

__version__ = "0.1.0"
