"""Sending to an actor and waiting: what `ask`, `asking`, `telling` and streams have in common.

Whoever waits here may be cancelled at any await. A message that has not begun is then taken back; one
whose handler is running has its handler cancelled, and the cancelled asker waits, shielded, until the
handler has really ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._core.mailbox import Refusal
from actorsched._kernel.current import CURRENT
from actorsched._system.call import Call
from actorsched.exceptions import TaskCancelled
from actorsched.messages import EndWait, Failure, Unwatch, Wait, Watch

if TYPE_CHECKING:
    from actorsched._core.behaviour import Reply
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.handlers import Handler
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter


def make_call(
    owner: ActorCell, handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any], priority: int
) -> Call:
    """A message from whoever runs now."""
    subject = CURRENT.get()
    packed = owner.pack(handler, args, kwargs) if owner.hosted else None
    sender: Waiter | None = None if subject is None else subject.owner  # type: ignore[attr-defined]
    return Call(owner, handler, args, kwargs, copy_context(), sender, priority, packed)


def waiter_of(target: Waiter) -> Waiter | None:
    """The task or actor of the same runtime whose code is running now, if any."""
    subject = CURRENT.get()
    if subject is not None and getattr(subject, "may_wait", False):
        waiter: Waiter = subject.owner  # type: ignore[attr-defined]
        if waiter.kernel is target.kernel:
            return waiter
    return None


def inside(target: Waiter) -> bool:
    """Whether the code that runs now is that task's, or that actor's, own."""
    subject = CURRENT.get()
    return subject is not None and getattr(subject, "owner", None) is target


async def ask(call: Call, timeout: float | None) -> Any:
    """Send a call and wait for its result.

    Raises:
        AskCycle: The asked actor waits, through others, for whoever asks.
        AskTimeout: There was no answer in time.
        MailboxFull: There is no room, and the mailbox does not wait.
        ActorStopped: The actor has ended.
        BaseException: What the handler raised.
    """
    owner = call.owner
    kernel = owner.kernel
    reply = call.reply = kernel.future()
    waiter = None if call.sender is None else waiter_of(owner)
    if timeout is not None:
        call.timer = kernel.call_later(timeout, call.expire, timeout)
    if waiter is not None:
        kernel.post(waiter, Wait(owner, reply))
    try:
        if not reply.done():
            await _sent(call)
        result = await reply
    except BaseException:
        if waiter is not None:
            kernel.post(waiter, EndWait(owner, reply, kernel.future()))
        await _taken_back(call)
        raise
    finally:
        if call.timer is not None:
            call.timer.cancel()
    if waiter is not None:
        await _go_on(waiter, owner, reply)
    if type(result) is Failure:
        raise result.error
    return result


async def _go_on(waiter: Waiter, target: Waiter, answer: Reply) -> None:
    """The wait is over; a task that lent its slot goes on when it has one again."""
    kernel = target.kernel
    resumed = kernel.future()
    kernel.post(waiter, EndWait(target, answer, resumed))
    if not resumed.done():
        await resumed


async def telling(call: Call) -> None:
    """Send a call and wait until it is in the mailbox."""
    try:
        await _sent(call)
    except BaseException:
        await _taken_back(call)
        raise


async def _sent(call: Call) -> None:
    """Put a call into the mailbox; wait for room where that is the rule."""
    owner = call.owner
    refusal = owner.offer(call)
    if refusal is None:
        return
    if refusal is Refusal.FULL:
        call.context = None
        owner.kernel.office.refuse()
        raise owner.full(call.handler)
    admitted = owner.kernel.future()
    owner.wait_for_room(call, admitted)
    result = await admitted
    if type(result) is Failure:
        raise result.error


async def _taken_back(call: Call) -> None:
    """Whoever waited is gone: see to it that nothing of the call goes on."""
    if call.context is None:  # it is over, or was never taken
        return
    over = call.over_when = call.kernel.future()
    call.withdraw(TaskCancelled(f"the sender of {call.title} was cancelled"))
    if call.begun and not over.done():
        with CancelScope(shield=True):
            await over


async def settled(task: TaskActor) -> None:
    """Wait until a task has settled.

    Raises:
        DeadlockError: The task waits, through others, for whoever waits here.
    """
    if task.outcome is not None:
        return
    kernel = task.kernel
    answer = kernel.future()
    waiter = waiter_of(task)
    if waiter is None:
        kernel.post(task, Watch(answer))
        try:
            await answer
        except BaseException:
            kernel.post(task, Unwatch(answer))
            raise
        return
    kernel.post(waiter, Wait(task, answer))
    try:
        result = await answer
    except BaseException:
        kernel.post(waiter, EndWait(task, answer, kernel.future()))
        raise
    if type(result) is Failure:
        kernel.post(waiter, EndWait(task, answer, kernel.future()))
        raise result.error


async def next_item(call: Call, timeout: float | None) -> Any:
    """The next item of a streamed reply; the first one sends the call.

    Raises:
        StopAsyncIteration: The stream has ended.
        BaseException: As for `ask`.
    """
    owner, source = call.owner, call.stream
    kernel = owner.kernel
    assert source is not None
    waiter = waiter_of(owner)
    answer = kernel.future()
    timer = None if timeout is None else kernel.call_later(timeout, call.expire, timeout)
    source.want()
    if waiter is not None:
        kernel.post(waiter, Wait(owner, answer))
        if answer.done():
            raise (await answer).error
    try:
        if not source.sent:
            source.sent = True
            await _sent(call)
        return await source.get()
    except BaseException:
        if not source.over:
            source.close()
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if waiter is not None:
            kernel.post(waiter, EndWait(owner, answer, kernel.future()))


async def close_stream(call: Call) -> None:
    """Have a stream closed, and wait until its generator is."""
    source = call.stream
    assert source is not None
    if call.context is None or not source.sent:
        call.context = None
        source.end()
        return
    over = call.over_when = call.kernel.future()
    source.close()
    if not over.done():
        with CancelScope(shield=True):
            await over
