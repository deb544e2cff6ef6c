"""Why a side may be slower: what differs between the two environments, and the operators whose time grew most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

N_OPERATORS: Final = 5
OUTSIDE: Final = "outside of operators"
"""What a step takes beside torch's operators: Python, and the profiler itself."""


@dataclass(frozen=True)
class Difference:
    """A fact in which the environments differ; None: not there."""

    name: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class Growth:
    """Seconds a step that an operator took itself on each side, under the profiler."""

    operator: str
    base_s: float
    head_s: float

    @property
    def grown_s(self) -> float:
        """How much longer head took."""
        return self.head_s - self.base_s


def differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between the facts of two sides (side_worker.facts).

    Facts first, then variables, then packages.
    """
    sides = [dict(_flat(facts)) for facts in (base, head)]
    names = sorted({**sides[0], **sides[1]}, key=_kind)
    pairs = [Difference(name, *(_text(side.get(name)) for side in sides)) for name in names]
    found = [each for each in pairs if each.base != each.head]
    told = {f"package {each.name}" for each in found}
    return tuple(each for each in found if each.name not in told)


def grown(
    base: Mapping[str, Any], head: Mapping[str, Any], n: int = N_OPERATORS
) -> tuple[Growth, ...]:
    """The operators whose own time grew most, from two answers of side_worker.profile.

    Those that did not grow are left out.
    """
    first, second = (_operators(each) for each in (base, head))
    found = [
        Growth(name, first.get(name, 0.0), second.get(name, 0.0)) for name in {**first, **second}
    ]
    longer = [each for each in found if each.grown_s > 0]
    return tuple(sorted(longer, key=lambda each: (-each.grown_s, each.operator))[:n])


def _kind(name: str) -> int:
    """Where a name stands: facts, variables, packages."""
    return 2 if name.startswith("package ") else int(name.startswith("variable "))


def _flat(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    plain = [(k, v) for k, v in facts.items() if k not in ("settings", "packages")]
    plain += [(f"variable {k}", v) for k, v in facts.get("settings", {}).items()]
    return plain + [(f"package {k}", v) for k, v in sorted(facts.get("packages", {}).items())]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _operators(profile: Mapping[str, Any]) -> dict[str, float]:
    operators = {str(name): float(time_s) for name, time_s in profile["operators"].items()}
    rest = float(profile["step_time_s"]) - sum(operators.values())
    return {**operators, OUTSIDE: max(rest, 0.0)}
