"""The report of a bench: bench_report renders it, bench_summary has its numbers."""
