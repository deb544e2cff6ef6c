"""Reader of the measured block times of throughput.json. Computes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

from harness.errors import InputError, Shown
from harness.regular_file import read_regular


def read_blocks(directory: Path) -> dict[str, tuple[float, ...]]:
    """Seconds a step of each block, in the order of the rounds, by name of the benchmark.

    Empty without throughput.json. Raises InputError that names a file of another form.
    """
    path = Path(directory) / "throughput.json"
    if not path.is_file():
        return {}
    try:
        entries = json.loads(read_regular(path).decode("utf-8"))["benchmarks"]
        found = {
            str(entry["fullname"]): tuple(float(time) for time in entry["stats"]["data"])
            for entry in entries
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        expected = "pytest-benchmark's JSON with the data of each benchmark"
        raise InputError(str(path), expected=expected, got=Shown(str(error))) from error
    return {
        name: times for name, times in found.items() if times and all(map(math.isfinite, times))
    }
