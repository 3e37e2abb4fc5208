"""What `current().runtime` is for code that is tested alone.

The law of this module: it offers what one actor or task may do to a runtime that others would notice, records
it, and gives back stand-ins. What takes a runtime with others in it says so.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from actorsched._system.placing import check_arguments, host_of
from actorsched._system.task import function_name
from actorsched.actor import Actor, ActorRef, is_actor_class
from actorsched.durations import Duration, seconds
from actorsched.exceptions import shown
from actorsched.options import actor_options, task_options, upstream_refs
from actorsched.testing._alone.prepared import Prepared
from actorsched.testing._alone.refs import ActorStandIn, make_ref
from actorsched.testing._alone.scene import Wait
from actorsched.testing._alone.strand import NeedsRuntime
from actorsched.testing._alone.task_refs import make_task_ref
from actorsched.testing.effects import Monitored, ShutDown, Spawned

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched.messages import ExitReason
    from actorsched.testing._alone.scene import Scene
    from actorsched.testing._alone.task_refs import TaskStandIn


class RuntimeStandIn:
    """In the place of a `Runtime`.

    Attributes:
        name: Its name.
    """

    def __init__(self, scene: Scene) -> None:
        self.name = "alone"
        self._scene = scene
        self._names: dict[str, ActorStandIn[Any]] = {}
        self._prepared = Prepared()
        self._spawned = 0

    def __repr__(self) -> str:
        return f"<stand-in for the runtime of {self._scene.title}>"

    # ------------------------------------------------------------------------------------------ by the test

    def knows(self, ref: ActorStandIn[Any]) -> None:
        """Have `lookup` find this actor by its name.

        Raises:
            TypeError: It is no stand-in.
        """
        if not isinstance(ref, ActorStandIn):
            raise TypeError(f"{shown(ref)} is no stand-in; give one, by alone.ref()")
        self._names[ref.name] = ref

    def answers(self, target: Callable[..., Any], *values: Any) -> None:
        """Prepare what tasks of a function return: they have ended as soon as they are spawned.

        For a class of actors, prepare the stand-ins that whoever spawns one is given.

        Args:
            target: The function or class.
            values: One after the other; the last one for all that follow.

        Raises:
            TypeError: There is no value, or, for a class, one is no stand-in.
        """
        if is_actor_class(target):
            for value in values:
                if not isinstance(value, ActorStandIn):
                    raise TypeError(f"{shown(value)} is no stand-in for an actor; give one, by alone.ref()")
        self._prepared.answers(target, values)

    def fails(self, target: Callable[..., Any], error: Exception) -> None:
        """Prepare that tasks of a function fail, or that actors of a class do not start.

        Raises:
            TypeError: It is no exception.
        """
        self._prepared.fails(target, error)

    # ---------------------------------------------------------------------------------- what runtimes offer

    @property
    def now(self) -> float:
        """The present time, in seconds; it begins with 0 and passes by `advance`."""
        return self._scene.now

    async def spawn(self, target: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Record that a task or an actor is spawned.

        Returns:
            A stand-in: for a task until the test settles it, or as it was prepared.

        Raises:
            TypeError: An option or argument does not exist, or has the wrong type.
            ValueError: An option has a wrong value.
            BaseException: What was prepared for the class of actors.
        """
        if is_actor_class(target):
            return self._spawn_actor(target, args, options, child=False)
        return self._spawn_task(target, args, options)

    async def run(self, target: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Record that a task is spawned, and wait until the test settles it, by the ref of the effect.

        Raises:
            TypeError: As for `spawn`.
            ValueError: As for `spawn`.
            BaseException: What the test says that the task raised.
        """
        if is_actor_class(target):
            raise TypeError(f"{target.__qualname__} is a class of actors, which has no result; use spawn")
        ref = self._spawn_task(target, args, options)
        try:
            await ref.outcome()
        except BaseException:
            await ref.cancel("whoever ran it was cancelled")
            raise
        return ref.result()

    def lookup(self, name: str) -> ActorStandIn[Any]:
        """The actor of that name, of those that were spawned here, or that the test has made known.

        Raises:
            LookupError: There is none.
        """
        ref = self._names.get(name)
        if ref is None or not ref.alive:
            known = ", ".join(sorted(self._names)) or "none"
            raise LookupError(f"no actor is named {name!r} now; there are: {known}")
        return ref

    async def monitor(self, ref: ActorRef[Any]) -> ExitReason:
        """Wait until the test says how an actor has ended, by `end` of its stand-in.

        Raises:
            TypeError: It is no `ActorRef`, or a real one.
        """
        if not isinstance(ref, ActorStandIn):
            raise TypeError(f"{shown(ref)} is no stand-in for an actor; give one, by alone.ref()")
        self._scene.record(Monitored(ref))
        partner = ref._partner
        if partner.ending is not None:
            return partner.ending
        wait = Wait(self._scene, f"the end of {ref!r}; say how, by its end()")
        partner.watchers.append(wait)
        reason: ExitReason = await wait
        return reason

    async def sleep(self, duration: Duration) -> None:
        """Wait until so much time has passed, by `advance`.

        Raises:
            ValueError: It is no duration.
        """
        await self._scene.sleep(seconds(duration, field="duration"))

    async def shutdown(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """Record it. Nothing follows: it asks, and returns at once."""
        self._scene.record(ShutDown())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        error = self._scene.impossible = NeedsRuntime(
            f"current().runtime.{name} was used by {self._scene.title}, which is tested alone: what stands "
            "in for its runtime does not have it; test it in a `simulation`"
        )
        raise error

    # ---------------------------------------------------------------------------------------------- inside

    def _spawn_task(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> TaskStandIn[Any]:
        given = dict(options)
        if "after" in given:
            upstream_refs(given["after"])
        checked = task_options({name: value for name, value in given.items() if name != "after"})
        host_of(function, checked)
        check_arguments(function, args, checked.kwargs)
        ref = make_task_ref(checked.name or function_name(function), self._number(), checked)
        given.pop("kwargs", None)
        self._scene.record(Spawned(function, args, checked.kwargs, given, ref))
        prepared = self._prepared.of(function)
        if prepared is not None:
            try:
                value = prepared.one()
            except Exception as error:
                ref.settle(error=error)
            else:
                ref.settle(value)
        return ref

    def _spawn_actor(
        self, actor: type[Actor], args: tuple[Any, ...], options: dict[str, Any], *, child: bool
    ) -> ActorStandIn[Any]:
        given = dict(options)
        checked = actor_options(given)
        check_constructor(actor, args, checked.kwargs)
        made: Any = actor
        prepared = self._prepared.of(made)
        name = checked.name or f"{actor.__qualname__}-{self._number()}"
        given.pop("kwargs", None)
        ref: ActorStandIn[Any]
        try:
            ref = make_ref(name, actor) if prepared is None else prepared.one()
        except BaseException:
            self._scene.record(Spawned(actor, args, checked.kwargs, given, None, child))
            raise
        if checked.name is not None:
            self._names[name] = ref
        self._scene.record(Spawned(actor, args, checked.kwargs, given, ref, child))
        return ref

    def _number(self) -> int:
        self._spawned += 1
        return self._spawned


def check_constructor(actor: type, args: tuple[Any, ...], kwargs: Any) -> None:
    """Refuse arguments that a constructor does not take, as calling it would.

    Raises:
        TypeError: It names the class, and what is wrong.
    """
    try:
        signature = inspect.signature(actor)
    except ValueError:  # one of C has none
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{actor.__qualname__}{signature} was given wrong arguments: {error}") from None
