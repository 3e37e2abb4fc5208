"""Actors, tasks and a scheduler for async Python, on asyncio, on asyncio with uvloop, and on trio.

The law of this module: it names what users may import, and where each name is defined. It defines nothing.

How it works: names are found on first use (PEP 562), so that `import actorsched` costs next to nothing, and a
host process, which runs this file too, imports only what it needs. Type checkers and editors read the imports
under `TYPE_CHECKING`; a test holds them, the table and `__all__` to one another. Inside the package nobody
imports from here: roots are where import cycles are born.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorsched._kernel.clock import Clock
    from actorsched.actor import Actor, ActorRef
    from actorsched.alarm import Alarm
    from actorsched.context import checkpoint, current
    from actorsched.events import Event
    from actorsched.exceptions import (
        ActorschedError,
        ActorStopped,
        AskCycle,
        ChainTooLong,
        DeadlineMissed,
        DeadlockError,
        DependencyCycle,
        DependencyFailed,
        HostDied,
        Interrupted,
        MailboxFull,
        NotAdmitted,
        NotTransferable,
        RuntimeClosed,
        StageFailed,
        TaskCancelled,
    )
    from actorsched.executor import Executor, ExecutorBroken
    from actorsched.explaining import Explanation
    from actorsched.groups import ActorPool, Group
    from actorsched.messages import ExitReason, Outcome
    from actorsched.options import Backoff, Hosts, Mailbox, Priority, Retry, Supervise
    from actorsched.pipeline import stage
    from actorsched.policies import SchedulingPolicy
    from actorsched.running import run
    from actorsched.runtime import Runtime
    from actorsched.sleeping import sleep
    from actorsched.stats import Stats
    from actorsched.status import TaskStatus
    from actorsched.task import Task, TaskChain, TaskRef, cpu_bound
    from actorsched.tree import Tree

__all__ = [
    # the runtime
    "Runtime",
    "run",
    "sleep",
    "Hosts",
    "Clock",
    "SchedulingPolicy",
    "Event",
    "Alarm",
    "Explanation",
    "Stats",
    "Tree",
    # tasks
    "Task",
    "TaskChain",
    "TaskRef",
    "TaskStatus",
    "Outcome",
    "Priority",
    "Retry",
    "cpu_bound",
    # inside a task or a handler
    "current",
    "checkpoint",
    # for code that blocks
    "Executor",
    # actors
    "Actor",
    "ActorRef",
    "Mailbox",
    "Supervise",
    "Backoff",
    "ExitReason",
    "Group",
    "ActorPool",
    # pipelines
    "stage",
    # errors
    "ActorschedError",
    "ActorStopped",
    "AskCycle",
    "ChainTooLong",
    "DeadlineMissed",
    "DeadlockError",
    "DependencyCycle",
    "DependencyFailed",
    "ExecutorBroken",
    "HostDied",
    "Interrupted",
    "MailboxFull",
    "NotAdmitted",
    "NotTransferable",
    "RuntimeClosed",
    "StageFailed",
    "TaskCancelled",
]

_HOMES = {
    "status": ("TaskStatus",),
    "_kernel.clock": ("Clock",),
    "actor": ("Actor", "ActorRef"),
    "alarm": ("Alarm",),
    "events": ("Event",),
    "executor": ("Executor", "ExecutorBroken"),
    "explaining": ("Explanation",),
    "groups": ("ActorPool", "Group"),
    "context": ("checkpoint", "current"),
    "exceptions": (
        "ActorschedError",
        "ActorStopped",
        "AskCycle",
        "ChainTooLong",
        "DeadlineMissed",
        "DeadlockError",
        "DependencyCycle",
        "DependencyFailed",
        "HostDied",
        "Interrupted",
        "MailboxFull",
        "NotAdmitted",
        "NotTransferable",
        "RuntimeClosed",
        "StageFailed",
        "TaskCancelled",
    ),
    "messages": ("ExitReason", "Outcome"),
    "options": ("Backoff", "Hosts", "Mailbox", "Priority", "Retry", "Supervise"),
    "pipeline": ("stage",),
    "policies": ("SchedulingPolicy",),
    "running": ("run",),
    "runtime": ("Runtime",),
    "sleeping": ("sleep",),
    "stats": ("Stats",),
    "task": ("Task", "TaskChain", "TaskRef", "cpu_bound"),
    "tree": ("Tree",),
}
"""The modules of the package, and what each one gives to this face."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # or checkers would believe that every name exists

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value  # found once: from now on an ordinary attribute
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
