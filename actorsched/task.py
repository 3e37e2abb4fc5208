"""Tasks as users hold them: the ref of a submitted task, and tasks and chains prepared for submission."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import msgspec

from actorsched._system.announcing import Call as Announcement
from actorsched._system.task import REFS
from actorsched.exceptions import TaskCancelled
from actorsched.messages import SETTLE, Cancel, Outcome, SetPriority, Watch
from actorsched.options import task_options
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
    from typing import Unpack

    from actorsched._system.task import TaskActor
    from actorsched.options import TaskOptions
    from actorsched.signatures import PreparedKeywords

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
F = TypeVar("F", bound="Callable[..., Any]")

_COMPLETED = TaskStatus.COMPLETED
_HOST = "__actorsched_host__"


def cpu_bound(function: F) -> F:
    """Mark a function as one that uses a processor: its tasks run in a host process unless told otherwise.

    Args:
        function: A plain or async function.

    Returns:
        The same function.

    Raises:
        TypeError: It is no function, or one that takes no marks, such as a built-in one.
    """
    if not callable(function):
        raise TypeError(f"function={function!r} cannot be called; mark a plain or async function")
    try:
        setattr(function, _HOST, "process")
    except (AttributeError, TypeError):
        raise TypeError(
            f"{function!r} cannot be marked as cpu_bound; give host='process' to whatever spawns it"
        ) from None
    return function


class TaskRef(msgspec.Struct, Generic[T_co], eq=False, weakref=True):
    """A submitted task, from outside. `await ref` gives its result, or raises its error.

    Awaiting may be repeated, and done by many. Cancelling an `await` leaves the task alone. Refs are equal
    when they mean the same task.
    """

    _task: TaskActor

    def __repr__(self) -> str:
        return f"<TaskRef {self.name!r} ({self.id}) {self.status.value}>"

    def __await__(self) -> Generator[Any, Any, T_co]:
        task = self._task
        if task.outcome is None:
            from actorsched._system.asking import settled

            yield from settled(task).__await__()
        outcome = task.outcome
        assert outcome is not None
        if outcome.error is not None:
            task.observed = True
            outcome.unwrap()
        value: Any = outcome.value
        result: T_co = value
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskRef) and other._task is self._task

    def __hash__(self) -> int:
        return hash(self._task)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __del__(self) -> None:
        try:
            task = self._task
        except AttributeError:  # it was never made
            return
        outcome = task.outcome
        if outcome is None or outcome.error is not None:  # else nobody needs to know who could look
            task.held_no_more(task.kernel)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        reduced: tuple[Callable[..., Any], tuple[Any, ...]] = self._task.kernel.facade._reduced(self._task)
        return reduced

    @property
    def id(self) -> str:
        """Its id, unique in the process."""
        return self._task.id

    @property
    def name(self) -> str:
        """Its name; by default, that of its function."""
        return self._task.name

    @property
    def status(self) -> TaskStatus:
        """Where it is in its life."""
        return self._task.status

    @property
    def priority(self) -> int:
        """Its effective priority."""
        return self._task.rank

    @property
    def progress(self) -> tuple[float, str | None]:
        """The fraction done, from 0 to 1, and the last message that it reported."""
        done, said = self._task.progress
        return (1.0 if self._task.status is _COMPLETED else done), said

    @property
    def attempt(self) -> int:
        """The number of the present or last attempt, from 1; 0 before the first."""
        return self._task.attempt

    @property
    def tardiness(self) -> float | None:
        """By how many seconds it ended after its deadline, 0.0 if in time; None before, or without one."""
        outcome = self._task.outcome
        return None if outcome is None else outcome.tardiness

    @property
    def description(self) -> str | None:
        """What it was described as."""
        return self._task.options.description

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self._task.options.tags

    @property
    def metadata(self) -> Mapping[str, object]:
        """Its metadata."""
        return self._task.options.metadata

    def done(self) -> bool:
        """Whether it has settled."""
        return self._task.outcome is not None

    def result(self) -> T_co:
        """Its result.

        Raises:
            RuntimeError: It has not settled.
            BaseException: Its error.
        """
        outcome = self._settled()
        self._task.observed = True
        result: T_co = outcome.unwrap()
        return result

    def exception(self) -> BaseException | None:
        """Its error; None when it completed.

        Raises:
            RuntimeError: It has not settled.
        """
        outcome = self._settled()
        self._task.observed = True
        return outcome.error

    def _settled(self) -> Outcome[T_co]:
        outcome = self._task.outcome
        if outcome is None:
            raise RuntimeError(
                f"task {self.name!r} is {self.status.value}; await its ref before asking for its result"
            )
        return outcome

    async def outcome(self) -> Outcome[T_co]:
        """How it ended, once it has; never raises what the task raised."""
        from actorsched._system.asking import settled

        task = self._task
        await settled(task)
        task.observed = True
        assert task.outcome is not None
        return task.outcome

    async def cancel(self, reason: str | None = None) -> None:
        """Stop the task, and return when it has really stopped.

        An async task is cancelled where it waits; a thread stops at its next `checkpoint()`; a host process
        is given a grace period, then ended. Tasks that depend on it are cancelled with it. Called by the task
        itself, it asks and returns at once. A settled task is left as it is.

        Args:
            reason: Why; whoever awaits the task reads it in `TaskCancelled`.

        Raises:
            TypeError: The reason is no text.
        """
        from actorsched._system.asking import inside, settled

        _check_reason(reason)
        task = self._task
        if task.outcome is not None:
            return
        task.kernel.check_thread(f"task {task.name!r} was cancelled")
        task.kernel.post(task, Cancel(reason))
        if not inside(task):
            await settled(task, certain=True)

    def cancel_nowait(self, reason: str | None = None) -> None:
        """Have the task stopped, as `cancel` does, and return at once.

        Args:
            reason: As for `cancel`.

        Raises:
            TypeError: The reason is no text.
            RuntimeError: This is another thread than that of its runtime.
        """
        _check_reason(reason)
        task = self._task
        if task.outcome is None:
            task.kernel.check_thread(f"task {task.name!r} was cancelled")
            task.kernel.post(task, Cancel(reason))

    def settle(self, value: T_co | None = None, error: Exception | None = None) -> bool:
        """Settle the task by hand, with a result or an error; code of it that runs is stopped as by `cancel`.

        The first settlement stands: whatever the function returns or raises after that is dropped. Whoever
        awaits the task hears of it when the code has stopped.

        Args:
            value: Its result.
            error: Why it has none. A `TaskCancelled` has it end CANCELLED, anything else FAILED.

        Returns:
            Whether that settles it; False when it had settled, or was cancelled, before.

        Raises:
            TypeError: The error is none.
            ValueError: There is both a value and an error.
            RuntimeError: This is another thread than that of its runtime.
        """
        outcome = _by_hand(value, error)
        task = self._task
        task.kernel.check_thread(f"task {task.name!r} was settled")
        if not task.may_be_settled_as(outcome):
            return False
        task.kernel.post(task, SETTLE)
        return True

    def add_done_callback(self, function: Callable[[TaskRef[T_co]], object]) -> None:
        """Have a function called with this ref when the task has settled; soon, if it has.

        It is called in the thread of the runtime, when nothing else is going on there, so it must be quick.
        An error of it is logged.

        Args:
            function: What is called.

        Raises:
            TypeError: It cannot be called.
            RuntimeError: This is another thread than that of the runtime.
        """
        if not callable(function):
            raise TypeError(f"function={function!r} cannot be called; give a function that takes a TaskRef")
        task = self._task
        kernel = task.kernel
        if get_ident() != kernel.thread:
            kernel.check_thread(f"the end of task {task.name!r} was to be listened to")
        kernel.post(task, Watch(Announcement(kernel.facade._system.announcer, function, self)))

    async def set_priority(self, priority: int) -> None:
        """Change its base priority, and with it its place in the queue.

        Args:
            priority: A `Priority`, or any int; higher ones come first.

        Raises:
            TypeError: It is no int.
        """
        self.set_priority_nowait(priority)

    def set_priority_nowait(self, priority: int) -> None:
        """The same, without anything to await.

        Args:
            priority: As for `set_priority`.

        Raises:
            TypeError: It is no int.
            RuntimeError: This is another thread than that of its runtime.
        """
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(
                f"priority={priority!r} is of type {type(priority).__name__}; give a Priority or an int"
            )
        task = self._task
        task.kernel.check_thread(f"the priority of task {task.name!r} was changed")
        task.kernel.post(task, SetPriority(priority))


def _check_reason(reason: object) -> None:
    if reason is not None and not isinstance(reason, str):
        raise TypeError(
            f"reason={reason!r} is of type {type(reason).__name__}; say why as a str, or leave it out"
        )


def _by_hand(value: object, error: object) -> Outcome[Any]:
    if error is None:
        return Outcome(TaskStatus.COMPLETED, value)
    if not isinstance(error, Exception):
        raise TypeError(f"error={error!r} is of type {type(error).__name__}; give an exception")
    if value is not None:
        raise ValueError(f"value={value!r} and error={error!r} are both given; a task has only one of them")
    status = TaskStatus.CANCELLED if isinstance(error, TaskCancelled) else TaskStatus.FAILED
    return Outcome(status, error=error, origin=error.__traceback__)


def outcome_of(ref: TaskRef[T]) -> Outcome[T] | None:
    """How a task ended; None if it has not. Who asks has looked at it."""
    task = ref._task
    if task.outcome is not None:
        task.observed = True
    return task.outcome


def another_ref(task: TaskActor) -> TaskRef[Any]:
    """One more ref of a task; the first goes to whoever had it made."""
    task.holders += 1
    return TaskRef(task)


class Task(Generic[T]):
    """A task prepared for `rt.submit`, which may be called once.

    Args:
        name: Its name, for people.
        fn: The function: `async def` or plain.
        args: Its positional arguments. A `TaskRef` or another `Task` among them is a dependency, and its
            result takes its place.
        kwargs: Its keyword arguments; the same holds for them.
        arg_deps: In a chain, the parameter that takes the result of the task before it; by default its first.
        options: As for `rt.spawn`; `after` may name prepared tasks too.

    Raises:
        TypeError: An option does not exist or has the wrong type, or `fn` cannot be called.
        ValueError: An option has a wrong value.
    """

    @overload
    def __init__(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        arg_deps: Sequence[str] = (),
        **options: Unpack[PreparedKeywords],
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        fn: Callable[..., T],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        arg_deps: Sequence[str] = (),
        **options: Unpack[PreparedKeywords],
    ) -> None: ...

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        arg_deps: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn={fn!r} of task {name!r} cannot be called; give an async or a plain function")
        if type(args) is not tuple and not isinstance(args, (tuple, list)):
            raise TypeError(
                f"args={args!r} of task {name!r} is no tuple; give its positional arguments as one"
            )
        options["name"] = name
        if kwargs is not None:
            options["kwargs"] = kwargs
        self.options: TaskOptions = task_options(options)
        self.name = name
        self.fn = fn
        self.args: tuple[Any, ...] = tuple(args)
        self.kwargs: Mapping[str, object] = self.options.kwargs
        self.arg_deps: tuple[str, ...] = () if arg_deps == () else self._checked(arg_deps)
        self.ref: TaskRef[Any] | None = None

    def _checked(self, arg_deps: Sequence[str]) -> tuple[str, ...]:
        """The parameter that takes the result of the task before, in a tuple."""
        name = self.name
        if not isinstance(arg_deps, (list, tuple)) or not all(isinstance(item, str) for item in arg_deps):
            raise TypeError(f"arg_deps={arg_deps!r} of task {name!r} must be a list of parameter names")
        if len(arg_deps) > 1:
            raise ValueError(
                f"arg_deps={arg_deps!r} of task {name!r} names more than one parameter; "
                "a chain has one result"
            )
        if arg_deps and arg_deps[0] in self.kwargs:
            raise ValueError(
                f"arg_deps={arg_deps!r} of task {name!r} names {arg_deps[0]!r}, which kwargs gives already"
            )
        return tuple(arg_deps)

    @property
    def _task(self) -> TaskActor | None:
        return None if self.ref is None else self.ref._task

    @property
    def stands_alone(self) -> bool:
        """Whether it may be submitted, and depends on no other prepared task that is not submitted yet."""
        if self.ref is not None:
            return False
        if not (self.args or self.kwargs or self.options.after):
            return True
        named = (*self.args, *self.kwargs.values(), *self.options.after)
        return not any(isinstance(other, Task) and other.ref is None for other in named)

    def __repr__(self) -> str:
        return f"<Task {self.name!r}{'' if self.ref is None else ', submitted'}>"


def prepared_with(options: TaskOptions, fn: Callable[..., Any], args: tuple[Any, ...]) -> Task[Any]:
    """Prepare a task with options that were checked before: for whoever prepares many that have the same.

    Nothing is checked here. That costs a quarter of what the checks do.

    Args:
        options: With a name, and with the keyword arguments.
        fn: The function.
        args: Its positional arguments.
    """
    kind: type[Task[Any]] = Task
    prepared = kind.__new__(kind)
    prepared.options, prepared.name = options, options.name or "task"
    prepared.fn, prepared.args, prepared.kwargs = fn, args, options.kwargs
    prepared.arg_deps, prepared.ref = (), None
    return prepared


class TaskChain:
    """Prepared tasks that run one after the other, each with the result of the one before.

    The result goes to the first parameter of the next task, or to the one named in its `arg_deps`.

    Args:
        tasks: At least one, at most 15.

    Raises:
        ChainTooLong: More than 15.
        ValueError: None at all, or one of them twice.
        TypeError: Something that is not a `Task`.
    """

    def __init__(self, *tasks: Task[Any]) -> None:
        from actorsched._core.dependencies import check_chain

        for task in tasks:
            if not isinstance(task, Task):
                raise TypeError(f"a chain links Tasks, not {task!r}; wrap it as Task(name, fn)")
        check_chain([task.name for task in tasks])
        if len({id(task) for task in tasks}) != len(tasks):
            raise ValueError("a task stands in this chain twice; make a second Task of it")
        self.tasks = tasks

    def __repr__(self) -> str:
        return f"<TaskChain {' -> '.join(task.name for task in self.tasks)}>"


REFS.update((TaskRef, Task))
