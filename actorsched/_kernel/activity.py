"""What carriers carry: user code that may suspend, and whoever has such code to run.

An `Activity` is one run of user code: a handler with its message, or a task's function. A `Runnable` is
a member of the run queue: an actor that has messages, or a worker that has a task. It steps its
activities itself, because the shortest way from a message to its handler is what makes actors cheap.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from actorsched._kernel.backend import Future
    from actorsched._kernel.carrier import Carrier
    from actorsched._kernel.stepper import Stepper


class Activity(Protocol):
    """One run of user code, from its beginning to its end."""

    context: Context | None
    """Where it runs. None when it is over: the context refers back to the activity."""
    stepper: Stepper | None
    """What steps the code since it has suspended."""
    carrier: Carrier | None
    """Who stays with it since it suspended first; None before."""
    interrupted: bool
    """Whether it was told to stop."""
    gate: Future | None
    """Where it waits since it was preempted; None while it may take its steps."""

    @property
    def title(self) -> str:
        """What the log calls it."""
        ...

    def returned(self, value: Any) -> Runnable | None:
        """The code has returned. Answers with who may have more to run."""
        ...

    def raised(self, error: BaseException) -> Runnable | None:
        """The code has raised. Answers with who may have more to run."""
        ...


class Runnable(Protocol):
    """Somebody in the run queue."""

    rank: int
    """Higher ones come first."""

    @property
    def title(self) -> str:
        """What the log calls it."""
        ...

    def run(self, burst: int) -> tuple[Activity, object] | None:
        """Step what it has, one activity after the other, at most `burst`.

        Returns:
            The activity that suspended, with what it yielded to the loop; None when none did.
        """
        ...

    def has_more(self) -> bool:
        """Whether it should go back into the run queue; it then counts as being in it."""
        ...
