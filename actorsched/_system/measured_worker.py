"""A worker of the loop that measures what its function uses, step by step: for `host="auto"` only."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from actorsched._core.behaviour import require
from actorsched._system.loop_worker import LoopWorker

if TYPE_CHECKING:
    from collections.abc import Generator

    from actorsched._system.gauges import LoopGauge
    from actorsched._system.judge import Placed


class MeasuredWorker(LoopWorker, eq=False):
    """One attempt of a task in the loop, measured."""

    placed: Placed | None = None
    gauge: LoopGauge | None = None

    def _open(self) -> Coroutine[Any, Any, Any]:
        gauge = self.gauge
        assert gauge is not None
        gauge.begin()
        try:
            code = LoopWorker._open(self)
        finally:
            gauge.end()
        assert self.placed is not None
        return _Measured(code, gauge) if self.placed.learned.asynchronous else code

    def over(self, value: Any, error: BaseException | None) -> None:
        """Note what it has used, unless it was stopped; then as always."""
        placed, gauge, task = self.placed, self.gauge, self.owner
        if placed is not None and gauge is not None and task.stopping is None:
            usage = gauge.used(plain=not placed.learned.asynchronous, returned=error is None)
            placed.ran(usage)
        LoopWorker.over(self, value, error)

    def check(self) -> None:
        """The same; and it has something to measure with."""
        LoopWorker.check(self)
        require(not self.begun or self.gauge is not None, self, "what is measured has a gauge")


class _Measured(Coroutine[Any, Any, Any]):
    """A coroutine, each step of which is measured. Whoever looks where it waits looks through this."""

    __slots__ = ("_gauge", "cr_await")

    def __init__(self, code: Coroutine[Any, Any, Any], gauge: LoopGauge) -> None:
        self.cr_await = code
        self._gauge = gauge

    def __repr__(self) -> str:
        return f"<measured {self.cr_await!r}>"

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self  # it has what a generator has
        return steps  # type: ignore[no-any-return]

    __iter__ = __await__

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Take the next step."""
        self._gauge.begin()
        try:
            return self.cr_await.send(value)
        finally:
            self._gauge.end()

    def throw(self, *error: Any) -> Any:
        """Take the next step with an error."""
        self._gauge.begin()
        try:
            return self.cr_await.throw(*error)
        finally:
            self._gauge.end()

    def close(self) -> None:
        """Take no more steps."""
        self.cr_await.close()
