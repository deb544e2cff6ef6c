"""The phases after the search: winners, diagnostics, timing, tables."""
