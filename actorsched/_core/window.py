"""A window onto a stream of work: what was begun and not yet handed on, in the order in which it leaves.

The law of this module: it counts and orders. What an entry's work is, who does it and who takes the results
is somebody else's affair; nothing here starts, waits or cancels.

How it works: `begin` opens an entry for an item when there is room. Whoever works on it adds results, usually
one, and then finishes it or has it fail. Results leave through `take`, first in first out:

* an `OrderedWindow` lets results out in the order in which their entries were begun. Only those of the first
  unfinished entry, the head, are ready; the others wait in their entries until theirs is the head.
* an `UnorderedWindow` lets every result out as soon as it is there.

Room is bounded twice: by `workers`, the entries that may be unfinished at once, and by `capacity`, those and
the results that nobody has taken yet. So a window whose results are not taken soon has no room: that is all
there is to back-pressure.

A failure ends the stream at its place. What was begun before it is still finished and handed on; what comes
after it is `doomed`: cut out of the window, to be stopped by whoever works on it. Then the window is closed.
So whatever fails later does so at an earlier place, and is what the stream ends with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

from actorsched._core.invariants import require

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NOTHING", "Entry", "Inlet", "OrderedWindow", "UnorderedWindow", "Window"]


@final
class _Nothing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()
"""What `take` answers when nothing is ready: results may be None."""


class Entry:
    """One item in the window.

    Attributes:
        index: Its place among all items, from 0.
        item: What was begun; NOTHING once it is over, so that it can be let go of.
        work: Whatever its worker wants to find again.
        over: Whether it was finished, or has failed.
        doomed: Whether it was cut out of the window: nobody waits for it any more.
        waiting: Results that must not leave yet.
    """

    __slots__ = ("doomed", "index", "item", "over", "waiting", "work")

    def __init__(self, index: int, item: Any) -> None:
        self.index: int = index
        self.item: Any = item
        self.work: Any = None
        self.over: bool = False
        self.doomed: bool = False
        self.waiting: list[Any] | None = None

    def __repr__(self) -> str:
        state = "doomed" if self.doomed else "over" if self.over else "begun"
        return f"<entry {self.index} {state}>"


class Window(ABC):
    """What both kinds of windows have in common.

    Args:
        workers: How many entries may be unfinished at once, 1 or more.
        capacity: How many entries and untaken results there may be together, `workers` or more.
    """

    __slots__ = ("_ready", "begun", "buffered", "capacity", "open", "running", "workers")

    def __init__(self, workers: int, capacity: int) -> None:
        self.workers: int = workers
        self.capacity: int = capacity
        self.open: bool = True
        self.begun: int = 0
        self.running: int = 0
        self.buffered: int = 0
        self._ready: deque[Any] = deque()

    def __repr__(self) -> str:
        state = "open" if self.open else "ended" if self.ended else "closed"
        return f"<window: {self.running}/{self.workers} running, {self.buffered} buffered, {state}>"

    @property
    def places(self) -> int:
        """How many entries may be begun now."""
        if not self.open:
            return 0
        return max(0, min(self.workers - self.running, self.capacity - self.running - self.buffered))

    @property
    def ended(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return not self.open and not self.running and not self.buffered

    @property
    def ready(self) -> bool:
        """Whether there is a result to take."""
        return bool(self._ready)

    @property
    @abstractmethod
    def head(self) -> Entry | None:
        """The one entry without which nothing more can leave; None if there is no such."""

    def begin(self, item: Any) -> Entry:
        """Open an entry. Ask `places` first."""
        entry = Entry(self.begun, item)
        self.begun += 1
        self.running += 1
        self._enter(entry)
        return entry

    def add(self, entry: Entry, result: Any) -> None:
        """There is one more result of an entry."""
        self.buffered += 1
        self._add(entry, result)

    def may_add(self, entry: Entry) -> bool:
        """Whether an entry with many results should go on: there is room, or others wait for it to."""
        return self.buffered < self.capacity - self.workers or not self._holds(entry)

    def finish(self, entry: Entry) -> None:
        """An entry's work is over."""
        self._over(entry)
        self._settle(entry)

    def fail(self, entry: Entry) -> list[Entry]:
        """An entry's work has failed. Answers with the unfinished ones doomed by it, the last first."""
        self._over(entry)
        doomed = self._cut_after(entry)
        self._doom(doomed)
        self._settle(entry)
        self.open = False
        return [other for other in doomed if not other.over]

    def close(self) -> None:
        """No more entries will be begun."""
        self.open = False

    def cut(self) -> list[Entry]:
        """Nobody wants anything any more. Answers with the entries that were unfinished, the last first."""
        doomed = self._cut_after(None)
        self._doom(doomed)
        self._ready.clear()
        self.buffered = 0
        self.open = False
        return [entry for entry in doomed if not entry.over]

    def take(self) -> Any:
        """The next result; NOTHING if none is ready."""
        if not self._ready:
            return NOTHING
        self.buffered -= 1
        return self._ready.popleft()

    def check(self) -> None:
        """Look whether what always holds does; in time proportional to the window.

        Raises:
            InvariantBroken: Something does not.
        """
        entries = list(self._present())
        unfinished = sum(not entry.over for entry in entries)
        waiting = sum(len(entry.waiting or ()) for entry in entries)
        require(self.running == unfinished, self, f"{unfinished} entries are unfinished, as it has counted")
        require(
            self.buffered == len(self._ready) + waiting,
            self,
            "as many results are buffered as it has counted",
        )
        require(self.running <= self.workers, self, "no more entries are unfinished than there are workers")
        require(all(not entry.doomed for entry in entries), self, "nobody who is doomed is in the window")
        places = [entry.index for entry in entries]
        require(places == sorted(set(places)), self, "the entries stand in the order of their items")
        require(all(0 <= place < self.begun for place in places), self, "all of them were begun")
        require(
            all(entry.item is NOTHING for entry in entries if entry.over), self, "what is over keeps no item"
        )

    def _over(self, entry: Entry) -> None:
        entry.over = True
        entry.item = NOTHING
        self.running -= 1

    def _doom(self, doomed: Iterable[Entry]) -> None:
        for entry in doomed:
            entry.doomed = True
            if not entry.over:
                self.running -= 1
            if entry.waiting is not None:
                self.buffered -= len(entry.waiting)
                entry.waiting = None

    @abstractmethod
    def _present(self) -> Iterable[Entry]:
        """The entries in the window."""

    @abstractmethod
    def _enter(self, entry: Entry) -> None: ...

    @abstractmethod
    def _add(self, entry: Entry, result: Any) -> None: ...

    @abstractmethod
    def _holds(self, entry: Entry) -> bool:
        """Whether results of this entry, or any before it, wait to be taken."""

    @abstractmethod
    def _settle(self, entry: Entry) -> None:
        """See what an entry that is over has kept from leaving."""

    @abstractmethod
    def _cut_after(self, entry: Entry | None) -> list[Entry]:
        """Take out what comes after an entry, the last first; all of it for None."""


class OrderedWindow(Window):
    """A window whose results leave in the order of their items."""

    __slots__ = ("_entries",)

    def __init__(self, workers: int, capacity: int) -> None:
        super().__init__(workers, capacity)
        self._entries: deque[Entry] = deque()

    @property
    def head(self) -> Entry | None:
        """The first unfinished entry."""
        return self._entries[0] if self._entries else None

    def check(self) -> None:
        """The same; and nothing is kept from leaving without a reason."""
        super().check()
        entries = self._entries
        if entries:
            require(not entries[0].over, self, "the first entry is unfinished")
            require(entries[0].waiting is None, self, "the results of the first entry have left")

    def _present(self) -> Iterable[Entry]:
        return self._entries

    def _enter(self, entry: Entry) -> None:
        self._entries.append(entry)

    def _add(self, entry: Entry, result: Any) -> None:
        if entry is self._entries[0]:
            self._ready.append(result)
        elif entry.waiting is None:
            entry.waiting = [result]
        else:
            entry.waiting.append(result)

    def _holds(self, entry: Entry) -> bool:
        return bool(self._ready if entry is self._entries[0] else entry.waiting)

    def _settle(self, entry: Entry) -> None:
        entries = self._entries
        while entries and entries[0].over:
            entries.popleft()
            if entries and entries[0].waiting is not None:
                self._ready.extend(entries[0].waiting)
                entries[0].waiting = None

    def _cut_after(self, entry: Entry | None) -> list[Entry]:
        doomed: list[Entry] = []
        while self._entries and self._entries[-1] is not entry:
            doomed.append(self._entries.pop())
        return doomed


class UnorderedWindow(Window):
    """A window whose results leave as they come. The place of a failure is the moment at which it comes."""

    __slots__ = ("_entries",)

    def __init__(self, workers: int, capacity: int) -> None:
        super().__init__(workers, capacity)
        self._entries: dict[Entry, None] = {}

    @property
    def head(self) -> Entry | None:
        """The last unfinished entry, when no other will be begun."""
        return next(iter(self._entries)) if len(self._entries) == 1 and not self.open else None

    def check(self) -> None:
        """The same; and nobody stays who has ended."""
        super().check()
        require(not any(entry.over for entry in self._entries), self, "whoever is over is gone")

    def _present(self) -> Iterable[Entry]:
        return self._entries

    def _enter(self, entry: Entry) -> None:
        self._entries[entry] = None

    def _add(self, entry: Entry, result: Any) -> None:
        self._ready.append(result)

    def _holds(self, entry: Entry) -> bool:
        return bool(self._ready)

    def _settle(self, entry: Entry) -> None:
        self._entries.pop(entry, None)

    def _cut_after(self, entry: Entry | None) -> list[Entry]:
        doomed = [other for other in reversed(self._entries) if other is not entry]
        self._entries = {} if entry is None else {entry: None}
        return doomed


class Inlet:
    """What has come from a source and was not begun yet: looks like the window before the first."""

    __slots__ = ("_items", "open")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self.open: bool = True

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<inlet: {len(self._items)} items, {'open' if self.open else 'closed'}>"

    @property
    def ended(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return not self.open and not self._items

    def put(self, item: Any) -> None:
        """The source has given an item."""
        self._items.append(item)

    def take(self) -> Any:
        """The next item; NOTHING if there is none."""
        return self._items.popleft() if self._items else NOTHING

    def close(self) -> None:
        """The source has ended, or failed."""
        self.open = False

    def cut(self) -> None:
        """Nobody wants anything any more."""
        self._items.clear()
        self.open = False

    def check(self) -> None:
        """Look whether what always holds does.

        Raises:
            InvariantBroken: Something does not.
        """
        require(NOTHING not in self._items, self, "what came from the source is something")
