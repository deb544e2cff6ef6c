"""The result files of a study and of a bench, written and read.

    atomic_write.py      temporary file, flush, rename; floats that read back exactly
    csv_text.py          text cells that no spreadsheet evaluates
    jsonl.py             JSON Lines: append and sync, a torn last line
    file_lock.py         a lock on a database or a folder
    results_folder.py    the folder of a command's results
    machine_and_spec_files.py         machine.json, spec.toml and grid.toml
    throughput_files.py  throughput and inference, as CSV and JSON
    timed_blocks.py       the time of every block, from throughput.json
    read_results.py      all files of a folder as one frozen StudyRecords or BenchRecords
    result_tables.py     the CSV tables, each column with its type
    value_checks.py      what cells and values may be
    validation_errors.py what pydantic refuses, in one line

Which columns there are: harness.columns. Computes no result, renders none, and runs nothing that it
reads: CSV, JSON and TOML, no pickles.
"""

from harness.records.atomic_write import write_bytes, write_text
from harness.records.machine_and_spec_files import write_grid, write_machine, write_spec
from harness.records.read_results import (
    BenchRecords,
    StudyRecords,
    read_bench,
    read_machine_if_any,
    read_study,
)
from harness.records.throughput_files import remove_throughput, write_inference, write_throughput
from harness.records.timed_blocks import read_blocks

__all__ = [
    "BenchRecords",
    "StudyRecords",
    "read_bench",
    "read_blocks",
    "read_machine_if_any",
    "read_study",
    "remove_throughput",
    "write_bytes",
    "write_grid",
    "write_inference",
    "write_machine",
    "write_spec",
    "write_text",
    "write_throughput",
]
