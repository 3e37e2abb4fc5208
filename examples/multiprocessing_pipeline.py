"""Texts are fetched, counted and summed up in worker processes: chains, dependencies, and a worker that dies.

The script knows nothing of event loops. Each text has a chain of tasks, of which one is async; the summary
depends on the ends of all chains. Then a process is killed in the middle of a task, and the script goes on.

Run it with `python examples/multiprocessing_pipeline.py`.
"""

# expect: Brothers: 3 of 8 words are long
# expect: Whale: 2 of 6 words are long
# expect: 5 long words in 2 texts
# expect: the urgent one first: True
# expect: HostDied, and its worker has ended with -9
# expect: the next task runs in another process: True
# expect: a chain that breaks raises what broke it: KeyError('Nobody')

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from actorsched import HostDied
from actorsched.frontends.multiprocessing import (
    CoreMultiprocessing,
    Priority,
    ProcessCompositor,
    Task,
    TaskChain,
    TaskScheduler,
)

TEXTS = {
    "Brothers": "they wandered slowly through gardens where nobody spoke",
    "Whale": "the enormous whale surfaced past us",
}


async def fetch(title: str) -> str:
    """Stands for something that waits for the network."""
    await asyncio.sleep(0)
    return TEXTS[title]


def count(text: str, at_least: int) -> tuple[int, int]:
    """How many words are long, and how many there are."""
    words = text.split()
    return sum(len(word) >= at_least for word in words), len(words)


def sum_up(*counts: tuple[int, int]) -> str:
    """The summary of all texts."""
    return f"{sum(long for long, _ in counts)} long words in {len(counts)} texts"


def crash() -> None:
    """Stands for a library that takes its process down."""
    os.kill(os.getpid(), signal.SIGKILL)


def push(name: str, fn: Callable[..., Any], **options: Any) -> Task:
    """One more task that is on its way."""
    task = Task(name, fn, **options)
    CoreMultiprocessing.push_task(task)
    return task


def main() -> None:
    """Everything that the head promises."""
    compositor = TaskScheduler().compositor = ProcessCompositor(max_workers=2, idle_timeout="10s")
    ends: list[Task] = []
    for title in TEXTS:
        chain = TaskChain(
            Task(f"fetch {title}", fetch, (title,)), Task("count", count, kwargs={"at_least": 7})
        )
        CoreMultiprocessing.push_chain(chain)
        ends.append(chain.tasks[-1])
    summary = push("sum up", sum_up, dependencies=ends)
    for title, end in zip(TEXTS, ends, strict=True):
        long, words = end.get(timeout="30 sec")
        print(f"{title}: {long} of {words} words are long")
    print(summary.get())

    urgent = push("urgent", os.getpid, priority=Priority.CRITICAL, timeout="30s")
    print("the urgent one first:", urgent.get() != os.getpid())

    doomed = compositor.workers
    try:
        push("crash", crash).get()
    except HostDied as error:
        (worker,) = (worker for worker in doomed if worker.pid == error.pid)
        worker.join()
        print(f"{type(error).__name__}, and its worker has ended with {worker.exitcode}")
        print("the next task runs in another process:", push("next", os.getpid).get() != error.pid)

    broken = TaskChain(Task("fetch", fetch, ("Nobody",)), Task("count", count, (7,)))
    CoreMultiprocessing.push_chain(broken)
    try:
        broken.get()
    except KeyError as error:
        print("a chain that breaks raises what broke it:", repr(error))


if __name__ == "__main__":
    main()
