"""Simulated histories whose truth is known.

Recordings of a machine that is now faster, now slower, with steps where told.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.regress.history import HistoryEntry, append_entry

MACHINE = {
    "cpu": "Example CPU @ 2.00GHz",
    "cpu_flags": "avx avx2 fma",
    "cores": 2,
    "torch": "2.12.1",
    "blas": "mkl, MKL v2024.2, MKL-DNN v3.7",
    "threads": 1,
    "python": "3.12.4",
    "gpu": None,
}
NEWER = {**MACHINE, "torch": "2.13.0", "cpu_flags": "avx avx2 avx512f fma"}
NINE = tuple(
    f"temporal_order/{c}/h{h}/t30/b16" for h in (16, 32, 96) for c in ("rnn", "gru", "lstm")
)


def entries(
    n: int,
    names: Sequence[str],
    steps: Mapping[tuple[str, int], float] | None = None,
    *,
    machine: Mapping[str, object] = MACHINE,
    first: int = 0,
    noise: float = 0.007,
) -> list[HistoryEntry]:
    """`n` recordings of five blocks.

    `steps`: by (name, recording from 0) a factor on the time from there on.
    """
    generator = np.random.default_rng([n, len(names), first])
    found = []
    for i in range(n):
        weather = np.exp(0.2 * generator.standard_normal() + 0.02 * generator.standard_normal(5))
        figures = {}
        for k, name in enumerate(names):
            factor = np.prod(
                [by for (who, at), by in (steps or {}).items() if who == name and i >= at]
            )
            own = np.exp(noise * generator.standard_t(3, 5) + noise * generator.standard_t(3))
            figures[name] = tuple(map(float, 0.001 * (k + 2) * weather * factor * own))
        day = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(days=first + i)
        revision = hashlib.sha256(str(first + i).encode()).hexdigest()[:9]
        canary = tuple(map(float, 0.001 * weather))
        found.append(HistoryEntry(machine, revision, day.isoformat(), canary, figures))  # type: ignore[arg-type]
    return found


def write(path: Path, *parts: Sequence[HistoryEntry]) -> Path:
    """A history of these recordings, in this order."""
    for part in parts:
        for entry in part:
            append_entry(path, entry)
    return path
