"""The least study, and how a test reads and checks one with some keys set."""

import copy
from pathlib import Path
from typing import Any

from harness import config as specs
from harness.cells import CELLS, Cell
from harness.config import StudySpec
from harness.tasks import TASKS

GIGABYTE = 10**9


LEAST: dict[str, Any] = {
    "study": {"name": "least"},
    "compare": {"tasks": ["adding"], "cells": ["lstm"]},
    "space": {
        "hidden_size": 8,
        "num_layers": 1,
        "learning_rate": 0.01,
        "sequence_length": 20,
        "initialization": "pytorch",
    },
}


WITHOUT_SIZE = {name: value for name, value in LEAST["space"].items() if name != "hidden_size"}


def raw(**tables: Any) -> dict[str, Any]:
    """The least study with some keys of some tables set."""
    plain = copy.deepcopy(LEAST)
    for table, keys in tables.items():
        if isinstance(keys, dict):
            plain[table] = {**plain.get(table, {}), **keys}
        else:
            plain[table] = keys
    return plain


def parse(**tables: Any) -> StudySpec:
    """The least study with some keys set, read."""
    return specs.parse_study(raw(**tables), "f.toml")


def check(spec: StudySpec, memory_bytes: int = 16 * GIGABYTE, **cells: Cell) -> StudySpec:
    """The study held against the registries and a memory."""
    return specs.check_study(spec, "f.toml", TASKS, {**CELLS, **cells}, memory_bytes)


def write(folder: Path, text: str) -> Path:
    """A study file of that text."""
    path = folder / "f.toml"
    path.write_text(text, encoding="utf-8")
    return path
