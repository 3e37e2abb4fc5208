"""What there is to know of one actor of a user: the cell's fields, and what follows from them.

The cell is told in six pages, each a class that extends the one before: its state, its urgency
(`cell_urgency`), its mailbox (`cell_mail`), its turns (`cell_turns`), its lives (`cell_lives`), and its ties
to others (`actor_cell`, whose class is the one that is made).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import require
from actorsched._system.call import Call, Hook, Letter
from actorsched._system.urgent import Urgent
from actorsched.exceptions import ActorStopped
from actorsched.messages import ExitReason
from actorsched.options import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from actorsched._core.behaviour import Behaviour, Reply
    from actorsched._core.mailbox import UserLane
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.code_run import CodeRun
    from actorsched._system.handlers import HandlerTable
    from actorsched._system.reading import Reading
    from actorsched._system.supervisor import Supervisor

NORMAL = int(Priority.NORMAL)
"""The priority that nearly all messages have."""


class Life(IntEnum):
    """Where an actor is in its life."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    ENDING = 3
    DOWN = 4
    STOPPED = 5


class Extras(msgspec.Struct, eq=False):
    """What few actors have: kept apart, so that an idle actor stays small."""

    room: OrderedDict[Call, None] = msgspec.field(
        default_factory=lambda: OrderedDict()
    )  # of this very type, for pyright
    """Calls that wait for room in the mailbox, in order; those whose senders give up leave from anywhere."""
    resuming: deque[tuple[Call, Reply]] = msgspec.field(default_factory=lambda: deque())
    """Streams that wait for their turn."""
    streams: dict[Call, None] = {}
    """Streams whose generator has begun, in that order: so they are cut off."""
    watchers: list[Reply] = []
    links: dict[ActorCell, None] = {}
    timers: dict[object, Any] = {}
    supervisor: Supervisor | None = None
    """The supervisor of its children."""
    started: Reply | None = None
    """Who waits for the end of its first start."""
    restarts: int = 0
    """How often its supervisor has started it again."""


class CellState(Urgent, eq=False):
    """The state of one actor, through all its lives."""

    actor_class: Callable[..., Any]
    table: HandlerTable
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context
    """Where it was spawned; each life starts in a copy."""
    lane: UserLane[Call | Letter]  # pyright: ignore[reportInvalidTypeArguments] # a priority for all letters
    supervisor: Supervisor
    given_name: str | None
    number: int
    on_stopped: Callable[[ActorCell], None] | None = None
    """Called when it has ended for good."""
    instance: Any = None
    life: Life = Life.STARTING
    born: bool = False
    """Whether it has ever started."""
    turn: CodeRun | Reading | None = None
    """Whose code is running or suspended, if any."""
    scheduled: bool = False
    """Whether it is in the run queue."""
    hook: Hook | None = None
    """The hook that is to run next."""
    ending: ExitReason | None = None
    """Why the present life ends."""
    leaving: ExitReason | None = None
    """Why it works off its mailbox."""
    returns: bool = False
    """Whether another life will follow, or the supervisor has still to decide."""
    killed: bool = False
    recalled: bool = False
    """Whether the supervisor has begun the present life, and waits to hear how."""
    extras: Extras | None = None

    role: ClassVar[str] = "actor"
    hosted: ClassVar[bool] = False
    """Whether its code runs in a host process."""

    @property
    def owner(self) -> ActorCell:
        """Whose code runs when the context says that this is running."""
        return self  # type: ignore[return-value]  # an ActorCell is what is made

    @property
    def may_wait(self) -> bool:
        """Whether what it waits for keeps it from handling messages: not so for tasks left behind."""
        turn = self.turn
        if isinstance(turn, Call):
            return turn.reply is None
        return turn is not None and not isinstance(turn, Hook)

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.given_name or f"{self.table.owner}-{self.number}"

    @property
    def title(self) -> str:
        """What the log calls it."""
        return f"actor {self.name!r}"

    def __repr__(self) -> str:
        return f"<actor {self.name!r} {self.life.name.lower()}, {self.lane!r}>"

    def more(self) -> Extras:
        """What few actors have, made on first use."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def gone(self, what: str) -> ActorStopped:
        """The error of a sender whose receiver has ended."""
        ending = self.ending or ExitReason("stopped")
        error = ActorStopped(
            f"{what}: actor {self.name!r} has ended ({ending}); "
            "spawn it again, or let a supervisor restart it",
            actor=self.name,
            reason=ending.kind,
        )
        error.__cause__ = ending.error
        return error

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """Its life, its end and its instance say the same."""
        super().check()
        life, ending, leaving = self.life, self.ending, self.leaving
        alive, over = life in (Life.RUNNING, Life.DRAINING), life in (Life.DOWN, Life.STOPPED)
        require((ending is None) == (life < Life.ENDING), self, "it is known why a life ends that does")
        require(
            life is not Life.RUNNING or leaving is None, self, "whoever is to leave takes no more messages"
        )
        require(
            life is not Life.DRAINING or leaving is not None, self, "it is known why it drains its mailbox"
        )
        require(not alive or (self.born and self.instance is not None), self, "whoever lives has an instance")
        require(not alive or not self.recalled, self, "its supervisor knows that it is up")
        require(not over or self.instance is None, self, "what has ended has no instance")
        require(not over or (self.turn is None and self.hook is None), self, "in what has ended no code runs")
        require(not self.killed or life >= Life.ENDING, self, "whoever was killed ends")
        require(
            not self.returns or life in (Life.ENDING, Life.DOWN), self, "who is to come back has to end first"
        )
        require(self.returns or life is not Life.DOWN, self, "who is down is to come back")

    if TYPE_CHECKING:  # what one page asks of a later one

        def schedule(self) -> None:
            """Get into the run queue, if there is something to run."""

        def fail(self, error: BaseException) -> None:
            """The present life ends with a failure; the supervisor decides what follows."""

        def hook_over(self, hook: Hook, error: BaseException | None) -> None:
            """`on_start` or `on_stop` has ended."""

        def go_on_ending(self) -> None:
            """Take the next step towards the end of this life, if nothing has to be waited for."""

        def fail_links(self, error: BaseException, origin: Behaviour, seen: set[Behaviour]) -> None:
            """Those that are linked fail too."""
