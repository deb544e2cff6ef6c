"""What a test needs, read off its code: a process, a database, a browser, a report, simulations.

Nothing is marked by hand. What a test function, its fixtures and the helpers in tests/ name is
followed; a name that leads to one of NEEDS gives the test that mark. `make test-fast` runs the
tests without any of them. NIGHTLY is set in the full run: `make nightly`, `make torture`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

NIGHTLY = bool(os.environ.get("HARNESS_NIGHTLY"))
TESTS = str(Path(__file__).parent)

NEEDS = {
    "process": (
        *("subprocess", "multiprocessing", "harness.study.__main__", "harness.study.run"),
        *("harness.study.execution.local", "harness.study.execution.fork_server"),
        *("harness.timing.worker_pool", "harness.timing.build_steps.forget_compiled"),
        *("harness.timing.measure_throughput", "harness.timing.client", "harness.processes"),
        *("harness.regress.sides.side_client", "harness.regress.compare.run"),
        *("harness.regress.measuring.comparison_runner", "harness.regress.trend.recorder"),
        *("harness.regress.selftest.run", "harness.regress.sides.workspace"),
        "benchmarks.sweep_race.run",
    ),
    "database": ("tests.study.postgres",),
    "browser": ("tests.rendering.test_browser.browse",),
    "drawing": (
        *("harness.study.report.study_report", "harness.bench.report.bench_report"),
        *("harness.regress.compare.report", "harness.regress.selftest.report"),
        *("harness.regress.trend.report", "harness.report.dispatch", "harness.report.index"),
        *("harness.rendering.render", "harness.report.__main__", "tests.selftests.make_selftest"),
    ),
    "simulation": ("tests.simulated.", "tests.simulated_blocks."),
}
"""By mark: beginnings of the full names of what needs it."""


def everyday(count: int, nightly: int) -> int:
    """How many examples, runs or simulations: few in the everyday run, all in the nightly one."""
    return nightly if NIGHTLY else count


def mark_needs(item: pytest.Item) -> None:
    """Mark a test with what it needs."""
    names = {name for function in _functions(item) for name in _reached(function)}
    for mark, starts in NEEDS.items():
        if any(name.startswith(starts) for name in names):
            item.add_marker(mark)


def _functions(item: pytest.Item) -> Iterator[FunctionType]:
    """The test's own function, and those of its fixtures."""
    if isinstance(item, pytest.Function):
        fixtures = item._fixtureinfo.name2fixturedefs.values()  # pytest has no public way
        found = [item.function, *(each.func for several in fixtures for each in several)]
        yield from (each for each in found if isinstance(each, FunctionType))


@cache
def _reached(function: FunctionType) -> frozenset[str]:
    """Full names of all that a function names, through the functions and classes of tests/."""
    seen: set[int] = set()
    names: set[str] = set()
    waiting: list[object] = [function]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, type):
            waiting += [value for value in vars(each).values() if isinstance(value, FunctionType)]
        elif isinstance(each, FunctionType) and each.__code__.co_filename.startswith(TESTS):
            for name in _named(each.__code__):
                found = each.__globals__.get(name, name)
                names.add(_full_name(found))
                if isinstance(found, (FunctionType, type)):
                    waiting.append(found)
    return frozenset(names)


def _named(code: CodeType) -> Iterator[str]:
    """Names in a function's code, those of functions inside it included."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _named(each)


def _full_name(value: object) -> str:
    """A module's name, MODULE.NAME of what is defined in one, or the text itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, ModuleType):
        return value.__name__
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', None) or type(value).__module__}.{name}"
