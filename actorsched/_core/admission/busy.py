"""How long a processor is busy: with the work that there is, and with all that comes until it is done.

The law of this module: one recurrence, for every policy that never leaves a processor idle while there is
work. All times are from now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, inf
from typing import Any, NamedTuple

from actorsched._core.admission.claims import EPSILON, Claim, slop

__all__ = ["ROUNDS", "Comer", "busy", "comers", "share"]

# How many steps are taken until a busy period is thought to have no end.
ROUNDS = 10_000


class Comer(NamedTuple):
    """Jobs that are still to come: the first at `release`, a time from now, and one every period."""

    claim: Claim[Any]
    release: float
    period: float


def comers(claims: Iterable[Claim[Any]], now: float) -> list[Comer]:
    """Return what is still to come of all that have periods."""
    return [Comer(each, each.next_release(now) - now, each.period) for each in claims if each.period]


def share(coming: Iterable[Comer]) -> float:
    """Return how many processors it takes in the long run to do all that comes."""
    return fsum(comer.claim.cost / comer.period for comer in coming)


def busy(work: float, coming: Sequence[Comer], since: float, now: float) -> float:
    """Return the least time that is enough for the work, and for all that comes before that time.

    Infinite if there is none, or none was found within `ROUNDS` steps.

    Args:
        work: What there is to do at first.
        coming: What comes.
        since: A time that is known not to be enough, or 0.
        now: The present time, to which the others are relative: it says how precise they are.
    """
    if since == inf:
        return inf
    end = max(since, work)
    # By any time w there comes at least `gain * w + head` more than can be done.
    gain = share(coming) - 1
    head = work - fsum(comer.claim.cost * comer.release / comer.period for comer in coming)
    for _ in range(ROUNDS):
        tolerance = slop(now, end)
        if gain > -EPSILON and gain * end + head > tolerance:
            return inf
        done = work
        for claim, release, period in coming:
            waited = end - release - tolerance
            if waited > 0:
                done -= claim.cost * int(-waited // period)
        if done <= end + tolerance:
            return done
        end = done
    return inf
