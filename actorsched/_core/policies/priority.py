"""Fixed priority: the highest rank first, and among equals whoever joined the queue first.

The law of this module: what decides is the rank that a task is given, how long it has waited if tasks age,
and how long it has run if there are quanta; nothing else, and never what it is or did before.

How it works: the queue is that of `levels`, which knows what age does to the order. A task that leaves the
queue is remembered by the record that was its place there: its sequence number, what it had aged, and what is
left of its quantum. The record of a running task is kept while it runs; the last one that stopped is kept
until the next question, since it may be put back. `runners` finds who would have to make room, and `turns`
whose quantum is over.

Pushing and popping without aging and quanta are written out, a call less each: every task passes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, Literal, Self

from actorsched._core.policies import Item, Policy
from actorsched._core.policies.aging import Aging
from actorsched._core.policies.levels import Cell, Levels
from actorsched._core.policies.runners import Runners
from actorsched._core.policies.turns import Turns
from actorsched.checks import check_choice, check_flag, check_whole, wrong_value
from actorsched.durations import Duration, describe, seconds
from actorsched.exceptions import shown

__all__ = ["FixedPriority"]

_SHORTEST: Final = 1e-6  # seconds; shorter spans may be nothing beside a large time


class FixedPriority(Levels[Item], Policy[Item]):
    """The policy "priority": the highest rank runs, and makes a lower one wait.

    A free worker takes the task with the highest aged value, and of several the one that joined first. A task
    that runs has to make room when one waits whose rank, without what it has aged, exceeds the aged value
    with which the running one was chosen; the lowest of those that run goes first, and among equals the one
    that joined last. It comes back before its equals, with its age and what was left of its quantum. Equals
    never preempt one another.

    **Aging.** A task that has waited for `n` whole intervals counts as `n * step` ranks higher, but not above
    5 (`Priority.CRITICAL`). Its age stands still while it runs, stays when it is preempted, and is gone when
    it joins a tail: because its quantum was over, or it had waited for something else.

    What is guaranteed: a task of rank `r <= 5` that joins a tail waits no longer than `A + (n + 1) * C` in
    all until it ends, or its turn is over, however many others come after it and however often it is
    preempted. `A = interval * max(0, ceil((5 - r) / step))`; `n` is how many of those that had joined before
    it were queued or running when it joined; and `C` is the longest time for which one task keeps a worker
    without a break: the quantum if there is one, else its whole running time (that of a task that may not be
    preempted always, since it has no quantum). This holds while nobody has a rank above 5, ranks do not fall,
    a preempted task goes to the head, and preemption takes no time; for any number of workers.

    Why: when it has waited for `A` its value is 5, and nobody's is higher. Only those of 5 with a lower
    number come before it; new numbers are higher, so they are among the `n`, and whoever joins a tail is one
    of them no longer. Nobody's rank exceeds 5, so whoever is chosen with the value 5 is not preempted. So it
    waits once until a worker is free, which takes `C` at most, as every turn ends with its quantum while it
    waits; and then once for each of the `n` at most. Once chosen itself it is not preempted either.
    Without aging nothing is guaranteed but to the highest rank.

    **Quanta.** Tasks take turns: one that has run for a quantum joins the tail, if somebody waits whose aged
    value is at least its rank; otherwise it goes on, with another quantum and all that it had.

    Args:
        aging: The interval after which a waiting task counts as one step higher; None for no aging.
        step: How many ranks that is.
        quantum: How long a task runs before it is the turn of its equals; None for until it ends.
        preempted_to: Whether a preempted task comes back to the "head" of its equals, or to the "tail", where
            it begins anew: as the last, without age, with a whole quantum.
        aging_preempts: Whether the aged value of a waiting task counts for preemption too.

    Raises:
        TypeError: A parameter is of the wrong type.
        ValueError: A parameter makes no sense, or has no meaning without another one that is missing.
    """

    __slots__ = (
        "aging",
        "aging_preempts",
        "_floor",
        "preempted_to",
        "quantum",
        "step",
        "_front",
        "_last",
        "_now",
        "_runners",
        "_running",
        "_timed",
        "_turns",
    )

    def __init__(
        self,
        aging: Duration | None = None,
        step: int = 1,
        quantum: Duration | None = None,
        *,
        preempted_to: Literal["head", "tail"] = "head",
        aging_preempts: bool = False,
    ) -> None:
        self.aging = None if aging is None else _span(aging, "aging")
        self.quantum = None if quantum is None else _span(quantum, "quantum")
        self.step = step
        self.preempted_to: Literal["head", "tail"] = preempted_to
        self.aging_preempts = aging_preempts
        check_whole(step, "step", least=1)
        check_choice(preempted_to, "preempted_to", ("head", "tail"))
        check_flag(aging_preempts, "aging_preempts")
        if self.aging is None and (aging_preempts or step != 1):
            name = "aging_preempts" if aging_preempts else "step"
            raise ValueError(f'{name} has no meaning without aging; give the interval too, as in aging="5s"')
        super().__init__(None if self.aging is None else Aging(self.aging, step))
        self._turns: Turns[Item] | None = None if self.quantum is None else Turns(self.quantum)
        self._timed = self.aging is not None or self.quantum is not None
        # By aged value, the last of equals being the worst; made when somebody first might have to make room.
        self._runners: Runners[Item] | None = None
        self._floor: float = inf  # nobody who runs, and may be preempted, has a lower value
        self._running: dict[Item, Cell[Item]] = {}
        self._last: Cell[Item] | None = None  # of the task that left the queue, or its worker, last
        self._front = 0  # the lowest sequence number, given to those that are put back and not known
        self._now = -inf  # as far as it was told, where that matters

    def fresh(self) -> Self:
        """Return an empty policy with the same parameters."""
        return type(self)(
            self.aging,
            self.step,
            self.quantum,
            preempted_to=self.preempted_to,
            aging_preempts=self.aging_preempts,
        )

    def __repr__(self) -> str:
        return f"<{self._title()}, {len(self._cells)} ready, {len(self._running)} running>"

    def _title(self) -> str:
        given = [] if self.aging is None else [f"aging={describe(self.aging)!r}"]
        given += [] if self.step == 1 else [f"step={self.step}"]
        given += [] if self.quantum is None else [f"quantum={describe(self.quantum)!r}"]
        given += [] if self.preempted_to == "head" else [f"preempted_to={self.preempted_to!r}"]
        given += ["aging_preempts=True"] if self.aging_preempts else []
        return f"FixedPriority({', '.join(given)})" if given else "FixedPriority"

    # ------------------------------------------------------------------------------------- the queue

    def push(self, task: Item, now: float, /) -> None:
        """A task joins the queue, at the tail of its rank, without age and with a whole quantum.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        if task in self._cells or task in self._running:
            raise self._refusal(task, "pushed")
        if self._timed:
            self._settle(now)
        rank = task.rank
        self._sequence += 1
        cell = self._cells[task] = Cell(self._sequence, rank, task, now)
        level = self._levels.get(rank) or self._level(rank)
        level.pushed.append(cell)

    def put_back(self, task: Item, now: float, /) -> None:
        """A task that was `stopped` just now is back in the queue, before its equals, with all that it had.

        So is one that was popped just now, and got no worker after all, wherever preempted ones go. One that
        is not known comes before all others of its rank.

        Raises:
            ValueError: It is in the queue, or running, already. Nothing has changed.
        """
        cell = self._last
        if cell is not None and cell.item is not task:
            cell = None
        if self.preempted_to == "tail" and (cell is None or cell.preempted):
            return self.push(task, now)
        if task in self._cells or task in self._running:
            raise self._refusal(task, "put back")
        self._settle(now)
        if cell is None:
            self._front -= 1
            cell = Cell(self._front, task.rank, task, now)
        self._last = None
        cell.preempted = False
        cell.rank = task.rank
        cell.origin = now - cell.waited
        self._insert(task, cell)

    def peek(self, now: float, /) -> Item | None:
        """Return the task that `pop` would take, and leave it there."""
        if self._aging is not None:
            best = self._best(now)
            return None if best is None else best.item
        level = self._top()
        return None if level is None else level.head().item

    def pop(self, now: float, /) -> Item | None:
        """Take out the task of the highest aged value, and of several the first; None if there is none."""
        if not self._cells:
            return None
        if self._timed:
            if now != self._now:
                self._settle(now)
            if self._aging is not None:
                return self._pop_aged(now)
        while True:
            level = self._ranks[0][1]
            if level.moved:
                cell = level.behead()
            elif level.pushed:
                cell = level.pushed.popleft()
            else:
                self._top()
                continue
            task = cell.item
            if task is not None:
                del self._cells[task]
                if self._emptied:
                    self._limit()
                self._last = cell
                return task

    def _pop_aged(self, now: float) -> Item | None:
        best = self._best(now)
        assert best is not None
        self._last = self._take_aged(best, now)
        return self._last.item

    def drain(self) -> list[Item]:
        """Take out all tasks, in the order in which `pop` would have returned them at the time last told."""
        tasks: list[Item] = []
        while (task := self.pop(self._now)) is not None:
            tasks.append(task)
        self._last = None
        self._purge()
        return tasks

    def order(self, now: float, /) -> Sequence[Item]:
        """Return all tasks in the order in which `pop` would return them now."""
        return sorted(self._cells, key=lambda task: self._standing(self._cells[task], now))

    def _standing(self, cell: Cell[Item], now: float) -> tuple[int, int]:
        if self._aging is None:
            return -cell.rank, cell.sequence
        steps = self._aging.steps(cell.rank, cell.origin, now)
        return -self._aging.value(cell.rank, steps), cell.sequence

    # ---------------------------------------------------------------------------------- those that run

    def started(self, task: Item, now: float, /) -> None:
        """A task has a worker from now on: the one that was popped just now, or one that was never queued."""
        cell = self._last
        if cell is None or cell.item is not task:
            self._sequence += 1
            cell = Cell(self._sequence, task.rank, task, now)
        self._last = None
        self._running[task] = cell
        value = cell.rank if self._aging is None else self._value(cell)
        if value < self._floor:  # noqa: PLR1730  # `min` is a call, and every task passes here
            self._floor = value
        if self._runners is not None:
            self._runners.add(task, (value, -cell.sequence))
        if self._turns is not None:
            self._turns.start(task, cell.rank, cell.sequence, cell.left or self._turns.quantum, now)

    def stopped(self, task: Item, now: float, /) -> None:
        """A task has a worker no longer. Nothing happens when it had none."""
        cell = self._running.pop(task, None)
        if cell is None:
            return
        if self._runners is not None:
            self._runners.discard(task)
        if not self._running:
            self._floor, self._runners = inf, None
        self._last = cell
        cell.preempted = True
        if self._turns is not None:
            self._settle(now)
            cell.left = self._turns.stop(task, cell.rank, now)

    def changed(self, task: Item, now: float, /) -> None:
        """The rank of a task has changed. It keeps its number, its age and its quantum."""
        self._settle(now)
        rank = task.rank
        cell = self._cells.get(task)
        if cell is not None:
            if rank != cell.rank:
                self._move(task, cell, rank)
            return
        cell = self._running.get(task)
        if cell is not None and rank != cell.rank:
            if self._turns is not None:
                self._turns.move(task, cell.rank, rank)
            cell.rank = rank
            self._floor = min(self._floor, self._value(cell))
            if self._runners is not None:
                self._runners.update(task, (self._value(cell), -cell.sequence))

    # -------------------------------------------------------------------------------------- decisions

    def expired(self, now: float, /) -> Sequence[Item]:
        """Return the running tasks whose quantum is over while somebody waits, in the order of the ends."""
        self._now = now
        if self._turns is None:
            return ()
        if self._turns.nothing_due(now):
            return []
        return self._turns.due(self._reach, now)

    def victim(self, now: float, /) -> Item | None:
        """Return the lowest running task, if somebody waits who may have its place; None for nobody."""
        top = self._top()
        if top is None:
            return None
        highest = top.rank
        if self.aging_preempts:
            best = self._best(now)
            highest = highest if best is None else self._value(best)
        if highest <= self._floor:
            return None
        worst = self._in_order().worst()
        self._floor = inf if worst is None else self._value(self._running[worst])
        return worst if highest > self._floor else None

    def _in_order(self) -> Runners[Item]:
        """Those who run, the first to make room first."""
        if self._runners is None:
            self._runners = Runners()
            for task, cell in self._running.items():
                self._runners.add(task, (self._value(cell), -cell.sequence))
        return self._runners

    def alarm(self, now: float, /) -> float | None:
        """Return when the next turn is over, or when somebody has aged enough to preempt; None for never."""
        self._last = None
        if not self._cells or not self._timed:
            return None
        soonest = inf if self._turns is None else self._turns.alarm(self._reach)
        if self.aging_preempts:
            worst = self._in_order().worst()
            if worst is not None:
                soonest = min(soonest, self._reach(self._value(self._running[worst]) + 1))
        return None if soonest == inf else max(soonest, now)

    def stirs(self, task: Item, /) -> bool:
        """Whether a task that was pushed just now may change who runs, or when there has to be a decision.

        It does not when one of its rank or a higher one waits already: that one is before it, and older.
        """
        cell, top = self._cells[task], self._top()
        return top is None or (top.rank == cell.rank and top.pushed[0] is cell)

    def outranks(self, task: Item, other: Item, /) -> bool:
        """Whether a task goes before one that has a worker and has not begun, as it would preempt it."""
        cell = self._running.get(other)
        return task.rank > (other.rank if cell is None else self._value(cell))

    def precedence(self, task: Item, newly: bool, now: float, /) -> tuple[float, ...]:
        """Order equals that run: by aged value, who has come on just now last, then as they joined."""
        cell = self._running.get(task)
        return (-inf, newly, -inf) if cell is None else (-self._value(cell), newly, cell.sequence)

    def describe(self, task: Item, now: float, /) -> str:
        """Say the rank of a task, and what it has aged to."""
        cell = self._cells.get(task)
        if cell is not None and self._aging is not None:
            value = self._aging.value(cell.rank, self._aging.steps(cell.rank, cell.origin, now))
        else:
            cell = self._running.get(task)
            value = task.rank if cell is None else self._value(cell)
        return f"priority {task.rank}" + (f", aged to {value}" if value > task.rank else "")

    def check(self) -> None:
        """Assert what must hold between any two calls; for tests."""
        super().check()
        if self._runners is not None:
            self._runners.check()
            assert list(self._runners) == list(self._running)
        assert not self._cells.keys() & self._running.keys()
        for task, cell in self._running.items():
            assert cell.item is task
            assert self._floor <= self._value(cell) or not task.preemptible
            if self._runners is not None:
                assert self._runners.key_of(task) == (self._value(cell), -cell.sequence)
        if self._turns is not None:
            self._turns.check()

    # ------------------------------------------------------------------------------------- for itself

    def _value(self, cell: Cell[Item]) -> int:
        """Return the aged value of a task by the steps that were counted last."""
        return cell.rank if self._aging is None else self._aging.value(cell.rank, cell.steps)

    def _settle(self, now: float) -> None:
        """Account for the time that has passed with the queue as it is."""
        self._now = now
        turns = self._turns
        if turns is not None and turns.soonest < now:
            turns.settle(self._reach, now)

    def _refusal(self, task: Item, what: str) -> ValueError:
        if task in self._cells:
            return ValueError(f"{shown(task)} cannot be {what}: it is in the queue already; remove it first")
        return ValueError(f"{shown(task)} cannot be {what}: it is running; it has to be stopped first")


def _span(value: Duration, field: str) -> float:
    """Return a duration in seconds that is long enough to make a difference."""
    span = seconds(value, field=field)
    if span < _SHORTEST:
        raise wrong_value(field, value, "is too short", 'give a microsecond or more, such as "10ms"')
    return span
