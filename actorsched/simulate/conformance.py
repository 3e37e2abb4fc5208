"""Comparing what was played with what was to be expected, slice for slice.

The law of this module: two results go in, and sentences come out. It plays nothing: `check` is told
who does. What nobody expected anything of is not compared.

The schedules that come with the package, `schedules.json`, were worked out by hand, by independent simulators
and by textbooks; a policy is right when it comes to the same.
"""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from actorsched.simulate.played import exact
from actorsched.simulate.reading import read
from actorsched.simulate.taskset import Event, Expectation, Slice, TaskFile, TaskSet, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from actorsched.simulate.played import Played

__all__ = ["check", "differences", "schedules", "shipped"]

H = TypeVar("H", bound="Hashable")
_Found = tuple[Time, str]  # when, and what


def shipped() -> TaskFile:
    """Return the file that comes with the package."""
    from importlib.resources import files

    return read((files("actorsched.simulate") / "schedules.json").read_bytes())


def schedules() -> tuple[TaskSet, ...]:
    """Return the task sets that come with the package, each with what has to come of it."""
    return shipped().schedules


def check(
    play: Callable[[TaskSet], Played], tasksets: Iterable[TaskSet] | None = None
) -> dict[str, list[str]]:
    """Play task sets, and compare.

    Args:
        play: Who plays one.
        tasksets: Which ones; those that come with the package if None.

    Returns:
        What differs, by the name of the task set; nothing of those that come out as expected.
    """
    found = {
        taskset.name: differences(play(taskset), taskset.expectation)
        for taskset in (schedules() if tasksets is None else tasksets)
    }
    return {name: lines for name, lines in found.items() if lines}


def differences(played: Played, expected: Expectation) -> list[str]:
    """Return how a play differs from what was expected: sentences, in order of time; none if it does not."""
    found = [
        *_of_slices(played, expected),
        *_of_finish(played, expected),
        *_of_misses(played, expected),
        *_of_events(played, expected),
        *_of_deadlock(played, expected),
    ]
    found.sort(key=lambda each: each[0])
    return [text for _, text in found]


def _of_slices(played: Played, expected: Expectation) -> Iterator[_Found]:
    if expected.slices is None:
        return
    wanted, got = map(_exact_slices, (expected.slices, played.slices))
    for piece in _only_in_first(wanted, got):
        yield piece.start, f"expected {_slice_text(piece, played.processors, 'to run')}; it does not"
    for piece in _only_in_first(got, wanted):
        yield piece.start, f"{_slice_text(piece, played.processors, 'runs')}, which was not expected"


def _of_finish(played: Played, expected: Expectation) -> Iterator[_Found]:
    if expected.finish is None:
        return
    wanted, got = _exact_times(expected.finish), _exact_times(played.finish)
    for job in {**wanted, **got}:
        right, wrong = wanted.get(job), got.get(job)
        if right == wrong:
            continue
        if right is None:
            yield _first(wrong), f"{job} finished at {wrong}, which was not expected"
        else:
            found = "never did" if wrong is None else f"finished at {wrong}"
            yield _first(right, wrong), f"expected {job} to finish at {right}; it {found}"


def _of_misses(played: Played, expected: Expectation) -> Iterator[_Found]:
    if expected.misses is None:
        return
    wanted = [(job, exact(due), None if end is None else exact(end)) for job, due, end in expected.misses]
    got = [(job, exact(due), None if end is None else exact(end)) for job, due, end in played.misses]
    for job, due, end in _only_in_first(wanted, got):
        yield due, f"expected {job} to miss its deadline at {due} and to be {_when(end)}"
    for job, due, end in _only_in_first(got, wanted):
        yield due, f"{job} missed its deadline at {due} and was {_when(end)}, which was not expected"


def _of_events(played: Played, expected: Expectation) -> Iterator[_Found]:
    if expected.events is None:
        return
    wanted, got = map(_exact_events, (expected.events, played.events))
    if Counter(wanted) != Counter(got):
        for event in _only_in_first(wanted, got):
            yield event.at, f"expected at {event.at} {_event_text(event)}; there was none"
        for event in _only_in_first(got, wanted):
            yield event.at, f"at {event.at} there was {_event_text(event)}, which was not expected"
        return
    for right, wrong in zip_longest(wanted, got):
        if right != wrong:  # the same ones in another order: the first that stands elsewhere says it
            yield right.at, f"expected at {right.at} {_event_text(right)} before {_event_text(wrong)}"
            return


def _of_deadlock(played: Played, expected: Expectation) -> Iterator[_Found]:
    right, wrong = expected.deadlock, played.deadlock
    if right is None:
        return
    if wrong is None:
        yield right.at, f"expected a deadlock of {', '.join(right.cycle)} at {right.at}; there was none"
    elif (exact(right.at), right.cycle) != (exact(wrong.at), wrong.cycle):
        text = f"it was one of {', '.join(wrong.cycle)} at {wrong.at}"
        yield right.at, f"expected a deadlock of {', '.join(right.cycle)} at {right.at}; {text}"
    elif right.victim is not None and right.victim != wrong.victim:
        yield right.at, f"expected {right.victim} to be ended to break the deadlock; it was {wrong.victim}"


# ---------------------------------------------------------------------------------------- figures and words


def _only_in_first(first: Sequence[H], second: Sequence[H]) -> list[H]:
    """What is in one and not in the other, as often as it is there too often, in order."""
    rest = Counter(second)
    found: list[H] = []
    for each in first:
        if rest[each]:
            rest[each] -= 1
        else:
            found.append(each)
    return found


def _exact_slices(pieces: Iterable[Slice]) -> list[Slice]:
    return [Slice(exact(each.start), exact(each.end), each.task, each.processor) for each in pieces]


def _exact_events(events: Iterable[Event]) -> list[Event]:
    return [Event(exact(each.at), each.kind, each.who, each.resource, each.holder) for each in events]


def _exact_times(times: dict[str, Time]) -> dict[str, Time]:
    return {job: exact(time) for job, time in times.items()}


def _first(*times: Time | None) -> Time:
    return min(time for time in times if time is not None)


def _when(time: Time | None) -> str:
    return "unfinished" if time is None else f"finished at {time}"


def _slice_text(piece: Slice, processors: int, verb: str) -> str:
    where = "" if processors == 1 else f" on processor {piece.processor}"
    return f"{piece.task} {verb} from {piece.start} to {piece.end}{where}"


def _event_text(event: Event) -> str:
    who = event.who if isinstance(event.who, str) else ", ".join(event.who)
    match event.kind:
        case "deadlock":
            return f"a deadlock of {who}"
        case "block":
            return f"a block of {who} on {event.resource}, held by {event.holder}"
        case kind:
            return f"{'an' if kind == 'acquire' else 'a'} {kind} of {event.resource} by {who}"
