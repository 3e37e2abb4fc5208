"""What the hosts of the runtime's tests are given to do. Imported by them too, so it imports little."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actorsched import Actor, checkpoint, cpu_bound, current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


# ------------------------------------------------------------------------------------------------ functions


def double(number: int) -> int:
    return 2 * number


def same(value: Any) -> Any:
    return value


async def double_async(number: int) -> int:
    import anyio

    await anyio.sleep(0)
    return 2 * number


@cpu_bound
def pid() -> int:
    return os.getpid()


@cpu_bound
async def pid_async() -> int:
    return os.getpid()


def add(a: int, b: int = 0, *, c: int = 0) -> int:
    return a + b + c


class Adder:
    def __init__(self, base: int) -> None:
        self.base = base

    def add(self, number: int) -> int:
        return self.base + number

    def __call__(self, number: int) -> int:
        return self.base * number


def fail(message: str) -> None:
    raise LookupError(message)


def fail_with_a_lock() -> None:
    raise ValueError("with a lock", threading.Lock())


def unpicklable_result() -> dict[str, Any]:
    return {"deep": [1, threading.Lock()]}


def write(path: str, line: str) -> None:
    """Append a line: a side effect that can be counted."""
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


def write_and_die(path: str, line: str, times: int = 1) -> int:
    """Die of a signal, as often as that."""
    write(path, line)
    if Path(path).read_text().count(f"{line}\n") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return current().attempt


def write_and_fail(path: str, times: int) -> int:
    write(path, "attempt")
    if Path(path).read_text().count("attempt") <= times:
        raise OSError("not yet")
    return current().attempt


def exit_hard(code: int) -> None:
    os._exit(code)


def tell(fifo: str) -> None:
    """Let a test that reads from this named pipe go on."""
    with Path(fifo).open("w") as pipe:
        pipe.write(f"{os.getpid()}\n")


def spin(fifo: str) -> None:
    """Never end, never listen."""
    tell(fifo)
    while True:
        pass


def hold_the_gil(told: str, go: str) -> int:
    """Wait in C for a word from a pipe, and let nothing else in this process run."""
    import ctypes

    descriptor = os.open(go, os.O_RDWR)
    tell(told)
    return int(ctypes.PyDLL(None).read(descriptor, ctypes.create_string_buffer(1), 1))


def spin_politely(fifo: str, log: str) -> None:
    current().defer(write, log, "deferred")
    tell(fifo)
    while True:
        checkpoint()


async def sleep_politely(fifo: str, log: str) -> None:
    import anyio

    current().defer(write, log, "deferred")
    tell(fifo)
    try:
        await anyio.sleep_forever()
    finally:
        write(log, "cancelled")


def wait_for(path: str) -> int:
    """Work until a file is there."""
    while not Path(path).exists():
        checkpoint()
    return os.getpid()


def report_and_wait(path: str) -> str:
    current().report(0.25, "a quarter")
    wait_for(path)
    return "done"


def log_three() -> None:
    log = logging.getLogger("tests.host_work")
    log.debug("not wanted")
    log.info("the %s", "first")
    log.warning("the second")
    try:
        fail("inner")
    except LookupError:
        current().log.exception("the third")


def who() -> str:
    return WHO.get()


def context_members() -> tuple[str, int, bool, bool]:
    here = current()
    return here.name, here.attempt, here.cancel_requested, bool(here.runtime)


def deferring(path: str) -> str:
    current().defer(write, path, "first deferred")
    current().defer(write, path, "last deferred")
    write(path, "body")
    return "ok"


async def with_child(number: int) -> int:
    """A process task that awaits a child in another process."""
    result: int = await current().runtime.run(double, number, host="process")
    return result + 1


async def nested(depth: int) -> int:
    if not depth:
        return 0
    result: int = await current().runtime.run(nested, depth - 1, host="process")
    return result + 1


async def with_refs(count: int) -> list[int]:
    runtime = current().runtime
    refs = [await runtime.spawn(double, number, host="process") for number in range(count)]
    return [await ref for ref in refs]


async def await_it(ref: Any) -> Any:
    return await ref


async def outcomes_of(refs: list[Any]) -> list[tuple[str, Any, str]]:
    """How they end, once awaited and once known."""
    found = [await ref.outcome() for ref in refs]
    assert [ref.status for ref in refs] == [outcome.status for outcome in found]
    assert all(ref.done() for ref in refs)
    assert [ref.exception() for ref in refs] == [outcome.error for outcome in found]
    for ref, outcome in zip(refs, found, strict=True):
        if outcome.ok:
            assert ref.result() == await ref == outcome.value
    return [(outcome.status.value, outcome.value, repr(outcome.error)) for outcome in found]


def what_is_unknown(refs: list[Any]) -> list[str]:
    """What the errors say when things are asked for that only the runtime's process knows."""
    ref, actor = refs
    said: list[str] = []
    for look in (
        lambda: ref.status,
        ref.done,
        ref.result,
        ref.exception,
        lambda: ref.progress,
        lambda: ref.missing,
        lambda: actor.alive,
        lambda: actor.missing,
        lambda: actor.link(ref),
        lambda: current().runtime.lookup("c"),
    ):
        try:
            look()
        except (RuntimeError, AttributeError, TypeError) as error:
            said.append(str(error))
    return said


async def set_priority(refs: list[Any], priority: Any) -> str:
    await refs[0].set_priority(priority)
    return str(refs[0].id)


async def end_of(ref: Any) -> tuple[str, str]:
    runtime: Any = current().runtime
    await runtime.sleep(0.001)
    reason = await runtime.monitor(ref)
    return reason.kind, repr(reason.error)


async def shut_down() -> str:
    await current().runtime.shutdown()
    return "asked"


async def await_inside(refs: list[Any]) -> Any:
    return await refs[0]


async def cancel_inside(refs: list[Any], reason: str) -> None:
    await refs[0].cancel(reason)


async def ask_add(ref: Any, numbers: list[int]) -> int:
    total = 0
    for number in numbers:
        total = await ref.ask.add(number)
    return total


async def ask_badly(ref: Any) -> None:
    await ref.ask.add()


async def ask_with_timeout(ref: Any) -> str:
    try:
        await ref.asking(timeout=0.01).hang()
    except TimeoutError as error:
        return type(error).__name__
    return "no error"


async def ask_what_fails(ref: Any) -> None:
    await ref.ask.fail("asked from a host")


async def read_some(ref: Any, count: int) -> list[int]:
    got: list[int] = []
    async for number in ref.ask.numbers(100):
        got.append(number)
        if len(got) == count:
            break
    return got


async def read_and_close(ref: Any) -> list[int]:
    stream = ref.ask.numbers(100)
    got = [await anext(stream)]
    await stream.aclose()
    got.extend([number async for number in stream])
    return got


async def read_all(ref: Any, count: int) -> list[int]:
    return [number async for number in ref.ask.numbers(count)]


async def read_and_hang(ref: Any, fifo: str) -> None:
    stream = ref.ask.numbers(100)
    await anext(stream)
    tell(fifo)
    import anyio

    await anyio.sleep_forever()


def tell_numbers(ref: Any, handler: Any, numbers: list[int]) -> None:
    for number in numbers:
        ref.tell(handler, number)


async def tell_and_ask(ref: Any, handler: Any, count: int) -> list[int]:
    """Told and asked in turns: all of it has to arrive in this order."""
    import anyio

    async def ask(number: int, begun: anyio.Event) -> None:
        begun.set()
        await ref.ask.note(number)

    async with anyio.create_task_group() as group:
        for number in range(0, count, 2):
            ref.tell(handler, number)
            begun = anyio.Event()
            group.start_soon(ask, number + 1, begun)
            await begun.wait()
    notes: list[int] = await ref.ask.notes()
    return notes


async def tell_three_ways(ref: Any, handler: Any) -> None:
    ref.tell(handler, 1)
    await ref.telling(handler, 2)
    await ref.ask.add(3)


async def stop_it(ref: Any) -> None:
    await ref.stop()


async def kill_it(ref: Any) -> None:
    await ref.kill()


async def ask_until_cancelled(ref: Any, fifo: str) -> None:
    tell(fifo)
    await ref.ask.hang()


async def spawn_actor(start: int) -> int:
    ref = await current().runtime.spawn(Counter, start)
    total: int = await ref.ask.add(1)
    await ref.stop()
    return total


# --------------------------------------------------------------------------------------------------- actors


class Counter(Actor, host="process"):
    """Counts in a host, and can be asked for all kinds of trouble."""

    def __init__(self, start: int = 0, log: str | None = None) -> None:
        if start < 0:
            raise ValueError("start is negative")
        self._n = start
        self._log = log
        self._notes: list[Any] = []

    async def on_start(self) -> None:
        self._write(f"start {self._n}")

    async def on_stop(self, reason: Any) -> None:
        self._write(f"stop {reason}")

    def _write(self, line: str) -> None:
        if self._log is not None:
            write(self._log, line)

    async def add(self, number: int) -> int:
        self._n += number
        return self._n

    async def note(self, what: Any) -> None:
        self._notes.append(what)

    async def notes(self) -> list[Any]:
        return self._notes

    async def pid(self) -> int:
        return os.getpid()

    async def fail(self, message: str) -> None:
        raise LookupError(message)

    async def unpicklable(self) -> Any:
        return [threading.Lock()]

    async def hang(self, fifo: str | None = None) -> None:
        import anyio

        if fifo is not None:
            tell(fifo)
        try:
            await anyio.sleep_forever()
        finally:
            self._write("cancelled")

    async def spin(self, fifo: str) -> None:
        spin(fifo)

    async def wait_for(self, path: str) -> None:
        import anyio

        while not Path(path).exists():
            await anyio.sleep(0)

    async def numbers(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                yield number
        finally:
            self._write("closed")

    async def hanging_numbers(self, fifo: str) -> AsyncIterator[int]:
        import anyio

        yield 0
        try:
            tell(fifo)
            await anyio.sleep_forever()
            yield 1
        finally:
            self._write("closed")

    async def failing_numbers(self) -> AsyncIterator[int]:
        yield 0
        raise LookupError("no more numbers")

    async def who(self) -> str:
        return WHO.get()

    async def sender_name(self) -> str | None:
        sender = current().sender
        return None if sender is None else str(sender.name)

    async def greet_sender(self) -> None:
        sender: Any = current().sender
        await sender.telling(type(self).note, "hello")

    async def own_ref(self) -> Any:
        return current().ref

    async def ask_other(self, other: Any, number: int) -> int:
        result: int = await other.ask.add(number)
        return result

    async def ask_back(self, other: Any, me: Any) -> int:
        result: int = await other.ask.ask_other(me, 1)
        return result

    async def spawn_child(self, start: int) -> Any:
        return await current().spawn(Counter, start, name=f"child of {current().name}")

    async def note_later(self, what: Any) -> None:
        current().after(0.001, Counter.note, what)

    async def note_every(self, what: Any) -> None:
        here: Any = current()
        here.every(0.001, Counter.note, what, key="beat")

    async def link_to(self, other: Any) -> None:
        own: Any = current().ref
        own.link(other)

    async def unlink_from(self, other: Any) -> None:
        own: Any = current().ref
        own.unlink(other)

    async def set_wrong_timers(self) -> list[str]:
        said: list[str] = []
        here: Any = current()
        for set_timer, when, handler, args in (
            (here.after, "soon", Counter.note, ("x",)),
            (here.after, 1, Counter.note, ()),
            (here.after, 1, double, (1,)),
            (here.every, 0, Counter.note, ("x",)),
        ):
            try:
                set_timer(when, handler, *args)
            except (TypeError, ValueError) as error:
                said.append(str(error))
        return said

    async def stop_beating(self) -> int:
        here: Any = current()
        here.after(3600, Counter.note, "never", key="beat")
        return len(self._notes)

    async def log_one(self) -> None:
        logging.getLogger("tests.host_work").warning("from an actor")

    async def report(self) -> None:
        current().report(0.5)

    async def deferring(self) -> None:
        current().defer(self._write, "deferred")
        self._write("body")

    async def stop_itself(self) -> None:
        await current().ref.stop()


class Fatal(Counter, host="process"):
    fatal = (LookupError,)


class SlowToStart(Counter, host="process"):
    async def on_start(self) -> None:
        import anyio

        assert self._log is not None
        tell(self._log)
        await anyio.sleep_forever()


class SlowToStop(Counter, host="process"):
    async def on_stop(self, reason: Any) -> None:
        import anyio

        assert self._log is not None
        tell(self._log)
        await anyio.sleep_forever()


class FailsToStart(Counter, host="process"):
    async def on_start(self) -> None:
        raise OSError("no disk")


class FailsToStop(Counter, host="process"):
    async def on_stop(self, reason: Any) -> None:
        raise OSError("cannot stop")
