"""harness.bench.run: measured, kept, resumed and refused, with an engine without timing."""

from __future__ import annotations

import csv
import json
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import config as specs
from harness import machine, records
from harness.bench import run as bench
from harness.bench.measured_groups_file import GROUPS_FILE, read_groups
from harness.bench.run import BenchOptions, resolve_devices, run_bench
from harness.errors import IdentityError, InputError, StorageError
from harness.plugins import load_plugin
from harness.records.file_lock import hold_file
from harness.timing.inference_request import InferenceBenchmark, InferenceRequest
from harness.timing.timing_results import Answer, InferenceAnswer, TrainingAnswer
from tests.small import forget_sources
from tests.timed import plain_inference_answer, plain_training_answer

GRID: dict[str, Any] = {
    "grid": {"name": "small"},
    "compare": {"cells": ["rnn", "lstm"], "variants": ["plain", "tuned"]},
    "vary": [{"hidden_size": [8, 16, 32]}],
    "timing": {"n_blocks": 5},
    "inference": {"n_calls": 5},
}


@pytest.fixture(autouse=True)
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have tests of their own, and take longer than all that is tested here."""
    monkeypatch.setattr(bench, "_render", lambda directory: directory / "report.html")


class Fake:
    """An engine that answers at once, and can be told to stop, or what to change in an answer."""

    def __init__(
        self,
        stop_after: int = 99,
        change: Callable[[Mapping[str, Any], dict[str, Any]], None] = lambda _request, _answer: (
            None
        ),
    ) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.stop_after, self.change = stop_after, change

    def measure(self, request: bench.Request, progress: Callable[[str], None]) -> Answer:
        """What harness.timing would answer."""
        if len(self.requests) == self.stop_after:
            raise KeyboardInterrupt
        progress("blocks")
        plain = request.to_dict()
        self.requests.append(plain)
        inference = isinstance(request, InferenceRequest)
        answer = plain_inference_answer(plain) if inference else plain_training_answer(plain)
        self.change(plain, answer)
        return (InferenceAnswer if inference else TrainingAnswer).from_json(answer)

    @property
    def sizes(self) -> list[int]:
        """The hidden size of each request."""
        return [request["benchmarks"][0]["hidden_size"] for request in self.requests]


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.kept = 0
        self.told: list[str] = []

    def begin(self, groups: Sequence[specs.Group], kept: int) -> None:
        self.kept = kept

    def step(self, group: specs.Group, text: str) -> None:
        self.told.append(f"{group.label}: {text}")

    def finished(self, group: specs.Group, answer: Answer) -> None:
        self.told.append(f"{group.label} done")

    def note(self, text: str) -> None:
        self.told.append(text)


def run(
    tmp_path: Path,
    engine: Fake | None = None,
    grid: Mapping[str, Any] = GRID,
    **options: Any,
) -> tuple[bench.BenchOutcome, Fake, Watcher]:
    """Run a bench in `tmp_path`."""
    engine, watcher = engine or Fake(), Watcher()
    spec = specs.parse_grid(grid, "small.toml")
    outcome = run_bench(spec, BenchOptions(results=tmp_path, **options), watcher, engine)
    return outcome, engine, watcher


def rows(outcome: bench.BenchOutcome, name: str = "throughput") -> list[dict[str, str]]:
    """The table of a bench."""
    with (outcome.directory / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ----------------------------------------------------------------------------------- what is done


def test_a_bench_measures_each_group_once_and_writes_its_files(tmp_path: Path) -> None:
    """A request for each shape, in order.

    Then tables, grid and machine, from which the records are read back.
    """
    outcome, engine, watcher = run(tmp_path, command="python -m harness.bench small.toml")
    assert engine.sizes == [8, 16, 32]
    first = engine.requests[0]
    assert (first["n_blocks"], first["block_s"], first["memory"]) == (5, 0.04, True)
    assert [(each["cell"], each["variant"]) for each in first["benchmarks"]] == [
        ("rnn", "plain"), ("rnn", "tuned"), ("lstm", "plain"), ("lstm", "tuned"),
    ]  # fmt: skip
    found = records.read_bench(tmp_path / "small")
    assert found.throughput is not None
    assert found.inference is None
    assert len(found.throughput) == 12
    assert set(found.throughput["origin"]) == {"bench"}
    assert found.machine["command"] == "python -m harness.bench small.toml"
    assert "threads_per_worker" not in found.machine  # it differs by variant
    assert found.grid == specs.parse_grid(
        tomllib.loads((tmp_path / "small" / "grid.toml").read_text()), ""
    )
    assert outcome.json_path == tmp_path / "small" / "throughput.json"
    assert next(line for line in watcher.told if line.endswith("done")).startswith(
        "hidden size 8, 1 layer,"
    )


def test_the_request_is_one_that_harness_timing_takes(tmp_path: Path) -> None:
    """Both requests are read by the engine's own reader, and come back as they were."""
    from harness.timing import TimingRequest

    _, engine, _ = run(tmp_path)
    for request in engine.requests:
        assert TimingRequest.from_dict(dict(request)).to_dict() == request
    _, engine, _ = run(tmp_path, mode="inference")
    for request in engine.requests:
        assert InferenceRequest.from_dict(dict(request)).to_dict() == request


def test_an_interrupted_bench_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was finished is on the disk and is not measured again.

    The tables are those of an uninterrupted bench.
    """
    engine = Fake(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", engine)
    assert engine.sizes == [8, 16]
    outcome, engine, watcher = run(tmp_path / "a")
    assert (engine.sizes, watcher.kept) == ([32], 2)
    whole, _, _ = run(tmp_path / "b")
    assert rows(outcome) == rows(whole)
    _, engine, watcher = run(tmp_path / "a")
    assert (engine.sizes, watcher.kept) == ([], 3)


def test_a_torn_last_line_costs_its_group_alone(tmp_path: Path) -> None:
    """A process that ended while it wrote leaves half a line.

    It is cut off, and its group measured again.
    """
    run(tmp_path)
    path = tmp_path / "small" / GROUPS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    _, engine, _ = run(tmp_path)
    assert engine.sizes == [32]
    assert len(path.read_bytes().splitlines()) == 3
    assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == [
        json.loads(line)["key"] for line in whole.splitlines()
    ]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{}", "expected a group"),
        ("not JSON", "expected a group"),
        ("[]", "expected a group"),
        ('{"schema": 2, "key": "a"}', "expected a group"),
        ('{"schema": 99, "key": "a"}', "schema: expected 2, got 99"),
    ],
)
def test_a_line_that_is_not_ours_is_named(tmp_path: Path, line: str, match: str) -> None:
    """A broken line elsewhere is not passed over in silence."""
    run(tmp_path)
    path = tmp_path / "small" / GROUPS_FILE
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(InputError, match=rf"groups.jsonl, line 1: {match}"):
        run(tmp_path)


@pytest.mark.parametrize("schema", [1, 3])
def test_a_line_of_another_version_is_refused(tmp_path: Path, schema: int) -> None:
    """A file of another schema is not read as if it were of ours."""
    run(tmp_path)
    path = tmp_path / "small" / GROUPS_FILE
    path.write_text(path.read_text().replace('"schema": 2, "key"', f'"schema": {schema}, "key"'))
    with pytest.raises(
        InputError, match=rf"line 1: schema: expected 2, got {schema}; start over with --fr"
    ):
        run(tmp_path)


def test_only_what_changed_is_measured_again(tmp_path: Path) -> None:
    """A group is known by its content.

    Another size is another group, and what left the grid leaves the table.
    """
    run(tmp_path)
    changed = {**GRID, "vary": [{"hidden_size": [16, 64]}]}
    outcome, engine, watcher = run(tmp_path, grid=changed)
    assert (engine.sizes, watcher.kept) == ([64], 1)
    assert {row["hidden_size"] for row in rows(outcome)} == {"16", "64"}
    _, engine, _ = run(tmp_path, grid={**GRID, "timing": {"n_blocks": 6}})
    assert engine.sizes == [8, 16, 32]


def test_a_group_in_which_something_failed_is_tried_again(tmp_path: Path) -> None:
    """A failure may have been bad luck; its newest answer is the one that counts."""

    def fail(request: Mapping[str, Any], answer: dict[str, Any]) -> None:
        if request["benchmarks"][0]["hidden_size"] == 16:
            row = answer["results"][1]
            answer["results"][1] = {
                **request["benchmarks"][1],
                "unavailable": "",
                "error": f"no {row['cell']}",
            }

    outcome, _, _ = run(tmp_path, Fake(change=fail))
    assert [row["reason"] for row in rows(outcome)].count("no rnn") == 1
    outcome, engine, _ = run(tmp_path)
    assert engine.sizes == [16]
    assert {row["reason"] for row in rows(outcome)} == {""}


def test_training_and_inference_share_a_folder(tmp_path: Path) -> None:
    """Each mode keeps the other's tables, and drops none of its groups."""
    run(tmp_path)
    outcome, engine, _ = run(tmp_path, mode="inference")
    assert engine.sizes == [8, 16, 32]
    assert {request["mode"] for request in engine.requests} == {"inference"}
    assert outcome.json_path.name == "inference.json"
    found = records.read_bench(tmp_path / "small")
    assert found.throughput is not None
    assert found.inference is not None
    assert len(found.throughput) == 12
    assert len(found.inference) == 3 * 2 * 3 * 2  # sizes, cells, dtypes, measures
    run(tmp_path)
    assert (tmp_path / "small" / "inference.csv").is_file()


def test_latencies_are_asked_for_once_a_session_and_bound_every_row(tmp_path: Path) -> None:
    """The first group of a session asks for each cell.

    The bound grows with length and layers: on a CPU T L latencies.
    """

    def answer(request: Mapping[str, Any], answered: dict[str, Any]) -> None:
        if request["limits"]:
            for row in answered["results"]:
                row["latency_s"] = 1e-6
                row["latency_bound_s"] = row["sequence_length"] * row["num_layers"] * 1e-6

    grid = {**GRID, "vary": [{"hidden_size": [8]}, {"sequence_length": [50], "num_layers": [2]}]}
    outcome, engine, _ = run(tmp_path, Fake(change=answer), grid=grid)
    assert [request["limits"] for request in engine.requests] == [True, False]
    found = [float(row["latency_bound_s"]) for row in rows(outcome)]
    assert found == pytest.approx([1e-4] * 8)
    grid = {**grid, "vary": [{"hidden_size": [8]}, {"hidden_size": [9], "cells": ["gru"]}]}
    _, engine, _ = run(tmp_path, grid=grid)
    assert [request["limits"] for request in engine.requests] == [True]


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("cpu", "Another CPU", "cpu: expected Another CPU, as in the results that are there"),
        ("torch", "2.11.0", "torch: expected 2.11.0"),
        ("schema of harness.timing", 1, "schema of harness.timing: expected 1"),
        ("device_name", "Another CPU", "device_name: expected Another CPU"),
    ],
)
def test_another_machine_or_version_is_refused(
    tmp_path: Path, key: str, value: object, match: str
) -> None:
    """Numbers of two machines or versions do not go into one table.

    --fresh moves the old ones aside.
    """
    run(tmp_path)
    path = tmp_path / "small" / GROUPS_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["identity"][key] = value
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text)
    engine = Fake()
    with pytest.raises(IdentityError, match=f"{match}.*--fresh"):
        run(tmp_path, engine)
    assert engine.requests == []
    _, engine, _ = run(tmp_path, fresh=True)
    assert engine.sizes == [8, 16, 32]
    assert (tmp_path / "small.old-1" / GROUPS_FILE).read_text() == text


def test_two_benches_at_once_are_refused(tmp_path: Path) -> None:
    """One folder has one writer."""
    with (
        hold_file(tmp_path / "small" / GROUPS_FILE),
        pytest.raises(StorageError, match="in use by"),
    ):
        run(tmp_path)


def test_a_folder_of_a_study_is_refused(tmp_path: Path) -> None:
    """A bench does not write into the results of a study of that name."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "spec.toml").touch()
    with pytest.raises(
        InputError, match="expected the folder of a bench, got the results of a stu"
    ):
        run(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"compare": {"cells": ["lstm"], "variants": ["tund"]}}, "small.toml.*a variant.*'tuned'"),
        ({"vary": [{"variants": ["threads=0"]}]}, "threads=N with N from 1"),
        ({"shape": {"hidden_size": 10**6}}, r"vary: expected groups that fit .*h1000000"),
        ({"vary": [{"batch_size": [10**8]}]}, r"about [\d,]+ bytes .*b100000000"),
        (
            {
                "compare": {"cells": ["lstm"], "variants": ["processes=1000"]},
                "vary": [{"batch_size": [50_000]}],
            },
            "processes=1000",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any], match: str
) -> None:
    """An unknown variant, and a step that cannot fit into memory: one line, and no folder."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: 16 * 10**9)
    engine = Fake()
    grid = {**{name: each for name, each in GRID.items() if name != "vary"}, **change}
    with pytest.raises(InputError, match=match):
        run(tmp_path, engine, grid, where="small.toml")
    assert (engine.requests, list(tmp_path.iterdir())) == ([], [])


def test_a_step_that_fits_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that counts is that of the device."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2 * 10**9)
    run(tmp_path / "fits", grid={**GRID, "vary": [{"batch_size": [32]}]})
    with pytest.raises(InputError, match=r"fit into 2,000,000,000 bytes of memory of cpu"):
        run(tmp_path / "not", grid={**GRID, "vary": [{"batch_size": [32_000]}]})


def test_an_inference_group_may_take_longer_than_a_request_of_a_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit would end the same group again on every resume."""
    given: list[object] = []

    def run(*_arguments: object, timeout: object, **_options: object) -> object:
        given.append(timeout)
        answer = json.dumps(plain_inference_answer({"benchmarks": []}))
        return subprocess.CompletedProcess([], 0, stdout=answer, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with bench.timing_engine(()) as engine:
        calls = InferenceBenchmark("one", "temporal_order", "rnn", 4, 1, 12)
        engine.measure(InferenceRequest((calls,)), lambda _text: None)
    assert given == [None]


def test_another_default_number_of_threads_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plain` runs on torch's own number, which OMP_NUM_THREADS changes.

    Inference runs on one thread in any case.
    """
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    run(tmp_path)
    run(tmp_path, mode="inference")
    monkeypatch.setattr("torch.get_num_threads", lambda: 5)
    run(tmp_path, mode="inference")
    with pytest.raises(IdentityError, match=r"default threads: expected 3, .* got 5"):
        run(tmp_path)


# -------------------------------------------------------------------------------- devices, plug-ins


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto is the CPU, and the first card where there is one; each device once."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_devices([], "training") == ("cpu",)
    with pytest.raises(InputError, match="--device: expected a CUDA device that is there"):
        resolve_devices(["cpu", "cuda"], "training")
    with pytest.raises(InputError, match="--device: expected auto, cpu, cuda or cuda:I, got 'gpu'"):
        resolve_devices(["gpu"], "training")
    with pytest.raises(InputError, match="--device: expected cpu, on which inference is measured"):
        resolve_devices(["cuda"], "inference")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert resolve_devices([], "training") == ("cpu", "cuda:0")
    assert resolve_devices(["cuda:1", "cpu", "cuda:1"], "training") == ("cuda:1", "cpu")
    assert resolve_devices(["auto"], "inference") == ("cpu",)


def test_a_second_device_joins_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured on one device stays when another device is measured."""
    run(tmp_path)
    monkeypatch.setattr(machine, "device_memory_bytes", lambda _device: 10**10)
    monkeypatch.setattr(machine, "describe_device", lambda device: f"Example {device}")
    outcome, engine, _ = run(tmp_path, devices=("cuda:0",))
    assert engine.sizes == [8, 16, 32]
    assert [row["device"] for row in rows(outcome)].count("cpu") == 12
    assert [row["device"] for row in rows(outcome)].count("cuda:0") == 12
    assert records.read_bench(tmp_path / "small").machine["devices"] == ["cpu", "cuda:0"]


def test_the_source_of_a_plug_in_is_part_of_what_is_measured(tmp_path: Path) -> None:
    """A cell that was changed is measured again."""
    plugin = tmp_path / "mine.py"
    plugin.write_text("ANSWER = 1\n")
    load_plugin(str(plugin))
    run(tmp_path, plugins=(str(plugin),))
    _, engine, _ = run(tmp_path, plugins=(str(plugin),))
    assert engine.sizes == []
    plugin.write_text("ANSWER = 2\n")
    forget_sources()
    _, engine, _ = run(tmp_path, plugins=(str(plugin),))
    assert engine.sizes == [8, 16, 32]
    assert len(read_groups(tmp_path / "small")) == 6
