"""The Line actor: a source, one station after the other, and a reader at the end. A `map` has one station.

Each station has a window (`_core.window`) onto its work: the tasks that run for it, and the results that the
next has not taken. Whenever something changes, whoever has room takes from the one before: the last station
first, so that one look along the line moves everything that can move. Nobody is ever sent anything that it
has no room for; an endless source before a slow reader simply stands still.

The tasks are ordinary tasks, spawned and owned by the line: it hears `Settled` from each. A failure ends the
stream at its place. What would have come after it is cancelled, the source is closed, and the reader gets
what came before it, and then, when everything has stopped, the error.

A line begins with the first item that is wanted. It ends when its stream does, when its iterator is closed,
cancelled while it waits, or dropped, and when its scope is left; nothing of it is left then.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._core.window import NOTHING, Entry, Inlet, Window
from actorsched._kernel.current import CURRENT
from actorsched._system.asking import aside
from actorsched._system.feed import Feed
from actorsched._system.source import Puller, Source
from actorsched.exceptions import RuntimeClosed, TaskCancelled
from actorsched.messages import Cancel, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorsched._system.nursery import Nursery
    from actorsched._system.station import Station
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter


class Advance(msgspec.Struct, frozen=True, eq=False):
    """Anyone to line: something has changed; move on whatever can be moved."""


_ADVANCE = Advance()
_AT_ONCE = 64
"""How many items of a plain source are read before the loop may breathe."""


class Line(Feed, kw_only=True):
    """One pass of a source's items through stations. Made for one reader."""

    system: System
    nursery: Nursery
    context: Context
    """Where tasks and source run: in copies of it."""
    stations: list[Station]
    source: Source | None
    inline: bool
    """Whether the source is read by the reader itself."""
    inlet: Inlet
    gates: ClassVar[bool] = False
    open: ClassVar[bool] = True
    cancelling: ClassVar[bool] = False
    live: dict[Behaviour, Any] = {}
    """Tasks that have not settled, each with its station and entry, if it is that of an entry."""
    puller: Puller | None = None
    begun: bool = False
    dry: bool = False
    """Whether no more items of the source are wanted."""
    closing: bool = False
    failure: BaseException | None = None
    """What ends the stream, until the reader has it."""

    # ------------------------------------------------------------------------------------- the reader

    async def next(self) -> Any:
        """The next result.

        Raises:
            StopAsyncIteration: There are no more.
            BaseException: The failure whose place this is.
        """
        self.check_reader()
        outlet = self.stations[-1].window
        try:
            if not self.begun:
                self._begin()
            while True:
                hungry = self.inline and self._read_inline()
                result = outlet.take()
                if result is not NOTHING:
                    if not self.inline:
                        self.kernel.post(self, _ADVANCE)
                    return result
                self._see_whether_over()
                if self.over:
                    break
                if hungry:
                    await self.kernel.backend.breathe()
                else:
                    await self.wait()
        except GeneratorExit:
            self.close()
            raise
        except BaseException:
            await self.aclose()
            raise
        self._raise_failure()
        raise StopAsyncIteration

    def _begin(self) -> None:
        if self.closing:
            return
        self.system.check_open(self.title, self.nursery)
        self.begun = True
        self.nursery.feeds[self] = None
        if not self.inline:
            self._start_puller()

    def _start_puller(self) -> None:
        assert self.source is not None
        rank = self.stations[0].options.priority
        self.puller = Puller(self, self.source, rank, self.context.copy())
        self.source = None
        self.kernel.make_ready(self.puller)

    def _read_inline(self) -> bool:
        """Fill the first window from a plain source. Answers whether it stopped before it was full."""
        places = self.stations[0].window.places - len(self.inlet)
        if places <= 0 or not self.inlet.open:
            return False
        source: Iterator[Any] = self.source  # type: ignore[assignment]
        try:
            for _ in range(min(places, _AT_ONCE)):
                item = next(source, NOTHING)
                if item is NOTHING:
                    self._inlet_closed(None)
                    break
                self.inlet.put(item)
        except Exception as error:
            self._inlet_closed(error)
        self.kernel.post(self, _ADVANCE)
        return self.inlet.open and places > _AT_ONCE

    def _raise_failure(self) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    # ----------------------------------------------------------------------------------- the source

    @property
    def wants(self) -> bool:
        """Whether there is room for one more item."""
        return len(self.inlet) < self.stations[0].window.places

    def pulled(self, item: Any) -> None:
        """The source has given an item."""
        if not self.dry:
            self.inlet.put(item)
            self.kernel.post(self, _ADVANCE)

    def source_over(self, error: BaseException | None) -> None:
        """The source has ended, failed, or been closed, and nothing of it is left."""
        self.puller = None
        if not self.dry:
            self._inlet_closed(error)
        elif error is not None:
            self._lost(error)
        self.kernel.post(self, _ADVANCE)

    def _inlet_closed(self, error: BaseException | None) -> None:
        self.source = None  # it has closed itself
        if error is not None:
            self._fails_with(error)
        self.inlet.close()

    def _stop_source(self) -> None:
        """No more items are wanted."""
        self.dry = True
        self.inlet.cut()
        if self.puller is not None:
            self.puller.look()

    def _close_inline(self) -> None:
        """Close a plain source that the reader has read; its tasks have stopped."""
        source, self.source = self.source, None
        if isinstance(source, Generator):
            try:
                self.context.run(source.close)
            except Exception as error:
                if self.failure is None and not self.closing:
                    self.failure = error
                else:
                    self._lost(error)

    # -------------------------------------------------------------------------------- moving things on

    @handles(Advance)
    def _advance(self, message: Advance, out: Outbox) -> None:
        """Move on whatever can be moved."""
        stations = self.stations
        for place in range(len(stations) - 1, -1, -1):
            self._feed(place, stations[place - 1].window if place else self.inlet)
        before: Window | Inlet = self.inlet
        for station in stations:
            if station.window.open and before.ended:
                station.window.close()
            before = station.window
        if self.puller is not None:
            self.puller.look()
        if stations[-1].window.ready:
            self.wake()
        self._see_whether_over()

    def _feed(self, place: int, before: Window | Inlet) -> None:
        station = self.stations[place]
        window = station.window
        while window.places > 0:
            item = before.take()
            if item is NOTHING:
                break
            self._work_on(place, station, item)
        for entry, gate in station.emitters.items():
            if window.may_add(entry):
                self.kernel.reply(gate, None)

    def _work_on(self, place: int, station: Station, item: Any) -> None:
        entry = station.window.begin(item)
        args = (self, station, entry) if station.results == "emitted" else (item,)
        try:
            task = self.system.new_task(
                self, station.function, args, station.options, self.context, station.host
            )
        except Exception as error:  # the item does not fit or cannot travel, or the runtime is closed
            self._failed(place, entry, error)
        else:
            entry.work = task
            self.live[task] = (place, entry)

    def completed(self, task: TaskActor, out: Outbox) -> None:
        """A task has completed: what follows may call code of the user, and waits until its end is known."""
        assert task.outcome is not None
        out.send((self, Settled(task, task.outcome)))

    @handles(Settled)
    def _settled(self, message: Settled, out: Outbox) -> None:
        whose = self.live.pop(message.task, None)
        if whose is None:  # run by the task of an entry, which sees how it ends
            return self._see_whether_over()
        place: int
        entry: Entry
        place, entry = whose
        entry.work = None
        task: TaskActor = message.task  # type: ignore[assignment]
        outcome = message.outcome
        if entry.doomed:
            task.log_unobserved(outcome, out)
        elif outcome.error is None:
            self._done(place, entry, outcome.value)
        else:
            self._failed(place, entry, outcome.error)
        self._advance(_ADVANCE, out)

    def _done(self, place: int, entry: Entry, value: Any) -> None:
        station = self.stations[place]
        if station.results == "one":
            station.window.add(entry, value)
        elif station.results == "several":
            for one in value:
                station.window.add(entry, one)
        station.window.finish(entry)

    def _failed(self, place: int, entry: Entry, error: BaseException) -> None:
        """An item has failed: the stream ends here, or goes on without it."""
        station = self.stations[place]
        failure: BaseException | None = error
        if station.on_failure is not None and not isinstance(error, (TaskCancelled, RuntimeClosed)):
            failure = station.on_failure(entry, error)
        if failure is None:
            return station.window.finish(entry)
        self._fails_with(failure)
        self._stop(station.window.fail(entry), "an item before it failed")
        self._stop_before(place)

    def _stop_before(self, place: int) -> None:
        """Nothing more is wanted from before this place."""
        for station in self.stations[:place]:
            self._stop(station.window.cut(), "an item failed further on")
        self._stop_source()

    def _stop(self, entries: Iterable[Entry], reason: str) -> None:
        cancel = Cancel(reason)
        for entry in entries:
            if entry.work is not None:
                self.kernel.send((entry.work, cancel))

    def _fails_with(self, failure: BaseException) -> None:
        """This is what the stream ends with, unless something at an earlier place fails yet."""
        earlier, self.failure = self.failure, failure
        if earlier is not None:
            self._lost(earlier)

    def _lost(self, error: BaseException) -> None:
        """A failure that no reader will come to."""
        if not isinstance(error, (TaskCancelled, RuntimeClosed)):
            self.kernel.report(logging.ERROR, f"{self.title} failed, and nobody read so far", error)

    # ---------------------------------------------------------------- tasks that hand on many results

    def emit(self, station: Station, entry: Entry, result: Any) -> None:
        """A task has one more result."""
        if not entry.doomed:
            station.window.add(entry, result)
            self.kernel.post(self, _ADVANCE)

    async def may_go_on(self, station: Station, entry: Entry) -> None:
        """Wait until a task should go on to its next result."""
        while not entry.doomed and not station.window.may_add(entry):
            gate = station.emitters[entry] = self.kernel.future()
            try:
                await aside(self.kernel, gate, f"room in {self.title}")
            finally:
                del station.emitters[entry]
        if entry.doomed:
            await self.kernel.future()  # a cancellation is on its way

    def blockers(self) -> Iterable[Waiter]:
        """The task on whose result the next item depends, if it depends on a single one."""
        for station in reversed(self.stations):
            if station.window.running:
                head = station.window.head
                return () if head is None or head.work is None else (head.work,)
        return ()

    # ---------------------------------------------------------------------------------------- the end

    def close(self, reason: BaseException | None = None) -> None:
        """Nothing more is wanted: stop everything."""
        if self.over or self.closing:
            return
        self.closing = True
        if self.failure is not None:
            self._lost(self.failure)
        self.failure = reason
        for station in self.stations:
            self._stop(station.window.cut(), "its iterator was closed")
        self._stop_source()
        if self.source is not None and not self.inline and not self.kernel.closed:
            self._start_puller()  # only to close the source
        self.kernel.drain()
        self._see_whether_over()

    async def aclose(self) -> None:
        """Stop everything, and return when it has stopped; from inside one of its own tasks, at once."""
        self.close()
        if getattr(CURRENT.get(), "owner", None) not in self.live:
            await self.ended()

    def force(self) -> None:
        """The shutdown deadline has come."""
        for task in self.live:
            self.kernel.send((task, Cancel("the shutdown deadline of the runtime has come")))
        if self.puller is not None:
            self.puller.force()
        self.kernel.drain()

    def _see_whether_over(self) -> None:
        if self.over or self.live or self.puller is not None:
            return
        if self.closing or self.stations[-1].window.ended:
            if self.source is not None:
                self._close_inline()
            self.nursery.feeds.pop(self, None)
            self.finish()

    # ------------------------------------------------------------------------------ what always holds

    @property
    def has_items(self) -> bool:
        """Whether there is a result."""
        return self.stations[-1].window.ready

    def check(self) -> None:
        """Each window is in order, and each task is for an entry that has not ended."""
        super().check()
        require(not (self.over and self.live), self, "when it is over, none of its tasks is left")
        require(not (self.over and self.puller is not None), self, "when it is over, nobody reads the source")
        require(not self.closing or self.dry, self, "whoever closes wants no more items")
        require(self.inline is False or self.puller is None, self, "a source is read by one only")
        for station in self.stations:
            if station.window.running <= FEW:
                station.window.check()
        if len(self.live) <= FEW:
            for task, whose in self.live.items():
                if whose is None:  # run by the task of an entry
                    continue
                place, entry = whose
                require(entry.work is task, self, f"{entry!r} knows its task")
                require(not entry.over, self, f"{entry!r}, for which a task runs, is not over")
                require(0 <= place < len(self.stations), self, "each task runs for a station")

    def check_at_rest(self) -> None:
        """The same; and nothing stands still that could move on."""
        super().check_at_rest()
        before: Window | Inlet = self.inlet
        for place, station in enumerate(self.stations):
            ready = bool(len(self.inlet)) if before is self.inlet else before.ready  # type: ignore[union-attr]
            require(
                not (ready and station.window.places), self, f"station {place} takes what it has room for"
            )
            before = station.window
        if len(self.live) <= FEW:
            for task in self.live:
                require(task.outcome is None, self, f"it has heard that {task!r} has settled")  # type: ignore[attr-defined]  # a task
