"""What always holds, said so that it can be checked.

The law of this module: it compares, and changes nothing. Whatever has state here and in the system has a
`check` that says in sentences what always holds of it; this is how a sentence is said.

Nobody checks anything in an ordinary run. A simulation does after each message, and so do the tests.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FEW", "InvariantBroken", "require"]

FEW: Final = 64
"""Of so many things, at most, each is looked at by a `check` that is otherwise as quick for a million."""


class InvariantBroken(AssertionError):
    """What always holds of an actor of the system does not: a bug of ours, found by a simulation."""


def require(condition: object, actor: object, sentence: str) -> None:
    """An invariant, in the `check` of an actor.

    Raises:
        InvariantBroken: It does not hold.
    """
    if not condition:
        raise InvariantBroken(f"{actor!r}: {sentence}")
