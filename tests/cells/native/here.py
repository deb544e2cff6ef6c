"""Which native kernels this machine can run."""

from __future__ import annotations

import pytest

from harness.cells.native.library import ENVIRONMENT, native_status, supported_levels

STATUS = native_status()
_CHOSEN = f"{ENVIRONMENT}=" in STATUS.why_none  # none at all
_ALL = () if _CHOSEN else supported_levels()
LEVELS = list(_ALL[_ALL.index(STATUS.level) :] if STATUS.level else _ALL)
"""The instruction sets of this processor, the best first, unless the environment chooses one."""
NEEDS_KERNELS = pytest.mark.skipif(not LEVELS, reason=f"native kernels: {STATUS}")
NEEDS_KERNELS_IN_USE = pytest.mark.skipif(not STATUS.level, reason=f"native kernels: {STATUS}")
