"""How much does a block of the same code deviate, by slice length and by allowed cores?

    python benchmarks/slice_noise.py --repeats 12

Two live processes train the canary of a comparison; slices of both in turn, AB BA, for 1.5 s: a
block. The ways are taken in turn. Prints for each the deviation of blocks from their mean (that two
processes differ by their luck is not what is asked here) and that of rounds. What
harness/regress/measuring/comparison_runner.py says of slices and cores rests on this. Linux only;
about two minutes.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection

BLOCK_S = 1.5


def side(line: Connection) -> None:
    """Train the canary, as many steps as are asked for, on the cores that are asked for."""
    from harness.regress.sides import side_worker

    side_worker.configure_process()
    _, step, _ = side_worker.canary()
    for _ in range(20):
        step()
    line.send(None)
    while asked := line.recv():
        n_steps, cores = asked
        os.sched_setaffinity(0, cores)
        step()
        start = time.perf_counter()
        for _ in range(n_steps):
            step()
        line.send(time.perf_counter() - start)


def block(lines: list[Connection], n_steps: int, cores: list[set[int]]) -> list[float]:
    """The rounds of a block, each the logarithm of one side's time over the other's."""
    rounds = []
    ends = time.monotonic() + BLOCK_S
    while time.monotonic() < ends:
        times = [0.0, 0.0]
        for which in (0, 1, 1, 0):
            lines[which].send((n_steps, cores[which]))
            times[which] += lines[which].recv()
        rounds.append(math.log(times[1] / times[0]))
    return rounds


def main() -> None:
    """Measure all ways in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=12)
    repeats = parser.parse_args().repeats
    if repeats < 2:
        parser.error(f"--repeats: expected at least 2, for a deviation, got {repeats}")
    every = os.sched_getaffinity(0)
    first, last = {min(every)}, {max(every)}
    placed = {
        "wherever the system puts them": [every, every],
        "each on a core of its own": [first, last],
        "both on one core": [first, first],
    }
    context = multiprocessing.get_context("spawn")
    lines, processes = [], []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=side, args=(there,), daemon=True)
        process.start()
        lines.append(here)
        processes.append(process)
    for line in lines:
        line.recv()
    values: dict[tuple[str, int], list[float]] = {}
    spread: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for where, cores in placed.items():
            for n_steps in (12, 3, 1):
                rounds = block(lines, n_steps, cores)
                values.setdefault((where, n_steps), []).append(statistics.median(rounds))
                spread.setdefault((where, n_steps), []).append(statistics.stdev(rounds))
    for line in lines:
        line.send(None)
    for process in processes:
        process.join()
    print("| processes | steps a slice | a block deviates by | a round by |\n|---|---|---|---|")
    for (where, n_steps), found in values.items():
        rounds_deviate = statistics.mean(spread[where, n_steps])
        print(
            f"| {where} | {n_steps} | {100 * statistics.stdev(found):.2f} % | {100 * rounds_deviate:.1f} % |"
        )


if __name__ == "__main__":
    main()
