"""The report of a study: its numbers, its sections and the files that it writes."""
