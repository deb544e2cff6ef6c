"""What to try next: search space, samplers, pruners, the source of trials."""
