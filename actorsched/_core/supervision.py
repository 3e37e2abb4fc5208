"""What a supervisor does when a child has ended: forget it, restart some, or give up.

The law of this module: it decides, and keeps what the decisions hang on: the children in the order in which
they were started, how each is to be restarted, which are not running just now, and when restarts happened. It
never starts, stops or waits for anything; the supervisor does, and reports back with `starting` and the next
`decide`.

How it works, after OTP's `supervisor`:

* How a child ended and its restart type say whether it comes back (`RESTARTS`). One that was stopped or
  killed on request, or with its supervisor, never does.
* The strategy says who goes with it: nobody (one_for_one), all (one_for_all), or those that were started
  after it (rest_for_one). These are stopped in reverse start order, then started again in start order;
  temporary ones among them are stopped, and forgotten once they have ended.
* Each decision to restart counts once, however many children it names. One more than `max_restarts` within
  `period` escalates: all children are to be stopped, and the supervisor itself fails.
* What ends several children at once is one event: where the shell can tell (a host process has died, and all
  who lived in it with it), the restart of each further child counts nothing. Otherwise a single crash would
  be too much for any supervisor with more children in one host than it allows restarts. The same child ends
  only once by one event; if it says so again, that counts.
* A restart counts for `period` seconds in which its child runs: later back-off waits of the same child are
  not part of them. Counted by the clock alone, a back-off that grows longer than the period would hide a
  child that fails at each start, and it would be restarted for ever. Without back-off this is the sliding
  window of OTP. Under the strategies that restart several children, all waits count as everybody's.

While a restart is under way, its children are *stopping* (told to stop; the end to come is expected) or
*down* (ended, and to be started). As soon as the supervisor begins to start one it counts as running, because
from then on it must be stopped if an older sibling fails; if its start fails, that is an end like any other.
The new decision then names every child that still had to be started by an earlier one; only under one_for_one
it does not, and there restarts have nothing to do with each other. So the rule for the supervisor is: a
restart replaces what was planned for the children it names.

Cost: the children are the keys of a dict, in the order of insertion, so that adding, removing, and a
one_for_one decision take the same time for ten children and ten thousand; a restart of many costs as much as
it names children.
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from itertools import takewhile
from typing import TYPE_CHECKING, Final, Generic, Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from actorsched._core.invariants import FEW, require
from actorsched._core.retrying import growing
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from actorsched.options import Restart as RestartType
    from actorsched.options import Supervise

__all__ = ["RESTARTS", "Decision", "Ending", "Escalate", "Expected", "Forget", "Restart", "Supervision"]

Ending: TypeAlias = Literal["failed", "finished", "stopped", "killed", "shutdown"]
"""How a child ended: by an error; by itself, in order; by `stop()` or `kill()`; or with its supervisor."""

RESTARTS: Final[Mapping[RestartType, frozenset[Ending]]] = {
    "permanent": frozenset({"failed", "finished"}),
    "transient": frozenset({"failed"}),
    "temporary": frozenset(),
}
"""After which endings a child of each restart type comes back."""

_ENDINGS: Final = ("failed", "finished", "stopped", "killed", "shutdown")
_FOR_GOOD: Final = frozenset({"stopped", "killed"})

C = TypeVar("C", bound="Hashable")

_Cause: TypeAlias = "tuple[Hashable, Hashable] | None"
"""An event, and the child that it has ended."""


class Forget(msgspec.Struct, frozen=True):
    """The child is no longer one; there is nothing else to do."""


class Expected(msgspec.Struct, frozen=True):
    """The child was told to stop by a restart under way, and has; go on with that restart."""


class Restart(msgspec.Struct, Generic[C], frozen=True):
    """Stop some children, then start some; this replaces what was planned for the latter.

    Attributes:
        stop: Those that are running, or still stopping, in the order to stop them.
        start: Those to start, in this order, each once the one before it has started.
        delay: The first start is to begin not before so many seconds from now, and not before all have
            stopped.
    """

    stop: tuple[C, ...]
    start: tuple[C, ...]
    delay: float


class Escalate(msgspec.Struct, Generic[C], frozen=True):
    """It has become too much: stop all children, then fail with the error of the child that just ended.

    Attributes:
        stop: The children that are left, running or not, in the order to stop them.
        restarts: How many restarts there were within the period.
    """

    stop: tuple[C, ...]
    restarts: int


Decision: TypeAlias = Forget | Expected | Restart[C] | Escalate[C]

_FORGET: Final = Forget()
_EXPECTED: Final = Expected()


class Supervision(Generic[C]):
    """The children of one supervisor, and the decisions about them."""

    __slots__ = ("_children", "_closed", "_down", "_restarted", "_spec", "_stopping", "_window")

    def __init__(self, spec: Supervise) -> None:
        self._spec = spec
        self._children: dict[C, RestartType] = {}  # in start order; a restart does not change it
        self._stopping: set[C] = set()  # told to stop by a restart
        self._down: set[C] = set()  # ended, to be started by a restart
        self._window: _Window[C | None] = _Window(spec.period)
        self._restarted = False  # and so the other fields know of no child yet
        self._closed = False

    def __len__(self) -> int:
        return len(self._children)

    @property
    def strategy(self) -> str:
        """Who goes with a child that fails."""
        return self._spec.strategy

    def __contains__(self, child: object) -> bool:
        return child in self._children

    def __iter__(self) -> Iterator[C]:
        """Yield the children in start order."""
        return iter(self._children)

    def __repr__(self) -> str:
        state = "closed" if self._closed else self._spec.strategy
        return (
            f"<Supervision {state}, {len(self._children)} children, {len(self._stopping)} stopping, "
            f"{len(self._down)} down, {len(self._window)} restarts counted>"
        )

    def add(self, child: C, restart: RestartType) -> None:
        """Take in a child that has just started; it is the last in start order.

        Raises:
            ValueError: It is a child already, the restart type does not exist, or the supervisor is closing.
        """
        if self._closed or child in self._children or restart not in RESTARTS:
            self._refuse(child, f"cannot be added{self._obstacle(child, restart)}")
        self._children[child] = restart

    def remove(self, child: C) -> None:
        """Let go of a child, whatever its state; a restart that was planned for it is off.

        Raises:
            ValueError: It is not a child.
        """
        if self._children.pop(child, None) is None:
            self._known(child)
        if self._restarted:
            self._forget_restarts(child)

    def starting(self, child: C) -> None:
        """Note that the start of a child has begun, as a restart had planned; it counts as running.

        Raises:
            ValueError: It is not a child, or was not to be started.
        """
        self._known(child)
        if child not in self._down:
            self._refuse(child, "cannot be started: it is not down")
        self._down.remove(child)

    def running(self, child: C) -> bool:
        """Whether a child is running or starting: neither down, nor stopping for a restart.

        Raises:
            ValueError: It is not a child.
        """
        self._known(child)
        return child not in self._down and child not in self._stopping

    def decide(self, child: C, ending: Ending, now: float, event: Hashable = None) -> Decision[C]:
        """Decide what follows from the end of a child, or from its failure to start again.

        A child that stops because `Restart.stop` names it ends with "shutdown"; if it ends with "stopped" or
        "killed" instead, somebody wants it gone for good, and it is forgotten.

        Args:
            child: The child.
            ending: How it ended.
            now: The present time, in seconds.
            event: What has ended it, if that may have ended others too; None if nothing has.

        Raises:
            ValueError: It is not a child, or cannot end that way. Nothing has changed.
        """
        restart = self._known(child)
        if ending not in _ENDINGS:
            self._refuse(child, f"cannot end with {ending!r}: choose from {', '.join(_ENDINGS)}")
        if child in self._stopping:
            return self._stopped(child, restart, ending)
        if self._closed or ending not in RESTARTS[restart]:
            self._forget(child)
            return _FORGET
        return self._restart(child, now, event)

    def close(self) -> tuple[C, ...]:
        """Return the children in the order to stop them; from now on each that ends is forgotten."""
        self._closed = True
        self._stopping.clear()
        self._down.clear()
        return tuple(reversed(self._children))

    def check(self) -> None:
        """Look whether what always holds between any two calls does.

        Raises:
            InvariantBroken: Something does not.
        """
        require(self._stopping.isdisjoint(self._down), self, "nobody is both stopping and down")
        concerned = len(self._stopping) + len(self._down)
        if concerned <= FEW:
            known = self._stopping | self._down <= self._children.keys()
            require(known, self, "whoever stops, or is down, is a child")
        require(concerned <= len(self._children), self, "no more children are not running than there are")
        require(
            len(self._window) <= self._spec.max_restarts,
            self,
            f"no more than {self._spec.max_restarts} restarts count within the period",
        )
        require(not (self._closed and concerned), self, "nobody comes back once all are to end")
        self._window.check()

    @property
    def down(self) -> frozenset[C]:
        """Those that have ended, and are to be started; for whoever checks that somebody is going to."""
        return frozenset(self._down)

    @property
    def stopping(self) -> frozenset[C]:
        """Those that were told to stop for the sake of a restart."""
        return frozenset(self._stopping)

    # ------------------------------------------------------------------------------------------ one case each

    def _stopped(self, child: C, restart: RestartType, ending: Ending) -> Decision[C]:
        """A child ended that a restart had told to stop."""
        if restart == "temporary" or ending in _FOR_GOOD:
            self._forget(child)
            return _FORGET
        self._stopping.remove(child)
        self._down.add(child)
        return _EXPECTED

    def _restart(self, child: C, now: float, event: Hashable) -> Restart[C] | Escalate[C]:
        """A child ended that is to be started again, if that does not become too often."""
        count = self._window.count(now)
        cause = None if event is None else (event, child)
        if count >= self._spec.max_restarts and not self._window.knows(cause):
            self._forget(child)
            return Escalate(stop=self.close(), restarts=count)
        self._restarted = True
        whose = child if self._spec.strategy == "one_for_one" else None
        backoff = self._spec.backoff
        delay = growing(backoff.delay, backoff.factor, backoff.max, self._window.own(whose) + 1)
        self._window.add(whose, now, delay, cause)
        self._down.add(child)
        affected = self._affected(child)
        stop = tuple(other for other in reversed(affected) if other not in self._down)
        self._stopping.update(stop)
        start = tuple(other for other in affected if self._children[other] != "temporary")
        return Restart(stop=stop, start=start, delay=delay)

    def _affected(self, child: C) -> list[C]:
        """Return the children that a restart of this one concerns, itself included, in start order."""
        match self._spec.strategy:
            case "one_for_one":
                return [child]
            case "one_for_all":
                return list(self._children)
            case "rest_for_one":
                # From the end, so that the cost is that of the rest, not of all.
                rest = list(takewhile(lambda other: other != child, reversed(self._children)))
                return [child, *reversed(rest)]

    def _forget(self, child: C) -> None:
        del self._children[child]
        self._forget_restarts(child)

    def _forget_restarts(self, child: C) -> None:
        self._window.forget(child)
        self._stopping.discard(child)
        self._down.discard(child)

    def _known(self, child: C) -> RestartType:
        restart = self._children.get(child)
        if restart is None:
            self._refuse(child, "is not a child of this supervisor: it was never added, or is forgotten")
        return restart

    def _obstacle(self, child: C, restart: str) -> str:
        if self._closed:
            return ": its supervisor is closing"
        if child in self._children:
            return ": it is a child already"
        return f" with restart={restart!r}: choose from {', '.join(RESTARTS)}"

    def _refuse(self, child: C, fault: str) -> NoReturn:
        raise ValueError(f"{shown(child)} {fault}")


class _Counted(Generic[C]):
    """A restart within the window."""

    __slots__ = ("cause", "free", "own", "until")

    def __init__(self, until: float, own: list[_Counted[C]], cause: _Cause, *, free: bool) -> None:
        self.until = until
        self.own = own  # the restarts of the same child, this one included
        self.cause = cause
        self.free = free  # it counts nothing: what has ended the child was counted for another


class _Window(Generic[C]):
    """The restarts that count, each until its child has run for `period` seconds."""

    __slots__ = ("_ended_by", "_free", "_heap", "_own", "_period", "_sequence")

    def __init__(self, period: float) -> None:
        self._period = period
        # By when they end, which may have been put off since they were entered; the number breaks ties.
        self._heap: list[tuple[float, int, _Counted[C]]] = []
        self._own: dict[C, list[_Counted[C]]] = {}
        self._ended_by: dict[Hashable, list[Hashable]] = {}  # whom each event has ended
        self._free = 0
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap) - self._free

    def count(self, now: float) -> int:
        """Return how many restarts count at present; what no longer does is dropped."""
        while self._heap and self._heap[0][0] < now:
            _, sequence, counted = self._heap[0]
            if counted.until < now:
                heappop(self._heap)
                self._drop(counted)
            else:
                heapreplace(self._heap, (counted.until, sequence, counted))
        return len(self)

    def _drop(self, counted: _Counted[C]) -> None:
        counted.own.remove(counted)
        self._free -= counted.free
        if counted.cause is not None:
            event, child = counted.cause
            self._ended_by[event].remove(child)
            if not self._ended_by[event]:
                del self._ended_by[event]

    def own(self, child: C) -> int:
        """Return how many restarts of this child count, as of the last `count`."""
        return len(self._own.get(child, ()))

    def knows(self, cause: _Cause) -> bool:
        """Return whether the event that has ended a child was counted for others, and only for others."""
        if cause is None:
            return False
        event, child = cause
        others = self._ended_by.get(event, ())
        return bool(others) and child not in others

    def add(self, child: C, now: float, delay: float, cause: _Cause = None) -> None:
        """Enter a restart of this child; its earlier ones count longer by the time for which it waits."""
        own = self._own.setdefault(child, [])
        if delay:
            for earlier in own:
                earlier.until += delay
        free = self.knows(cause)
        counted = _Counted(now + delay + self._period, own, cause, free=free)
        own.append(counted)
        self._free += free
        if cause is not None:
            self._ended_by.setdefault(cause[0], []).append(cause[1])
        self._sequence += 1
        heappush(self._heap, (counted.until, self._sequence, counted))

    def forget(self, child: C) -> None:
        """Let go of the child; its restarts count on."""
        self._own.pop(child, None)

    def check(self) -> None:
        """Look whether the counts are right; few restarts are looked at one by one.

        Raises:
            InvariantBroken: They are not.
        """
        heap = self._heap
        require(0 <= self._free <= len(heap), heap, "no more restarts are free than there are")
        if len(heap) <= FEW:
            require(self._free == sum(one.free for *_, one in heap), heap, "the free restarts were counted")
            require(
                all(not heap[index] < heap[(index - 1) // 2] for index in range(1, len(heap))),
                heap,
                "the restarts stand in the order of their ends",
            )
            require(all(when <= one.until for when, _, one in heap), heap, "no end was put forward")
            caused = sum(one.cause is not None for *_, one in heap)
            known = sum(map(len, self._ended_by.values()))
            require(caused == known, heap, "each event is known for the restarts that it has caused")
