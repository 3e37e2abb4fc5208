"""What users may choose: priorities, specifications, and the options of tasks and actors.

The law of this module: every choice is checked here, when it is made, and the error names the field, what was
given and what would have been right. Nothing here acts on a choice, and no option is accepted that nothing
carries out.

How it works: a specification (`Retry`, `Mailbox`, ...) is a frozen, slotted value that checks itself when it
is created, including fields that contradict each other. Durations may be given in any form and are kept as
seconds. The options of `spawn` and its relatives arrive as a mapping, the caller's `**options`;
`task_options` and `actor_options` run each through its entry in a table of checks and build a frozen struct.
With no options they return the defaults themselves, which costs nothing: that is how most tasks are spawned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, ClassVar, Final, Literal, NoReturn, Self, TypeAlias, TypeVar, cast

import msgspec

from actorsched.durations import Duration, describe, seconds
from actorsched.exceptions import shown

__all__ = [
    "ActorOptions",
    "Backoff",
    "Hosts",
    "Mailbox",
    "Priority",
    "Restart",
    "Retry",
    "Strategy",
    "Supervise",
    "TaskOptions",
    "actor_options",
    "task_options",
    "usable_cpus",
]

TaskHost: TypeAlias = Literal["loop", "thread", "process"]
ActorHost: TypeAlias = Literal["loop", "process"]
Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
Overflow: TypeAlias = Literal["wait", "raise", "drop_oldest", "drop_newest"]
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


def _most_hosts(least: int) -> int:
    return max(least, usable_cpus())


def usable_cpus() -> int:
    """Return how many processors this process may use: at least 1."""
    import os
    import sys

    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


# --------------------------------------------------------------------------------------------- specifications


class _Specification:
    """A frozen value with named fields, its `__slots__`; equal, hashed, shown and pickled by them."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()

    def _fill(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like a new one."""
        return type(self)(**{**dict(zip(self._fields, self._values(), strict=True)), **changes})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; make another with .replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; its fields cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(
            f"{name}={value!r}" for name, value in zip(self._fields, self._values(), strict=True)
        )
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self._values())


def _rebuilt(kind: type[_Specification], values: tuple[object, ...]) -> _Specification:
    spec = kind.__new__(kind)
    spec._fill(**dict(zip(kind._fields, values, strict=True)))
    return spec


class Retry(_Specification):
    """How often a task is tried, and how long to wait in between.

    The wait before attempt n + 1 is `delay * backoff ** (n - 1)`, at most `max_delay`; with jitter it is
    drawn evenly between zero and that.

    Args:
        attempts: How many attempts in all, 1 or more; they are numbered from 1.
        delay: The wait after the first failure, as a duration.
        backoff: The factor by which each wait is longer than the one before; 1 or more.
        max_delay: The longest wait, as a duration; None for no limit.
        jitter: Whether waits are random, so that tasks that failed together do not come back together.
        on: The exceptions that are worth another attempt; a timeout is a `TimeoutError`.
        crashes: How many deaths of the host process the task survives, counted apart from `attempts`.
            By default none: a task that had started is never run twice unasked.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value, or `delay` is longer than `max_delay`.
    """

    __slots__ = _fields = ("attempts", "delay", "backoff", "max_delay", "jitter", "on", "crashes")

    attempts: int
    delay: float
    backoff: float
    max_delay: float | None
    jitter: bool
    on: tuple[type[Exception], ...]
    crashes: int

    def __init__(
        self,
        attempts: int = 1,
        delay: Duration = 0,
        backoff: float = 2.0,
        max_delay: Duration | None = None,
        jitter: bool = True,
        on: type[Exception] | Iterable[type[Exception]] = (Exception,),
        crashes: int = 0,
    ) -> None:
        self._fill(
            attempts=_whole(attempts, "Retry.attempts", least=1),
            delay=seconds(delay, field="Retry.delay"),
            backoff=_factor(backoff, "Retry.backoff"),
            max_delay=None if max_delay is None else seconds(max_delay, field="Retry.max_delay"),
            jitter=_flag(jitter, "Retry.jitter"),
            on=_exceptions(on, "Retry.on"),
            crashes=_whole(crashes, "Retry.crashes", least=0),
        )
        _ordered(self.delay, self.max_delay, "Retry.delay", "Retry.max_delay")


class Mailbox(_Specification):
    """How many user messages may wait for an actor, and what happens to one too many.

    Control, stop and supervision messages have lanes of their own, which no capacity binds.

    Args:
        capacity: How many messages, 1 or more; None for no bound.
        overflow: "wait" (asks and `telling` wait for room, `tell` raises `MailboxFull`), "raise" (all raise
            it), "drop_oldest" or "drop_newest" (the dropped message goes to the dead letters).

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value.
    """

    __slots__ = _fields = ("capacity", "overflow")

    capacity: int | None
    overflow: Overflow

    def __init__(self, capacity: int | None = 1000, overflow: Overflow = "wait") -> None:
        self._fill(
            capacity=None if capacity is None else _whole(capacity, "Mailbox.capacity", least=1),
            overflow=_one_of(overflow, "Mailbox.overflow", ("wait", "raise", "drop_oldest", "drop_newest")),
        )


class Hosts(_Specification):
    """The limits of the pool of host processes.

    Args:
        min: How many task hosts are kept, 0 or more.
        max: How many task hosts there may be, 1 or more; None for as many as there are usable processors (or
            `min`, if that is more).
        start_timeout: How long a host may take to start, as a duration above zero.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value, or `min` is more than `max`.
    """

    __slots__ = _fields = ("min", "max", "start_timeout")

    min: int
    max: int
    start_timeout: float

    def __init__(
        self,
        min: int = 0,  # noqa: A002  # the word that users know
        max: int | None = None,  # noqa: A002
        start_timeout: Duration = "30s",
    ) -> None:
        self._fill(
            min=_whole(min, "Hosts.min", least=0),
            max=_most_hosts(min) if max is None else _whole(max, "Hosts.max", least=1),
            start_timeout=_span(start_timeout, "Hosts.start_timeout"),
        )
        if self.min > self.max:
            raise ValueError(
                f"Hosts.min={self.min} is more than Hosts.max={self.max}; raise max, or lower min"
            )


class Backoff(_Specification):
    """How long a supervisor waits before it restarts children that keep failing.

    The n-th restart of the same child within the supervisor's period waits `delay * factor ** (n - 1)`
    seconds, at most `max`; where a strategy restarts several children together, n counts all restarts. The
    period is time in which the child runs: waiting does not use it up, so a child that always fails is given
    up even if the waits are long.

    Args:
        delay: The first wait, as a duration; 0 for none.
        factor: The factor by which each wait is longer than the one before; 1 or more.
        max: The longest wait, as a duration; None for no limit.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value, or `delay` is longer than `max`.
    """

    __slots__ = _fields = ("delay", "factor", "max")

    delay: float
    factor: float
    max: float | None

    def __init__(
        self,
        delay: Duration = 0,
        factor: float = 2.0,
        max: Duration | None = None,  # noqa: A002  # as in Hosts
    ) -> None:
        self._fill(
            delay=seconds(delay, field="Backoff.delay"),
            factor=_factor(factor, "Backoff.factor"),
            max=None if max is None else seconds(max, field="Backoff.max"),
        )
        _ordered(self.delay, self.max, "Backoff.delay", "Backoff.max")


class Supervise(_Specification):
    """How a supervisor answers the failure of a child.

    Args:
        strategy: "one_for_one" (the child restarts), "one_for_all" (all children do), or "rest_for_one" (the
            child and those started after it do).
        max_restarts: How many restarts within `period` are borne, 0 or more; one more escalates.
        period: How long a restart counts (a sliding window), as a duration above zero.
        backoff: How long to wait before a restart: a `Backoff`, or a duration for `Backoff(delay)`.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value.
    """

    __slots__ = _fields = ("strategy", "max_restarts", "period", "backoff")

    strategy: Strategy
    max_restarts: int
    period: float
    backoff: Backoff

    def __init__(
        self,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        period: Duration = "5s",
        backoff: Backoff | Duration = 0,
    ) -> None:
        self._fill(
            strategy=_one_of(strategy, "Supervise.strategy", ("one_for_one", "one_for_all", "rest_for_one")),
            max_restarts=_whole(max_restarts, "Supervise.max_restarts", least=0),
            period=_span(period, "Supervise.period"),
            backoff=backoff
            if isinstance(backoff, Backoff)
            else Backoff(seconds(backoff, field="Supervise.backoff")),
        )


# ----------------------------------------------------------------------------------------------------- checks

_Check: TypeAlias = Callable[[object, str], object]


def _wrong_type(field: str, value: object, remedy: str) -> TypeError:
    return TypeError(f"{field}={shown(value)} is of type {type(value).__name__}; {remedy}")


def _wrong_value(field: str, value: object, fault: str, remedy: str) -> ValueError:
    return ValueError(f"{field}={shown(value)} {fault}; {remedy}")


def _whole(value: object, field: str, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(field, value, f"give an int of {least} or more")
    if value < least:
        raise _wrong_value(field, value, f"is less than {least}", f"give an int of {least} or more")
    return value


def _factor(value: object, field: str) -> float:
    remedy = "give a number of 1 or more, such as 2.0"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong_type(field, value, remedy)
    if not 1 <= value < float("inf"):
        raise _wrong_value(field, value, "is not a finite number of 1 or more", remedy)
    return float(value)


def _span(value: object, field: str) -> float:
    result = seconds(value, field=field)
    if not result:
        raise _wrong_value(field, value, "is no time at all", 'give a duration above zero, such as "5s"')
    return result


def _ordered(delay: float, limit: float | None, delay_field: str, limit_field: str) -> None:
    if limit is not None and delay > limit:
        raise ValueError(
            f"{delay_field}={describe(delay)} is longer than {limit_field}={describe(limit)}, "
            f"so it could never apply; shorten {delay_field}, or lengthen {limit_field}"
        )


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(field, value, "give True or False")
    return value


def _one_of(value: object, field: str, choices: tuple[str, ...]) -> str:
    if not (isinstance(value, str) and value in choices):
        raise _wrong_value(field, value, "is not a choice", f"choose from {', '.join(map(repr, choices))}")
    return value


def _exceptions(value: object, field: str) -> tuple[type[Exception], ...]:
    remedy = "give exception classes, such as (OSError, TimeoutError)"
    kinds = (value,) if isinstance(value, type) else value
    if not isinstance(kinds, Iterable) or isinstance(kinds, (str, bytes)):
        raise _wrong_type(field, value, remedy)
    found = tuple(cast("Iterable[object]", kinds))
    for kind in found:
        if not _is_exception(kind):
            raise _wrong_type(field, kind, f"{remedy}; a BaseException is never retried")
    if not found:
        raise _wrong_value(field, value, "names no exception, so nothing would be retried", remedy)
    return cast("tuple[type[Exception], ...]", found)


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _text(value: object, field: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong_type(field, value, "give a str, or None")
    return value


def _name(value: object, field: str) -> str | None:
    text = _text(value, field)
    if text is not None and not text.strip():
        raise _wrong_value(field, value, "is empty", "give a str that says something, or leave it out")
    return text


def _tags(value: object, field: str) -> tuple[str, ...]:
    remedy = f'give an iterable of str, such as {field}=("nightly",)'
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong_type(field, value, remedy)
    tags = tuple(cast("Iterable[object]", value))
    for tag in tags:
        if not isinstance(tag, str):
            raise _wrong_type(field, tag, remedy)
    return cast("tuple[str, ...]", tags)


def _named_values(value: object, field: str) -> dict[str, object]:
    remedy = f'give a mapping whose keys are str, such as {field}={{"level": 9}}'
    if not isinstance(value, Mapping):
        raise _wrong_type(field, value, remedy)
    values = dict(cast("Mapping[object, object]", value))
    for key in values:
        if not isinstance(key, str):
            raise TypeError(f"{field} has the key {shown(key)} of type {type(key).__name__}; {remedy}")
    return cast("dict[str, object]", values)


def _priority(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        names = ", ".join(priority.name for priority in Priority)
        raise _wrong_type(field, value, f"give any int, or a Priority: {names}")
    return value


def _after(value: object, field: str) -> tuple[object, ...]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise _wrong_type(field, value, "give an iterable of TaskRefs, such as after=[ref]")
    return tuple(cast("Iterable[object]", value))


def _task_host(value: object, field: str) -> str | None:
    return None if value is None else _one_of(value, field, ("loop", "thread", "process"))


def _actor_host(value: object, field: str) -> str | None:
    return None if value is None else _one_of(value, field, ("loop", "process"))


def _timeout(value: object, field: str) -> float | None:
    return None if value is None else seconds(value, field=field)


def _retry(value: object, field: str) -> Retry:
    if isinstance(value, Retry):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(attempts=_whole(value, field, least=1))
    raise _wrong_type(field, value, 'give the number of attempts, or Retry(attempts=3, delay="1s")')


def _upstream_failure(value: object, field: str) -> str:
    return _one_of(value, field, ("fail", "run"))


def _restart(value: object, field: str) -> str:
    return _one_of(value, field, ("permanent", "transient", "temporary"))


def _mailbox(value: object, field: str) -> Mailbox | None:
    if value is not None and not isinstance(value, Mailbox):
        raise _wrong_type(field, value, "give a Mailbox, such as Mailbox(capacity=100)")
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
    """Where it runs; None for the function's own default."""
    timeout: float | None = None
    """Seconds that one attempt may take."""
    retry: Retry = Retry()
    abandon_on_cancel: bool = False
    on_upstream_failure: UpstreamFailure = "fail"
    kwargs: Mapping[str, object] = {}

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


_HOSTS: Final[tuple[TaskHost, ...]] = ("loop", "thread", "process")
_ONLY_HOST: Final[Mapping[str, TaskOptions]] = {host: TaskOptions(host=host) for host in _HOSTS}
"""What many tasks have for their options; frozen, so one of each serves all."""

_TASK_CHECKS: Final[Mapping[str, _Check]] = {
    "name": _name,
    "description": _text,
    "tags": _tags,
    "metadata": _named_values,
    "priority": _priority,
    "after": _after,
    "host": _task_host,
    "timeout": _timeout,
    "retry": _retry,
    "abandon_on_cancel": _flag,
    "on_upstream_failure": _upstream_failure,
    "kwargs": _named_values,
}
_ACTOR_CHECKS: Final[Mapping[str, _Check]] = {
    "name": _name,
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
    if options.abandon_on_cancel and options.host not in (None, "thread"):
        raise ValueError(
            f"abandon_on_cancel=True contradicts host={options.host!r}: only a thread can be abandoned; "
            'use host="thread", or leave abandon_on_cancel out'
        )
    return options


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


def _built(kind: type[_Struct], checks: Mapping[str, _Check], mapping: Mapping[str, object]) -> _Struct:
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        check = checks.get(name)
        if check is None:
            raise _unknown(name, checks)
        values[name] = check(value, name)
    return kind(**values)


def _unknown(name: str, checks: Mapping[str, _Check]) -> TypeError:
    from difflib import get_close_matches

    near = " or ".join(repr(match) for match in get_close_matches(str(name), checks, n=3))
    hint = f"; did you mean {near}?" if near else ";"
    return TypeError(
        f"unknown option {shown(name)}{hint} The options are: {', '.join(checks)}."
        " Keyword arguments of the function go into kwargs={...}."
    )
