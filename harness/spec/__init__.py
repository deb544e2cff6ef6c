"""The study file as frozen, validated data. Never runs code.

`load` reads the file and checks what it says by itself; `check` holds it against the tasks, the cells and the memory that
are at hand. Both raise InputError: the file, the key, what was expected, what was got, the nearest valid name.
"""

from harness.spec.checks import KnownCell, KnownTask, check, count_trials, ladder, notes
from harness.spec.reading import find_study, list_studies, load, parse
from harness.spec.sense import RESERVED_NAMES
from harness.spec.tables import (
    Claim,
    Compare,
    Confirm,
    Published,
    Search,
    Study,
    StudySpec,
    Throughput,
    Training,
)
from harness.spec.toml import read_toml

__all__ = [
    "RESERVED_NAMES",
    "Claim",
    "Compare",
    "Confirm",
    "KnownCell",
    "KnownTask",
    "Published",
    "Search",
    "Study",
    "StudySpec",
    "Throughput",
    "Training",
    "check",
    "count_trials",
    "find_study",
    "ladder",
    "list_studies",
    "load",
    "notes",
    "parse",
    "read_toml",
]
