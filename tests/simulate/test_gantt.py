"""The picture of a play: valid, complete, the same every time, and never too big."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from actorsched.simulate.conformance import schedules
from actorsched.simulate.gantt import draw, draw_all
from actorsched.simulate.played import Played, Recorder, from_expectation
from actorsched.simulate.reading import read_schedule
from actorsched.simulate.story import Span, Story, rows_of
from actorsched.simulate.svg import colour_of, darker, escaped, number, shortened, text_on, width_of

if TYPE_CHECKING:
    from actorsched.simulate.taskset import TaskSet

SVG = "{http://www.w3.org/2000/svg}"


def shipped(name: str) -> tuple[Played, TaskSet]:
    taskset = next(each for each in schedules() if each.name == name)
    return from_expectation(taskset), taskset


def words(svg: str) -> list[str]:
    """All that is written in a picture."""
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def tips(svg: str) -> list[str]:
    """All that is said when the pointer rests on something."""
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}title")][1:]


def shuffled(slices: int, **more: Any) -> tuple[Played, TaskSet]:
    """A play of periodic tasks in which chance decides."""
    tasks = [{"name": f"T{k}", "exec": 5, "period": 50 + 13 * k} for k in range(12)]
    given: dict[str, Any] = {"processors": 2, "tasks": tasks, "params": {"until": slices}, **more}
    taskset = read_schedule(given)
    recorder, draws = Recorder(taskset), random.Random(7)
    jobs, running = [job.name for job in taskset.jobs()], list[str]()
    for time in range(0, slices, 2):
        for job in running:
            recorder.off(time, job)
        running = draws.sample(jobs, 2)
        for job in running:
            recorder.on(time, job)
    return recorder.played(), taskset


@pytest.mark.parametrize("taskset", schedules(), ids=lambda each: each.name)
def test_every_schedule_that_comes_with_the_package_is_drawn(taskset: TaskSet) -> None:
    svg = draw(from_expectation(taskset), taskset)
    written = words(svg)
    assert taskset.name in written
    assert {task.name for task in taskset.tasks} <= set(written)
    assert {resource.name for resource in taskset.resources} <= set(written)
    assert svg == draw(from_expectation(taskset), taskset)
    assert "nan" not in svg


def test_every_slice_is_there_and_says_when_it_is() -> None:
    told = tips(draw(*shipped("edf-global-dhall-2cpu")))
    assert told.count("T3#0: 2 to 12") == 2  # on its processor, and in the lane of its task
    assert {"CPU 0", "CPU 1"} <= set(words(draw(*shipped("edf-global-dhall-2cpu"))))


def test_jobs_of_a_task_have_one_colour() -> None:
    root = ET.fromstring(draw(*shipped("rt-response-time-analysis")))
    fills: dict[str, set[str | None]] = {}
    for rect in root.iter(f"{SVG}rect"):
        tip = rect.find(f"{SVG}title")
        if tip is not None and tip.text:
            fills.setdefault(tip.text[0], set()).add(rect.get("fill"))
    assert [len(found) for found in fills.values()] == [1, 1, 1]
    assert len(set.union(*fills.values())) == 3


def test_a_miss_is_said_and_so_is_by_how_much() -> None:
    svg = draw(*shipped("rt-rm-miss-soft-silberschatz"))
    assert {"missed", "1 deadline missed", "late", "horizon"} <= set(words(svg))
    assert "P2#0 is late by 5, 80 to 85" in tips(svg)
    assert "no deadline missed" in words(draw(*shipped("edf-ties")))


def test_who_holds_and_who_waits_is_shown() -> None:
    told = tips(draw(*shipped("pi-off-burns-wellings")))
    assert "a: 1 to 13" in told
    assert "d waits for Q, held by a, 6 to 13" in told


def test_a_deadlock_and_its_victim_are_shown() -> None:
    assert {"deadlock", "ended (victim)", "deadlock at 3"} <= set(words(draw(*shipped("deadlock-ab-ba"))))


def test_a_boost_is_shown_where_it_is() -> None:
    assert words(draw(*shipped("fair-mlfq-boost"))).count("boost") == 1


def test_a_picture_is_told_to_those_who_do_not_see_it() -> None:
    root = ET.fromstring(draw(*shipped("rt-rm-miss-hard")))
    description = root.findtext(f"{SVG}desc") or ""
    assert root.get("role") == "img"
    assert [each.get("id") for each in root[:2]] == (root.get("aria-labelledby") or "").split()
    assert description.startswith(
        "rt-rm-miss-hard: 2 tasks under REALTIME on 1 processor. It runs P1#0 from 0"
    )
    assert description.endswith("P2#0 missed its deadline at 80.")


def test_whatever_a_task_is_called_the_picture_is_valid() -> None:
    name = "<b>&\"' 日本語 " + "long " * 20
    taskset = read_schedule(
        {"name": name, "tasks": [{"name": name, "exec": 3, "deadline": 2}], "resources": [name]}
    )
    recorder = Recorder(taskset)
    recorder.on(0, name)
    recorder.acquire(1, name, name)
    recorder.finished(3, name)
    assert f"{name}: 0 to 3" in tips(draw(recorder.played(), taskset))


def test_ten_thousand_slices_make_a_picture_of_a_reasonable_size() -> None:
    played, taskset = shuffled(10_000)
    svg = draw(played, taskset)
    assert len(played.slices) > 9000
    assert len(svg) < 2_000_000
    assert float(ET.fromstring(svg).get("width") or 0) < 2700


def test_more_tasks_than_anybody_looks_at_are_counted() -> None:
    taskset = read_schedule({"tasks": [{"name": f"T{k}", "exec": 1} for k in range(70)], "processors": 40})
    written = words(draw(Recorder(taskset).played(), taskset))
    assert "and 10 more" in written
    assert "T59" in written
    assert "T60" not in written


@pytest.mark.parametrize("arrival", [0, 0.25, 1e11])
def test_a_play_in_which_nothing_runs_is_drawn_too(arrival: float) -> None:
    taskset = read_schedule({"tasks": [{"name": "A", "exec": 3, "arrival": arrival}]})
    assert "Nothing runs." in draw(Recorder(taskset).played(), taskset)


def test_several_plays_stand_below_each_other_in_one_picture() -> None:
    plays = [shipped("edf-ties"), shipped("pi-transitive")]
    svg = draw_all(plays)
    assert {"edf-ties", "pi-transitive"} <= set(words(svg))
    root = ET.fromstring(svg)
    each = [float(ET.fromstring(draw(*play)).get("height") or 0) for play in plays]
    assert float(root.get("height") or 0) == pytest.approx(sum(each))
    assert next(group.get("transform") for group in root.findall(f"{SVG}g")) == "translate(0 0)"


# -------------------------------------------------------------------------------------------------- the story


def test_who_waits_does_so_until_it_is_handed_over() -> None:
    story = Story(*shipped("pi-transitive"))
    assert story.resources["S1"].waits == [Span(5, 9, "H", "M")]
    assert story.tasks["M"].blocked == [Span(5, 8, "M", "S2")]
    assert story.resources["S2"].held == [Span(1, 8, "L"), Span(8, 9, "M")]


def test_what_is_held_to_the_end_is_held_to_the_end() -> None:
    taskset = read_schedule(
        {
            "tasks": [{"name": "A", "exec": 9}, {"name": "B", "exec": 9}],
            "resources": ["R"],
            "params": {"until": 5},
        }
    )
    recorder = Recorder(taskset)
    recorder.acquire(1, "A", "R")
    recorder.block(2, "B", "R", "A")
    story = Story(recorder.played(), taskset)
    assert story.resources["R"].held == [Span(1, 5, "A")]
    assert story.resources["R"].waits == [Span(2, 5, "B", "A")]


def test_a_job_that_is_stopped_lives_until_its_deadline() -> None:
    lives = Story(*shipped("rt-rm-miss-hard")).tasks["P2"].lives
    assert lives[0] == Span(0, 80, "P2#0")


def test_spans_that_lie_over_each_other_have_rows_of_their_own() -> None:
    spans = [Span(0, 4, "A"), Span(2, 6, "B"), Span(4, 5, "C"), Span(3, 9, "D")]
    rows, left_out = rows_of(spans, 2)
    assert [[span.job for span in row] for row in rows] == [["A", "C"], ["B"]]
    assert left_out == 1


# -------------------------------------------------------------------------------------------- text and colour


def test_text_is_made_fit_for_xml() -> None:
    assert escaped('<a & "b">\x00\ud800') == "&lt;a &amp; &quot;b&quot;&gt;\ufffd\ufffd"


def test_text_is_cut_to_the_room_that_there_is() -> None:
    assert shortened("short", 10, 100) == "short"
    assert shortened("a long text", 10, 40).endswith("…")
    assert width_of(shortened("a long text", 10, 40), 10) <= 40
    assert shortened("a long text", 10, 3) == ""


def test_coordinates_are_short() -> None:
    assert [number(each) for each in (1.0, 0.126, -0.001, 1e6)] == ["1", "0.13", "0", "1000000"]


def test_there_is_a_colour_for_everybody() -> None:
    colours = [colour_of(place) for place in range(100)]
    assert len(set(colours)) == 100
    assert darker("#ffffff") == "#adadad"
    assert (text_on("#ffffff"), text_on("#202020")) == ("#10151c", "#ffffff")
