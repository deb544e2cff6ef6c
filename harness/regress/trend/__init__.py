"""The commands record and trend: a history of timings, and its change points."""
