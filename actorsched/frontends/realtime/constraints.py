"""What a task demands of its scheduler: `TaskConstraints`.

The law of this module: what cannot be is refused when the constraints are made, and again when a task with
them is submitted, since its sets may be changed until then. How much processor and memory the machine has is
looked up here, because a demand for more is cut down to that.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from actorsched.durations import describe
from actorsched.frontends.realtime.vocabulary import (
    DeadlineInPastError,
    above_zero,
    flag,
    invalid,
    names_of,
    whole,
)
from actorsched.options import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable

_MB = 1_000_000


class TaskConstraints:
    """What a task demands.

    Args:
        deadline: When it is to be done; a naive datetime is local time.
        max_latency_ms: How many milliseconds may pass from its submission to its end. Without a deadline this
            is one.
        is_hard_realtime: Whether the task is stopped at its deadline, and ends DEADLINE_MISSED. Otherwise it
            goes on, and by how much it was late can be read in `task.metrics`.
        is_preemptible: Whether it may be asked to make room for a more urgent task.
        depends_on: The ids of tasks that have to complete before it begins; from whatever front end.
        required_resources: The names of what it holds while it runs. One task at a time holds each.
        cpu_cores: How many processors it uses: it begins when no other tasks with `cpu_cores` use them.
        memory_mb: How many megabytes it needs: it begins when no other tasks with `memory_mb` need them.

    Raises:
        InvalidArgumentError: A value cannot be.
        DeadlineInPastError: The deadline is past already.
    """

    __slots__ = (
        "cpu_cores",
        "deadline",
        "depends_on",
        "is_hard_realtime",
        "is_preemptible",
        "max_latency_ms",
        "memory_mb",
        "required_resources",
    )

    def __init__(
        self,
        deadline: datetime | None = None,
        max_latency_ms: float | None = None,
        is_hard_realtime: bool = False,
        is_preemptible: bool = True,
        depends_on: Iterable[str] = (),
        required_resources: Iterable[str] = (),
        cpu_cores: int | None = None,
        memory_mb: float | None = None,
    ) -> None:
        self.deadline = deadline
        self.max_latency_ms = max_latency_ms
        self.is_hard_realtime = is_hard_realtime
        self.is_preemptible = is_preemptible
        self.depends_on: set[str] = names_of(depends_on, "depends_on", "{fetch.id}")
        self.required_resources: set[str] = names_of(required_resources, "required_resources", '{"cache"}')
        self.cpu_cores = cpu_cores
        self.memory_mb = memory_mb
        self.check()
        if deadline is not None and (late := datetime.now(UTC) - deadline.astimezone()) >= timedelta(0):
            raise DeadlineInPastError(
                f"deadline={deadline.isoformat()} is already past, by {describe(late.total_seconds())}; give "
                "a time to come, such as datetime.now() + timedelta(milliseconds=100)"
            )

    def __repr__(self) -> str:
        said = {name: getattr(self, name) for name in self.__slots__}
        told = [f"{name}={value!r}" for name, value in said.items() if value != (name == "is_preemptible")]
        return f"TaskConstraints({', '.join(one for one in told if not one.endswith(('=None', '=set()')))})"

    def check(self) -> None:
        """See whether they can be.

        Raises:
            InvalidArgumentError: A value cannot be.
        """
        if self.deadline is not None and not isinstance(self.deadline, datetime):
            remedy = "give a datetime, such as datetime.now() + timedelta(milliseconds=100)"
            raise invalid("deadline", self.deadline, remedy)
        if self.max_latency_ms is not None:
            above_zero(self.max_latency_ms, "max_latency_ms", "how many milliseconds it may take in all")
        flag(self.is_hard_realtime, "is_hard_realtime")
        flag(self.is_preemptible, "is_preemptible")
        self.depends_on = names_of(self.depends_on, "depends_on", "{fetch.id}")
        self.required_resources = names_of(self.required_resources, "required_resources", '{"cache"}')
        if self.cpu_cores is not None:
            whole(self.cpu_cores, "cpu_cores", 1)
        if self.memory_mb is not None:
            above_zero(self.memory_mb, "memory_mb", "how many megabytes it needs")

    def due(self, submitted: datetime) -> datetime | None:
        """The deadline of a task with these, as the runtime knows it; None for none.

        Args:
            submitted: When it was submitted.
        """
        if self.deadline is not None:
            return self.deadline.astimezone()
        if self.max_latency_ms is not None:
            return submitted + timedelta(milliseconds=self.max_latency_ms)
        return None

    def reservation(self) -> tuple[dict[str, Any], list[str]]:
        """What a task with these reserves, as options, and a sentence for each demand that was too high."""
        options: dict[str, Any] = {}
        excesses: list[str] = []
        if self.cpu_cores is not None:
            options["cpu_cores"] = most = min(self.cpu_cores, usable_cpus())
            if most < self.cpu_cores:
                excesses.append(f"cpu_cores={self.cpu_cores} is more than the {most} that there are")
        if self.memory_mb is not None:
            options["memory_mb"] = least = min(self.memory_mb, memory() / _MB)
            if least < self.memory_mb:
                excesses.append(f"memory_mb={self.memory_mb:g} is more than the {least:.0f} that there are")
        return options, excesses


@cache
def memory() -> int:
    """How many bytes of memory there are, within the limits of the control groups."""
    from actorsched.cgroups import own

    limits = [limit.size for limit in own().memory_limits()]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])
