"""Every choice of a simulated run, from one source: seeded, recorded, and replayed.

The law of this module: it is pure, and knows nothing of what is chosen. A choice is a number below the number
of possibilities, and 0 always means what would happen without a simulation: first come first served, no
delay, no fault. So the run of which all choices are 0 is the plainest, and a failure is made shorter by
making more of its choices 0.

A *seed* is a number, from which all choices are drawn; or a text such as "s:17:12.1,45.3", which a failure is
shrunk to: choice number 12 is 1, number 45 is 3, all others are 0, and what draws from `random` sees that of
seed 17. Choices are numbered in the order in which they are made. Where there is one possibility only,
nothing is chosen.

How bold a seeded run is depends on its seed: some change little of the plain order, which finds what needs
one unlucky moment; some choose at random throughout; and some keep a random order of precedence among the
tasks of the loop, in which the first falls to the last place now and then (probabilistic concurrency
testing: Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS
2010). That finds what needs one task to be left behind for long.

Numbers are drawn with `Random.random` only, whose sequence Python promises to keep for a seed.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, Protocol, TypeAlias

from actorsched.exceptions import shown

Seed: TypeAlias = "int | str"
"""A number, or the text of a shrunk run."""

_GRAINS: Final = 1 << 16
"""How fine fractions are."""
_BOLDNESS: Final = (0.02, 0.1, 0.3, 1.0)
"""How many of the choices of a run are made at random, at most."""
_FALLS: Final = 0.02
"""How often the first in the order of precedence falls to the last place."""
_TEXT: Final = re.compile(r"s:(\d+):((?:\d+\.\d+(?:,\d+\.\d+)*)?)")


class Source(Protocol):
    """Where choices come from."""

    def pick(self, count: int) -> int:
        """A number from 0 to `count - 1`; `count` is 2 or more."""
        ...

    def choose(self, members: Sequence[int]) -> int:
        """The index of one of two or more members, which are known by their numbers, in plain order."""
        ...

    def chance(self, probability: float) -> int:
        """1 with this probability, 0 otherwise."""
        ...


class Seeded:
    """Choices drawn from a number."""

    __slots__ = ("_boldness", "_draw", "_lowest", "_ranks")

    def __init__(self, seed: int) -> None:
        self._draw: Callable[[], float] = Random(seed).random
        style = int(self._draw() * (len(_BOLDNESS) + 2))
        self._boldness: float = _BOLDNESS[min(style, len(_BOLDNESS) - 1)]
        self._ranks: dict[int, float] | None = {} if style >= len(_BOLDNESS) else None
        self._lowest = 0.0

    def pick(self, count: int) -> int:
        """A number from 0 to `count - 1`."""
        draw = self._draw
        return int(draw() * count) if self._boldness == 1 or draw() < self._boldness else 0

    def chance(self, probability: float) -> int:
        """1 with this probability, however bold the run is."""
        return int(self._draw() < probability)

    def choose(self, members: Sequence[int]) -> int:
        """The index of a member."""
        ranks = self._ranks
        if ranks is None:
            return self.pick(len(members))
        draw = self._draw
        for member in members:
            if member not in ranks:
                ranks[member] = draw()
        first = max(range(len(members)), key=lambda index: ranks[members[index]])
        if draw() < _FALLS:
            ranks[members[first]] = self._lowest = self._lowest - 1
        return first


class Replayed:
    """Choices as they were made before; those that were not are 0."""

    __slots__ = ("_next", "_values")

    def __init__(self, values: Mapping[int, int]) -> None:
        self._values = values
        self._next = 0

    def pick(self, count: int) -> int:
        """A number from 0 to `count - 1`."""
        value = self._values.get(self._next, 0)
        self._next += 1
        return min(value, count - 1)

    def choose(self, members: Sequence[int]) -> int:
        """The index of a member."""
        return self.pick(len(members))

    def chance(self, probability: float) -> int:
        """1 if it was so then."""
        return self.pick(2)


class Drawn:
    """Choices that somebody else makes, as far as they go; all others are 0."""

    __slots__ = ("_draw", "_left")

    def __init__(self, draw: Callable[[int], int], most: int) -> None:
        self._draw = draw
        self._left = most

    def pick(self, count: int) -> int:
        """A number from 0 to `count - 1`."""
        if not self._left:
            return 0
        self._left -= 1
        value = self._draw(count - 1)
        if not 0 <= value < count:
            raise ValueError(
                f"draw({count - 1}) answered {value!r}; answer with a number from 0 to {count - 1}"
            )
        return value

    def choose(self, members: Sequence[int]) -> int:
        """The index of a member."""
        return self.pick(len(members))

    def chance(self, probability: float) -> int:
        """Whether it happens, however probable it is."""
        return self.pick(2)


class Choices:
    """The choices of one run.

    Args:
        source: Where they come from.
        base: The seed of what draws from `random`.

    Attributes:
        made: What was chosen, in order.
    """

    __slots__ = ("_source", "base", "made")

    def __init__(self, source: Source, base: int = 0) -> None:
        self._source = source
        self.base: int = base
        self.made: array[int] = array("I")

    def __repr__(self) -> str:
        return f"<{len(self.made)} choices of {type(self._source).__name__}, base {self.base}>"

    def pick(self, count: int) -> int:
        """One of so many possibilities.

        Returns:
            A number from 0 to `count - 1`.
        """
        if count < 2:
            return 0
        value = self._source.pick(count)
        self.made.append(value)
        return value

    def choose(self, members: Sequence[int]) -> int:
        """One of these, which are known by their numbers, in plain order.

        Returns:
            Its index.
        """
        if len(members) < 2:
            return 0
        value = self._source.choose(members)
        self.made.append(value)
        return value

    def chance(self, probability: float) -> bool:
        """Whether something happens that is so probable; plainly, it does not."""
        value = self._source.chance(probability)
        self.made.append(value)
        return value == 1

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self.pick(_GRAINS) / _GRAINS

    def unusual(self) -> dict[int, int]:
        """The choices that are not 0, by their numbers."""
        return {number: value for number, value in enumerate(self.made) if value}


def choices_of(seed: Seed) -> Choices:
    """The choices of a seed.

    Raises:
        TypeError: It is neither an int nor a text.
        ValueError: It is no seed.
    """
    if isinstance(seed, int) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"seed={seed} is negative; give 0 or more")
        return Choices(Seeded(seed), seed)
    if not isinstance(seed, str):
        raise TypeError(
            f"seed={shown(seed)} is of type {type(seed).__name__}; give an int, or a text as printed"
        )
    if seed.isdecimal():
        return choices_of(int(seed))
    match = _TEXT.fullmatch(seed)
    if match is None:
        raise ValueError(f"seed={seed!r} is no seed; give a number, or a text such as 's:17:12.1,45.3'")
    pairs = [each.split(".") for each in match[2].split(",") if each]
    return Choices(Replayed({int(number): int(value) for number, value in pairs}), int(match[1]))


def text_of(base: int, values: Mapping[int, int]) -> str:
    """The seed that replays these choices."""
    pairs = ",".join(f"{number}.{value}" for number, value in sorted(values.items()) if value)
    return f"s:{base}:{pairs}"
