"""The phases after the search: train the winners, diagnostics, timing, tables."""
