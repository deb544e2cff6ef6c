"""The sections of a bench's report, each with its sentences, its table and its figure.

    answer.py          the fastest cell, what to change first, the nearest limit; one figure
    variant_gains.py   every variant over `plain`; the variants and rows without a time
    throughput.py      tokens per second against hidden size and sequence length
    cost_of_length.py  the cost of longer sequences
    roofline.py        the limits of each step: arithmetic, bytes and latency
    step_parts.py      forward, backward, update
    denormals.py       vanishing gradients, and the gain of flushing denormals
    peak_memory.py     memory against hidden size and sequence length
    precision.py       the error of each variant against float64; compile times
    inference.py       latency and bytes of a model in inference
    caveats.py         the caveats, and the commands

A section reads no file and holds no text: texts are in rendering/messages/. To add a section, write
a module with `section(context: BenchContext) -> Section` here, add its texts to messages/en.toml,
and call it in bench_report.py.
"""
