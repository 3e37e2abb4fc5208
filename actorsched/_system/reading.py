"""Letters that were told from one context, handled one after the other: the turn that most messages share.

Most handlers of told messages never suspend, and most letters come in rows from one sender. So the first of a
row opens a reading: one context is entered for all of them, and one generator awaits handler after handler,
which costs a third of stepping each.

A reading ends with the row, or as soon as anything at all follows from a letter: it has suspended, failed,
been asked about, sent mail, changed a context variable, or ended the life of its actor. What had been one
letter of many is then a `Call` of its own.
"""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from actorsched._kernel.current import CURRENT
from actorsched._system.call import Call, Letter
from actorsched._system.cell_state import Life
from actorsched._system.contexts import tables_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextvars import Context

    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.cell_turns import CellTurns

    _Handle = Callable[..., Generator[Any, Any, Any]]
    """A coroutine function; where coroutines are stepped, they do what generators do."""

_SECONDS_ALONE = 0.0005
"""How long an actor may go on reading, burst after burst, while nobody else is ready."""

# Bound once: reading a member through its class costs as much as a call before Python 3.12.
_RUNNING = Life.RUNNING


class Reading:
    """The turn of letters from one context.

    Actors that have the runtime to themselves go on reading for a while when the burst is used up: the way
    through the run queue and back costs as much as three letters.

    Attributes:
        letter: The first of the row that is being handled.
        args: The arguments of the one that is being handled.
        context: In which all are handled: a copy of the sender's, where their actor is the current one.
        left: How many messages may be handled after it before others have their turn.
    """

    __slots__ = ("_cell", "_until", "args", "context", "left", "letter")

    ended: ClassVar[None] = None
    deferred: ClassVar[None] = None

    def __init__(self, cell: CellTurns, letter: Letter, burst: int) -> None:
        self._cell = cell
        self._until: float | None = None
        self.letter: Letter = letter
        self.args: tuple[Any, ...] = letter.args
        self.context: Context = letter.context.copy()
        self.left: int = burst

    def __repr__(self) -> str:
        return f"<reading {self.letter!r}>"

    @property
    def owner(self) -> ActorCell:
        """Whose turn it is."""
        return self._cell.owner

    def call(self) -> Call:
        """The letter that is being handled, as a run of its own."""
        letter = self.letter
        if self.args is not letter.args:
            letter = letter.like(self.args)
        return letter.call(self._cell.owner, self.context)

    def code(self) -> Awaitable[Any]:
        """What is to be stepped in its context: one handler, or those of a row. Returns what the last did."""
        cell, letter = self._cell, self.letter
        self.context.run(CURRENT.set, cell)
        queue = cell.lane.queue
        following: Any = queue[0] if queue else None
        if type(following) is tuple or (type(following) is Letter and following.context is letter.context):
            return self._letters()
        self.left -= 1
        handle: Callable[..., Awaitable[Any]] = letter.handler.function
        if letter.kwargs:
            return handle(cell.instance, *letter.args, **letter.kwargs)
        return handle(cell.instance, *letter.args)

    @types.coroutine
    def _letters(self) -> Generator[Any, Any, Any]:
        """Handle the letter and those behind it, until something follows from one.

        When it raises, the burst is over.
        """
        cell, context, left = self._cell, self.context, self.left
        self.left = 0
        lane, mail, office = cell.lane, cell.kernel.mail, cell.kernel.office
        handle = self._handler()
        clean = tables_of(context)
        at = len(clean) - 1  # the other is the context that was entered before this one
        while True:
            value = yield from handle(*self.args)
            left -= 1
            if cell.turn is not self or cell.life is not _RUNNING or mail:
                break
            queue, extras = lane.queue, cell.extras
            if not queue or lane.ranked or (extras is not None and (extras.room or extras.resuming)):
                break
            if tables_of(context)[at] is not clean[at] or not (left or (left := self._another_burst())):
                break
            following: Any = queue.popleft()
            if type(following) is tuple:
                self.args = following
            elif type(following) is Letter and following.context is self.letter.context:
                self.letter = lane.head = following
                self.args = following.args
                handle = self._handler()
            else:
                queue.appendleft(following)  # somebody else's, or a call
                break
            office.handled += 1
        self.left = left
        return value

    def _handler(self) -> _Handle:
        """The handler as a method of the present instance, which is quicker to call with a tuple."""
        letter = self.letter
        method: Any = types.MethodType(letter.handler.function, self._cell.instance)
        handle: _Handle = partial(method, **letter.kwargs) if letter.kwargs else method
        return handle

    def _another_burst(self) -> int:
        """How many more it may handle at once: none when others are ready, or the loop has waited enough."""
        kernel = self._cell.kernel
        if kernel.ready or kernel.seeded:
            return 0
        now = kernel.backend.monotonic()
        if self._until is None:
            self._until = now + _SECONDS_ALONE
        return kernel.burst if now < self._until else 0
