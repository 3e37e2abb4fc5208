"""What is known of the functions of a runtime: for `host="auto"`, and for advice to those who did not choose.

The law of this module: it remembers, each function by itself and not longer than that lives. What follows
from that is decided in `_core.auto_host`; who runs where is arranged in `auto_staff`.

How it works: what a partial and a bound method are made of counts as the function. It is told what runs have
used by their workers, those of them that had to measure.
"""

from __future__ import annotations

import logging
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

import msgspec
from msgspec.structs import replace

from actorsched._core.auto_host import Learned, Usage, deserves_advice
from actorsched._system.gauges import Clocks
from actorsched._system.task import function_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.auto_host import Kind, Verdict
    from actorsched._system.gauges import Reading
    from actorsched._system.task import TaskActor
    from actorsched.messages import Finished

_MOST_ADVISED: Final = 1000
_MOST_ETERNAL: Final = 1000

_log = logging.getLogger("actorsched.task")


class Placed(msgspec.Struct, eq=False):
    """What a task with `host="auto"` has: what is known of its function, and where that has brought it."""

    learned: Learned
    verdict: Verdict | None
    """Why its function was where it was when this task was placed; None if it had never been moved."""
    host: Kind | None = None
    """Where it runs, as soon as that is certain."""
    runs: int = 0
    """How many runs in that host were known then."""
    barred: str = ""
    """Why it is not where its function is served best."""
    packing: float = 0.0
    """Seconds that it took to pickle it."""

    def ran(self, usage: Usage) -> None:
        """It has run, and was not stopped."""
        self.learned.note(usage)

    def crossed(self, cpu: float, wall: float, queued: float, took: float, *, returned: bool) -> None:
        """It has run in a host process, which had to do with it for longer than the function took."""
        self.learned.crossed(self.packing + 2 * max(0.0, took - wall))
        self.ran(Usage("process", cpu, wall, queued, returned=returned))


class Judge:
    """Knows what the runs of functions use.

    Attributes:
        clocks: What is measured with.
        recent: What the process's clock said, and when; all that measure share it.
    """

    def __init__(self) -> None:
        self.clocks: Clocks = Clocks()
        self.recent: Reading = (float("-inf"), 0.0)
        self._known: dict[int, tuple[Learned, object]] = {}
        self._advised: set[str] = set()

    def __repr__(self) -> str:
        return f"<judge of {len(self._known)} functions>"

    def __len__(self) -> int:
        return len(self._known)

    def of(self, function: Callable[..., Any], *, asynchronous: bool, marked: bool = False) -> Learned:
        """What is known of a function.

        Args:
            function: The function.
            asynchronous: Whether calling it gives a coroutine.
            marked: Whether it was marked as bound to the processor.
        """
        inner = _underlying(function)
        key = id(inner)
        found = self._known.get(key)
        if found is not None:
            return found[0]
        learned = Learned(asynchronous, "process" if marked else "loop" if asynchronous else "thread")
        known = self._known
        try:
            alive: object = ref(inner, lambda _: known.pop(key, None))
        except TypeError:  # one of Python's own, most of which live for ever
            if len(known) >= _MOST_ETERNAL:
                return learned
            alive = inner
        known[key] = (learned, alive)
        return learned

    # ----------------------------------------------------------------------------------------- advice

    def ran_in_thread(self, task: TaskActor, usage: Usage, finished: Finished) -> None:
        """A function that was not sent to a thread by name has run in one."""
        placed = task.placed
        if placed is not None and not finished.stopped:
            placed.ran(usage if finished.error is None else replace(usage, returned=False))
        if deserves_advice(usage) and (placed is None or placed.learned.culprit):
            self._advise(task, usage, "" if placed is None else placed.learned.culprit)

    def _advise(self, task: TaskActor, usage: Usage, culprit: str) -> None:
        """Say once for each function that it computes in a thread."""
        inner = None if task.function is None else _underlying(task.function)
        name = task.name if inner is None else function_name(inner)
        title = f"{getattr(inner, '__module__', '')}.{name}"
        if title in self._advised or len(self._advised) >= _MOST_ADVISED:
            return
        self._advised.add(title)
        remedy = (
            f"host='auto' would have it in a process, but it cannot cross: {culprit}"
            if culprit
            else "mark it with @cpu_bound or pass host='process', or host='thread' if it is meant to be there"
        )
        _log.warning(
            "%r computed for %.3f s in a thread, %.0f %% of its time, and nothing else in this process could "
            "run Python code meanwhile: %s",
            name,
            usage.cpu,
            100 * min(1.0, usage.share),
            remedy,
        )


def _underlying(function: Callable[..., Any]) -> Any:
    """What partials and bound methods are made of."""
    inner: Any = function
    while isinstance(inner, (partial, MethodType)):
        inner = inner.func if isinstance(inner, partial) else inner.__func__
    return inner
