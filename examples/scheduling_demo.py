"""A robot's afternoon under the real-time scheduler: priorities, deadlines, preemption, resources, latencies.

One worker, so that one can see who goes first. Nothing here waits for a clock: each scene is over when its
tasks are.

Run it with `python examples/scheduling_demo.py`.
"""

# expect: -- priorities: the most urgent first, whatever was submitted first
# expect: perception, fast_reasoning, deep_reasoning, housekeeping
# expect: -- deadlines: the earliest first
# expect: brake, steer, park
# expect: -- preemption: a long task saves what it has, and yields
# expect: mapping: completed, with a partial map
# expect: -- a hard deadline is kept
# expect: too slow: deadline_missed
# expect: -- inheritance: who holds what an urgent task needs goes first
# expect: logger, arm, vacuum
# expect: -- a deadlock is found, and named
# expect: refused: ... could not acquire left arm: ...
# expect: -- what was measured
# expect: REALTIME tasks: 1, with a P95 of ... ms in all
# expect: 5 tasks completed, 100 % of them well

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from actorsched.frontends.realtime import (
    PreemptionEvent,
    RealtimeScheduler,
    ResourceDeadlockError,
    SchedulingPolicy,
    Task,
    TaskConstraints,
    TaskPriority,
)


def in_order(scheduler: RealtimeScheduler, tasks: list[Task], done: list[str]) -> None:
    """Submit tasks, start the scheduler, and print in which order they have run."""
    for task in tasks:
        scheduler.submit(task)
    with scheduler:
        pass  # leaving it waits for all
    print(", ".join(done))


def priorities() -> RealtimeScheduler:
    """The highest priority first."""
    print("-- priorities: the most urgent first, whatever was submitted first")
    done: list[str] = []
    urgency = {
        "housekeeping": TaskPriority.IDLE,
        "deep_reasoning": TaskPriority.NORMAL,
        "perception": TaskPriority.REALTIME,
        "fast_reasoning": TaskPriority.HIGH,
    }
    scheduler = RealtimeScheduler(max_workers=1)
    tasks = [Task(name, done.append, (name,), priority=priority) for name, priority in urgency.items()]
    in_order(scheduler, tasks, done)
    return scheduler


def deadlines() -> None:
    """The earliest deadline first."""
    print("-- deadlines: the earliest first")
    done: list[str] = []
    now = datetime.now().astimezone()
    tasks = [
        Task(
            name,
            done.append,
            (name,),
            constraints=TaskConstraints(deadline=now + timedelta(seconds=seconds)),
        )
        for name, seconds in {"park": 900, "brake": 300, "steer": 600}.items()
    ]
    in_order(RealtimeScheduler(max_workers=1, policy=SchedulingPolicy.DEADLINE), tasks, done)


def preemption() -> None:
    """A function that looks at its event makes room for what is more urgent."""
    print("-- preemption: a long task saves what it has, and yields")
    begun = threading.Event()

    def mapping(preemption_event: PreemptionEvent) -> str:
        begun.set()
        while not preemption_event.wait(timeout=1):
            pass  # another part of the map
        return "a partial map"

    with RealtimeScheduler(max_workers=1) as scheduler:
        long = Task("mapping", mapping, priority=TaskPriority.BACKGROUND)
        scheduler.submit(long)
        begun.wait()
        scheduler.submit(Task("obstacle", lambda: "stop", priority=TaskPriority.REALTIME))
    print(f"{long.name}: {long.status}, with {long.result}")


def hard_deadline() -> None:
    """What is not done in time is stopped."""
    print("-- a hard deadline is kept")

    def slow(preemption_event: PreemptionEvent) -> None:
        preemption_event.wait()  # set also when it is told to stop

    constraints = TaskConstraints(max_latency_ms=20, is_hard_realtime=True)
    with RealtimeScheduler() as scheduler:
        task = Task("too slow", slow, constraints=constraints)
        scheduler.submit(task)
    print(f"{task.name}: {task.status}")


def inheritance() -> None:
    """A low task that holds what a high one needs is as urgent as that one."""
    print("-- inheritance: who holds what an urgent task needs goes first")
    done: list[str] = []
    needs_bus = TaskConstraints(required_resources={"bus"})
    logger = Task("logger", done.append, ("logger",), priority=TaskPriority.LOW)
    vacuum = Task("vacuum", done.append, ("vacuum",), priority=TaskPriority.NORMAL)
    arm = Task("arm", done.append, ("arm",), priority=TaskPriority.CRITICAL, constraints=needs_bus)
    scheduler = RealtimeScheduler(max_workers=1)
    scheduler.acquire_resources(logger, ["bus"])
    in_order(scheduler, [logger, vacuum, arm], done)


def deadlock() -> None:
    """Two tasks that want what the other has."""
    print("-- a deadlock is found, and named")
    scheduler = RealtimeScheduler()
    one, other = Task("one", print), Task("other", print, priority=TaskPriority.LOW)
    scheduler.acquire_resources(one, ["left arm"])
    scheduler.acquire_resources(other, ["right arm"])

    def acquire(task: Task, name: str) -> None:
        try:
            scheduler.acquire_resources(task, [name])
        except ResourceDeadlockError as error:
            print("refused:", error)
            scheduler.release_resources(task)

    thread = threading.Thread(target=acquire, args=(one, "right arm"))
    thread.start()
    acquire(other, "left arm")  # the one of the lower priority gives way, whoever came last
    thread.join()
    scheduler.stop()


def latencies(scheduler: RealtimeScheduler) -> None:
    """What the first scheduler has measured."""
    print("-- what was measured")
    with scheduler:
        scheduler.submit(Task("batch", sum, (range(1000),)))
    total = scheduler.latency_monitor.get_stats()["REALTIME"]["total"]
    print(f"REALTIME tasks: {total['count']}, with a P95 of {total['p95_ms']:.1f} ms in all")
    metrics = scheduler.metrics.get_summary()
    print(
        f"{metrics['tasks_completed']} tasks completed, {metrics['success_rate_percent']:.0f} % of them well"
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)  # a missed deadline is an error in the log, and meant here
    first = priorities()
    deadlines()
    preemption()
    hard_deadline()
    inheritance()
    deadlock()
    latencies(first)
