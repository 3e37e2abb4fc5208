"""Contexts of variables: which of them hold the very same ones.

A context refers to one table of variables. The table is never changed but replaced, and copies of a context
share it until then. So two contexts that have the same table are interchangeable, and finding that out costs
less than giving each message a context of its own.

To compare contexts by `==` would be quicker still, and wrong: two senders may hold different baskets that are
both empty, and each wants its own to be filled.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from gc import get_referents
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PROBE: ContextVar[object] = ContextVar("actorsched_probe")


def _tables_are_seen() -> bool:
    """Whether contexts look in this interpreter as they do in those that we know."""
    context = copy_context()
    changed = context.copy()
    changed.run(_PROBE.set, None)
    tables = get_referents(context, context.copy(), changed)
    return (
        len(tables) == 3
        and tables[0] is tables[1] is not tables[2]
        and context.run(get_referents, context)[-1] is tables[0]
    )


def _tables_of_nobody(*contexts: object) -> list[Any]:
    """Tables that no two contexts share."""
    return [object() for _ in contexts]


tables_of: Callable[..., list[Any]] = get_referents if _tables_are_seen() else _tables_of_nobody
"""The tables of contexts, in order. Before that of an entered one stands the context entered before it."""
