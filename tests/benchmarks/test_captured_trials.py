"""benchmarks.captured_trials: what does not need a CUDA device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.captured_trials import loss_differences

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_without_a_device_it_says_so_in_one_line() -> None:
    """And ends with exit code 1."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.captured_trials"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "captured_trials: no CUDA device was found, so there is nothing to measure"
    ]


def test_losses_of_equal_trials_are_compared() -> None:
    """Those that were trained both ways, whatever the number of workers was."""
    rows: list[dict[str, Any]] = [
        {"way": "plain", "losses": {"0": 1.0, "1": 0.5, "7": 3.0}},
        {"way": "captured", "losses": {"0": 1.25}},
        {"way": "captured", "losses": {"1": 0.375, "9": 2.0}},
    ]
    assert loss_differences(rows) == [0.125, 0.25]
    assert all("losses" not in row for row in rows)
