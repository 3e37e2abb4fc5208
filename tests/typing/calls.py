"""Right and wrong calls of typed refs, for the type checkers alone: this file is never run.

mypy --strict and pyright must report exactly the lines that end in `# wrong`; `tests/test_typing.py`
compares. A right line that returns something also says, with `assert_type`, what.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import assert_type

from actorsched import (
    Actor,
    ActorPool,
    ActorRef,
    Executor,
    Group,
    Hosts,
    Mailbox,
    Outcome,
    Priority,
    Retry,
    Runtime,
    Supervise,
    Task,
    TaskChain,
    TaskRef,
    TaskStatus,
    cpu_bound,
    current,
    run,
    stage,
)
from actorsched.context import ActorTimer
from actorsched.pipeline import Stage


class Counter(Actor):
    mailbox = Mailbox(capacity=10, overflow="raise")

    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self._n = start
        self._step = step

    async def add(self, k: int) -> int:
        self._n += k
        return self._n

    async def label(self, prefix: str, suffix: str = "") -> str:
        return f"{prefix}{self._n}{suffix}"

    async def reset(self) -> None:
        self._n = 0

    async def ticks(self, every: float) -> AsyncIterator[int]:
        yield self._n


class Renderer(Actor, host="process"):
    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    async def render(self, scene: bytes) -> bytes:
        return scene


async def fetch(url: str) -> str:
    return url


async def fetch_part(url: str, start: int, stop: int) -> str:
    return url[start:stop]


async def nothing() -> None: ...


def count_words(page: str) -> int:
    return len(page.split())


def total(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> int:
    return a + b + c + d + e + f + g


@cpu_bound
def squeeze(data: bytes, level: int) -> bytes:
    return data[:level]


def read(path: str) -> bytes:
    return path.encode()


# ------------------------------------------------------------------------------------------------------ tasks


async def right_tasks(rt: Runtime) -> None:
    page = await rt.spawn(fetch, "https://example.org")
    assert_type(page, TaskRef[str])
    assert_type(await page, str)
    assert_type(await page.outcome(), Outcome[str])
    assert_type(page.result(), str)
    assert_type(page.exception(), BaseException | None)
    assert_type(page.status, TaskStatus)
    assert_type(page.done(), bool)

    assert_type(await rt.run(nothing), None)
    assert_type(await rt.run(count_words, "some words"), int)
    assert_type(await rt.run(squeeze, b"data", 3), bytes)
    assert_type(await rt.run(fetch_part, "https://example.org", 0, 10), str)

    # a ref stands for its result
    assert_type(await rt.spawn(count_words, page), TaskRef[int])
    assert_type(await rt.run(fetch_part, page, 0, 10), str)

    # options
    await rt.spawn(fetch, "u", name="f", priority=Priority.HIGH, tags=("a", "b"), metadata={"level": 1})
    await rt.spawn(fetch, "u", priority=9, timeout="5s", retry=3)
    await rt.spawn(fetch, "u", timeout=timedelta(seconds=1))
    await rt.spawn(fetch, "u", retry=Retry(attempts=3, delay="1s", on=(OSError,)))
    await rt.spawn(nothing, after=[page], on_upstream_failure="run")
    await rt.run(count_words, "words", host="thread", abandon_on_cancel=True)
    await rt.run(count_words, "words", host="process")
    await rt.spawn(fetch, "u", deadline="5s", hard=True, cost=0.5, period=timedelta(seconds=10))
    await rt.spawn(fetch, "u", deadline=datetime.now(UTC) + timedelta(hours=1), max_latency="100ms")
    await rt.run(count_words, "words", host="process", cpu_cores=2, memory_mb=512.5)
    await rt.run(count_words, "words", tag="cpu", preemptible=False, resources={"db"})
    await rt.run(count_words, "words", resources=["db", "net"], deadline=None, cost=None, tag=None)
    await rt.run(fetch_part, "u", 0, 10, resources=("db", "net"), period="1m", max_latency=0.5)
    await rt.run(fetch_part, "u", kwargs={"start": 1, "stop": 3}, resources=frozenset({"db"}), deadline=3)
    await rt.spawn(nothing, resources={"db": 1}.keys(), cost="5ms")
    await rt.spawn(nothing, resources=(name for name in ("db", "net")))

    # keyword arguments
    assert_type(await rt.run(partial(fetch_part, "u", start=1, stop=3)), str)
    assert_type(await rt.run(fetch_part, "u", kwargs={"start": 1, "stop": 3}), str)
    assert_type(await rt.run(count_words, kwargs={"page": page}, name="count"), int)

    # more arguments than a checker is asked to follow
    assert_type(await rt.run(total, 1, 2, 3, 4, 5, 6, 7), int)

    # prepared tasks
    await rt.submit(Task("fetch", fetch, args=("u",), priority=Priority.LOW))
    await rt.submit(Task("fetch", fetch, args=("u",), deadline="5s", hard=True, resources={"db"}, tag="io"))
    await rt.submit(Task("count", count_words, args=("words",), cpu_cores=2, memory_mb=64))
    await rt.submit(TaskChain(Task("fetch", fetch, args=("u",)), Task("count", count_words)))

    # the lifetime of a ref
    await page.cancel(reason="enough")
    await page.set_priority(Priority.CRITICAL)


async def wrong_tasks(rt: Runtime, page: TaskRef[str], size: TaskRef[int]) -> None:
    await rt.spawn(fetch)  # wrong
    await rt.spawn(fetch, 5)  # wrong
    await rt.spawn(fetch, "u", "v")  # wrong
    await rt.run(count_words, b"bytes")  # wrong
    await rt.run(fetch_part, "u", "0", 10)  # wrong
    await rt.run(count_words, size)  # wrong
    await rt.spawn(fetch, "u", prioritty=3)  # wrong
    await rt.spawn(fetch, "u", priority="high")  # wrong
    await rt.spawn(fetch, "u", host="moon")  # wrong
    await rt.spawn(fetch, "u", retry="often")  # wrong
    await rt.spawn(fetch, "u", deadline=[5])  # wrong
    await rt.spawn(fetch, "u", hard="yes")  # wrong
    await rt.spawn(fetch, "u", cost=datetime.now(UTC))  # wrong
    await rt.spawn(fetch, "u", period=b"1s")  # wrong
    await rt.spawn(fetch, "u", resources="db")  # wrong
    await rt.spawn(fetch, "u", resources={1, 2})  # wrong
    await rt.spawn(fetch, "u", preemptible=None)  # wrong
    await rt.run(count_words, "words", tag=3)  # wrong
    await rt.run(count_words, "words", max_latency=datetime.now(UTC))  # wrong
    await rt.run(count_words, "words", cpu_cores=1.5)  # wrong
    await rt.run(count_words, "words", memory_mb="512 MB")  # wrong
    await rt.run(count_words, "words", resources=None)  # wrong
    rt.map(count_words, ["words"], deadline=None, hard=None)  # wrong
    rt.map(count_words, ["words"], resources="db")  # wrong
    Task("fetch", fetch, args=("u",), cost=[1])  # wrong
    Task("fetch", fetch, args=("u",), resources="db")  # wrong
    number: int = await page  # wrong
    text: str = await rt.run(count_words, "words")  # wrong
    await rt.spawn("fetch", "u")  # wrong
    await page.set_priority("high")  # wrong
    page.resolve("x")  # wrong
    print(number, text)


# ----------------------------------------------------------------------------------------------------- actors


async def right_actors(rt: Runtime) -> None:
    c = await rt.spawn(Counter, 10)
    assert_type(c, ActorRef[Counter])
    assert_type(await rt.spawn(Counter), ActorRef[Counter])
    assert_type(await rt.spawn(Counter, 10, name="c", restart="permanent"), ActorRef[Counter])
    await rt.spawn(Counter, 10, mailbox=Mailbox(capacity=None), kwargs={"step": 2})
    await rt.spawn(Counter, host="process")
    assert_type(await rt.spawn(Renderer, (640, 480)), ActorRef[Renderer])

    assert_type(await c.ask.add(5), int)
    assert_type(await c.ask.label("n="), str)
    assert_type(await c.ask.label("n=", suffix="!"), str)
    assert_type(await c.ask.reset(), None)
    assert_type(await c.asking(timeout="1s", priority=Priority.HIGH).add(5), int)
    assert_type(await c.asking(timeout=0.5).label("n="), str)

    c.tell(Counter.add, 5)
    c.tell(Counter.reset)
    c.tell(Counter.label, "n=", suffix="!")
    await c.telling(Counter.add, 5)
    await c.telling(Counter.reset)

    async for tick in c.ask.ticks(0.1):
        assert_type(tick, int)

    await c.stop()
    await c.kill()
    await rt.monitor(c)
    rt.lookup("c")


async def wrong_actors(rt: Runtime, c: ActorRef[Counter]) -> None:
    await rt.spawn(Counter, "ten")  # wrong
    await rt.spawn(Counter, 10, 20)  # wrong
    await rt.spawn(Renderer)  # wrong
    await rt.spawn(Counter, restart="always")  # wrong
    await rt.spawn(Counter, 10, nmae="c")  # wrong
    await c.ask.add("5")  # wrong
    await c.ask.add()  # wrong
    await c.ask.add(5, 6)  # wrong
    await c.ask.ad(5)  # wrong
    await c.asking(timeout="1s").add("5")  # wrong
    await c.asking(timeout="1s").subtract(5)  # wrong
    await c.asking(patience="1s").add(5)  # wrong
    c.tell(Counter.add, "5")  # wrong
    c.tell(Counter.add)  # wrong
    c.tell(Counter.ad, 5)  # wrong
    c.tell(Renderer.render, b"scene")  # wrong
    await c.telling(Counter.add, "5")  # wrong
    await c.telling(Counter.label)  # wrong
    sum_up: str = await c.ask.add(5)  # wrong
    other: ActorRef[Renderer] = c  # wrong
    async for tick in c.ask.ticks("often"):  # wrong
        print(tick)
    await c.halt()  # wrong
    print(sum_up, other)


async def right_timers(c: ActorRef[Counter]) -> None:
    assert_type(current().after("1s", Counter.add, 5), ActorTimer)
    current().after(0.5, Counter.reset)
    current().after("1s", Counter.label, "n=", suffix="!")
    assert_type(current().after("1s", Counter.add, 5, key="add"), ActorTimer)
    current().after("1s", Counter.reset, key=("reset", 1))
    current().after("1s", Counter.label, "n=", key=None)
    current().after("1s", Counter.label, "n=", suffix="!", key="label")
    current().every("1s", Counter.add, 5, key="add")
    current().every("1s", Counter.reset)
    current().every("1s", Counter.label, "n=").cancel()


async def wrong_timers(c: ActorRef[Counter]) -> None:
    current().after("1s", Counter.add)  # wrong
    current().after("1s", Counter.add, "5")  # wrong
    current().after("1s", Counter.add, "5", key="add")  # wrong
    current().after("1s", Counter.add, key="add")  # wrong
    current().after("1s", Counter.add, 5, 6, key="add")  # wrong
    current().after("1s", Counter.ad, 5)  # wrong
    current().after("1s", count_words, 5, key="add")  # wrong
    current().after(Counter.add, 5)  # wrong
    current().every("1s", Counter.label, 5, key="label")  # wrong
    current().every(None, Counter.reset)  # wrong
    current().every("1s", "reset")  # wrong


# ----------------------------------------------------------------------------------- runtime, scopes, streams


async def right_runtimes() -> None:
    async with Runtime(concurrency=4, hosts=Hosts(max=2), seed=7, name="rt") as rt:
        assert_type(rt, Runtime)
        async for words in rt.map(count_words, ["a b", "c"], limit=2, ordered=False):
            assert_type(words, int)
        refs = [await rt.spawn(fetch, "u"), await rt.spawn(fetch, "v")]
        async for settled in rt.as_completed(refs):
            assert_type(settled, TaskRef[str])
        async with rt.scope(Supervise("one_for_all", max_restarts=3, period="5s")) as scope:
            assert_type(await scope.run(count_words, "a b"), int)
            assert_type(await scope.spawn(Counter, 1), ActorRef[Counter])
        squeezing = stage(squeeze_fast, workers=2, host="process")
        pipe = rt.pipeline(read, squeezing, stage(len, ordered=True, demand=64))
        assert_type(squeezing, Stage[bytes, bytes])
        async for size in pipe(["a", "b"]):
            assert_type(size, int)
        async for words in rt.map(count_words, ["a b"], deadline="1m", tag="cpu", resources={"db"}):
            assert_type(words, int)
        async for page in rt.map(fetch, [await rt.spawn(fetch, "v")], retry=2):
            assert_type(page, str)
        async for letter in rt.dead_letters():
            assert_type(letter.actor, str)
        pool = await rt.spawn_pool(Counter, 1, size=2, routing="by_key")
        assert_type(pool, ActorPool[Counter])
        assert_type(await pool.of("key").ask.add(5), int)
        assert_type(await pool.ask.add(5), int)
        assert_type(await Group([await rt.spawn(Counter)]).ask(Counter.add, 5), list[int])
        await rt.shutdown(drain=True, timeout="5s")


async def wrong_runtimes() -> None:
    Runtime(concurency=4)  # wrong
    Runtime(concurrency="many")  # wrong
    Hosts(max="all")  # wrong
    Mailbox(overflow="burst")  # wrong
    Retry(attempts="three")  # wrong
    Supervise("all_for_one")  # wrong
    async with Runtime() as rt:
        async for _ in rt.map(count_words, [1, 2]):  # wrong
            pass
        rt.pipeline(stage(read, workers="two"))  # wrong
        rt.pipeline(read, 5)  # wrong
        rt.as_completed([1])  # wrong
        await rt.spawn_pool(Counter, routing="nearest")  # wrong


def right_executors(rt: Runtime) -> None:
    with Executor(2, "thread", priority=Priority.HIGH, initializer=print, initargs=("a",)) as executor:
        assert_type(executor.submit(count_words, "a b"), Future[int])
        assert_type(executor.submit(count_words, page="a b").result(), int)
        assert_type(executor.map(count_words, ["a b"], chunksize=2), Iterator[int])
        assert_type(rt.executor("process", max_workers=2, name="words").submit(count_words, "a"), Future[int])


def wrong_executors(rt: Runtime) -> None:
    executor = Executor(host="ray")  # wrong
    executor.submit(count_words, 5)  # wrong
    executor.submit(count_words)  # wrong
    Executor(max_worker=2)  # wrong
    rt.executor(prioritty=2)  # wrong


def squeeze_fast(data: bytes) -> bytes:
    return data[:1]


async def main() -> int:
    return 3


assert_type(run(main), int)
run(count_words, "words")  # wrong
