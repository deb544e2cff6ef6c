"""What pytest-benchmark writes of this machine beside its own facts."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the fingerprint that the result files have.

    Processor, cores, torch, and what else decides speed.
    """
    from harness.machine import fingerprint

    machine_info["fingerprint"] = fingerprint("cpu")
