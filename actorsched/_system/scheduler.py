"""The Scheduler actor: which ready task gets a slot, who has to make room for it, and when.

A task that is `Ready` joins the queue of its pool. Who has the slots is decided (`Choose`) when nothing is
in transit any more: then all that belongs to this instant is known, who has ended and who has come because of
it. The decision is the policy's. What it means is carried out here:

* Whoever is taken from the queue while there is a slot gets it: a new task goes to a worker (`Assign`), one
  that has begun goes on (`Resume`).
* Whoever has to make room, or has had its turn, is in the queue again at once, and its worker is told to
  `Preempt` it. The slot is passed on when the worker says `Preempted`: at once for a task in the loop or in a
  host process, at its next checkpoint for one in a thread. If it is chosen again before that, it stays.
* A worker that has ended a task says `Idle`, and how that ended; the scheduler tells the task, so that one
  message does for both.

A running task that waits for something of ours lends its slot (`Lend`). It gets one back through the same
queue (`Reclaim`). A pool that is `boundless` has a slot for everybody, and takes no part in any of this.

When all that run in a pool have waited for 20 ms for something unknown, and somebody is preempted, the best
of those goes on beside them: it may hold what they wait for, a lock of asyncio for instance.

A task that has processors or memory for itself is refused by its staff as long as others have reserved them
(`_core.reservations`). Like everybody for whom there is no worker it goes back to the head of the queue, and
those behind it wait too, unless what it lacks lets them pass. Whoever comes before it is tried all the same.

A task that needs resources asks for them when it is chosen. If it has to wait for them it leaves the queue,
and comes back when it holds them; the choice goes on when those who hold them have inherited from it. Others
who run, or were chosen before it, may want the same at this instant: unless it is more urgent than they are
it lets them ask first, and is chosen when they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched._core.behaviour import Behaviour, Outbox, handles, require
from actorsched._core.invariants import FEW
from actorsched._system.pools import STALL, Alarm, Choose, LookForStall, Place
from actorsched.messages import (
    Chosen,
    Idle,
    Lend,
    Move,
    Preempt,
    Preempted,
    PriorityChanged,
    Ready,
    Reclaim,
    Resume,
    SetLimit,
    SetPolicy,
    Submit,
    Unbegun,
    Wish,
    Withdraw,
    Withdrawn,
)
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._system.locks import Locks
    from actorsched._system.pools import Pool, Staff
    from actorsched._system.task import TaskActor

_RESUME = Resume()
_GO_ON = Resume(slot=False)
_WITHDRAWN = Withdrawn()
_CHOSEN = Chosen()
_QUEUED, _NEXT, _ON, _LEAVING, _LENT = Place.QUEUED, Place.NEXT, Place.ON, Place.LEAVING, Place.LENT


class Scheduler(Behaviour):
    """The one scheduler of a runtime."""

    pools: dict[str, Pool]
    """By kind of host, and by tag."""
    staffs: dict[str, Staff]
    """The workers, by kind of host."""
    locks: Locks | None = None
    """Who holds which resource."""
    some_came_on: bool = False
    """Whether somebody else has, or will have, a slot because of the present choice."""
    some_may_ask: bool = False
    """The same, of those who may be about to ask for resources."""
    asks_later: tuple[float, ...] | None = None
    """How urgent somebody is who lets others ask for resources first, and is to be chosen again then."""
    some_wait: bool = False
    """Whether somebody who was chosen has to wait for resources: others may inherit from it."""
    crowded: bool = False
    """Whether there may be a pool that found no worker."""

    def __repr__(self) -> str:
        return f"<scheduler {list(self.pools.values())}>"

    # --------------------------------------------------------------------------------- into the queue

    @handles(Submit)
    def _submit(self, message: Submit, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if out.watched:
            task.tell_of_its_creation(out)
        if task.upstream is not None:
            task.begin(out)
        elif task.pool.boundless and not task.options.resources:  # like most: a call less
            self.staffs[task.host].assign(task, out)
        else:
            self.ready(task, out)

    @handles(Ready)
    def _ready(self, message: Ready, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if not message.again or task.pool.boundless:
            return self.ready(task, out)
        task.admitted(out)
        if task.place is None:  # or its worker has given it back, and it is there again
            task.place = _QUEUED
            task.pool.policy.put_back(task, out.now)
        return self._choose_soon(task.pool, out)

    def ready(self, task: TaskActor, out: Outbox) -> None:
        """A task may run: the same as `Ready`, said at once where nothing else can be on the way."""
        pool = task.pool
        if not pool.boundless:
            task.admitted(out)
            return self._enlist(pool, task, out)
        if not task.options.resources or self._holds_all(task, out):
            self.staffs[task.host].assign(task, out)
        return None

    def _enlist(self, pool: Pool, task: TaskActor, out: Outbox) -> None:
        task.place = _QUEUED
        now = out.now
        pool.policy.push(task, now)
        if not (pool.choosing or pool.is_settled(task, now)):
            self._choose_soon(pool, out)

    def _holds_all(self, task: TaskActor, out: Outbox) -> bool:
        """Whether a task has the resources that it needs. If not, it will be ready again when it has."""
        assert self.locks is not None
        return self.locks.hold_all(task, out)

    @handles(PriorityChanged)
    def _priority_changed(self, message: PriorityChanged, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.worker is not None and (task.pool.boundless or task.host == "process"):
            out.send((task.worker, message))
        if task.place is not None and task.place is not _LENT:
            task.pool.policy.changed(task, out.now)
            self._choose_soon(task.pool, out)

    @handles(Withdraw)
    def _withdraw(self, message: Withdraw, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.worker is None and task.place is not None:
            self._leave(task, out)
            out.send((task, _WITHDRAWN))

    # -------------------------------------------------------------------------------------- the choice

    def _choose_soon(self, pool: Pool, out: Outbox) -> None:
        if not pool.choosing:
            pool.choosing = True
            out.at_rest((self, pool.choose))

    @handles(Choose)
    def _choose(self, message: Choose, out: Outbox) -> None:
        pool = message.pool
        pool.choosing = self.some_came_on = self.some_may_ask = self.some_wait = False
        self.asks_later = None
        now = out.now
        if pool.next:
            self._pass_on_slots(pool, out)
        if pool.beside:  # nobody follows to a slot that was there beside those that did not run
            pool.beside = min(pool.beside, max(0, pool.running - (pool.limit or 0)))
        self._decide(pool, now, out)
        if pool.leaving:
            self._ask_to_leave(pool, out)
        if self.some_wait or (pool.wishing and self.some_came_on):
            self._choose_soon(pool, out)  # who is more urgent now, or wishes for something too, is known then
        elif pool.wishing or pool.newcomers:
            self._grant_wishes(pool, out)
        if self.asks_later is not None:
            self._choose_soon(pool, out)
        self._set_alarm(pool, now, out)

    def _ask_to_leave(self, pool: Pool, out: Outbox) -> None:
        for task, asked in list(pool.leaving.items()):
            if task.worker is None:  # it has just been given away; its worker will have it in a moment
                self._choose_soon(pool, out)
            elif not asked:
                pool.leaving[task] = True
                out.send((task.worker, Preempt(task)))

    def _decide(self, pool: Pool, now: float, out: Outbox) -> None:
        """Ask the policy until it has nothing more to change."""
        policy = pool.policy
        for task in policy.expired(now):
            policy.stopped(task, now)
            policy.push(task, now)
            self._begins_to_leave(pool, task)
        aside: list[TaskActor] = []  # those for whom there is no worker; who comes after them need not wait
        if pool.lacking is not None:
            pool.refusals = 0
            self._reconsider(pool, now)
        while len(policy) and not self.some_wait:
            if pool.stuck and self._is_stuck(policy.peek(now), pool):
                aside.append(policy.pop(now))  # type: ignore[arg-type]  # there is one
                continue
            if pool.has_room:
                if (self.some_may_ask or pool.wishing) and self._has_to_ask_later(pool, policy.peek(now)):
                    break
                best = policy.pop(now)
                assert best is not None
                self._place(pool, best, now, out)
                if pool.lacking is not None and self._lets_pass(pool, best, now, out):
                    aside.append(best)
                continue
            if pool.full and pool.lacking is not None and not pool.lacking[1].helped_by_preemption:
                break
            victim = policy.victim(now)
            if victim is None:
                break
            policy.stopped(victim, now)
            policy.put_back(victim, now)
            self._begins_to_leave(pool, victim)
        for task in reversed(aside):
            policy.put_back(task, now)

    def _reconsider(self, pool: Pool, now: float) -> None:
        """Somebody lacked what others have reserved. Whoever is the first now may not; and some may pass."""
        assert pool.lacking is not None
        task, lack = pool.lacking
        if lack.lets_pass or pool.policy.peek(now) is not task:
            pool.full, pool.lacking = False, None
            pool.stuck.discard(task.host)

    def _lets_pass(self, pool: Pool, task: TaskActor, now: float, out: Outbox) -> bool:
        """Whether the first in the queue was just refused, and those behind it may begin nevertheless.

        Then those come first who keep what it needs, and were preempted.
        """
        assert pool.lacking is not None
        refused, lack = pool.lacking
        if refused is not task or not lack.lets_pass:
            return False
        pool.full = False
        pool.stuck.discard(task.host)
        pool.policy.remove(task)
        keeping = [other for other in pool.paused if other.place is _QUEUED and other.keeps_memory]
        for other in sorted(keeping, key=pool.policy.urgency):
            pool.policy.remove(other)
            if self._let_on(pool, other, out):
                pool.policy.started(other, now)
        return True

    def _is_stuck(self, task: TaskActor | None, pool: Pool) -> bool:
        """Whether there is no worker for the first in the queue of a mixed pool."""
        if task is None or task.host not in pool.stuck or task.place is not _QUEUED:
            return False
        return task.worker is None or not self.staffs[task.host].may_go_on(task)

    def _begins_to_leave(self, pool: Pool, task: TaskActor) -> None:
        if task.place is _ON:
            del pool.on[task]
            pool.leaving[task] = False
            task.place = _LEAVING
        else:  # it has not come to its slot yet
            pool.next.remove(task)
            task.place = _QUEUED

    def _place(self, pool: Pool, task: TaskActor, now: float, out: Outbox) -> None:
        """A task was taken from the queue: it has a slot, or is next."""
        if task.place is _LEAVING:
            if pool.leaving.pop(task):
                self._resume(task, out)
            self._comes_on(pool, task)
        elif pool.leaving and not pool.has_slot:  # while nobody leaves, room is a slot
            pool.next.append(task)
            task.place = _NEXT
            self.some_came_on = True
        elif not self._let_on(pool, task, out):
            return
        pool.policy.started(task, now)

    def _let_on(self, pool: Pool, task: TaskActor, out: Outbox) -> bool:
        """Give a task a slot that is free. Answers whether it has it; if not, it knows what to wait for."""
        staff, begun = self.staffs[task.host], task.worker is not None
        needs = not begun and task.options.resources
        if needs and not self._holds_all(task, out):
            task.place = None
            self.some_wait = True
            return False
        if not (staff.may_go_on(task) if begun else staff.assign(task, out)):
            self.crowded = True
            if pool.mixed and not pool.in_step:
                pool.stuck.add(task.host)
            else:
                pool.full = True
            pool.policy.stopped(task, out.now)  # who was next had been started
            pool.policy.put_back(task, out.now)
            task.place = _QUEUED
            return False
        if begun:
            self._resume(task, out)
        self.some_came_on = True
        if not needs:
            self.some_may_ask = True
        self._comes_on(pool, task)
        return True

    def _has_to_ask_later(self, pool: Pool, task: TaskActor | None) -> bool:
        """Whether a task needs resources, and others ask at this instant who are no less urgent."""
        if task is None or task.worker is not None or not task.options.resources or task.request is not None:
            return False
        urgency = pool.policy.urgency
        own = urgency(task)
        # What those want who have just come on is known in a moment.
        if not self.some_may_ask and not any(
            urgency(other) <= own for other in pool.wishing if other.place in (_ON, _LENT)
        ):
            return False
        self.asks_later = own if self.asks_later is None else min(own, self.asks_later)
        return True

    def _comes_on(self, pool: Pool, task: TaskActor) -> None:
        pool.on[task] = None
        task.place = _ON
        if pool.wishing:
            pool.newcomers.add(task)

    def _resume(self, task: TaskActor, out: Outbox) -> None:
        """Let a task go on. It is told here, so that those who come on are told of in the order of choice."""
        if out.watched:
            out.tell("resumed", task)
        out.send((task, _RESUME))

    def _pass_on_slots(self, pool: Pool, out: Outbox) -> None:
        """Those who were next get the slots that have been left."""
        while pool.next and pool.has_slot and not self.some_wait:
            if (self.some_may_ask or pool.wishing) and self._has_to_ask_later(pool, pool.next[0]):
                return
            task = pool.next.popleft()
            if task.worker is None:
                pool.policy.stopped(task, out.now)  # in case it does not get it after all
                if self._let_on(pool, task, out):
                    pool.policy.started(task, out.now)
            else:
                self._let_on(pool, task, out)

    def _set_alarm(self, pool: Pool, now: float, out: Outbox) -> None:
        """Choose again when the policy says so, whatever happens until then.

        An alarm that comes too early stays as it is: the policy is asked again then.
        """
        when, before = pool.policy.alarm(now), pool.alarm_when
        if when == before or (when is not None and before is not None and before < when):
            return
        if pool.alarm is not None:
            pool.alarm.cancel()
        pool.alarm_when = when
        pool.alarm = None if when is None else out.later(max(0.0, when - now), self, Alarm(pool))

    @handles(Alarm)
    def _alarm(self, message: Alarm, out: Outbox) -> None:
        pool = message.pool
        pool.alarm = pool.alarm_when = None
        self._choose_soon(pool, out)

    # --------------------------------------------------------------------------- what the chosen wish

    @handles(Wish)
    def _wish(self, message: Wish, out: Outbox) -> None:
        """A running task wants to hear whether it still is to run when this instant is over."""
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        if pool.boundless or task.place is _LENT:
            return out.send((task, _CHOSEN))
        pool.wishing[task] = None
        self._choose_soon(pool, out)

    def _grant_wishes(self, pool: Pool, out: Outbox) -> None:
        chosen = [task for task in pool.wishing if task.place not in (_LEAVING, _QUEUED, _NEXT)]
        if self.asks_later is not None:
            chosen = [task for task in chosen if pool.policy.urgency(task) <= self.asks_later]
        if len(chosen) > 1:
            self._put_in_order(pool, chosen, out.now)
        pool.newcomers.clear()
        for task in chosen:
            del pool.wishing[task]
            out.send((task, _CHOSEN))

    def _put_in_order(self, pool: Pool, chosen: list[TaskActor], now: float) -> None:
        """The most urgent first, and of equals whoever comes first in the order of the choice.

        That is not who got the slot first: one that waited for longer may have had to wait for it, because
        it was less urgent then.
        """
        precedence, newcomers = pool.precedence, pool.newcomers
        if precedence is None:
            places = {task: place for place, task in enumerate(pool.on)}
            chosen.sort(key=lambda task: places.get(task, -1))
        else:
            chosen.sort(key=lambda task: precedence(task, task in newcomers, now))
        chosen.sort(key=pool.policy.urgency)

    # ------------------------------------------------------------------------------- out of their slots

    @handles(Preempted)
    def _preempted(self, message: Preempted, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        if task.place is _LEAVING:  # otherwise it was chosen again meanwhile, and has been told so
            del pool.leaving[task]
            task.place = _QUEUED
            pool.paused[task] = None
            self._freed(pool, out)
            self._look_soon(pool, out)
        elif task.place is _LENT:
            out.send((task, _GO_ON))

    def _look_soon(self, pool: Pool, out: Outbox) -> None:
        """Look in a moment whether those that run wait for something that a preempted task may have."""
        if not pool.looking:
            pool.looking = True
            out.later_in_fact(STALL, self, LookForStall(pool))

    @handles(LookForStall)
    def _look_for_stall(self, message: LookForStall, out: Outbox) -> None:
        """When nobody runs in fact, let the best of the preempted go on beside them, over the limit."""
        pool = message.pool
        pool.looking = False
        # One whose attempt has ended since may stand in the queue for the next: nothing of it can go on.
        waiting = [task for task in pool.paused if task.place is _QUEUED and task.worker is not None]
        pool.paused = dict.fromkeys(waiting)
        if not waiting:
            return
        if pool.on and not pool.leaving and all(task.stalled for task in pool.on):
            best = min(waiting, key=pool.policy.urgency)
            pool.policy.remove(best)
            if pool.limit is not None:
                pool.beside = max(0, pool.running + 1 - pool.limit)
            self._resume(best, out)
            pool.on[best] = None
            best.place = _ON
            pool.policy.started(best, out.now)
        self._look_soon(pool, out)

    @handles(Idle)
    def _idle(self, message: Idle, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        if message.finished is not None:  # a message of its own would cost as much as all of this
            task.finished(message.finished, out)
        self.staffs[task.host].idle(message.worker)
        if task.place is not _ON or pool.wishing:
            return self._leave(task, out)
        del pool.on[task]  # as nearly always: the rest is `_leave`, written out
        task.place = None
        pool.policy.stopped(task, out.now)
        if pool.remembers and task.outcome is not None:
            pool.policy.forget(task, out.now)
        if self.crowded or not pool.choosing:
            self._freed(pool, out)
        return None

    @handles(Unbegun)
    def _unbegun(self, message: Unbegun, out: Outbox) -> None:
        """Back to the queue in one step, so that the policy knows what the task had, its age for one."""
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        self.staffs[task.host].idle(message.worker)
        task.given_back(out)
        if task.outcome is not None or task.place not in (_ON, _LEAVING):
            return self._leave(task, out)
        if task.place is _ON:
            del pool.on[task]
            pool.policy.stopped(task, out.now)
            pool.policy.put_back(task, out.now)
        else:
            del pool.leaving[task]
        task.place = _QUEUED
        return self._freed(pool, out)

    def _leave(self, task: TaskActor, out: Outbox) -> None:
        """A task has ended, or one attempt of it, or it was withdrawn."""
        pool = task.pool
        self._out_of_place(pool, task, out)
        task.place = None
        if pool.wishing:
            pool.wishing.pop(task, None)
        if pool.remembers and task.outcome is not None:
            pool.policy.forget(task, out.now)
        self._freed(pool, out)

    @handles(Move)
    def _move(self, message: Move, out: Outbox) -> None:
        """Just as it was to begin it turned out that a task is better off in another pool."""
        task: TaskActor = message.task  # type: ignore[assignment]
        if task.outcome is not None or task.worker is not None:
            return
        if task.place is not None:
            self._leave(task, out)
        if task.pool.remembers:
            task.pool.policy.forget(task, out.now)
        task.pool = message.pool
        if task.special is not None and task.special.timing is not None:
            task.special.timing.moved(message.pool, task.options)
        if message.pool.boundless or task.status is not TaskStatus.READY:
            self.ready(task, out)
        else:
            self._enlist(message.pool, task, out)

    def _out_of_place(self, pool: Pool, task: TaskActor, out: Outbox) -> None:
        """Whatever slot, or place in the queue, a task has, it has it no more."""
        place, policy = task.place, pool.policy
        if place is _ON:
            del pool.on[task]
            policy.stopped(task, out.now)
        elif place is _LEAVING:
            del pool.leaving[task]
            policy.remove(task)
        elif place is _NEXT:
            pool.next.remove(task)
            policy.stopped(task, out.now)
        elif place is _QUEUED:
            policy.remove(task)

    def _freed(self, pool: Pool, out: Outbox) -> None:
        """A slot, or a worker, may be free."""
        if pool.next or pool.wishing or len(pool.policy):
            self._choose_soon(pool, out)
        else:
            self._set_alarm(pool, out.now, out)
        if self.crowded:
            self.look_again(out)

    def look_again(self, out: Outbox) -> None:
        """There may be workers for those pools that found none."""
        self.crowded = False
        for pool in self.pools.values():
            if pool.full or pool.stuck or pool.lacking is not None:
                pool.full, pool.lacking = False, None
                pool.stuck.clear()
                self._choose_soon(pool, out)

    # ---------------------------------------------------------------------------------- lending slots

    @handles(Lend)
    def _lend(self, message: Lend, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        if task.worker is None or pool.boundless:  # its attempt has ended meanwhile, and the slot is free
            return
        if task.place is _QUEUED and getattr(task.worker, "kept", False):
            return  # a child waits of one that is preempted, which stays so, and has no slot to lend
        self._out_of_place(pool, task, out)
        task.place = _LENT
        if task.paused:
            out.send((task, _GO_ON))
        self._freed(pool, out)

    @handles(Reclaim)
    def _reclaim(self, message: Reclaim, out: Outbox) -> None:
        task: TaskActor = message.task  # type: ignore[assignment]
        pool = task.pool
        if pool.boundless:
            return self._resume(task, out)
        if task.place is not _LENT:
            return
        if pool.limit is None:  # it has its worker; and those before it may be waiting for one
            pool.policy.started(task, out.now)
            self._let_on(pool, task, out)
        else:
            self._enlist(pool, task, out)

    # ------------------------------------------------------------------------------ another policy

    @handles(SetPolicy)
    def _set_policy(self, message: SetPolicy, out: Outbox) -> None:
        for pool in self.pools.values():
            if pool is message.pool or (message.pool is None and not pool.own_policy):
                self._hand_over(pool, message.policy.fresh(), out)
        if self.locks is not None and message.pool is None:
            self.locks.order_by(message.policy, out)

    @handles(SetLimit)
    def _set_limit(self, message: SetLimit, out: Outbox) -> None:
        pool = message.pool
        pool.limit = pool.processors = message.limit
        pool.over = max(0, pool.running - message.limit)
        self._choose_soon(pool, out)

    def _hand_over(self, pool: Pool, policy: SchedulingPolicy[TaskActor], out: Outbox) -> None:
        """The tasks of a pool get another policy. Who runs goes on, until that decides otherwise."""
        waiting, now = pool.policy.drain(), out.now
        pool.take_policy(policy)
        for task in (*pool.on, *pool.next):
            policy.started(task, now)
        for task in waiting:
            policy.push(task, now)
        if pool.admits:
            for task in (*pool.on, *pool.next, *waiting):
                policy.admit(task, now, pool.processors)
        self._choose_soon(pool, out)

    # ------------------------------------------------------------------------------ what always holds

    def check(self) -> None:
        """Look at every pool, in time proportional to their number."""
        for pool in self.pools.values():
            pool.check()
            blocked = pool.full or pool.stuck or pool.lacking is not None
            require(
                self.crowded or not blocked,
                pool,
                "a pool that found no worker is looked at when there is one",
            )
            for task in () if pool.running > FEW else (*pool.on, *pool.leaving):
                require(task.host in self.staffs, task, "there are workers for whoever has a slot")

    def check_at_rest(self) -> None:
        """The same, and nobody waits without a reason."""
        self.check()
        for pool in self.pools.values():
            pool.check_at_rest()
        lets_ask = self.asks_later is not None and not any(pool.choosing for pool in self.pools.values())
        require(not lets_ask, self, "whoever lets others ask first is chosen again")
