"""Why a task is not running, or where it runs: `rt.explain(ref)`.

The law of this module: it looks, and changes nothing. What it says is true at the moment when it is asked.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from actorsched._system.census import why_not_more
from actorsched._system.pools import Place
from actorsched._system.task import function_name
from actorsched._system.whereabouts import line_of
from actorsched.durations import describe
from actorsched.sizes import shown_size
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter

_MANY = 10
"""So many names stand in a sentence at most."""


class Explanation(msgspec.Struct, frozen=True):
    """Why a task is not running, or where it runs. As text, one sentence after the other.

    Of an actor, a pool or the hosts it tells where they are, and why there are so many.

    Attributes:
        task: The name of the task, or of what else is explained.
        status: Its status; None of what is no task.
        sentences: What there is to say, for people.
        waits_for: The names of the tasks, actors and resources that it waits for.
        holders: The names of the tasks that hold the resources that it waits for.
        chain: Who waits for whom: itself, what it waits for, what that waits for, and so on, to somebody who
            waits for nothing.
        pool: The name of its pool.
        position: Its place in the queue of its pool, from 1; None when it is not there, or when nobody can
            tell.
        ahead: The names of the tasks before it in the queue.
        running: The names of the tasks that have the slots of its pool.
        placed: For a task with `host="auto"`, where it runs, or would if it began now.
        pids: The process ids of the hosts that have to do with it; 0 of one that has no process yet.
    """

    task: str
    status: TaskStatus | None
    sentences: tuple[str, ...]
    waits_for: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    pool: str = ""
    position: int | None = None
    ahead: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    placed: str | None = None
    pids: tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.sentences)


def explain(task: TaskActor) -> Explanation:
    """Explain what a task does, or waits for."""
    told = _explained(task)
    placed = task.placed
    if placed is None:
        return told
    from actorsched._system.auto_telling import sentence

    name = task.label or function_name(task.function)
    return msgspec.structs.replace(
        told, sentences=(*told.sentences, sentence(placed, name)), placed=placed.host or placed.learned.place
    )


def _explained(task: TaskActor) -> Explanation:
    if task.outcome is not None:
        return Explanation(task.name, task.status, (_ended(task),), pool=task.pool.name)
    match task.status:
        case TaskStatus.WAITING | TaskStatus.BLOCKED:
            return _waiting(task)
        case TaskStatus.READY | TaskStatus.PREEMPTED:
            return _queued(task)
        case TaskStatus.RETRYING:
            return _retrying(task)
        case TaskStatus.RUNNING:
            return _running(task)
        case _:
            return Explanation(task.name, task.status, (f"task {task.name!r} is being submitted.",))


def _ended(task: TaskActor) -> str:
    outcome = task.outcome
    assert outcome is not None
    why = "" if outcome.error is None else f": {type(outcome.error).__name__}: {outcome.error}"
    late = "" if not outcome.tardiness else f", {describe(outcome.tardiness)} after its deadline"
    return f"task {task.name!r} has ended: {outcome.status.value}{late}{why}."


# --------------------------------------------------------------------------------------------- it waits


def _waiting(task: TaskActor) -> Explanation:
    targets = list(task.awaits())
    resources = [target for target in targets if target.locks_wait]
    holders = _names(holder for target in resources for holder in target.awaits())
    sentences = [_waits_sentence(task, targets)]
    if resources:
        sentences.append(f"Held by {_listed(holders)}." if holders else "Kept free for others.")
    chain = _chain(task)
    if len(chain) > 2:  # more than who waits for what
        sentences.append(f"The chain: {' -> '.join(chain)}.")
    return Explanation(
        task.name,
        task.status,
        tuple(sentences),
        waits_for=_names(targets),
        holders=holders,
        chain=chain,
        pool=task.pool.name,
    )


def _waits_sentence(task: TaskActor, targets: list[Waiter]) -> str:
    what = "is blocked by" if task.status is TaskStatus.BLOCKED else "waits for"
    kind = "the resource " if task.status is TaskStatus.BLOCKED else ""
    where = line_of(task.worker)
    at = f", at {where}" if where else ""
    upstream = [target for target in targets if target in (task.upstream or ())]
    if upstream:
        return f"task {task.name!r} has not begun: it depends on {_listed(_names(upstream))}."
    return f"task {task.name!r} {what} {kind}{_listed(_names(targets))}{at}."


def _chain(task: TaskActor) -> tuple[str, ...]:
    """Follow the first wait of each, to somebody who waits for nothing."""
    names, seen = [task.name], {task}
    member: Any = task
    while (after := next(iter(member.awaits()), None)) is not None and after not in seen:
        seen.add(after)
        names.append(f"[{after.name}]" if after.locks_wait else after.name)
        member = after
    return tuple(names)


# ------------------------------------------------------------------------------------- it wants a slot


def _queued(task: TaskActor) -> Explanation:
    pool, now = task.pool, task.kernel.now
    running = _names([*pool.on, *pool.leaving])
    preempted = task.status is TaskStatus.PREEMPTED
    what = "was preempted, and wants to go on" if preempted else "is ready"
    sentences = [f"task {task.name!r} {what} in pool {pool.name!r}, with {pool.policy.describe(task, now)}."]
    position: int | None = None
    ahead: tuple[str, ...] = ()
    if task.place is Place.QUEUED:
        order = pool.policy.order(now)
        if order is not None:
            before = list(order)[: list(order).index(task)]
            position, ahead = len(before) + 1, _names(before)
            sentences.append(_place_sentence(position, ahead))
        lack = _lack_sentence(task) or _host_sentence(task)
        if lack:
            sentences.append(lack)
    elif task.place is Place.NEXT:
        sentences.append("It gets the next slot, as soon as a task that was asked to leave has left it.")
    if running:
        sentences.append(_slots_sentence(running, pool.limit))
    return Explanation(
        task.name,
        task.status,
        tuple(sentences),
        pool=pool.name,
        position=position,
        ahead=ahead,
        running=running,
    )


def _lack_sentence(task: TaskActor) -> str | None:
    """What it lacks that others have reserved, or use."""
    scheduler: Any = task.scheduler
    if task.special is None or task.special.reservation is None:
        return None
    lack = scheduler.staffs[task.host].lack(task)
    if lack is None:
        return None
    free = max(0, lack.free)
    if lack.what == "memory":
        return f"It waits for {shown_size(lack.wanted)} of memory; {shown_size(free)} is not reserved."
    where = "the host pool" if task.host == "process" else "this machine"
    what = "1 core" if lack.wanted == 1 else f"{lack.wanted} cores"
    return f"It waits for {what} of {where}; {free} {'is' if free == 1 else 'are'} free."


def _host_sentence(task: TaskActor) -> str | None:
    """Why there is no host for it, and no further one."""
    pool = task.pool
    if task.host != "process" or not (pool.full or "process" in pool.stuck):
        return None
    scheduler: Any = task.scheduler
    hosts = scheduler.staffs["process"].pools.get(task.options.tag or "process")
    return None if hosts is None else f"No host is free: {why_not_more(hosts)}."


def _place_sentence(position: int, ahead: tuple[str, ...]) -> str:
    if not ahead:
        return "It is the next in the queue."
    return f"It is number {position} in the queue, behind {_listed(ahead)}."


def _retrying(task: TaskActor) -> Explanation:
    when = getattr(task.timer, "when", inf)
    wait = describe(max(0.0, when - task.kernel.now))
    attempts = task.options.retry.attempts
    number = f"attempt {task.attempt} of {attempts}"
    sentence = f"task {task.name!r} failed in {number}, and is tried again in {wait}."
    return Explanation(task.name, task.status, (sentence,), pool=task.pool.name)


def _running(task: TaskActor) -> Explanation:
    where = line_of(task.worker)
    at = f" It is suspended at {where}." if where else ""
    pid = getattr(getattr(task.worker, "link", None), "pid", None)
    place = task.host if pid is None else f"host process {pid or 'that is starting'}"
    sentence = f"task {task.name!r} is running in the {place}, in attempt {task.attempt}.{at}"
    running = _names([*task.pool.on, *task.pool.leaving])
    pids = () if pid is None else (pid,)
    return Explanation(task.name, task.status, (sentence,), pool=task.pool.name, running=running, pids=pids)


def _names(members: Iterable[Waiter]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def _slots_sentence(running: tuple[str, ...], limit: int | None) -> str:
    if limit == 1:
        return f"The only slot is taken by {_listed(running)}."
    of = "" if limit is None else f" of {limit}"
    are = "slots are" if limit or len(running) > 1 else "slot is"
    return f"{len(running)}{of} {are} taken by {_listed(running)}."


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:_MANY]))
    return shown if len(names) <= _MANY else f"{shown} and {len(names) - _MANY} more"
