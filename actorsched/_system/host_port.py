"""One actor host, as the cells of its actors see it: what is sent there, and who waits for what.

A call, hook or stream that has begun in the host is over when the host has said its last word of it. Whoever
gives one up before that asks the host to stop it, and waits; a host that has not stopped it when the grace
period is over is killed, and all that it had ends with it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._hosting import wire
from actorsched._hosting.failures import unpack_error
from actorsched._hosting.transfer import loads
from actorsched.messages import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Reply
    from actorsched._hosting.exits import HostExit
    from actorsched._hosting.link import HostLink
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.actor_host import HostedCell
    from actorsched._system.host_requests import Desk
    from actorsched._system.host_staff import HostStaff

GRACE = 1.0
"""Seconds that a handler in a host has to stop before its host is killed."""

_numbers = count(1)


class Ended:
    """The answer that means: the stream has no more items."""


ENDED = Ended()


class ActorHostPort:
    """One actor host: who lives there, and who waits for what."""

    def __init__(self, staff: HostStaff, desk: Desk) -> None:
        self.link: HostLink | None = None
        self.desk: Desk = desk
        self.retiring: bool = False
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
        self._cells.pop(number, None)

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

    def _grace_over(self) -> None:
        self.retiring = True
        assert self.link is not None
        self.link.kill()

    # ----------------------------------------------------------------------------------- from the host

    def frame(self, frame: wire.FromHost) -> None:
        """The host has said something."""
        _FRAMES[type(frame)](self, frame)

    def _hello(self, frame: wire.Hello) -> None:
        pass

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
        except Exception as error:
            return Failure(error)

    def _log(self, frame: wire.Log) -> None:
        from actorsched._hosting.logs import pass_on

        assert self.link is not None
        asker = self._begun.get(frame.origin)
        pass_on(frame, self.link.pid, self.link.name, None if asker is None else asker.owner.name, 1)

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
        self.retiring = True
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
