"""What the hosts of these tests are given to do. Imported by them too, so it imports nothing of the tests."""

from __future__ import annotations

import contextlib
import os
import signal
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


_BUFFER = bytearray(200_000)


def fill_the_buffer(value: int) -> bytearray:
    """The same buffer each time, with other contents."""
    _BUFFER[:] = bytes([value]) * len(_BUFFER)
    return _BUFFER


def nothing() -> None:
    """No-op."""


def same(value: Any) -> Any:
    """The argument."""
    return value


def add(a: int, b: int = 0, *, c: int = 0) -> int:
    """A sum."""
    return a + b + c


def fail(message: str) -> None:
    """Raise."""
    raise LookupError(message)


def fail_in_chain() -> None:
    """Raise from another exception."""
    try:
        fail("the first")
    except LookupError as error:
        raise RuntimeError("the second") from error


class Picky(Exception):
    """An exception whose `__init__` wants other arguments than it passes on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


def fail_pickily() -> None:
    """Raise an exception that pickle cannot rebuild."""
    raise Picky(7, "picky")


def fail_with_a_lock() -> None:
    """Raise an exception that cannot be pickled."""
    import threading

    raise ValueError("with a lock", threading.Lock())


def unpicklable_result() -> dict[str, Any]:
    """A result with something in it that cannot cross."""
    import threading

    return {"deep": [1, threading.Lock()]}


def exit_hard(code: int) -> None:
    """End the process."""
    os._exit(code)


def crash() -> None:
    """Read where no memory is."""
    import ctypes

    ctypes.string_at(0)


def write_garbage() -> None:
    """Write nonsense to the host's own socket, and never return."""
    import gc
    import time

    from actorsched._hosting.port import Port

    port = next(thing for thing in gc.get_objects() if isinstance(thing, Port))
    os.write(port.socket, b"garbage" * 10)
    while True:
        time.sleep(60)


def close_everything() -> None:
    """Close every descriptor of the process, and never return."""
    import time

    os.closerange(3, 200)
    while True:
        time.sleep(60)


def wait_for(path: str) -> str:
    """Wait until there is such a file."""
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.001)
    return path


def spin() -> None:
    """Never return, and never let go of the interpreter for long."""
    while True:
        pass


def spin_without_listening() -> int:
    """The same, deaf to every signal that can be ignored: what is left is the one that cannot."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # what the C library keeps for itself
            signal.signal(number, signal.SIG_IGN)
    return spin_in_c()


def spin_in_c() -> int:
    """Hold the interpreter's lock for a minute or more."""
    return sum(range(10**11))


def start_a_child() -> int:
    """Start a process that would run for long."""
    import subprocess

    return subprocess.Popen(["sleep", "1000"]).pid


def checkpoint_for_ever() -> None:
    """Run until told to stop."""
    from actorsched.context import checkpoint

    while True:
        checkpoint()


def log_and_return(count: int) -> int:
    """Write records."""
    import logging

    for number in range(count):
        logging.getLogger("tests.hosting").warning("record %d", number, extra={"number": number})
    return count


def write_and_return(path: str, size: int) -> str:
    """A side effect, then so much text."""
    _append(path, "done")
    return "x" * size


def log_and_die() -> None:
    """Write a record just before the end."""
    import logging

    logging.getLogger("tests.hosting").error("the last words")
    os._exit(9)


def report_and_defer(path: str) -> tuple[str, int]:
    """Use the context."""
    from actorsched.context import current

    context = current()
    context.defer(_append, path, "first deferred")
    context.defer(_append, path, "last deferred")
    context.report(0.25, "a quarter")
    context.report(1)
    return context.name, context.attempt


def _append(path: str, text: str) -> None:
    from pathlib import Path

    with Path(path).open("a") as file:
        file.write(text + "\n")


def read_variable() -> str:
    """The value of the context variable here."""
    return VARIABLE.get()


def set_variable(value: str) -> str:
    """Set it here, for the rest of this task."""
    VARIABLE.set(value)
    return VARIABLE.get()


def pid() -> int:
    """The process id."""
    return os.getpid()


def state_of_the_process() -> dict[str, Any]:
    """What the host has taken over, and keeps."""
    import signal
    import sys
    import warnings
    from pathlib import Path

    return {
        "path": list(sys.path),
        "argv": list(sys.argv),
        "modules": sorted(sys.modules),
        "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "group": os.getpgrp(),
        "filters": [(f[0], str(f[2])) for f in warnings.filters],
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


async def add_in_a_loop(a: int, b: int) -> int:
    """An async function that waits."""
    import anyio.lowlevel

    await anyio.lowlevel.checkpoint()
    return a + b


async def wait_for_ever() -> None:
    """An async function that never ends by itself."""
    import anyio

    await anyio.sleep_forever()


async def request(verb: str, body: Any) -> Any:
    """Ask the parent."""
    from actorsched._hosting import inside

    assert inside.doorway is not None
    return await inside.doorway.request(verb, body)


class Counter:
    """An actor."""

    def __init__(self, start: int = 0, log: str | None = None) -> None:
        self._n = start
        self._log = log
        self._running = 0

    async def on_start(self) -> None:
        """Fails for negative numbers."""
        if self._n < 0:
            raise ValueError("negative")

    async def on_stop(self, reason: Any) -> None:
        """Tells why."""
        if self._log is not None:
            _append(self._log, f"stopped: {reason}")

    async def add(self, k: int) -> int:
        """Add."""
        self._n += k
        return self._n

    async def add_slowly(self, k: int) -> int:
        """Add, with a wait in between, and notice whether somebody else runs meanwhile."""
        import anyio.lowlevel

        self._running += 1
        assert self._running == 1
        await anyio.lowlevel.checkpoint()
        self._running -= 1
        self._n += k
        return self._n

    async def fail(self) -> None:
        """Raise."""
        raise LookupError("no")

    async def hang(self) -> None:
        """Never end."""
        import anyio

        try:
            await anyio.sleep_forever()
        finally:
            if self._log is not None:
                _append(self._log, "cancelled")

    async def fill(self, until: int) -> AsyncIterator[bytearray]:
        """A stream that yields the same buffer each time, with other contents."""
        for number in range(until):
            yield fill_the_buffer(number)

    async def fill_once(self, value: int) -> bytearray:
        """The same buffer each time, with other contents."""
        return fill_the_buffer(value)

    async def count(self, until: int) -> AsyncIterator[int]:
        """A stream."""
        import anyio.lowlevel

        try:
            for number in range(until):
                yield number
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            if self._log is not None:
                _append(self._log, "closed")

    async def me(self) -> tuple[str, Any, Any]:
        """What the context says."""
        from actorsched.context import current

        context = current()
        return context.name, context.ref, context.sender

    async def ask_outside(self, verb: str) -> Any:
        """Ask the parent."""
        return await request(verb, self._n)

    async def report_and_die(self) -> None:
        """Never let the loop run again."""
        from actorsched.context import current

        current().report(0.5)
        log_and_die()

    async def defer(self) -> None:
        """Defer a plain function and an async one."""
        from actorsched.context import current

        assert self._log is not None
        current().defer(_append, self._log, "plain")
        current().defer(_append_in_a_loop, self._log, "async")


async def _append_in_a_loop(path: str, text: str) -> None:
    import anyio.lowlevel

    await anyio.lowlevel.checkpoint()
    _append(path, text)
