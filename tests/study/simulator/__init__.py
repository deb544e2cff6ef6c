"""A simulator: the real coordinator and local executor over simulated processes, storage, clock.

One seed draws a study, its faults and their moments. `python -m tests.study.simulator SEED` replays
one.

world       the clock, what happens at which moment, and the trace
plan        a study and the faults that it meets, drawn from a seed
trials      what a simulated trial sends, from its configuration alone
processes   the system's fork, kill and wait, and the launcher over the real fork server
storage     the real retries over a storage that fails before or after a write
lives       runs of the command until the study is done; what must hold
"""
