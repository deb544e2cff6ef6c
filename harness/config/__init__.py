"""The study file and the grid file as frozen, validated data. Never runs code.

`load` reads the file and checks what it says by itself; `check` holds it against the tasks, the
cells and the memory that are at hand; `load_grid` and `check_grid_spec` do so for a grid. All raise
InputError: the file, the key, what was expected, what was got, the nearest valid name.
"""

from harness.config.feasibility import KnownCell, KnownTask, check, count_trials, ladder, notes
from harness.config.grid_config import (
    GridSpec,
    check_grid_spec,
    find_grid,
    list_grids,
    load_grid,
    parse_grid,
)
from harness.config.grid_groups import Group, inference_groups, training_groups
from harness.config.study_config import (
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
from harness.config.study_file import find_study, list_studies, load, parse
from harness.config.toml_text import read_toml
from harness.config.validation import RESERVED_NAMES

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
    "read_toml",
    "training_groups",
]
