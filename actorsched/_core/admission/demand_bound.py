"""May a task be taken under earliest deadline first? By what is needed until every deadline.

The law of this module: it speaks of sums. In which order tasks run is nothing that it has to know.

**One processor.** A set of jobs can be done in time if, and only if, for every deadline d: what is needed by
jobs due at d or before is no more than the time until d (the processor demand criterion: Baruah, Rosier,
Howell, "Algorithms and complexity concerning the preemptive scheduling of periodic, real-time tasks on one
processor", Real-Time Systems 2, 1990). If all tasks come once, those are as many deadlines as tasks, and
`Backlog` knows the tightest: a decision among 10,000 takes a fraction of a millisecond. With periods there
are deadlines without end, and two questions:

1. From now on, with all that has been left over: is there time for everything, until the processor is idle?
2. After that: is there, even when all tasks with periods come at once? (Of all that can happen, that is
   worst.)

Both are asked by "quick processor-demand analysis", which starts at the end of the busy period and jumps
over all deadlines that cannot be too tight (Zhang, Burns, "Schedulability analysis for real-time systems
with EDF scheduling", IEEE Transactions on Computers 58(9), 2009). What is admitted is never late. What is
refused would be late if the first jobs arrive together, or if a task may come later than its period says.
When the tasks with periods need all of the processor, it may never be idle: then the question is given up
after `busy.ROUNDS` steps, and the task refused.

A task that is not `preemptible` may have the processor when one with an earlier deadline comes, which waits
for as long as it takes. At every deadline the longest of those that are due later is added (George,
Rivierre, Spuri, "Preemptive and non-preemptive real-time uniprocessor scheduling", INRIA RR-2966, 1996).
Nobody says here who has the processor, so that the answer is exact only without such tasks.

**Several processors.** See `density`: what is admitted is never late, but much is refused that would not be.

**Who takes no part.** Nothing is known of a task without a cost, and nothing is promised to it: it is
admitted, and not counted, even if it has a deadline. The same holds for one that has neither deadline nor
period, for it runs after those that have, and takes nothing from them; only if it is not preemptible its
cost is counted as above.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from actorsched._core.admission.backlog import Backlog, Shortfall
from actorsched._core.admission.busy import busy, comers, share
from actorsched._core.admission.claims import EPSILON, Claim, Claims, figure, slop
from actorsched._core.admission.density import too_dense
from actorsched._core.policies import Item

__all__ = ["DemandBound"]


class DemandBound(Claims[Item]):
    """The tasks admitted so far, and whether one more can be done in time under earliest deadline first."""

    __slots__ = ("_backlog", "_periodic")

    def __init__(self) -> None:
        super().__init__()
        self._backlog = Backlog()
        self._periodic: dict[Item, Claim[Item]] = {}

    def check(self) -> None:
        """Assert what is always true, for tests."""
        self._backlog.check()
        assert sorted(map(id, self._backlog)) == sorted(map(id, self._claims.values()))
        assert all(claim.remaining >= 0 for claim in self._backlog)
        assert self._periodic == {t: c for t, c in self._claims.items() if c.period is not None}

    # -------------------------------------------------------------------------------------- what is counted

    def _counts(self, claim: Claim[Item]) -> bool:
        return claim.due < inf or not claim.preemptible

    def _gained(self, claim: Claim[Item]) -> None:
        self._backlog.insert(claim)
        if claim.period is not None:
            self._periodic[claim.task] = claim

    def _lost(self, claim: Claim[Item]) -> None:
        self._backlog.remove(claim)
        self._periodic.pop(claim.task, None)

    def _changed(self, claim: Claim[Item]) -> None:
        self._backlog.changed(claim)

    # --------------------------------------------------------------------------------------------- judgement

    def _why_not(self, claim: Claim[Item], now: float, processors: int) -> Shortfall | str | None:
        """Return what speaks against all claims together, of which this one is new."""
        if claim.due - now < claim.cost - slop(now, claim.due):
            return f"it needs {figure(claim.cost)} s, and is due in {figure(claim.due - now)} s"
        if processors < 1:
            return "there is no processor"
        if processors > 1:
            return too_dense(list(self._backlog), now, processors)
        if not self._periodic:
            return self._backlog.shortfall(claim.due, now)
        periodic = self._periodic.values()
        needed = share(comers(periodic, now))
        if needed > 1 + EPSILON:
            return f"the tasks with periods need {figure(needed)} processors, and there is one"
        why = _overload(self._backlog, periodic, claim.due, now)
        if why is None and (claim.period is not None or not claim.preemptible):
            why = self._overload_together(now)
        return why

    def _overload_together(self, now: float) -> str | None:
        """Let all tasks with periods come at once, just when the longest of others has got the processor."""
        together: list[Claim[Any]] = [claim.fresh(now) for claim in self._periodic.values()]
        for claim in self._backlog:
            if claim.period is None and not claim.preemptible and claim.remaining:
                blocker = claim.fresh(now)
                blocker.remaining, blocker.due = claim.remaining, max(now, claim.due)
                together.append(blocker)
        periodic = [claim for claim in together if claim.period is not None]
        why = _overload(Backlog(together), periodic, now, now)
        return None if why is None else f"if all with periods come at once, {why}"


def _overload(
    backlog: Backlog, periodic: Iterable[Claim[Any]], since: float, now: float
) -> Shortfall | str | None:
    """Return a deadline, not before `since`, by which more is needed than there is time; else None."""

    def demand(until: float) -> float:
        later = sum(each.cost * (each.later_due(until) - each.later_due(now)) for each in periodic)
        return backlog.demand(until) + later

    def blocking(until: float) -> float:
        # A later job of a task with a period may have the processor too, if it has come.
        later = (each.longest for each in periodic if (n := each.pending(now)) and each.due_of(n[-1]) > until)
        return max(backlog.blocking(until), *later, 0)

    def last_due(before: float) -> float:
        return max(backlog.last_due(before), *(_last_later_due(each, before) for each in periodic))

    work = backlog.demand(inf) + backlog.blocking(-inf)
    work += sum(each.cost * len(each.pending(now)) for each in periodic)
    idle = now + busy(work, comers(periodic, now), 0, now)
    if idle == inf:
        return "with those that have periods it would use the whole processor, too much for being sure"
    until = last_due(idle + 2 * slop(idle))
    while until >= since and until > now:
        blocked = blocking(until)
        needed = demand(until) + blocked
        if needed > until - now + slop(until):
            deadline = last_due(until + 2 * slop(until))
            return Shortfall(deadline, needed, deadline - now, blocked)
        # Between the end of what is needed, if nothing is idle, and `until` no deadline can fail.
        until = now + needed if now + needed < until - slop(until) else last_due(until - slop(until))
    return None


def _last_later_due(claim: Claim[Any], before: float) -> float:
    """Return the last deadline of a later job before a time; minus infinity when there is none."""
    assert claim.period is not None
    number = claim.later_due(before)
    if number and claim.due + number * claim.period >= before:
        number -= 1
    return claim.due + number * claim.period if number > 0 else -inf
