"""Several participants, and the one order in which they reach their sequence points.

The law of this module: it orders, and knows nothing of what is ordered. It works in every event loop, in a
simulation as well, and for whoever is in that loop: participants that the script has started itself, tasks
of a runtime, handlers of actors.

How it works: a point is reached when its turn has come, which is when the one before it is over. A point that
is awaited is a moment, and over at once; one that is entered, with `async with`, lasts as long as the block.
A point of several parties is reached when all of them have come, and over when it is for all.

A script in which nobody has reached a point for some time, although somebody waits for one, is stuck, and
says so. In a simulation that time takes none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from actorsched.durations import Duration, describe, seconds
from actorsched.exceptions import ActorschedError, shown
from actorsched.testing.leaks import Place, origin

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Script", "ScriptError"]


class ScriptError(ActorschedError, AssertionError):
    """What happened is not what the script says."""


class Script:
    """A nursery of participants, whose steps come in one order.

    A script whose points are numbered goes on as long as somebody comes to the next one. One whose points
    have names has those, in this order, and all of them have to be reached.

        async with Script() as script:
            script.start(reader, script)     # await script(1); ...; await script(3)
            script.start(writer, script)     # async with script(2): ...

    Left, it waits for its participants. One that fails has the others cancelled, and its error leaves in an
    `ExceptionGroup`, as from every nursery.

    Args:
        points: Their names, in order. None for points that are numbered, from 1 on.
        within: How long somebody may wait for a point while none is reached.

    Raises:
        TypeError: A name is no text.
        ValueError: There are two points of one name; or `within` is no duration.
    """

    def __init__(self, *points: str, within: Duration = "5s") -> None:
        for point in points:
            if not isinstance(point, str):
                raise TypeError(f"point {shown(point)} is of type {type(point).__name__}; give a name")
            if points.count(point) > 1:
                raise ValueError(f"point {point!r} is there twice; each has one place in the order")
        self._names = points
        self._within = seconds(within, field="within")
        self._points: dict[int, Point] = {}
        self._next = 1
        self._began: float | None = None
        self._progress = 0.0
        self._group: TaskGroup | None = None
        self._participants: dict[str, str] = {}
        self._broken: ScriptError | None = None
        self._breaker = ""
        self._over = False

    def __repr__(self) -> str:
        return f"<script at {self._title(self._next)}, {len(self._participants)} participants>"

    def __str__(self) -> str:
        """What has happened: a line for each point, with who reached it, and when."""
        points = [self._points[number] for number in sorted(self._points)]
        return "\n".join(line for point in points for line in point.lines(self._began or 0.0))

    # ----------------------------------------------------------------------------------- participants

    async def __aenter__(self) -> Self:
        if self._group is not None or self._over:
            raise ScriptError("a script was entered a second time; make a new one for each run")
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._clock()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        group, self._group = self._group, None
        try:
            answer = await group.__aexit__(kind, error, traceback)
        finally:
            self._over = True
        if error is None:
            self._check()
        return answer

    def start(self, function: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """Start a participant: an async function, which runs until it ends, or another one fails.

        Args:
            function: The function.
            args: Its arguments.
            name: What to call it; the name of the function, if none is given.

        Raises:
            ScriptError: The script is not entered, or was left.
            ValueError: There is a participant of that name.
        """
        title = name or str(getattr(function, "__name__", "participant"))
        if self._group is None:
            raise ScriptError(f"participant {title!r} was started outside of `async with` its script")
        if title in self._participants:
            if name is not None:
                raise ValueError(f"name={name!r} is that of another participant; give each its own")
            title = f"{title}-{sum(each.startswith(title) for each in self._participants) + 1}"
        self._participants[title] = "is on its way"
        self._group.start_soon(self._play, title, function, args, name=title)

    async def _play(
        self, name: str, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        try:
            await function(*args)
        except Exception:
            self._participants[name] = "has failed"
            raise
        except BaseException:
            self._participants[name] = "was cancelled"
            raise
        self._participants[name] = "has ended"

    # ----------------------------------------------------------------------------------------- points

    def __call__(self, point: int | str, parties: int = 1) -> Step:
        """A sequence point, to be awaited, or entered with `async with`.

        Args:
            point: Its number, from 1 on, or its name.
            parties: How many have to come before it is reached: a barrier, if they are two or more.

        Raises:
            TypeError: The point is neither a number nor a name.
            ValueError: There is no such point; or it has another number of parties.
        """
        number = self._number(point)
        if parties < 1:
            raise ValueError(f"parties={parties} of point {point!r}: give 1 or more")
        known = self._points.get(number)
        if known is None:
            known = self._points[number] = Point(number, self._title(number), parties)
        elif known.parties != parties:
            raise ValueError(
                f"{known.title} has parties={known.parties}, and now {parties}; say the same everywhere"
            )
        return Step(self, known)

    def _number(self, point: int | str) -> int:
        if isinstance(point, bool) or not isinstance(point, (int, str)):
            raise TypeError(
                f"point {shown(point)} is of type {type(point).__name__}; give a number or a name"
            )
        if isinstance(point, str):
            if point not in self._names:
                known = ", ".join(map(repr, self._names)) or "none, as it was made without"
                raise ValueError(f"there is no point {point!r} in this script; its names are: {known}")
            return self._names.index(point) + 1
        if point < 1 or (self._names and point > len(self._names)):
            raise ValueError(f"there is no point {point} in this script; they are numbered from 1 on")
        return point

    def _title(self, number: int) -> str:
        named = number <= len(self._names)
        return f"point {self._names[number - 1]!r}" if named else f"point {number}"

    def _clock(self) -> float:
        """The present time of the loop; the first time that it is asked for, the script begins."""
        now = anyio.current_time()
        if self._began is None:
            self._began = self._progress = now
        return now

    async def arrive(self, point: Point) -> str:
        """Wait until a point is reached. Answers with who has.

        Raises:
            ScriptError: It was reached before; or the script is over, or stuck.
        """
        now = self._clock()
        who = self._who()
        if self._broken is not None:
            raise ScriptError(f"{who!r} came to {point.title} when the script was broken: {self._broken}")
        if self._over and self._participants:
            raise ScriptError(f"{who!r} came to {point.title} when the script was over")
        if len(point.came) == point.parties:
            raise ScriptError(
                f"{point.title} was reached a second time, by {who!r}; before, {point.said()}:\n{self}"
            )
        visit = Visit(who, now, origin())
        point.came.append(visit)
        self._says(who, f"waits for {point.title}")
        try:
            await self._turn(point, who)
        except BaseException:
            if visit.reached is None:
                point.came.remove(visit)
            raise
        self._says(who, "is on its way")
        return who

    async def _turn(self, point: Point, who: str) -> None:
        self._look()
        while not point.open.is_set():
            with anyio.CancelScope(deadline=self._progress + self._within):
                await point.open.wait()
            if not point.open.is_set() and anyio.current_time() >= self._progress + self._within:
                await self._stuck(who)

    def leave(self, point: Point) -> None:
        """One of the parties of a point has done what it does there."""
        point.left += 1
        self._progress = self._clock()
        if point.left == point.parties:
            self._next = point.number + 1
            self._look()

    def _look(self) -> None:
        """Is the next point reached now?"""
        point = self._points.get(self._next)
        if point is not None and len(point.came) == point.parties and not point.open.is_set():
            self._progress = now = self._clock()
            for visit in point.came:
                visit.reached = now
            point.open.set()

    # ----------------------------------------------------------------------------------- what is wrong

    async def _stuck(self, who: str) -> None:
        if self._broken is None:
            self._breaker = who
            self._broken = ScriptError(
                f"the script is stuck: for {describe(self._within)}, {self._missing()}\n{self._state()}"
            )
        elif {who, self._breaker} <= set(self._participants):
            await anyio.sleep_forever()  # the other one has said it, and has this one cancelled
        raise self._broken

    def _missing(self) -> str:
        point = self._points.get(self._next)
        title = self._title(self._next)
        if point is None or not point.came:
            return f"nobody has come to {title}"
        if point.open.is_set():
            inside = ", ".join(repr(visit.who) for visit in point.came)
            return f"nobody has left {title}, where there is {inside}"
        return f"{len(point.came)} of {point.parties} have come to {title}"

    def _state(self) -> str:
        lines = [f"  {name!r} {state}" for name, state in self._participants.items()]
        known = set(self._participants)
        for point in self._points.values():
            lines += [
                f"  {visit.who!r} waits for {point.title} at {visit.place}"
                for visit in point.came
                if visit.reached is None and visit.who not in known
            ]
        return "\n".join([*lines, "so far:", str(self) or "(nothing)"])

    def _check(self) -> None:
        """The script is over: nothing was left out."""
        if self._next <= len(self._names):
            raise ScriptError(f"the script has ended, but {self._missing()}\n{self._state()}")

    def _says(self, who: str, state: str) -> None:
        if who in self._participants:
            self._participants[who] = state

    def _who(self) -> str:
        name = anyio.get_current_task().name or "somebody"
        if name in self._participants:
            return name
        from actorsched._kernel.current import CURRENT

        run: Any = CURRENT.get()
        return name if run is None else str(getattr(run, "title", run))


class Visit:
    """Somebody has come to a point."""

    __slots__ = ("came", "place", "reached", "who")

    def __init__(self, who: str, came: float, place: Place | None) -> None:
        self.who: str = who
        self.came: float = came
        self.place: Place | None = place
        self.reached: float | None = None

    def __repr__(self) -> str:
        return f"<visit of {self.who!r}>"


class Point:
    """One sequence point of a script."""

    def __init__(self, number: int, title: str, parties: int) -> None:
        self.number: int = number
        self.title: str = title
        self.parties: int = parties
        self.came: list[Visit] = []
        self.left: int = 0
        self.open: anyio.Event = anyio.Event()

    def __repr__(self) -> str:
        return f"<{self.title}, {len(self.came)} of {self.parties} have come>"

    def said(self) -> str:
        """Who has reached it, and where."""
        return "; ".join(f"{visit.who!r} did at {visit.place}" for visit in self.came)

    def lines(self, began: float) -> list[str]:
        """A line for each of its parties."""
        return [
            f"{self.title}: {visit.who}"
            + (" waits" if visit.reached is None else f" at {visit.reached - began:.3f} s")
            + (f", came at {visit.came - began:.3f} s" if visit.reached not in (None, visit.came) else "")
            for visit in self.came
        ]


class Step:
    """A sequence point, to be awaited once, or entered once with `async with`."""

    __slots__ = ("_point", "_script")

    def __init__(self, script: Script, point: Point) -> None:
        self._script = script
        self._point = point

    def __repr__(self) -> str:
        return f"<step to {self._point!r}>"

    def __await__(self) -> Generator[Any, Any, None]:
        return self._pass().__await__()

    async def _pass(self) -> None:
        await self._script.arrive(self._point)
        self._script.leave(self._point)

    async def __aenter__(self) -> None:
        await self._script.arrive(self._point)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._script.leave(self._point)
