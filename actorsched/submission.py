"""From prepared tasks and chains to what is spawned: in which order, and with which arguments.

Nothing is submitted here. A prepared task may depend on others, by standing in their arguments, in `after`,
or as the next link of a chain; all of them are put into an order in which each comes after what it needs,
or refused together when they form a circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched._core.dependencies import submission_order
from actorsched.task import Task, TaskChain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched.options import TaskOptions


class Link:
    """A prepared task, and the one before it in its chain, if any."""

    __slots__ = ("before", "task")

    def __init__(self, task: Task[Any], before: Task[Any] | None = None) -> None:
        self.task: Task[Any] = task
        self.before: Task[Any] | None = before

    def __repr__(self) -> str:
        return f"<link {self.task!r} after {self.before!r}>"

    def upstream(self) -> list[Task[Any]]:
        """The prepared tasks that it depends on and that are not submitted yet."""
        task = self.task
        named = [*task.args, *task.kwargs.values(), *task.options.after]
        if self.before is not None:
            named.append(self.before)
        return [other for other in named if isinstance(other, Task) and other.ref is None]

    def args(self) -> tuple[Any, ...]:
        """Its positional arguments: the result of the task before it comes first, unless it has a name."""
        if self.before is None or self.task.arg_deps:
            return self.task.args
        return (self.before, *self.task.args)

    def kwargs(self) -> Mapping[str, object]:
        """Its keyword arguments, the named result of the task before it among them."""
        if self.before is None or not self.task.arg_deps:
            return self.task.kwargs
        return {**self.task.kwargs, self.task.arg_deps[0]: self.before}

    def options(self) -> TaskOptions:
        """What it is spawned with."""
        kwargs = self.kwargs()
        options = self.task.options
        return options if kwargs is options.kwargs else options.replace(kwargs=kwargs)


def submission(prepared: Task[Any] | TaskChain) -> list[Link]:
    """What to spawn for a prepared task or chain, in order; the last is the one that was asked for.

    Raises:
        DependencyCycle: Some of the tasks depend on each other in a circle.
        TypeError: It is neither a task nor a chain.
        ValueError: It was submitted before.
    """
    if isinstance(prepared, Task):
        tasks: tuple[Task[Any], ...] = (prepared,)
    elif isinstance(prepared, TaskChain):
        tasks = prepared.tasks
    else:
        raise TypeError(
            f"{prepared!r} is neither a Task nor a TaskChain; functions are spawned, not submitted"
        )
    links = {id(task): Link(task, before) for task, before in zip(tasks, (None, *tasks), strict=False)}
    for task in tasks:
        if task.ref is not None:
            raise ValueError(f"task {task.name!r} was submitted before; make another Task to run it again")

    def link(task: Task[Any]) -> Link:
        return links.setdefault(id(task), Link(task))

    order = submission_order(
        [link(task) for task in tasks],
        lambda node: [link(task) for task in node.upstream()],
        lambda node: node.task.name,
    )
    return list(order)
