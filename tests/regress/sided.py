"""What tests of live comparisons share.

Small files of steps, a repository of them, rules that few blocks satisfy.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.processes.worker_client import WorkerSpec
from harness.regress.measuring.comparison_runner import SamplingPlan
from harness.regress.sides.side_environment import WORKER
from harness.regress.verdict.decision_rules import InterimTest, Rules

QUICK = SamplingPlan(slice_s=0.01, n_rounds=9)

FEW = Rules(
    detect=0.1, interim_tests=(InterimTest(3, 0.2, 1e-6), InterimTest(5, 0.0, 1e-6)), n_agree=2
)
"""A look after 3 blocks, whose least p is 1/8, and 2 that confirm.

A canary that no number of blocks can move.
"""

STEPS = """
import torch

def _work(n):
    def setup():
        return torch.ones(96, 96) / 96

    def step(matrix):
        product = matrix
        for _ in range(n):
            product = product @ matrix
        return product

    return setup, step, 8
"""


def steps_file(path: Path, **products: int) -> Path:
    """A file of steps, each named function so many matrix products long."""
    functions = [f"def {name}():\n    return _work({n})\n" for name, n in products.items()]
    path.write_text("\n\n".join([STEPS, *functions]), encoding="utf-8")
    return path


def worker_spec(*options: str, label: str = "base", python: str = sys.executable) -> WorkerSpec:
    """How a worker of this environment starts."""
    return WorkerSpec(label, (python, str(WORKER), *options), own_session=True)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as somebody."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path) -> Path:
    """A repository with whatever lies in the folder as its first commit."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


class Silent:
    """A TimingProgress that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def begin(self, names: object, missing: object) -> None:
        """What is timed."""
        self.said.append((names, missing))

    def step(self, text: str) -> None:
        """What begins."""
        self.said.append(text)

    def block(self, n_done: int, n_wanted: int, names: object) -> None:
        """How far it is."""
        self.said.append((n_done, n_wanted, names))
