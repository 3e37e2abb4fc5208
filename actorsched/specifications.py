"""Specifications: choices of several fields that belong together, such as `Retry` and `Mailbox`.

The law of this module: a specification is a frozen, slotted value that checks itself when it is created,
including fields that contradict each other; the error names the field, what was given and what would have
been right. Durations may be given in any form and are kept as seconds. Nothing here acts on a choice, and no
field is accepted that nothing carries out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal, NoReturn, Self, TypeAlias, cast

from actorsched.checks import (
    check_choice,
    check_factor,
    check_flag,
    check_percent,
    check_span,
    check_whole,
    wrong_type,
    wrong_value,
)
from actorsched.durations import Duration, describe, seconds
from actorsched.sizes import check_size

__all__ = ["Backoff", "Hosts", "Mailbox", "Overflow", "Retry", "Strategy", "Supervise", "usable_cpus"]

Overflow: TypeAlias = Literal["wait", "raise", "drop_oldest", "drop_newest"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]

_OVERFLOWS: Final[tuple[Overflow, ...]] = ("wait", "raise", "drop_oldest", "drop_newest")
_STRATEGIES: Final[tuple[Strategy, ...]] = ("one_for_one", "one_for_all", "rest_for_one")


def usable_cpus() -> int:
    """Return how many processors this process may use, by affinity and control group: at least 1.

    A quota of processor time counts as so many processors, rounded up.
    """
    from actorsched.cgroups import own

    quota = own().quota()
    return _affine_cpus() if quota is None else min(quota.cpus, _affine_cpus())


def _affine_cpus() -> int:
    import os
    import sys

    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


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
            attempts=check_whole(attempts, "Retry.attempts", least=1),
            delay=seconds(delay, field="Retry.delay"),
            backoff=check_factor(backoff, "Retry.backoff"),
            max_delay=None if max_delay is None else seconds(max_delay, field="Retry.max_delay"),
            jitter=check_flag(jitter, "Retry.jitter"),
            on=_exceptions(on, "Retry.on"),
            crashes=check_whole(crashes, "Retry.crashes", least=0),
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
            capacity=None if capacity is None else check_whole(capacity, "Mailbox.capacity", least=1),
            overflow=check_choice(overflow, "Mailbox.overflow", _OVERFLOWS),
        )


class Hosts(_Specification):
    """The limits of the pool of host processes.

    Args:
        min: How many task hosts are kept, 0 or more. They are started ahead, with the runtime.
        max: How many task hosts there may be, 1 or more; None for as many as there are usable processors (or
            `min`, if that is more).
        idle_timeout: For how long a host is kept that has nothing to do, as a duration above zero.
        max_tasks: After how many tasks (or messages to its actors) a host is replaced, 1 or more; None for
            never.
        max_rss: From how much resident memory on a host is replaced when what it runs is over: bytes, or text
            such as "500 MB"; None for no limit. Where a fresh host takes more than that, none is replaced for
            its size, which is logged once.
        start_timeout: How long a host may take to start, as a duration above zero.
        cpu_limit: No host is started beyond `min` and the first one while the processors of the machine are
            busier than this: per cent, above 0 and up to 100. None for no other rule than that a host needs a
            free processor, or long patience.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field has a wrong value, or `min` is more than `max`.
    """

    __slots__ = _fields = (
        *("min", "max", "idle_timeout", "max_tasks", "max_rss", "start_timeout"),
        "cpu_limit",
    )

    min: int
    max: int
    idle_timeout: float
    max_tasks: int | None
    max_rss: int | None
    start_timeout: float
    cpu_limit: float | None

    def __init__(
        self,
        min: int = 0,  # noqa: A002  # the word that users know
        max: int | None = None,  # noqa: A002
        idle_timeout: Duration = "30s",
        max_tasks: int | None = None,
        max_rss: int | str | None = None,
        start_timeout: Duration = "30s",
        cpu_limit: float | None = None,
    ) -> None:
        self._fill(
            min=check_whole(min, "Hosts.min", least=0),
            max=_most_hosts(min) if max is None else check_whole(max, "Hosts.max", least=1),
            idle_timeout=check_span(idle_timeout, "Hosts.idle_timeout"),
            max_tasks=None if max_tasks is None else check_whole(max_tasks, "Hosts.max_tasks", least=1),
            max_rss=None if max_rss is None else check_size(max_rss, "Hosts.max_rss"),
            start_timeout=check_span(start_timeout, "Hosts.start_timeout"),
            cpu_limit=None if cpu_limit is None else check_percent(cpu_limit, "Hosts.cpu_limit"),
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
            factor=check_factor(factor, "Backoff.factor"),
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
            strategy=check_choice(strategy, "Supervise.strategy", _STRATEGIES),
            max_restarts=check_whole(max_restarts, "Supervise.max_restarts", least=0),
            period=check_span(period, "Supervise.period"),
            backoff=backoff
            if isinstance(backoff, Backoff)
            else Backoff(seconds(backoff, field="Supervise.backoff")),
        )


# --------------------------------------------------------------------------- checks of single specifications


def _ordered(delay: float, limit: float | None, delay_field: str, limit_field: str) -> None:
    if limit is not None and delay > limit:
        raise ValueError(
            f"{delay_field}={describe(delay)} is longer than {limit_field}={describe(limit)}, "
            f"so it could never apply; shorten {delay_field}, or lengthen {limit_field}"
        )


def _exceptions(value: object, field: str) -> tuple[type[Exception], ...]:
    remedy = "give exception classes, such as (OSError, TimeoutError)"
    kinds = (value,) if isinstance(value, type) else value
    if not isinstance(kinds, Iterable) or isinstance(kinds, (str, bytes)):
        raise wrong_type(field, value, remedy)
    found = tuple(cast("Iterable[object]", kinds))
    for kind in found:
        if not _is_exception(kind):
            raise wrong_type(field, kind, f"{remedy}; a BaseException is never retried")
    if not found:
        raise wrong_value(field, value, "names no exception, so nothing would be retried", remedy)
    return cast("tuple[type[Exception], ...]", found)


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _most_hosts(least: int) -> int:
    return max(least, usable_cpus())
