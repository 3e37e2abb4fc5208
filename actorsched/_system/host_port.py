"""One actor host, as the cells of its actors see it: what is sent there, and who waits for what.

A call, hook or stream that has begun in the host is over when the host has said its last word of it. Whoever
gives one up before that asks the host to stop it, and waits; a host that has not stopped it when the grace
period is over is killed, and all that it had ends with it.

A host that is to be replaced has its actors move out, each when what it does is over, and ends when the last
has gone.
"""

from __future__ import annotations

import logging
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import loads
from actorsched._system.cell_moves import MoveOut
from actorsched.messages import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Reply
    from actorsched._core.timers import TimerEntry
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.backend import Handle
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_host import HostedCell
    from actorsched._system.actor_hosts import ActorHosts
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_staff import HostStaff

GRACE = 1.0
"""Seconds that a handler in a host has to stop before its host is killed."""
PATIENCE = 10.0
"""Seconds that open streams have to come to their end before an actor moves to another host without them."""
_FAREWELL = 5.0
"""Seconds that a host in which nobody lives has to end before it is killed."""

_numbers = count(1)


class Ended:
    """The answer that means: the stream has no more items."""


ENDED = Ended()


class ActorHostPort:
    """One actor host: who lives there, and who waits for what.

    Attributes:
        link: The host; None only until it is launched.
        desk: Who answers what is asked there.
        retiring: Whether it takes nobody in, because it is replaced, or about to end.
        suspended: Whether we have stopped it. Actor hosts are never stopped by us.
        handled: How many messages its actors were sent.
        why_over: Why its host is told to end, once it is.
        empty_since: Since when nobody has lived there, by the loop's clock.
    """

    suspended: bool = False
    why_over: str = "the runtime closes"

    def __init__(self, staff: HostStaff, hosts: ActorHosts, desk: Desk) -> None:
        self.link: HostLink | None = None
        self.desk: Desk = desk
        self.retiring: bool = False
        self.handled: int = 0
        self.empty_since: float = inf
        self._hosts = hosts
        self._timer: TimerEntry | Handle | None = None
        self._staff = staff
        self._cells: dict[int, HostedCell] = {}
        self._waiting: dict[int, Reply] = {}
        self._begun: dict[int, Any] = {}  # what the host has not said its last word of, and whose it is
        self._stopping: dict[int, Reply] = {}

    def __repr__(self) -> str:
        return f"<actor host {self.link!r} with {len(self._cells)} actors>"

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def cells(self) -> list[HostedCell]:
        """Who lives there."""
        return list(self._cells.values())

    @property
    def calls(self) -> int:
        """How many calls, hooks and streams are in progress."""
        return len(self._begun)

    @property
    def at_work(self) -> bool:
        """Whether something runs there that does not wait for us."""
        numbers = (*self._waiting, *self._stopping)
        return any(not self.desk.awaited_by(number) for number in numbers)

    @property
    def kernel(self) -> Kernel:
        """The kernel of the runtime."""
        return self._staff.kernel

    # ------------------------------------------------------------------------------------- to the host

    def settle_in(self, cell: HostedCell) -> int:
        """An actor moves in; answers with its number there."""
        number = next(_numbers)
        self._cells[number] = cell
        return number

    def move_out(self, number: int) -> None:
        """An actor's life is over."""
        if self._cells.pop(number, None) is None or self._cells:
            return
        if self.retiring:
            self._say_farewell()
        else:
            self._hosts.became_empty(self)

    def define(self, cell: HostedCell) -> int:
        """Make sure that the host knows a class.

        Raises:
            NotTransferable: It cannot cross.
        """
        assert self.link is not None
        return self.link.define(
            self._staff.definitions.of(cell.actor_class, f"the class of actor {cell.name!r}")
        )

    def new_number(self) -> int:
        """A number for a call."""
        return next(_numbers)

    def begin(self, number: int, asker: Any, frame: wire.ToHost | None = None) -> None:
        """A call, hook or stream begins; what the host asks in its course is asked in its name."""
        self._begun[number] = asker
        if frame is not None:
            assert self.link is not None
            self.link.send(frame)
        if number > 0:
            self.handled += 1
            most = self._staff.limits.max_tasks
            if most is not None and self.handled >= most:
                self.recycle(f"was sent {self.handled} messages, and Hosts(max_tasks=) allows no more")

    async def send(self, frame: wire.ToHost, number: int, what: str) -> Any:
        """Send a frame, and wait for the answer that bears this number.

        Raises:
            HostDied: The host has ended.
            BaseException: The answer is an error.
        """
        link = self.link
        assert link is not None
        if link.exited is not None:
            self._begun.pop(number, None)
            raise link.exited.error(what)
        answer = self._waiting[number] = self.kernel.future()
        link.send(frame)
        try:
            result = await answer
        finally:
            self._waiting.pop(number, None)
        if type(result) is Failure:
            raise result.error
        return result

    async def stop(self, frame: wire.ToHost, number: int) -> Any:
        """Have the host stop something, and wait until it has; after the grace period, kill the host.

        Returns:
            Its last word: a `Failure` where that is an error. None when it was over before, or the host is.
        """
        link, kernel = self.link, self.kernel
        assert link is not None
        if number not in self._begun or link.exited is not None:
            return None
        timer = kernel.call_for_host(GRACE, self._grace_over)
        link.send(frame)
        word = None
        try:
            while number in self._begun:
                over = self._stopping[number] = kernel.future()
                try:
                    with CancelScope(shield=True):
                        word = await over
                except kernel.cancelled:  # asyncio's own, which no shield keeps out; it was noted before
                    continue
        finally:
            timer.cancel()
            self._stopping.pop(number, None)
        return word

    def _give_up(self) -> None:
        if not self.retiring:
            self.retiring = True
            self._hosts.given_up(self)

    def _grace_over(self) -> None:
        self._give_up()
        assert self.link is not None
        self.link.kill()

    # ------------------------------------------------------------------------------------ its replacement

    def recycle(self, why: str) -> None:
        """Have its actors go on in other hosts, each when what it does is over; then end it.

        Args:
            why: What it has done, as in "uses too much memory".
        """
        if self.retiring:
            return
        self._give_up()
        self.why_over = f"it {why}"
        self._staff.tally.told_to_end(self, "actors")
        logging.getLogger("actorsched.host").info("%r is replaced: it %s", self.link, why)
        if not self._cells:
            return self._say_farewell()
        order, last = MoveOut(self, self.why_over), MoveOut(self, self.why_over, now=True)
        self._timer = self.kernel.call_for_host(PATIENCE, self._send_away, last)
        self._send_away(order)

    def _send_away(self, order: MoveOut) -> None:
        for cell in list(self._cells.values()):
            self.kernel.post(cell, order)

    def _say_farewell(self) -> None:
        """Nobody lives there any more, or will again."""
        assert self.link is not None
        self._cancel_timer()
        self._timer = self.kernel.call_for_host(_FAREWELL, self.link.kill)
        self.link.stop()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ----------------------------------------------------------------------------------- from the host

    def frame(self, frame: wire.FromHost) -> None:
        """The host has said something."""
        _FRAMES[type(frame)](self, frame)

    def _hello(self, frame: wire.Hello) -> None:
        self._staff.tally.begun(self, "actors", "an actor needed a place")

    def _answer(self, number: int, value: Any) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            self.kernel.reply(waiting, value)

    def _last_word(self, number: int, value: Any) -> None:
        self._begun.pop(number, None)
        self._answer(number, value)
        stopping = self._stopping.get(number)
        if stopping is not None:
            self.kernel.reply(stopping, value)

    def _opened(self, frame: wire.Opened) -> None:
        self._last_word(-frame.actor_id, None)

    def _open_failed(self, frame: wire.OpenFailed) -> None:
        self._last_word(-frame.actor_id, Failure(unpack_error(frame.error, "the error of a start")))

    def _closed(self, frame: wire.Closed) -> None:
        error = None if frame.error is None else Failure(unpack_error(frame.error, "the error of on_stop"))
        self._last_word(-frame.actor_id, error)

    def _returned(self, frame: wire.Returned) -> None:
        self._last_word(frame.call_id, self._loaded(frame.value))

    def _raised(self, frame: wire.Raised) -> None:
        self._last_word(frame.call_id, Failure(unpack_error(frame.error, "the error of a handler")))

    def _item(self, frame: wire.Item) -> None:
        self._answer(frame.call_id, self._loaded(frame.value))

    def _ended(self, frame: wire.Ended) -> None:
        self._last_word(frame.call_id, ENDED)

    def _loaded(self, payload: Any) -> Any:
        if payload == b"":
            return None
        try:
            return loads(payload, "the result of a handler")
        except BaseException as error:  # be it a Ctrl-C in this very moment: somebody waits for the answer
            return Failure(error)

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import pass_on

        assert self.link is not None
        asker = self._begun.get(frame.origin)
        pass_on(frame, self.link.pid, self.link.name, {} if asker is None else {"actor": asker.owner.name})

    def _progress(self, frame: wire.Progress) -> None:
        """Only tasks have a progress."""

    def _request(self, frame: wire.Request) -> None:
        self.desk.asked(frame, self._begun.get(frame.origin))

    def _cancel_request(self, frame: wire.CancelRequest) -> None:
        self.desk.withdrawn(frame)

    def _told(self, frame: wire.Told) -> None:
        self.desk.told(frame, self._begun.get(frame.origin))

    def exited(self, end: HostExit) -> None:
        """The host has ended: whoever waits hears of it, and its actors fail."""
        self._give_up()
        self._cancel_timer()
        self.desk.gone()
        self._staff.port_gone(self, end)
        self._begun.clear()
        cells, self._cells = self._cells, {}
        for number, answer in list(self._waiting.items()):
            cell = cells.get(abs(number))
            what = "what ran there" if cell is None else f"actor {cell.name!r}"
            self.kernel.reply(answer, Failure(end.error(what)))
        for stopping in list(self._stopping.values()):
            self.kernel.reply(stopping, None)
        for cell in cells.values():
            cell.host_died(end.error(f"actor {cell.name!r}"))
        self.kernel.drain()


_FRAMES: dict[type, Callable[[ActorHostPort, Any], None]] = {
    wire.Hello: ActorHostPort._hello,
    wire.Opened: ActorHostPort._opened,
    wire.OpenFailed: ActorHostPort._open_failed,
    wire.Closed: ActorHostPort._closed,
    wire.Returned: ActorHostPort._returned,
    wire.Raised: ActorHostPort._raised,
    wire.Item: ActorHostPort._item,
    wire.Ended: ActorHostPort._ended,
    wire.Log: ActorHostPort._log,
    wire.Progress: ActorHostPort._progress,
    wire.Request: ActorHostPort._request,
    wire.CancelRequest: ActorHostPort._cancel_request,
    wire.Told: ActorHostPort._told,
}
