"""A policy of a user's own, so called that what goes wrong in it can be found.

A policy that raises, or answers with what cannot be, ends the runtime: who runs next is not known any more,
and nobody is to wait for ever. The error says then which policy it was, of which pool, and what it was asked;
otherwise it would look like a bug of ours. The policies that come with us are called directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from actorsched._core.policies import SchedulingPolicy

_OURS = "actorsched._core.policies."


class Guarded:
    """A policy from outside.

    Args:
        policy: The policy.
        where: What it decides about, for people.
        runs: Tells whether a task is one that the policy may take off its worker; None where it never does.
    """

    __slots__ = ("_policy", "_runs", "_where")

    def __init__(
        self, policy: SchedulingPolicy[Any], where: str, runs: Callable[[object], bool] | None
    ) -> None:
        self._policy = policy
        self._where = where
        self._runs = runs

    def __repr__(self) -> str:
        return repr(self._policy)

    def __getattr__(self, name: str) -> Any:
        """What else it has is its own affair."""
        return getattr(self._policy, name)

    def __len__(self) -> int:
        return int(self._ask("__len__"))

    def pop(self, now: float) -> Any:
        """Take out the next task. It is asked only when there is one."""
        task = self._ask("pop", now)
        if task is None:
            self._blame("pop", RuntimeError("it says that somebody is in the queue, and names nobody"))
        return task

    def victim(self, now: float) -> Any:
        """Whoever has to make room; it is one that runs."""
        return self._running("victim", self._ask("victim", now))

    def expired(self, now: float) -> Iterable[Any]:
        """Those whose turn is over; they run."""
        return [self._running("expired", task) for task in self._ask("expired", now)]

    def _running(self, verb: str, task: Any) -> Any:
        if task is not None and self._runs is not None and not self._runs(task):
            self._blame(verb, RuntimeError(f"it names {shown(task)}, which does not run here"))
        return task

    def _ask(self, verb: str, *args: Any) -> Any:
        try:
            return getattr(self._policy, verb)(*args)
        except Exception as error:
            self._blame(verb, error)

    def _blame(self, verb: str, error: Exception) -> None:
        error.add_note(
            f"this came from the policy {shown(self._policy)} of {self._where}, in {verb}(); mend it: "
            "a policy that fails in the middle of a decision ends the runtime"
        )
        raise error


def _asking(verb: str) -> Callable[..., Any]:
    def ask(self: Guarded, *args: Any) -> Any:
        return self._ask(verb, *args)

    ask.__name__ = verb
    return ask


for _verb in (
    *("push", "put_back", "peek", "remove", "drain", "order", "started", "stopped", "changed"),
    *("alarm", "admit", "forget", "urgency", "describe"),
):
    setattr(Guarded, _verb, _asking(_verb))


def guarded(
    policy: SchedulingPolicy[Any], where: str, runs: Callable[[object], bool] | None = None
) -> SchedulingPolicy[Any]:
    """The policy itself if it is one of ours; otherwise the same, guarded."""
    if type(policy).__module__.startswith(_OURS):
        return policy
    return cast("SchedulingPolicy[Any]", Guarded(policy, where, runs))
