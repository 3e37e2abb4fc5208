"""Playing a task set: every job is a task, its steps are its code, and the runtime's own scheduler decides.

The law of this module: it uses what any user of actorsched has, and a clock whose time is virtual. It decides
nothing about who runs; it submits the jobs when they arrive, listens to the events, and has them taken down.

How it works: a tick is a second of the virtual clock. The processors are the slots of the event loop. A job
that has to give way in a deadlock fails, and lets go of what it holds. At the horizon the play is broken off.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from actorsched.context import current
from actorsched.policies import Edf, Fair, FixedPriority, Realtime
from actorsched.running import run
from actorsched.runtime import Runtime
from actorsched.simulate.played import Played, Recorder
from actorsched.simulate.taskset import Acquire, BadTaskSet, Job, Params, Release, Run, TaskSet, Time
from actorsched.testing import VirtualClock, compute

if TYPE_CHECKING:
    from actorsched.events import Event
    from actorsched.policies import SchedulingPolicy
    from actorsched.signatures import TaskKeywords
    from actorsched.task import TaskRef

__all__ = ["check_playable", "play", "played", "policy_for"]


def play(taskset: TaskSet, policy: SchedulingPolicy[Any] | None = None) -> Played:
    """Play a task set, in an event loop of its own.

    Args:
        taskset: What to play.
        policy: What decides; None for the policy that the task set names.
    """
    return run(played, taskset, policy)


async def played(taskset: TaskSet, policy: SchedulingPolicy[Any] | None = None) -> Played:
    """The same in the present event loop."""
    clock, recorder = VirtualClock(), Recorder(taskset)
    listener = Listener(recorder)
    if policy is None:  # an empty one is false
        policy = policy_for(taskset)
    async with Runtime(policy=policy, concurrency=taskset.processors, clock=clock) as rt:
        for resource in taskset.resources:
            rt.resource(resource.name, resource.capacity, inherit=taskset.inherits)
        stop_listening = rt.subscribe(None, listener.hear)
        refs = await _submitted(rt, taskset)
        end = max(rt.now, _end(taskset))
        await rt.sleep(end - rt.now)
        stop_listening()
        for ref in refs:  # somebody has to look at those of a deadlock
            if ref.done():
                await ref.outcome()
        await rt.shutdown(drain=False)
    if listener.failure is not None:
        raise listener.failure
    return recorder.played(end)


def _end(taskset: TaskSet) -> Time:
    """When the play is broken off: at the horizon, or when twice as much time was there as all needed.

    Every job has ended by then, unless the policy leaves processors idle while somebody waits.
    """
    if taskset.params.until is not None:
        return taskset.params.until
    jobs = taskset.jobs()
    return max(job.arrival for job in jobs) + 2 * sum(job.cost for job in jobs) + 1


async def _submitted(rt: Runtime, taskset: TaskSet) -> list[TaskRef[None]]:
    """Submit every job as it arrives, those of one instant in their order."""
    refs: list[TaskRef[None]] = []
    for arrival, jobs in groupby(sorted(taskset.jobs(), key=_arrival), key=_arrival):
        if arrival > rt.now:
            await rt.sleep(arrival - rt.now)
        for job in jobs:
            refs.append(await rt.spawn(_do, job, **_options(job, taskset.params, rt.now)))  # noqa: PERF401
    return refs


def _arrival(job: Job) -> float:
    return job.arrival


def _options(job: Job, params: Params, now: float) -> TaskKeywords:
    options: TaskKeywords = {
        "name": job.name,
        "priority": job.priority,
        "preemptible": params.preemptive,
    }
    if job.deadline is None or job.cost <= job.deadline - now:  # what can never be in time has no cost
        options["cost"] = job.cost
        if job.period is not None:
            options["period"] = job.period
    if job.deadline is not None:
        options["deadline"] = job.deadline - now
        options["hard"] = params.on_miss == "abort"
    return options


async def _do(job: Job) -> None:
    """The life of a job."""
    held: dict[str, Any] = {}
    for step in job.steps:
        match step:
            case Run(ticks=ticks):
                await compute(ticks)
            case Acquire(resource=name):
                held[name] = current().acquire(name)
                await held[name].__aenter__()
            case Release(resource=name):
                await held.pop(name).__aexit__(None, None, None)


def policy_for(taskset: TaskSet) -> SchedulingPolicy[Any]:
    """The policy that a task set names, with those of its parameters that mean something to it.

    Raises:
        ValueError: The parameters contradict each other.
    """
    params = taskset.params
    match taskset.policy:
        case "EDF":
            return Edf()
        case "REALTIME":
            return Realtime()
        case "FAIR":
            return Fair(**_queues(params), boost=params.boost, preempted_to=params.preempted_to)
        case _:
            aging: dict[str, Any] = {}
            if params.aging_interval is not None:
                aging = {"step": params.aging_step, "aging_preempts": params.aging_preempts}
            return FixedPriority(
                params.aging_interval, quantum=params.quantum, preempted_to=params.preempted_to, **aging
            )


def _queues(params: Params) -> dict[str, Any]:
    """The levels of a feedback queue. One number is for all; without any, its own milliseconds are ticks."""
    if params.quanta is not None:
        return {"levels": len(params.quanta), "quanta": params.quanta}
    levels = 3 if params.levels is None else params.levels
    if params.quantum is not None:
        return {"levels": levels, "quanta": params.quantum}
    own: Fair[Any] = Fair(levels, boost=None)
    return {"levels": levels, "quanta": [quantum * 1000 for quantum in own.quanta]}


def check_playable(taskset: TaskSet, path: str = "$") -> None:
    """See whether the scheduler can do what a task set asks of it.

    Raises:
        BadTaskSet: It cannot.
    """
    try:
        policy_for(taskset)
    except (TypeError, ValueError) as error:
        raise BadTaskSet(f"{path}.params", f"under {taskset.policy}: {error}") from None
    if not taskset.params.migration and taskset.processors > 1:
        raise BadTaskSet(
            f"{path}.params.migration",
            "false cannot be played on several processors: whoever was preempted goes on wherever there is "
            "room; give true, or play the tasks of each processor by themselves",
        )


class Listener:
    """Takes down what the runtime tells."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._running: set[str] = set()
        self.failure: ValueError | None = None
        """What was told first that cannot be."""

    def hear(self, event: Event) -> None:
        """Something has happened."""
        try:
            self._note(event)
        except ValueError as error:
            self.failure = self.failure or error

    def _note(self, event: Event) -> None:
        recorder, time, job, details = self._recorder, event.time, event.name, event.details
        match event.kind:
            case "started" | "resumed":
                self._on(time, job)
            case "completed":
                self._running.discard(job)
                recorder.finished(time, job)
            case "acquired":
                recorder.acquire(time, job, details["resource"])
            case "handed_over":
                recorder.handoff(time, job, details["resource"])
            case "released":
                recorder.release(time, job, details["resource"])
            case "deadlock":
                recorder.deadlock(time, details["circle"], details["victim"])
            case "blocked":
                recorder.block(time, job, details["resource"], details["holder"])
                self._off(time, job)
            case "preempted" | "waiting" | "failed" | "cancelled":
                self._off(time, job)
            case "deadline_missed" if details["final"]:
                self._off(time, job)
            case _:
                pass

    def _on(self, time: float, job: str) -> None:
        if job not in self._running:
            self._running.add(job)
            self._recorder.on(time, job)

    def _off(self, time: float, job: str) -> None:
        if job in self._running:
            self._running.discard(job)
            self._recorder.off(time, job)
