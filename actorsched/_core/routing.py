"""Which member of a pool gets a message.

The law of this module: given how many members there are, how loaded each is and the message's key, it names
an index. What a member is, and what its load is made of, is the pool's affair.

How it works:

* `RoundRobin` counts.
* `LeastLoaded` asks for each load and takes the least; ties go to the lowest index, so that a pool with
  little to do keeps the same members warm.
* `ByKey` sends equal keys to the same member, in every process and every run. A key is written down as bytes,
  hashed with CRC-32 (Python's own `hash` differs from run to run) and mixed, and the member is found with
  "jump" consistent hashing (Lamping and Veach, 2014): it needs no memory, spreads keys evenly, and when a
  pool grows from n to n + 1 members only one key in n + 1 moves, each to the new member. It suits members
  that are numbered and change at the end. A ring of hashed points, which could lose members in the middle,
  spreads keys less evenly and costs memory: here a member that dies restarts under its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, cast
from zlib import crc32

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ByKey", "LeastLoaded", "RoundRobin", "Router", "Routing", "router", "stable_hash"]

Routing: TypeAlias = Literal["round_robin", "least_loaded", "by_key"]

_64_BITS: Final = (1 << 64) - 1


class Router(Protocol):
    """How a pool chooses."""

    def choose(self, size: int, load: Callable[[int], float], key: object, /) -> int:
        """Return the index of the chosen member.

        Args:
            size: How many members there are.
            load: Returns the load of a member by index; more is busier.
            key: The message's key; only `ByKey` looks at it.

        Raises:
            ValueError: There are no members.
            TypeError: The key cannot be hashed the same way everywhere.
        """
        ...


class RoundRobin:
    """Each in turn, beginning with the first."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def __repr__(self) -> str:
        return f"<RoundRobin, next {self._next}>"

    def choose(self, size: int, _load: Callable[[int], float], _key: object) -> int:
        """Return the next index; the first, if the pool has shrunk below it."""
        _some(size)
        index = self._next if self._next < size else 0
        self._next = index + 1
        return index


class LeastLoaded:
    """Whoever has least to do; the first of them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<LeastLoaded>"

    def choose(self, size: int, load: Callable[[int], float], _key: object) -> int:
        """Return the index with the least load, the lowest of several."""
        _some(size)
        return min(range(size), key=load)


class ByKey:
    """Equal keys to the same member."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<ByKey>"

    def choose(self, size: int, _load: Callable[[int], float], key: object) -> int:
        """Return the index that belongs to the key."""
        _some(size)
        return _jump(stable_hash(key), size)


def router(routing: Routing) -> Router:
    """Return a new router by its name.

    Raises:
        ValueError: There is none of this name.
    """
    kinds: dict[str, type[RoundRobin | LeastLoaded | ByKey]] = {
        "round_robin": RoundRobin,
        "least_loaded": LeastLoaded,
        "by_key": ByKey,
    }
    if routing not in kinds:
        raise ValueError(
            f"routing={shown(routing)} is not a choice; choose from {', '.join(map(repr, kinds))}"
        )
    return kinds[routing]()


def stable_hash(key: object) -> int:
    """Return 64 bits that depend on the key alone: the same in every process, run and machine.

    Keys that are equal to Python (1, 1.0 and True) are equal here too.

    Args:
        key: A str, bytes, int, float or None, or a tuple of such keys, nested at will.

    Raises:
        TypeError: It is, or contains, something else, whose hash could change from run to run.
    """
    mixed = (crc32(_written(key)) + 0x9E3779B97F4A7C15) & _64_BITS  # the finaliser of SplitMix64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return mixed ^ (mixed >> 31)


def _written(key: object) -> bytes:
    """Return bytes that differ for keys that differ: a letter for the kind, then the value."""
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, int):
        return b"i%d" % key
    if isinstance(key, float):
        return b"i%d" % int(key) if key.is_integer() else b"f" + key.hex().encode()
    if key is None:
        return b"n"
    if isinstance(key, tuple):
        parts = [_written(part) for part in cast("tuple[object, ...]", key)]
        return b"t" + b"".join(b"%d:%b" % (len(part), part) for part in parts)
    raise TypeError(
        f"the routing key {shown(key)} is of type {type(key).__name__}, whose hash could change from run "
        "to run; give a str, bytes, int, float or None, or a tuple of these"
    )


def _jump(key: int, size: int) -> int:
    """Return the bucket of a 64-bit key among `size`, by jump consistent hashing."""
    bucket, jump = -1, 0
    while jump < size:
        bucket = jump
        key = (key * 2862933555777941757 + 1) & _64_BITS
        jump = int((bucket + 1) * (1 << 31) / ((key >> 33) + 1))
    return bucket


def _some(size: int) -> None:
    if size < 1:
        raise ValueError("there is nobody to route to: the pool has no members; give it at least one")
