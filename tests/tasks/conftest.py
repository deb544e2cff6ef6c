"""The contract's assertions are told like those of a test file."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.tasks.contract")
