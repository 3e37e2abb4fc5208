"""What `rt.explain` says of a task with `host="auto"`: why it is where it is, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsched._core.auto_host import LONG, SHORT, Average, Verdict
from actorsched.durations import describe

if TYPE_CHECKING:
    from actorsched._system.judge import Placed

_PLACES: Final = {"loop": "the loop", "thread": "a thread", "process": "a process"}


def sentence(placed: Placed, name: str) -> str:
    """Why the task of a function is where it is."""
    learned = placed.learned
    host = placed.host or learned.place
    place = _PLACES[host]
    verdict = placed.verdict if placed.host is not None else learned.verdict
    barred = placed.barred or (learned.culprit if learned.pause else "")
    if verdict is not None and verdict.host == host:
        return f"host='auto' chose {place}: {_why(verdict, name)}."
    if barred and host == learned.home:
        return f"host='auto' stays in {place}: it cannot cross to a process ({barred})."
    if verdict is not None:
        return f"host='auto' would have chosen {_PLACES[verdict.host]}, but its pool has it in {place}."
    known = learned.averages.get(host, Average())
    if placed.host is None and known.runs < learned.needed:
        return f"host='auto' will begin in {place}: too little is known of {name!r}."
    if placed.host is not None and placed.runs < learned.needed:
        return f"host='auto' began in {place}: too little was known of {name!r}."
    return f"host='auto' stays in {place}: {_runs(known, name)}, {known.share:.0%} of it computing."


def _why(verdict: Verdict, name: str) -> str:
    known = verdict.known
    match verdict.why:
        case "computes" | "waits":
            return f"{_runs(known, name)}, {known.share:.0%} of it computing"
        case "harms":
            step = _time(known.step)
            return f"{_runs(known, name)}, {known.share:.0%} of it computing, up to {step} without an await"
        case "long":
            return f"a run of {name!r} kept the loop for more than {describe(LONG)}"
        case "slow":
            return f"{_runs(known, name)}, which is long for the loop"
        case "quick" if verdict.host == "loop" and known.wall < SHORT:
            return f"{_runs(known, name)}, less than the way to a thread"
        case _:
            return f"{_runs(known, name)}, and the way to a process and back {_time(verdict.crossing)}"


def _runs(known: Average, name: str) -> str:
    return f"{known.runs} run{'s' * (known.runs != 1)} of {name!r} took {_time(known.own)} each"


def _time(seconds: float) -> str:
    """Two digits are enough."""
    return describe(float(f"{seconds:.2g}"))
