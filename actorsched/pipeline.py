"""Pipelines: stages that work at the same time, each on what the one before has done.

A `Stage` is a specification: a function, and how it is to be run for each item. A `Pipeline` is stages in
order; calling it with a source gives the results. What happens then is the business of a line
(`_system.line`): demand goes from the reader to the source, stage by stage, so that nothing is computed that
nobody has room for, and no more is in memory than the stages say.
"""

from __future__ import annotations

import logging
from functools import partial
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeGuard, TypeVar, cast, overload

from actorsched._system.emitting import (
    collecting_async,
    collecting_plain,
    emitting_async,
    emitting_in_thread,
    emitting_plain,
)
from actorsched._system.handlers import HANDLER, Handler
from actorsched._system.placing import check_arguments, host_of
from actorsched._system.source import opened
from actorsched._system.station import Station
from actorsched._system.task import function_name
from actorsched.actor import is_actor_class
from actorsched.exceptions import StageFailed, shown
from actorsched.flow import Flow, check_count, check_flag, line
from actorsched.messages import DeadLetter
from actorsched.options import Retry, TaskOptions, task_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from typing import Unpack

    from actorsched._core.window import Entry
    from actorsched._kernel.kernel import Kernel
    from actorsched._system.nursery import Nursery
    from actorsched._system.station import Results
    from actorsched._system.system import System
    from actorsched.durations import Duration
    from actorsched.options import TaskHost
    from actorsched.signatures import OnError, StageKeywords

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)

Kind: TypeAlias = Literal["function", "async generator", "generator"]


class Stage(Generic[In_contra, Out_co]):
    """One stage of a pipeline, checked. Made by `stage`, never changed, and good for many pipelines.

    Attributes:
        name: Its name.
        workers: How many items it works on at once.
        demand: How many results it keeps until the next stage takes them.
        ordered: Whether its results leave in the order of its items.
        skips: Whether it goes on without an item that failed.
    """

    __slots__ = (
        "_function",
        "_host",
        "_options",
        "_results",
        "_task",
        "demand",
        "name",
        "ordered",
        "skips",
        "workers",
    )

    def __init__(
        self,
        function: Callable[[Any], Any],
        options: TaskOptions,
        *,
        workers: int,
        demand: int,
        ordered: bool,
        skips: bool,
    ) -> None:
        self._function = function
        self.name: str = options.name or function_name(function)
        self.workers: int = workers
        self.demand: int = demand
        self.ordered: bool = ordered
        self.skips: bool = skips
        self._results: Results
        self._host: str
        self._task, self._results, self._options, self._host = _what_to_run(function, options, self.name)

    def __repr__(self) -> str:
        return f"<Stage {self.name!r}: {self.workers} at once, demand {self.demand}>"

    def _station(self, kernel: Kernel) -> Station:
        """A place in a line where this is done."""
        return Station(
            self._task,
            self._options,
            self._host,
            workers=self.workers,
            capacity=self.workers + self.demand,
            ordered=self.ordered,
            results=self._results,
            on_failure=partial(self._failed, kernel),
        )

    def _failed(self, kernel: Kernel, entry: Entry, error: BaseException) -> BaseException | None:
        """An item has failed. Answers with what ends the stream, or None to go on without the item."""
        if not isinstance(error, Exception):
            return error
        item = shown(entry.item)
        if self.skips:
            letter = DeadLetter(
                self.name, function_name(self._function), (entry.item,), {}, None, "skipped", error
            )
            kernel.office.show(letter)
            if not kernel.office.has_readers:
                kernel.report(logging.WARNING, f"stage {self.name!r} skips item {entry.index}, {item}", error)
            return None
        failure = StageFailed(
            f"stage {self.name!r} failed at item {entry.index}, {item}: {type(error).__name__}: {error}; "
            "mend what it does, or give the stage retry= or on_error='skip'",
            stage=self.name,
            item=item,
            index=entry.index,
        )
        failure.__cause__ = error
        return failure


def _what_to_run(
    function: Callable[[Any], Any], options: TaskOptions, name: str
) -> tuple[Callable[..., Any], Results, TaskOptions, str]:
    """What each task of a stage runs, what becomes of what it returns, the task's options, and its host."""
    kind = _kind_of(function)
    if kind == "function":
        asked = TaskOptions(name=name, host=options.host, timeout=options.timeout, retry=options.retry)
        return function, "one", asked, host_of(function, options)
    host = _host_of_generator(function, kind, options)
    here, there = TaskOptions(name=name, host="loop"), TaskOptions(name=name, host="process")
    match kind, host:
        case "async generator", "loop":
            return emitting_async(function), "emitted", here, "loop"
        case "generator", "loop":
            return emitting_plain(function), "emitted", here, "loop"
        case "generator", "thread":
            in_thread = emitting_in_thread(function, TaskOptions(name=name, host="thread"))
            return in_thread, "emitted", here, "loop"
        case "async generator", _:
            return collecting_async(function), "several", there, "process"
        case _:
            return collecting_plain(function), "several", there, "process"


def _kind_of(function: Callable[[Any], Any]) -> Kind:
    handler: Handler | None = getattr(function, HANDLER, None)
    if handler is not None:
        return "async generator" if handler.streams else "function"
    call = type(function).__call__  # of an object that can be called
    if isasyncgenfunction(function) or isasyncgenfunction(call):
        return "async generator"
    if isgeneratorfunction(function) or isgeneratorfunction(call):
        return "generator"
    return "function"


def _host_of_generator(function: Callable[[Any], Any], kind: Kind, options: TaskOptions) -> str:
    """Where a generator runs.

    Raises:
        ValueError: It cannot run there, or the options do not fit a generator.
    """
    host = options.host or getattr(function, "__actorsched_host__", None)
    if kind == "async generator" and host == "thread":
        raise ValueError(
            f'host="thread" does not fit {function_name(function)!r}, an async generator; '
            'it runs in the event loop ("loop", the default), or in a host process ("process")'
        )
    if host == "auto":
        raise ValueError(
            f'host="auto" does not fit {function_name(function)!r}, a generator: how long it takes depends '
            'on whoever takes its results; choose "loop", "thread" (for a plain one) or "process"'
        )
    if options.retry != Retry():
        raise ValueError(
            f"retry={options.retry!r} does not fit {function_name(function)!r}, a generator: results that "
            "were passed on cannot be taken back; try again inside it, or return a list and flatten it"
        )
    if options.timeout is not None:
        raise ValueError(
            f"timeout={options.timeout:g} does not fit {function_name(function)!r}, a generator: how long "
            "it takes depends on whoever takes its results; limit the time of each step inside it"
        )
    return host or ("loop" if kind == "async generator" else "thread")


# ------------------------------------------------------------------------------------------ making a stage


@overload
def stage(fn: Callable[[In], AsyncIterator[Out]], **options: Unpack[StageKeywords]) -> Stage[In, Out]: ...
@overload
def stage(fn: Callable[[In], Awaitable[Out]], **options: Unpack[StageKeywords]) -> Stage[In, Out]: ...
@overload
def stage(fn: Callable[[In], Iterator[Out]], **options: Unpack[StageKeywords]) -> Stage[In, Out]: ...
@overload
def stage(fn: Callable[[In], Out], **options: Unpack[StageKeywords]) -> Stage[In, Out]: ...
def stage(
    fn: Callable[[Any], Any],
    *,
    workers: int = 1,
    host: TaskHost | None = None,
    ordered: bool = True,
    demand: int | None = None,
    on_error: OnError = "fail",
    retry: Retry | int | None = None,
    timeout: Duration | None = None,
    name: str | None = None,
) -> Stage[Any, Any]:
    """Say how a function is to be run as a stage of a pipeline.

    A stage takes an item from the one before when fewer than `workers` are being worked on, and those and the
    results that nobody has taken are together fewer than `workers + demand`. So a slow stage slows down
    those before it, and a slow reader all of them.

    A generator function, async or plain, makes any number of results of one item; the next is computed when
    there is room for it. (In a host process it runs to its end first.)

    Args:
        fn: A function of one argument: async, plain, a generator of either kind, or a handler of an actor,
            such as `renderer.ask.render`.
        workers: How many items it works on at once.
        host: Where it runs: "loop", "thread", "process" or, for what is no generator, "auto"; by default as
            for any task.
        ordered: Whether results leave in the order of the items, or as soon as they are there.
        demand: How many results are kept until the next stage takes them; by default as many as `workers`.
        on_error: What becomes of an item that fails: "fail" ends the pipeline at its place, with a
            `StageFailed`; "skip" goes on without it, and makes it a dead letter (or a log record, when nobody
            reads those). A `Retry` is short for `retry=` with "fail".
        retry: How often an item is tried before it has failed.
        timeout: How long one attempt may take.
        name: Its name; by default, that of the function.

    Returns:
        The stage.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: One has a wrong value, or two do not go together.
    """
    _check_function(fn)
    if isinstance(on_error, Retry):
        if retry is not None:
            raise ValueError(f"on_error={on_error!r} and retry={retry!r} both say how often; give only one")
        retry = on_error
    elif on_error not in ("fail", "skip"):
        raise ValueError(
            f"on_error={shown(on_error)} is not a choice; choose 'fail', 'skip', or give a Retry"
        )
    given = {"name": name, "host": host, "timeout": timeout, "retry": retry}
    options = task_options({option: value for option, value in given.items() if value is not None})
    check_count(workers, "workers", "how many items are worked on at once, 1 or more")
    check_flag(ordered, "ordered")
    if demand is None:
        demand = workers
    check_count(
        demand, "demand", "how many results may wait for the next stage, 1 or more, or None for `workers`"
    )
    check_arguments(fn, (None,), {})
    return Stage(fn, options, workers=workers, demand=demand, ordered=ordered, skips=on_error == "skip")


def _check_function(fn: Callable[[Any], Any]) -> None:
    """Refuse what a stage cannot call.

    Raises:
        TypeError: It is nothing that can be called for each item.
    """
    if _is_stage(fn):
        raise TypeError(f"{fn!r} is a stage already; use it as it is")
    if is_actor_class(fn):
        raise TypeError(
            f"{fn.__qualname__} is a class of actors; spawn one, and make a stage of its handler, "
            "as in stage(ref.ask.handler)"
        )
    if not callable(fn):
        raise TypeError(f"fn={shown(fn)} cannot be called; give a function of one argument")


def _is_stage(given: object) -> TypeGuard[Stage[Any, Any]]:
    return isinstance(given, Stage)


# --------------------------------------------------------------------------------------------- the pipeline


class Pipeline(Generic[Out_co]):
    """Stages in order. `pipe(source)` gives the results, as an iterator; it may be called again and again.

    Attributes:
        stages: The stages.
    """

    __slots__ = ("_nursery", "_system", "stages")

    def __init__(self, system: object, nursery: object, stages: tuple[Stage[Any, Any], ...]) -> None:
        self._system = cast("System", system)  # what these are concerns nobody outside
        self._nursery = cast("Nursery", nursery)
        self.stages: tuple[Stage[Any, Any], ...] = stages

    def __repr__(self) -> str:
        return f"<Pipeline {self._name}>"

    @property
    def _name(self) -> str:
        return " -> ".join(stage.name for stage in self.stages)

    def __call__(self, source: Iterable[Any] | AsyncIterable[Any]) -> Flow[Out_co]:
        """Send the items of a source through the stages.

        Nothing begins before the first result is asked for. The source is closed at the end, if it is a
        generator or has an `aclose`.

        Args:
            source: An iterable or async iterable, also an endless one.

        Returns:
            An iterator over the results of the last stage; see `Flow`. A failure is raised at its place,
            when everything has stopped; a failure of the source is raised as it is.

        Raises:
            TypeError: The source cannot be iterated.
        """
        stations = [stage._station(self._system.kernel) for stage in self.stages]
        title = f"pipeline {self._name}"
        items = opened(source, "source")
        return Flow(line(self._system, self._nursery, title, stations, items, inline=False))


def pipeline(
    system: System, nursery: Nursery, stages: tuple[Stage[Any, Any] | Callable[[Any], Any], ...]
) -> Pipeline[Any]:
    """Stages and plain functions, as a pipeline; see `rt.pipeline`."""
    if not stages:
        raise ValueError("a pipeline has at least one stage; give functions, or what stage() returns")
    return Pipeline(system, nursery, tuple(map(_as_stage, stages)))


def _as_stage(given: Stage[Any, Any] | Callable[[Any], Any]) -> Stage[Any, Any]:
    return given if _is_stage(given) else stage(cast("Callable[[Any], Any]", given))
