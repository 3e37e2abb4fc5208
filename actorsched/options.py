"""What users may choose for a task, an actor, a pool or a resource: priorities, options, sizes.

The law of this module: every choice is checked here, when it is made, and the error names the field, what was
given and what would have been right. Nothing here acts on a choice, and no option is accepted that nothing
carries out.

How it works: the options of `spawn` and its relatives arrive as a mapping, the caller's `**options`;
`task_options` and `actor_options` run each through its entry in a table of checks and build a frozen struct;
then options that contradict each other are refused. With no options they return the defaults themselves,
which costs nothing: that is how most tasks are spawned. Durations may be given in any form and are kept as
seconds. A deadline by the calendar is kept as it is: what it means on the runtime's own clock is known when
the task is submitted, and `seconds_until` helps with that.

Choices of several fields, such as `Retry`, are in `specifications`, and may be imported from here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast

import msgspec

from actorsched.checks import (
    Check,
    check_choice,
    check_flag,
    check_label,
    check_span,
    check_text,
    check_whole,
    wrong_type,
    wrong_value,
)
from actorsched.durations import describe, seconds
from actorsched.exceptions import shown
from actorsched.specifications import (
    Backoff,
    Hosts,
    Mailbox,
    Overflow,
    Retry,
    Strategy,
    Supervise,
    usable_cpus,
)

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "ActorOptions",
    "Backoff",
    "Hosts",
    "Mailbox",
    "Overflow",
    "Priority",
    "Restart",
    "Retry",
    "Strategy",
    "Supervise",
    "TaskOptions",
    "actor_options",
    "capacity",
    "pool_name",
    "pool_sizes",
    "resource_name",
    "seconds_until",
    "task_options",
    "usable_cpus",
    "workers",
]

TaskHost: TypeAlias = Literal["loop", "thread", "process", "auto"]
ActorHost: TypeAlias = Literal["loop", "process"]
Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
UpstreamFailure: TypeAlias = Literal["fail", "run"]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class Priority(IntEnum):
    """The named priorities; any other int is a priority too."""

    IDLE = 0
    BACKGROUND = 1
    LOW = 2
    NORMAL = 3
    HIGH = 4
    CRITICAL = 5
    REALTIME = 6


# ----------------------------------------------------------------------------------- checks of single options


def _tags(value: object, field: str) -> tuple[str, ...]:
    remedy = f'give an iterable of str, such as {field}=("nightly",)'
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong_type(field, value, remedy)
    tags = tuple(cast("Iterable[object]", value))
    for tag in tags:
        if not isinstance(tag, str):
            raise wrong_type(field, tag, remedy)
    return cast("tuple[str, ...]", tags)


def _named_values(value: object, field: str) -> dict[str, object]:
    remedy = f'give a mapping whose keys are str, such as {field}={{"level": 9}}'
    if not isinstance(value, Mapping):
        raise wrong_type(field, value, remedy)
    values = dict(cast("Mapping[object, object]", value))
    for key in values:
        if not isinstance(key, str):
            raise TypeError(f"{field} has the key {shown(key)} of type {type(key).__name__}; {remedy}")
    return cast("dict[str, object]", values)


def _priority(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        names = ", ".join(priority.name for priority in Priority)
        raise wrong_type(field, value, f"give any int, or a Priority: {names}")
    return value


def _after(value: object, field: str) -> tuple[object, ...]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise wrong_type(field, value, "give an iterable of TaskRefs, such as after=[ref]")
    return tuple(cast("Iterable[object]", value))


def _task_host(value: object, field: str) -> str | None:
    return None if value is None else check_choice(value, field, _HOSTS)


def _actor_host(value: object, field: str) -> str | None:
    return None if value is None else check_choice(value, field, ("loop", "process"))


def _timeout(value: object, field: str) -> float | None:
    return None if value is None else seconds(value, field=field)


def _span(value: object, field: str) -> float | None:
    return None if value is None else check_span(value, field)


def _cores(value: object, field: str) -> int | None:
    remedy = "give how many processors it uses, an int of 1 or more"
    return None if value is None else check_whole(value, field, least=1, remedy=remedy)


def _megabytes(value: object, field: str) -> float | None:
    if value is None:
        return None
    remedy = "give how many megabytes it needs, a number above zero such as 512"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong_type(field, value, remedy)
    if not 0 < value < float("inf"):
        raise wrong_value(field, value, "is no amount of memory", remedy)
    return value


def _deadline(value: object, field: str) -> float | datetime | None:
    if value is None:
        return None
    if not isinstance(value, (int, float, str)):
        from datetime import datetime

        if isinstance(value, datetime):
            seconds_until(value, field)
            return value
    try:
        return check_span(value, field)
    except ValueError as error:
        raise ValueError(f"{error}, or an aware datetime") from None


def seconds_until(deadline: datetime, field: str = "deadline") -> float:
    """Return how far away a time is, by the computer's clock: seconds, above zero.

    Args:
        deadline: An aware datetime.
        field: What it is for; errors name it.

    Raises:
        ValueError: It is naive, or already past.
    """
    from datetime import UTC, datetime

    if deadline.utcoffset() is None:
        raise ValueError(
            f"{field}={deadline.isoformat()} is a naive datetime, which may mean any time zone; "
            "give it a tzinfo, such as datetime.now(timezone.utc) + timedelta(seconds=5)"
        )
    left = (deadline - datetime.now(UTC)).total_seconds()
    if not left > 0:
        raise ValueError(
            f"{field}={deadline.isoformat()} is already past, by {describe(-left)}; give a time to come, "
            'or a duration from the submission on, such as "5s"'
        )
    return left


def _resources(value: object, field: str) -> tuple[str, ...]:
    given: object = value
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise wrong_type(field, given, f'give a set of names, such as {field}={{"db"}}')
    names = sorted(resource_name(name, field) for name in cast("Iterable[object]", value))
    for name, following in pairwise(names):
        if name == following:
            raise ValueError(f"{field}={names!r} names {name!r} twice; a task holds it once, so name it once")
    return tuple(names)


def _retry(value: object, field: str) -> Retry:
    if isinstance(value, Retry):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(attempts=check_whole(value, field, least=1))
    raise wrong_type(field, value, 'give the number of attempts, or Retry(attempts=3, delay="1s")')


def _upstream_failure(value: object, field: str) -> str:
    return check_choice(value, field, ("fail", "run"))


def _restart(value: object, field: str) -> str:
    return check_choice(value, field, ("permanent", "transient", "temporary"))


def _mailbox(value: object, field: str) -> Mailbox | None:
    if value is not None and not isinstance(value, Mailbox):
        raise wrong_type(field, value, "give a Mailbox, such as Mailbox(capacity=100)")
    return value


# ------------------------------------------------------------------------------------------ options of a task


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one task, checked. Made by `task_options`; never change the mappings inside."""

    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = {}
    priority: int = Priority.NORMAL
    after: tuple[object, ...] = ()
    host: TaskHost | None = None
    """Where it runs; None for the function's own default. With "auto" that is learned from what runs of the
    function use: see `_core.auto_host`."""
    timeout: float | None = None
    """Seconds that one attempt may take."""
    deadline: float | datetime | None = None
    """When the whole task is to be done: seconds after its submission, or an aware datetime."""
    hard: bool = False
    """Whether it is stopped at its deadline."""
    cost: float | None = None
    """Seconds of a processor that it is expected to take."""
    period: float | None = None
    """Seconds from one of its kind to the next."""
    retry: Retry = Retry()
    resources: tuple[str, ...] = ()
    """The names of what it holds while it runs, sorted."""
    preemptible: bool = True
    tag: str | None = None
    """The name of its pool; None for that of its host."""
    abandon_on_cancel: bool = False
    max_latency: float | None = None
    """Seconds from submission to start beyond which somebody is told."""
    cpu_cores: int | None = None
    """How many processors it uses; None for what one does that says nothing."""
    memory_mb: float | None = None
    """How many megabytes (of 1,000,000 bytes) it may allocate; None for no limit."""
    on_upstream_failure: UpstreamFailure = "fail"
    kwargs: Mapping[str, object] = {}

    @property
    def reserves(self) -> bool:
        """Whether it wants processors or memory for itself."""
        return self.cpu_cores is not None or self.memory_mb is not None

    @property
    def timed(self) -> bool:
        """Whether it says when the task has to be started, or done."""
        return self.deadline is not None or self.max_latency is not None

    @property
    def particular(self) -> bool:
        """Whether there is something to be noted of the task when it is submitted; few have that."""
        return (
            self.deadline is not None
            or self.max_latency is not None
            or self.cpu_cores is not None
            or self.memory_mb is not None
        )

    def replace(self, **changes: Any) -> TaskOptions:
        """Return a copy with some fields changed, unchecked."""
        return msgspec.structs.replace(self, **changes)


class ActorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one actor, checked. Made by `actor_options`; None leaves a choice to its class."""

    name: str | None = None
    restart: Restart = "transient"
    host: ActorHost | None = None
    mailbox: Mailbox | None = None
    kwargs: Mapping[str, object] = {}


DEFAULT: Final = TaskOptions()
DEFAULT_ACTOR: Final = ActorOptions()


_HOSTS: Final[tuple[TaskHost, ...]] = ("loop", "thread", "process", "auto")
_ONLY_HOST: Final[Mapping[str, TaskOptions]] = {host: TaskOptions(host=host) for host in _HOSTS}
"""What many tasks have for their options; frozen, so one of each serves all."""

_TASK_CHECKS: Final[Mapping[str, Check]] = {
    "name": check_label,
    "description": check_text,
    "tags": _tags,
    "metadata": _named_values,
    "priority": _priority,
    "after": _after,
    "host": _task_host,
    "timeout": _timeout,
    "deadline": _deadline,
    "hard": check_flag,
    "cost": _span,
    "period": _span,
    "retry": _retry,
    "resources": _resources,
    "preemptible": check_flag,
    "tag": check_label,
    "abandon_on_cancel": check_flag,
    "max_latency": _span,
    "cpu_cores": _cores,
    "memory_mb": _megabytes,
    "on_upstream_failure": _upstream_failure,
    "kwargs": _named_values,
}
_ACTOR_CHECKS: Final[Mapping[str, Check]] = {
    "name": check_label,
    "restart": _restart,
    "host": _actor_host,
    "mailbox": _mailbox,
    "kwargs": _named_values,
}


def task_options(mapping: Mapping[str, object]) -> TaskOptions:
    """Return the options of a task, checked; for an empty mapping `DEFAULT` itself.

    Raises:
        TypeError: An option does not exist, or its value has the wrong type.
        ValueError: A value is wrong, or two options contradict each other.
    """
    if not mapping:
        return DEFAULT
    if len(mapping) == 1:
        host = mapping.get("host")
        if type(host) is str and host in _ONLY_HOST:
            return _ONLY_HOST[host]
    options = _built(TaskOptions, _TASK_CHECKS, mapping)
    _refuse_contradictions(options)
    return options


def _refuse_contradictions(options: TaskOptions) -> None:
    if options.abandon_on_cancel and options.host not in (None, "thread"):
        raise ValueError(
            f"abandon_on_cancel=True contradicts host={options.host!r}: only a thread can be abandoned; "
            'use host="thread", or leave abandon_on_cancel out'
        )
    if options.hard and options.deadline is None:
        raise ValueError(
            "hard=True contradicts deadline=None: it says what happens at a deadline, and there is none; "
            'give one, such as deadline="5s", or leave hard out'
        )
    if options.host == "loop" and options.reserves:
        raise not_in_the_loop(options)
    if options.cost is not None:
        _refuse_too_long(options.cost, "period", options.period, "the next is due before it could be done")
        if isinstance(options.deadline, float):
            _refuse_too_long(options.cost, "deadline", options.deadline, "it could never be done in time")


def not_in_the_loop(options: TaskOptions, task: str = "a task") -> ValueError:
    """Return the error for a task in the loop that is to have processors or memory of its own."""
    field = "memory_mb" if options.cpu_cores is None else "cpu_cores"
    return ValueError(
        f"{field}={getattr(options, field):g} does not fit {task} in the event loop, where all code shares "
        'one thread: use host="process", where it is a limit too, or host="thread" for a plain function'
    )


def _refuse_too_long(cost: float, field: str, limit: float | None, why: str) -> None:
    if limit is not None and cost > limit:
        raise ValueError(
            f"cost={describe(cost)} is longer than {field}={describe(limit)}: {why}; "
            f"give the processor time of one task as cost, or lengthen {field}"
        )


def upstream_refs(after: object) -> tuple[object, ...]:
    """The option `after` of a task, checked by itself.

    Raises:
        TypeError: It is no iterable.
    """
    return _after(after, "after")


def actor_options(mapping: Mapping[str, object]) -> ActorOptions:
    """Return the options of an actor, checked; for an empty mapping `DEFAULT_ACTOR` itself.

    Raises:
        TypeError: An option does not exist, or its value has the wrong type.
        ValueError: A value is wrong.
    """
    if not mapping:
        return DEFAULT_ACTOR
    return _built(ActorOptions, _ACTOR_CHECKS, mapping)


def _built(kind: type[_Struct], checks: Mapping[str, Check], mapping: Mapping[str, object]) -> _Struct:
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        check = checks.get(name)
        if check is None:
            raise _unknown(name, checks)
        values[name] = check(value, name)
    return kind(**values)


def _unknown(name: str, checks: Mapping[str, Check]) -> TypeError:
    from difflib import get_close_matches

    near = " or ".join(repr(match) for match in get_close_matches(str(name), checks, n=3, cutoff=0.65))
    hint = f"; did you mean {near}?" if near else "."
    return TypeError(
        f"unknown option {shown(name)}{hint} The options are: {', '.join(checks)}."
        " Keyword arguments of the function go into kwargs={...}."
    )


# ---------------------------------------------------------------------------------------- pools and resources

_HOST_POOLS: Final[Mapping[str, str]] = {
    "loop": "Runtime(concurrency=...) limits it",
    "thread": "every runtime has it",
    "process": "Runtime(hosts=Hosts(max=...)) limits it",
}


def pool_sizes(value: object, field: str = "pools") -> dict[str, int | None]:
    """Return the pools of a runtime, checked: each name with its number of workers.

    Raises:
        TypeError: It is no mapping, or a name or number has the wrong type.
        ValueError: A name is empty or taken, or a number is less than 1.
    """
    if not isinstance(value, Mapping):
        remedy = f'give a mapping of names to numbers of workers, such as {field}={{"io": 2}}'
        raise wrong_type(field, value, remedy)
    given = cast("Mapping[object, object]", value)
    return {pool_name(name, field): workers(size, f"{field}[{shown(name)}]") for name, size in given.items()}


def pool_name(value: object, field: str = "name") -> str:
    """Return the name of a pool that may be created.

    Raises:
        TypeError: It is no str.
        ValueError: It is empty, or that of a pool that every runtime has.
    """
    name = _given_name(value, field, "io")
    if name in _HOST_POOLS:
        fault = f"names a pool that exists already ({_HOST_POOLS[name]})"
        raise wrong_value(field, value, fault, "choose another name")
    return name


def workers(value: object, field: str = "workers") -> int | None:
    """Return how many tasks of a pool may run at once; None for no limit.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1.
    """
    if value is None:
        return None
    remedy = "give how many of its tasks may run at once, an int of 1 or more, or None for no limit"
    return check_whole(value, field, least=1, remedy=remedy)


def resource_name(value: object, field: str = "name") -> str:
    """Return the name of a resource.

    Raises:
        TypeError: It is no str.
        ValueError: It is empty.
    """
    return _given_name(value, field, "db")


def capacity(value: object, field: str = "capacity") -> int:
    """Return how many tasks may hold a resource at once.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1.
    """
    remedy = "give how many tasks may hold it at once, an int of 1 or more"
    return check_whole(value, field, least=1, remedy=remedy)


def _given_name(value: object, field: str, example: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(field, value, f'give names as str, such as "{example}"')
    if not value.strip():
        raise wrong_value(field, value, "is empty", f'give a name that says something, such as "{example}"')
    return value
