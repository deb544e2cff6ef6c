"""The live worker processes of a session: one for each copy of each variant.

Started when first used, kept from request to request, ended together. Times nothing itself.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.processes.worker_client import WorkerClient, WorkerFailed, WorkerSpec
from harness.timing.clocks import BlockTime
from harness.timing.variants import parse_variant


@dataclasses.dataclass(frozen=True)
class ReplicaGroup:
    """The worker processes of one variant: `processes=N` has N of them, every other variant one."""

    members: tuple[WorkerClient, ...]

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Each member in turn does the command; the first one's answer."""
        answers = [member.ask(do, **arguments) for member in self.members]
        return answers[0]

    def block(self, name: str, n_steps: int) -> BlockTime:
        """Run a block in all members at the same time; the time of the slowest."""
        for member in self.members:
            member.send("block", name=name, n_steps=n_steps)
        times = [BlockTime(**member.receive()) for member in self.members]
        return max(times, key=lambda time: time.wall_time_s)

    def close(self, *, at_once: bool = False) -> None:
        """End every member; `at_once` kills it, whatever it is doing."""
        for member in self.members:
            if at_once:
                member.kill()
            member.close()


class WorkerPool:
    """The replica groups of a session, by variant."""

    def __init__(self, plugins: Sequence[str] = ()) -> None:
        self.plugins = tuple(_absolute(name) for name in plugins)
        self._groups: dict[str, ReplicaGroup] = {}

    def start(self, variants: Iterable[str]) -> None:
        """Start the processes of several variants, which import torch at the same time."""
        for name in variants:
            self.group(name)

    def group(self, variant: str) -> ReplicaGroup:
        """The group of a variant, started here where it does not run."""
        if variant not in self._groups:
            copies = parse_variant(variant).n_processes
            self._groups[variant] = ReplicaGroup(
                tuple(self._worker(variant) for _ in range(copies))
            )
        return self._groups[variant]

    def discard(self, variant: str, *, at_once: bool = False) -> None:
        """End a group; the next use of the variant starts another."""
        group = self._groups.pop(variant, None)
        if group is not None:
            group.close(at_once=at_once)

    def drop(self) -> None:
        """Let every group forget what it has prepared; one that is gone is discarded."""
        for variant, group in list(self._groups.items()):
            try:
                group.ask("drop")
            except WorkerFailed:
                self.discard(variant)

    def after_request(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drop what was prepared; kill the workers where the request was interrupted."""
        if error is None:
            self.drop()
        else:
            self.__exit__(kind, error, traceback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for variant in list(self._groups):
            self.discard(variant, at_once=error is not None)

    def _worker(self, variant: str) -> WorkerClient:
        runner = ("-m", "harness.processes.die_with_parent", str(os.getpid()))
        command = (sys.executable, *runner, "harness.timing", "--worker", variant)
        worker = WorkerClient(WorkerSpec(variant, command))
        if self.plugins:
            worker.send("plugins", names=list(self.plugins))
        return worker


def _absolute(plugin: str) -> str:
    return str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin
