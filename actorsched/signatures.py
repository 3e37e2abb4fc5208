"""How `spawn` and its relatives may be called, as type checkers see it.

The law of this module: types only. What an option means, and how it is checked when it arrives, is said in
`options`; a test holds the names there and here to one another, and another has both checkers judge right and
wrong calls.

How it works: the functions themselves take anything and look at it at run time. Their types are protocols of
overloads: by the number of arguments, because each of them may be a value or the ref of a task that will give
it, and no type variable can say that of a whole parameter list. An async function comes before a plain one,
because it is one too, whose result is a coroutine. Beyond five arguments, and with `kwargs={...}`, only the
result is typed. A `TaskRef[Any]` as an argument is beyond mypy, which takes the ref for the value then: say
of what it is a ref.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    Required,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    overload,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
    )
    from datetime import datetime
    from typing import TypeAlias, Unpack

    from actorsched.actor import Actor, ActorRef
    from actorsched.context import ActorTimer
    from actorsched.durations import Duration
    from actorsched.flow import Flow
    from actorsched.options import ActorHost, Mailbox, Restart, Retry, TaskHost, UpstreamFailure
    from actorsched.pipeline import Pipeline, Stage
    from actorsched.task import Task, TaskRef

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")

if TYPE_CHECKING:
    OrRef: TypeAlias = T | TaskRef[T]
    """An argument of a task: a value, or the ref of the task whose result takes its place."""

    OnError: TypeAlias = Literal["fail", "skip"] | Retry
    """What becomes of an item that fails in a stage of a pipeline."""

    Names: TypeAlias = "NamesThatAreNoText | Iterator[str]"
    """Names in a set, list, tuple or any other collection, or an iterator; one text is not several names."""

    AnyStage: TypeAlias = Stage[Any, Any] | Callable[[Any], Any]
    """What a pipeline is made of."""


# ---------------------------------------------------------------------------------------------------- options


class NamesThatAreNoText(Protocol):
    """A collection of str that is no str itself: one may ask it for anything, and text only for text."""

    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...


class ExecutorKeywords(TypedDict, total=False):
    """The options of the tasks of an executor, which has their host, name and arguments apart."""

    description: str | None
    tags: Iterable[str]
    metadata: Mapping[str, object]
    priority: int
    after: Iterable[TaskRef[Any] | Task[Any]]
    timeout: Duration | None
    deadline: Duration | datetime | None
    hard: bool
    cost: Duration | None
    period: Duration | None
    retry: Retry | int
    resources: Names
    preemptible: bool
    tag: str | None
    abandon_on_cancel: bool
    max_latency: Duration | None
    cpu_cores: int | None
    memory_mb: float | None
    on_upstream_failure: UpstreamFailure


class ExecutorTaskKeywords(ExecutorKeywords, total=False):
    """The options of the tasks of an executor over a runtime, all of one name."""

    name: str | None


class PreparedKeywords(ExecutorKeywords, total=False):
    """The options of a prepared task, which has its name and arguments apart."""

    host: TaskHost | None


class TaskKeywords(PreparedKeywords, total=False):
    """The options of a task."""

    name: str | None


class TaskKeywordsWithArguments(TaskKeywords):
    """The options of a task whose function gets keyword arguments, which no type checker can follow."""

    kwargs: Required[Mapping[str, object]]


class ActorKeywords(TypedDict, total=False):
    """The options of an actor."""

    name: str | None
    restart: Restart
    host: ActorHost | None
    mailbox: Mailbox | None


class ActorKeywordsWithArguments(ActorKeywords):
    """The options of an actor whose constructor gets keyword arguments, which no type checker can follow."""

    kwargs: Required[Mapping[str, object]]


class StageKeywords(TypedDict, total=False):
    """The options of a stage of a pipeline."""

    workers: int
    host: TaskHost | None
    ordered: bool
    demand: int | None
    on_error: OnError
    retry: Retry | int | None
    timeout: Duration | None
    name: str | None


# ------------------------------------------------------------------------------------------------------ calls


class SpawnActor(Protocol):
    """Spawns an actor: its class, the arguments of its constructor, and options."""

    @overload
    async def __call__(
        self, actor: Callable[[*Ts], A], /, *args: *Ts, **options: Unpack[ActorKeywords]
    ) -> ActorRef[A]: ...
    @overload
    async def __call__(
        self, actor: Callable[..., A], /, *args: Any, **options: Unpack[ActorKeywordsWithArguments]
    ) -> ActorRef[A]: ...


class SetTimer(Protocol):
    """Sets a timer of an actor: a handler, its arguments, and perhaps a key.

    There is no place for `key` among the arguments of a ParamSpec. Where it is given, only what follows the
    handler by position is checked.
    """

    @overload
    def __call__(
        self,
        delay: Duration,
        handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ActorTimer: ...
    @overload
    def __call__(
        self,
        delay: Duration,
        handler: Callable[[Any, *Ts], Coroutine[Any, Any, Any]],
        /,
        *args: *Ts,
        key: object,
        **kwargs: Any,
    ) -> ActorTimer: ...


class Spawn(Protocol):
    """Spawns an actor, or a task: a function, its arguments, and options."""

    @overload
    async def __call__(  # type: ignore[overload-overlap]  # a class is a function too: actors come first
        self, actor: Callable[[*Ts], A], /, *args: *Ts, **options: Unpack[ActorKeywords]
    ) -> ActorRef[A]: ...
    @overload
    async def __call__(
        self, actor: Callable[..., A], /, *args: Any, **options: Unpack[ActorKeywordsWithArguments]
    ) -> ActorRef[A]: ...
    @overload
    async def __call__(
        self, fn: Callable[[], Awaitable[T]], /, **options: Unpack[TaskKeywords]
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1], Awaitable[T]], a1: OrRef[A1], /, **options: Unpack[TaskKeywords]
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4, A5], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        a5: OrRef[A5],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[..., Awaitable[T]],
        a1: Any,
        a2: Any,
        a3: Any,
        a4: Any,
        a5: Any,
        a6: Any,
        /,
        *more: Any,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self, fn: Callable[..., Awaitable[T]], /, *args: Any, **options: Unpack[TaskKeywordsWithArguments]
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(self, fn: Callable[[], T], /, **options: Unpack[TaskKeywords]) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1], T], a1: OrRef[A1], /, **options: Unpack[TaskKeywords]
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1, A2], T], a1: OrRef[A1], a2: OrRef[A2], /, **options: Unpack[TaskKeywords]
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4, A5], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        a5: OrRef[A5],
        /,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self,
        fn: Callable[..., T],
        a1: Any,
        a2: Any,
        a3: Any,
        a4: Any,
        a5: Any,
        a6: Any,
        /,
        *more: Any,
        **options: Unpack[TaskKeywords],
    ) -> TaskRef[T]: ...
    @overload
    async def __call__(
        self, fn: Callable[..., T], /, *args: Any, **options: Unpack[TaskKeywordsWithArguments]
    ) -> TaskRef[T]: ...


class Run(Protocol):
    """Runs a task to its end: a function, its arguments, and options."""

    @overload
    async def __call__(self, fn: Callable[[], Awaitable[T]], /, **options: Unpack[TaskKeywords]) -> T: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1], Awaitable[T]], a1: OrRef[A1], /, **options: Unpack[TaskKeywords]
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4, A5], Awaitable[T]],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        a5: OrRef[A5],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[..., Awaitable[T]],
        a1: Any,
        a2: Any,
        a3: Any,
        a4: Any,
        a5: Any,
        a6: Any,
        /,
        *more: Any,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self, fn: Callable[..., Awaitable[T]], /, *args: Any, **options: Unpack[TaskKeywordsWithArguments]
    ) -> T: ...
    @overload
    async def __call__(self, fn: Callable[[], T], /, **options: Unpack[TaskKeywords]) -> T: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1], T], a1: OrRef[A1], /, **options: Unpack[TaskKeywords]
    ) -> T: ...
    @overload
    async def __call__(
        self, fn: Callable[[A1, A2], T], a1: OrRef[A1], a2: OrRef[A2], /, **options: Unpack[TaskKeywords]
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[[A1, A2, A3, A4, A5], T],
        a1: OrRef[A1],
        a2: OrRef[A2],
        a3: OrRef[A3],
        a4: OrRef[A4],
        a5: OrRef[A5],
        /,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self,
        fn: Callable[..., T],
        a1: Any,
        a2: Any,
        a3: Any,
        a4: Any,
        a5: Any,
        a6: Any,
        /,
        *more: Any,
        **options: Unpack[TaskKeywords],
    ) -> T: ...
    @overload
    async def __call__(
        self, fn: Callable[..., T], /, *args: Any, **options: Unpack[TaskKeywordsWithArguments]
    ) -> T: ...


class Map(Protocol):
    """Runs a task for each item: a function of one argument, the items, and options."""

    @overload
    def __call__(
        self,
        fn: Callable[[A1], Awaitable[T]],
        items: Iterable[OrRef[A1]] | AsyncIterable[OrRef[A1]],
        *,
        limit: int | None = None,
        ordered: bool = True,
        **options: Unpack[TaskKeywords],
    ) -> Flow[T]: ...
    @overload
    def __call__(
        self,
        fn: Callable[[A1], T],
        items: Iterable[OrRef[A1]] | AsyncIterable[OrRef[A1]],
        *,
        limit: int | None = None,
        ordered: bool = True,
        **options: Unpack[TaskKeywords],
    ) -> Flow[T]: ...
    @overload
    def __call__(
        self,
        fn: Callable[..., Awaitable[T]],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        limit: int | None = None,
        ordered: bool = True,
        **options: Unpack[TaskKeywordsWithArguments],
    ) -> Flow[T]: ...
    @overload
    def __call__(
        self,
        fn: Callable[..., T],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        limit: int | None = None,
        ordered: bool = True,
        **options: Unpack[TaskKeywordsWithArguments],
    ) -> Flow[T]: ...


class MakePipeline(Protocol):
    """Puts stages together; what the last one makes is what the pipeline gives."""

    @overload
    def __call__(self, *stages: *tuple[*tuple[AnyStage, ...], Stage[Any, T]]) -> Pipeline[T]: ...
    @overload
    def __call__(
        self, *stages: *tuple[*tuple[AnyStage, ...], Callable[[Any], AsyncIterator[T]]]
    ) -> Pipeline[T]: ...
    @overload
    def __call__(
        self, *stages: *tuple[*tuple[AnyStage, ...], Callable[[Any], Awaitable[T]]]
    ) -> Pipeline[T]: ...
    @overload
    def __call__(
        self, *stages: *tuple[*tuple[AnyStage, ...], Callable[[Any], Iterator[T]]]
    ) -> Pipeline[T]: ...
    @overload
    def __call__(self, *stages: *tuple[*tuple[AnyStage, ...], Callable[[Any], T]]) -> Pipeline[T]: ...
