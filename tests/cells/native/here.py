"""Which native kernels this machine can run."""

from __future__ import annotations

import pytest

from harness.cells.native import build
from harness.cells.native.library import native_status

STATUS = native_status()
LEVELS = list(build.levels())[list(build.levels()).index(STATUS.level) :] if STATUS.level else []
"""The instruction sets of this processor, the best first, unless the environment chooses one."""
NEEDS_KERNELS = pytest.mark.skipif(not STATUS.level, reason=f"native kernels: {STATUS}")
