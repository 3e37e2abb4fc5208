"""A thousand random trees of tasks, actors and scopes, with random failures and cancellations.

Whatever happens in them: no task, actor, thread, timer, carrier or descriptor is left, and every waiter has
got an answer. Each tree is made from a seed, which the test's name shows; so a failure can be repeated.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorsched import (
    Actor,
    ActorschedError,
    DeadlockError,
    Retry,
    Runtime,
    RuntimeClosed,
    Supervise,
    TaskRef,
    TaskStatus,
    checkpoint,
    current,
)

TREES = 340  # on each of three backends
FINAL = {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}


class Planned(Exception):
    """What goes wrong on purpose."""


class Tree:
    """What one seed makes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.refs: list[TaskRef[Any]] = []
        self.actors: list[Any] = []
        self.waiting = 0
        self.inside = 0
        self.size = self.rng.randrange(10, 80)

    def grows(self) -> bool:
        """Whether there may be one more task or actor."""
        self.size -= 1
        return self.size > 0

    async def pause(self) -> None:
        for _ in range(self.rng.randrange(4)):
            await anyio.lowlevel.checkpoint()

    async def answered(self, ref: TaskRef[Any]) -> None:
        """Wait for a task; each wait has to end."""
        self.waiting += 1
        try:
            if self.rng.random() < 0.3:
                with anyio.move_on_after(0):
                    await ref.outcome()
            else:
                await ref.outcome()
        except DeadlockError:
            pass
        finally:
            self.waiting -= 1

    async def spawn(self, place: Any) -> None:
        """Spawn a task, of one kind or another."""
        kind = self.rng.randrange(6)
        options: dict[str, Any] = {"priority": self.rng.randrange(7)}
        if self.refs and self.rng.random() < 0.3:
            options["after"] = self.rng.sample(self.refs, min(len(self.refs), self.rng.randrange(1, 3)))
            options["on_upstream_failure"] = self.rng.choice(["fail", "run"])
        if self.rng.random() < 0.2:
            options["retry"] = Retry(attempts=self.rng.randrange(1, 4))
        if self.rng.random() < 0.1:
            options["timeout"] = self.rng.choice([0, 0.001, 10])
        if kind == 0:
            ref = await place.spawn(self.in_thread, self.rng.random() < 0.3, **options)
        elif kind == 1 and self.rng.random() < 0.5:
            with suppress(Planned, ActorschedError, TimeoutError):
                await place.run(self.task, **options)
            return
        else:
            ref = await place.spawn(self.task, **options)
        self.refs.append(ref)

    def in_thread(self, fails: bool) -> None:
        current().report(0.5)
        checkpoint()
        if fails:
            raise Planned

    async def task(self) -> None:
        """A task: a few random deeds."""
        self.inside += 1
        try:
            if self.rng.random() < 0.2:
                current().defer(self.pause)
            for _ in range(self.rng.randrange(8)):
                await self.deed(current().runtime)
        finally:
            if self.rng.random() < 0.1:
                with anyio.CancelScope(shield=True):
                    await self.pause()
            self.inside -= 1

    async def deed(self, rt: Any) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2 if self.grows():
                await self.spawn(rt)
            case 3 if self.grows():
                with suppress(ExceptionGroup):
                    await self.scope(rt)
            case 4 if self.grows():
                await self.actor(rt)
            case 5 if self.refs:
                await rng.choice(self.refs).cancel("at random")
            case 6 | 7 if self.refs:
                await self.answered(rng.choice(self.refs))
            case 8 if self.actors:
                await self.talk(rng.choice(self.actors))
            case 9:
                if rng.random() < 0.25:
                    raise Planned
            case 10 if self.grows():
                async with anyio.create_task_group() as group:
                    group.start_soon(self.pause)
                    group.start_soon(self.pause)
            case _:
                await self.pause()

    async def scope(self, rt: Any) -> None:
        async with rt.scope(self.rng.choice([None, Supervise(max_restarts=1)])) as scope:
            for _ in range(self.rng.randrange(4)):
                if self.grows():
                    await self.spawn(scope)
                if self.grows() and self.rng.random() < 0.3:
                    await self.actor(scope)
                await self.deed(rt)
            if self.rng.random() < 0.2:
                raise Planned

    async def actor(self, place: Any) -> None:
        with suppress(Planned, ActorschedError):
            self.actors.append(
                await place.spawn(
                    Worker, self, restart=self.rng.choice(["permanent", "transient", "temporary"])
                )
            )

    async def talk(self, actor: Any) -> None:
        with suppress(Planned, ActorschedError):
            match self.rng.randrange(5):
                case 0:
                    actor.tell(Worker.work)
                case 1:
                    await actor.stop()
                case 2:
                    await actor.kill()
                case 3:
                    with anyio.move_on_after(0):
                        await actor.ask.work()
                case _:
                    await actor.ask.work()


class Worker(Actor):
    """An actor that does what tasks do."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    async def on_start(self) -> None:
        if self.tree.rng.random() < 0.1:
            raise Planned
        await self.tree.pause()

    async def work(self) -> None:
        if self.tree.rng.random() < 0.2:
            raise Planned
        await self.tree.deed(current().runtime)

    async def on_stop(self, reason: object) -> None:
        await self.tree.pause()


async def grow(tree: Tree, rt: Runtime) -> None:
    """The body of a runtime with a random tree in it."""
    for _ in range(tree.rng.randrange(8, 40)):
        try:
            await tree.deed(rt)
        except Planned:
            if tree.rng.random() < 0.1:
                raise
    match tree.rng.randrange(8):
        case 0:
            raise Planned
        case 1:
            await rt.shutdown(drain=tree.rng.random() < 0.5)
        case _:
            pass


async def live(tree: Tree, rt: Runtime) -> None:
    """The whole life of one runtime; it may end in several ways."""
    try:
        async with AsyncExitStack() as stack:
            scope = anyio.CancelScope()
            stack.enter_context(scope)
            group = await stack.enter_async_context(anyio.create_task_group())
            if tree.rng.random() < 0.3:
                group.start_soon(cancel_later, scope, tree.rng.randrange(200))
            async with rt:
                await grow(tree, rt)
    except* (Planned, RuntimeClosed, DeadlockError):
        pass


async def cancel_later(scope: anyio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


def check(tree: Tree, rt: Runtime) -> None:
    """Nothing is left, and everybody knows."""
    kernel, system = rt._system.kernel, rt._system
    assert not rt._nursery.live
    assert not system.scopes
    assert not kernel.carriers
    assert not kernel.mail
    assert not kernel.ready
    assert not kernel.panic
    assert not kernel.timers, [each[3] for each in kernel._timers._entries if each[3].active]
    assert {ref.status for ref in tree.refs} <= FINAL
    assert not any(actor.alive for actor in tree.actors)
    assert (tree.waiting, tree.inside) == (0, 0)
    assert not any(pool.running or len(pool.policy) for pool in system.pools.values())
    office = kernel.office
    assert office.sent == office.handled + office.rejected + office.dead_lettered


@pytest.mark.slow
@pytest.mark.deadline(60)
@pytest.mark.parametrize("part", range(4))
async def test_a_thousand_random_trees_leave_nothing_and_answer_everybody(part: int) -> None:
    logging.getLogger("actorsched").setLevel(logging.CRITICAL)  # failures are planned
    threads = set(threading.enumerate())
    for seed in range(part, TREES, 4):
        tree = Tree(seed)
        rt = Runtime(
            concurrency=tree.rng.choice([None, None, 1, 2, 5]),
            seed=tree.rng.choice([None, seed]),
            shutdown_timeout=10,
        )
        try:
            with anyio.fail_after(20):
                await live(tree, rt)
            check(tree, rt)
        except BaseException as error:
            error.add_note(f"this was tree {seed}")
            raise
    logging.getLogger("actorsched").setLevel(logging.NOTSET)
    assert not {thread for thread in set(threading.enumerate()) - threads if "actorsched" in thread.name}
