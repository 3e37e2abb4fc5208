"""What can go wrong with tasks in worker processes before a function runs, by name.

The law of this module: errors only. What a function raises is raised by `get` as it is; what the runtime has
to say of it (`HostDied`, `TaskTimeout`, `TaskCancelled`, `DependencyFailed`) too.
"""

from __future__ import annotations

from actorsched import exceptions
from actorsched.exceptions import ActorschedError


class TaskSchedulingError(ActorschedError):
    """The base of the errors of `multiprocessing`."""


class InvalidArgument(TaskSchedulingError, TypeError, ValueError):
    """What was given cannot be: no function, arguments that it does not take, no duration, no workers."""


class ChainError(TaskSchedulingError, ValueError):
    """A chain has no tasks, the same task twice, or one that has its place elsewhere."""


class ChainTooLong(ChainError, exceptions.ChainTooLong):
    """A chain has more tasks than a chain may have; nothing of it was pushed."""


class CircularDependency(TaskSchedulingError, exceptions.DependencyCycle):
    """Tasks depend on each other in a circle, which `path` names; nothing of it was pushed."""


class UnknownDependency(TaskSchedulingError, LookupError):
    """No task of this id is known: it never was, or it has settled long ago."""


class AlreadyPushed(TaskSchedulingError, RuntimeError):
    """A task or a chain is pushed only once."""


class NotPushed(TaskSchedulingError, RuntimeError):
    """A result was asked of what nobody has pushed, so it would never come."""


class ResultTimeout(TaskSchedulingError, TimeoutError):
    """The result did not come in time. The task goes on, and may be asked again."""
