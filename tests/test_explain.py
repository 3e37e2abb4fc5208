"""Why is it not running: `rt.explain` tells the truth about tasks in every state, actors and hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Actor, Hosts, Retry, Runtime, TaskStatus, current, sleep
from actorsched.policies import Fair, FixedPriority
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo, until

if TYPE_CHECKING:
    from pathlib import Path

    from actorsched.policies import SchedulingPolicy


async def job(units: float = 3) -> None:
    await compute(units)


async def hold(resource: str, units: float) -> None:
    async with current().acquire(resource):
        await compute(units)


async def test_a_running_task_says_where_it_runs() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        ref = await rt.spawn(job, name="it")
        await rt.sleep(1)
        told = rt.explain(ref)
        assert (told.task, told.status, told.running) == ("it", TaskStatus.RUNNING, ("it",))
        assert "is running in the loop, in attempt 1" in str(told)
        assert "test_explain.py:" in str(told)


async def test_a_ready_task_knows_its_place_and_who_is_ahead() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        await rt.spawn(job, name="first", priority=9)
        refs = [await rt.spawn(job, name=f"p{number}", priority=number) for number in (1, 5, 3)]
        await rt.sleep(1)
        told = [rt.explain(ref) for ref in refs]
        assert [one.position for one in told] == [3, 1, 2]
        assert told[0].ahead == ("p5", "p3")
        assert all(one.running == ("first",) and one.pool == "loop" for one in told)
        assert "It is number 3 in the queue, behind 'p5', 'p3'. The only slot is taken" in str(told[0])
        assert "It is the next in the queue." in str(told[1])


@pytest.mark.parametrize("policy", ["priority", "edf", Fair(quanta=100, boost=None), "realtime"])
async def test_the_place_is_that_in_which_the_policy_takes_them(policy: str | SchedulingPolicy[Any]) -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        await compute(1)
        order.append(name)

    async with Runtime(clock=VirtualClock(), concurrency=1, policy=policy) as rt:
        await rt.spawn(job, 2, priority=9, deadline=3)
        refs = [
            await rt.spawn(note, f"t{number}", name=f"t{number}", priority=number % 3, deadline=100 - number)
            for number in range(9)
        ]
        await rt.sleep(1)
        places = {rt.explain(ref).position: ref.name for ref in refs}
    assert [places[position] for position in range(1, 10)] == order


async def test_aged_tasks_are_told_at_the_place_that_age_has_given_them() -> None:
    policy = FixedPriority[Any](aging=1)
    async with Runtime(clock=VirtualClock(), concurrency=1, policy=policy) as rt:
        await rt.spawn(job, 10, priority=5)
        old = await rt.spawn(job, name="old", priority=1)
        await rt.sleep(3.5)
        new = await rt.spawn(job, name="new", priority=3)
        await rt.sleep(0.25)
        assert (rt.explain(old).position, rt.explain(new).ahead) == (1, ("old",))
        assert "with priority 1, aged to 4" in str(rt.explain(old))


async def test_a_preempted_task_waits_for_its_turn_like_others() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        low = await rt.spawn(job, name="low", priority=1)
        await rt.sleep(1)
        await rt.spawn(job, name="high", priority=5)
        await rt.sleep(1)
        told = rt.explain(low)
        assert (told.status, told.position, told.running) == (TaskStatus.PREEMPTED, 1, ("high",))
        assert "task 'low' was preempted, and wants to go on in pool 'loop'" in str(told)


async def test_a_task_with_dependencies_names_those_that_are_not_finished() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=2) as rt:
        done = await rt.spawn(job, 1, name="done")
        a, b = await rt.spawn(job, 9, name="a"), await rt.spawn(job, 9, name="b")
        ref = await rt.spawn(job, name="last", after=[done, a, b])
        await done
        told = rt.explain(ref)
        assert (told.status, told.waits_for) == (TaskStatus.WAITING, ("a", "b"))
        assert str(told) == "task 'last' has not begun: it depends on 'a', 'b'."


async def test_a_task_that_awaits_another_says_which_and_where() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        other = await rt.spawn(job, name="other")

        async def wait() -> None:
            await other

        ref = await rt.spawn(wait, name="waiter")
        await rt.sleep(1)
        told = rt.explain(ref)
        assert (told.waits_for, told.chain) == (("other",), ("waiter", "other"))
        assert "task 'waiter' waits for 'other', at " in str(told)
        assert "test_explain.py:" in str(told)


async def test_a_blocked_task_names_the_resource_its_holder_and_the_chain() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=4) as rt:
        rt.resource("db")
        rt.resource("disk")
        await rt.spawn(hold, "disk", 9, name="writer")
        await rt.sleep(1)

        async def both() -> None:
            async with current().acquire("db"), current().acquire("disk"):
                pass

        await rt.spawn(both, name="both")
        await rt.sleep(1)
        inside = await rt.spawn(hold, "db", 1, name="inside")
        before = await rt.spawn(job, name="before", resources={"db"})
        await rt.sleep(1)
        for ref in (inside, before):
            told = rt.explain(ref)
            assert (told.status, told.waits_for, told.holders) == (TaskStatus.BLOCKED, ("db",), ("both",))
            assert told.chain == (ref.name, "[db]", "both", "[disk]", "writer")
            assert f"task {ref.name!r} is blocked by the resource 'db'" in str(told)
            assert "Held by 'both'." in str(told)


async def test_a_task_between_two_attempts_says_when_the_next_one_is() -> None:
    async def fail() -> None:
        raise OSError("no")

    async with Runtime(clock=VirtualClock()) as rt:
        ref = await rt.spawn(fail, name="f", retry=Retry(attempts=3, delay="5s", jitter=False))
        await rt.sleep(1)
        assert str(rt.explain(ref)) == "task 'f' failed in attempt 1 of 3, and is tried again in 4s."
        with pytest.raises(OSError, match="no"):
            await ref
        assert str(rt.explain(ref)) == "task 'f' has ended: failed: OSError: no."


async def test_an_ended_task_says_how() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        good = await rt.spawn(job, name="good")
        late = await rt.spawn(job, name="late", deadline=4)
        gone = await rt.spawn(job, name="gone")
        await gone.cancel(reason="enough")
        await good
        await late
        assert str(rt.explain(good)) == "task 'good' has ended: completed."
        assert "task 'late' has ended: completed, 2s after its deadline." in str(rt.explain(late))
        assert "task 'gone' has ended: cancelled: TaskCancelled: " in str(rt.explain(gone))


async def test_only_tasks_of_this_runtime_are_explained() -> None:
    async with Runtime() as one, Runtime() as other:
        ref = await one.spawn(job, 0)
        with pytest.raises(ValueError, match="belongs to another Runtime"):
            other.explain(ref)
        with pytest.raises(TypeError, match="cannot be explained"):
            one.explain(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="pool 'task-1' cannot be explained: there is none; there are"):
            one.explain("task-1")


# ---------------------------------------------------------------------------------------- hosts and actors


class Asked(Actor):
    async def wait(self) -> None:
        await sleep(1000)

    async def fail(self) -> None:
        raise RuntimeError("as it was told to")


async def test_an_actor_says_where_it_lives_and_what_it_does() -> None:
    async with Runtime() as rt:
        ref = await rt.spawn(Asked, name="it")
        told = rt.explain(ref)
        assert str(told) == "actor 'it' of class Asked is running, in the loop. It does nothing now."
        assert (told.task, told.status, told.pids) == ("it", None, ())
        ref.tell(Asked.fail)
        for _ in range(3):
            ref.tell(Asked.wait)
        await until(lambda: "It runs wait." in str(rt.explain(ref)))
        assert "2 messages wait in its mailbox. It was restarted once." in str(rt.explain(ref))
        await ref.kill()
        assert str(rt.explain(ref)) == "actor 'it' has ended: killed."


@pytest.mark.process
async def test_an_actor_in_a_process_names_its_host_and_those_who_live_there(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        one, _ = [await rt.spawn(work.Counter, name=f"counter {number}") for number in range(2)]
        with Fifo(tmp_path) as fifo:
            hanging = await rt.spawn(one.ask.hang, fifo.path)
            pid = await fifo.told()
            told = rt.explain(one)
            assert told.pids == (pid,)
            assert str(told) == (
                f"actor 'counter 0' of class Counter is running, in host {pid}. It runs hang. "
                "1 other actor lives there."
            )
            assert f"2 actors live in 1 host: {pid}." in str(rt.explain())
            actors = rt.explain("actors")
            assert (actors.task, actors.pids) == ("actors", (pid,))
            assert str(actors).startswith(f"2 actors live in 1 host: {pid}.")
            await hanging.cancel()


@pytest.mark.process
async def test_a_task_that_waits_for_a_host_says_why_there_is_none(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            log = str(tmp_path / "log")
            busy = await rt.spawn(work.spin_politely, fifo.path, log, host="process", name="busy")
            pid = await fifo.told()
            last = [await rt.spawn(work.pid, host="process", name=f"last {n}") for n in range(2)][-1]
            told = rt.explain(last)
            assert "No host is free: Hosts.max allows no more than 1." in str(told)
            assert rt.explain(busy).pids == (pid,)
            assert f"task 'busy' is running in the host process {pid}, in attempt 1." in str(rt.explain(busy))
            pool = rt.explain("process")
            assert (pool.task, pool.pool, pool.pids) == ("process", "process", (pid,))
            assert str(pool).startswith("pool 'process' has 1 host, and ")
            assert "wait: Hosts.max allows no more than 1. Host " in str(pool)
            assert f"Host {pid} is busy, with task 'busy' for " in str(pool)
            rt._system.staff.pools["process"].why = "the machine is busy with other work: 1.9 of 2 processors"
            rt._system.hosts = Hosts(max=2)
            assert "No host is free: the machine is busy with other work: 1.9 of 2" in str(rt.explain(last))
            rt._system.hosts = Hosts(max=1)
            await busy.cancel()


async def test_pools_without_hosts_say_why_they_have_none() -> None:
    async with Runtime(pools={"io": 2}) as rt:
        for name, why in {
            "loop": "its tasks run in the event loop",
            "thread": "its tasks run in threads",
            "io": "none of its tasks has needed one",
        }.items():
            assert str(rt.explain(name)) == f"pool {name!r} has no host processes: {why}."
        assert str(rt.explain()) == "pool 'process' has 0 hosts: no task has needed a host."
        async with Runtime() as other:
            ref = await other.spawn(Asked)
            with pytest.raises(ValueError, match="belongs to another Runtime"):
                rt.explain(ref)
