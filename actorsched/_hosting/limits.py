"""What a task with limits may use of this process while it runs: so much more memory, and these processors.

The law of this module: it puts limits in force for a time, and takes them away again. Nothing is decided here
about the task. It is imported by the first task with limits, and costs the others nothing.

How it works: on Linux the system itself refuses memory that is private to the process beyond a limit
(`RLIMIT_DATA`; the heap, and what is mapped for large objects). The limit is what there is at the beginning
and what the task may have besides. Elsewhere, and for memory that is shared or belongs to a file, the parent
watches what is resident.

When memory is refused, Python raises `MemoryError`, and the function may handle it. If it leaves the
function, nobody knows what was left half done in here, in which library: so this process tells what has
happened, and ends, with an exit code of its own.

Processors: all threads of the process are confined, those too that a library has started earlier.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from actorsched._hosting.failures import pack_error
from actorsched._hosting.wire import OUT_OF_MEMORY, Exhausted

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from actorsched._hosting.journal import Journal
    from actorsched._hosting.port import Port
    from actorsched._hosting.wire import Limits, Run


@contextmanager
def within(limits: Limits, journal: Journal) -> Generator[None]:
    """Put limits in force for what happens inside."""
    with ExitStack() as undo:
        if limits.cpus and hasattr(os, "sched_setaffinity"):
            undo.enter_context(_confined(limits.cpus))
        if limits.memory and sys.platform == "linux":
            undo.callback(journal.weigh, 0)
            undo.enter_context(_rationed(limits.memory))
            journal.weigh(_resident())
        yield


def end_if_exhausted(port: Port, run: Run, error: BaseException) -> None:
    """End this process if a task has run out of the memory that it may use."""
    if run.limits is None or not run.limits.memory or not _is_of_memory(error):
        return
    port.say(Exhausted(run.task_id, pack_error(error, f"the exception of task {run.name!r}")))
    port.flush()
    os._exit(OUT_OF_MEMORY)


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(MemoryError) is not None
    return isinstance(error, MemoryError)


# -------------------------------------------------------------------------------------------------- memory


@contextmanager
def _rationed(more: int) -> Generator[None]:
    """Allow so many bytes more of private memory than there are now."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _private_memory() + more
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)  # somebody has limited this process already, and that holds too
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _resident() -> int:
    """How many bytes of this process are in memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _private_memory() -> int:
    """What the system counts towards `RLIMIT_DATA`, in bytes."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return 0


# ---------------------------------------------------------------------------------------------- processors


@contextmanager
def _confined(cpus: Iterable[int]) -> Generator[None]:
    """Let this process run only on these processors."""
    before = os.sched_getaffinity(0)
    _move(cpus)
    try:
        yield
    finally:
        _move(before)


def _move(cpus: Iterable[int]) -> None:
    for thread in _threads():
        try:
            os.sched_setaffinity(thread, cpus)
        except OSError:  # the thread has ended; or the system has taken these processors from us
            continue


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]
