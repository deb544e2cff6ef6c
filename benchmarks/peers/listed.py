"""The list of trials that every program of the race runs.

Drawing it, reading it, and writing what a program found.

    python -m benchmarks.peers.listed

draws `trials.json` anew from its seed. Imports nothing but the standard library, and never trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LISTS = {"full": FOLDER / "trials.json", "tiny": FOLDER / "tiny.json"}
CELLS = ("rnn", "gru", "lstm")
SEQUENCES = 2_048  # of each trial: 64 steps; the harness takes a minute or so on two slow cores
# With ten times these rates plain RNNs become chaotic: sums in another order end 9 % apart, and
# equal losses prove nothing.
LEARNING_RATES = (1e-4, 1e-3)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One configuration: its `index` in the list, and the `seed` of its weights and data."""

    index: int
    cell: str
    hidden_size: int
    num_layers: int
    sequence_length: int
    learning_rate: float
    seed: int


@dataclasses.dataclass(frozen=True)
class TrialList:
    """The trials, and what is the same for all.

    The training sequences of each, the data held out for its final loss.
    """

    seed: int
    task: str
    sequences: int
    batch_size: int
    evaluation_sequences: int
    max_grad_norm: float
    trials: tuple[Trial, ...]


def draw(
    seed: int, n: int, sequences: int, hidden: tuple[int, int], length: tuple[int, int]
) -> TrialList:
    """The list that `seed` gives.

    The cells in turn, sizes and learning rates drawn evenly on a logarithmic scale.
    """
    generator = random.Random(seed)
    trials = tuple(
        Trial(
            index=index,
            cell=CELLS[index % len(CELLS)],
            hidden_size=round(_between(generator, *hidden)),
            num_layers=1 + int(2 * generator.random()),
            sequence_length=round(_between(generator, *length)),
            learning_rate=round(_between(generator, *LEARNING_RATES), 6),
            seed=int(2**31 * generator.random()),
        )
        for index in range(n)
    )
    return TrialList(seed, "temporal_order", sequences, 32, 250, 1.0, trials)


def _between(generator: random.Random, low: float, high: float) -> float:
    return low * math.exp(generator.random() * math.log(high / low))


def full() -> TrialList:
    """The list that is raced: hidden 16 to 256, 1 or 2 layers, lengths 50 to 400."""
    return draw(seed=0, n=24, sequences=SEQUENCES, hidden=(16, 256), length=(50, 400))


def tiny() -> TrialList:
    """One trial of each cell, for tests of the race itself; its times say nothing."""
    return draw(seed=0, n=3, sequences=128, hidden=(4, 8), length=(10, 20))


def load(path: Path) -> TrialList:
    """The list of a file that `dump` wrote."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    return TrialList(**{**plain, "trials": tuple(Trial(**each) for each in plain["trials"])})


def dump(trials: TrialList) -> str:
    """As a file holds it, a trial a line."""
    plain = dataclasses.asdict(trials)
    lines = ",\n    ".join(json.dumps(each) for each in plain.pop("trials"))
    head = ",\n  ".join(f'"{name}": {json.dumps(value)}' for name, value in plain.items())
    return f'{{\n  {head},\n  "trials": [\n    {lines}\n  ]\n}}\n'


def content_hash(trials: TrialList) -> str:
    """Which list it was: 16 hexadecimal digits."""
    return hashlib.sha256(dump(trials).encode()).hexdigest()[:16]


def parse_arguments(description: str | None, **more: Any) -> argparse.Namespace:
    """The options --trials and --out, and those that `more` names, with their defaults."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--trials", type=Path, required=True, help="the list, a JSON file")
    parser.add_argument("--out", type=Path, required=True, help="where what was found is written")
    for name, default in more.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


def write(path: Path, found: dict[int, tuple[float, float]], **more: Any) -> None:
    """Write each trial's final loss and seconds, in the order of the list, and other facts."""
    ordered = [found[index] for index in sorted(found)]
    losses, seconds = [loss for loss, _ in ordered], [taken for _, taken in ordered]
    path.write_text(json.dumps({"losses": losses, "trial_s": seconds, **more}), encoding="utf-8")


if __name__ == "__main__":
    for name, trials in (("full", full()), ("tiny", tiny())):
        LISTS[name].write_text(dump(trials), encoding="utf-8")
