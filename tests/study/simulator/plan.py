"""A study and the faults that it meets, drawn from a seed. Runs nothing."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

LIMIT_S = 20.0  # the shortest time limit of a trial; no trial that ends by itself takes half of it


@dataclasses.dataclass(frozen=True)
class Faults:
    """How likely each fault is, at each occasion."""

    worker_dies: float = 0.0
    server_dies: float = 0.0
    launch_fails: float = 0.0
    fork_fails: float = 0.0
    storage_fails: float = 0.0
    evaluation_twice: float = 0.0
    evaluation_late: float = 0.0
    clock_jumps: float = 0.0


@dataclasses.dataclass(frozen=True)
class Life:
    """One run of the command: its settings, and after how many occasions it is stopped.

    An occasion is a write, before or after it, or a wait for an event. `stop` is what stops it:
    "kill", "interrupt", "no processes" or "no storage"; empty where it ends by itself.
    """

    settings: tuple[str, ...]
    stop: str = ""
    stop_after: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole simulated study. The last life ends by itself and has the final settings."""

    seed: int
    workers: int
    deterministic: bool
    lives: Sequence[Life]
    faults: Faults


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    lots = random.Random(f"plan {seed}")
    fixed, trials, free = _settings(lots)
    n_stops = lots.choice((0, 0, 1, 1, 2, 3))
    grows = n_stops > 0 and lots.random() < 0.5
    lives = []
    for i in range(n_stops):
        part = trials if not grows else max(1, trials * (i + 1) // (n_stops + 1))
        changed = free if lots.random() < 0.5 else _free_settings(lots)
        stop = lots.choice(("", "", "kill", "kill", "interrupt", "no processes", "no storage"))
        settings = (*fixed, f"search.trials={part}", *changed)
        lives.append(Life(settings, stop, int(2 ** lots.uniform(0, 8.5))))
    lives.append(Life((*fixed, f"search.trials={trials}", *free)))
    names = [field.name for field in dataclasses.fields(Faults)]
    chosen = lots.sample([*names, "worker_dies", "worker_dies"], lots.randint(0, 3))
    faults = Faults(**{name: lots.choice(PROBABILITIES[name]) for name in chosen})
    workers, deterministic = lots.choice((1, 2, 4)), lots.random() < 0.5
    # A pruner compares trials of one search, whose order is fixed with one trial in flight alone
    prunes = 'search.pruner="none"' not in fixed
    return Plan(seed, workers, deterministic or prunes, tuple(lives), faults)


PROBABILITIES = {
    "worker_dies": (0.05, 0.2),
    "server_dies": (0.01, 0.05),
    "launch_fails": (0.1, 0.3),
    "fork_fails": (0.01, 0.1),
    "storage_fails": (0.003, 0.02),
    "evaluation_twice": (0.05, 0.3),
    "evaluation_late": (0.05, 0.3),
    "clock_jumps": (0.005, 0.02),
}


def _settings(lots: random.Random) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """What stays, the number of trials, and what may change on resume."""
    cells = lots.choice(('["rnn"]', '["rnn","gru"]'))
    evaluate_every = lots.choice((16, 32, 50, 100))
    fixed = (
        f"compare.cells={cells}",
        f"training.batch_size={lots.choice((8, 16, 32))}",
        f"training.evaluate_every={evaluate_every}",
        f"training.sequences={evaluate_every * lots.randint(1, 8) + lots.choice((0, 0, 7))}",
        f"search.repeats={lots.choice((1, 1, 2))}",
        'search.sampler="random"',
        f'search.pruner="{lots.choice(("none", "bound", "median", "halving", "hyperband"))}"',
    )
    return fixed, lots.choice((2, 4, 6, 20)), _free_settings(lots)


def _free_settings(lots: random.Random) -> tuple[str, ...]:
    return (
        f"confirm.seeds={lots.choice((0, 1, 2))}",
        f"confirm.extrapolation={lots.choice(('[]', '[2]', '[2,4]', '[3]'))}",
        f"search.trial_timeout_s={lots.choice((LIMIT_S, 3 * LIMIT_S))}",
    )
