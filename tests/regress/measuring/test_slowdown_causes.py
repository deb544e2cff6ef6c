from __future__ import annotations

import pytest

from harness.regress.measuring.slowdown_causes import (
    OUTSIDE,
    Difference,
    differences,
    grown,
    native_difference,
)
from harness.regress.sides.worker_answers import SideFacts, StepProfile


def test_what_differs_is_named_once() -> None:
    """Facts, then variables, then packages; a package that is a fact already is not said again."""
    machine = {"torch": "2.12", "threads": 1, "gpu": None}
    packages = {"torch": "2.12", "einops": "0.7", "old": "1"}
    base = SideFacts(machine, {"OMP_A": "1"}, packages)  # type: ignore[arg-type]
    settings = {"OMP_A": "1", "MKL_B": "2"}
    head = SideFacts({**machine, "torch": "2.13"}, settings, {"torch": "2.13", "einops": "0.8"})  # type: ignore[dict-item]
    assert differences(base, head) == (
        Difference("torch", "2.12", "2.13"),
        Difference("variable MKL_B", None, "2"),
        Difference("package einops", "0.7", "0.8"),
        Difference("package old", "1", None),
    )
    assert differences(base, base) == ()


def test_operators_by_how_much_they_grew() -> None:
    """The five that grew most; those that shrank are left out; new ones grew from nothing."""
    base = StepProfile({"a": 1.0, "b": 2.0, "c": 1.0}, 5.0)
    head = StepProfile({"a": 1.5, "b": 1.0, "new": 3.0}, 7.0)
    found = grown(base, head)
    assert [(each.operator, each.grown_s) for each in found] == [  # type: ignore[comparison-overlap]
        ("new", pytest.approx(3.0)),
        ("a", pytest.approx(0.5)),
        (OUTSIDE, pytest.approx(0.5)),
    ]
    many = StepProfile({str(i): float(i) for i in range(1, 9)}, 36.0)
    none = StepProfile({}, 0.0)
    assert [each.operator for each in grown(none, many)] == ["8", "7", "6", "5", "4"]
    assert grown(many, none) == ()


@pytest.mark.parametrize(
    ("base", "head", "found"),
    [
        ("avx512", "avx2", ("avx512", "avx2")),
        ("avx512", "none: HARNESS_NATIVE=0", ("avx512", "none: HARNESS_NATIVE=0")),
        (None, "avx512", ("none", "avx512")),  # an old revision
        (None, "none: no library was built", None),
        ("none: HARNESS_NATIVE=0", "none: no library was built", None),
        ("avx2", "avx2", None),
    ],
)
def test_other_native_kernels_are_a_difference(
    base: str | None, head: str | None, found: tuple[str, str] | None
) -> None:
    """Another instruction set, or none on one side; two reasons for none are no difference."""
    facts = [SideFacts({"native_kernels": each}, {}, {}) for each in (base, head)]
    native = native_difference(differences(*facts))
    assert (native and (native.base, native.head)) == found
