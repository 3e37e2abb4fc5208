"""Policies at runtime: changed while everything is under way, and made by users, good ones and bad ones."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import pathlib
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Hosts, Runtime, TaskRef, TaskStatus, checkpoint
from actorsched.policies import Edf, Fair, FixedPriority, Policy, Realtime, Schedulable
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.manual_clock import settle, until

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "weighted_fair_queueing.py"
MADE: dict[str, Any] = {
    "priority": FixedPriority(aging=3, quantum=0.5),
    "edf": Edf(admission="warn"),
    "fair": Fair(levels=3, quanta=[1, 2, 4], boost=20),
    "realtime": Realtime(),
}
PAIRS = list(itertools.permutations(MADE, 2))


def weighted(quantum: float) -> Any:
    """The policy of the example."""
    spec = importlib.util.spec_from_file_location("weighted_fair_queueing", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WeightedFairQueueing(quantum)


def virtual(policy: Any = "priority", **options: Any) -> Runtime:
    given: dict[str, Any] = {"concurrency": 1, **options}
    return Runtime(policy=policy, clock=VirtualClock(), **given)


# ------------------------------------------------------------------------------------ another one, meanwhile


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_nobody_is_lost_when_the_policy_changes(first: str, second: str) -> None:
    """Whatever they do: wait in the queue, run, wait for others, for a resource, for another attempt."""
    ended: list[int] = []

    async def act(number: int) -> int:
        if number % 5 == 1:
            await rt.run(compute, 0.1, priority=number % 7)
        elif number % 5 == 2:
            await rt.sleep(0.2)
        elif number % 50 == 3 and number not in ended:
            ended.append(number)
            raise OSError
        await compute(0.1)
        ended.append(number)
        return number

    async with virtual(first, concurrency=3, pools={"tag": 2}) as rt:
        rt.resource("db", capacity=2)
        refs: list[TaskRef[int]] = []
        for number in range(600):
            options: dict[str, Any] = {
                "priority": number % 7,
                "tag": "tag" if number % 3 == 0 else None,
                "deadline": None if number % 4 else 1 + number % 11,
                "cost": 0.1,
                "retry": 2,
                "resources": {"db"} if number % 6 == 0 else (),
                "after": refs[-1:] if number % 10 == 9 else (),
            }
            spawn: Any = rt.spawn
            refs.append(await spawn(act, number, **options))
        for turn in range(12):
            await rt.sleep(1)
            chosen: Any = (first, second)[turn % 2]
            await rt.set_policy(MADE[chosen] if turn % 4 > 1 else chosen)
            if turn % 3 == 0:
                await refs[turn * 31 + 7].set_priority(6)
        assert [await ref for ref in refs] == list(range(600))
        for pool in rt._system.pools.values():
            assert (pool.running, len(pool.next), len(pool.policy)) == (0, 0, 0)


@pytest.mark.parametrize(("first", "second"), [("priority", "fair"), ("fair", "edf"), ("edf", "priority")])
async def test_threads_are_not_lost_either(first: str, second: str) -> None:
    release, begun = threading.Event(), threading.Event()

    def polite() -> int:
        begun.set()
        while not release.is_set():
            checkpoint()
        return 1

    async with Runtime(policy=first, pools={"two": 2}) as rt:
        refs = [await rt.spawn(polite, tag="two", priority=n % 6) for n in range(40)]
        await until(begun.is_set)
        for n in range(20):
            await rt.set_policy((second, first)[n % 2])
            await refs[n].set_priority(n % 5)
            await settle(3)
        release.set()
        assert sum([await ref for ref in refs]) == 40


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_hosts_are_not_lost_either() -> None:
    async with Runtime(hosts=Hosts(max=2)) as rt:
        refs = [await rt.spawn(work.double, n, host="process", priority=n % 5) for n in range(300)]
        for n, ref in enumerate(refs):
            if n % 20 == 0:
                await rt.set_policy(list(MADE)[n // 20 % 4])
            assert await ref == 2 * n


async def test_thousands_wait_and_are_handed_over_in_their_order() -> None:
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    async with virtual() as rt:
        await rt.spawn(compute, 5)
        for n in range(5000):
            await rt.spawn(note, n, priority=n % 3)
        await rt.sleep(1)
        await rt.set_policy("fair")  # which takes them as they come
    assert order == sorted(range(5000), key=lambda number: -(number % 3))


async def test_the_new_policy_decides_at_once_who_runs() -> None:
    async with virtual("fair") as rt:
        low = await rt.spawn(compute, 9, priority=1)
        high = await rt.spawn(compute, 9, priority=5)
        early = await rt.spawn(compute, 9, priority=0, deadline=20)
        statuses: list[list[bool]] = []
        for policy in ("realtime", "edf", "realtime"):
            await rt.set_policy(policy)
            await rt.sleep(1)
            statuses.append([ref.status is TaskStatus.RUNNING for ref in (low, high, early)])
        assert statuses == [[False, True, False], [False, False, True], [False, True, False]]


async def test_a_policy_object_is_a_pattern_and_stays_as_it_is() -> None:
    policy = Fair[Any](levels=2, quanta=[1, 2], boost=10)
    async with virtual(policy) as rt, virtual(policy) as other:
        for runtime in (rt, other):
            for _ in range(3):
                await runtime.spawn(compute, 3)
        await rt.set_policy(policy)
        await rt.sleep(2)
        assert len(policy) == 0


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("lifo", ValueError, "policy='lifo' is not known; choose from 'priority', 'edf', 'fair', 'realtime'"),
        (Fair, TypeError, "is a class; give a policy made of it"),
        (None, TypeError, "is no scheduling policy, being without fresh, push"),
    ],
)
async def test_what_is_no_policy_is_refused_and_changes_nothing(
    wrong: Any, error: type[Exception], message: str
) -> None:
    async with virtual("fair") as rt:
        with pytest.raises(error, match=message):
            await rt.set_policy(wrong)
        assert type(rt._system.pools["loop"].policy) is Fair
    with pytest.raises(error, match=message):
        Runtime(policy=wrong)


# ------------------------------------------------------------------------------- weighted fair queueing


@pytest.mark.parametrize("quantum", [1, 5])
async def test_shares_are_right_to_within_one_quantum(quantum: float) -> None:
    weights = {0: 1, 1: 2, 2: 3, 4: 5, 8: 9}
    used = dict.fromkeys(weights, 0.0)

    async def use(priority: int) -> None:
        while True:
            await compute(0.5)
            used[priority] += 0.5

    async with virtual(weighted(quantum)) as rt:
        refs = [await rt.spawn(use, priority, priority=priority) for priority in weights]
        whole = sum(weights.values())
        for _ in range(40):
            await rt.sleep(7)
            for priority, weight in weights.items():
                assert abs(used[priority] - rt.now * weight / whole) <= quantum + 0.5
        for ref in refs:
            await ref.cancel()
        guarded: Any = rt._system.pools["loop"].policy
        assert not guarded._tags


async def test_nobody_saves_up_time_by_coming_late() -> None:
    used = {"early": 0, "late": 0}

    async def use(name: str) -> None:
        while True:
            await compute(1)
            used[name] += 1

    async with virtual(weighted(2)) as rt:
        early = await rt.spawn(use, "early")
        await rt.sleep(100)
        late = await rt.spawn(use, "late")
        await rt.sleep(100)
        assert abs(used["late"] - 50) <= 2
        assert abs(used["early"] - 150) <= 2
        for ref in (early, late):
            await ref.cancel()


async def test_a_policy_of_ones_own_takes_over_and_hands_over() -> None:
    async with virtual(concurrency=2) as rt:
        refs = [await rt.spawn(compute, 3, priority=n % 5) for n in range(30)]
        for policy in (weighted(0.7), "edf", weighted(2), "fair", weighted(1)):
            await rt.sleep(4)
            await rt.set_policy(policy)
        for ref in refs:
            await ref
        assert rt.now == pytest.approx(45)


# ------------------------------------------------------------------------------------------ bad ones


class Fails(Policy[Schedulable]):
    """First come, first served; and one of its answers is an error, or wrong."""

    def __init__(self, verb: str, answer: Any = None) -> None:
        self.verb = verb
        self.answer = answer
        self.queue: list[Schedulable] = []

    def __repr__(self) -> str:
        return f"Fails({self.verb!r})"

    def fresh(self) -> Fails:
        return Fails(self.verb, self.answer)

    def note(self, verb: str) -> None:
        if verb == self.verb and self.answer is None:
            raise ZeroDivisionError(verb)

    def push(self, task: Schedulable, now: float, /) -> None:
        self.note("push")
        self.queue.append(task)

    def peek(self, now: float, /) -> Schedulable | None:
        return self.queue[0] if self.queue else None

    def pop(self, now: float, /) -> Schedulable | None:
        self.note("pop")
        if self.verb == "pop":
            return None
        return self.queue.pop(0) if self.queue else None

    def remove(self, task: Schedulable, /) -> bool:
        self.note("remove")
        found = task in self.queue
        if found:
            self.queue.remove(task)
        return found

    def order(self, now: float, /) -> Sequence[Schedulable]:
        return list(self.queue)

    def drain(self) -> list[Schedulable]:
        self.note("drain")
        drained, self.queue = self.queue, []
        return drained

    def __len__(self) -> int:
        return len(self.queue)

    def started(self, task: Schedulable, now: float, /) -> None:
        self.note("started")

    def stopped(self, task: Schedulable, now: float, /) -> None:
        self.note("stopped")

    def changed(self, task: Schedulable, now: float, /) -> None:
        self.note("changed")

    def expired(self, now: float, /) -> Sequence[Schedulable]:
        self.note("expired")
        return self.queue[:1] if self.verb == "expired" else ()

    def victim(self, now: float, /) -> Schedulable | None:
        self.note("victim")
        return self.queue[0] if self.verb == "victim" else None

    def alarm(self, now: float, /) -> float | None:
        self.note("alarm")
        return None


async def misuse(policy: Any) -> None:
    """Do everything that a policy is asked about."""
    async with Runtime(policy=policy, concurrency=1, shutdown_timeout=0.2) as rt:
        refs = [await rt.spawn(anyio.sleep, 0) for _ in range(5)]
        await refs[3].set_priority(5)
        await refs[4].cancel()
        await refs[0].outcome()
        waiting = [await rt.spawn(anyio.sleep, 0) for _ in range(3)]
        await rt.set_policy("fair")
        for ref in (*refs, *waiting):
            await ref.outcome()


VERBS = ["push", "pop", "remove", "drain", "started", "stopped", "changed", "expired", "victim", "alarm"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_policy_that_raises_ends_the_runtime_and_is_named(
    verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError, match=verb) as caught:
        await misuse(Fails(verb))
    note = f"this came from the policy Fails({verb!r}) of pool 'loop', in {verb}(); mend it: "
    assert caught.value.__notes__[0].startswith(note)
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    assert note in texts[0]
    assert not any("please report" in text for text in texts)


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("pop", "it says that somebody is in the queue, and names nobody"),
        ("victim", "it names <task 'sleep' ready>, which does not run here"),
        ("expired", "it names <task 'sleep' ready>, which does not run here"),
    ],
)
async def test_a_policy_that_answers_with_what_cannot_be_is_named_too(verb: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message) as caught:
        await misuse(Fails(verb, answer="wrong"))
    assert f"in {verb}()" in caught.value.__notes__[0]
