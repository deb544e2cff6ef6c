"""groups.jsonl: what a bench has measured, one line for each group. Only appended to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from harness.errors import IdentityError, InputError, Shown
from harness.records.jsonl import append_line, read_lines
from harness.timing.timing_results import Answer, InferenceAnswer, TrainingAnswer

GROUPS_FILE = "groups.jsonl"
GROUPS_SCHEMA = 2  # 1: answers without latency_s and n_time_steps


@dataclasses.dataclass(frozen=True)
class StoredGroup:
    """One line: the key of a request, its group and machine, and the answer of harness.timing."""

    key: str
    mode: str
    label: str
    device: str
    identity: Mapping[str, Any]
    answer: Answer

    @property
    def failed(self) -> bool:
        """Whether one of its benchmarks failed; one that is unavailable has not."""
        return any(result.error for result in self.answer.results)

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"schema": GROUPS_SCHEMA, **vars(self), "answer": self.answer.to_json()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gives."""
        values = {key: value for key, value in plain.items() if key != "schema"}
        kind = InferenceAnswer if plain["mode"] == "inference" else TrainingAnswer
        return cls(**{**values, "answer": kind.from_json(plain["answer"])})


def key_of(request: Mapping[str, Any], plugins: Mapping[str, str]) -> str:
    """The content hash of a request and of the source of its plug-ins."""
    text = json.dumps({"request": request, "plugins": plugins}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_groups(directory: Path) -> dict[str, StoredGroup]:
    """What was measured, by key, in the order of measuring; the newest where there are several.

    Leaves out a torn last line, which the next group overwrites. Raises InputError for any other
    line that is not a group of this schema.
    """
    path = directory / GROUPS_FILE
    groups: dict[str, StoredGroup] = {}
    for number, line in enumerate(read_lines(path).lines, start=1):
        group = _parse(path, number, line)
        groups.pop(group.key, None)  # so that the newest comes last
        groups[group.key] = group
    return groups


def append_group(directory: Path, group: StoredGroup) -> None:
    """Add a line and wait until it is on the disk."""
    append_line(directory / GROUPS_FILE, json.dumps(group.to_json()))


def check_identity(
    stored: Iterable[StoredGroup], now: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Refuse to mix numbers of two machines or versions: IdentityError names what differs first.

    `now` is the identity of each device. A group of a device that is not used now is compared with
    the first of them, except for the device's name.
    """
    for group in stored:
        wanted = now.get(group.device) or {**next(iter(now.values())), "device_name": None}
        for name, value in wanted.items():
            before = group.identity.get(name)
            if value is not None and before != value:
                raise IdentityError(
                    where,
                    name,
                    expected=f"{'unknown' if before is None else before}, as in the results that are there",
                    got=Shown(value),
                    remedy="start over with --fresh (the old results are moved aside), or use another --results",
                )


def _parse(path: Path, number: int, line: bytes) -> StoredGroup:
    place = f"{path}, line {number}"
    try:
        plain = json.loads(line)
        schema = plain["schema"]
        group = StoredGroup.from_json(plain) if schema == GROUPS_SCHEMA else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            place,
            expected="a group that a bench has measured",
            got=Shown(f"{type(error).__name__}: {error}"),
            remedy="remove the line, or start over with --fresh",
        ) from error
    if group is None:
        remedy = "start over with --fresh, or use the version that wrote it"
        raise InputError(place, "schema", expected=str(GROUPS_SCHEMA), got=schema, remedy=remedy)
    return group
