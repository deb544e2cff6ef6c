"""harness.timing.throughput: warm-up, interleaved blocks, the answer, and what fails."""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time

import pytest
import torch

from harness.cells import CELLS, Cell
from harness.errors import InputError
from harness.machine import settle_process
from harness.models import build_model
from harness.tasks import get_task
from harness.timing import throughput
from harness.timing.benchmarks import Benchmark, Subject, TimingRequest, prepare
from harness.timing.clocks import time_block
from harness.timing.memory import high_water_bytes
from harness.timing.throughput import Ready, WarmUp, interleave, measure, warm_up

BENCHMARK = Benchmark("one", "temporal_order", "rnn", 8, 1, 20, batch_size=8)
QUICK = TimingRequest((BENCHMARK,), n_blocks=6, block_s=0.002, memory=False)


@pytest.fixture(autouse=True)
def settled():
    """Threads and denormals as the command settles them, and as before afterwards."""
    threads = torch.get_num_threads()
    settle_process()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def subject_of(step, name="fake", reset=lambda: None):
    """A subject that does `step`, on the CPU."""
    return Subject(name, "cpu", step, reset, None)


def test_blocks_are_interleaved_and_each_starts_anew():
    """Blocks come in turn, A B C A B C, each from the first weights."""
    events = []
    ready = [
        Ready(
            subject_of(
                lambda n=name: events.append(n), name, lambda n=name: events.append(n + "!")
            ),
            WarmUp(2, (), steady=True),
        )
        for name in "AB"
    ]
    blocks = interleave(ready, 3)
    assert events == ["A!", "A", "A", "B!", "B", "B"] * 3
    assert [len(each) for each in blocks] == [3, 3]


def test_a_deadline_ends_between_rounds_but_never_before_five():
    """Out of time, every subject still has the same five blocks."""
    ready = [Ready(subject_of(lambda: None), WarmUp(1, (), steady=True)) for _ in range(2)]
    blocks = interleave(ready, 100, deadline=time.monotonic() - 1)
    assert [len(each) for each in blocks] == [5, 5]


def test_warm_up_of_a_steady_step_ends_when_three_blocks_agree():
    """A step of constant time is steady, in blocks of about the time asked for."""
    found = warm_up(subject_of(lambda: time.sleep(0.005)), block_s=0.02)
    assert found.steady
    assert 2 <= found.n_steps <= 4
    last = [block.step_time_s for block in found.blocks[-3:]]
    assert max(last) <= 1.02 * min(last)


def test_warm_up_of_a_restless_step_gives_up():
    """A step that never settles is reported as such, after 12 blocks."""
    pauses = iter(range(1000))
    found = warm_up(subject_of(lambda: time.sleep(0.001 * (1 + next(pauses) % 2))), block_s=1e-6)
    assert not found.steady
    assert len(found.blocks) == 12


def test_the_answer_follows_from_the_raw_times():
    """Every derived number can be computed again from the raw block times."""
    answer = measure(QUICK)
    (row,) = answer["results"]
    median = statistics.median(row["step_times_s"])
    assert row["n_blocks"] == len(row["step_times_s"]) == 6
    assert row["step_time_s"] == pytest.approx(median)
    assert row["step_time_low_s"] <= median <= row["step_time_high_s"]
    assert row["sequences_per_second"] == pytest.approx(8 / median)
    assert row["tokens_per_second"] == pytest.approx(160 / median)
    flops = 3 * (2 * 8 * (8 + 8) * 8 * 20 + 2 * 8 * 4 * 8)
    assert row["gflops_per_second"] == pytest.approx(flops / median / 1e9)
    peak = 2 * 1024**3 / answer["matrix_products"]["cpu"]["step_time_s"] / 1e9
    assert row["peak_gflops_per_second"] == pytest.approx(peak)
    assert row["fraction_of_peak"] == pytest.approx(row["gflops_per_second"] / peak)
    assert (row["error"], row["peak_memory_bytes"]) == (None, None)


def test_the_answer_says_how_the_machine_was_set():
    """One thread and flushed denormals are recorded, as found by trying."""
    facts = throughput.machine_facts(["cpu"])
    assert (facts["threads"], facts["denormals_flushed"]) == (1, True)
    torch.set_flush_denormal(False)
    assert throughput.denormals_flushed() is False


def test_few_blocks_have_no_interval():
    """Below five blocks there is a median and no interval."""
    (row,) = measure(dataclasses.replace(QUICK, n_blocks=3))["results"]
    assert (row["step_time_low_s"], row["step_time_high_s"]) == (None, None)
    assert row["step_time_s"] > 0


def broken(*args, **kwargs):
    """A cell that can't be built."""
    raise RuntimeError("no such\nkernel")


def test_a_benchmark_that_fails_costs_itself_alone(monkeypatch):
    """A cell that raises is named with its reason; the others are timed."""
    monkeypatch.setitem(CELLS, "broken", Cell("broken", broken, 1, CELLS["rnn"].initializations))
    bad = dataclasses.replace(BENCHMARK, name="bad", cell="broken")
    good, failed = measure(dataclasses.replace(QUICK, benchmarks=(BENCHMARK, bad)))["results"]
    assert good["error"] is None
    assert failed["error"] == "RuntimeError: no such kernel"
    assert "step_time_s" not in failed


def test_nothing_but_failures_is_still_an_answer(monkeypatch):
    """Where every benchmark fails, the answer has their reasons and no times."""
    monkeypatch.setitem(CELLS, "broken", Cell("broken", broken, 1, CELLS["rnn"].initializations))
    bad = dataclasses.replace(BENCHMARK, cell="broken")
    answer = measure(dataclasses.replace(QUICK, benchmarks=(bad,)))
    assert answer["matrix_products"] == {}
    assert answer["results"][0]["error"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_a_missing_device_is_refused_before_anything_is_timed():
    """CUDA where there is none is bad input."""
    request = dataclasses.replace(
        QUICK, benchmarks=(dataclasses.replace(BENCHMARK, device="cuda"),)
    )
    with pytest.raises(InputError, match="expected a CUDA device that is there"):
        measure(request)


def test_the_high_water_mark_never_falls():
    """The process's mark rises with what it held, and stays."""
    before = high_water_bytes()
    held = torch.ones(64 * 2**20 // 4)
    del held
    assert high_water_bytes() >= before
    assert high_water_bytes() > 20 * 2**20


def command(text, *arguments):
    """Run the command with `text` as its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "harness.timing", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_command_takes_json_and_gives_json():
    """The command answers in JSON, with the peak memory of a fresh process."""
    large = dataclasses.replace(BENCHMARK, name="large", batch_size=512, sequence_length=200)
    request = dataclasses.replace(QUICK, benchmarks=(BENCHMARK, large), memory=True)
    done = command(json.dumps(request.to_dict()))
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    small_row, large_row = answer["results"]
    assert small_row["memory_kind"] == "process_high_water"
    assert small_row["memory_before_bytes"] <= small_row["peak_memory_bytes"]
    # Four batches of 512 x 200 x 8 float32 are 13 MB, and the activations as much again.
    assert large_row["peak_memory_bytes"] - small_row["peak_memory_bytes"] > 13e6
    assert answer["machine"]["threads"] == 1
    assert answer["machine"]["denormals_flushed"] is True
    assert answer["machine"]["tf32"] is False


PLUGIN = """
import torch
from harness.cells import Cell, register_cell

class Leaky(torch.nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, decay):
        super().__init__()
        self.inward, self.decay = torch.nn.Linear(input_size, hidden_size), decay

    def forward(self, inputs):
        return torch.cumsum(self.inward(inputs), dim=1) * self.decay

print("hello from the plug-in")
register_cell(Cell("leaky", Leaky, None, {"pytorch": lambda cell, length, generator: None}))
"""


def test_a_plugged_in_cell_is_timed_too(tmp_path):
    """A plug-in's cell is timed, its printing spoils no JSON, and its unknown FLOPs are null."""
    (tmp_path / "leaky.py").write_text(PLUGIN)
    leaky = dataclasses.replace(BENCHMARK, cell="leaky", hyperparameters={"decay": 0.5})
    plugins = (str(tmp_path / "leaky.py"),)
    request = dataclasses.replace(QUICK, benchmarks=(leaky,), plugins=plugins, memory=True)
    done = command(json.dumps(request.to_dict()))
    (row,) = json.loads(done.stdout)["results"]
    assert row["error"] is None
    assert row["step_time_s"] > 0
    assert row["peak_memory_bytes"] > 0
    assert (row["gflops_per_second"], row["fraction_of_peak"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"plugins": "mine"}', "plugins: expected a list of names"),
        ("no json", "request: expected JSON"),
        ('{"benchmarks": []}', "expected a list of at least one"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(text, says):
    """Bad input ends with exit code 2 and one line that says what was expected."""
    done = command(text)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


@pytest.mark.alone
def test_a_ten_line_loop_by_hand_agrees():
    """The step takes as long as the same step in a hand-written loop: 3 %, median of interleaved pairs."""
    benchmark = dataclasses.replace(
        BENCHMARK, cell="lstm", hidden_size=32, sequence_length=100, batch_size=32
    )
    ours = prepare(benchmark)
    task = get_task("temporal_order")
    model = build_model(benchmark.model, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batch = task.sample(32, 100, torch.Generator().manual_seed(0))

    def by_hand():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(20):
        ours.step(), by_hand()
    ratios = []
    for _ in range(40):
        pair = [time_block(step, 5, "cpu").step_time_s for step in (ours.step, by_hand)]
        mirrored = [time_block(step, 5, "cpu").step_time_s for step in (by_hand, ours.step)]
        ratios.append(math.log(pair[0] / pair[1]) / 2 - math.log(mirrored[0] / mirrored[1]) / 2)
    assert abs(statistics.median(ratios)) < 0.03
