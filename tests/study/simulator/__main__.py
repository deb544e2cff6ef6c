"""`python -m tests.study.simulator SEED [N]`: replay one seed with its trace, or run N of them."""

from __future__ import annotations

import sys
import time
import traceback

from tests.study.simulator.lives import simulate
from tests.study.simulator.world import BrokenPromise


def main() -> None:
    """Replay one seed, or run several and print those that break a promise."""
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    started, n_broken = time.monotonic(), 0
    for seed in range(first, first + count):
        trace: list[str] = []
        try:
            simulate(seed, trace)
        except BrokenPromise as broken:
            n_broken += 1
            print(f"seed {seed}: {broken}")
        except Exception:  # noqa: BLE001  # an error of the harness is a finding too
            n_broken += 1
            print(f"seed {seed}: {traceback.format_exc()}")
        if count == 1:
            print("\n".join(trace))
    print(f"{count} studies in {time.monotonic() - started:.1f} s, {n_broken} broken promises")
    sys.exit(n_broken > 0)


if __name__ == "__main__":
    main()
