"""Functions that turn one item into many results: what their tasks do instead of calling them once.

Results are handed on one by one, each as soon as it is there, and the next is computed only when there is
room for it: so an item may have any number of results, endlessly many too.

* In the loop the task iterates over the generator itself, async or plain.
* A plain generator in a thread is advanced by one task in a thread after the other, each as far as there is
  room and for a moment only; so it blocks no thread while it waits for room.
* A host process cannot keep a generator between two tasks: there it runs to its end, and its results cross
  together.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from actorsched._kernel.current import CURRENT
from actorsched._system.asking import settled
from actorsched.exceptions import TaskCancelled
from actorsched.messages import Cancel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from actorsched._core.window import Entry
    from actorsched._system.line import Line
    from actorsched._system.station import Station
    from actorsched.options import TaskOptions

    Emitting = Callable[[Line, Station, Entry], Coroutine[Any, Any, None]]

_MOMENT = 0.005
"""Seconds for which a generator in a thread goes on before its results are handed over."""


def emitting_async(function: Callable[[Any], AsyncGenerator[Any, Any]]) -> Emitting:
    """A task that iterates over an async generator."""

    async def emit(line: Line, station: Station, entry: Entry) -> None:
        results = function(entry.item)
        try:
            async for result in results:
                line.emit(station, entry, result)
                await line.may_go_on(station, entry)
        finally:
            with CancelScope(shield=True):
                await results.aclose()

    return emit


def emitting_plain(function: Callable[[Any], Generator[Any, Any, Any]]) -> Emitting:
    """A task that iterates over a plain generator in the loop."""

    async def emit(line: Line, station: Station, entry: Entry) -> None:
        results = function(entry.item)
        try:
            for result in results:
                line.emit(station, entry, result)
                await line.may_go_on(station, entry)
        finally:
            results.close()

    return emit


def emitting_in_thread(function: Callable[[Any], Generator[Any, Any, Any]], options: TaskOptions) -> Emitting:
    """A task that has a plain generator advanced in threads."""

    async def emit(line: Line, station: Station, entry: Entry) -> None:
        results = function(entry.item)
        over = False
        try:
            while not over:
                await line.may_go_on(station, entry)
                room = station.window.capacity - station.window.workers - station.window.buffered
                got, over, error = await _run(line, _advance, (results, max(1, room)), options)
                for result in got:
                    line.emit(station, entry, result)
                if error is not None:
                    raise error
        finally:
            if not over:
                with CancelScope(shield=True):
                    await _run(line, results.close, (), options)

    return emit


def collecting_async(function: Callable[[Any], AsyncGenerator[Any, Any]]) -> Callable[[Any], Any]:
    """A function with all results of an async generator."""

    async def collect(item: Any) -> list[Any]:
        return [result async for result in function(item)]

    return collect


def collecting_plain(function: Callable[[Any], Generator[Any, Any, Any]]) -> Callable[[Any], Any]:
    """A function with all results of a plain generator."""

    def collect(item: Any) -> list[Any]:
        from actorsched._kernel.current import CURRENT as HERE  # this function travels without its module

        run: Any = HERE.get()
        results: list[Any] = []
        for result in function(item):
            results.append(result)
            run.checkpoint()
        return results

    return collect


def _advance(results: Generator[Any, Any, Any], room: int) -> tuple[list[Any], bool, Exception | None]:
    """Advance a generator, in a thread. Answers with results, whether it is over, and what it raised."""
    run: Any = CURRENT.get()
    until = time.monotonic() + _MOMENT
    got: list[Any] = []
    try:
        for result in results:
            got.append(result)
            if len(got) >= room or time.monotonic() > until:
                return got, False, None
            run.checkpoint()
    except Exception as error:
        return got, True, error
    return got, True, None


async def _run(line: Line, function: Any, args: tuple[Any, ...], options: TaskOptions) -> Any:
    """Run a task to its end; cancelling this cancels it, and waits until it has stopped."""
    task = line.system.new_task(line, function, args, options, host=options.host)
    task.observed = True
    try:
        await settled(task)
    except BaseException:
        line.kernel.post(task, Cancel("the task that ran it was cancelled"))
        with CancelScope(shield=True):
            while task.outcome is None:
                try:
                    await settled(task)
                except TaskCancelled:
                    break
        raise
    assert task.outcome is not None
    return task.outcome.unwrap()
