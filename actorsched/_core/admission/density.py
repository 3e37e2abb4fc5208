"""May a set of tasks be taken under earliest deadline first on several processors? By their densities.

The law of this module: one formula, and what it takes to apply it to tasks that have begun.

The density of a job is what it needs, by the time that it has for it. On m processors, whenever the
densities of all jobs that are there at any time add up to no more than

    m - (m - 1) * the greatest of them,

none is late (Goossens, Funk, Baruah, "Priority-driven scheduling of periodic task systems on
multiprocessors", Real-Time Systems 25, 2003). Without the second term, a few small tasks could keep one busy
that needs a processor of its own (Dhall, Liu, "On a real-time scheduling problem", Operations Research 26,
1978). The condition is sufficient, not necessary. As long as there are no more tasks than processors, none
has to wait, and it is not needed.

One that should have ended already comes first, and keeps one processor: the others have one less. Where
tasks are not preemptible, everyone is counted as if due earlier by the longest of them (Baruah, "The
non-preemptive scheduling of periodic tasks upon multiprocessors", Real-Time Systems 32, 2006).

Densities change with time, so all of them are looked at each time: a decision takes time proportional to the
number of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from actorsched._core.admission.claims import EPSILON, Claim, figure

__all__ = ["density", "too_dense"]


def too_dense(claims: Sequence[Claim[Any]], now: float, processors: int) -> str | None:
    """Return why it is not certain that all claims can be met; None if it is."""
    if len(claims) <= processors and all(density(claim, now, 0) <= 1 + EPSILON for claim in claims):
        return None
    blocking = max((claim.remaining for claim in claims if not claim.preemptible), default=0)
    left = processors - sum(claim.due <= now and claim.remaining > 0 for claim in claims)
    if left < 1:
        return f"tasks that should have ended already keep all {processors} processors busy"
    densities = [density(claim, now, blocking) for claim in claims]
    total, greatest = sum(densities), max(densities)
    if greatest == inf:
        late = claims[densities.index(inf)]
        return f"{late.task.name} may have no time left before its deadline at {figure(late.due)}"
    limit = left - (left - 1) * greatest
    if total <= limit + EPSILON * left:
        return None
    return (
        f"the densities add up to {total:.4g}, and with the greatest at {greatest:.4g}, "
        f"{left} processors can be sure of {limit:.4g} ({total:.4g} > {limit:.4g})"
    )


def density(claim: Claim[Any], now: float, blocking: float) -> float:
    """Return the greatest density that the jobs of a claim have together at any time from now on."""
    if claim.due == inf:
        return 0
    present = [_ratio(claim.remaining, claim.due - now - blocking)] if claim.due > now else []
    if claim.period is None:
        return sum(present)
    times = [claim.due + number * claim.period - now for number in claim.pending(now)]
    present += [_ratio(claim.cost, left - blocking) for left in times]
    # Jobs due after the next has come are counted as due by then, so that one comes after the other.
    later = _ratio(claim.cost, min(claim.span, claim.period) - blocking)
    return max([later, *present]) if claim.span <= claim.period else later + sum(present)


def _ratio(work: float, time: float) -> float:
    if work == 0:
        return 0
    return work / time if time > 0 else inf
