"""Claims in the order of their deadlines, and what they need together by any time.

The law of this module: first jobs only, of claims that do not know each other. Jobs that follow are the
business of who asks.

How it works: the claims are kept in buckets of some dozens, in order. A bucket knows the sum of what its
claims need, and how tight it is in itself; so the tightest deadline of all is found by looking at every
bucket and into few. Whoever changes a claim makes one bucket forget what it knew. With n claims everything
takes time proportional to the square root of n, or nearly so; 10,000 make about a hundred buckets.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import inf, isclose
from typing import Any, NamedTuple

from actorsched._core.admission.claims import Claim, figure, slop

__all__ = ["Backlog", "Shortfall"]

# More claims than that in a bucket, and it is divided.
FULL = 128


class Shortfall(NamedTuple):
    """By this deadline more is needed than there is: `blocking` of it for one that cannot be preempted."""

    deadline: float
    demand: float
    available: float
    blocking: float = 0

    def __str__(self) -> str:
        demand, available = figure(self.demand), figure(self.available)
        blocking = f", {figure(self.blocking)} of it for one not preemptible" if self.blocking else ""
        return (
            f"what is due within {available} s needs {demand} s of processor time{blocking} "
            f"({demand} > {available})"
        )


def _key(claim: Claim[Any]) -> tuple[float, int]:
    return claim.due, claim.sequence


def _due(claim: Claim[Any]) -> float:
    return claim.due


class _Bucket:
    """Some claims in order, never none.

    Attributes:
        demand: What they need together.
        longest: The longest that one of them may keep the processor without being preempted.
        slack: The least of every deadline, less what the bucket needs by then.
        own_slack: The same, less the longest of those that are due later, in the bucket, and not preemptible.
    """

    __slots__ = ("claims", "demand", "known", "longest", "own_slack", "slack")

    def __init__(self, claims: list[Claim[Any]]) -> None:
        self.claims = claims
        self.forget()

    def forget(self) -> None:
        """Something has changed."""
        self.known = False
        self.demand: float = 0
        self.longest: float = 0
        self.slack: float = inf
        self.own_slack: float = inf

    def look(self) -> None:
        """Know what there is to know."""
        if self.known:
            return
        sums = list(accumulate(claim.remaining for claim in self.claims))
        longest: float = 0
        for claim, demand in zip(reversed(self.claims), reversed(sums), strict=True):
            slack = claim.due - demand
            self.slack = min(self.slack, slack)
            self.own_slack = min(self.own_slack, slack - longest)
            if not claim.preemptible:
                longest = max(longest, claim.remaining)
        self.demand, self.longest, self.known = sums[-1], longest, True


class Backlog:
    """Claims by deadline."""

    __slots__ = ("_buckets", "_last")

    def __init__(self, claims: Iterable[Claim[Any]] = ()) -> None:
        ordered = sorted(claims, key=_key)
        size = FULL // 2
        self._buckets = [_Bucket(ordered[at : at + size]) for at in range(0, len(ordered), size)]
        # The last key of every bucket, to find the right one.
        self._last = [_key(bucket.claims[-1]) for bucket in self._buckets]

    def __len__(self) -> int:
        return sum(len(bucket.claims) for bucket in self._buckets)

    def __iter__(self) -> Iterator[Claim[Any]]:
        """Return the claims, the earliest deadline first."""
        for bucket in self._buckets:
            yield from bucket.claims

    def insert(self, claim: Claim[Any]) -> None:
        """Take one more."""
        if not self._buckets:
            self._buckets, self._last = [_Bucket([claim])], [_key(claim)]
            return
        at = min(bisect_left(self._last, _key(claim)), len(self._buckets) - 1)
        claims = self._buckets[at].claims
        claims.insert(bisect_left(claims, _key(claim), key=_key), claim)
        parts = [claims[: FULL // 2], claims[FULL // 2 :]] if len(claims) > FULL else [claims]
        self._replace(at, parts)

    def remove(self, claim: Claim[Any]) -> None:
        """Let go of one that was inserted."""
        at = bisect_left(self._last, _key(claim))
        claims = self._buckets[at].claims
        del claims[bisect_left(claims, _key(claim), key=_key)]
        self._replace(at, [claims] if claims else [])

    def changed(self, claim: Claim[Any]) -> None:
        """What it needs is not what it was."""
        self._buckets[bisect_left(self._last, _key(claim))].forget()

    def demand(self, until: float) -> float:
        """Return what those need together that are due at this time or before."""
        total: float = 0
        for bucket, (last, _) in zip(self._buckets, self._last, strict=True):
            bucket.look()
            if last > until:
                end = bisect_right(bucket.claims, until, key=_due)
                return total + sum(claim.remaining for claim in bucket.claims[:end])
            total += bucket.demand
        return total

    def blocking(self, until: float) -> float:
        """Return the longest that one that is due later may keep the processor without being preempted."""
        longest: float = 0
        for bucket, (last, _) in zip(reversed(self._buckets), reversed(self._last), strict=True):
            bucket.look()
            if last <= until:
                break
            if bucket.longest > longest:
                at = bisect_right(bucket.claims, until, key=_due)
                later = bucket.claims[at:]
                longest = max(longest, *(c.remaining for c in later if not c.preemptible), 0)
        return longest

    def last_due(self, before: float) -> float:
        """Return the last deadline before a time; minus infinity when there is none."""
        at = bisect_left(self._last, (before, -1))
        if at < len(self._buckets):
            claims = self._buckets[at].claims
            inside = bisect_left(claims, before, key=_due)
            if inside:
                return claims[inside - 1].due
        return self._last[at - 1][0] if at else -inf

    def shortfall(self, since: float, now: float) -> Shortfall | None:
        """Return the first deadline, not before `since`, by which more is needed than there is time."""
        for bucket in self._buckets:
            bucket.look()
        longest = [bucket.longest for bucket in reversed(self._buckets)]
        later = list(accumulate(longest, max, initial=0.0))[-2::-1]
        before: float = 0
        for bucket, (last, _), blocking in zip(self._buckets, self._last, later, strict=True):
            if last >= since:
                tightest = min(bucket.slack - blocking, bucket.own_slack) - before
                if tightest < now - slop(bucket.claims[0].due):
                    found = _shortfall_within(bucket.claims, before, blocking, since, now)
                    if found is not None:
                        return found
            before += bucket.demand
        return None

    def check(self) -> None:
        """Assert what is always true, for tests."""
        keys = [_key(claim) for claim in self]
        assert keys == sorted(keys)
        assert self._last == [_key(bucket.claims[-1]) for bucket in self._buckets]
        assert all(len(bucket.claims) <= FULL for bucket in self._buckets)
        for bucket in self._buckets:
            if bucket.known:
                assert isclose(bucket.demand, sum(claim.remaining for claim in bucket.claims), abs_tol=1e-9)

    def _replace(self, at: int, parts: list[list[Claim[Any]]]) -> None:
        self._buckets[at : at + 1] = [_Bucket(part) for part in parts]
        self._last[at : at + 1] = [_key(part[-1]) for part in parts]


def _shortfall_within(
    claims: list[Claim[Any]], before: float, blocking: float, since: float, now: float
) -> Shortfall | None:
    """Look at the claims of one bucket: `before` is needed earlier, and `blocking` is due later."""
    holding = [0 if claim.preemptible else claim.remaining for claim in reversed(claims)]
    later = list(accumulate(holding, max, initial=blocking))[-2::-1]
    for claim, sum_here, blocked in zip(
        claims, accumulate(claim.remaining for claim in claims), later, strict=True
    ):
        if claim.due >= since:
            demand, available = before + sum_here + blocked, claim.due - now
            if demand > available + slop(claim.due):
                return Shortfall(claim.due, demand, available, blocked)
    return None
