"""`rt.tree()` shows what there is, changes nothing, and is drawn so that it can be read."""

from __future__ import annotations

import textwrap
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched import Actor, Hosts, Runtime, Supervise, Tree, current
from actorsched.testing import VirtualClock, compute
from tests import host_work as work
from tests.host_help import Fifo, actor_hosts, kill, task_hosts, until

if TYPE_CHECKING:
    from pathlib import Path

    from actorsched.tree import NodeKind

ONE = pytest.mark.parametrize("backend", ["asyncio"], indirect=True)


class Sleeper(Actor):
    async def sleep(self) -> None:
        await anyio.sleep_forever()

    async def fail(self) -> None:
        raise RuntimeError("as it was told to")


class Parent(Actor):
    async def on_start(self) -> None:
        for number in range(2):
            await current().spawn(Sleeper, name=f"kid {number}")


class Chain(Actor):
    def __init__(self, depth: int) -> None:
        self._depth = depth

    async def on_start(self) -> None:
        if self._depth:
            await current().spawn(Chain, self._depth - 1, name=f"generation {self._depth}")


async def job(units: float) -> None:
    await compute(units)


def one(tree: Tree, kind: NodeKind, name: str | None = None) -> Tree:
    (found,) = [node for node in tree.find(kind) if name in (None, node.name)]
    return found


# ---------------------------------------------------------------------------------------------- what it shows


async def test_a_runtime_without_anything_is_drawn_in_a_few_lines(backend: str) -> None:
    async with Runtime(clock=VirtualClock(), hosts=Hosts(max=2), name="shop") as rt:
        loop = "trio" if backend == "trio" else "asyncio"
        expected = f"""\
            shop  on {loop} for 0s · 0 of 0 tasks to do
            ├─ pools
            │  ├─ loop     0 running       · 0 queued · 0 ended · priority
            │  ├─ thread   0 of 40 running · 0 queued · 0 ended · priority
            │  └─ process  0 of 2 running  · 0 queued · 0 ended · priority
            └─ hosts  none
               └─ process  0 hosts of at most 2 · 0 queued · no task has needed a host"""
        assert str(rt.tree()) == textwrap.dedent(expected)


async def test_supervisors_are_shown_with_their_actors_and_these_with_their_children() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        busy = await rt.spawn(Sleeper, name="busy")
        await rt.spawn(Parent, name="parent")
        busy.tell(Sleeper.fail)
        for _ in range(3):
            busy.tell(Sleeper.sleep)
        await until(lambda: rt._system.kernel.restarts)
        async with rt.scope(Supervise("one_for_all")) as scope:
            idle = await scope.spawn(Sleeper, name="idle")
            await until(lambda: len(busy._cell.lane) == 2)
            tree = rt.tree()
            await idle.stop()
        assert [node.name for node in tree.walk() if node.kind in ("supervisor", "scope", "actor")] == [
            *("root supervisor", "busy", "parent", "kid 0", "kid 1"),
            *("scope 1", "idle"),
        ]
        assert one(tree, "actor", "busy").details == {
            "class": "Sleeper",
            "life": "running",
            "mailbox": 2,
            "restarts": 1,
            "doing": "sleep",
        }
        drawn = str(tree).splitlines()
        assert "├─ root supervisor  one for one · 2 actors" in drawn
        assert "│  ├─ busy    Sleeper · running · 2 in its mailbox · 1 restart · sleep" in drawn
        assert "│  └─ parent  Parent  · running" in drawn
        assert "│     └─ kid 1  Sleeper · running" in drawn
        assert "├─ scope 1  one for all · 1 actor" in drawn
        await busy.kill()


async def test_long_lists_are_cut_and_say_by_how_many() -> None:
    async with Runtime() as rt:
        for _ in range(105):
            await rt.spawn(Sleeper)
        root = one(rt.tree(), "supervisor")
        assert (len(root.children), root.cut, root.details["actors"]) == (12, 93, 105)
        assert str(root).splitlines()[-1] == "└─ and 93 more"


async def test_so_are_generations_of_actors() -> None:
    async with Runtime() as rt:
        await rt.spawn(Chain, 40)
        tree = rt.tree()
        assert len(tree.find("actor")) == 12
        assert tree.find("actor")[-1].cut == 1
        assert max(map(len, str(tree).splitlines())) <= 100


async def test_pools_are_shown_with_their_slots_their_queues_and_their_policies() -> None:
    async with Runtime(clock=VirtualClock(), pools={"io": 2}, concurrency=9) as rt:
        rt.pool("late", 1, "edf")
        for _ in range(5):
            await rt.spawn(job, 2, tag="io")
        await rt.spawn(job, 2)
        await rt.sleep(1)
        pools = {node.name: node for node in rt.tree().find("pool")}
        assert list(pools) == ["loop", "thread", "process", "io", "late"]
        assert pools["io"].details == {
            "running": 2,
            "queued": 3,
            "limit": 2,
            "ended": 0,
            "policy": "priority",
        }
        assert pools["loop"].details["running"] == 1
        assert pools["late"].details["policy"] == "edf"
        await rt.sleep(2)
        assert one(rt.tree(), "pool", "io").details["ended"] == 2
        assert one(rt.tree(), "pool", "loop").details["ended"] == 1


async def test_a_pool_without_a_limit_counts_those_that_run() -> None:
    async with Runtime() as rt:
        first = await rt.spawn(anyio.sleep_forever)
        await rt.spawn(anyio.sleep_forever, after=[first])
        await until(lambda: first.status == "running")
        loop = one(rt.tree(), "pool", "loop")
        assert (loop.details["running"], "limit" in loop.details) == (1, False)
        assert one(rt.tree(), "runtime").details["live"] == 2
        await first.cancel()


@pytest.mark.process
async def test_a_host_is_shown_with_what_it_runs_and_how_much_is_ahead(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            await rt.run(work.pid)
            log = str(tmp_path / "log")
            busy = await rt.spawn(
                work.spin_politely, fifo.path, log, name="spinning", host="process", timeout="20s"
            )
            await rt.spawn(work.pid, name="waiting")
            pid = await fifo.told()
            host = one(rt.tree(), "host")
            assert host.name == f"host {pid}"
            assert host.details["state"] == "busy"
            assert (host.details["pid"], host.details["task"]) == (pid, "spinning")
            assert host.details["attempt"] == 1
            assert 0 <= host.details["seconds"] < 20
            assert f"host {pid}  busy · spinning for " in str(host)
            assert one(rt.tree(), "spawner").details["pid"] in rt._system.staff.helpers
            assert one(rt.tree(), "host pool").details["why"] == "Hosts.max allows no more than 1" or (
                host.details["ahead"] == 1
            )
            await busy.cancel()
        await until(lambda: one(rt.tree(), "host").details["state"] == "idle")
        assert "task" not in one(rt.tree(), "host").details


@ONE
@pytest.mark.process
async def test_the_state_of_a_host_is_told_whatever_it_is(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        staff = rt._system.staff

        def state() -> Any:
            return one(rt.tree(), "host").details["state"]

        with Fifo(tmp_path) as fifo:
            ref = await rt.spawn(work.tell, fifo.path, host="process")
            assert state() == "starting"
            assert one(rt.tree(), "host").details["ahead"] == 1
            assert one(rt.tree(), "hosts").details == {"hosts": 1}
            await fifo.told()
            await ref
        assert state() == "idle"
        (worker,) = task_hosts(rt)
        staff.monitor.suspected = (worker.link.pid,)
        assert state() == "suspected"
        staff.monitor.suspected = ()
        worker.suspended = True
        assert state() == "suspended"
        worker.suspended = False
        worker.retiring = True
        assert state() == "retiring"
        worker.retiring = False


@pytest.mark.process
async def test_actor_hosts_are_shown_with_who_lives_there(tmp_path: Path) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        with Fifo(tmp_path) as fifo:
            refs = [await rt.spawn(work.Counter, name=f"counter {number}") for number in range(2)]
            hanging = await rt.spawn(refs[0].ask.hang, fifo.path)
            pid = await fifo.told()
            tree = rt.tree()
            assert one(tree, "actor hosts").details == {"hosts": 1, "limit": 1}
            host = one(tree, "host")
            assert (host.details["state"], host.details["calls"], host.details["actors"]) == ("busy", 1, 2)
            assert [node.name for node in tree.find("resident")] == ["counter 0", "counter 1"]
            assert one(tree, "resident", "counter 0").details["doing"] == "hang"
            assert one(tree, "actor", "counter 1").details["pid"] == pid
            assert f"Counter · running · hang · in host {pid}" in str(tree)
            await hanging.cancel()


@ONE
@pytest.mark.process
async def test_the_load_of_the_machine_stands_at_the_hosts() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        await rt.run(work.pid)
        rt._system.staff.monitor.hurry()
        await until(lambda: rt._system.staff.monitor.sample is not None)
        rt._system.staff.monitor.hurry()
        await until(lambda: "ours" in one(rt.tree(), "hosts").details["load"])
        assert " processors: " in str(one(rt.tree(), "hosts"))
        assert " GB free; loop lag " in str(one(rt.tree(), "hosts"))
        assert one(rt.tree(), "host").details["rss"] > 1e6


# ------------------------------------------------------------------------------------------- looking, no more


async def test_a_tree_may_be_taken_in_the_middle_of_whatever_happens() -> None:
    seen: list[int] = []
    async with Runtime(clock=VirtualClock(), concurrency=2, pools={"io": 1}) as rt:

        async def fail() -> None:
            await compute(1)
            raise RuntimeError("on purpose")

        rt.subscribe(None, lambda event: seen.append(rt.tree().details["live"]))
        await rt.spawn(Parent)
        refs = [
            await rt.spawn(fail if number % 3 else job, *([] if number % 3 else [1])) for number in range(9)
        ]
        refs += [await rt.spawn(job, 1, tag="io", after=refs[:1]) for _ in range(3)]
        await refs[8].cancel()
        for ref in refs:
            await ref.outcome()
        await rt.shutdown()
        assert max(seen) >= 9
        assert rt.tree().details["live"] == 0
        assert rt.tree().details["ended"] == 12
        assert "0 of 12 tasks to do · closing" in str(rt.tree())


async def test_only_the_thread_of_an_entered_runtime_may_look() -> None:
    rt = Runtime()
    with pytest.raises(RuntimeError, match="not entered"):
        rt.tree()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            rt.tree()
        except RuntimeError as error:
            errors.append(error)

    async with rt:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert "the tree was to be looked at from another thread" in str(errors[0])
    assert str(rt.tree()).startswith("runtime  on ")


@ONE
@pytest.mark.process
async def test_hosts_that_die_are_gone_from_the_tree() -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        pid = await rt.run(work.pid)
        await rt.spawn(work.Counter)
        assert len(rt.tree().find("host")) == 2
        kill(pid)
        kill(actor_hosts(rt)[0].link.pid)
        await until(lambda: pid not in {node.details.get("pid") for node in rt.tree().find("host")})


# ------------------------------------------------------------------------------------------------ the drawing


def actor(name: str, *children: Tree, **details: Any) -> Tree:
    known = {"class": "Worker", "life": "running", "mailbox": 0, "restarts": 0, **details}
    return Tree("actor", name, known, children)


def test_what_has_no_room_in_a_line_goes_on_in_the_next() -> None:
    why = "the machine is busy with other work: 1.9 of 2 processors"
    host = Tree("host", "host 4242", {"state": "idle"})
    tree = Tree("host pool", "process", {"hosts": 1, "limit": 2, "queued": 7, "why": why}, (host,))
    assert str(tree).splitlines() == [
        "process  1 host of at most 2 · 7 queued",
        f"│        {why}",
        "└─ host 4242  idle",
    ]
    assert len(tree.drawn(200).splitlines()) == 2
    assert max(map(len, tree.drawn(60).splitlines())) <= 66
    assert [line[:1] for line in tree.drawn(60).splitlines()] == ["p", "│", "│", "└"]


def test_names_from_elsewhere_do_not_spoil_the_drawing() -> None:
    tree = actor("root", actor("two\nlines\x1b[31m"), actor("a" * 99), actor("ü"))
    assert str(tree).splitlines()[1:] == [
        "├─ two\\nlines\\x1b[31m            Worker · running",
        f"├─ {'a' * 39}…  Worker · running",
        f"└─ ü{' ' * 29}Worker · running",
    ]
    assert tree.children[1].name == "a" * 99


def test_a_tree_is_a_value() -> None:
    tree = actor("root", actor("child"))
    assert tree == actor("root", actor("child"))
    with pytest.raises(AttributeError):
        tree.name = "other"  # type: ignore[misc]
    assert str(tree.children[0]) == "child  Worker · running"
    assert [node.name for node in tree.walk()] == ["root", "child"]
