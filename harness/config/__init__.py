"""The study file and the grid file as frozen, validated data. Never runs code.

`load_study` reads a study file and checks it by itself. `check_study` checks it against the
available tasks, cells and memory. `load_grid` and `check_grid` do the same for a grid file. All
raise InputError with the file, the key, what was expected, what was got and the nearest valid
name.
"""

from harness.config.feasibility import (
    KnownCell,
    KnownTask,
    check_study,
    confirmation_lengths,
    count_trials,
    study_notes,
)
from harness.config.grid_benchmarks import Group, inference_groups, training_groups
from harness.config.grid_config import (
    GridSpec,
    check_grid,
    find_grid,
    list_grids,
    load_grid,
    parse_grid,
)
from harness.config.study_config import (
    STARTUP_TRIALS,
    Claim,
    CompareTable,
    ConfirmTable,
    Published,
    SearchTable,
    StudySpec,
    StudyTable,
    ThroughputTable,
    TrainingTable,
)
from harness.config.study_file import find_study, list_studies, load_study, parse_study
from harness.config.toml_file import read_toml
from harness.config.validation import RESERVED_NAMES

__all__ = [
    "RESERVED_NAMES",
    "STARTUP_TRIALS",
    "Claim",
    "CompareTable",
    "ConfirmTable",
    "GridSpec",
    "Group",
    "KnownCell",
    "KnownTask",
    "Published",
    "SearchTable",
    "StudySpec",
    "StudyTable",
    "ThroughputTable",
    "TrainingTable",
    "check_grid",
    "check_study",
    "confirmation_lengths",
    "count_trials",
    "find_grid",
    "find_study",
    "inference_groups",
    "list_grids",
    "list_studies",
    "load_grid",
    "load_study",
    "parse_grid",
    "parse_study",
    "read_toml",
    "study_notes",
    "training_groups",
]
