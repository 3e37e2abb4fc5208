"""What the hosts of the fault suite are given to do, and to themselves. Imported by them too."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actorsched import Actor, current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HEADER: Final = 8
"""Bytes before the body of a packet: a mark of two, a count of two, a length of four."""


def note(ledger: str, key: str) -> None:
    """Add a line at once and whole: what counts how often something began."""
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{key} {os.getpid()}\n".encode())
    os.close(descriptor)


def do(ledger: str, key: str, deed: Callable[..., Any], *args: Any) -> Any:
    """Do something that is counted."""
    note(ledger, key)
    return deed(*args)


async def do_async(ledger: str, key: str, deed: Callable[..., Any], *args: Any) -> Any:
    """The same in an event loop."""
    import anyio

    note(ledger, key)
    await anyio.sleep(0)
    return deed(*args)


class Keeper(Actor, host="process"):
    """Keeps a number, and does what it is asked to do to its host."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def add(self, number: int) -> int:
        self._number += number
        return self._number

    async def pid(self) -> int:
        return os.getpid()

    async def do(self, ledger: str, key: str, deed: Callable[..., Any], *args: Any) -> Any:
        return await do_async(ledger, key, deed, *args)

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


# ------------------------------------------------------------------------------------------- harmless deeds


def same(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def size_of(data: bytes) -> int:
    return len(data)


def make_bytes(size: int) -> bytes:
    return bytes(size)


def make_text(size: int) -> str:
    return "x" * size


def note_once(ledger: str, number: int) -> None:
    note(ledger, str(number))


def wait_for_word(told: str, go: str) -> int:
    """Tell that it has begun, and work until somebody writes into a named pipe."""
    listen = os.open(go, os.O_RDONLY | os.O_NONBLOCK)
    tell(told)
    select.select([listen], [], [])
    os.close(listen)
    return os.getpid()


def tell(fifo: str) -> None:
    """Write our process id into a named pipe that somebody reads."""
    descriptor = os.open(fifo, os.O_WRONLY)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.close(descriptor)


# ---------------------------------------------------------------------------------------- ways to end a host


def die_of(number: int) -> None:
    if number != signal.SIGKILL:  # somebody before us may have seen to it that it does nothing
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pause()


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def leave_by_exec() -> None:
    """Become another program."""
    os.execv("/bin/sh", ["sh", "-c", "exit 4"])


def leave_while_threads_run(code: int) -> None:
    """Threads that spin do not keep it."""
    for _ in range(2):
        threading.Thread(target=_spin, daemon=False).start()
    os._exit(code)


def _spin() -> None:
    while True:
        pass


def close_all_descriptors() -> None:
    os.closerange(0, 4096)
    signal.pause()


def close_all_and_return() -> str:
    """Nobody can be told of this result."""
    os.closerange(0, 4096)
    return "unheard"


def descriptors_of(kind: str) -> list[int]:
    """The descriptors of this process whose targets are called like that."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if kind in str(entry.readlink()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def write_to_sockets(data: bytes, then: Callable[..., Any] = signal.pause) -> Any:
    """Write to whatever the host says things through."""
    for descriptor in descriptors_of("socket:"):
        os.write(descriptor, data)
    return then()


def shut_sockets_down() -> None:
    """No more can be said, though everything is still open."""
    import socket

    for descriptor in descriptors_of("socket:"):
        with socket.socket(fileno=os.dup(descriptor)) as one:
            one.shutdown(socket.SHUT_RDWR)
    signal.pause()


def scribble_over_shared_memory() -> None:
    """Overwrite all memory files of this host, then die: what stands there must not be believed blindly."""
    for descriptor in descriptors_of("memfd:actorsched"):
        os.pwrite(descriptor, b"\xff" * 4096, 8)
    os.kill(os.getpid(), signal.SIGKILL)


# ------------------------------------------------------------------------------- deeds that are bad manners


def change_everything() -> int:
    """What libraries do to the process that they are in."""
    os.chdir("/")
    os.environ.clear()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGIO,
        signal.SIGHUP,
    ):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.close()
    os.close(1)
    sys.path.clear()
    sys.setrecursionlimit(200)
    os.umask(0o777)
    return os.getpid()


def leave_the_group() -> int:
    """A session and process group of its own."""
    os.setpgid(0, 0)
    return os.getpid()


def start_session() -> bool:
    """True when the system lets the leader of a group have a session of its own, which it does not."""
    try:
        os.setsid()
    except OSError:
        return False
    return True


def fork_and_return(ledger: str, seconds: float = 1000) -> int:
    """A child that has everything that we have, and goes on sleeping."""
    child = os.fork()
    if not child:
        time.sleep(seconds)
        os._exit(0)
    note(ledger, f"child {child}")
    return child


def fork_and_both_return(ledger: str) -> int:
    """The worst of it: the child goes on as if it were the host."""
    child = os.fork()
    if child:
        note(ledger, f"child {child}")
    return os.getpid()


def leave_a_tree_behind(ledger: str) -> list[int]:
    """A shell, a Python and their children, some of them deaf to signals."""
    import subprocess

    program = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "os.fork()\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "time.sleep(1000)\n"
    )
    python = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, text=True)
    assert python.stdout is not None
    found = [int(python.stdout.readline()), int(python.stdout.readline())]
    shell = subprocess.Popen(["/bin/sh", "-c", "sleep 1000 & wait"])
    found.append(shell.pid)
    for number in found:
        note(ledger, f"child {number}")
    return found


def start_threads_that_stay() -> int:
    """Threads that never end, and are no daemons."""
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()
    return os.getpid()


def lower_limit(which: int, value: int) -> int:
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
    return os.getpid()


def divide(number: int, by: int) -> float:
    return number / by


def spend(seconds: float) -> None:
    time.sleep(seconds)


def leave_from_a_thread(fifo: str, code: int) -> int:
    """Return, and end the process as soon as somebody writes into a named pipe."""

    def leave_when_told() -> None:
        with Path(fifo).open("rb", buffering=0) as pipe:
            pipe.read(1)
        os._exit(code)

    threading.Thread(target=leave_when_told, daemon=True).start()
    return os.getpid()


def log_in_forks(forks: int, records: int) -> list[int]:
    """Children that log, as those of multiprocessing do; their exit codes."""
    import logging

    logger = logging.getLogger("tests.faults")
    children = []
    for number in range(forks):
        logger.warning("fork %d", number)  # it may be in the same packet as what the child says
        child = os.fork()
        if not child:
            for record in range(records):
                logger.warning("record %d of fork %d: %s", record, number, "x" * 500)
            os._exit(0)
        children.append(child)
        logger.warning("forked %d", number)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def square(number: int) -> int:
    return number * number


def use_a_pool(count: int) -> list[int]:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, range(count))


def take_all_descriptors() -> int:
    """From now on nothing can be opened here."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return os.getpid()


def raise_it(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


# ---------------------------------------------------------------------------- results and errors that bite


class FailsToPickle:
    def __reduce__(self) -> Any:
        raise ValueError("will not be pickled")


class KillsItsPickler:
    def __reduce__(self) -> Any:
        os._exit(9)


class BuiltOnlyWhereItWasMade:
    """What a result refuses to be anywhere else, and how."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        return _refuse_elsewhere, (os.getpid(), self.kind)


def _refuse_elsewhere(pid: int, kind: type[BaseException]) -> Any:
    if os.getpid() != pid:
        raise kind("cannot be built here")
    return BuiltOnlyWhereItWasMade(kind)


def refusing(kind: type[BaseException]) -> Any:
    return BuiltOnlyWhereItWasMade(kind)


def failing_to_pickle() -> Any:
    return [FailsToPickle()]


def killing_its_pickler() -> Any:
    return [KillsItsPickler()]


def unpicklable() -> Any:
    return {"lock": threading.Lock()}


def endlessly_deep() -> Any:
    """Deeper than any stack: pickle needs several levels of it for each."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


class Picky(Exception):
    """Takes other arguments than those that it passes on."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock", threading.Lock())


class BitesItsPickler(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("will not be pickled")


class KillsWhoPicklesIt(Exception):
    def __reduce__(self) -> Any:
        os._exit(9)


class RefusesElsewhere(Exception):
    def __init__(self, pid: int = 0) -> None:
        if pid and pid != os.getpid():
            raise KeyError("cannot be built here")
        super().__init__(os.getpid())


def be_picky() -> None:
    raise Picky(3, where="home")


def raise_unpicklable() -> None:
    raise Unpicklable


def raise_biting() -> None:
    raise BitesItsPickler("it bites")


def raise_killing() -> None:
    raise KillsWhoPicklesIt("it kills")


def raise_refusing() -> None:
    raise RefusesElsewhere


def recurse_for_ever() -> None:
    recurse_for_ever()


# ------------------------------------------------------------------------------------ what never ends alone


def spin(fifo: str) -> None:
    tell(fifo)
    while True:
        pass


def spin_in_c(fifo: str) -> int:
    """Hold the interpreter's lock for a minute or more."""
    tell(fifo)
    return sum(range(10**11))


def backtrack(fifo: str) -> None:
    """A regular expression that takes for ever, and holds the lock."""
    import re

    tell(fifo)
    re.match(r"(a|aa)+$", "a" * 60 + "b")


def huge_power(fifo: str) -> int:
    tell(fifo)
    return len(str(7 ** (10**9)))


def sleep_in_c(fifo: str) -> None:
    """Let the lock go, and come back in a thousand seconds."""
    tell(fifo)
    time.sleep(1000)


def sleep_in_c_with_the_lock(fifo: str) -> None:
    tell(fifo)
    ctypes.PyDLL(None).sleep(1000)


def swallow_everything(fifo: str) -> None:
    """Answer every request to stop with going on."""
    from actorsched import checkpoint

    tell(fifo)
    while True:
        try:
            while True:
                checkpoint()
        except BaseException:
            continue


def attempt() -> int:
    return current().attempt
