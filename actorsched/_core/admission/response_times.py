"""May a task be taken under fixed priorities? By how long everyone has to wait at worst.

The law of this module: one processor. What is different with several is in `interference`.

A job of a task ends after w, where w is the least solution of

    w = blocking + what there is to do at first + the sum of ceil(w / period) * cost of those that come again,

over itself, and all tasks of higher and of the same priority (Joseph, Pandya, "Finding response times in a
real-time system", The Computer Journal 29(5), 1986; Audsley, Burns, Richardson, Tindell, Wellings, "Applying
new scheduling theory to static priority pre-emptive scheduling", Software Engineering Journal 8(5), 1993).
If it is not over when the next job of its own comes, the question is the same for that one, and so on until
one is (Lehoczky, "Fixed priority scheduling of periodic task sets with arbitrary deadlines", RTSS 1990). A
task that comes once interferes once. `blocking` is the longest cost of a task of lower priority that is not
`preemptible`; or the task's own, if it comes again and is not preemptible itself (Davis, Burns, Bril,
Lukkien, "Controller area network schedulability analysis: refuted, revisited and revised", Real-Time Systems
35, 2007).

Two questions are asked: what happens from now on, with all that has been left over, and later ones coming
when they come; and what if, after that, all with periods come at once, which is the worst that they can do.
What is admitted is never late. What is refused would be late, if all first jobs arrive together or a task
may come later than its period says; if no two have the same priority (equals are served in the order in
which they came, which is not known to be the same tomorrow: each is counted as coming first); and if all are
preemptible.

**Who takes no part.** Nothing is known of a task without a cost: it is admitted, and not counted, though it
may well take the processor from others. Who asks for promises gives costs to all of high priority. A task
that has a cost, and neither deadline nor period, is counted as one that comes once, and nothing is promised
to it.

Time: proportional to the number of tasks of lower or the same priority; for each of them, to the number of
jobs with periods that come while it waits.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, groupby
from math import inf
from typing import Any, NamedTuple

from actorsched._core.admission.busy import ROUNDS, Comer, busy, comers, share
from actorsched._core.admission.claims import EPSILON, Claim, Claims, figure, slop
from actorsched._core.admission.interference import may_be_late
from actorsched._core.policies import Item

__all__ = ["ResponseTimes"]


class Job(NamedTuple):
    """A job, in times from now: when it comes or came, is due, and ends at worst."""

    arrival: float
    due: float
    end: float


class ResponseTimes(Claims[Item]):
    """The tasks admitted so far, and whether one more can be done in time under fixed priorities."""

    __slots__ = ("_ranked",)

    def __init__(self) -> None:
        super().__init__()
        # The highest priority first, then as they came.
        self._ranked: list[Claim[Item]] = []

    def response_times(self) -> dict[Item, float]:
        """Return the longest time from arrival to end of every task that is remembered, on one processor.

        It is that of the worst case: all arrive at once, with all of their work to do. Infinite if it has no
        bound. The highest priority comes first.
        """
        found: dict[Item, float] = {}
        for claim, jobs in _busy_periods([claim.fresh(0) for claim in self._ranked], 0, inf):
            found[claim.task] = max((job.end - job.arrival for job in jobs), default=0)
        return found

    def check(self) -> None:
        """Assert what is always true, for tests."""
        assert self._ranked == sorted(self._claims.values(), key=_order)
        assert all(claim.remaining >= 0 for claim in self._ranked)

    # -------------------------------------------------------------------------------------- what is counted

    def _counts(self, claim: Claim[Item]) -> bool:
        """Everyone may take the processor from others."""
        return True

    def _gained(self, claim: Claim[Item]) -> None:
        insort(self._ranked, claim, key=_order)

    def _lost(self, claim: Claim[Item]) -> None:
        self._ranked.remove(claim)

    # --------------------------------------------------------------------------------------------- judgement

    def _why_not(self, claim: Claim[Item], now: float, processors: int) -> str | None:
        """Return which of all claims, of which this one is new, might be late."""
        if claim.due - now < claim.cost - slop(now, claim.due):
            return f"it needs {figure(claim.cost)} s, and is due in {figure(claim.due - now)} s"
        if processors < 1:
            return None if claim.due == inf else "there is no processor"
        # One that blocks those above itself may make anybody late; else only its equals and those below.
        highest = claim.rank if claim.preemptible else inf
        if processors > 1:
            return may_be_late(self._ranked, highest, now, processors)
        late = _late(self._ranked, now, highest)
        if late is not None or (claim.period is None and claim.preemptible):
            return late
        late = _late(_together(self._ranked, now), now, highest)
        return None if late is None else f"if all with periods come at once, {late}"


def _order(claim: Claim[Any]) -> tuple[int, int]:
    return -claim.rank, claim.sequence


def _together(ranked: Iterable[Claim[Any]], now: float) -> list[Claim[Any]]:
    """Return all claims with periods as if they came now, and of the others those that may block them."""
    together: list[Claim[Any]] = []
    for claim in ranked:
        if claim.period is not None or (not claim.preemptible and claim.remaining):
            again = claim.fresh(now)
            if claim.period is None:
                again.remaining, again.due = claim.remaining, inf
            together.append(again)
    return together


def _late(ranked: Sequence[Claim[Any]], now: float, highest: float) -> str | None:
    """Return who might be late, of those whose priority is not above the highest; None if nobody."""
    for claim, jobs in _busy_periods(ranked, now, highest):
        if claim.due == inf:
            continue
        for job in jobs:
            # What is late already is not made so by anyone who comes now.
            if 0 < job.due < job.end - slop(now, job.due):
                return _describe(claim, job)
    return None


def _describe(claim: Claim[Any], job: Job) -> str:
    name, time = claim.task.name, figure(job.due - job.arrival)
    if job.end == inf:
        return f"there is no bound to when {name} would end, and it has {time} s"
    took, over = figure(job.end - job.arrival), figure(job.end - job.due)
    much = f"it might take {took} s, and has {time} s ({took} > {time})"
    return f"{name} would end {over} s after its deadline: {much}"


def _busy_periods(
    ranked: Sequence[Claim[Any]], now: float, highest: float
) -> Iterator[tuple[Claim[Any], Iterator[Job]]]:
    """Return the claims whose priority is not above the highest, and the jobs of each in its busy period."""
    blocking = _blocking(ranked)
    work: float = 0
    coming: list[Comer] = []
    for rank, group in groupby(ranked, key=_rank):
        equals = list(group)
        work += sum(claim.backlog(now) for claim in equals)
        coming = [*coming, *comers(equals, now)]
        if rank <= highest:
            for claim in equals:
                yield claim, _jobs(claim, work, blocking[rank], coming, now)


def _rank(claim: Claim[Any]) -> int:
    return claim.rank


def _blocking(ranked: Sequence[Claim[Any]]) -> dict[int, float]:
    """Return for every priority the longest that one of a lower priority keeps the processor to itself."""
    found: dict[int, float] = {}
    longest: float = 0
    for claim in reversed(ranked):
        if claim.rank not in found:
            found[claim.rank] = longest
        longest = max(longest, claim.longest)
    return found


def _jobs(
    claim: Claim[Any], work: float, blocking: float, coming: Sequence[Comer], now: float
) -> Iterator[Job]:
    """Return the jobs of a claim until the processor has nothing to do for its priority or higher ones.

    Args:
        claim: Whose jobs.
        work: What there is to do now, for this claim and those before it.
        blocking: How long one of lower priority may keep the processor.
        coming: What is still to come, of this claim too.
        now: The present time.
    """
    work += blocking - claim.backlog(now)
    if claim.period is None:
        if claim.remaining:
            yield Job(claim.arrival - now, claim.due - now, busy(work + claim.remaining, coming, 0, now))
        return
    if not claim.preemptible:
        work += max(0, claim.cost - blocking)
    others = [comer for comer in coming if comer.claim is not claim]
    overload = share(coming) > 1 + EPSILON
    pending = claim.pending(now)
    end = busy(work, others, 0, now)
    numbers = chain([0] if claim.remaining else [], pending, count(pending.stop))
    for nth, number in enumerate(numbers):
        arrival = claim.arrival + number * claim.period - now
        if number >= pending.stop and end <= arrival + slop(now, arrival):
            return
        work += claim.cost if number else claim.remaining
        # With more to do than can be done, every job takes longer than the one before.
        end = inf if (nth and overload) or nth > ROUNDS else busy(work, others, end, now)
        yield Job(arrival, claim.due_of(number) - now, end)
        if end == inf:
            return
