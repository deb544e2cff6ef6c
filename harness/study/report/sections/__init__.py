"""The sections of a report, each with its sentences, its table and its figure.

    published.py     published numbers beside ours
    opening.py       the answer in a sentence or two, and one picture
    memory.py        the table behind it, the comparisons, what was claimed
    extrapolation.py what solved runs do on longer sequences
    learning.py      learning curves
    speed.py         memory against speed, throughput against size and length
    winners.py       the configurations that the searches found
    sensitivity.py   which hyperparameter mattered
    budget.py        expected best against the number of trials
    gradients.py     how much of a gradient survives
    gates.py         what the gates do
    time_scales.py   how long a unit remembers
    ends.py          what failed or was pruned
    closing.py       the caveats, the command
    paper.py         a table and a paragraph of methods in LaTeX

A section never reads a file and holds no words: those are in the catalogue.
"""
