"""Hyperparameters: a range, a choice or a fixed value, and what each named one may be.

Never samples.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

from harness.errors import InputError, Shown, nearest

Value = int | float | str | bool


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole where both ends and the kind are."""

    low: int | float
    high: int | float
    log: bool = False

    def values(self) -> tuple[Value, ...]:
        """The two ends."""
        return (self.low, self.high)

    def to_plain(self) -> Any:
        """As a study file writes it."""
        return {"low": self.low, "high": self.high} | ({"log": True} if self.log else {})


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values, without order."""

    options: tuple[Value, ...]

    def values(self) -> tuple[Value, ...]:
        """Every option."""
        return self.options

    def to_plain(self) -> Any:
        """As a study file writes it."""
        return list(self.options)


@dataclasses.dataclass(frozen=True)
class Fixed:
    """One value that is not searched."""

    value: Value

    def values(self) -> tuple[Value, ...]:
        """The value alone."""
        return (self.value,)

    def to_plain(self) -> Any:
        """As a study file writes it."""
        return self.value


Parameter = Range | Choice | Fixed


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a hyperparameter's values may be: the type, and the bounds or the allowed words."""

    type: type
    least: float = -math.inf
    greatest: float = math.inf
    words: tuple[str, ...] = ()
    above: bool = False  # `least` itself is excluded

    def describe(self) -> str:
        """A phrase for error messages, such as "a whole number >= 1"."""
        if self.words:
            return "one of " + ", ".join(self.words)
        name = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        text = name[self.type]
        if self.type in (int, float):
            if math.isfinite(self.least):
                text += f" {'>' if self.above else '>='} {self.least:g}"
            if math.isfinite(self.greatest):
                text += f"{' and' if math.isfinite(self.least) else ''} <= {self.greatest:,.0f}"
        return text

    def accepts(self, value: object) -> bool:
        """Whether `value` is of the type and within the bounds; NaN and infinity never are."""
        if self.type in (bool, str):
            return isinstance(value, self.type) and (not self.words or value in self.words)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.type is int and not isinstance(value, int):
            return False
        if not _is_representable(value):
            return False
        low_enough = value > self.least if self.above else value >= self.least
        return low_enough and value <= self.greatest


LARGEST_COUNT = 2**31 - 1
MOST_OPTIONS = 1_000  # more is a range
LARGEST_IN_RANGE = 10**12  # of whole numbers: TPE cannot weigh the values of a range to 2^53
OPTIMIZER_NAMES = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULE_NAMES = ("constant", "linear", "cosine")
INITIALIZATION = "initialization"

SPACE: Mapping[str, Kind] = {
    "hidden_size": Kind(int, 1, LARGEST_COUNT),
    "num_layers": Kind(int, 1, 1_000),
    "learning_rate": Kind(float, 0, above=True),
    "sequence_length": Kind(int, 1, LARGEST_COUNT),
    INITIALIZATION: Kind(str),
}
"""The hyperparameters of [space]."""

TRAINING: Mapping[str, Kind] = {
    "batch_size": Kind(int, 1, LARGEST_COUNT),
    "sequences": Kind(int, 1, 10**12),
    "stop_when_solved": Kind(bool),
    "evaluate_every": Kind(int, 1, 10**12),
    "evaluation_sequences": Kind(int, 1, LARGEST_COUNT),
    "optimizer": Kind(str, words=OPTIMIZER_NAMES),
    "learning_rate_schedule": Kind(str, words=SCHEDULE_NAMES),
    "max_grad_norm": Kind(float, 0),
    "num_parameters": Kind(int, 0, LARGEST_COUNT),
}
"""The hyperparameters of [training]."""

KINDS: Mapping[str, Kind] = {**SPACE, **TRAINING}

RESERVED = frozenset(
    (
        *("task", "cell", "repeat", "number", "end", "configuration", "objective", "seed"),
        *("lag", "loss", "skill", "accuracy", "solved", "remembered_steps", "sequences_to_solve"),
        *("sequences_seen", "train_time_s", "sequences_per_second", "all_steps_loss", "reason"),
    )
)
"""Names of other columns of the tables, which no hyperparameter of a cell may have."""


def numbers_of(parameter: Parameter) -> list[float]:
    """The numbers of a parameter: the ends of a range, the options, or the value; no texts."""
    return [float(value) for value in parameter.values() if not isinstance(value, str)]


def parse_parameter(where: str, key: str, name: str, raw: object, kind: Kind | None) -> Parameter:
    """Read a range {low, high, log}, a list or a plain value of the hyperparameter `name`.

    `kind` None (a cell's own hyperparameter) takes any number or text. Raises InputError naming
    `where` and `key`.
    """
    if isinstance(raw, Mapping):
        return _parse_range(where, key, raw, kind)
    if isinstance(raw, list | tuple):
        if not raw:
            raise InputError(where, key, expected="at least one value", got=raw)
        if len(raw) > MOST_OPTIONS:
            got = Shown(f"{len(raw):,}")
            raise InputError(where, key, expected=f"at most {MOST_OPTIONS:,} values", got=got)
        options = tuple(_value(where, key, each, kind) for each in raw)
        if len(set(options)) < len(options):  # 1, 1.0 and true are one value to Optuna
            raise InputError(where, key, expected="different values", got=raw)
        return Choice(options)
    return Fixed(_value(where, key, raw, kind))


def _parse_range(where: str, key: str, raw: Mapping[str, object], kind: Kind | None) -> Range:
    for name in raw:
        if name not in ("low", "high", "log"):
            raise InputError(
                where,
                f"{key}.{name}",
                expected="the keys low, high and log",
                got=name,
                remedy=nearest(name, ("low", "high", "log")),
            )
    for name in ("low", "high"):
        if name not in raw:
            raise InputError(
                where,
                key,
                expected="a range with low and high",
                got=dict(raw),
                remedy=f"add {name}",
            )
    if kind is not None and kind.type in (str, bool):
        raise InputError(
            where, key, expected=f"{kind.describe()}, or a list of such", got=dict(raw)
        )
    low, high = (_value(where, f"{key}.{name}", raw[name], kind) for name in ("low", "high"))
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise InputError(where, f"{key}.log", expected="true or false", got=log)
    if isinstance(low, str | bool) or isinstance(high, str | bool):
        raise InputError(where, key, expected="a range of numbers", got=dict(raw))
    if low > high:
        raise InputError(
            where, key, expected="low <= high", got=dict(raw), remedy="exchange low and high"
        )
    if log and low <= 0:
        raise InputError(
            where,
            key,
            expected="low > 0 where log = true",
            got=dict(raw),
            remedy="raise low or leave log out",
        )
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and max(abs(low), abs(high)) > LARGEST_IN_RANGE:
        raise InputError(
            where,
            key,
            expected=f"whole numbers from -{LARGEST_IN_RANGE:,} to {LARGEST_IN_RANGE:,} in a range",
            got=dict(raw),
            remedy="shorten it, or write low and high with a decimal point",
        )
    if not whole and not math.isfinite(float(high) - float(low)):
        raise InputError(
            where,
            key,
            expected=f"a range whose high - low is at most {sys.float_info.max:.2g}",
            got=dict(raw),
            remedy="shorten it",
        )
    return Range(low, high, log)


def _is_representable(value: object) -> bool:
    """Whether it is a text, true or false, a finite float, or an int of 64 bits, as in TOML."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str)


def _value(where: str, key: str, value: object, kind: Kind | None) -> Value:
    fits = kind.accepts(value) if kind else _is_representable(value)
    if not fits:
        expected = kind.describe() if kind else "a finite number, a text, true or false"
        remedy = (
            nearest(value, kind.words) if kind and kind.words and isinstance(value, str) else ""
        )
        raise InputError(where, key, expected=expected, got=value, remedy=remedy)
    assert isinstance(value, int | float | str | bool)
    if isinstance(value, float) and 0 < abs(value) < sys.float_info.min:
        raise InputError(
            where,
            key,
            expected=f"0, or a number of at least {sys.float_info.min:.2g} in size",
            got=value,
            remedy="training takes smaller ones as 0",
        )
    return float(value) if kind and kind.type is float else value
