"""The working tree compared with an old revision, whose layout of files was another one.

A side runs grid_program.py with the harness of its own revision. What that file imports must stay
where it was: harness.cells, harness.tasks, harness.errors, harness.plugins.load_plugins and
harness.timing's Benchmark and prepare.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.regress.sides.side import find_commit
from harness.regress.sides.workspace import FOLDER_PREFIX
from tests.regress.sided import git

ROOT = Path(__file__).parents[2]
OLD = "9787bce"  # the last revision before every file moved

GRID = """
[grid]
name = "tiny"
[compare]
cells = ["rnn", "gru", "lstm"]
variants = ["tuned"]
[shape]
task = "temporal_order"
hidden_size = 4
sequence_length = 10
batch_size = 2
"""


@pytest.mark.skipif(find_commit(ROOT, OLD) is None, reason=f"this clone has no revision {OLD}")
def test_the_working_tree_is_compared_with_an_old_revision(tmp_path: Path) -> None:
    """For real: each benchmark runs with both harnesses and has a verdict; nothing is left."""
    grid = tmp_path / "tiny.toml"
    grid.write_text(GRID, encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "harness.regress", "compare", "--base", OLD]
    command += ["--suite", str(grid), "--budget", "1", "--results", str(tmp_path / "out"), "--json"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    record = json.loads(done.stdout)
    assert done.returncode == record["exit_code"] in (0, 1), done.stderr
    assert record["base"]["label"].startswith(OLD)
    names = [f"temporal_order/{cell}/h4/t10/b2" for cell in ("rnn", "gru", "lstm")]
    assert [each["name"] for each in record["findings"]] == names
    for each in record["findings"]:
        assert each["verdict"] in ("ok", "regression", "inconclusive", "contaminated")
        assert each["base_sequences_per_second"] > 0
        assert each["head_sequences_per_second"] > 0
    assert len(record["blocks"]) >= 1
    assert list(temporary.glob(f"{FOLDER_PREFIX}*")) == []
    assert str(temporary.resolve()) not in git(ROOT, "worktree", "list")
