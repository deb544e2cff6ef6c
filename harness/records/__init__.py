"""The result files of a study and of a bench, written and read.

What each column is, and that what is read is what was written.

    columns.py      which columns there are
    writing.py      trials.csv, confirmation.csv, extrapolation.csv, evaluations.csv, retries.csv,
                    diagnostics.json, machine.json, spec.toml, winners/
    throughput.py   throughput.csv and throughput.json, inference.csv and inference.json
    comparison.py   comparison.json, base.json, head.json and junit.xml
    trend.py        trend.json
    selftest.py     selftest.json and runs.jsonl
    blocks.py       the time of every block, from throughput.json
    reading.py      all of them, as one frozen StudyRecords or BenchRecords
    checking.py     what their cells and values may be
    files.py        temporary file, flush, rename; floats that read back exactly

It never computes a result, never renders one, and never runs what it reads: CSV, JSON and TOML, no
pickles.
"""

from harness.records.atomic_write import write_bytes, write_text
from harness.records.block_times import read_blocks
from harness.records.read_results import BenchRecords, StudyRecords, read, read_bench
from harness.records.result_columns import (
    EVALUATION_COLUMNS,
    EXTRAPOLATION_COLUMNS,
    INFERENCE_COLUMNS,
    RETRY_COLUMNS,
    THROUGHPUT_COLUMNS,
    confirmation_columns,
    trial_columns,
)
from harness.records.run_files import write_grid, write_machine, write_spec
from harness.records.throughput_files import remove_throughput, write_inference, write_throughput

__all__ = [
    "EVALUATION_COLUMNS",
    "EXTRAPOLATION_COLUMNS",
    "INFERENCE_COLUMNS",
    "RETRY_COLUMNS",
    "THROUGHPUT_COLUMNS",
    "BenchRecords",
    "StudyRecords",
    "confirmation_columns",
    "read",
    "read_bench",
    "read_blocks",
    "remove_throughput",
    "trial_columns",
    "write_bytes",
    "write_grid",
    "write_inference",
    "write_machine",
    "write_spec",
    "write_text",
    "write_throughput",
]
