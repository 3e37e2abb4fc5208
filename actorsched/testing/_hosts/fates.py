"""What a world decides about hosts, besides how long things take.

The law of this module: it is a port. When a host is about to hear a frame, or has just said one, the world is
asked what becomes of the host at this very moment. A host that crashes or hangs when it is about to hear a
frame never hears it; one that does as it says a frame has not said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from actorsched._hosting.wire import Frame
    from actorsched.testing._hosts.host import SimulatedHost

Fate: TypeAlias = Literal["crash", "hang"] | tuple[Literal["suspend", "lag"], float] | None
"""What becomes of a host: it crashes; it hangs; it is suspended for so many seconds; this frame, and all
behind it, comes so many seconds later; or nothing does."""


class FatefulWorld(Protocol):
    """What hosts and threads ask of their world."""

    @property
    def fate(self) -> Any:
        """Called with a host, a frame, and whether the host says that or hears it; answers with a `Fate`."""
        ...

    def lag(self, what: str, /) -> float:
        """By how many seconds something comes later than at once."""
        ...

    def note(self, kind: str, text: str, /) -> None:
        """Write a line of the event log."""
        ...


def fate_of(world: FatefulWorld, host: SimulatedHost, frame: Frame, *, outward: bool) -> Fate:
    """What becomes of a host at this frame."""
    fate: Fate = world.fate(host, frame, outward)
    return fate
