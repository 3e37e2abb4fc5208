"""Sending to an actor and waiting: what `ask`, `asking`, `telling` and streams have in common.

Whoever waits here may be cancelled at any await. A message that has not begun is then taken back; one
whose handler is running has its handler cancelled, and the cancelled asker waits, shielded, until the
handler has really ended. A task lends its slot while it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any

from actorsched._core.mailbox import Refusal
from actorsched._kernel.current import CURRENT
from actorsched._system.call import Call
from actorsched._system.carrying import Slot
from actorsched._system.waiting import Aside
from actorsched.exceptions import ActorStopped, TaskCancelled
from actorsched.messages import EndWait, ExitReason, Failure, Unwatch, Wait, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorsched._core.behaviour import Reply
    from actorsched._kernel.backend import Future
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.handlers import Handler
    from actorsched._system.task import TaskActor
    from actorsched._system.waiting import Waiter


def make_call(
    owner: ActorCell, handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any], priority: int
) -> Call:
    """A message from whoever runs now."""
    kernel = owner.kernel
    if get_ident() != kernel.thread:
        kernel.check_thread(f"{handler.name} of actor {owner.name!r} was asked for")
    subject = CURRENT.get()
    packed = owner.pack(handler, args, kwargs) if owner.hosted else None
    sender: Waiter | None = None if subject is None else subject.owner
    return Call(owner, kernel, handler, args, kwargs, copy_context(), sender, priority, packed)


def waiter_of(target: Waiter) -> Waiter | None:
    """The task or actor of the same runtime whose code is running now, if any."""
    subject = CURRENT.get()
    if subject is not None and getattr(subject, "may_wait", False):
        waiter: Waiter = subject.owner
        if waiter.kernel is target.kernel:
            return waiter
    return None


def inside(target: Waiter) -> bool:
    """Whether the code that runs now is that task's or actor's own, or that of a child, however deep."""
    owner = getattr(CURRENT.get(), "owner", None)
    while owner is not None:
        if owner is target:
            return True
        owner = getattr(getattr(owner, "supervisor", None), "owner", None)
    return False


def inside_of(kernel: Kernel) -> bool:
    """Whether the code that runs now is that of a task or an actor of this kernel."""
    owner: Waiter | None = getattr(CURRENT.get(), "owner", None)
    return owner is not None and owner.kernel is kernel


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
    if timeout is None and owner.free:
        return await _carried(call)
    kernel = owner.kernel
    reply = call.reply = kernel.future()
    waiter = None if call.sender is None else waiter_of(owner)
    if timeout is not None:
        call.timer = kernel.call_later(timeout, call.expire, timeout)
    if waiter is not None:
        begin_to_wait(waiter, owner, reply)
    try:
        if reply.done():  # refused: it would never be answered
            call.context = None
        else:
            _send(call)
        result = await reply
    except BaseException as error:
        try:
            if not isinstance(error, GeneratorExit):
                await _taken_back(call)
        finally:
            if waiter is not None:
                await go_on(waiter, owner, reply, error)
        raise
    finally:
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None  # it may hold the call
    if waiter is not None:
        await go_on(waiter, owner, reply)
    if type(result) is Failure:
        if call.context is not None:  # refused when it was in the mailbox already
            await _taken_back(call)
        try:
            raise result.error
        finally:  # the error refers to this frame: nothing here may refer back
            del call, reply, result
    return result


async def _carried(call: Call) -> Any:
    """The same for an idle actor, whose handler runs in the task of whoever asks."""
    owner = call.owner
    kernel = owner.kernel
    slot = call.reply = Slot(call)
    waiter = None if call.sender is None else waiter_of(owner)
    if waiter is not None:
        begin_to_wait(waiter, owner, slot)
    try:
        if slot.filled:  # refused: it would never be answered
            call.context = None
        else:
            await kernel.lender.carry(call, owner.begin_call(call))
        if not slot.filled:  # what it deferred is still to be called
            call.reply = kernel.future()
            slot.set_result(await call.reply)
    except BaseException as error:
        try:
            if not isinstance(error, GeneratorExit):
                await _taken_back(call)
        finally:
            if waiter is not None:
                await go_on(waiter, owner, slot, error)
        raise
    if waiter is not None:
        await go_on(waiter, owner, slot)
    result = slot.value
    if type(result) is Failure:
        if call.context is not None:  # refused, and what the handler deferred is still to be called
            await _taken_back(call)
        try:
            raise result.error
        finally:  # the error refers to this frame: nothing here may refer back
            del call, slot, result
    return result


def begin_to_wait(waiter: Waiter, target: Waiter, answer: Reply, *, certain: bool = False) -> None:
    """The code that runs now is going to wait, in the name of its task or actor."""
    kernel = target.kernel
    if waiter.holds_resources:
        kernel.post(waiter, Wait(target, answer, certain, kernel.backend.current_task()))
    else:
        kernel.post(waiter, Wait(target, answer, certain))


async def go_on(waiter: Waiter, target: Waiter, answer: Reply, error: BaseException | None = None) -> None:
    """The wait is over; a task that lent its slot goes on when it has one again.

    One whose wait was cut short, with the error given, goes on at once, and has its slot back as soon as
    there is one. It may be about to cancel, because it took too long, the very task that has the slot.
    """
    kernel = target.kernel
    resumed = kernel.future()
    kernel.post(waiter, EndWait(target, answer, resumed, at_once=error is not None))
    if not resumed.done():
        await resumed


async def aside(
    kernel: Kernel,
    answer: Future,
    what: str,
    others: Callable[[], Iterable[Waiter]] = tuple,
    *,
    certain: bool = False,
) -> Any:
    """Wait for something that is neither task nor actor; a task lends its slot meanwhile.

    Args:
        kernel: Whose affair it is.
        answer: What is waited on.
        what: What to call it.
        others: Finds those who have to end before it comes about.
        certain: Whether the wait cannot be given up.

    Raises:
        DeadlockError: One of the others waits, through others, for whoever waits here.
    """
    target = Aside(kernel=kernel, title=what, others=others)
    waiter = waiter_of(target)
    if waiter is None:
        return await answer
    begin_to_wait(waiter, target, answer, certain=certain)
    try:
        result = await answer
    except BaseException as error:
        await go_on(waiter, target, answer, error)
        raise
    await go_on(waiter, target, answer)
    if type(result) is Failure:
        raise result.error
    return result


async def telling(call: Call) -> None:
    """Send a call and wait until it is in the mailbox; of an actor that ends, it becomes a dead letter.

    Raises:
        AskCycle: There is no room, and the receiver waits, through others, for the sender.
    """
    owner = call.owner
    if _offered(call):
        return
    kernel, waiter = owner.kernel, waiter_of(owner)
    admitted = kernel.future()
    owner.wait_for_room(call, admitted)
    if waiter is not None:
        begin_to_wait(waiter, owner, admitted)
    try:
        result = await admitted
    except BaseException as error:
        if not call.begun and not isinstance(error, GeneratorExit):
            await _taken_back(call)
        if waiter is not None:
            await go_on(waiter, owner, admitted, error)
        raise
    if waiter is not None:
        await go_on(waiter, owner, admitted)
    if type(result) is Failure and not isinstance(result.error, ActorStopped):
        await _taken_back(call)
        raise result.error


def _offered(call: Call) -> bool:
    """Whether a call was taken in, or lost for good; if not, there may be room for it later.

    Raises:
        MailboxFull: There is no room, and waiting for it is not the rule.
    """
    owner = call.owner
    refusal = owner.offer(call)
    if refusal is Refusal.FULL:
        call.context = None
        call.dead = True
        owner.kernel.office.refuse()
        raise owner.full(call.handler)
    return refusal is None


def _send(call: Call) -> None:
    """Put a call into the mailbox; where that is the rule, as soon as there is room.

    Nobody waits for the room by itself: whoever asks may be told not to wait any longer before there is some.
    """
    if not _offered(call):
        call.owner.wait_for_room(call, _NOBODY)


class _Nobody:
    """Who has no need to be told."""

    __slots__ = ()

    def done(self) -> bool:
        """It was told, as it were."""
        return True

    def set_result(self, value: object, /) -> None:
        """It does not care."""


_NOBODY = _Nobody()


async def _taken_back(call: Call) -> None:
    """Whoever waited is gone: see to it that nothing of the call goes on."""
    if call.context is None:  # it is over, or was never taken
        return
    over = call.when_over()
    call.withdraw(TaskCancelled(f"the sender of {call.title} was cancelled"))
    if not over.done():
        with call.owner.kernel.shield():
            await over


async def ended(cell: ActorCell, *, waits: bool = False) -> ExitReason:
    """Wait until an actor has ended for good, and tell how.

    Args:
        cell: The actor.
        waits: Whether it may be waiting for whoever waits here, and would never end then.

    Raises:
        AskCycle: It does wait, through others, for whoever waits here.
    """
    kernel = cell.kernel
    kernel.check_thread(f"the end of actor {cell.name!r} was awaited")
    gone = kernel.future()
    kernel.post(cell, Watch(gone))
    waiter = None if gone.done() else waiter_of(cell)
    target: Waiter = cell if waits else Aside(kernel=kernel, title=f"the end of {cell.name!r}")
    if waiter is not None:
        begin_to_wait(waiter, target, gone)
    try:
        reason: ExitReason | Failure = await gone
    except BaseException as error:
        kernel.post(cell, Unwatch(gone))
        if waiter is not None:
            await go_on(waiter, target, gone, error)
        raise
    if waiter is not None:
        await go_on(waiter, target, gone)
    if isinstance(reason, Failure):
        kernel.post(cell, Unwatch(gone))
        raise reason.error
    return reason


async def settled(task: TaskActor, *, certain: bool = False) -> None:
    """Wait until a task has settled.

    Args:
        task: The task.
        certain: Whether the wait cannot be given up: should it close a circle, another one in it ends.

    Raises:
        DeadlockError: The task waits, through others, for whoever waits here.
    """
    if task.outcome is not None:
        return
    kernel = task.kernel
    if get_ident() != kernel.thread:
        kernel.check_thread(f"task {task.name!r} was awaited")
    answer = kernel.future()
    waiter = waiter_of(task)
    if waiter is None:
        kernel.post(task, Watch(answer))
    else:
        begin_to_wait(waiter, task, answer, certain=certain)
    try:
        result = await answer
    except BaseException as error:
        if waiter is None:
            kernel.post(task, Unwatch(answer))
        else:
            await go_on(waiter, task, answer, error)
        raise
    if type(result) is Failure:
        if waiter is not None:
            await go_on(waiter, task, answer)
        raise result.error


async def next_item(call: Call, timeout: float | None) -> Any:
    """The next item of a streamed reply; the first one sends the call.

    Raises:
        StopAsyncIteration: The stream has ended.
        RuntimeError: Somebody else is waiting for an item of it.
        BaseException: As for `ask`.
    """
    owner, source = call.owner, call.stream
    assert source is not None
    if source.over:
        return source.take()
    kernel, waiter, timer = owner.kernel, waiter_of(owner), None
    answer = kernel.future()
    source.want(answer)
    try:
        if waiter is not None:
            begin_to_wait(waiter, owner, answer)
        if not answer.done():
            if timeout is not None:
                timer = kernel.call_later(timeout, source.expire, call, timeout)
            if not source.sent:
                source.sent = True
                _send(call)
        refused = await answer
        if waiter is not None:
            await go_on(waiter, owner, answer)
    except BaseException as error:
        source.close(call)
        try:
            if not isinstance(error, GeneratorExit):
                await _stopped(call)
        finally:
            if waiter is not None:
                await go_on(waiter, owner, answer, error)
        raise
    finally:
        source.reader_gone()
        if timer is not None:
            timer.cancel()
    if type(refused) is Failure:
        source.close(call)
        raise refused.error
    if source.over:
        await _stopped(call)
    return source.take()


async def _stopped(call: Call) -> None:
    """Wait for the end of a generator that was stopped where it ran. One without its turn ends later."""
    source = call.stream
    assert source is not None
    if call.context is not None and call.owner.turn is call and source.closing:
        over = call.when_over()
        with call.owner.kernel.shield():
            await over
        source.raise_trouble()


async def close_stream(call: Call) -> None:
    """Have a stream closed, and wait until its generator is, unless that waits for whoever closes it.

    Raises:
        BaseException: What the generator raised as it was closed.
    """
    source, owner = call.stream, call.owner
    assert source is not None
    if call.context is None or not source.sent:
        source.close(call)
        return
    kernel, waiter = owner.kernel, waiter_of(owner)
    over = call.when_over()
    if waiter is not None:
        begin_to_wait(waiter, owner, over)
    source.close(call)
    try:
        if not over.done():
            with kernel.shield():
                await over
    finally:
        if waiter is not None:
            await go_on(waiter, owner, over)
    source.raise_trouble()
