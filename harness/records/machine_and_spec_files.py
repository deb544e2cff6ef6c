"""What was run, and on what: machine.json, and the resolved spec.toml or grid.toml.

Computes no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.columns import RESULTS_SCHEMA
from harness.records.atomic_write import write_json, write_text


def write_machine(directory: Path, machine: Mapping[str, Any]) -> Path:
    """Write machine.json: fingerprint, versions, threads, command, budget notes, warnings."""
    return write_json(Path(directory) / "machine.json", {"schema": RESULTS_SCHEMA, **machine})


def write_spec(directory: Path, text: str) -> Path:
    """Write spec.toml, the resolved study."""
    return write_text(Path(directory) / "spec.toml", text)


def write_grid(directory: Path, text: str) -> Path:
    """Write grid.toml, the resolved grid."""
    return write_text(Path(directory) / "grid.toml", text)
