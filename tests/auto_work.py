"""What the tests of `host="auto"` have their runtimes do, and the clocks that it is measured with.

Imported by hosts too, by name: so what is here need not be pickled. There nothing of this takes any time.
"""

from __future__ import annotations

import threading

import anyio

from actorsched._system.gauges import Clocks

at_home = False
"""Whether this is the process of the tests, which set it."""


class Time:
    """Clocks that stand still until somebody uses time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wall = self.process = 100.0
        self.threads: dict[int, float] = {}
        self.queued = 0.0
        self.readings = 0

    def compute(self, seconds: float) -> None:
        """The calling thread has the processor, and nobody else."""
        with self.lock:
            self.wall += seconds
            self.process += seconds
            self.threads[threading.get_ident()] = self.threads.get(threading.get_ident(), 0.0) + seconds

    def wait(self, seconds: float) -> None:
        with self.lock:
            self.wall += seconds

    def of_this_thread(self) -> float:
        self.readings += 1
        return self.threads.get(threading.get_ident(), 0.0)

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, self.of_this_thread, lambda: self.process, lambda: self.queued)


time = Time()


def place() -> str:
    """Where this is called."""
    if not at_home:
        return "process"
    return "loop" if threading.current_thread() is threading.main_thread() else "thread"


def compute(seconds: float = 0.02, *more: object) -> str:
    if at_home:
        time.compute(seconds)
    return place()


def wait(seconds: float = 0.02) -> str:
    time.compute(seconds / 100)
    time.wait(seconds)
    return place()


async def compute_at_once(seconds: float = 0.02, pieces: int = 1) -> str:
    for _ in range(pieces):
        if at_home:
            time.compute(seconds / pieces)
        await anyio.sleep(0)
    return place()
