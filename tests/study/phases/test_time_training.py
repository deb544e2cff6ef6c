from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.columns import TrialStatus
from harness.errors import WorkerError
from harness.hyperparameters import Choice, Fixed, Range
from harness.study import run as pipeline
from harness.study.execution.local_executor import LocalExecutor
from harness.study.phases import time_inference, time_training
from harness.study.phases.train_winners import Winner
from harness.study.run_context import StudyOptions
from harness.study.storage.trial_ledger import SlotRecord, TrialResult
from harness.study.trials_to_run import SearchKey
from harness.timing.timing_results import MachineFacts, TrainingAnswer
from tests.small import (
    RecordingObserver,
    family,
    run_small,
    small_spec,
    study_run,
    survivors,
    table,
)
from tests.tally import Tally
from tests.timed import MACHINE

PARAMS: dict[str, Any] = {
    "hidden_size": 3,
    "num_layers": 1,
    "learning_rate": 0.01,
    "sequence_length": 12,
    "initialization": "pytorch",
}


def winner(cell: str = "rnn") -> Winner:
    """A winner of the small study."""
    return Winner(
        SearchKey("temporal_order", cell, 0),
        SlotRecord(0, "0", PARAMS, 1.0, TrialResult(TrialStatus.COMPLETE, 7)),
    )


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        (Range(8, 32, log=True), [8, 16, 32]),
        (Range(8, 32), [8, 20, 32]),
        (Range(4, 4), [4]),
        (Range(4, 5), [4, 5]),
        (Choice((64, 8, 16, 32)), [8, 32, 64]),
        (Choice((16, 8)), [8, 16]),
        (Fixed(5), [5]),
    ],
)
def test_points(parameter: Range | Choice | Fixed, points: list[int]) -> None:
    """The least, the greatest and one between, each once."""
    assert time_training._points(parameter) == points


def test_cross(tmp_path: Path) -> None:
    """Every size at the middle length and every length at the middle size, no shape twice."""
    shapes = time_training._shapes(small_spec(tmp_path), winner())
    assert shapes == [(2, 12), (3, 12), (4, 12), (3, 10), (3, 14)]


def test_devices(tmp_path: Path) -> None:
    """On CUDA both the card and the CPU are timed."""
    spec = small_spec(tmp_path)
    for device, devices in (("cpu", ["cpu"]), ("cuda:1", ["cpu", "cuda:1"])):
        study = study_run(spec, StudyOptions(tmp_path, device, 1))
        assert time_training._devices(study) == devices


def test_failure_of_the_timing(tmp_path: Path) -> None:
    """A timing that cannot start ends with its last words."""
    options = StudyOptions(tmp_path, "cpu", 1, plugins=("no_such_plugin",))
    with pytest.raises(WorkerError, match=r"timing failed: .*no_such_plugin"):
        time_training.time_winners(study_run(small_spec(tmp_path), options), [winner()])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process dies with another")
def test_timing_dies_with_the_study(tmp_path: Path, tally: Tally) -> None:
    """When the coordinator is killed while it times, the process that times is gone soon."""
    (tmp_path / "slow.py").write_text("import time\nprint('timing', flush=True)\ntime.sleep(60)\n")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.study.phases import time_training\n"
        "from harness.study.run_context import StudyOptions\n"
        "from tests.small import small_spec, study_run\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "options = StudyOptions(folder, 'cpu', 1, plugins=(str(folder / 'slow.py'),))\n"
        "time_training._time(study_run(small_spec(folder), options), [], memory=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        started: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while not started and time.monotonic() < deadline:
            time.sleep(0.05)
            started = family(process.pid)
        time.sleep(0.3)
        process.kill()
    assert len(started) == 1
    lost = len(survivors(started))
    tally.add("SIGKILL of the coordinator while it times", "no process is left", lost=lost)
    assert lost == 0


@pytest.mark.nightly
def test_timed(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that times has a row for each winner and each shape, and the JSON benchmarks."""
    monkeypatch.setattr(time_training, "N_BLOCKS", 2)
    monkeypatch.setattr(time_training, "TRAINING_BUDGET_S", 0.2)
    monkeypatch.setattr(time_inference, "N_CALLS", 10)
    monkeypatch.setattr(time_inference, "N_BLOCKS", 5)
    observer = RecordingObserver()
    settings = ("search.trials=1", "throughput.enabled=true")
    outcome = run_small(tmp_path, *settings, observer=observer, executor=executor)
    assert observer.phases == ["search", "keep", "time", "report"]
    rows = table(outcome.directory / "throughput.csv")
    shapes = {
        (row["hidden_size"], row["sequence_length"]) for row in rows if row["origin"] == "grid"
    }
    assert shapes == {("2", "12"), ("3", "12"), ("4", "12"), ("3", "10"), ("3", "14")}
    (timed,) = [row for row in rows if row["origin"] == "winner"]
    assert float(timed["step_time_s"]) > 0
    assert float(timed["peak_memory_bytes"]) > 0
    benchmarks = json.loads((outcome.directory / "throughput.json").read_text())["benchmarks"]
    assert len(benchmarks) == len(rows) == 6
    calls = table(outcome.directory / "inference.csv")
    assert [(row["dtype"], row["measure"]) for row in calls] == [
        (dtype, measure)
        for dtype in ("float32", "bfloat16", "int8")
        for measure in ("step", "sequence")
    ]
    for row in calls[:4]:
        assert (
            float(row["median_low_us"]) <= float(row["median_us"]) <= float(row["median_high_us"])
        )
        assert (row["n_calls"], row["cell"], row["origin"]) == ("10", "rnn", "winner")
    assert {row["reason"] for row in calls[4:]} == {"torch has no dynamic int8 nn.RNN"}
    raw = json.loads((outcome.directory / "inference.json").read_text())["benchmarks"]
    assert [len(each["stats"]["data"]) for each in raw] == [10] * 4
    assert float(calls[0]["weights_bytes"]) == 2 * float(calls[2]["weights_bytes"])


def test_failure_of_inference(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study keeps its throughput, says what is missing, and has no inference.csv."""

    def fail(*_: object) -> None:
        raise WorkerError("timing failed: no")

    answer = TrainingAnswer(MachineFacts.from_json(MACHINE), results=())
    for name in ("time_winners", "time_grid"):
        monkeypatch.setattr(pipeline, name, lambda *_: answer)
    monkeypatch.setattr(pipeline, "time_inference", fail)
    observer = RecordingObserver()
    settings = ("search.trials=1", "throughput.enabled=true")
    outcome = run_small(tmp_path, *settings, observer=observer, executor=executor)
    assert observer.notes[-1].startswith("timing failed: no; the report goes without")
    assert (outcome.directory / "throughput.csv").exists()
    assert not (outcome.directory / "inference.csv").exists()
