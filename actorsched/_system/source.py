"""Sources: whatever users iterate over, read ahead while there is room.

A source is the user's code. It is opened, read and closed in one place, from its first item to its last, so
that cancel scopes, task groups and context variables inside it are right. There are two places:

* Plain iterators of a `map` are read by whoever reads the `map`, just before waiting: no background, no cost.
* All others have a puller: a run of user code of its own, in a carrier like any other, that needs no slot. It
  reads while there is room, so a slow source is waited for while results are computed and consumed.

A generator is closed, and so is whatever has an `aclose`, when nothing more of it is wanted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast

from anyio import CancelScope

from actorsched._core.window import NOTHING
from actorsched._kernel.stepper import DONE
from actorsched._system.code_run import without_cancellation
from actorsched.exceptions import TaskCancelled, shown

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.kernel import Kernel
    from actorsched._kernel.stepper import Stepper

Source = AsyncIterator[Any] | Iterator[Any]


class Reader(Protocol):
    """Whom a puller reads for."""

    kernel: Kernel
    title: str

    @property
    def wants(self) -> bool:
        """Whether there is room for one more item."""
        ...

    @property
    def dry(self) -> bool:
        """Whether nothing more is wanted, ever."""
        ...

    def pulled(self, item: Any) -> None:
        """Here is one more item."""

    def source_over(self, error: BaseException | None) -> None:
        """The source has ended, failed or been closed."""


def opened(items: Any, what: str) -> Source:
    """The iterator of what a user gave.

    Raises:
        TypeError: It cannot be iterated.
    """
    try:
        if hasattr(items, "__aiter__"):
            asynchronous: AsyncIterator[Any] = aiter(items)
            return asynchronous
        plain: Iterator[Any] = iter(items)
        return plain
    except TypeError:
        hint = "call it, and give what it returns" if callable(items) else "give an iterable, or an async one"
        raise TypeError(f"{what}={shown(items)} cannot be iterated; {hint}") from None


def is_async(source: Source) -> TypeGuard[AsyncIterator[Any]]:
    """Whether reading it takes an await."""
    return hasattr(type(source), "__anext__")


class Puller:
    """The run of user code that reads a source. It is an `Activity`, and the `Runnable` that has it."""

    def __init__(self, reader: Reader, source: Source, rank: int, context: Context) -> None:
        self.context: Context | None = context
        self.stepper: Stepper | None = None
        self.carrier: Carrier | None = None
        self.interrupted = False
        self.gate: Future | None = None
        self.rank = rank
        self._reader = reader
        self._source = source
        self._gate: Future | None = None  # where it waits for room
        self._inside = False  # waits within the source
        self._shield: CancelScope | None = None

    def __repr__(self) -> str:
        return f"<puller of {self._reader.title!r}>"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"the source of {self._reader.title}"

    # ----------------------------------------------------------------------------------- in a carrier

    def run(self, burst: int) -> tuple[Puller, object] | None:
        """Begin to read."""
        assert self.context is not None
        kernel = self._reader.kernel
        stepper: Any = kernel.stepper()
        try:
            yielded: object = self.context.run(stepper.send, self._pull())
        except BaseException as error:
            self.raised(error)
            return None
        if yielded is not DONE:
            self.stepper = stepper
            return self, yielded
        self.returned(kernel.result_of(stepper))
        return None

    def has_more(self) -> bool:
        """Never: it is one run."""
        return False

    def returned(self, value: Any) -> None:
        """The source has ended."""
        self.context = self.stepper = self.carrier = None
        self._reader.source_over(None)

    def raised(self, error: BaseException) -> None:
        """The source has failed, or was cancelled."""
        self.context = self.stepper = self.carrier = None
        reader = self._reader
        remaining = without_cancellation(error, reader.kernel.cancelled)
        if remaining is None and not reader.dry:
            remaining = TaskCancelled(f"{self.title} ended with {type(error).__name__}; nobody cancelled it")
            remaining.__cause__ = error
        reader.source_over(remaining)

    # ------------------------------------------------------------------------------- from the reader

    def look(self) -> None:
        """Something has changed: there may be room, or nothing is wanted any more."""
        reader = self._reader
        if self._gate is not None and (reader.wants or reader.dry):
            reader.kernel.reply(self._gate, None)
        elif self._inside and reader.dry and not self.interrupted:
            reader.kernel.interrupt(self)

    def force(self) -> None:
        """Cancel even the closing of the source."""
        if self._shield is not None:
            self._shield.cancel()

    # ---------------------------------------------------------------------------------- the run itself

    async def _pull(self) -> None:
        try:
            if is_async(self._source):
                await self._pull_async(self._source)
            else:
                await self._pull_plain(cast("Iterator[Any]", self._source))
        finally:
            await self._close()

    async def _pull_async(self, source: AsyncIterator[Any]) -> None:
        reader = self._reader
        while not reader.dry:
            if not reader.wants:
                await self._wait_for_room()
                continue
            self._inside = True
            try:
                item = await source.__anext__()
            except StopAsyncIteration:
                return
            finally:
                self._inside = False
            reader.pulled(item)

    async def _pull_plain(self, source: Iterator[Any]) -> None:
        reader = self._reader
        while not reader.dry:
            if not reader.wants:
                await self._wait_for_room()
                continue
            item = next(source, NOTHING)
            if item is NOTHING:
                return
            reader.pulled(item)

    async def _wait_for_room(self) -> None:
        self._gate = self._reader.kernel.future()
        try:
            await self._gate
        finally:
            self._gate = None

    async def _close(self) -> None:
        source = self._source
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            with CancelScope(shield=True) as self._shield:
                await aclose()
        elif isinstance(source, Generator):
            source.close()
