"""The study file and the grid file as frozen, validated data. Never runs code.

`load` reads the file and checks what it says by itself; `check` holds it against the tasks, the cells and the memory that
are at hand; `load_grid` and `check_grid_spec` do so for a grid. All raise InputError: the file, the key, what was expected,
what was got, the nearest valid name.
"""

from harness.spec.checks import KnownCell, KnownTask, check, count_trials, ladder, notes
from harness.spec.grid import (
    GridSpec,
    check_grid_spec,
    find_grid,
    list_grids,
    load_grid,
    parse_grid,
)
from harness.spec.groups import Group, inference_groups, training_groups
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

__all__ = [
    "RESERVED_NAMES",
    "Claim",
    "Compare",
    "Confirm",
    "GridSpec",
    "Group",
    "KnownCell",
    "KnownTask",
    "Published",
    "Search",
    "Study",
    "StudySpec",
    "Throughput",
    "Training",
    "check",
    "check_grid_spec",
    "count_trials",
    "find_grid",
    "find_study",
    "inference_groups",
    "ladder",
    "list_grids",
    "list_studies",
    "load",
    "load_grid",
    "notes",
    "parse",
    "parse_grid",
    "training_groups",
]
