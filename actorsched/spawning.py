"""What a runtime and a scope have in common: spawning into a nursery.

What not every program uses is imported when it is.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from actorsched._system.actor_cell import Life
from actorsched._system.asking import settled
from actorsched.actor import Actor, ActorRef, is_actor_class
from actorsched.exceptions import DeadlockError
from actorsched.messages import Cancel
from actorsched.options import DEFAULT, DEFAULT_ACTOR, Supervise, actor_options, task_options, upstream_refs
from actorsched.task import Task as PreparedTask
from actorsched.task import TaskRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping
    from typing import Unpack

    from actorsched._core.routing import Routing
    from actorsched._system.actor_cell import ActorCell
    from actorsched._system.nursery import Nursery
    from actorsched._system.supervisor import Supervisor
    from actorsched._system.system import System
    from actorsched._system.task import TaskActor
    from actorsched.flow import Flow
    from actorsched.groups import ActorPool
    from actorsched.pipeline import Pipeline, Stage
    from actorsched.signatures import ActorKeywords, MakePipeline, Map, Run, Spawn
    from actorsched.submission import Link
    from actorsched.task import Task, TaskChain

T = TypeVar("T")
A = TypeVar("A", bound=Actor)

_RUNNING = Life.RUNNING
_NONE: Collection[object] = ()


class Spawner:
    """Spawns tasks and actors whose lives end within a scope."""

    _system: System
    _nursery: Nursery
    _supervise: Supervise
    _supervisor: Supervisor | None = None

    if TYPE_CHECKING:
        spawn: Spawn
        run: Run
    else:  # with the words for people; what may be called how is said in `signatures`

        async def spawn(
            self, target: Callable[..., Any], /, *args: Any, **options: object
        ) -> TaskRef[Any] | ActorRef[Any]:
            """Spawn a task, or an actor.

            Args:
                target: A function, async or plain, or a class of actors.
                args: Its positional arguments. A `TaskRef` among those of a task is a dependency, and its
                    result takes its place.
                options: Those of tasks, or of actors. Keyword arguments go into `kwargs={...}`.

            Returns:
                A `TaskRef` at once; an `ActorRef` when `on_start` has finished.

            Raises:
                TypeError: An option or argument does not exist, or has the wrong type.
                ValueError: An option has a wrong value.
                NotAdmitted: The pool has admission control, which refuses the task.
                RuntimeClosed: The runtime or scope takes no more work.
                BaseException: What the actor's constructor or `on_start` raised.
            """
            if type(target) is not FunctionType and isinstance(target, type) and issubclass(target, Actor):
                cell = self._new_actor(target, args, options)
                if cell.life is not _RUNNING:
                    await self._system.started(cell)
                return ActorRef(cell)
            return TaskRef(self._new_task(target, args, options))

        async def run(self, target: Callable[..., Any], /, *args: Any, **options: object) -> Any:
            """Spawn a task and wait for its result.

            Cancelling this cancels the task, and waits until it has really stopped.

            Args:
                target: A function, async or plain.
                args: As for `spawn`.
                options: As for `spawn`.

            Returns:
                Its result.

            Raises:
                TaskCancelled: Somebody else cancelled the task.
                BaseException: What the task raised, or what `spawn` does.
            """
            if isinstance(target, type) and issubclass(target, Actor):
                raise TypeError(f"{target.__qualname__} is a class of actors, which has no result; use spawn")
            task = self._new_task(target, args, options)
            try:
                await settled(task)
            except BaseException as error:
                await _cancel_and_wait(task, error)
                task.held_no_more(task.kernel)
                raise
            assert task.outcome is not None
            task.observed = True
            return task.outcome.unwrap()

    async def submit(self, prepared: Task[T] | TaskChain, /) -> TaskRef[Any]:
        """Submit a prepared task or chain, with all prepared tasks that it depends on.

        Args:
            prepared: Not submitted before.

        All of them are submitted, or none, when one is refused.

        Returns:
            The ref of the task; of a chain, that of its last task.

        Raises:
            DependencyCycle: Prepared tasks depend on each other in a circle.
            NotAdmitted: One of the tasks was refused by admission control.
            ValueError: It was submitted before, depends on a task of another runtime, or has a deadline
                that is past by now.
            RuntimeClosed: The runtime takes no more work.
        """
        return self.submit_nowait(prepared)

    def submit_nowait(self, prepared: Task[T] | TaskChain, /) -> TaskRef[Any]:
        """The same as `submit`, which never waits, for plain functions.

        Args:
            prepared: As for `submit`.

        Returns:
            As for `submit`.

        Raises:
            BaseException: As for `submit`.
        """
        if isinstance(prepared, PreparedTask) and prepared.stands_alone:  # like most
            task = self._system.new_task(self._nursery, prepared.fn, prepared.args, prepared.options)
            alone: TaskRef[Any] = TaskRef(task)
            prepared.ref = alone
            return alone
        from actorsched.submission import submission

        links = submission(prepared)
        for link in links:  # all are right, or none is submitted
            self._system.check_task(self._nursery, link.task.fn, link.args(), link.options())
        self._make_all(links)
        for link in links:
            assert link.task._task is not None
            self._system.enter(link.task._task)
        ref = links[-1].task.ref
        assert ref is not None
        return ref

    def _make_all(self, links: list[Link]) -> None:
        """Make the tasks of these links; if one is refused, it is as if nobody had tried."""
        system = self._system
        made: list[Link] = []
        try:
            for link in links:
                task = system.new_task(self._nursery, link.task.fn, link.args(), link.options(), held=True)
                link.task.ref = TaskRef(task)
                made.append(link)
        except BaseException:
            for link in made:
                assert link.task._task is not None
                system.dismiss(link.task._task)
                link.task.ref = None
            raise

    if TYPE_CHECKING:
        map: Map
    else:

        def map(
            self,
            fn: Callable[[Any], Any],
            items: Iterable[Any] | AsyncIterable[Any],
            *,
            limit: int | None = None,
            ordered: bool = True,
            **options: object,
        ) -> Flow[Any]:
            """Run a task for each item, several at a time, and iterate over the results.

            Nothing begins before the first result is asked for. Items are taken from the source while there
            is room, and never more than `limit` of them are between the source and the reader. When one
            fails, the results before it still come; then, when the others have stopped, its error is raised.
            The source is closed at the end, if it is a generator or has an `aclose`. Cancelling the wait for
            a result ends all of it too.

            Args:
                fn: A function of one argument, async or plain.
                items: An iterable or async iterable, also an endless one.
                limit: How many items may be in flight. By default twice as many as can run at once where
                    `fn` runs: in the loop twice the runtime's `concurrency`, and at least 16.
                ordered: Whether results come in the order of the items, or as soon as they are there.
                options: Those of each task. Keyword arguments of `fn` go into `kwargs={...}`.

            Returns:
                An iterator; see `Flow`.

            Raises:
                TypeError: An argument or option does not exist, or has the wrong type.
                ValueError: One has a wrong value.
            """
            from actorsched.flow import mapped

            return mapped(
                self._system, self._nursery, fn, items, limit=limit, ordered=ordered, options=options
            )

    def as_completed(self, refs: Iterable[TaskRef[T]]) -> Flow[TaskRef[T]]:
        """Iterate over tasks in the order in which they settle.

        Args:
            refs: Tasks of this runtime. Those that have settled come first; none comes twice.

        Returns:
            An iterator over the refs. Leaving it early, or cancelling the wait, leaves the tasks alone.

        Raises:
            TypeError: Something is no `TaskRef`.
            ValueError: A task belongs to another runtime.
        """
        from actorsched.flow import completed

        return completed(self._system, refs)

    def _new_task(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> TaskActor:
        if not options:
            return self._system.new_task(self._nursery, function, args, DEFAULT)
        # It concerns the submission alone, and is most often the only one.
        after: Collection[object] = options.pop("after", _NONE)
        if after is not _NONE and type(after) is not list:
            after = upstream_refs(after)
        checked = task_options(options) if options else DEFAULT
        return self._system.new_task(self._nursery, function, args, checked, after=after)  # pyright: ignore[reportUnknownArgumentType] # a list of anything

    if TYPE_CHECKING:
        pipeline: MakePipeline
    else:

        def pipeline(self, *stages: Stage[Any, Any] | Callable[[Any], Any]) -> Pipeline[Any]:
            """Put stages together: `async for size in rt.pipeline(read, stage(len, workers=2))(paths): ...`.

            Args:
                stages: Functions of one argument, as they are or with the options that `stage` gives them.

            Returns:
                A pipeline, to be called with a source.

            Raises:
                TypeError: Something is no function of one argument.
                ValueError: There is no stage.
            """
            from actorsched.pipeline import pipeline

            return pipeline(self._system, self._nursery, stages)

    async def spawn_pool(
        self,
        actor: Callable[..., A],
        /,
        *args: object,
        size: int = 4,
        routing: Routing = "least_loaded",
        **options: Unpack[ActorKeywords],
    ) -> ActorPool[A]:
        """Spawn several actors of one class, of which one gets each message.

        Args:
            actor: A class of actors.
            args: For the constructor of each.
            size: How many.
            routing: "least_loaded" (whoever has least to do), "round_robin" (each in turn) or "by_key" (equal
                keys to the same member).
            options: As for `spawn`. A `name` is followed by the number of the member.

        Returns:
            The pool, when all have started.

        Raises:
            TypeError: An option or argument does not exist, or has the wrong type.
            ValueError: The size or the routing is wrong, or an option has a wrong value.
            BaseException: What a constructor or `on_start` raised; those that had started are stopped.
        """
        from actorsched.groups import ActorPool, check_size

        check_size(size)
        if not is_actor_class(actor):
            raise TypeError(f"{actor!r} is no class of actors, so no pool can be made of it; give one")
        name = options.pop("name", None)

        async def grow(number: int) -> ActorRef[A]:
            named: dict[str, Any] = {} if name is None else {"name": f"{name}-{number}"}
            cell = self._new_actor(actor, args, {**options, **named})
            await self._system.started(cell)
            return ActorRef(cell)

        pool = ActorPool(grow, routing)
        try:
            await pool.resize(size)
        except BaseException:
            with self._system.kernel.shield():
                await pool.stop()
            raise
        return pool

    def _new_actor(self, actor: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> ActorCell:
        """Make an actor; it may not have started yet."""
        if not self._nursery.open:
            self._system.check_open(f"actor {options.get('name') or actor.__qualname__!r}", self._nursery)
        if self._supervisor is None:
            self._supervisor = self._system.supervisor(self._nursery, self._supervise)
        checked = actor_options(options) if options else DEFAULT_ACTOR
        return self._system.new_actor(self._supervisor, actor, Actor, args, checked)


async def _cancel_and_wait(task: TaskActor, why: BaseException) -> None:
    """Whoever ran a task cannot wait for it any longer: cancel it, and wait until it has stopped."""
    kernel = task.kernel
    cancelled = isinstance(why, kernel.cancelled)
    kernel.post(
        task, Cancel("whoever ran it was cancelled" if cancelled else f"its result is not awaited: {why}")
    )
    with kernel.shield():
        while task.outcome is None and not isinstance(why, GeneratorExit):
            try:
                await settled(task, certain=True)
            except (DeadlockError, kernel.cancelled):
                pass  # asyncio delivers a cancellation also where it is shielded from; one is being raised


async def spawn_child(
    parent: ActorCell, actor: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> ActorRef[Any]:
    """Spawn an actor under the supervisor of its parent's children."""
    system: System = parent.kernel.facade._system
    if not (isinstance(actor, type) and issubclass(actor, Actor)):
        raise TypeError(
            f"{actor!r} is no class of actors, so it cannot be a child; spawn tasks with the runtime"
        )
    if parent.ending is not None:
        raise parent.gone(f"no child of class {actor.__qualname__} was started")
    extras = parent.more()
    if extras.supervisor is None:
        extras.supervisor = system.supervisor(parent, Supervise())
    cell = system.new_actor(extras.supervisor, actor, Actor, args, actor_options(options))
    if cell.life is not _RUNNING:
        await system.started(cell)
    return ActorRef(cell)
