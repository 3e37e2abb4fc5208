"""What is taken down of a play, how it is written, and how it is compared with what was expected."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from actorsched.simulate.conformance import check, differences, schedules, shipped
from actorsched.simulate.played import Played, Recorder, answers, exact, from_expectation, written
from actorsched.simulate.reading import read, read_schedule
from actorsched.simulate.taskset import Deadlock, Event, Expectation, Slice, TaskSet


def tasks(*names: str, processors: int = 1, **more: Any) -> TaskSet:
    """A task set of tasks with these names."""
    return read_schedule(
        {"processors": processors, "tasks": [{"name": name, "exec": 9} for name in names], **more}
    )


def slices(played: Played) -> list[tuple[Any, ...]]:
    return [(piece.start, piece.end, piece.task, piece.processor) for piece in played.slices]


# -------------------------------------------------------------------------------------------------- recording


def test_a_slice_lasts_from_coming_on_to_going_off() -> None:
    recorder = Recorder(tasks("A", "B"))
    recorder.on(1, "A")
    recorder.off(3, "A")
    recorder.on(3, "B")
    recorder.finished(5, "B")
    played = recorder.played()
    assert slices(played) == [(1, 3, "A", 0), (3, 5, "B", 0)]
    assert played.finish == {"B": 5}


def test_who_goes_off_and_comes_on_at_one_instant_has_no_break_and_keeps_the_processor() -> None:
    recorder = Recorder(tasks("A", "B", processors=2))
    recorder.on(0, "A")
    recorder.on(0, "B")
    recorder.off(2, "A")
    recorder.off(2, "B")
    recorder.on(2, "B")
    recorder.on(2, "A")
    assert slices(recorder.played(4)) == [(0, 4, "A", 0), (0, 4, "B", 1)]


def test_who_comes_on_takes_the_lowest_free_number() -> None:
    recorder = Recorder(tasks("A", "B", "C", "D", processors=3))
    for name in "ABC":
        recorder.on(0, name)
    recorder.off(1, "B")
    recorder.off(2, "A")
    recorder.on(2, "D")
    recorder.on(2, "B")
    assert slices(recorder.played(3)) == [
        (0, 2, "A", 0),
        (0, 1, "B", 1),
        (0, 3, "C", 2),
        (2, 3, "D", 0),
        (2, 3, "B", 1),
    ]


def test_who_comes_on_and_leaves_again_at_one_instant_has_no_slice_and_no_number() -> None:
    recorder = Recorder(tasks("A", "B"))
    recorder.on(0, "A")
    recorder.off(0, "A")
    recorder.on(0, "B")
    assert slices(recorder.played(1)) == [(0, 1, "B", 0)]


def test_everything_is_cut_at_the_horizon() -> None:
    recorder = Recorder(tasks("A", "B", params={"until": 5}, resources=["R"]))
    recorder.on(0, "A")
    recorder.acquire(5, "A", "R")
    recorder.off(7, "A")
    recorder.on(7, "B")
    recorder.release(7, "A", "R")
    recorder.finished(8, "B")
    played = recorder.played()
    assert slices(played) == [(0, 5, "A", 0)]
    assert [event.kind for event in played.events] == ["acquire"]
    assert played.finish == {}


def test_who_still_runs_does_so_until_the_horizon() -> None:
    recorder = Recorder(tasks("A", params={"until": 5}))
    recorder.on(1, "A")
    assert slices(recorder.played()) == [(1, 5, "A", 0)]


def test_what_floats_add_to_a_time_is_taken_away() -> None:
    recorder = Recorder(tasks("A"))
    recorder.on(0.1 + 0.2, "A")
    recorder.finished(3.0, "A")
    assert slices(recorder.played()) == [(0.3, 3, "A", 0)]
    assert type(exact(3.0)) is int


def test_events_are_taken_down_in_the_order_in_which_they_happen() -> None:
    recorder = Recorder(tasks("A", "B", resources=["R"]))
    recorder.acquire(1, "A", "R")
    recorder.block(2, "B", "R", "A")
    recorder.deadlock(2, ["B", "A"], "A")
    recorder.deadlock(3, ["A", "B"], "B")
    recorder.release(3, "A", "R")
    recorder.handoff(3, "B", "R")
    played = recorder.played()
    assert played.events == (
        Event(1, "acquire", "A", "R"),
        Event(2, "block", "B", "R", "A"),
        Event(2, "deadlock", ("B", "A")),
        Event(3, "deadlock", ("A", "B")),
        Event(3, "release", "A", "R"),
        Event(3, "handoff", "B", "R"),
    )
    assert played.deadlock == Deadlock(2, ("B", "A"), "A")


@pytest.mark.parametrize("wrong", ["again", "absent", "back", "crowded"])
def test_what_cannot_be_is_not_taken_down(wrong: str) -> None:
    recorder = Recorder(tasks("A", "B"))
    recorder.on(1, "A")
    with pytest.raises(ValueError):
        match wrong:
            case "again":
                recorder.on(2, "A")
            case "absent":
                recorder.off(2, "B")
            case "back":
                recorder.off(0, "A")
            case _:
                recorder.on(2, "B")
                recorder.played(3)


def test_a_recorder_says_where_it_is() -> None:
    recorder = Recorder(tasks("A", name="x"))
    assert repr(recorder) == "<Recorder of 'x' at 0: nobody runs>"
    recorder.on(2, "A")
    assert repr(recorder) == "<Recorder of 'x' at 2: A runs>"


# ----------------------------------------------------------------------------------------------------- misses


def late(until: int | None, **finish: int) -> tuple[Any, ...]:
    """The misses of A, due at 5, and B and C, due at 4, that finish at these times."""
    due = [{"name": name, "exec": 1, "deadline": at} for name, at in (("A", 5), ("C", 4), ("B", 4))]
    recorder = Recorder(tasks(tasks=due, params={"until": until}))
    for name, time in sorted(finish.items(), key=lambda each: each[1]):
        recorder.finished(time, name)
    return recorder.played().misses


def test_who_finishes_at_the_deadline_is_in_time() -> None:
    assert late(None, A=5, B=4, C=4) == ()


def test_misses_are_in_order_of_their_deadlines_and_names() -> None:
    assert late(None, A=6, B=7) == (("B", 4, 7), ("C", 4, None), ("A", 5, 6))


def test_a_deadline_behind_the_horizon_is_not_missed() -> None:
    assert late(4) == (("B", 4, None), ("C", 4, None))
    assert late(3) == ()


# ---------------------------------------------------------------------------------------------------- written


def test_the_answer_is_a_file_that_expects_what_was_played() -> None:
    file = shipped()
    played = [from_expectation(taskset) for taskset in file.schedules]
    text = written(answers(file, played))
    again = read(text)
    assert written(answers(again, [from_expectation(taskset) for taskset in again.schedules])) == text
    for before, after in zip(file.schedules, again.schedules, strict=True):
        same = ("name", "policy", "processors", "tasks", "resources", "params", "words")
        assert [getattr(before, key) for key in same] == [getattr(after, key) for key in same]
        assert before.expectation.slices == after.expectation.slices
        assert before.expectation.deadlock == after.expectation.deadlock


def test_the_answer_has_the_words_of_the_file() -> None:
    given = {"tasks": [{"name": "A", "arrival": 0, "exec": 3}], "params": {"boost": None, "until": 5}}
    file = read(json.dumps(given))
    recorder = Recorder(file.schedules[0])
    recorder.on(0, "A")
    recorder.finished(3, "A")
    assert json.loads(written(answers(file, [recorder.played()]))) == {
        "name": "unnamed",
        "policy": "PRIORITY",
        "processors": 1,
        "resources": [],
        **given,
        "expected": [[0, 3, "A"]],
        "finish": {"A": 3},
        "misses": [],
        "events": [],
    }


def test_a_slice_has_its_processor_behind_it_where_there_are_several() -> None:
    file = read(json.dumps({"schedules": [{"processors": 2, "tasks": [{"name": "A", "exec": 3}]}]}))
    recorder = Recorder(file.schedules[0])
    recorder.on(0, "A")
    recorder.off(3, "A")
    answer: Any = answers(file, [recorder.played()])
    assert answer["schedules"][0]["expected"] == [[0, 3, "A", 0]]


def test_json_is_written_on_as_few_lines_as_are_readable() -> None:
    value: dict[str, Any] = {
        "short": [1, [2, "x"]],
        "long": [{"a": "b" * 40}, {"c": "d" * 40}],
        "none": [],
        "e": {},
    }
    text = written(value, width=60)
    assert json.loads(text) == value
    assert text.splitlines()[:3] == ["{", '  "short": [1, [2, "x"]],', '  "long": [']
    assert json.loads(written("x" * 200)) == "x" * 200


# --------------------------------------------------------------------------------------------------- compared


def test_what_comes_out_as_expected_differs_in_nothing() -> None:
    assert check(from_expectation) == {}
    assert len(schedules()) == 18


def test_what_differs_is_told_from_the_first_on() -> None:
    taskset = next(each for each in schedules() if each.name == "pi-on-burns-wellings")
    right = from_expectation(taskset)
    wrong = msgspec.structs.replace(
        right,
        slices=(*right.slices[:3], Slice(6, 10, "a"), *right.slices[4:]),
        finish={**right.finish, "d": 14},
        events=right.events[1:],
        misses=(("a", 3, None),),
    )
    assert check(lambda _: wrong, [taskset]) == {
        taskset.name: [
            "expected at 1 an acquire of Q by a; there was none",
            "expected a to run from 6 to 9; it does not",
            "a runs from 6 to 10, which was not expected",
            "expected d to finish at 13; it finished at 14",
        ]
    }


def test_events_of_one_instant_have_an_order() -> None:
    first, second = Event(8, "release", "A", "R"), Event(8, "handoff", "B", "R")
    played = Played(name="x", processors=1, events=(second, first))
    assert differences(played, Expectation(events=(first, second))) == [
        "expected at 8 a release of R by A before a handoff of R by B"
    ]


def test_misses_and_finish_times_are_compared() -> None:
    played = Played(name="x", processors=2, misses=(("A", 4, 5),), slices=(Slice(0, 1, "A", 1),))
    expected = Expectation(misses=(("B", 3, None),), finish={"B": 3}, slices=())
    assert differences(played, expected) == [
        "A runs from 0 to 1 on processor 1, which was not expected",
        "expected B to finish at 3; it never did",
        "expected B to miss its deadline at 3 and to be unfinished",
        "A missed its deadline at 4 and was finished at 5, which was not expected",
    ]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (None, "expected a deadlock of A, B at 3; there was none"),
        (Deadlock(4, ("A", "B"), "A"), "expected a deadlock of A, B at 3; it was one of A, B at 4"),
        (Deadlock(3, ("A", "B"), "B"), "expected A to be ended to break the deadlock; it was B"),
    ],
)
def test_deadlocks_are_compared(found: Deadlock | None, line: str) -> None:
    played = Played(name="x", processors=1, deadlock=found)
    assert differences(played, Expectation(deadlock=Deadlock(3, ("A", "B"), "A"))) == [line]


def test_a_block_and_a_deadlock_have_words_of_their_own() -> None:
    events = (Event(1, "block", "A", "R", "B"), Event(2, "deadlock", ("A", "B")))
    assert differences(Played(name="x", processors=1), Expectation(events=events)) == [
        "expected at 1 a block of A on R, held by B; there was none",
        "expected at 2 a deadlock of A, B; there was none",
    ]
