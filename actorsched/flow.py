"""Iterators over what a runtime does: `map`, `as_completed` and `dead_letters`. Pipelines give them too.

A `Flow` is an object, never a native async generator: dropped by `break`, those are finalised late, and on
trio with a warning. It holds nothing but its end of a feed (`_system.feed`), where everything happens, so
that it is gone as soon as the loop over it is, and whatever is in flight for it is stopped then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from actorsched._core.window import Inlet
from actorsched._system.collector import Collector, Letterbox, Settling
from actorsched._system.line import Line
from actorsched._system.placing import check_arguments, host_of
from actorsched._system.source import is_async, opened
from actorsched._system.station import Station
from actorsched._system.system import THREADS
from actorsched._system.task import function_name
from actorsched.events import Event
from actorsched.exceptions import shown
from actorsched.options import task_options, usable_cpus
from actorsched.task import TaskRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Mapping

    from actorsched._system.feed import Feed
    from actorsched._system.nursery import Nursery
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched.messages import DeadLetter

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LETTERS = 1000
"""How many unread dead letters are kept for one reader."""


class Flow(AsyncIterator[T_co], Generic[T_co]):
    """What `map`, `as_completed`, `dead_letters` and pipelines give: to be iterated once, by one reader.

    Leaving the loop early, by `break`, `return` or an exception, stops what is in flight for it; the scope
    that it belongs to waits until that has stopped. Whoever wants to wait right there uses it as a context
    manager, or calls `aclose`:

        async with rt.map(fetch, urls) as pages:
            async for page in pages: ...
    """

    __slots__ = ("__weakref__", "_feed")

    def __init__(self, feed: object) -> None:
        self._feed = cast("Feed", feed)  # what it is concerns nobody outside

    def __repr__(self) -> str:
        return f"<Flow of {self._feed.title}{', over' if self._feed.over else ''}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        item: T_co = await self._feed.next()
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it, and return when everything in flight for it has stopped and its source is closed.

        Harmless when it is over. Whoever is cancelled meanwhile waits all the same.
        """
        await self._feed.aclose()

    def __del__(self) -> None:
        self._feed.dropped()


# -------------------------------------------------------------------------------------------------------- map


def mapped(
    system: System,
    nursery: Nursery,
    fn: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    limit: int | None,
    ordered: bool,
    options: Mapping[str, object],
) -> Flow[Any]:
    """The results of a function for each item; see `rt.map`."""
    checked = task_options(options)
    host = host_of(fn, checked)
    check_arguments(fn, (None,), checked.kwargs)
    if limit is None:
        limit = sensible_limit(system, host)
    check_count(limit, "limit", "how many items may be in flight, 1 or more, or None for a sensible bound")
    check_flag(ordered, "ordered")
    source = opened(items, "items")
    station = Station(fn, checked, host, workers=limit, capacity=limit, ordered=ordered)
    title = f"map of {checked.name or function_name(fn)!r}"
    return Flow(line(system, nursery, title, [station], source, inline=not is_async(source)))


def line(
    system: System, nursery: Nursery, title: str, stations: list[Station], source: Any, *, inline: bool
) -> Line:
    """A line in the context, and on behalf, of whoever calls this."""
    made = Line(
        kernel=system.kernel,
        title=title,
        system=system,
        nursery=nursery,
        context=copy_context(),
        stations=stations,
        source=source,
        inline=inline,
        inlet=Inlet(),
    )
    made.note_reader()
    return made


def sensible_limit(system: System, host: str) -> int:
    """How many items are in flight when nobody says: twice what can run at once, in the loop at least 16."""
    match host:
        case "loop":
            return max(16, 2 * (system.pools["loop"].limit or 0))
        case "thread":
            return 2 * min(THREADS, usable_cpus() + 4)
        case "auto":  # most likely it will be one of these
            return max(sensible_limit(system, "thread"), sensible_limit(system, "process"))
        case _:
            return 2 * system.hosts.max


def check_count(value: object, field: str, remedy: str) -> None:
    """Refuse what is no positive int.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field}={shown(value)} is of type {type(value).__name__}; give {remedy}")
    if value < 1:
        raise ValueError(f"{field}={value} is less than 1; give {remedy}")


def check_flag(value: object, field: str) -> None:
    """Refuse what is no bool.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{field}={shown(value)} is of type {type(value).__name__}; give True or False")


# ------------------------------------------------------------------------------- as_completed, dead letters


def completed(system: System, refs: Iterable[TaskRef[T]]) -> Flow[TaskRef[T]]:
    """Refs in the order in which their tasks settle; see `rt.as_completed`."""
    if not isinstance(refs, Iterable):
        raise TypeError(f"refs={shown(refs)} cannot be iterated; give the refs that spawn returned")
    pending: dict[TaskActor, Settling] = {}
    for ref in refs:
        if not isinstance(ref, TaskRef):
            raise TypeError(f"refs has {shown(ref)}, which is no TaskRef; give the refs that spawn returned")
        task = ref._task
        if task.kernel is not system.kernel:
            raise ValueError(
                f"task {task.name!r} belongs to another Runtime; use the as_completed of that one"
            )
        pending[task] = Settling(task, ref)
    title = f"as_completed of {len(pending)} tasks"
    collector = Collector(kernel=system.kernel, title=title, pending=pending, settled=deque())
    collector.watch()
    return Flow(collector)


class Events(Flow[Event]):
    """What `rt.events` gives: to be iterated once, by one reader."""

    __slots__ = ()

    @property
    def lost(self) -> int:
        """How many events had to make room for later ones before they were read."""
        feed: Any = self._feed
        lost: int = feed.lost
        return lost


def events(system: System, nursery: Nursery, kinds: frozenset[str] | None, capacity: int) -> Events:
    """Events from now on; see `rt.events`."""
    from actorsched._system.event_bus import EventFeed

    check_count(capacity, "capacity", "how many unread events are kept, 1 or more")
    system.check_open("events()")
    feed = EventFeed(
        kernel=system.kernel,
        title="events",
        bus=system.bus,
        nursery=nursery,
        kinds=kinds,
        events=deque(maxlen=capacity),
        late=True,
    )
    feed.set_up()
    return Events(feed)


def dead_letters(system: System, nursery: Nursery) -> Flow[DeadLetter]:
    """Dead letters from now on; see `rt.dead_letters`."""
    system.check_open("dead_letters()")
    letterbox = Letterbox(
        kernel=system.kernel,
        title="dead letters",
        office=system.kernel.office,
        nursery=nursery,
        letters=deque(maxlen=LETTERS),
        late=True,
    )
    letterbox.set_up()
    return Flow(letterbox)
