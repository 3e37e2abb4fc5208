"""A runtime as a tree that can be walked and printed: `rt.tree()`.

The law of this module: a value, and nothing else. Where it comes from is the business of `survey`, how it is
drawn that of `drawing`.

How it works: a `Tree` is a node with its children, so that each part of it can be printed and searched like
the whole. Its `details` are plain values, by names that depend on its kind. A list that is long is cut, and
its node knows by how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

__all__ = ["NodeKind", "Tree"]

NodeKind = Literal[
    "runtime",
    "supervisor",
    "scope",
    "actor",
    "pools",
    "pool",
    "hosts",
    "host pool",
    "actor hosts",
    "host",
    "resident",
    "spawner",
]


class Tree(msgspec.Struct, frozen=True):
    """What there is in a runtime, or a part of it. As text, a drawing for a terminal of 80 columns.

    Attributes:
        kind: What stands here: "runtime", "supervisor" (the root supervisor of actors), "scope", "actor",
            "pools" and "pool" (of slots for tasks), "hosts", "host pool" (the supervisor of the hosts of one
            pool), "actor hosts" (that of the hosts for actors), "host", "resident" (an actor in a host) or
            "spawner" (the process that hosts are forked from).
        name: Its name.
        details: What else there is to say, by kind; only what is known. Times are in seconds, memory in
            bytes.
        children: What stands under it.
        cut: How many more children there are, which are not listed.
    """

    kind: NodeKind
    name: str
    details: Mapping[str, Any] = {}
    children: tuple[Tree, ...] = ()
    cut: int = 0

    def __str__(self) -> str:
        return self.drawn()

    def drawn(self, width: int = 80) -> str:
        """Draw it with box characters.

        Args:
            width: How many columns there are. Long names, and what is deep within, may need more.
        """
        from actorsched.drawing import draw

        return draw(self, width)

    def walk(self) -> Iterator[Tree]:
        """Yield every node, each before its children, in the order of the drawing."""
        waiting: list[Tree] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)

    def find(self, kind: NodeKind) -> list[Tree]:
        """All nodes of a kind, in the order of the drawing."""
        return [node for node in self.walk() if node.kind == kind]
