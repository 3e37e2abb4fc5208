"""While the shared runtime is stopped, another one may begin, and what is in the first ends as it should."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from actorsched import DeadlockError, Runtime, Task
from actorsched.frontends._jobs import Job
from actorsched.frontends._shared import SHARED
from actorsched.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def entered(job: Job) -> Job:
    """Enter a job, and wait until it has a task."""
    job.enter()
    there = threading.Event()
    SHARED.call(Runtime.call_threadsafe, there.set)
    assert there.wait(WAIT)
    return job


def in_thread(name: str, function: Callable[..., object], *args: object, **options: object) -> Job:
    return Job(Task(name, function, args, host="thread", **options), name)  # type: ignore[arg-type]


def being_stopped(drain: bool = True) -> threading.Thread:
    """Begin to stop the shared runtime, in another thread."""
    stopping = threading.Thread(target=SHARED.stop, args=(drain,), daemon=True)
    runtime = SHARED._runtime
    stopping.start()
    while SHARED._runtime is runtime:
        stopping.join(0.001)
    return stopping


def joined(thread: threading.Thread) -> bool:
    thread.join(WAIT)
    return not thread.is_alive()


def test_a_runtime_that_begins_meanwhile_outlives_the_end_of_the_first(gate: threading.Event) -> None:
    first = entered(in_thread("first", gate.wait))
    stopping = being_stopped()
    second = entered(in_thread("second", gate.wait))
    runtime = SHARED._runtime
    first.complete(None)
    gate.set()
    assert joined(stopping)
    assert SHARED._runtime is runtime
    assert second.wait(WAIT)
    SHARED.stop()
    assert not any(thread.name == "actorsched shared" for thread in threading.enumerate())


def test_whoever_depends_on_what_is_still_drained_waits_for_it(gate: threading.Event) -> None:
    first = entered(in_thread("first", gate.wait))
    stopping = being_stopped()
    second = Job(Task("second", sum), "second", after=[first], inject=())
    third = entered(Job(Task("third", bool), "third", after=[first]))
    second.cancel()
    assert third.status is TaskStatus.WAITING
    gate.set()
    assert third.wait(WAIT)
    assert third.status is TaskStatus.COMPLETED
    assert joined(stopping)


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_is_settled_by_hand_while_it_is_drained_ends_there_too(cancelled: bool) -> None:
    never = entered(Job(None, "never"))
    stopping = being_stopped()
    assert never.cancel() if cancelled else never.complete(1)
    assert joined(stopping)


def test_a_stand_in_of_a_runtime_that_is_drained_ends_as_its_job_does() -> None:
    later = Job(None, "later")
    one = entered(Job(Task("one", bool), "one", after=[later]))
    stopping = being_stopped()
    other = entered(Job(Task("other", bool), "other", after=[later]))
    assert later.complete(None)
    assert one.wait(WAIT)
    assert other.wait(WAIT)
    assert joined(stopping)
    assert (one.error, other.error) == (None, None)


def test_the_thread_of_a_runtime_that_is_drained_must_not_block_either(gate: threading.Event) -> None:
    other = entered(in_thread("other", gate.wait))
    go_on = anyio.Event()
    raised: list[BaseException] = []

    async def wait_for_it() -> None:
        await go_on.wait()
        try:
            other.wait(WAIT)
        except DeadlockError as error:
            raised.append(error)

    waiting = entered(Job(Task("waiting", wait_for_it), "waiting"))
    runtime = SHARED._runtime
    assert runtime is not None
    stopping = being_stopped()
    runtime.call_threadsafe(go_on.set)
    assert waiting.wait(WAIT)
    gate.set()
    assert joined(stopping)
    assert raised


def test_whoever_has_less_patience_is_heard_while_somebody_else_drains() -> None:
    never = entered(Job(None, "never"))
    stopping = being_stopped()
    SHARED.stop(drain=False)
    assert never.status is TaskStatus.CANCELLED
    assert joined(stopping)
