"""Each program of benchmarks/ in its smallest form, so that none is left behind by a change."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PROGRAMS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
SMALLEST = {
    "pruner_replay": ["--studies", "hochreiter_1997", "--out", "replay"],
    "scale": ["--trials", "30", "--out", "scale.json"],
    "shown": ["--seeds", "1", "--trials", "20", "--out", "shown"],
    "slice_noise": ["--repeats", "2"],
    "start_up": ["--rounds", "1"],
    "trial_overhead": ["--rounds", "1"],
    "verdict_rates": ["--runs", "5", "--directory", "rates"],
}
"""What takes seconds. The race and the pruners have tests of their own; the others take minutes."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_answers_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that it imports is there, and its first line is its question."""
    program = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert " ".join((program.__doc__ or "").partition("\n")[0].split())[:60] in said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_how_it_is_called(name: str) -> None:
    """Its docstring has the command."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8").partition('"""')[2]
    command = rf"^    python (-m benchmarks\.{name}|benchmarks/{name}\.py)\b"
    assert re.search(command, text.partition('"""')[0], re.MULTILINE)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SMALLEST)
def test_a_program_runs(name: str, tmp_path: Path) -> None:
    """In a folder of its own; 1 is a target missed, as any machine may that does other things."""
    path = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *SMALLEST[name]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
