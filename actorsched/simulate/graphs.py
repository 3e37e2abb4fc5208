"""What the detector finds in the graphs of a file.

The law of this module: a graph goes in, and what is in the answer about it comes out. Nothing is played; who
is deadlocked is known to the detector, which the runtime's own search for circles is tested against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsched._core.deadlock import analyse
from actorsched.simulate.taskset import BadTaskSet, GraphDeadlock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorsched.simulate.taskset import Graph

__all__ = ["analysed", "detected"]


def detected(graph: Graph) -> GraphDeadlock:
    """Return who is deadlocked.

    Raises:
        BadTaskSet: A task waits for more units than there are. The path is that within the graph.
    """
    try:
        found = analyse(
            graph.holds,
            {task: graph.waits.get(task, ()) for task in graph.tasks},
            {resource.name: resource.capacity for resource in graph.resources},
        )
    except ValueError as error:
        raise BadTaskSet(".waits", str(error)) from None
    return GraphDeadlock(
        tuple(map(tuple, found.cycles)),
        tuple(found.deadlocked),
        tuple(found.stuck_behind),
        tuple(found.free),
    )


def analysed(graphs: Iterable[Graph]) -> list[dict[str, object]]:
    """Return the answers to graphs: each in its own words, with what the detector found.

    Raises:
        BadTaskSet: A task waits for more units than there are.
    """
    found: list[dict[str, object]] = []
    for place, graph in enumerate(graphs):
        try:
            found.append(_answer(graph, detected(graph)))
        except BadTaskSet as error:
            raise BadTaskSet(f"$.graphs[{place}]{error.path}", error.fault) from None
    return found


def _answer(graph: Graph, found: GraphDeadlock) -> dict[str, object]:
    return {
        "name": graph.name,
        "policy": "DEADLOCK",
        "tasks": [{"name": task} for task in graph.tasks],
        "resources": [{"name": each.name, "capacity": each.capacity} for each in graph.resources],
        "holds": graph.holds,
        "waits": graph.waits,
        "deadlock": {
            "cycles": found.cycles,
            "deadlocked": found.deadlocked,
            "stuck_behind": found.stuck_behind,
            "not_deadlocked": found.not_deadlocked,
        },
    }
