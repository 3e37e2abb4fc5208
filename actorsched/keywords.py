"""The keyword options of `spawn` and its relatives, as type checkers see them.

The law of this module: types only. What an option means and how it is checked when it arrives is said in
`options`; a test holds the names there and here to one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from actorsched.durations import Duration
    from actorsched.options import ActorHost, Mailbox, Restart, Retry, TaskHost, UpstreamFailure
    from actorsched.task import Task, TaskRef


class TaskKeywords(TypedDict, total=False):
    """The options of a task."""

    name: str | None
    description: str | None
    tags: Iterable[str]
    metadata: Mapping[str, object]
    priority: int
    after: Iterable[TaskRef[Any] | Task[Any]]
    host: TaskHost | None
    timeout: Duration | None
    retry: Retry | int
    tag: str | None
    abandon_on_cancel: bool
    on_upstream_failure: UpstreamFailure


class TaskKeywordsWithArguments(TaskKeywords):
    """The options of a task whose function gets keyword arguments, which no type checker can follow."""

    kwargs: Required[Mapping[str, object]]


class ActorKeywords(TypedDict, total=False):
    """The options of an actor."""

    name: str | None
    restart: Restart
    host: ActorHost | None
    mailbox: Mailbox | None


class ActorKeywordsWithArguments(ActorKeywords):
    """The options of an actor whose constructor gets keyword arguments, which no type checker can follow."""

    kwargs: Required[Mapping[str, object]]
