"""Which trials to run: search space, samplers, pruners, and the slots of each search."""
