"""In which order prepared tasks can be submitted, and whether they can be at all.

The law of this module: questions about a graph that is complete before anything runs. What happens at run
time, when one upstream task after another settles, is a conversation between tasks and none of its business.

How it works: a depth-first walk along the upstream edges, on a stack of its own, because a chain of prepared
tasks may well be deeper than Python's recursion limit. A node that is met again while it is still on the path
closes a circle, and the path since then is the circle. Ties follow the order of mention; nothing hangs on
sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from actorsched.exceptions import ChainTooLong, DependencyCycle

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

__all__ = ["CHAIN_LIMIT", "check_chain", "submission_order"]

CHAIN_LIMIT: Final = 15
"""How many tasks a chain may have."""

_Node = TypeVar("_Node", bound="Hashable")


def submission_order(
    targets: Iterable[_Node],
    upstream: Callable[[_Node], Iterable[_Node]],
    name: Callable[[_Node], str] = str,
) -> tuple[_Node, ...]:
    """Return the targets and all that they depend on, each once, and after everything that it depends on.

    Args:
        targets: What is wanted; where dependencies leave a choice, in this order.
        upstream: What a node depends on; called once for each.
        name: How a node is called in the error.

    Raises:
        DependencyCycle: Some of them depend on each other in a circle, which its `path` names.
    """
    order, circle = _walk(targets, upstream)
    if circle:
        path = [name(node) for node in circle]
        raise DependencyCycle(
            "these tasks depend on each other in a circle, so none of them could ever start: "
            f"{' -> '.join(path)}; nothing was submitted; take one of these dependencies out",
            path=path,
        )
    return tuple(order)


def check_chain(names: Sequence[str]) -> None:
    """Refuse a chain that has no tasks, or too many.

    Raises:
        ValueError: It has none.
        ChainTooLong: It has more than `CHAIN_LIMIT`.
    """
    length = len(names)
    if not length:
        raise ValueError("a chain without tasks has no result; give TaskChain at least one Task")
    if length > CHAIN_LIMIT:
        raise ChainTooLong(
            f"a chain of {length} tasks, from {names[0]!r} to {names[-1]!r}, was refused: a chain may have "
            f"at most {CHAIN_LIMIT}; nothing was submitted; split it, and give the first task of one part "
            "the ref of the other",
            length=length,
            limit=CHAIN_LIMIT,
        )


def _walk(
    targets: Iterable[_Node], upstream: Callable[[_Node], Iterable[_Node]]
) -> tuple[list[_Node], list[_Node]]:
    """Return the nodes in order, and the first circle that was met (then the order is incomplete)."""
    order: list[_Node] = []
    finished: set[_Node] = set()
    path: dict[_Node, Iterator[_Node]] = {}  # each node under way, with what is left of its upstream
    for target in targets:
        if target not in finished:
            path[target] = iter(upstream(target))
        while path:
            node, remaining = next(reversed(path.items()))
            following = next((other for other in remaining if other not in finished), None)
            if following is None:
                del path[node]
                finished.add(node)
                order.append(node)
            elif following in path:
                circle = list(path)
                return order, [*circle[circle.index(following) :], following]
            else:
                path[following] = iter(upstream(following))
    return order, []
