"""From what a user says to a policy: its name, or a policy itself. A policy is imported when it is named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorsched._core.policies import SchedulingPolicy

HOMES: Final[Mapping[str, tuple[str, str]]] = {
    "priority": ("priority", "FixedPriority"),
    "edf": ("edf", "Edf"),
    "fair": ("fair", "Fair"),
    "realtime": ("realtime", "Realtime"),
}
"""The names of the policies, with the module and the class of each."""

_VERBS: Final = (
    *("fresh", "push", "put_back", "peek", "pop", "remove", "drain", "order", "__len__"),
    *("started", "stopped", "changed", "expired", "victim", "alarm"),
    *("admit", "forget", "urgency", "describe"),
)


def policy_of(value: object, field: str = "policy") -> SchedulingPolicy[Any]:
    """The policy that a value means.

    Raises:
        ValueError: It is the name of none.
        TypeError: It is neither a name nor a policy.
    """
    names = ", ".join(map(repr, HOMES))
    if isinstance(value, str):
        if value not in HOMES:
            raise ValueError(f"{field}={value!r} is not known; choose from {names}, or give a policy object")
        module, name = HOMES[value]
        made: SchedulingPolicy[Any] = getattr(import_module(f"actorsched._core.policies.{module}"), name)()
        return made
    if isinstance(value, type):
        raise TypeError(f"{field}={shown(value)} is a class; give a policy made of it: {value.__name__}()")
    missing = [verb for verb in _VERBS if not callable(getattr(type(value), verb, None))]
    if missing:
        raise TypeError(
            f"{field}={shown(value)} is no scheduling policy, being without {', '.join(missing)}; "
            f"choose from {names}, or extend actorsched.policies.Policy"
        )
    policy: Any = value
    return policy  # type: ignore[no-any-return]  # it has all the verbs
