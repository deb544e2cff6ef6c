from __future__ import annotations

import pytest

from harness.study.search.samplers import num_startup_trials


@pytest.mark.parametrize(("trials", "startup"), [(1, 4), (12, 4), (16, 4), (40, 10), (100, 25)])
def test_num_startup_trials(trials: int, startup: int) -> None:
    """A search begins with max(4, trials // 4) random trials."""
    assert num_startup_trials(trials) == startup
