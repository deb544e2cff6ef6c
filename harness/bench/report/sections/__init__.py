"""The sections of a bench's report, each with its sentences, its table and its figure.

    opening.py       the answer: fastest cells, what to change first, how far from the limit; one
                     picture
    changes.py       every variant over `plain`, and the variants and rows that have no time
    throughput.py    tokens a second against hidden size and length
    lengths.py       what a longer sequence costs
    limits.py        how far each step is from arithmetic, bytes and latency
    parts.py         forward, backward, update
    denormals.py     gradients that vanish, and what flushing wins
    peak_memory.py   memory against size and length
    precision.py     each variant against float64, and what compiling took
    inference.py     latency and bytes of a model that only answers
    closing.py       the caveats, the command

A section never reads a file and holds no words: those are in the catalogue.
"""
