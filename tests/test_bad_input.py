"""Everything wrong that can be asked of a runtime is refused at the call, by name, and nothing is queued."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from actorsched import Actor, Hosts, Runtime, cpu_bound


async def two(a: int, b: int) -> int:
    return a + b


def one(a: int, *, named: int) -> int:
    return a + named


async def stream() -> AsyncIterator[int]:
    yield 1


def generate() -> Iterator[int]:
    yield 1


class Idle(Actor):
    """Does nothing."""


WRONG_TARGETS: list[tuple[Any, str]] = [
    (None, "None cannot be called"),
    (5, "5 cannot be called"),
    ("two", "'two' cannot be called"),
    (stream, "'stream' is an async generator"),
    (functools.partial(stream), "async generator"),
]

WRONG_ARGUMENTS: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (two, (), {}, "missing a required argument: 'a'"),
    (two, (1,), {}, "missing a required argument: 'b'"),
    (two, (1, 2, 3), {}, "too many positional arguments"),
    (two, (1, 2), {"c": 3}, "unexpected keyword argument 'c'"),
    (two, (1, 2), {"a": 3}, "multiple values for argument 'a'"),
    (one, (1,), {}, "missing a required.* argument: 'named'"),
    (one, (1, 2), {}, "too many positional arguments"),
    (functools.partial(two, 1, 2), (3,), {}, "too many positional arguments"),
    (Idle().__class__.on_start, (), {}, "missing a required argument: 'self'"),
]

WRONG_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prioritty": 3}, TypeError, "unknown option 'prioritty'; did you mean 'priority'"),
    ({"a": 3}, TypeError, "unknown option 'a'.*kwargs="),
    ({"name": 3}, TypeError, "name=3 is of type int"),
    ({"name": " "}, ValueError, "name=' ' is empty"),
    ({"description": 3}, TypeError, "description=3"),
    ({"tags": "abc"}, TypeError, "tags='abc'"),
    ({"tags": [1]}, TypeError, "tags=1"),
    ({"metadata": [1]}, TypeError, r"metadata=\[1\]"),
    ({"metadata": {1: 2}}, TypeError, "metadata has the key 1"),
    ({"priority": "high"}, TypeError, "priority='high'.*give any int"),
    ({"priority": 1.5}, TypeError, "priority=1.5"),
    ({"priority": True}, TypeError, "priority=True"),
    ({"after": 3}, TypeError, "after=3"),
    ({"after": "abc"}, TypeError, "after='abc'"),
    ({"after": [3]}, TypeError, "3 is to be waited for, but is no submitted task"),
    ({"host": "moon"}, ValueError, "host='moon' is not a choice"),
    ({"host": 3}, ValueError, "host=3"),
    ({"host": "thread"}, ValueError, "does not fit 'two', an async function"),
    ({"timeout": "soon"}, ValueError, "timeout='soon'"),
    ({"timeout": -1}, ValueError, "timeout=-1"),
    ({"timeout": float("nan")}, ValueError, "timeout=nan"),
    ({"timeout": True}, (TypeError, ValueError), "timeout=True"),  # type: ignore[list-item]
    ({"timeout": [1]}, (TypeError, ValueError), "timeout="),  # type: ignore[list-item]
    ({"retry": 0}, ValueError, "retry=0"),
    ({"retry": "often"}, TypeError, "retry='often'"),
    ({"retry": True}, TypeError, "retry=True"),
    ({"tag": ""}, ValueError, "tag='' is empty"),
    ({"abandon_on_cancel": 1}, TypeError, "abandon_on_cancel=1"),
    ({"abandon_on_cancel": True}, ValueError, "only what runs in a thread can be abandoned"),
    ({"abandon_on_cancel": True, "host": "process"}, ValueError, "contradicts host='process'"),
    ({"on_upstream_failure": "cry"}, ValueError, "on_upstream_failure='cry'"),
    ({"kwargs": [1]}, TypeError, r"kwargs=\[1\]"),
    ({"kwargs": {1: 2}}, TypeError, "kwargs has the key 1"),
    ({"restart": "permanent"}, TypeError, "unknown option 'restart'"),
    ({"mailbox": None}, TypeError, "unknown option 'mailbox'"),
]

WRONG_RUNTIMES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"policy": "chaos"}, ValueError, "policy='chaos'"),
    ({"policy": None}, TypeError, "policy=None"),
    ({"concurrency": 0}, ValueError, "concurrency=0"),
    ({"concurrency": -1}, ValueError, "concurrency=-1"),
    ({"concurrency": "many"}, TypeError, "concurrency='many'"),
    ({"concurrency": True}, TypeError, "concurrency=True"),
    ({"concurrency": 1.0}, TypeError, "concurrency=1.0"),
    ({"hosts": 3}, TypeError, "hosts=3"),
    ({"hosts": Hosts}, TypeError, "hosts="),
    ({"clock": 5}, TypeError, "clock=5 is no Clock"),
    ({"seed": "x"}, TypeError, "seed='x'"),
    ({"seed": False}, TypeError, "seed=False"),
    ({"name": 3}, TypeError, "name=3"),
    ({"shutdown_timeout": "never"}, ValueError, "shutdown_timeout='never'"),
    ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout=-1"),
    ({"threads": 3}, TypeError, "threads"),
]


def check_untouched(rt: Runtime) -> None:
    """Nothing was queued."""
    assert not rt._nursery.live
    assert not rt._system.kernel.mail
    assert all(not len(pool.policy) and not pool.running for pool in rt._system.pools.values())


@pytest.mark.parametrize(("target", "message"), WRONG_TARGETS)
async def test_what_cannot_be_run_is_refused(target: Any, message: str) -> None:
    async with Runtime() as rt:
        for call in (rt.spawn, rt.run):
            with pytest.raises(TypeError, match=message):
                await call(target)
        check_untouched(rt)


async def test_a_coroutine_is_refused_with_the_remedy_and_without_a_warning() -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="was called already; give the function itself"):
            await rt.spawn(two(1, 2))  # type: ignore[call-overload]
        check_untouched(rt)


async def test_a_class_of_actors_has_no_result_to_run_for() -> None:
    async with Runtime() as rt:
        with pytest.raises(TypeError, match="Idle is a class of actors.*use spawn"):
            await rt.run(Idle)
        check_untouched(rt)


@pytest.mark.parametrize(("target", "args", "kwargs", "message"), WRONG_ARGUMENTS)
async def test_arguments_that_do_not_fit_are_refused_with_the_signature(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    async with Runtime() as rt:
        for call in (rt.spawn, rt.run):
            with pytest.raises(TypeError, match=message) as caught:
                await call(target, *args, kwargs=kwargs)
            assert "was given wrong arguments" in str(caught.value)
            assert "kwargs={...}" in str(caught.value)
        check_untouched(rt)


@pytest.mark.parametrize(("given", "error", "message"), WRONG_OPTIONS)
async def test_wrong_options_are_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    async with Runtime() as rt:
        for call in (rt.spawn, rt.run):
            with pytest.raises(error, match=message):
                await call(two, 1, 2, **given)
        async with rt.scope() as scope:
            with pytest.raises(error, match=message):
                await scope.spawn(two, 1, 2, **given)
        check_untouched(rt)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mailbox": "wait"}, r"Wrong.mailbox='wait' is of type str; give a Mailbox"),
        ({"mailbox": None}, r"Wrong.mailbox=None is of type NoneType"),
        ({"fatal": 3}, r"Wrong.fatal=3 is no tuple of exception classes; give one"),
        ({"fatal": OSError}, r"Wrong.fatal=<class 'OSError'> is no tuple"),
        ({"fatal": ("OSError",)}, r"Wrong.fatal=\('OSError',\) is no tuple"),
    ],
)
@pytest.mark.parametrize("host", ["loop", "process"])
async def test_a_class_that_says_wrong_things_of_its_actors_is_refused_when_the_first_is_spawned(
    attributes: dict[str, Any], message: str, host: str
) -> None:
    wrong: Any = type("Wrong", (Idle,), attributes)
    async with Runtime() as rt:
        for _ in range(2):
            with pytest.raises(TypeError, match=message):
                await rt.spawn(wrong, host=host)
        check_untouched(rt)


async def test_a_pool_is_made_of_actors() -> None:
    async with Runtime() as rt:
        for wrong in (two, Idle(), None):
            with pytest.raises(TypeError, match="is no class of actors, so no pool"):
                await rt.spawn_pool(wrong)


async def test_actors_are_linked_with_actors() -> None:
    async with Runtime() as rt:
        idle: Any = await rt.spawn(Idle)
        for link in (idle.link, idle.unlink):
            with pytest.raises(TypeError, match="3 is no ActorRef; give one that spawn"):
                link(3)


def test_only_functions_that_take_a_mark_are_marked_as_cpu_bound() -> None:
    with pytest.raises(TypeError, match="function=3 cannot be called"):
        cpu_bound(3)
    for function in (len, "".join, "text".encode):
        with pytest.raises(TypeError, match="cannot be marked as cpu_bound; give host='process'"):
            cpu_bound(function)


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_RUNTIMES)
def test_wrong_arguments_of_a_runtime_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Runtime(**arguments)


def test_a_runtime_needs_a_loop() -> None:
    async def enter() -> None:
        async with Runtime():
            pass

    coroutine = enter()
    with pytest.raises(RuntimeError, match="neither asyncio nor trio is running"):
        coroutine.send(None)


async def test_generators_and_what_gives_awaitables_are_run_as_what_they_are() -> None:
    async with Runtime() as rt:
        assert next(await rt.run(generate)) == 1
        assert await rt.run(anyio.sleep, 0) is None
