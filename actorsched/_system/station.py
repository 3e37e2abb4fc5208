"""One place in a line where work is done: what is done there, and the window onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from actorsched._core.window import Entry, OrderedWindow, UnorderedWindow, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._core.behaviour import Reply
    from actorsched.options import TaskOptions

Results: TypeAlias = Literal["one", "several", "emitted"]


class Station:
    """One place in the line where work is done.

    Args:
        function: What each task runs. That it takes what it is given was checked.
        options: The options of each task.
        host: Where each task runs. That it can was checked.
        workers: How many items may be worked on at once.
        capacity: How many of those and of the results that nobody has taken there may be.
        ordered: Whether results leave in the order of the items.
        results: What becomes of a task's result: it is one, it is several, or the task itself hands them on
            one by one, with `emit`, and gets the line, the station and its entry as arguments.
        on_failure: Told of an item that failed. Answers with the error that ends the stream at its place, or
            None to go on without the item.
    """

    __slots__ = ("emitters", "function", "host", "on_failure", "options", "results", "window")

    def __init__(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        host: str,
        *,
        workers: int,
        capacity: int,
        ordered: bool = True,
        results: Results = "one",
        on_failure: Callable[[Entry, BaseException], BaseException | None] | None = None,
    ) -> None:
        self.function: Callable[..., Any] = function
        self.options: TaskOptions = options
        self.host: str | None = None if host == "auto" else host
        """Where each task runs; None where that is found out for each."""
        self.results: Results = results
        self.on_failure: Callable[[Entry, BaseException], BaseException | None] | None = on_failure
        self.window: Window = (OrderedWindow if ordered else UnorderedWindow)(workers, capacity)
        self.emitters: dict[Entry, Reply] = {}

    def __repr__(self) -> str:
        return f"<station {self.options.name!r}: {self.window!r}>"
