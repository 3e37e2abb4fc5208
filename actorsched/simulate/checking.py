"""Whether a task set makes sense.

The law of this module: values whose types are right go in, and the first `BadTaskSet` comes out, or nothing.
Every rule stands here once, beside the words for whoever has broken it.

How it works: numbers first, then names, then what belongs together. Times are limited, so that sums of
thousands of them are still exact as floats; what runs must run long enough to be more than rounding.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING, Final

from actorsched.simulate.faults import fault, quoted
from actorsched.simulate.taskset import Acquire, BadTaskSet, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorsched.simulate.taskset import Expectation, Graph, Params, Resource, Step, Task, TaskSet, Time

__all__ = ["check_graph", "check_taskset"]

LONGEST: Final = 10**12
SHORTEST: Final = 1e-6
MOST_PROCESSORS: Final = 10_000
MOST_JOBS: Final = 1_000_000
_URGENT: Final = 10**9
_LONG_NAME: Final = 200


def check_taskset(taskset: TaskSet, path: str) -> None:
    """Check everything, in the order in which it stands in the file.

    Raises:
        BadTaskSet: It makes no sense.
    """
    _check_name(taskset.name, f"{path}.name")
    _check_whole(taskset.processors, f"{path}.processors", MOST_PROCESSORS)
    if not taskset.tasks:
        raise fault(f"{path}.tasks", [], "has no task")
    _check_names((task.name for task in taskset.tasks), f"{path}.tasks", "task", ".name")
    _check_resources(taskset.resources, path)
    _check_params(taskset.params, f"{path}.params")
    declared = frozenset(resource.name for resource in taskset.resources)
    for place, task in enumerate(taskset.tasks):
        _check_task(task, f"{path}.tasks[{place}]", declared)
    _check_jobs(taskset, path)
    _check_expectation(taskset.expectation, path, taskset.processors)


def check_graph(graph: Graph, path: str) -> None:
    """Check that all names are declared, and that nothing is held by more tasks than it has units.

    Raises:
        BadTaskSet: It makes no sense.
    """
    _check_name(graph.name, f"{path}.name")
    _check_names(graph.tasks, f"{path}.tasks", "task", ".name")
    _check_resources(graph.resources, path)
    units = {resource.name: resource.capacity for resource in graph.resources}
    for key, table in (("holds", graph.holds), ("waits", graph.waits)):
        for task, resources in table.items():
            if task not in graph.tasks:
                raise BadTaskSet(f"{path}.{key}", f"{quoted(task)} is no task; give one of those in tasks")
            for name in resources:
                if name not in units:
                    raise BadTaskSet(
                        f"{path}.{key}", f"{quoted(name)} is no resource; give one of those in resources"
                    )
                units[name] -= key == "holds"
                if units[name] < 0:
                    raise BadTaskSet(
                        f"{path}.holds", f"{quoted(name)} is held more often than it has units; give it fewer"
                    )


# ------------------------------------------------------------------------------------------ numbers and names


def _check_time(value: Time | None, path: str, least: float = 0) -> None:
    """A time in ticks, or None; one above zero has to be long enough to be told from nothing."""
    if value is None:
        return
    if not isfinite(value):
        raise fault(path, value, "is not finite")
    if value < 0:
        raise fault(path, value, "is negative")
    if value < least:
        raise fault(path, value, "is nothing" if value == 0 else f"is less than {SHORTEST:g}")
    if value > LONGEST:
        raise fault(path, value, "is too much", f"at most {LONGEST:,}".replace(",", ""))


def _check_length(value: Time | None, path: str) -> None:
    _check_time(value, path, SHORTEST)


def _check_whole(value: int | None, path: str, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise fault(path, value, "is out of range", f"a whole number from 1 to {most}")


def _check_name(name: str, path: str) -> None:
    if not name:
        raise fault(path, name, "is empty")
    if not name.isprintable():
        raise fault(path, name, "has characters that cannot be printed", "a name without them")
    if len(name) > _LONG_NAME:
        raise fault(path, name, f"has {len(name)} characters", f"a name of at most {_LONG_NAME}")


def _check_names(names: Iterable[str], path: str, noun: str, key: str) -> None:
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        _check_name(name, f"{path}[{place}]{key}")
        if name in first:
            raise fault(
                f"{path}[{place}]{key}", name, f"is also {path}[{first[name]}]", f"every {noun} another name"
            )
        first[name] = place


def _check_resources(resources: tuple[Resource, ...], path: str) -> None:
    _check_names((resource.name for resource in resources), f"{path}.resources", "resource", "")
    for place, resource in enumerate(resources):
        _check_whole(resource.capacity, f"{path}.resources[{place}].capacity", LONGEST)


# ------------------------------------------------------------------------------------------------- the params


def _check_params(params: Params, path: str) -> None:
    for key in ("quantum", "aging_interval", "boost", "until"):
        _check_length(getattr(params, key), f"{path}.{key}")
    _check_whole(params.aging_step, f"{path}.aging_step", _URGENT)
    _check_whole(params.levels, f"{path}.levels", 1000)
    if params.quanta is None:
        return
    for place, quantum in enumerate(params.quanta):
        _check_length(quantum, f"{path}.quanta[{place}]")
    if not params.quanta:
        raise fault(f"{path}.quanta", [], "has no level")
    if params.levels is not None and params.levels != len(params.quanta):
        complaint = f"has {len(params.quanta)} for {params.levels} levels"
        raise fault(f"{path}.quanta", params.quanta, complaint, f"{params.levels}, one for each level")


# ----------------------------------------------------------------------------------------------------- a task


def _check_task(task: Task, path: str, declared: frozenset[str]) -> None:
    _check_time(task.arrival, f"{path}.arrival")
    if abs(task.priority) > _URGENT:
        raise fault(f"{path}.priority", task.priority, "is out of range", f"at most {_URGENT} either way")
    _check_time(task.deadline, f"{path}.deadline")
    _check_length(task.period, f"{path}.period")
    _check_length(task.exec, f"{path}.exec")
    if task.exec is not None and task.program is not None:
        raise BadTaskSet(path, f"{quoted(task.name)} has both exec and program; give one of them")
    if task.exec is None and task.program is None:
        raise BadTaskSet(
            path, f'{quoted(task.name)} has neither exec nor program; give "exec": 3, for example'
        )
    if task.program is not None:
        _check_program(task.program, f"{path}.program", declared)
    if task.deadline is None:
        return
    if task.period is not None:
        complaint = f"stands beside the period {quoted(task.period)}, which is the deadline of each job"
        raise fault(f"{path}.deadline", task.deadline, complaint, "only one of the two")
    if task.deadline <= task.arrival:
        complaint = f"is not after the arrival at {quoted(task.arrival)}"
        raise fault(f"{path}.deadline", task.deadline, complaint)


def _check_program(program: tuple[Step, ...], path: str, declared: frozenset[str]) -> None:
    held: dict[str, int] = {}
    runs = False
    for place, step in enumerate(program):
        where = f"{path}[{place}]"
        if isinstance(step, Run):
            _check_length(step.ticks, f"{where}[1]")
            runs = True
        elif step.resource not in declared:
            known = f"one of {', '.join(map(quoted, sorted(declared)))}, or" if declared else "it"
            raise fault(f"{where}[1]", step.resource, "is no resource", f"{known} a place in resources")
        elif isinstance(step, Acquire):
            if step.resource in held:
                complaint = f"is held already, since step {held[step.resource]}"
                raise fault(f"{where}[1]", step.resource, complaint, "a release before it")
            held[step.resource] = place
        elif held.pop(step.resource, None) is None:
            raise fault(f"{where}[1]", step.resource, "is not held here", "an acquire before it")
    for resource, place in held.items():
        raise fault(f"{path}[{place}][1]", resource, "is still held at the end", "a release after it")
    if not runs:
        raise BadTaskSet(path, 'never runs; give at least one ["run", n]')


# -------------------------------------------------------------------------------------- what belongs together


def _check_jobs(taskset: TaskSet, path: str) -> None:
    """There is a horizon if one is needed, not too many jobs before it, and no two of one name."""
    until, total = taskset.params.until, len(taskset.tasks)
    for place, task in enumerate(taskset.tasks):
        if task.period is None:
            continue
        where = f"{path}.tasks[{place}].period"
        if until is None:
            raise fault(where, task.period, "would go on for ever", "params.until, the horizon, as well")
        total += max(0, ceil((until - task.arrival) / task.period))
        if total > MOST_JOBS:
            raise fault(where, task.period, f"makes more than {MOST_JOBS} jobs", "a nearer horizon")
    _check_job_names(taskset, path)


def _check_job_names(taskset: TaskSet, path: str) -> None:
    """A task may be called like a job of a periodic one: "A#1" beside "A"."""
    if not any("#" in task.name for task in taskset.tasks):
        return
    periodic = {task.name for task in taskset.tasks if task.period is not None}
    for place, task in enumerate(taskset.tasks):
        base, _, number = task.name.rpartition("#")
        if base in periodic and number.isdecimal():
            where = f"{path}.tasks[{place}].name"
            raise fault(where, task.name, f"is the name of a job of {quoted(base)}", "it another one")


def _check_expectation(expected: Expectation, path: str, processors: int) -> None:
    for place, piece in enumerate(expected.slices or ()):
        where = f"{path}.expected[{place}]"
        _check_time(piece.start, f"{where}[0]")
        _check_time(piece.end, f"{where}[1]")
        if piece.end <= piece.start:
            raise fault(f"{where}[1]", piece.end, "is not after the start", "the end of the slice")
        if not 0 <= piece.processor < processors:
            raise fault(f"{where}[3]", piece.processor, "is no processor", f"0 to {processors - 1}")
    for where, value in _expected_times(expected, path):
        _check_time(value, where)


def _expected_times(expected: Expectation, path: str) -> Iterator[tuple[str, Time | None]]:
    for name, value in (expected.finish or {}).items():
        yield f"{path}.finish[{quoted(name)}]", value
    for place, (_, deadline, finish) in enumerate(expected.misses or ()):
        yield f"{path}.misses[{place}][1]", deadline
        yield f"{path}.misses[{place}][2]", finish
    for place, event in enumerate(expected.events or ()):
        yield f"{path}.events[{place}][0]", event.at
    if expected.deadlock is not None:
        yield f"{path}.deadlock.at", expected.deadlock.at
