"""May tasks be taken under fixed priorities on several processors? By what keeps each from running.

The law of this module: one condition for every job, and nothing iterated.

A job that is late has waited for more than the time that it had to spare; and all that time, all processors
had others to run. So it is in time if those that may come before it have less than m times the spare time to
do, each of them counted for no more than the spare time, for no task is on two processors at once:

    sum of min(work of another, spare) < m * spare

(Bertogna, Cirinei, Lipari, "Schedulability analysis of global scheduling algorithms on multiprocessor
platforms", IEEE Transactions on Parallel and Distributed Systems 20(4), 2009; Bertogna, Cirinei,
"Response-time analysis for globally scheduled symmetric multiprocessor platforms", RTSS 2007.) And it is in
time if there are fewer of them than processors. The condition is sufficient, not necessary.

It has to hold for the jobs that there are, until they are due, with what has been left over; and for all
that come later, with as much left over by others as possible. Of every task one job has to end before the
next comes, even if it is due later. One of lower priority that is not preemptible counts once, like one of
higher priority.

Time: proportional to the number of tasks of lower or the same priority, times that of all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Any

from actorsched._core.admission.claims import Claim, figure, multiples, slop

__all__ = ["may_be_late"]


def may_be_late(ranked: Sequence[Claim[Any]], highest: float, now: float, processors: int) -> str | None:
    """Return who might be late, of those whose priority is not above the highest; None if nobody."""
    for claim in ranked:
        if claim.period is not None and claim.remaining and _first_due(claim) <= now:
            return f"{claim.task.name} is late already, and will not be over when it comes again"
        if claim.rank > highest or claim.due == inf:
            continue
        others = [each for each in ranked if each is not claim and _precedes(each, claim)]
        for time, work in _present(claim, now):
            if not _in_time(
                time - work, (_work_until(each, claim, time, now) for each in others), processors
            ):
                return _describe(claim, time, processors)
        if claim.period is not None:
            time = min(claim.span, claim.period)
            spare = time - claim.cost
            if not _in_time(spare, (_work_within(each, claim, time) for each in others), processors):
                return _describe(claim, time, processors)
    return None


def _precedes(other: Claim[Any], claim: Claim[Any]) -> bool:
    return other.rank >= claim.rank or not other.preemptible


def _first_due(claim: Claim[Any]) -> float:
    """Return by when a first job has to be over: before the next comes."""
    return claim.due if claim.period is None else claim.arrival + min(claim.span, claim.period)


def _present(claim: Claim[Any], now: float) -> Iterator[tuple[float, float]]:
    """Return of every job that there is how much time it has, and how much to do."""
    if claim.remaining and claim.due > now:
        yield _first_due(claim) - now, claim.remaining
    for number in claim.pending(now):
        assert claim.period is not None
        yield _first_due(claim) + number * claim.period - now, claim.cost


def _in_time(spare: float, works: Iterable[float], processors: int) -> bool:
    """Return whether a job that has time to spare is in time, if others may do so much work before it."""
    busy, count = 0.0, 0
    for work in works:
        busy += min(work, spare)
        count += work > 0
    return spare >= 0 and (count < processors or busy < processors * spare)


def _work_until(other: Claim[Any], claim: Claim[Any], time: float, now: float) -> float:
    """Return how much another may do from now on before this one."""
    if other.rank < claim.rank:
        return other.longest
    end = now + time
    coming = other.later_released(end - 2 * slop(end)) - other.later_released(now)
    return other.backlog(now) + max(0, coming) * other.cost


def _work_within(other: Claim[Any], claim: Claim[Any], time: float) -> float:
    """Return how much another may do within any time of that length before this one.

    Most is done if one of its jobs runs as late as it can, just when the time begins, and all others as
    soon as they come.
    """
    if other.rank < claim.rank:
        return other.longest
    if other.period is None:
        return other.remaining
    span = time + min(other.span, other.period) - other.cost
    jobs = multiples(span, other.period, slop(span))
    return jobs * other.cost + min(other.cost, max(0, span - jobs * other.period))


def _describe(claim: Claim[Any], time: float, processors: int) -> str:
    return (
        f"{claim.task.name} might be late: it is not certain that {processors} processors leave it "
        f"{figure(claim.cost)} s within {figure(time)} s"
    )
