"""Who holds which resource, who waits for it, and who is next.

The law of this module: a book of units, and the rule by which they are handed on. It knows no task and no
time, and looks for no circle of waits: it says who is in whose way (`blockers`, `waiters_on`), and to find
a circle is the business of others (`deadlock`, and the probes of the system).

A *resource* has a name and a number of units. A *request* is one wish, of one owner, for one unit of each of
some resources: it has all of them, or none ("acquired together").

**Who is next.** Requests that wait stand in one order: the more urgent first, and equals first in, first out.
A unit that is given back goes at once to the first in this order that has all it asks for then. A newcomer is
treated like one that waits, at the place that its urgency gives it. For requests for one resource this is
the textbook's lock, or semaphore: a unit is taken if there is a free one, for then nobody can be waiting for
it; otherwise one waits.

**Passing over.** A request for several resources may lack one of them when another is free. That one then
goes to somebody behind it: idle units help nobody. The request has been *passed over* when this took the last
unit that it could have had; if one is left for it, no harm was done. A request that has been passed over 16
times (`_BYPASSES`) *keeps* what it asks for: of each of its resources, everybody behind it leaves one unit
free for it, until it has them all. So nobody behind it can starve it; those who are more urgent still go
first. Requests that keep stand in the same order, so the first of them is hindered by nobody but holders.

**The danger of keeping.** A holder may be unable to give back because it waits for somebody who needs just
what is kept: a deadlock that the table alone has made. It cannot see that, since part of the circle may be
waits that are not in its book (a holder awaits another task). Therefore a request that keeps is among the
`blockers` of those behind it; `on_keep` tells when one begins to, because that is the only way in which one
who waits already can come to stand in the way of others; and `waive` makes it stop. A circle that
leads through a request that keeps is to be opened so, and is nobody's error.

How it works: those who wait for a resource are in a sorted list of places (urgency, arrival number, request);
a request for several resources is in the list of each. Serving walks along the lists of what became free, in
their common order, for as long as somebody there could have a unit. With requests for one resource, that is
the head of one list: a search in O(log n), and the closing of a gap in memory, which takes a microsecond or
two among 10,000. A lazy heap would save the gap, but cannot be walked along past those who lack something.
To count who was passed over, the walk goes back from who was served to the next who keeps; so no request is
met more than 16 times.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from actorsched._core.invariants import require
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

__all__ = ["LockTable", "Request"]

_BYPASSES: Final = 16
"""How often a request may be passed over."""

T = TypeVar("T", bound="Hashable")


class Request(msgspec.Struct, Generic[T], eq=False):
    """One wish of one owner for one unit of each of some resources; equal to nothing but itself.

    It may be used again when it neither waits nor holds: then it is a new wish, behind its equals.

    Attributes:
        owner: Whose wish it is. An owner may have any number of them.
        names: What it is for, each once.
    """

    owner: T
    names: tuple[str, ...]
    _holds: bool = False
    _place: _Place | None = None
    _passed_over: int = 0

    @property
    def holds(self) -> bool:
        """Whether it has what it is for."""
        return self._holds

    @property
    def waits(self) -> bool:
        """Whether it waits for what it is for."""
        return self._place is not None

    @property
    def keeps(self) -> bool:
        """Whether it waits, and units are kept free for it."""
        return self._passed_over >= _BYPASSES

    def __repr__(self) -> str:
        state = "holds" if self.holds else "keeps" if self.keeps else "waits for" if self.waits else "wants"
        return f"<Request: {shown(self.owner)} {state} {', '.join(self.names)}>"


_Place: TypeAlias = tuple[Any, int, Request[Any]]  # urgency, arrival number, who


def _place_of(request: Request[Any]) -> _Place:
    """Return the place of a request that waits."""
    assert request._place is not None
    return request._place


class _Resource(Generic[T]):
    """The units of one name."""

    __slots__ = ("capacity", "free", "holders", "keepers", "queue")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity  # those that are kept for somebody included
        self.holders: dict[Request[T], None] = {}
        self.queue: list[_Place] = []
        self.keepers: list[_Place] = []  # those of the queue who keep a unit

    def within_reach(self, place: _Place) -> bool:
        """Whether whoever is at this place could have a unit now."""
        return self.free > bisect_left(self.keepers, place)

    def reaches(self, index: int) -> bool:
        """Whether somebody is at this index of the queue who could have a unit. If not, nobody after is."""
        return self.free > 0 and index < len(self.queue) and self.within_reach(self.queue[index])

    def passed_over(self, place: _Place) -> Iterable[Request[T]]:
        """Find those who can have no unit any longer, now that whoever is at this place has taken one.

        They are those since the last who keeps, if all the units that are left are kept for those before it.
        """
        if self.free == bisect_left(self.keepers, place):
            for index in range(bisect_left(self.queue, place) - 1, -1, -1):
                request = self.queue[index][2]
                if request.keeps:
                    return
                yield request


class LockTable(Generic[T]):
    """The resources of one runtime.

    Args:
        urgency: By what owners that wait are ordered: less is more urgent. Asked when one begins to wait, by
            `changed` and by `reorder`.
        on_keep: Called at the end of an operation with each request that has begun to keep units free, or
            keeps them from others than before. It may look at the table, but not change it.

    Attributes:
        urgency: May be replaced; then call `reorder`.
    """

    __slots__ = ("_news", "_on_keep", "_requests", "_resources", "_sequence", "urgency")

    def __init__(
        self, urgency: Callable[[T], Any], on_keep: Callable[[Request[T]], object] = lambda _: None
    ) -> None:
        self.urgency = urgency
        self._on_keep = on_keep
        self._resources: dict[str, _Resource[T]] = {}
        # Those that wait or hold; nearly every owner has one, and for that no dictionary need be made.
        self._requests: dict[T, Request[T] | dict[Request[T], None]] = {}
        self._sequence = 0
        self._news: dict[Request[T], None] = {}  # whom `on_keep` has to be told of

    def __repr__(self) -> str:
        parts = [f"{name} {r.free}/{r.capacity} free" for name, r in self._resources.items()]
        return f"<LockTable {', '.join(parts)}>"

    # ------------------------------------------------------------------------------------------ resources

    def declare(self, name: str, capacity: int) -> None:
        """Make a resource known; nothing happens if it is, with the same capacity.

        Raises:
            ValueError: The capacity is less than 1, or not the one that it has. Nothing has changed.
        """
        known = self._resources.get(name)
        if known is not None and known.capacity != capacity:
            raise ValueError(
                f"the resource {name!r} cannot be declared with capacity {capacity}: it has {known.capacity} "
                "already, and a capacity does not change; declare it once, or everywhere alike"
            )
        if capacity < 1:
            raise ValueError(
                f"the resource {name!r} cannot have a capacity of {capacity}; give it at least 1 unit"
            )
        if known is None:
            self._resources[name] = _Resource(capacity)

    @property
    def names(self) -> tuple[str, ...]:
        """The resources, in the order in which they were declared."""
        return tuple(self._resources)

    @property
    def busy(self) -> int:
        """How many owners hold something, or wait."""
        return len(self._requests)

    def capacity(self, name: str) -> int:
        """Return how many units there are.

        Raises:
            ValueError: There is no such resource.
        """
        return self._resource(name).capacity

    def holders(self, name: str) -> list[T]:
        """Return the owners that hold a unit, once for each, in the order in which they got it.

        Raises:
            ValueError: There is no such resource.
        """
        return [request.owner for request in self._resource(name).holders]

    def waiting(self, name: str) -> list[T]:
        """Return the owners that wait for a unit, once for each request, in the order of serving.

        Some of them may lack nothing but another resource.

        Raises:
            ValueError: There is no such resource.
        """
        return [place[2].owner for place in self._resource(name).queue]

    # --------------------------------------------------------------------------------- having and waiting

    def take(self, request: Request[T]) -> bool:
        """Take a unit of the one resource that a request is for, if there is one for the asking.

        Returns:
            Whether it holds it; if not, nothing has changed.
        """
        resource = self._resources.get(request.names[0])
        if resource is None or not resource.free or resource.queue or request._holds:
            return False
        resource.free -= 1
        resource.holders[request] = None
        request._holds = True
        known = self._requests.setdefault(request.owner, request)
        if known is not request:
            self._add_to(known, request)
        return True

    def put_back(self, request: Request[T]) -> bool:
        """Give back the one unit that a request holds, if nobody waits for one.

        Returns:
            Whether it is given back; if not, nothing has changed.
        """
        if len(request.names) != 1 or not request._holds:
            return False
        resource = self._resources[request.names[0]]
        if resource.queue:
            return False
        request._holds = False
        del resource.holders[request]
        resource.free += 1
        self._forget(request)
        return True

    def acquire(self, request: Request[T]) -> bool:
        """Take a unit of each resource, or begin to wait for them, holding none of them.

        Returns:
            Whether it holds them.

        Raises:
            ValueError: It holds them or waits already, is for nothing or for something twice, or there is no
                such resource. Nothing has changed.
        """
        return (len(request.names) == 1 and self.take(request)) or self._acquire(request)

    def release(self, request: Request[T]) -> list[Request[T]]:
        """Give back what a request holds.

        Returns:
            Those that hold what they are for now, because of this, in the order in which they were served.

        Raises:
            ValueError: It holds nothing. Nothing has changed.
        """
        if not request._holds:
            raise ValueError(f"{request!r} cannot be released: it holds nothing; acquire first, release once")
        request._holds = False
        self._forget(request)
        names = request.names
        if len(names) == 1:
            resource = self._resources[names[0]]
            del resource.holders[request]
            resource.free += 1
            return self._serve([resource]) if resource.queue else []
        resources = self._wanted(request)
        for resource in resources:
            del resource.holders[request]
            resource.free += 1
        return self._serve(resources)

    def withdraw(self, request: Request[T]) -> list[Request[T]]:
        """Make a request wait no longer.

        Returns:
            Those that hold what they are for now, because it was kept for this one.

        Raises:
            ValueError: It does not wait. Nothing has changed.
        """
        if request._place is None:
            raise ValueError(
                f"{request!r} cannot be withdrawn: it does not wait; one that holds is to be released"
            )
        kept = request.keeps
        self._leave(request)
        request._place = None
        request._passed_over = 0
        self._forget(request)
        return self._serve(self._wanted(request)) if kept else []

    def waive(self, request: Request[T]) -> list[Request[T]]:
        """Keep nothing for a request any longer, until it has been passed over as often again.

        Nothing happens when nothing is.

        Returns:
            Those that hold what they are for now, because of this.
        """
        if not request.keeps:
            return []
        place = self._leave(request)
        request._passed_over = 0
        self._enter(place)
        return self._serve(self._wanted(request))

    # ------------------------------------------------------------------------------------------ urgency

    def changed(self, owner: T) -> list[Request[T]]:
        """Note that the urgency of an owner has changed. Among its new equals, its arrival decides.

        Returns:
            Those that hold what they are for now: it was kept from them by somebody whom they are now before.
        """
        moved = [request for request in self.requests_of(owner) if self._move(request)]
        return self._rearranged(resource for request in moved for resource in self._wanted(request))

    def reorder(self) -> list[Request[T]]:
        """Ask for the urgency of all that wait: what is asked, or what it answers, has changed altogether.

        Returns:
            As `changed`.
        """
        everybody = dict.fromkeys(place[2] for r in self._resources.values() for place in r.queue)
        places = [self._leave(request) for request in everybody]
        for place in places:
            self._enter((self.urgency(place[2].owner), *place[1:]))
        return self._rearranged(self._resources.values())

    # --------------------------------------------------------------------------------------- who and whom

    def requests_of(self, owner: T) -> tuple[Request[T], ...]:
        """Return the requests of an owner that wait or hold, in the order in which they were made."""
        found = self._requests.get(owner)
        if found is None:
            return ()
        return (found,) if isinstance(found, Request) else tuple(found)

    def held_by(self, owner: T) -> tuple[str, ...]:
        """Return what an owner holds, a name for each unit."""
        return tuple(name for request in self.requests_of(owner) if request._holds for name in request.names)

    def blockers(self, request: Request[T]) -> list[tuple[str, list[T]]]:
        """Return what has to happen, all of it, before a request that waits can be served.

        Returns:
            Pairs of a resource and owners of whom one has to let go. First the resources of which it cannot
            have a unit now, with their holders. Then, each by itself, those before it that keep a unit,
            whether or not one is free now: what is given back goes to them first. (With several units
            there may be enough for all; that they are named is on the safe side.) Empty for a request that
            does not wait.
        """
        place = request._place
        if place is None:
            return []
        held: list[tuple[str, list[T]]] = []
        kept: list[tuple[str, list[T]]] = []
        for name, resource in zip(request.names, self._wanted(request), strict=True):
            if resource.holders and not resource.within_reach(place):
                held.append((name, self.holders(name)))
            before = bisect_left(resource.keepers, place)
            kept += [(name, [keeper[2].owner]) for keeper in resource.keepers[:before]]
        return held + kept

    def waiters_on(self, owner: T) -> list[T]:
        """Return the other owners that wait for something that this one holds, each once."""
        found: dict[T, None] = {}
        for resource in self._held_resources(owner):
            found |= {place[2].owner: None for place in resource.queue if not resource.within_reach(place)}
        found.pop(owner, None)
        return list(found)

    def foremost_waiter_on(self, owner: T) -> T | None:
        """Return the most urgent of `waiters_on`, without looking at all of them; None for nobody."""
        places = (self._foremost(resource, owner) for resource in self._held_resources(owner))
        best = min((place for place in places if place is not None), default=None)
        return None if best is None else best[2].owner

    def check(self) -> None:
        """Look whether what always holds between two operations does; in time proportional to the requests.

        Raises:
            InvariantBroken: Something does not.
        """
        requests = {request: None for owner in self._requests for request in self.requests_of(owner)}
        for name, resource in self._resources.items():
            self._check_resource(name, resource, requests)
        units = sum(len(resource.holders) + len(resource.queue) for resource in self._resources.values())
        wanted = sum(len(request.names) for request in requests)
        require(units == wanted, self, "each request holds, or waits for, each of its resources")
        for request in requests:
            require(request._holds != request.waits, request, "it either holds or waits")
            most = _BYPASSES if request.waits else 0
            require(request._passed_over <= most, request, f"it was passed over {most} times at most")
            served = request.waits and self._served_at(_place_of(request))
            require(not served, request, "nobody waits for what could be had")
        require(not self._news, self, "whoever began to keep something free was told of")

    def _check_resource(self, name: str, resource: _Resource[T], requests: dict[Request[T], None]) -> None:
        free = resource.capacity - len(resource.holders)
        require(free >= 0, self, f"there are no more holders of {name!r} than units")
        require(resource.free == free, self, f"{free} units of {name!r} are free, as was counted")
        require(resource.queue == sorted(resource.queue), self, f"those who wait for {name!r} are in order")
        keepers = [place for place in resource.queue if place[2].keeps]
        require(resource.keepers == keepers, self, f"those who keep {name!r} are among those who wait for it")
        require(all(request._holds for request in resource.holders), self, f"who holds {name!r} knows it")
        known = all(place[2]._place is place for place in resource.queue)
        require(known, self, f"who waits for {name!r} knows its place")
        for request in (*resource.holders, *(place[2] for place in resource.queue)):
            require(request in requests, request, "its owner knows of it")
            require(name in request.names, request, f"it is for {name!r}")

    # ------------------------------------------------------------------------------------------ the inside

    def _acquire(self, request: Request[T]) -> bool:
        """Acquire when there is something to consider."""
        if request._holds or request._place is not None:
            raise ValueError(f"{request!r} cannot be acquired: it was already; make another request")
        if not request.names or len(set(request.names)) < len(request.names):
            raise ValueError(f"{request!r} cannot be acquired: name what it is for, and each name once")
        self._wanted(request)  # refuses what does not exist
        self._sequence += 1
        place: _Place = (self.urgency(request.owner), self._sequence, request)
        known = self._requests.setdefault(request.owner, request)
        if known is not request:
            self._add_to(known, request)
        served = self._served_at(place)
        if served:
            self._take(place)
            self._tell()
        else:
            self._enter(place)
        return served

    def _served_at(self, place: _Place) -> bool:
        """Whether all that this request is for can be had at this place."""
        return all(resource.within_reach(place) for resource in self._wanted(place[2]))

    def _take(self, place: _Place) -> None:
        """Give a request, which is in no queue, what it is for."""
        request = place[2]
        passed_over: dict[Request[T], None] = {}
        for resource in self._wanted(request):
            resource.free -= 1
            resource.holders[request] = None
            if resource.queue:
                passed_over |= dict.fromkeys(resource.passed_over(place))
        request._holds = True
        request._place = None
        request._passed_over = 0
        for other in passed_over:
            other._passed_over += 1
            if other.keeps:
                self._news[other] = None
                for resource in self._wanted(other):
                    insort(resource.keepers, _place_of(other))

    def _serve(self, resources: list[_Resource[T]]) -> list[Request[T]]:
        """Hand on what is free of these resources: to the first who then has all it is for, and so on."""
        served: list[Request[T]] = []
        passed = dict.fromkeys(resources, 0)  # how many in each queue have been looked at, and wait on
        while heads := [r.queue[n] for r, n in passed.items() if r.reaches(n)]:
            place = min(heads)
            if self._served_at(place):
                self._leave(place[2])
                self._take(place)
                served.append(place[2])
                continue
            for resource, number in passed.items():
                if number < len(resource.queue) and resource.queue[number] is place:
                    passed[resource] = number + 1
        if self._news:
            self._tell()
        return served

    def _enter(self, place: _Place) -> None:
        """Put a request at its place in every queue."""
        request = place[2]
        request._place = place
        for resource in self._wanted(request):
            insort(resource.queue, place)
            if request.keeps:
                insort(resource.keepers, place)

    def _leave(self, request: Request[T]) -> _Place:
        """Take a request out of every queue; it still knows its place."""
        place = _place_of(request)
        for resource in self._wanted(request):
            del resource.queue[bisect_left(resource.queue, place)]
            if request.keeps:
                del resource.keepers[bisect_left(resource.keepers, place)]
        return place

    def _move(self, request: Request[T]) -> bool:
        """Bring a request to the place that it should have, if it waits. Answers whether it moved."""
        place = request._place
        if place is None or (urgency := self.urgency(request.owner)) == place[0]:
            return False
        self._leave(request)
        self._enter((urgency, *place[1:]))
        return True

    def _rearranged(self, resources: Iterable[_Resource[T]]) -> list[Request[T]]:
        """Serve those who are now before somebody who kept something from them."""
        concerned = [resource for resource in dict.fromkeys(resources) if resource.keepers]
        served = self._serve(concerned)
        self._news = {keeper[2]: None for resource in concerned for keeper in resource.keepers}
        self._tell()
        return served

    def _tell(self) -> None:
        """Say who has begun to keep something from others."""
        news, self._news = self._news, {}
        for request in sorted((request for request in news if request.keeps), key=_place_of):
            self._on_keep(request)

    def _add_to(self, known: Request[T] | dict[Request[T], None], request: Request[T]) -> None:
        """Note a request of an owner that has others."""
        if isinstance(known, Request):
            self._requests[request.owner] = {known: None, request: None}
        else:
            known[request] = None

    def _forget(self, request: Request[T]) -> None:
        """Note that a request neither holds nor waits."""
        known = self._requests.pop(request.owner)
        if known is not request:
            assert isinstance(known, dict)
            del known[request]
            if known:
                self._requests[request.owner] = known

    def _held_resources(self, owner: T) -> Iterable[_Resource[T]]:
        return dict.fromkeys(self._resources[name] for name in self.held_by(owner))

    def _foremost(self, resource: _Resource[T], owner: T) -> _Place | None:
        """Return the first of a queue who can have no unit, and is not this one."""
        waiting = (p for p in resource.queue if p[2].owner != owner and not resource.within_reach(p))
        return next(waiting, None)

    def _wanted(self, request: Request[T]) -> list[_Resource[T]]:
        return [self._resource(name) for name in request.names]

    def _resource(self, name: str) -> _Resource[T]:
        try:
            return self._resources[name]
        except KeyError:
            known = ", ".join(map(repr, self._resources)) or "none"
            raise ValueError(
                f"there is no resource {name!r}; declare it first; those that are declared: {known}"
            ) from None
