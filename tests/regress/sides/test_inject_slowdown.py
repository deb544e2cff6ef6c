"""What a selftest injects, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.regress.sides import inject_slowdown, side_worker
from harness.regress.sides.side_client import side_clients
from tests.regress.sided import steps_file, worker_spec

TICKS = 8.0  # a bare step; a product takes one


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A time that only bare steps and products move, and how many products there were."""
    found = SimpleNamespace(now=0.0, products=0)

    def multiply(*_: object) -> None:
        found.now += 1.0
        found.products += 1

    monkeypatch.setattr(inject_slowdown, "worker", side_worker)
    monkeypatch.setattr("time.perf_counter", lambda: found.now)
    monkeypatch.setattr("torch.mm", multiply)
    return found


def stepping(clock: SimpleNamespace) -> tuple[Any, Callable[[object], None], int, Any]:
    """A plan whose step takes TICKS and must be given its state."""

    def step(state: object) -> None:
        assert state == "state"
        clock.now += TICKS

    return lambda: "state", step, 4, None


@pytest.mark.parametrize("effect", [0.03, 0.05, 0.1, 0.5, 1.0])
def test_the_extra_work_is_its_share_exactly(clock: SimpleNamespace, effect: float) -> None:
    """Over many steps: what a product takes too long is subtracted at the next step."""
    one = inject_slowdown.Slower(stepping(clock), effect)
    setup, step, sequences, reset = one.plan()
    setup()
    for _ in range(1000):
        step()
        reset()
    assert sequences == 4
    assert clock.products == pytest.approx(1000 * TICKS * effect, abs=1)


def test_the_same_code_has_no_extra_work(clock: SimpleNamespace) -> None:
    """A step without an effect is wrapped alike, and nothing more."""
    setup, step, _, _ = inject_slowdown.Slower(stepping(clock), 0.0).plan()
    setup()
    step()
    assert (clock.now, clock.products) == (TICKS, 0)


def test_a_worker_loads_slowed_steps(tmp_path: Path) -> None:
    """As a selftest writes them: all names are there, in their order, and each can be run."""
    steps = steps_file(tmp_path / "steps.py", one=3, two=2)
    wrapper = tmp_path / "side" / "head_0.py"
    wrapper.parent.mkdir()
    (wrapper.parent / "inject_slowdown.py").write_bytes(Path(inject_slowdown.__file__).read_bytes())
    wrapper.write_text(
        f"from inject_slowdown import slower_steps\nSTEPS = slower_steps({str(steps)!r}, 'two', 0.5)\n"
    )
    with side_clients([worker_spec()]) as (client,):
        client.fresh()
        loaded = client.ask("load", file=str(wrapper), paths=[], folder=str(tmp_path))
        assert loaded["names"] == ["one", "two"]
        for name in loaded["names"]:
            assert client.ask("prepare", name=name) == {"sequences_per_step": 8.0}
            assert client.ask("slice", name=name, n_steps=2)["time_s"] > 0
