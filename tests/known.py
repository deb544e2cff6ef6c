"""A value that must not be None, so that its attributes can be used."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def known(value: Value | None) -> Value:
    """The value; AssertionError for None."""
    assert value is not None
    return value
