from __future__ import annotations

import math
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import records
from harness.bench.report.bench_summary import Timings, flops_per_byte, step_limits
from harness.columns import COLUMNS, columns_of
from harness.config import parse_grid
from harness.records import BenchRecords
from tests.bench.report.synthetic_bench import BenchWish, grid_text, write_bench

NAN = math.nan


def row(**known: Any) -> dict[str, Any]:
    """A row of throughput.csv as it is read back.

    A tuned lstm at the grid's own shape, unless it says otherwise.
    """
    empty: dict[str, Any] = {
        name: "" if COLUMNS[name].kind == "text" else NAN for name in columns_of("throughput.csv")
    }
    usual = {"task": "temporal_order", "cell": "lstm", "device": "cpu", "variant": "tuned"}
    usual |= {"measure": "training_step", "initialization": "pytorch"}
    shape = {"hidden_size": 32.0, "num_layers": 1.0, "sequence_length": 100.0, "batch_size": 32.0}
    found = empty | usual | shape | {"step_time_s": 1e-3, "n_processes": 1.0} | known
    parts = (found["cell"], found["variant"], found["measure"], found["initialization"])
    sizes = (found["hidden_size"], found["sequence_length"], found["device"])
    return {**found, "benchmark": "/".join(map(str, (*parts, *sizes)))}


def timings(*rows: dict[str, Any], blocks: dict[str, list[float]] | None = None) -> Timings:
    """The numbers over those rows; `blocks` by variant."""
    grid = parse_grid(tomllib.loads(grid_text(BenchWish())), "grid.toml")
    named = {each["benchmark"]: (blocks or {}).get(each["variant"]) for each in rows}
    kept = {name: times for name, times in named.items() if times}
    return Timings(BenchRecords(Path(), grid, {}, pd.DataFrame(list(rows))), kept)


def gain(value: float, low: float = NAN, high: float = NAN, **known: Any) -> dict[str, Any]:
    """A row with its speed over plain."""
    return row(speedup=value, speedup_low=low, speedup_high=high, **known)


# --- What a variant changes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "effect"),
    [
        (1.06, 1.3, "gain"),
        (0.5, 0.99, "loss"),
        (0.99, 1.3, "undecided"),
        (1.0, 1.3, "undecided"),
        (NAN, NAN, "undecided"),
    ],
)
def test_only_an_interval_beside_1_shows_anything(low: float, high: float, effect: str) -> None:
    """A gain of 1.2 is one if its whole interval is above 1.

    Without an interval nothing is shown.
    """
    (change,) = timings(gain(1.2, low, high)).changes
    assert change.gains[0].effect == effect
    assert (len(change.advised) == 1) == (effect == "gain")


def test_changes_are_ordered_by_their_median_over_cells_and_shapes() -> None:
    """One huge gain at one shape does not put a variant first."""
    rows = [gain(2, 1.9, 2.1, cell=cell) for cell in ("rnn", "gru", "lstm")]
    rows += [gain(1.1, 1.0, 1.2, variant="threads=2", cell=cell) for cell in ("rnn", "gru")]
    rows.append(gain(9, 8, 10, variant="threads=2"))
    found = timings(*rows).changes
    assert [(change.variant, change.median) for change in found] == [
        ("tuned", 2),
        ("threads=2", 1.1),
    ]


def test_what_gains_less_than_tuned_is_not_advised() -> None:
    """threads=2 is tuned with two threads: 1.5 times plain is a loss where tuned alone gains 2."""
    rows = (gain(2, 1.9, 2.1), gain(1.5, 1.4, 1.6, variant="threads=2", step_time_s=4e-3))
    blocks = {"tuned": [3e-3] * 6, "threads=2": [4e-3] * 6}
    tuned, threads = timings(*rows, blocks=blocks).changes
    assert [change.variant for change in (tuned, threads)] == ["tuned", "threads=2"]
    assert threads.advised == ()
    (own,) = threads.worse_than_tuned
    assert (own.value, own.low, own.high) == pytest.approx((0.75, 0.75, 0.75))
    assert len(tuned.advised) == 1


def test_processes_count_together_against_tuned() -> None:
    """Two processes that take 1.2 times as long each train 2 / 1.2 as much."""
    rows = (gain(1, 0.9, 1.1), gain(1.7, 1.6, 1.8, variant="processes=2", n_processes=2.0))
    blocks = {"tuned": [1e-3] * 5, "processes=2": [1.2e-3] * 5}
    change = timings(*rows, blocks=blocks).changes[0]
    assert change.advised[0].over_tuned is not None
    assert change.advised[0].over_tuned.value == pytest.approx(2 / 1.2)


def test_without_blocks_nothing_is_shown_over_tuned() -> None:
    """Two medians give a ratio and no interval, so what needs to beat tuned is not advised."""
    rows = (gain(1.2, 1.1, 1.3), gain(3, 2.9, 3.1, variant="compiled", step_time_s=5e-4))
    change = timings(*rows).changes[0]
    assert change.variant == "compiled"
    assert change.gains[0].over_tuned is not None
    assert change.gains[0].over_tuned.value == pytest.approx(2)
    assert change.advised == ()


def test_keeping_denormals_is_never_advised() -> None:
    """denormals_kept is there to show what flushing wins."""
    (change,) = timings(gain(2, 1.9, 2.1, variant="denormals_kept")).changes
    assert change.advised == ()


def test_the_gain_at_another_shape_is_not_the_reference() -> None:
    """Advice is about the grid's own shape where that was timed."""
    rows = (gain(0.9, 0.8, 0.95), gain(3, 2, 4, hidden_size=8.0))
    (change,) = timings(*rows).changes
    assert [one.value for one in change.reference] == [0.9]
    assert change.advised == ()
    assert (change.count("gain"), change.count("loss")) == (1, 1)


def test_without_its_own_shape_the_most_timed_one_stands_for_it() -> None:
    """A grid whose own shape was not timed is read at the shape with most rows."""
    rows = [row(hidden_size=8.0), row(hidden_size=64.0), row(hidden_size=64.0, cell="gru")]
    found = timings(*rows)
    assert found.reference("cpu") == (64, 1, 100, 32, "pytorch")
    assert found.reference("cuda:0") is None


def test_what_has_no_time_is_kept_with_its_reason() -> None:
    """Nowhere to be had, or failed in one row: both are listed, none is dropped."""
    lost = {"step_time_s": NAN, "reason": "needs a CUDA device"}
    rows = [
        row(),
        row(variant="tf32", **lost),
        row(variant="tf32", cell="gru", **lost),
        row(hidden_size=8.0, step_time_s=NAN, reason="RuntimeError"),
    ]
    found = timings(*rows)
    assert [(m.variant, m.everywhere, len(m.benchmarks)) for m in found.missing] == [
        ("tf32", True, 2),
        ("tuned", False, 1),
    ]
    assert found.missing_cells == (("temporal_order", "rnn"), ("temporal_order", "gru"))


def test_a_gain_that_another_process_may_have_is_not_advised() -> None:
    """Gains and losses of 3 % are shown as such, and are neither advice nor warning."""
    up, down = gain(1.03, 1.02, 1.04), gain(0.97, 0.96, 0.98, variant="threads=2")
    first, second = timings(up, down).changes
    assert (first.gains[0].effect, first.advised) == ("gain", ())
    assert (second.gains[0].effect, second.losing) == ("loss", ())


# --- Limits ---------------------------------------------------------------------------------------


def test_the_nearest_limit_asks_for_most_time() -> None:
    """By hand: 2 GFLOP/s of 100 for 1 ms are 20 us; 1 MB at 10 GB/s are 100 us.

    Latency asks for 400 us.
    """
    known = {"gflops_per_second": 2.0, "peak_gflops_per_second": 100.0}
    known |= {"bytes_per_step": 1e6, "copy_bytes_per_second": 1e10}
    bound = step_limits(row(**known, latency_bound_s=4e-4))
    assert bound.bounds_s == pytest.approx({"arithmetic": 2e-5, "bytes": 1e-4, "latency": 4e-4})
    assert (bound.nearest, bound.fraction("latency")) == ("latency", pytest.approx(0.4))  # type: ignore[comparison-overlap]
    assert step_limits(row(**known)).nearest == "bytes"
    assert flops_per_byte(row(**known)) == pytest.approx(2.0)


def test_the_bytes_of_all_processes_count_as_their_rates_do() -> None:
    """Two processes of 1 MB at 10 GB/s take 200 us; their 2 GFLOP/s in 1 ms are 1 FLOP a byte."""
    known = {"gflops_per_second": 2.0, "peak_gflops_per_second": 200.0, "n_processes": 2.0}
    known |= {"bytes_per_step": 1e6, "copy_bytes_per_second": 1e10}
    two = row(variant="processes=2", **known)
    assert step_limits(two).bounds_s == pytest.approx({"arithmetic": 1e-5, "bytes": 2e-4})
    assert flops_per_byte(two) == pytest.approx(1.0)
    unknown = row(**{**known, "n_processes": NAN})
    assert step_limits(unknown).bounds_s["bytes"] == pytest.approx(1e-4)


@pytest.mark.parametrize("variant", ["compiled", "cuda_graph"])
def test_what_runs_steps_in_another_way_has_another_latency(variant: str) -> None:
    """The latency is that of torch's eager step: it bounds neither a compiled step nor a graph."""
    known = {"bytes_per_step": 1e6, "copy_bytes_per_second": 1e10, "latency_bound_s": 4e-4}
    assert step_limits(row(**known)).nearest == "latency"
    other = step_limits(row(variant=variant, **known))
    assert other.nearest == "bytes"
    assert math.isnan(other.fraction("latency"))


def test_unknown_limits_are_absent() -> None:
    """Without a measured limit there is no nearest one, and no share."""
    bound = step_limits(row())
    assert bound.nearest is None
    assert math.isnan(bound.fraction("bytes"))
    assert math.isnan(flops_per_byte(row()))


# --- Against the blocks --------------------------------------------------------------------------


def test_a_ratio_is_that_of_shared_rounds() -> None:
    """A drift of a factor of 3 over the rounds leaves a ratio of 2 where it is."""
    drift = [1.0, 1.5, 2.0, 2.5, 3.0]
    blocks = {"tuned": drift, "denormals_kept": [2 * each for each in drift]}
    tuned, kept = row(), row(variant="denormals_kept")
    found = timings(tuned, kept, blocks=blocks).ratio(kept, tuned)
    assert found.value == pytest.approx(2)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((2, 2))


def test_unlike_rounds_have_a_ratio_without_interval() -> None:
    """Rows of other numbers of rounds were not measured side by side."""
    tuned, kept = row(), row(variant="denormals_kept", step_time_s=3e-3)
    found = timings(tuned, kept, blocks={"tuned": [1.0] * 5, "denormals_kept": [1.0] * 6})
    assert found.ratio(kept, tuned).value == pytest.approx(3)
    assert found.ratio(kept, tuned).interval is None
    assert found.beyond(kept, tuned).value == pytest.approx(2e-3)
    assert found.beyond(kept, tuned).interval is None


def test_lengths_are_compared_where_most_were_timed() -> None:
    """At hidden size 8 three lengths, at 32 one: the three are drawn.

    A tie goes to the grid's own size.
    """
    rows = [row(hidden_size=8.0, sequence_length=float(n)) for n in (50, 100, 200)] + [row()]
    found = timings(*rows)
    chosen = found.along("sequence_length", found.comparable("cpu"))
    assert [each["sequence_length"] for each in chosen] == [50, 100, 200]
    tied = timings(row(hidden_size=8.0), row())
    assert [r["hidden_size"] for r in tied.along("sequence_length", tied.steps)] == [32]


def test_growth_is_linear_where_time_is(tmp_path: Path) -> None:
    """The synthetic steps take time in proportion to length.

    The exponent's interval holds 1, from the stored blocks.
    """
    directory = write_bench(tmp_path, BenchWish(devices=("cpu",)))
    found = Timings(records.read_bench(directory), records.read_blocks(directory))
    rows = found.along("sequence_length", found.comparable("cpu"))
    law = found.growth([each for each in rows if each["cell"] == "gru"])
    assert law is not None
    assert law.interval is not None
    assert law.interval.low < 1 < law.interval.high
    assert law.n == 4


def test_stored_gains_are_those_of_the_blocks(tmp_path: Path) -> None:
    """The gain over tuned from throughput.json agrees with both gains over plain in the table."""
    directory = write_bench(tmp_path)
    found = Timings(records.read_bench(directory), records.read_blocks(directory))
    changes = {change.variant: change for change in found.changes}
    for one, other in zip(changes["tuned"].gains, changes["bfloat16"].gains, strict=True):
        assert other.over_tuned is not None
        assert other.over_tuned.value == pytest.approx(other.value / one.value, rel=0.05)


def test_no_rows_are_no_numbers() -> None:
    """A bench that timed nothing has no device, no change, no reference; nothing raises."""
    grid = parse_grid(tomllib.loads(grid_text(BenchWish())), "grid.toml")
    empty = Timings(BenchRecords(Path(), grid, {}))
    assert (empty.devices, empty.changes, empty.missing, empty.variants) == ((), (), (), ())
    assert empty.reference("cpu") is None
    assert empty.comparable("cpu") == []
    assert empty.along("sequence_length", []) == []
    assert len(empty.missing_cells) == 3


def test_medians_are_of_rows() -> None:
    """The median gain of a change is that of its rows, by another route."""
    values = [0.5, 1.2, 3.0, 4.0]
    (change,) = timings(*(gain(v, hidden_size=8.0 * (i + 1)) for i, v in enumerate(values))).changes
    assert change.median == statistics.median(values)
