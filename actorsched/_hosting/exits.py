"""How a host ended, and the likely cause.

The law of this module: it looks at exit status and at the system's counters; it ends nothing and reaps
nothing.
"""

from __future__ import annotations

import signal
from typing import Literal

import msgspec

from actorsched._hosting.wire import OUT_OF_MEMORY
from actorsched.exceptions import HostDied

Cause = Literal["stopped", "out of memory", "killed", "crashed", "exited", "never started"]

_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS}
)


class HostExit(msgspec.Struct, frozen=True):
    """The end of a host process.

    Attributes:
        pid: Its process id; 0 if it never had one.
        exit_code: What it exited with; None if a signal ended it, or if unknown.
        signal: The number of the signal that ended it; None if none did.
        cause: The likely cause; "stopped" when it had been told to, and had finished everything.
        detail: The same as a clause for people: "was killed by SIGKILL".
        last_started: Of a task host: the number of the last task whose function began; 0 if none did.
    """

    pid: int
    exit_code: int | None
    signal: int | None
    cause: Cause
    detail: str
    last_started: int = 0

    def error(self, lost: str, remedy: str = "") -> HostDied:
        """The error for what was lost with it.

        Args:
            lost: A noun: "task 'load'".
            remedy: What to do about it, as a clause: "run it again".
        """
        process = f"the host process {self.pid}" if self.pid else "its host process"
        return HostDied(
            f"{lost} was lost: {process} {self.detail}{'; ' if remedy else ''}{remedy}",
            pid=self.pid or None,
            signal=self.signal,
            exit_code=self.exit_code,
            cause=None if self.cause == "stopped" else self.cause,
        )

    def of_limited(self, memory_mb: float) -> HostExit:
        """The same of a host that ended while its task had so many megabytes at most.

        Native code that gets no memory rarely says so: it gives up, or exits.
        """
        limit = f"memory_mb={memory_mb:g}"
        if self.exit_code == OUT_OF_MEMORY:
            detail = f"ran out of the memory that {limit} allows it; raise memory_mb, or make it use less"
            return msgspec.structs.replace(self, cause="out of memory", detail=detail)
        if self.signal == signal.SIGABRT and self.cause == "crashed":
            detail = f"{self.detail}, most likely for lack of memory: {limit} is what it had; raise memory_mb"
            return msgspec.structs.replace(self, cause="out of memory", detail=detail)
        if self.cause == "crashed" or (self.cause == "exited" and self.exit_code):
            detail = f"{self.detail}, perhaps for lack of memory: {limit} is what it had"
            return msgspec.structs.replace(self, detail=detail)
        return self


def judge(
    pid: int,
    status: int | None,
    *,
    ready: bool,
    said_bye: bool,
    blame: tuple[Cause, str] | None,
    starved: bool,
    last_started: int,
) -> HostExit:
    """Tell how a host ended.

    Args:
        pid: Its process id; 0 if it never had one.
        status: Minus the signal, or the exit code; None if unknown: its spawner had died before it.
        ready: Whether it had got as far as its first word,
        said_bye: and whether to its last: that everything was finished.
        blame: What its parent killed it for, if it did.
        starved: Whether the system has killed a process for lack of memory since the host started.
        last_started: See `HostExit`.
    """
    number = -status if status is not None and status < 0 else None
    code = status if status is not None and status >= 0 else None
    cause, detail = blame or _likely(number, code, starved)
    if blame is None and said_bye:
        cause, detail = "stopped", "stopped when it was told to"
    elif blame is None and not ready:
        cause, detail = "never started", f"{detail} before it was ready"
    return HostExit(pid, code, number, cause, detail, last_started)


def _likely(number: int | None, code: int | None, starved: bool) -> tuple[Cause, str]:
    if code == OUT_OF_MEMORY:
        return "out of memory", "ran out of memory"
    if number is None:
        return "exited", _UNKNOWN if code is None else f"exited with code {code}"
    if number == signal.SIGKILL and starved:
        return "out of memory", "was killed by the system, which had run out of memory (SIGKILL)"
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _CRASHES:
        return "crashed", f"crashed with {name}{_CRASH_HINTS.get(number, '')}"
    return "killed", f"was killed by {name}"


_UNKNOWN = "ended, and its exit status is unknown because its spawner had died before it"

_CRASH_HINTS: dict[int, str] = {
    signal.SIGSEGV: " (a segmentation fault in native code)",
    signal.SIGABRT: " (native code gave up)",
    signal.SIGBUS: " (an access to memory that is not there, perhaps for lack of it)",
}


def memory_kills() -> int:
    """How many processes the system has killed for lack of memory, here or in this container."""
    total = 0
    for path, key in (("/proc/vmstat", b"oom_kill "), ("/sys/fs/cgroup/memory.events", b"oom_kill ")):
        try:
            with open(path, "rb") as file:
                for line in file:
                    if line.startswith(key):
                        total += int(line.split()[1])
        except OSError:  # another system, or another kind of container
            continue
    return total
