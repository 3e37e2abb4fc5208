"""What users call: `alone`, with what it makes.

The law of this module: it names things and types them; what they do is said where they are defined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from actorsched.actor import Actor
from actorsched.exceptions import shown
from actorsched.testing._alone.actor import Alone, make_alone
from actorsched.testing._alone.refs import ActorStandIn, make_ref
from actorsched.testing._alone.task import AloneTask
from actorsched.testing._alone.task_refs import TaskStandIn, make_task_ref

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["alone"]

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


class MakeAlone:
    """Tests one actor or task alone: message in, effects out, without a runtime, an event loop or time.

    `account = alone(Account, 100, audit=alone.ref("audit"))` makes an actor and starts it. Everything that it
    does to the world around it is recorded instead of done, and what it waits for comes when the test says
    so. Any number of them may live side by side; what goes from one to another is carried by the test.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name

    def __repr__(self) -> str:
        return "alone" if self._name is None else f"alone.named({self._name!r})"

    def __call__(self, actor: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> Alone[A]:
        """Make an actor and run its `on_start`, until it ends or waits for something.

        Args:
            actor: A class of actors.
            args: For its constructor.
            kwargs: For its constructor.

        Returns:
            The actor, alone. Messages are sent to it by its `handle` and `tell`.

        Raises:
            TypeError: It is no class of actors, its constructor does not take these arguments, or one of them
                is the ref of a runtime.
            NeedsRuntime: It has tried what takes an event loop, or a runtime.
            BaseException: What the constructor or `on_start` raised.
        """
        actor_class: Any = actor
        return make_alone(actor_class, args, kwargs, self._name)

    def named(self, name: str) -> MakeAlone:
        """The same for an actor with a name: `alone.named("savings")(Account, 100)`.

        Raises:
            TypeError: The name is no str.
        """
        if not isinstance(name, str):
            raise TypeError(f"name={shown(name)} is of type {type(name).__name__}; give a str")
        return MakeAlone(name)

    @overload
    def ref(self, name: str, actor_class: None = None) -> ActorStandIn[Any]: ...
    @overload
    def ref(self, name: str, actor_class: type[A]) -> ActorStandIn[A]: ...
    def ref(self, name: str, actor_class: type[A] | None = None) -> ActorStandIn[Any]:
        """A stand-in for another actor: it records what it is told and asked, and answers what is prepared.

        Args:
            name: Its name.
            actor_class: What it stands for: only handlers of that class are taken then, with their arguments.
                Without it any handler is.

        Raises:
            TypeError: An argument has the wrong type.
        """
        return make_ref(name, actor_class)

    def task_ref(self, name: str) -> TaskStandIn[Any]:
        """A stand-in for a task: whoever awaits it waits until the test settles it, by `settle`.

        Raises:
            TypeError: The name is no str.
        """
        return make_task_ref(name)

    def task(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> AloneTask[Any]:
        """Make a task and run one attempt of its function, until it ends or waits for something.

        Args:
            function: Async or plain. A plain one has ended when this returns.
            args: Its positional arguments; the result of a settled stand-in takes its place.
            options: As for `rt.spawn`; besides them `attempt`, the number of the attempt, and `cancel_at`: at
                which `checkpoint()` a plain function is cancelled, counted from 1.

        Raises:
            TypeError: An option or argument does not exist, or has the wrong type.
            ValueError: An option has a wrong value.
            NeedsRuntime: It has tried what takes an event loop, or a runtime.
        """
        return AloneTask(function, args, options)


alone = MakeAlone()
"""Test one actor or task alone: see `MakeAlone`."""
