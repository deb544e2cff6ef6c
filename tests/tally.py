"""What the tests of faults found: how many were injected, and what was lost.

And the page that is made of it.

`make torture` has the tests write their records, and then writes docs/reliability.md: `python -m
tests.tally`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "reference" / "reliability" / "faults.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
STORE = "HARNESS_FAULTS"  # names the file that records are appended to
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One kind of fault in one test."""

    fault: str
    promise: str
    test: str
    injected: int
    lost: int


@dataclasses.dataclass
class Count:
    """Faults of one kind that are injected one after the other."""

    injected: int = 0
    lost: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Inject one in this block. Where the block raises, what was promised was not kept."""
        self.injected += 1
        self.lost += 1
        yield
        self.lost -= 1


class Tally:
    """The faults of one test."""

    def __init__(self, test: str) -> None:
        self.test = test
        self.entries: list[Entry] = []

    def add(self, fault: str, promise: str, *, lost: int, injected: int = 1) -> None:
        """Count injected faults, and what was missing or doubled afterwards."""
        self.entries.append(Entry(fault, promise, self.test, injected, lost))

    @contextmanager
    def each(self, fault: str, promise: str) -> Iterator[Count]:
        """Count what is injected in this block, and add it up at its end, however it ends."""
        count = Count()
        try:
            yield count
        finally:
            self.add(fault, promise, injected=count.injected, lost=count.lost)

    @property
    def lost(self) -> int:
        """All that was lost."""
        return sum(each.lost for each in self.entries)

    def store(self) -> None:
        """Append what was counted to the file of records, where one is asked for."""
        if path := os.environ.get(STORE):
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(
                    json.dumps(dataclasses.asdict(each), ensure_ascii=False) + "\n"
                    for each in self.entries
                )


def read(path: Path) -> list[Entry]:
    """The records of a run."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Entry(**json.loads(line)) for line in lines]


def summed(entries: Sequence[Entry]) -> list[Entry]:
    """One entry for each fault, promise and test function, in first order, counts added."""
    found: dict[tuple[str, str, str], Entry] = {}
    for each in entries:
        test = re.sub(r"\[.*\]$", "", each.test)
        key = (each.fault, each.promise, test)
        before = found.get(key, Entry(*key, injected=0, lost=0))
        found[key] = dataclasses.replace(
            before, injected=before.injected + each.injected, lost=before.lost + each.lost
        )
    return list(found.values())


def table(entries: Sequence[Entry]) -> str:
    """The table of the page."""
    rows = summed(entries)
    lines = ["| fault | promise | injected | lost | test |", "|---|---|--:|--:|---|"]
    lines += [
        f"| {one.fault} | {one.promise} | {one.injected} | {one.lost} | `{one.test}` |"
        for one in rows
    ]
    injected, lost = sum(one.injected for one in rows), sum(one.lost for one in rows)
    return "\n".join([*lines, f"| **all** | | **{injected}** | **{lost}** | |"])


def page(text: str, entries: Sequence[Entry]) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(entries)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read(RECORDS)), encoding="utf-8")
