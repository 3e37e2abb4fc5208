"""Executors as the standard library knows them, over a runtime: for code that blocks, and for its libraries.

The law of this module: it is the face of `concurrent.futures.Executor`, to the letter, and nothing more. Who
has ordered what is kept in `_system.orders`, and carried out by `_system.intake`.

How it works: `rt.executor()` is a door to a runtime that exists, and ends with that. An `Executor` has a
runtime of its own, in a thread of its own, from the first submission on. Whoever holds an executor holds
nothing of the loop's side but its book; so one that is dropped is collected, and shuts down.

When the interpreter ends, executors that were not shut down finish what they were given, as those of the
standard library do.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from concurrent import futures
from concurrent.futures import BrokenExecutor
from itertools import count, islice
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from actorsched._system.intake import Intake
from actorsched._system.orders import Book
from actorsched._system.placing import is_async
from actorsched.checks import check_choice, check_label, check_whole, wrong_type
from actorsched.exceptions import ActorschedError, shown
from actorsched.options import Hosts, task_options
from actorsched.running import run
from actorsched.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from typing import Unpack

    from actorsched._system.orders import Order, Work
    from actorsched.options import TaskHost, TaskOptions
    from actorsched.signatures import ExecutorKeywords

__all__ = ["Executor", "ExecutorBroken", "RuntimeExecutor"]

T = TypeVar("T")
P = ParamSpec("P")

_HOSTS = ("process", "thread", "loop", "auto")
_SHUT = "cannot schedule new futures after shutdown; make another executor"
_INTERPRETER_ENDS = "cannot schedule new futures after interpreter shutdown"
_numbers = count(1)


class ExecutorBroken(ActorschedError, BrokenExecutor):
    """The initializer of an executor has failed, which is the `__cause__`: nothing that needs it can be run.

    Attributes:
        executor: The name of the executor; None if unknown.
    """

    def __init__(self, message: str = "", *, executor: str | None = None) -> None:
        super().__init__(message)
        self.executor = executor


class RuntimeExecutor(futures.Executor):
    """A `concurrent.futures.Executor` over a runtime, made by `rt.executor()`; usable in any thread.

    Futures are told to be running when their function is handed to a host, and can be cancelled until then.
    A host that dies takes along only what it was running: that future ends with `HostDied`, and all others go
    on. Callbacks of futures are called in the thread of the event loop, so they must be quick.

    A function that waits for futures of its own executor keeps its thread or host meanwhile. When all of them
    do, nothing is left to do the work that they wait for.
    """

    def __init__(self, book: Book, max_workers: int) -> None:
        self._book = book
        self._max_workers = max_workers  # what dask looks for
        self._finalizer = weakref.finalize(self, book.close, _SHUT)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self._book!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot cross to another process: its futures live here; "
            "in a host process use current().runtime, or make an Executor there"
        )

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called, and answer at once with the future of its result.

        Args:
            fn: A plain function. For host processes it may be any, also a lambda or a nested one.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Raises:
            TypeError: It cannot be called, or is async.
            RuntimeError: The executor was shut down, or its runtime has ended.
            ExecutorBroken: The initializer has failed.
        """
        _check_function(fn)
        future: Future[T] = self._order([self._work(fn, args, kwargs)])[0]
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call a function with the items of one or more iterables, several calls at a time.

        Closing the iterator cancels what has not begun; so does a failure, when its place in the order comes.

        Args:
            fn: A plain function of as many arguments as there are iterables.
            iterables: They are read to the end at once, unless there is a `buffersize`.
            timeout: How long all of it may take from now on, in seconds; None for any time.
            chunksize: How many items travel together, as one task. Worth it for many short calls.
            buffersize: How many tasks may be there whose results were not taken; None for any number.

        Returns:
            An iterator over the results, in the order of the items.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
            RuntimeError: As for `submit`.
            TimeoutError: From the iterator: a result was not there in time.
        """
        _check_function(fn)
        check_whole(chunksize, "chunksize", least=1, remedy="give how many items travel together, 1 or more")
        if buffersize is not None:
            check_whole(buffersize, "buffersize", least=1, remedy="give an int of 1 or more, or None")
        until = None if timeout is None else monotonic() + timeout
        items = zip(*iterables, strict=False)
        works = self._works(fn, items, chunksize)
        orders = deque(self._order(islice(works, buffersize)))
        results = self._results(orders, until, works if buffersize is not None else iter(()))
        next(results)  # as far as its `try`, so that it cleans up also when nobody ever takes a result
        return results if chunksize == 1 else _flattened(cast("Iterator[list[T]]", results))

    def _works(
        self, fn: Callable[..., Any], items: Iterator[tuple[Any, ...]], chunksize: int
    ) -> Iterator[Work]:
        if chunksize == 1:
            return (self._work(fn, item, {}) for item in items)
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        each = _calling_each(fn)
        return (self._work(each, (chunk,), {}) for chunk in chunks)

    def _results(self, orders: deque[Order[Any]], until: float | None, more: Iterator[Work]) -> Iterator[Any]:
        try:
            yield None
            while orders:
                for work in islice(more, 1):
                    orders.extend(self._order([work]))
                yield _taken(orders, until)
        finally:
            for order in orders:
                order.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. What was submitted is still done.

        Args:
            wait: Whether to return only when that has happened.
            cancel_futures: Whether to cancel what has not begun.

        Raises:
            RuntimeError: It would have to wait in the thread whose event loop does the work.
        """
        self._book.close(_SHUT)
        if cancel_futures:
            self._book.cancel_all()
        if wait:
            self._book.wait()

    def _work(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
        return fn, args, kwargs

    def _order(self, works: Iterable[Work]) -> list[Order[Any]]:
        return self._book.add(works)

    def _stop(self, submitted: Iterable[Future[Any]], reason: str) -> None:
        """Cancel what has not begun, and have stopped what runs."""
        self._book.stop(cast("Iterable[Order[Any]]", submitted), reason)

    @property
    def _is_own_thread(self) -> bool:
        """Whether this is the thread whose event loop does the work, which cannot wait for it."""
        return self._book.thread == threading.get_ident()


class Executor(RuntimeExecutor):
    """A `concurrent.futures.Executor` with a runtime of its own, for code that blocks.

    The runtime starts in a thread of its own with the first submission, and ends with `shutdown`; so it does
    when nobody has the executor any more, and with the interpreter, when everything is done.

    Args:
        max_workers: How many functions may run at once; None for as many as there are usable processors, or,
            in threads, 40.
        host: Where they run: "process", "thread", "loop", which is one after the other, or "auto".
        initializer: Called once in each process or thread before its first function. When it fails, so does
            everything that has not begun, and all that is submitted afterwards, with `ExecutorBroken`.
        initargs: What to call it with.
        hosts: The limits of the pool of processes, in the place of `max_workers`.
        name: Its name, for people.
        options: Those of the tasks, as for `rt.spawn`, such as `priority`, `timeout` or `retry`.

    Raises:
        TypeError: An argument or option does not exist, or has the wrong type.
        ValueError: One has a wrong value.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        host: TaskHost = "process",
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        hosts: Hosts | None = None,
        name: str | None = None,
        **options: Unpack[ExecutorKeywords],
    ) -> None:
        check_workers(max_workers)
        if hosts is not None and not isinstance(hosts, Hosts):
            raise wrong_type("hosts", hosts, "give for example Hosts(max=2)")
        if hosts is not None and max_workers is not None:
            raise ValueError(
                f"max_workers={max_workers} and hosts={hosts!r} both say how many; leave one of them out"
            )
        if initializer is not None and not callable(initializer):
            raise wrong_type("initializer", initializer, "give a function, or None")
        if not isinstance(initargs, tuple):
            raise wrong_type("initargs", initargs, "give its arguments as a tuple, such as initargs=(1,)")
        check_label(name, "name")
        checked = executor_options(host, options)
        self.name: str = name or f"executor-{next(_numbers)}"
        """Its name."""
        if max_workers is not None and host in ("thread", "auto"):
            checked = checked.replace(tag="executor")
        self._initialized = None if initializer is None else _initialized(self.name, initializer, initargs)
        book = Book(_breaks if initializer is not None else _breaks_nothing)
        limits = hosts or (Hosts(max=max_workers) if max_workers and host == "process" else Hosts())
        super().__init__(book, _workers_of(max_workers, host, limits))
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        pools = {"executor": max_workers} if checked.tag else {}
        self._started = threading.Event()
        self._serving = (book, limits, pools, self.name, checked, self._started)

    def _work(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Work:
        if self._initialized is None:
            return fn, args, kwargs
        return self._initialized, (fn, *args), kwargs

    def _order(self, works: Iterable[Work]) -> list[Order[Any]]:
        if self._thread is None:
            self._start()
        return self._book.add(works)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._book.closed is not None:
                return
            thread = threading.Thread(target=_serve, args=self._serving, name=f"actorsched {self.name}")
            _serving.add(self._book)
            try:
                if _ending:
                    raise RuntimeError(_INTERPRETER_ENDS)
                thread.start()
            except BaseException:
                _serving.discard(self._book)
                raise
            self._started.wait()  # when the interpreter ends it would be too late for some imports
            self._thread = thread

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. What was submitted is still done; then the runtime ends.

        Args:
            wait: Whether to return only when that has happened.
            cancel_futures: Whether to cancel what has not begun.

        Raises:
            RuntimeError: It would have to wait in the thread that does the work.
        """
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


# ------------------------------------------------------------------------------------------- over a runtime


def executor_of(
    runtime: Any, host: TaskHost, max_workers: int | None, options: Mapping[str, Any]
) -> RuntimeExecutor:
    """An executor over a runtime: `rt.executor(...)`."""
    check_workers(max_workers)
    checked = executor_options(host, options)
    system, nursery = runtime._system, runtime._nursery
    system.check_open("an executor", nursery)
    pool = None
    if max_workers is not None:
        if checked.tag is not None:
            raise ValueError(
                f"max_workers={max_workers} and tag={checked.tag!r} both say how many; leave one of them out"
            )
        pool = f"executor-{next(_numbers)}"
        system.tag_pool(pool, max_workers, None)
        checked = checked.replace(tag=pool)
    book = Book(_breaks_nothing)
    _open(runtime, book, checked, pool)
    return RuntimeExecutor(book, _workers_of(max_workers, host, system.hosts))


def _open(runtime: Any, book: Book, options: TaskOptions, pool: str | None = None) -> Intake:
    system = runtime._system
    intake = Intake(
        title="an executor",
        kernel=system.kernel,
        system=system,
        nursery=runtime._nursery,
        book=book,
        options=options,
        pool=pool,
    )
    intake.begin()
    return intake


# ------------------------------------------------------------------------------------ a runtime of its own

_serving: set[Book] = set()
"""The books of executors whose threads run."""
_ending = False
"""Whether the interpreter is about to end."""


def _serve(
    book: Book,
    hosts: Hosts,
    pools: dict[str, int | None],
    name: str,
    options: TaskOptions,
    started: threading.Event,
) -> None:
    """The main function of an executor's thread. It refers to the book alone: the executor may be dropped."""

    async def main() -> None:
        async with Runtime(hosts=hosts, pools=pools, name=name) as runtime:
            intake = _open(runtime, book, options)
            started.set()
            await intake.ended()

    end = ExecutorBroken(f"{name} has ended before its time", executor=name)
    try:
        run(main)
    except BaseException as error:
        end.__cause__ = error
        book.fail(end)
        raise
    finally:
        book.abandon(end)
        _serving.discard(book)
        started.set()


def _finish_all() -> None:
    """The interpreter ends, and will wait for the threads: they are to finish what they have."""
    global _ending  # noqa: PLW0603  # it happens once
    _ending = True
    for book in list(_serving):
        book.close(_INTERPRETER_ENDS)


# As concurrent.futures does it: an ordinary atexit function would come too late, after the wait for threads.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


# ------------------------------------------------------------------------------------------------ in a host

_initialized_here = threading.local()


def _initialized(
    name: str, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> Callable[..., Any]:
    """A function that calls another one, after the initializer when it is the first here.

    One for each executor: so it travels once to each host, with the initializer and its arguments.
    """
    from uuid import uuid4

    key = uuid4().hex

    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        _initialize(key, name, initializer, initargs)
        return fn(*args, **kwargs)

    return call


def _initialize(key: str, name: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """Call an initializer, unless this thread has.

    Raises:
        ExecutorBroken: It has failed, now or before.
    """
    done: dict[str, BaseException | None] = _initialized_here.__dict__
    if key not in done:
        try:
            initializer(*initargs)
            done[key] = None
        except BaseException as error:
            done[key] = error
    failure = done[key]
    if failure is not None:
        raise ExecutorBroken(
            f"the initializer of {name} failed, so it can run nothing: "
            f"{type(failure).__name__}: {failure}; mend it, and make another executor",
            executor=name,
        ) from failure


def _calling_each(fn: Callable[..., T]) -> Callable[[list[tuple[Any, ...]]], list[T]]:
    """The function of all chunks of a `map`. It holds `fn`, which so travels once, not with every chunk."""

    def call_each(items: list[tuple[Any, ...]]) -> list[T]:
        return [fn(*item) for item in items]

    return call_each


# --------------------------------------------------------------------------------------------- small change


def _breaks(error: BaseException) -> BaseException | None:
    return error if isinstance(error, ExecutorBroken) else None


def _breaks_nothing(error: BaseException) -> BaseException | None:
    return None


def _taken(orders: deque[Order[Any]], until: float | None) -> Any:
    """The result of the first order, which is cancelled if it does not come in time."""
    order = orders.popleft()
    try:
        return order.result(None if until is None else until - monotonic())
    finally:
        order.cancel()
        del order  # an error refers to this frame: nothing here may refer back


def _flattened(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def _check_function(fn: Any) -> None:
    if not callable(fn):
        raise wrong_type("fn", fn, "give a function, and its arguments after it")
    if is_async(fn):
        raise TypeError(
            f"fn={shown(fn)} is an async function, whose result a future cannot tell; "
            "spawn it on a runtime: `await rt.spawn(fn)`"
        )


def check_workers(value: object) -> None:
    """Refuse a number of workers that is none.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1.
    """
    if value is not None:
        check_whole(value, "max_workers", least=1, remedy="give an int of 1 or more, or None")


def executor_options(host: object, options: Mapping[str, Any]) -> TaskOptions:
    """The options of an executor's tasks, checked.

    Raises:
        TypeError: An option does not exist, or has the wrong type.
        ValueError: A value is wrong.
    """
    check_choice(host, "host", _HOSTS)
    if "kwargs" in options:
        raise TypeError("kwargs={...} is no option of an executor; give keyword arguments to submit")
    return task_options({**options, "host": host})


def _workers_of(max_workers: int | None, host: str, hosts: Hosts) -> int:
    if max_workers is not None:
        return max_workers
    from actorsched._system.system import THREADS

    return {"thread": THREADS, "loop": 1}.get(host, hosts.max)
