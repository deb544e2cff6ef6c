"""The benchmarks of a grid as a file of steps, built by the harness that this side imports.

A side runs a copy of this file, with the benchmarks and the plug-ins as JSON beside it. That side's
harness may be an old revision: import nothing of it but what is imported here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import cells, tasks
from harness.errors import HarnessError
from harness.plugins import load_plugins
from harness.timing import Benchmark, prepare

WORKLOAD = Path(__file__).with_suffix(".json")
"""{"plugins": [...], "benchmarks": [...]}, written by harness.regress.sides.side_environment."""


def steps_of(benchmark: Mapping[str, Any]) -> Callable[[], tuple[Any, ...]]:
    """The function of a file of steps that builds one benchmark.

    Fields that this side's harness does not know are left out.
    """
    known = {field.name for field in dataclasses.fields(Benchmark)}

    def build() -> tuple[Any, ...]:
        made = Benchmark(**{key: value for key, value in benchmark.items() if key in known})
        subject = prepare(made)
        sequences = getattr(subject, "num_sequences", 0) or made.batch_size
        return None, subject.step, sequences, subject.reset

    return build


def is_available(benchmark: Mapping[str, Any]) -> bool:
    """Whether this side's harness has the cell, the task and the initialisation."""
    try:
        cell, _ = cells.get_cell(benchmark["cell"]), tasks.get_task(benchmark["task"])
    except HarnessError:
        return False
    return benchmark["initialization"] in cell.initializations


def load_steps(workload: Path) -> dict[str, Callable[[], tuple[Any, ...]]]:
    """Load the plug-ins; the steps of each benchmark that is available, by name."""
    plain = json.loads(workload.read_text(encoding="utf-8"))
    load_plugins(plain["plugins"])
    return {each["name"]: steps_of(each) for each in plain["benchmarks"] if is_available(each)}


STEPS = load_steps(WORKLOAD) if WORKLOAD.exists() else {}
