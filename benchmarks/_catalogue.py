"""Every figure, in the order in which the table shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import (
    array_100mb,
    ask,
    dag,
    first_result,
    frontends,
    host_latency,
    host_memory,
    host_preemption,
    host_recovery,
    host_start,
    host_throughput,
    idle_actor,
    noop_tasks,
    observation,
    policy_price,
    preemption_price,
    ready_queue,
    resource,
    spawn_stop,
    tell,
    testing_kit,
    urgent_start,
    virtual_time,
)

if TYPE_CHECKING:
    from benchmarks._figure import Figure

_MODULES = (
    tell,
    ask,
    spawn_stop,
    idle_actor,
    noop_tasks,
    observation,
    frontends,
    dag,
    host_throughput,
    host_latency,
    array_100mb,
    first_result,
    host_start,
    host_recovery,
    host_memory,
    ready_queue,
    policy_price,
    resource,
    urgent_start,
    host_preemption,
    preemption_price,
    virtual_time,
    testing_kit,
)
FIGURES: dict[str, Figure] = {figure.name: figure for module in _MODULES for figure in module.FIGURES}


def chosen(names: list[str]) -> list[Figure]:
    """The figures of these names, or of the modules of these names; all of them when none is named.

    Raises:
        ValueError: Nothing has one of the names.
    """
    modules = {module.__name__.rpartition(".")[2]: module.FIGURES for module in _MODULES}
    figures: list[Figure] = []
    for name in names:
        if name not in modules and name not in FIGURES:
            raise ValueError(f"no figure is called {name!r}; there are {', '.join(FIGURES)}")
        figures.extend(modules.get(name) or (FIGURES[name],))
    return figures or list(FIGURES.values())
