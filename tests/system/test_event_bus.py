"""The event bus, played with at random: nobody misses or doubles an event, and what is lost is counted."""

from __future__ import annotations

from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from actorsched._kernel.kernel import Kernel
from actorsched._system.event_bus import EventBus, EventFeed, event_of
from actorsched._system.nursery import Nursery
from tests.recorder import Recorder

if TYPE_CHECKING:
    from actorsched.events import Event

KINDS = ("created", "started", "progress", "completed")
HABITS = st.sampled_from(["notes", "raises", "goes", "makes", "brings"])
_KINDS = st.none() | st.frozensets(st.sampled_from(KINDS), min_size=1)


class Loop:
    """A backend of which the turns are taken by the test."""

    def __init__(self) -> None:
        self.calls: deque[tuple[Any, tuple[Any, ...]]] = deque()

    def call_soon(self, function: Any, *args: Any) -> None:
        self.calls.append((function, args))

    def now(self) -> float:
        return 0.0

    def turn(self) -> None:
        calls, self.calls = self.calls, deque()
        for function, args in calls:
            function(*args)


class Desk(Recorder):
    """A recorder with that page of the kernel on which events are noted."""

    note: Any = Kernel.note
    post: Any = Kernel.post
    drain: Any = Kernel.drain
    send_soon: Any = Kernel.send_soon

    def __init__(self) -> None:
        super().__init__()
        self.backend = self.clock = Loop()
        self.thread = get_ident()
        self.draining = False
        self.watched = False
        self.heard = self.read = self.wanted = frozenset[str]()
        self.journal: list[Any] = []
        self.bus = EventBus(kernel=self)  # type: ignore[arg-type]

    def _failed(self, actor: Any, message: object, error: BaseException) -> None:
        raise error


class Somebody:
    """A listener or a reader, and what it should be told."""

    def __init__(self, kinds: frozenset[str] | None, *, begins: int) -> None:
        self.kinds = kinds
        self.begins = begins
        self.ends: int | None = None
        self.got: list[int] = []
        self.end: Any = None

    def wants(self, happened: list[str]) -> list[int]:
        span = range(self.begins, len(happened) if self.ends is None else self.ends)
        return [number for number in span if self.kinds is None or happened[number] in self.kinds]


class Watching(RuleBasedStateMachine):
    """Events happen, in messages or outside of them; listeners and readers come and go."""

    listeners = Bundle("listeners")
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.happened: list[str] = []
        self.there: list[Somebody] = []
        self.all_listeners: list[Somebody] = []
        self.depth = 0

    def happen(self, kind: Any) -> None:
        self.desk.note(kind, kind, len(self.happened), {})
        self.happened.append(kind)

    @rule(
        target=listeners, kinds=_KINDS, what=st.sampled_from(["notes", "raises", "goes", "makes", "brings"])
    )
    def listen(self, kinds: frozenset[str] | None, what: str) -> Somebody:
        somebody = Somebody(kinds, begins=len(self.happened))

        def hear(event: Event) -> None:
            assert isinstance(event.number, int)
            somebody.got.append(event.number)
            match what:
                case "raises":
                    raise RuntimeError("not my day")
                case "goes":
                    somebody.ends = event.number + 1
                    self.there.remove(somebody)
                    somebody.end()
                case "makes" if self.depth < 3 and len(somebody.got) < 3:
                    self.depth += 1
                    self.happen("progress")
                    self.depth -= 1
                case "brings" if len(somebody.got) == 1:
                    self.listen(kinds, "notes")
                case _:
                    pass

        somebody.end = self.desk.bus.listen(kinds, hear)
        self.there.append(somebody)
        self.all_listeners.append(somebody)
        return somebody

    @rule(somebody=consumes(listeners))
    def stop_listening(self, somebody: Somebody) -> None:
        if somebody in self.there:
            self.desk.bus.flush()
            if somebody in self.there:  # or it has gone by itself just now
                somebody.end()
                somebody.ends = len(self.happened)
                self.there.remove(somebody)
        somebody.end()

    @rule(target=readers, kinds=_KINDS, capacity=st.integers(1, 6))
    def read(self, kinds: frozenset[str] | None, capacity: int) -> Somebody:
        somebody = Somebody(kinds, begins=len(self.happened))
        desk: Any = self.desk
        feed = EventFeed(
            kernel=desk,
            title="events",
            bus=desk.bus,
            nursery=Nursery(contains=True, on_failure=list),
            kinds=kinds,
            events=deque(maxlen=capacity),
        )
        feed.set_up()
        somebody.end = feed
        self.there.append(somebody)
        return somebody

    @rule(somebody=readers, count=st.integers(1, 5))
    def take(self, somebody: Somebody, count: int) -> None:
        feed: EventFeed = somebody.end
        for _ in range(count):
            if feed.items:
                number = event_of(feed.items.popleft()).number
                assert isinstance(number, int)
                somebody.got.append(number)
        self.agree(somebody)

    @rule(somebody=consumes(readers))
    def stop_reading(self, somebody: Somebody) -> None:
        if somebody.ends is None:
            somebody.end.close()
            somebody.ends = len(self.happened)
            self.there.remove(somebody)
        self.agree(somebody)

    def agree(self, somebody: Somebody) -> None:
        """What it has read, can still read and has lost is all that there was, once and in order."""
        feed: EventFeed = somebody.end
        lost, unread = feed.lost, [event_of(record).number for record in feed.events]
        wants = somebody.wants(self.happened)
        got = [*somebody.got, *unread]
        assert got == sorted(set(got))
        assert set(got) <= set(wants)
        assert lost == len(wants) - len(got)
        assert got[len(somebody.got) :] == wants[len(wants) - len(unread) :]
        assert len(unread) <= (feed.events.maxlen or 0)

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), within=st.booleans())
    def things_happen(self, kinds: list[str], *, within: bool) -> None:
        """In the middle of a message, or of something else."""
        self.desk.draining = within
        for kind in kinds:
            self.happen(kind)
        self.desk.draining = False
        if within:
            self.desk.drain()

    @rule()
    def a_turn_of_the_loop(self) -> None:
        self.desk.backend.turn()

    @invariant()
    def listeners_have_heard_all_up_to_some_moment(self) -> None:
        waiting = len(self.desk.bus.fresh)
        for somebody in self.all_listeners:
            wants = somebody.wants(self.happened)
            assert somebody.got == wants[: len(somebody.got)]
            assert len(wants) - len(somebody.got) <= waiting

    @invariant()
    def a_runtime_is_watched_as_long_as_somebody_is_there(self) -> None:
        assert self.desk.watched == bool(self.there)
        assert self.there or not self.desk.journal

    def teardown(self) -> None:
        self.desk.bus.flush()
        for somebody in self.all_listeners:
            assert somebody.got == somebody.wants(self.happened)


Watching.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
TestWatching = Watching.TestCase
