"""The list through Ray Tune with the trainable of plain_optuna.

One core a trial, everything else as Ray has it.

    python -m benchmarks.peers.ray_tune --trials FILE --out FILE

Where ray is not installed, that is what it writes, and nothing runs. The model, the loop and where
its data and first weights come from are those of plain_optuna.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import listed


def trainable(config: dict[str, Any]) -> dict[str, float]:
    """One trial of the list, in a process that Ray starts.

    What it returns is what Tune takes as its result.
    """
    from benchmarks.peers import plain_optuna

    start = time.perf_counter()
    trials = listed.load(Path(config["trials"]))
    loss = plain_optuna.train(trials.trials[config["index"]], trials)
    return {"loss": loss, "trial_s": time.perf_counter() - start}


def main() -> None:
    """Run the list, or say why not."""
    arguments = listed.parse_arguments(__doc__)
    if importlib.util.find_spec("ray") is None:
        text = json.dumps({"not_measured": "ray is not installed"})
        arguments.out.write_text(text, encoding="utf-8")
        return
    import ray
    from ray import tune

    trials = listed.load(arguments.trials)
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path.cwd())}},
    )
    indices = [each.index for each in trials.trials]
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={
            "trials": str(arguments.trials.absolute()),
            "index": tune.grid_search(indices),
        },
        run_config=tune.RunConfig(
            name="race", storage_path=str(arguments.out.parent.absolute()), verbose=0
        ),
    )
    found = {
        each.config["index"]: (each.metrics["loss"], each.metrics["trial_s"])
        for each in tuner.fit()
        if each.error is None
    }
    ray.shutdown()
    listed.write(arguments.out, found)


if __name__ == "__main__":
    main()
