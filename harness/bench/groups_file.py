"""groups.jsonl: what a bench has measured, a line for each group, as it was answered.

Appended to, never rewritten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import IdentityError, InputError, Shown

FILE = "groups.jsonl"
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class StoredGroup:
    """One line: the hash of what was asked, what was asked for, on which machine, and the answer of harness.timing."""

    key: str
    mode: str
    label: str
    device: str
    identity: Mapping[str, Any]
    answer: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Whether one of its benchmarks failed (not: is not to be had here)."""
        return any(result.get("error") for result in self.answer["results"])


def key_of(request: Mapping[str, Any], plugins: Mapping[str, str]) -> str:
    """The content hash of a request and of the source of the plug-ins that it is measured with."""
    text = json.dumps({"request": request, "plugins": plugins}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_groups(directory: Path) -> dict[str, StoredGroup]:
    """What was measured, by key, the newest where there are several.

    A last line that was torn is cut off the file.

    Raises InputError for any other line that is not ours.
    """
    path = directory / FILE
    if not path.is_file():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):  # the process ended while it wrote
        with path.open("r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
    groups: dict[str, StoredGroup] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        group = _parse(path, number, line)
        groups.pop(group.key, None)  # the order is that of measuring
        groups[group.key] = group
    return groups


def append_group(directory: Path, group: StoredGroup) -> None:
    """Add a line, and be sure that it is on the disk."""
    line = json.dumps({"schema": SCHEMA, **dataclasses.asdict(group)}) + "\n"
    with (directory / FILE).open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def check_identity(
    stored: Iterable[StoredGroup], now: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Refuse to put numbers of two machines, or of two versions of what measures them, into one table.

    `now` is the identity of each device; a line of a device that is not used now is held against
    any of them, but for the device's name. Raises IdentityError naming the first thing that
    differs.
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
        schema = plain.pop("schema")
        group = StoredGroup(**plain)
        _ = [result["name"] for result in group.answer["results"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            place,
            expected="a group that a bench has measured",
            got=Shown(f"{type(error).__name__}: {error}"),
            remedy="remove the line, or start over with --fresh",
        ) from error
    if schema != SCHEMA:
        remedy = "start over with --fresh, or use the version that wrote it"
        raise InputError(place, "schema", expected=str(SCHEMA), got=schema, remedy=remedy)
    return group
