"""The interface of an executor: it runs trials somewhere and returns what they send."""

from __future__ import annotations

from typing import Protocol

from harness.study.execution.worker_messages import Event, TrialRequest


class Executor(Protocol):
    """Runs trials. Used by one thread only."""

    @property
    def num_workers(self) -> int:
        """Trials that may run at the same time."""
        ...

    def new_id(self) -> int:
        """An id that no other request to this executor has."""
        ...

    def submit(self, request: TrialRequest) -> None:
        """Start a trial."""
        ...

    def next_event(self, timeout_s: float | None) -> Event | None:
        """Wait for the next event; None when `timeout_s` seconds pass without one."""
        ...

    def cancel(self, request_id: int) -> None:
        """Kill a trial; none of its events is returned from now on."""
        ...

    def close(self) -> None:
        """Kill all trials and release all resources."""
        ...
