"""Fair shares: a multi-level feedback queue, which finds out by itself who needs little and lets it go first.

The law of this module: the level of every task, what is left of its allotment there, and the order of those
that wait. What counts is how long a task has run; neither its priority nor its deadline means anything here.
No clock is read: what lies between two calls is made up for, as if it had happened when it was due.

The rules, after Corbato and Arpaci-Dusseau:

1. Whoever waits at a higher level runs before those at lower ones, and takes their place at once.
2. Within a level they take turns. A turn lasts until the allotment of that level, its quantum, is used up.
3. A new task starts at the top.
4. Whoever has used up its allotment, over however many bursts, moves down a level and gets the allotment
   there; at the lowest level it gets the same again. Its turn is over, and it joins the tail.
5. At every multiple of the boost period all move to the top, in the order of their levels, with new
   allotments. Who waits for something else, or runs, is moved too.

How it works: each level is an ordered dict, which takes out anybody, and takes in at both ends, in constant
time. A boost joins the levels to one; nobody is in a lower one who has not run down to it, so that costs no
more than the running did. The boost of a task is made up for when the task is looked at: it knows how many it
has seen. In the same way a runner's demotions follow from when its allotment ends, in a few steps for any
length of time. Only while somebody waits does it matter at once whose turn is over, and who stands worst:
then two heaps, of the ends of turns and of the runners' places, are brought up to now. When nobody waits that
can be put off; so a pool that is never full pays for neither, and nobody is woken up for nothing.

Turns that end at the same moment end in the order in which the tasks arrived. Whoever goes on because nobody
waits has joined a tail nevertheless: who makes room is the one who was the last to join the lowest level.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeAlias, cast

import msgspec

from actorsched._core.policies import Item, Policy
from actorsched._core.policies.runners import Runners
from actorsched.checks import check_choice, check_span, check_whole, wrong_value
from actorsched.durations import Duration, describe
from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fair"]

_End: TypeAlias = tuple[float, int]
"""When the turn of a runner ends, and its number."""

_MOST: Final = 64  # levels; more would never be reached, with a quantum that doubles
_FEW: Final = 32  # so many outdated ends are never worth building the heap anew


class _Record(msgspec.Struct, Generic[Item], eq=False):
    """What is known of a task, from its first arrival until it has ended."""

    task: Item
    number: int
    """Of its arrival: it orders those whose turns end at the same moment."""
    boosts: int
    """How many it has seen. Its level and allotment are outdated when there were more."""
    left: float
    """Of its allotment, when it does not run."""
    level: int = 0
    """0 is the top."""
    place: tuple[float, int, int] = (0.0, 0, 0)
    """When it joined the tail of its level; whether after the arrivals of that instant; its number then."""
    queued: bool = False
    served: bool = False
    """Whether it has run since it was taken out of the queue."""
    end: float | None = None
    """When its allotment will be used up, while it runs."""


class Fair(Policy[Item]):
    """A multi-level feedback queue, preemptive: those who need little go first, and nobody waits for ever.

    Args:
        levels: How many levels there are, from 1 to 64.
        quanta: How long a task may run at each level, from the top, before it moves down; or one duration for
            all levels. None for 10 ms at the top, and twice as much at each level below.
        boost: How often all tasks move to the top, as a duration that is no shorter than the first quantum;
            None for never.
        preempted_to: Which end of its level a preempted task goes to: "head" or "tail". What is left of its
            allotment it keeps in any case.

    Raises:
        TypeError: `levels` is no int.
        ValueError: A value is wrong, or two contradict each other.
    """

    __slots__ = (
        "levels", "quanta", "boost", "preempted_to",
        "_records", "_number", "_queue", "_length", "_waiting_since", "_boosts", "_next_boost",
        "_runners", "_turns", "_ends", "_over", "_boosts_of_runners",
    )  # fmt: skip

    def __init__(
        self,
        levels: int = 3,
        quanta: Duration | list[Duration] | tuple[Duration, ...] | None = None,
        boost: Duration | None = "1s",
        *,
        preempted_to: Literal["head", "tail"] = "head",
    ) -> None:
        self.levels = _checked_levels(levels)
        self.quanta = _checked_quanta(quanta, levels)
        self.boost = None if boost is None else _checked_boost(boost, self.quanta[0])
        self.preempted_to = check_choice(preempted_to, "preempted_to", ("head", "tail"))
        self._records: dict[Item, _Record[Item]] = {}
        self._number = 0
        self._queue: list[OrderedDict[Item, None]] = [OrderedDict() for _ in range(levels)]
        self._length = 0
        self._waiting_since = 0.0  # when the queue was empty for the last time
        self._boosts = 0  # how many there have been, as far as the queue knows
        self._next_boost = inf if self.boost is None else self.boost
        # Of the runners that may be preempted, up to date when they were last looked at:
        self._runners: Runners[Item] = Runners()  # by level and place
        self._turns: dict[int, _Record[Item]] = {}  # by number
        self._ends: list[_End] = []  # a heap of when their turns end, and of outdated ends
        self._over: dict[Item, None] = {}  # those whose turns are over
        self._boosts_of_runners = 0  # how many boosts these four know of

    def __len__(self) -> int:
        return self._length

    def __contains__(self, task: object) -> bool:
        """Whether a task is in the queue."""
        record = self._records.get(task)  # type: ignore[call-overload]
        return record is not None and record.queued

    def __repr__(self) -> str:
        return (
            f"Fair(levels={self.levels}, quanta={self.quanta}, boost={self.boost}, "
            f"preempted_to={self.preempted_to!r})"
        )

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters."""
        end = cast("Literal['head', 'tail']", self.preempted_to)
        return type(self)(self.levels, self.quanta, self.boost, preempted_to=end)

    # ------------------------------------------------------------------------------------- the queue

    def push(self, task: Item, now: float, /) -> None:
        """Take in a task at the tail of its level: the top, if it is new or there was a boost meanwhile.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        record = self._entering(task, now)
        self._number += 1
        record.place = (now, 0, self._number)
        self._queue[record.level][task] = None

    def put_back(self, task: Item, now: float, /) -> None:
        """Take back a task that was preempted, at the head of its level, or as `preempted_to` says.

        One that was popped and has not run goes to the head in any case.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        known = self._records.get(task)
        if self.preempted_to == "tail" and (known is None or known.served):
            return self.push(task, now)
        level = self._queue[self._entering(task, now).level]
        level[task] = None
        return level.move_to_end(task, last=False)

    def peek(self, now: float, /) -> Item | None:
        """Return the first task of the highest level, and leave it there."""
        self._advance(now)
        return next((task for level in self._queue for task in level), None)

    def pop(self, now: float, /) -> Item | None:
        """Take out the first task of the highest level; None if there is none."""
        if now >= self._next_boost:
            self._advance(now)
        for level in self._queue:
            if level:
                task, _ = level.popitem(last=False)
                record = self._records[task]
                record.queued = record.served = False
                self._length -= 1
                return task
        return None

    def remove(self, task: Item, /) -> bool:
        """Take a task out of the queue; False if it was not there. Its level stays known."""
        record = self._records.get(task)
        if record is None or not record.queued:
            return False
        del self._queue[record.level if record.boosts == self._boosts else 0][task]
        record.queued = False
        self._length -= 1
        return True

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them; they are forgotten."""
        tasks = [task for level in self._queue for task in level]
        for level in self._queue:
            level.clear()
        for task in tasks:
            del self._records[task]
        self._length = 0
        return tasks

    def order(self, now: float, /) -> Sequence[Item]:
        """Return all tasks in the order in which `pop` would return them now."""
        self._advance(now)
        return [task for level in self._queue for task in level]

    # ---------------------------------------------------------------------------------- those that run

    def started(self, task: Item, now: float, /) -> None:
        """A task has a worker from now on; one that nobody knows is taken for new."""
        if now >= self._next_boost:
            self._advance(now)
        known = self._records.get(task)
        if known is not None and known.queued:
            self.remove(task)
        record = known
        if record is None or record.boosts != self._boosts:
            record = self._known(task, now)
        if record.end is not None:
            return
        record.served = True
        record.end = now + record.left
        if task.preemptible:
            self._turns[record.number] = record
            self._note(record)

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer. What it has used of its allotment is gone, whatever it waits for."""
        record = self._records.get(task)
        if record is None or record.end is None:
            return
        if now >= self._next_boost:
            self._advance(now)
        if record.end <= now or record.boosts != self._boosts:
            self._settle(record, now)
        record.left = record.end - now
        record.end = None
        self._runners.discard(task)
        self._over.pop(task, None)
        if self._turns.pop(record.number, None) is not None:
            self._limit()

    def forget(self, task: Item, now: float, /) -> None:
        """A task has ended: nothing is known of it any more."""
        record = self._records.get(task)
        if record is None:
            return
        if record.end is not None:
            self.stopped(task, now)
        elif record.queued:
            self.remove(task)
        del self._records[task]

    # -------------------------------------------------------------------------------------- decisions

    def expired(self, now: float, /) -> list[Item]:
        """Return whose turns are over, of those that may be preempted; nobody's is when nobody waits."""
        self._look_at_runners(now)
        return sorted(self._over, key=lambda task: self._records[task].place) if self._over else []

    def victim(self, now: float, /) -> Item | None:
        """Return who joined the lowest level last, of the runners, if somebody waits at a higher one."""
        self._look_at_runners(now)
        worst = self._runners.worst() if self._length else None
        if worst is None:
            return None
        lower = self._records[worst].level
        for tasks in self._queue[:lower]:
            if tasks:
                return worst
        return None

    def alarm(self, now: float, /) -> float | None:
        """Return when the next turn ends, or the next boost is; None while nobody waits, or nobody can go."""
        self._look_at_runners(now)
        if not self._length or not self._turns:
            return None
        if self._over:
            return now
        while not self._is_current(self._ends[0]):
            heappop(self._ends)
        end = self._ends[0][0]
        return min(self._next_boost, end)

    def stirs(self, task: Item, /) -> bool:
        """Whether a task that was pushed just now may change who runs, or when there has to be a decision.

        It does not when one of its level or a higher one waits already.
        """
        level = self._records[task].level
        return len(self._queue[level]) == 1 and not any(self._queue[:level])

    def precedence(self, task: Item, newly: bool, now: float, /) -> tuple[float, ...]:
        """Order equals that run: by level, who has come on just now last, then as they joined."""
        record = self._present(task, now)
        return (-inf, newly, -inf) if record is None else (record.level, newly, *record.place)

    def describe(self, task: Item, now: float, /) -> str:
        """Say at which level a task is, and what is left of its allotment."""
        record = self._present(task, now)
        if record is None:
            return f"level 1 of {self.levels}"
        left = record.left if record.end is None else record.end - now
        whole = describe(self.quanta[record.level])
        return f"level {record.level + 1} of {self.levels}, {describe(left)} of {whole} left"

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        self._runners.check()
        queued = {record.task for record in self._records.values() if record.queued}
        assert sum(map(len, self._queue)) == self._length == len(queued), "a task in two places, or in none"
        for number, level in enumerate(self._queue):
            for record in map(self._records.__getitem__, level):
                assert record.queued, "a task in the queue by mistake"
                assert record.end is None, "queued and running"
                assert number == (record.level if record.boosts == self._boosts else 0), "at a wrong level"
        for record in self._records.values():
            assert 0 <= record.level < self.levels
            assert record.end is not None or 0 < record.left <= self.quanta[record.level] * (1 + 1e-9)
            runs = record.end is not None and record.task.preemptible
            assert (self._turns.get(record.number) is record) == (record.task in self._runners) == runs
        ends = set(self._ends)
        assert all((record.end, number) in ends for number, record in self._turns.items())
        assert len(self._ends) <= 2 * len(self._turns) + _FEW, "a heap of outdated ends"
        assert all(self._records[task].end is not None for task in self._over), "whose turn is over runs"

    # ------------------------------------------------------------------------------------- one task

    def _present(self, task: Item, now: float) -> _Record[Item] | None:
        """Return what the record of a task would be if all was made up for; None if it is not known."""
        self._advance(now)
        known = self._records.get(task)
        if known is None:
            return None
        record = msgspec.structs.replace(known)
        self._settle(record, now)
        return record

    def _entering(self, task: Item, now: float) -> _Record[Item]:
        """Note that a task is in the queue, and return its record; or refuse it."""
        known = self._records.get(task)
        if known is not None and (known.queued or known.end is not None):
            state = "in the queue already; remove it" if known.queued else "running; tell that it has stopped"
            raise ValueError(f"{shown(task)} cannot be pushed: it is {state} first")
        if now >= self._next_boost:
            self._advance(now)
        if not self._length:
            self._waiting_since = now
        self._length += 1
        record = self._known(task, now)
        record.queued = True
        return record

    def _known(self, task: Item, now: float) -> _Record[Item]:
        """Return the record of a task, with all boosts made up for: a new one, if it is not known."""
        record = self._records.get(task)
        if record is None:
            self._number += 1
            record = _Record(task, self._number, self._boosts, self.quanta[0], place=(now, 0, self._number))
            self._records[task] = record
        elif record.boosts != self._boosts:
            self._raise(record, self._boosts)
        return record

    def _raise(self, record: _Record[Item], boosts: int) -> None:
        """Make up for the boost of this number, and those before."""
        record.boosts = boosts
        record.level = 0
        record.left = self.quanta[0]
        if record.end is not None and self.boost is not None:
            record.end = boosts * self.boost + record.left

    def _spend(self, record: _Record[Item], until: float) -> None:
        """Make up for the demotions of a runner, up to a moment before which there was no boost."""
        while record.end is not None and record.end <= until:
            ended = record.end
            if record.level < self.levels - 1:
                record.level += 1
            else:
                ended += (until - ended) // self.quanta[-1] * self.quanta[-1]
            record.place = (ended, 1, record.number)
            record.end = ended + self.quanta[record.level]

    def _settle(self, record: _Record[Item], now: float) -> None:
        """Make up for all that has happened to a task."""
        if record.boosts != self._boosts:
            self._raise(record, self._boosts)
        self._spend(record, now)

    # ------------------------------------------------------------------------------------ all of them

    def _advance(self, now: float) -> None:
        """Boost the queue, if a boost is due. What that means for a task follows when it is looked at."""
        if now < self._next_boost or self.boost is None:
            return
        boosts = int(now // self.boost)  # give or take one: a multiple may be rounded
        while boosts * self.boost > now:
            boosts -= 1
        while (boosts + 1) * self.boost <= now:
            boosts += 1
        self._boosts, self._next_boost = boosts, (boosts + 1) * self.boost
        for level in self._queue[1:]:
            self._queue[0].update(level)
            level.clear()

    def _look_at_runners(self, now: float) -> None:
        """Bring what is known of the runners up to now, if somebody waits; else nobody's turn is over."""
        if now >= self._next_boost:
            self._advance(now)
        if not self._length:
            return self._over.clear()
        if self._boosts_of_runners < self._boosts and self.boost is not None:
            if self._boosts_of_runners < self._boosts - 1:  # the last but one leaves no trace of those before
                self._boost_runners(self._boosts - 1)
            self._end_turns(self._boosts * self.boost)
            self._boost_runners(self._boosts)
        if self._ends and self._ends[0][0] <= now:
            self._end_turns(now)
        return None

    def _boost_runners(self, boosts: int) -> None:
        self._boosts_of_runners = boosts
        for record in self._turns.values():
            if record.boosts < boosts:
                self._raise(record, boosts)
                self._runners.update(record.task, _worst_first(record))
        self._rebuild()

    def _end_turns(self, until: float) -> None:
        """Note whose turns have ended. Only if somebody waited by then did they have to make room."""
        while self._ends and self._ends[0][0] <= until:
            end = heappop(self._ends)
            if self._is_current(end):
                record = self._turns[end[1]]
                self._spend(record, until)
                self._note(record)
                if record.place[0] >= self._waiting_since:
                    self._over[record.task] = None

    def _note(self, record: _Record[Item]) -> None:
        """A runner's turn ends at another time, and it may have another place."""
        self._runners.add(record.task, _worst_first(record))
        heappush(self._ends, _end_of(record))
        self._limit()

    def _limit(self) -> None:
        """Keep the outdated ends from outnumbering the others by much."""
        if len(self._ends) > 2 * len(self._turns) + _FEW:
            self._rebuild()

    def _rebuild(self) -> None:
        self._ends = [_end_of(record) for record in self._turns.values()]
        heapify(self._ends)

    def _is_current(self, end: _End) -> bool:
        record = self._turns.get(end[1])
        return record is not None and record.end == end[0]


def _end_of(record: _Record[Item]) -> _End:
    assert record.end is not None
    return record.end, record.number


def _worst_first(record: _Record[Item]) -> tuple[float, ...]:
    joined, late, number = record.place
    return -record.level, -joined, -late, -number


def _checked_levels(levels: int) -> int:
    remedy = f"give an int from 1 to {_MOST}"
    if check_whole(levels, "levels", least=1, remedy=remedy) > _MOST:
        raise wrong_value("levels", levels, f"is more than {_MOST}", remedy)
    return levels


def _checked_quanta(quanta: object, levels: int) -> tuple[float, ...]:
    if quanta is None:
        return tuple(0.01 * 2**level for level in range(levels))
    if not isinstance(quanta, (list, tuple)):
        return (check_span(quanta, "quanta"),) * levels
    durations = list(cast("list[object]", quanta))
    if len(durations) != levels:
        fault = f"has {len(durations)} of the {levels} that levels={levels} needs"
        raise wrong_value("quanta", durations, fault, "give one for each level, or a single one for all")
    return tuple(check_span(value, f"quanta[{index}]") for index, value in enumerate(durations))


def _checked_boost(boost: Duration, first: float) -> float:
    period = check_span(boost, "boost")
    if period < first:
        fault = f"is shorter than the first quantum, {describe(first)}: no turn would ever end"
        raise wrong_value("boost", boost, fault, "give a longer one, such as 100 quanta, or None for never")
    return period
