"""What a runtime is made with, checked.

The law of this module: it takes the arguments of `Runtime` as they were given, and returns them as they are
kept, or raises an error that names the argument, what was given and what would have been right. Nothing is
started, and nothing of the system is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from actorsched._system.policy_names import policy_of
from actorsched.durations import Duration, seconds
from actorsched.options import Hosts, pool_sizes

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy
    from actorsched._kernel.clock import Clock

__all__ = ["Settings", "checked"]


class Settings(NamedTuple):
    """What a runtime is made with.

    Attributes:
        policy: Orders its tasks.
        concurrency: How many tasks may run at once in the event loop; None for no limit.
        hosts: The limits of its host processes.
        pools: How many tasks may run at once in each pool, by name.
        clock: Where its time comes from; None for the monotonic clock of the machine.
        seed: Of its random order; None for none.
        name: Its name, for people.
        patience: `shutdown_timeout`, in seconds.
    """

    policy: SchedulingPolicy[Any]
    concurrency: int | None
    hosts: Hosts
    pools: dict[str, int | None]
    clock: Clock | None
    seed: int | None
    name: str
    patience: float


def checked(
    policy: str | SchedulingPolicy[Any],
    concurrency: int | None,
    hosts: Hosts | None,
    pools: Mapping[str, int | None] | None,
    clock: Clock | None,
    seed: int | None,
    name: str | None,
    shutdown_timeout: Duration,
) -> Settings:
    """The arguments of `Runtime`, as they are kept.

    Raises:
        TypeError: One has the wrong type.
        ValueError: One has a wrong value.
    """
    return Settings(
        policy=policy_of(policy),
        pools={} if pools is None else pool_sizes(pools),
        concurrency=_concurrency(concurrency),
        hosts=_hosts(hosts),
        clock=_clock(clock),
        seed=_seed(seed),
        name=_name(name),
        patience=seconds(shutdown_timeout, field="shutdown_timeout"),
    )


def _concurrency(given: int | None) -> int | None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool)):
        raise TypeError(f"concurrency={given!r} is no int; give how many tasks may run at once, or None")
    if given is not None and given < 1:
        raise ValueError(f"concurrency={given} leaves no task to run; give 1 or more, or None")
    return given


def _hosts(given: Hosts | None) -> Hosts:
    if given is not None and not isinstance(given, Hosts):
        raise TypeError(f"hosts={given!r} is no Hosts; give for example Hosts(max=2)")
    return Hosts() if given is None else given


def _clock(given: Clock | None) -> Clock | None:
    if given is not None and not (hasattr(given, "now") and hasattr(given, "call_at")):
        raise TypeError(f"clock={given!r} is no Clock; give an object with now() and call_at(when, function)")
    return given


def _seed(given: int | None) -> int | None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool)):
        raise TypeError(f"seed={given!r} is no int; give an int, or None for no shuffling")
    return given


def _name(given: str | None) -> str:
    if given is not None and not isinstance(given, str):
        raise TypeError(f"name={given!r} is no str; give a name for people, or leave it out")
    return given or "runtime"
