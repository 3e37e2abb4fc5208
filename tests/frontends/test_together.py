"""The front ends used together: ids, dependencies, threads, loops, restarts, and the end of a program."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from actorsched.frontends import bridge, manager, multiprocessing, realtime, taskflow
from actorsched.frontends._jobs import find
from actorsched.frontends._shared import SHARED
from actorsched.frontends.bridge import TaskStatus, task_bridge
from tests.commands import run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 25

pytestmark = pytest.mark.deadline(90)


@pytest.fixture
def scheduler() -> Iterator[realtime.RealtimeScheduler]:
    scheduler = realtime.RealtimeScheduler(max_workers=2)
    scheduler.start()
    yield scheduler
    scheduler.stop(drain=False)


class Named(taskflow.Task):
    """Notes that it was executed."""

    def __init__(self, name: str, into: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.into = into

    def execute(self) -> str:
        self.into.append(self.name)
        return self.name


def answer() -> int:
    return 42


def given(*results: Any) -> int:
    """Results of other tasks come first among the arguments there."""
    return 42


def plus_one(number: int) -> int:
    return number + 1


async def in_manager(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Register a task there, and have it executed."""
    task = manager.TaskManager().register_task(name, function, *args, **options)
    await manager.TaskManager().execute_task(task, wait=False)
    return task


# --------------------------------------------------------------------------------------------- dependencies


@pytest.mark.process
async def test_a_chain_of_tasks_leads_through_all_five(scheduler: realtime.RealtimeScheduler) -> None:
    order: list[str] = []
    first = task_bridge.register_task("bridge")
    second = await in_manager("manager", order.append, "manager", dependencies=[first])
    third = multiprocessing.Task("process", given, dependencies=[second])
    multiprocessing.CoreMultiprocessing.push_task(third)
    fourth = Named("taskflow", order, dependencies=[third.id])
    fifth = realtime.Task(
        "realtime",
        lambda: order.append("realtime"),
        constraints=realtime.TaskConstraints(depends_on=[fourth.id]),
    )
    scheduler.submit(fifth)
    last = task_bridge.register_task("last", order.append, ("last",), dependencies=[fifth.id])
    task_bridge.start_task(last)
    ids = [second, third.id, fourth.id, fifth.id, last]
    assert not any(task_bridge.get_task_status(task).is_final for task in ids)
    task_bridge.complete_task(first)
    await anyio.to_thread.run_sync(taskflow.Executor(taskflow.Scheduler([fourth])).run)
    with anyio.fail_after(WAIT):
        assert await task_bridge.settled(last) is TaskStatus.COMPLETED
    assert order == ["manager", "taskflow", "realtime", "last"]
    assert [task_bridge.get_task_status(task) for task in ids] == [TaskStatus.COMPLETED] * 5
    assert task_bridge.get_task_result(third.id) == 42


async def test_a_failure_reaches_who_depends_on_it_in_all_five(
    scheduler: realtime.RealtimeScheduler,
) -> None:
    first = task_bridge.register_task("bridge")
    second = await in_manager("manager", answer, dependencies=[first])
    third = multiprocessing.Task("process", given, dependencies=[second])
    multiprocessing.CoreMultiprocessing.push_task(third)
    fourth = realtime.Task("realtime", answer, constraints=realtime.TaskConstraints(depends_on=[third.id]))
    scheduler.submit(fourth)
    fifth = Named("taskflow", [], dependencies=[fourth.id])
    task_bridge.fail_task(first, OSError("the disk is full"))
    with pytest.raises(ExceptionGroup):
        await anyio.to_thread.run_sync(taskflow.Executor(taskflow.Scheduler([fifth])).run)
    for task in (second, third.id, fourth.id, fifth.id):
        assert task_bridge.get_task_status(task) is TaskStatus.FAILED
        assert "the disk is full" in str(task_bridge.get_task_error(task))


def test_who_waits_for_several_that_are_not_started_yet_waits_for_each_of_them_once() -> None:
    """The one that is not started has several who depend on it; all of them go on when it has completed."""
    first = task_bridge.register_task("first")
    second = task_bridge.register_task("second", answer, dependencies=[first])
    third = task_bridge.register_task("third", answer, dependencies=[first, second])
    for task in (third, second, first):
        task_bridge.start_task(task)
    task_bridge.complete_task(first)
    assert task_bridge.wait(third, WAIT)
    assert task_bridge.get_task_status(third) is TaskStatus.COMPLETED


# ---------------------------------------------------------------------------------- one id, every front end


async def test_a_task_of_the_bridge_is_seen_executed_and_settled_through_the_manager() -> None:
    tasks = manager.TaskManager()
    task = task_bridge.register_task("work", plus_one, (1,))
    assert tasks.get_task_status(task) is TaskStatus.PENDING
    assert await tasks.execute_task(task)
    assert tasks.get_task_result(task) == task_bridge.get_task_result(task) == 2
    other = task_bridge.register_task("by hand")
    assert await tasks.cancel_task(other)
    assert task_bridge.get_task_status(other) is TaskStatus.CANCELLED
    assert tasks.cleanup_task(other)
    assert find(other) is None


async def test_a_task_of_the_manager_is_started_awaited_and_settled_through_the_bridge() -> None:
    tasks = manager.TaskManager()
    task = tasks.register_task("work", plus_one, 1)
    assert task_bridge.start_task(task)
    assert await task_bridge.settled(task) is TaskStatus.COMPLETED
    assert tasks.get_task_result(task) == 2
    other = tasks.register_task("never executed", answer)
    assert task_bridge.complete_task(other, "by hand")
    assert tasks.get_task_result(other) == "by hand"
    assert not await tasks.execute_task(other, wait=False)


async def test_each_front_ends_tasks_are_seen_cancelled_and_cleaned_up_through_the_bridge(
    scheduler: realtime.RealtimeScheduler,
) -> None:
    gate = task_bridge.register_task("gate")
    process = multiprocessing.Task("process", given, dependencies=[gate])
    multiprocessing.CoreMultiprocessing.push_task(process)
    urgent = realtime.Task("realtime", answer, constraints=realtime.TaskConstraints(depends_on=[gate]))
    scheduler.submit(urgent)
    flow = Named("taskflow", [], dependencies=[gate])
    managed = await in_manager("manager", answer, dependencies=[gate])
    closed: list[str] = []
    ids = [process.id, urgent.id, flow.id, managed]
    for task in ids:
        assert task in task_bridge.monitor[TaskStatus.WAITING] or task == flow.id
        task_bridge.register_resource(task, task, closed.append)
        assert task_bridge.cancel_task(task, "nobody needs it")
        assert task_bridge.wait(task, WAIT)
        assert task_bridge.get_task_status(task) is TaskStatus.CANCELLED
    assert closed == ids
    for task in ids:
        task_bridge.cleanup_task(task)
        with pytest.raises(bridge.TaskNotFoundError):
            task_bridge.get_task_status(task)
    task_bridge.cancel_task(gate)


# --------------------------------------------------------------------------------- threads, loops, restarts


def test_several_threads_use_several_front_ends_at_once() -> None:
    answers: list[Any] = []

    def by_bridge() -> None:
        for number in range(30):
            task = task_bridge.register_task("work", plus_one, (number,))
            task_bridge.start_task(task)
            assert task_bridge.wait(task, WAIT)
            answers.append(task_bridge.get_task_result(task))

    def by_manager() -> None:
        async def main() -> None:
            for number in range(30):
                task = await in_manager("work", plus_one, number)
                await task_bridge.settled(task)
                answers.append(manager.TaskManager().get_task_result(task))

        asyncio.run(main())

    def by_taskflow() -> None:
        into: list[str] = []
        taskflow.Executor(taskflow.Scheduler([Named("flow", into) for _ in range(30)])).run()
        answers.extend(into)

    threads = [
        threading.Thread(target=target) for target in (by_bridge, by_manager, by_taskflow) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(answers) == 180
    assert answers.count("flow") == 60


async def test_within_a_running_loop_no_call_blocks_it(scheduler: realtime.RealtimeScheduler) -> None:
    """All of it happens while what would let the tasks go on could only happen in this very loop."""
    gate = task_bridge.register_task("gate")
    task_bridge.start_task(gate)
    urgent = realtime.Task("realtime", answer, constraints=realtime.TaskConstraints(depends_on=[gate]))
    scheduler.submit(urgent)
    managed = await in_manager("manager", answer, dependencies=[urgent.id])
    last = task_bridge.register_task("last", answer, dependencies=[managed])
    task_bridge.start_task(last)
    task_bridge.complete_task(gate)
    with anyio.fail_after(WAIT):
        assert await task_bridge.settled(last) is TaskStatus.COMPLETED


@pytest.mark.process
async def test_after_a_restart_of_the_shared_runtime_all_of_them_go_on(
    scheduler: realtime.RealtimeScheduler,
) -> None:
    for _ in range(2):
        process = multiprocessing.Task("process", given)
        multiprocessing.CoreMultiprocessing.push_task(process)
        urgent = realtime.Task("realtime", answer)
        scheduler.submit(urgent)
        managed = await in_manager("manager", answer)
        last = task_bridge.register_task("last", answer, dependencies=[process.id, urgent.id, managed])
        task_bridge.start_task(last)
        with anyio.fail_after(WAIT):
            assert await task_bridge.settled(last) is TaskStatus.COMPLETED
        await anyio.to_thread.run_sync(SHARED.stop)


def test_who_depends_on_a_result_of_before_the_restart_has_it() -> None:
    before = task_bridge.register_task("before", answer)
    task_bridge.start_task(before)
    hand = task_bridge.register_task("by hand")
    task_bridge.wait(before, WAIT)
    SHARED.stop()
    after = task_bridge.register_task("after", answer, dependencies=[before, hand])
    task_bridge.start_task(after)
    task_bridge.complete_task(hand)
    assert task_bridge.wait(after, WAIT)
    assert task_bridge.get_task_status(after) is TaskStatus.COMPLETED


# ------------------------------------------------------------------------------------- the end of a program

SCRIPT = """
import os, signal, sys, threading
from actorsched import checkpoint
from actorsched.frontends import multiprocessing as mp, realtime
from actorsched.frontends.bridge import task_bridge as bridge

def say(*words):
    print(*words, flush=True)

def start(name, function=None, *args, **options):
    task = bridge.register_task(name, function, args, **options)
    bridge.start_task(task)
    return task

over = threading.Event()
threading._register_atexit(over.set)  # the main thread has nothing more to do

def to_the_end(name):
    assert over.wait(20)
    say(name, "ran to its end")

def for_ever():
    say("begun")
    while True:
        checkpoint()

"""


def script(body: str) -> str:
    return SCRIPT + body


@pytest.mark.process
@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError('boom')", 1)],
    ids=["end", "exit", "raise"],
)
def test_a_program_that_just_ends_finishes_what_was_submitted_and_leaves_nothing(end: str, code: int) -> None:
    """However the main thread ends: the tasks begin when that is over."""
    answered = run(
        code=script(
            f"""
def after(result):
    say("process ran to its end")

scheduler = realtime.RealtimeScheduler(); scheduler.start()
task = start("bridge", to_the_end, "bridge")
scheduler.submit(realtime.Task("realtime", lambda: to_the_end("realtime")))
mp.CoreMultiprocessing.push_task(mp.Task("process", after, dependencies=[task]))
{end}
"""
        )
    )
    assert answered.code == code
    assert sorted(answered.lines) == [f"{name} ran to its end" for name in ("bridge", "process", "realtime")]
    assert "did not finish" not in answered.complaints


@pytest.mark.process
def test_what_nobody_can_settle_any_more_is_named_when_the_program_ends() -> None:
    answered = run(
        code=script(
            """
closed = []
hand = start("settled by nobody")
bridge.register_resource(hand, "resource of nobody", lambda name: say("closed", name))
start("depends on it", print, dependencies=[hand])
start("depends on what was never started", print, dependencies=[bridge.register_task("never started")])
start("fine", say, "fine")
bridge.register_task("never submitted")
"""
        )
    )
    assert answered.code == 0
    assert sorted(answered.lines) == ["closed resource of nobody", "fine"]
    assert "3 tasks did not finish" in answered.complaints
    for name in ("'settled by nobody'", "'depends on it'", "'depends on what was never started'"):
        assert name in answered.complaints
    assert "it waited for 'never started' (bridge-" in answered.complaints
    assert "'never submitted'" not in answered.complaints
    assert "'fine'" not in answered.complaints


@pytest.mark.process
def test_ctrl_c_comes_out_of_a_wait_at_once_and_cancels_the_rest() -> None:
    with running(
        code=script(
            """
process = mp.Task("process", for_ever); mp.CoreMultiprocessing.push_task(process)
task = start("endless", for_ever)
bridge.register_resource(task, "resource", lambda name: say("closed", name))
bridge.wait(task)
"""
        )
    ) as command:
        lines = command.lines()
        assert [next(lines), next(lines)] == ["begun", "begun"]
        command.process.send_signal(signal.SIGINT)
        answered = command.answer()
        assert answered.code == -signal.SIGINT or answered.code == 130
        assert "KeyboardInterrupt" in answered.complaints
        assert "2 tasks did not finish" in answered.complaints
        assert "'endless'" in answered.complaints
        assert answered.lines == ["closed resource"]
        assert not command.left()


@pytest.mark.process
def test_ctrl_c_while_the_program_finishes_its_work_cancels_that() -> None:
    with running(
        code=script(
            """
start("endless", for_ever)
def watch():
    over.wait(20)
    say("the main thread is over")
    for_ever()
start("watches", watch)
"""
        )
    ) as command:
        for line in command.lines():
            if line == "the main thread is over":
                break
        command.process.send_signal(signal.SIGINT)
        answered = command.answer()
        assert "2 tasks did not finish" in answered.complaints
        assert "'endless'" in answered.complaints
        assert not command.left()


@pytest.mark.process
def test_a_fork_in_the_middle_has_a_runtime_of_its_own_and_the_parent_keeps_its_work() -> None:
    answered = run(
        code=script(
            """
go = threading.Event()
slow = start("slow", go.wait, 20)
done = start("done", lambda: 5)
bridge.wait(done)
child = os.fork()
if not child:
    say("child:", bridge.get_task_status(slow), bridge.get_task_result(done), bridge.wait(slow, 0))
    own = start("own", os.getpid)
    assert bridge.wait(own, 20)
    say("child:", bridge.get_task_result(own) == os.getpid())
    sys.exit(7)
say("parent:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bridge.get_task_status(slow))
go.set()
bridge.wait(slow)
say("parent:", bridge.get_task_result(slow))
"""
        )
    )
    assert answered.lines == ["child: cancelled 5 True", "child: True", "parent: 7 running", "parent: True"]
    assert answered.code == 0
    assert "did not finish" not in answered.complaints


@pytest.mark.process
def test_what_stood_for_a_job_in_the_parent_does_not_stand_for_it_in_a_fork() -> None:
    answered = run(
        code=script(
            """
from actorsched import Task
from actorsched.frontends import _jobs
from actorsched.frontends._shared import SHARED
go = threading.Event()
later = _jobs.Job(None, "later")
one = _jobs.Job(Task("one", bool), "one", after=[later])
one.enter()
SHARED.call(lambda _: go.set())
go.wait(20)
child = os.fork()
if not child:
    say("child:", len(_jobs._stand_ins), later._stand_in)
    other = _jobs.Job(Task("other", bool), "other", after=[later])
    other.enter()
    later.complete(None)
    say("child:", other.wait(20), other.error)
    sys.exit(7)
say("parent:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), one.status.value)
later.complete(None)
say("parent:", one.wait(20), one.error)
"""
        )
    )
    assert answered.lines == ["child: 0 None", "child: True None", "parent: 7 waiting", "parent: True None"]
    assert answered.code == 0


@pytest.mark.process
def test_kill_9_leaves_no_process() -> None:
    with running(
        code=script(
            """
process = mp.Task("process", for_ever); mp.CoreMultiprocessing.push_task(process)
start("endless", for_ever)
threading.Event().wait()
"""
        )
    ) as command:
        lines = command.lines()
        assert [next(lines), next(lines)] == ["begun", "begun"]
        assert command.hosts()
        command.process.kill()
        command.process.wait()
        for _ in lines:  # until nobody has the pipe any more
            pass
        while command.left():  # what has closed it may still be ending
            pass


@pytest.mark.process
def test_resources_are_cleaned_up_though_the_program_ends() -> None:
    answered = run(
        code=script(
            """
task = bridge.register_task("work", to_the_end, ("work",))
bridge.register_resource(task, "resource", lambda name: say("closed", name))
bridge.start_task(task)
"""
        )
    )
    assert answered.lines == ["work ran to its end", "closed resource"]
