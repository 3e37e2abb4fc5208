"""Which host takes one more actor: one that there is, or another that is started for it.

The law of this module: it decides, from what is known at this moment, and keeps nothing. It never looks at
the machine, starts a host or moves anybody in; `ActorHosts` does.

How it works, in the order of the questions:

1. *Is no host open?* Another one is started: an actor has to live somewhere. A host is open unless it is
   being given up, or nobody knows whether it still runs; one that is not takes nobody in, and does not count
   towards `max`.
2. *Is one empty?* It takes the actor.
3. *May there be more, and is a core free?* Another one is started. A core is free by the latest sample: those
   that may be used, less what others use, less what the runtime's hosts use, where each with something to do
   counts as one core at least. An actor stays where it is placed, and may compute later what it does not
   compute now; that is why the actor hosts that there are count as hosts with something to do. Where nobody
   has looked at the machine lately, nothing is held against another host. Memory must not be short either.
   One that takes the place of a host that has died, or is given up, takes its processor too, and needs none
   that is free: otherwise a moment in which the machine is busy would crowd all into fewer hosts, for ever.
4. Otherwise the host with the least *burden* takes it.

The burden is the number of actors, and one more for each call in progress: those wait for one another's
steps in one event loop. A loop that is busy all the time makes each of them wait, so a core in use by the
latest sample counts as `HEAVY` actors. One number rather than a rank of criteria: between two samples many
may move in, and they must not all be sent where the sample saw nothing to do. Ties are broken by the least
resident memory, then by age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from actorsched._core.scaling import NEEDED, is_short_of_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorsched._core.load import LoadSample

__all__ = ["HEAVY", "Enter", "Home", "Place", "Start", "lightest", "place"]

HEAVY: Final = 8
"""As many actors weigh as much as a core in use."""


class Home(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One actor host.

    Attributes:
        actors: How many actors live in it.
        calls: How many of their handlers are in progress.
        cpu: The cores that it used by the latest sample; None if unknown.
        rss: Its resident memory in bytes; None if unknown.
        open: Whether it may take actors in: it is not given up, and known to run.
    """

    actors: int = 0
    calls: int = 0
    cpu: float | None = None
    rss: int | None = None
    open: bool = True

    @property
    def burden(self) -> float:
        """How much there is to do, in actors."""
        return self.actors + self.calls + HEAVY * (self.cpu or 0.0)


class Enter(msgspec.Struct, frozen=True, gc=False):
    """Move in there: the index of the host."""

    index: int


class Start(msgspec.Struct, frozen=True, gc=False):
    """Start another host for it."""


Place: TypeAlias = Enter | Start

_START: Final = Start()


def place(
    homes: Sequence[Home], most: int, sample: LoadSample | None = None, busy: int = 0, *, owed: bool = False
) -> Place:
    """Tell where one more actor is to live.

    Args:
        homes: The actor hosts, the oldest first.
        most: How many open ones there may be.
        sample: The latest look at the machine; None if there was none lately.
        busy: How many hosts of tasks have something to do.
        owed: Whether a host with actors has gone, and none has taken its place.
    """
    best = lightest(homes)
    if best is None:
        return _START
    opened = sum(home.open for home in homes)
    if homes[best].actors and opened < most and (owed or _may_start(opened + busy, sample)):
        return _START
    return Enter(best)


def lightest(homes: Sequence[Home]) -> int | None:
    """Return the index of the open host with the least burden, an empty one first; None if none is open."""
    choice = [index for index, home in enumerate(homes) if home.open]
    return min(choice, key=lambda index: _rank(homes[index]), default=None)


def _rank(home: Home) -> tuple[bool, float, int]:
    return home.actors > 0, home.burden, home.rss or 0


def _may_start(claimed: int, sample: LoadSample | None) -> bool:
    """Return whether the machine has room for one more host."""
    if sample is None or sample.others is None:
        return True
    free = sample.cores - sample.others - max(sample.host_cores, claimed)
    return free >= NEEDED and not is_short_of_memory(sample)
