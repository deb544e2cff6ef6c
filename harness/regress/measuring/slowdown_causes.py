"""Why a side may be slower: facts in which the environments differ, and operators that grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.regress.json_files import Scalar
from harness.regress.sides.worker_answers import SideFacts, StepProfile

N_OPERATORS: Final = 5
OUTSIDE: Final = "outside of operators"
"""The time of a step outside torch's operators: Python, and the profiler itself."""
NATIVE_KERNELS: Final = "native_kernels"
"""The fact of a side: an instruction set, or "none: " and the reason."""


@dataclass(frozen=True)
class Difference:
    """A fact in which the environments differ; None: that side does not have it."""

    name: str
    base: str | None
    head: str | None


def native_difference(found: Sequence[Difference]) -> Difference | None:
    """The difference in native kernels, if the sides have other instruction sets or one has none.

    A side without them is "none", with the reason where it is known.
    """
    for each in found:
        if each.name == NATIVE_KERNELS:
            base, head = each.base or "none", each.head or "none"
            if base.partition(":")[0] != head.partition(":")[0]:
                return Difference(each.name, base, head)
    return None


@dataclass(frozen=True)
class OperatorGrowth:
    """Seconds a step that an operator took itself on each side, under the profiler."""

    operator: str
    base_s: float
    head_s: float

    @property
    def grown_s(self) -> float:
        """How much longer head took."""
        return self.head_s - self.base_s


def differences(base: SideFacts, head: SideFacts) -> tuple[Difference, ...]:
    """What differs between the facts of two sides: the machine, then variables, then packages.

    A package whose version is a fact of the machine too is named once.
    """
    first, second = _flat(base), _flat(head)
    names = sorted({**first, **second}, key=_group)
    pairs = [Difference(name, _text(first.get(name)), _text(second.get(name))) for name in names]
    found = [each for each in pairs if each.base != each.head]
    named = {f"package {each.name}" for each in found}
    return tuple(each for each in found if each.name not in named)


def grown(base: StepProfile, head: StepProfile, n: int = N_OPERATORS) -> tuple[OperatorGrowth, ...]:
    """The operators whose own time grew most; those that did not grow are left out."""
    first, second = _operators(base), _operators(head)
    found = [
        OperatorGrowth(name, first.get(name, 0.0), second.get(name, 0.0))
        for name in {**first, **second}
    ]
    longer = [each for each in found if each.grown_s > 0]
    return tuple(sorted(longer, key=lambda each: (-each.grown_s, each.operator))[:n])


def _group(name: str) -> int:
    """The position of a fact: machine, variables, packages."""
    return 2 if name.startswith("package ") else int(name.startswith("variable "))


def _flat(facts: SideFacts) -> dict[str, Scalar]:
    variables = {f"variable {name}": value for name, value in facts.settings.items()}
    packages = {f"package {name}": value for name, value in sorted(facts.packages.items())}
    return {**facts.machine, **variables, **packages}


def _text(value: Scalar) -> str | None:
    return None if value is None else str(value)


def _operators(profile: StepProfile) -> dict[str, float]:
    outside_s = profile.step_time_s - sum(profile.operators.values())
    return {**profile.operators, OUTSIDE: max(outside_s, 0.0)}
