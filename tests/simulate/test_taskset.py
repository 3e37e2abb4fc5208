"""What a file for `actorsched simulate` may say, and what is said to somebody whose file makes no sense."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import pytest

from actorsched.simulate.conformance import shipped
from actorsched.simulate.reading import read, read_schedule
from actorsched.simulate.taskset import Acquire, BadTaskSet, Release, Resource, Run


def one(**changes: Any) -> dict[str, Any]:
    """A schedule of one task, with changes."""
    return {"name": "one", "tasks": [{"name": "A", "exec": 3}], **changes}


def task(**changes: Any) -> dict[str, Any]:
    """The same, with changes to its task."""
    return one(tasks=[{"name": "A", "exec": 3, **changes}])


def program(*steps: Any, **changes: Any) -> dict[str, Any]:
    """A schedule of one task with a program, and a resource R."""
    return one(tasks=[{"name": "A", "program": list(steps)}], resources=["R"], **changes)


def refusal(schedule: object) -> str:
    """The line that a file is refused with."""
    with pytest.raises(BadTaskSet) as caught:
        read(json.dumps(schedule))
    line = str(caught.value)
    assert line.startswith("$")
    assert line.isprintable()
    return line


# ------------------------------------------------------------------------------------------- what may be said


def test_what_is_not_said_has_a_default() -> None:
    taskset = read_schedule({"tasks": [{"name": "A", "exec": 3}]})
    assert (taskset.name, taskset.policy, taskset.processors) == ("unnamed", "PRIORITY", 1)
    assert (taskset.tasks[0].arrival, taskset.tasks[0].priority, taskset.tasks[0].deadline) == (0, 0, None)
    assert (taskset.params.preemptive, taskset.params.preempted_to) == (True, "head")


@pytest.mark.parametrize("name", ["priority", "Priority+PI", "edf", "FAIR", "RealTime", "deadlock"])
def test_the_name_of_a_policy_may_be_written_in_any_letters(name: str) -> None:
    assert read_schedule(one(policy=name)).policy == name.upper()


def test_only_with_inheritance_in_its_name_does_a_policy_inherit() -> None:
    inheriting = {
        name for name in ("PRIORITY", "PRIORITY+PI", "DEADLOCK") if read_schedule(one(policy=name)).inherits
    }
    assert inheriting == {"PRIORITY+PI", "DEADLOCK"}


def test_one_schedule_stands_alone_and_several_under_their_key() -> None:
    assert not read(json.dumps(one())).several
    file = read(json.dumps({"schedules": [one(), one(name="two")]}))
    assert file.several
    assert [taskset.name for taskset in file.schedules] == ["one", "two"]


def test_exec_is_a_program_of_one_step() -> None:
    assert read_schedule(one()).jobs()[0].steps == (Run(3),)


def test_a_program_is_a_series_of_steps() -> None:
    taskset = read_schedule(program(["run", 1], ["acquire", "R"], ["run", 2.5], ["release", "R"]))
    job = taskset.jobs()[0]
    assert job.steps == (Run(1), Acquire("R"), Run(2.5), Release("R"))
    assert job.cost == 3.5


def test_a_resource_may_have_several_units() -> None:
    taskset = read_schedule(one(resources=["R", {"name": "S", "capacity": 3}]))
    assert taskset.resources == (Resource("R"), Resource("S", 3))


def test_whole_times_stay_whole() -> None:
    job = read_schedule(task(arrival=2, deadline=9)).jobs()[0]
    assert [type(each) for each in (job.arrival, job.deadline, job.cost)] == [int, int, int]


def test_remarks_are_passed_over_and_results_are_what_is_expected() -> None:
    taskset = read_schedule(
        one(note="x", mean_wait=2, verified=None, expected=[[0, 3, "A"]], finish={"A": 3})
    )
    assert taskset.expectation.finish == {"A": 3}
    assert taskset.expectation.slices is not None
    assert taskset.expectation.misses is None


def test_everything_that_comes_with_the_package_is_read() -> None:
    file = shipped()
    assert len(file.schedules) == 18
    assert file.graphs[0].waits["D"] == ("S", "T")
    assert file.graphs[0].deadlock is not None
    assert file.graphs[0].deadlock.cycles == (("D", "E", "G"),)


def test_under_another_policy_nothing_is_expected_any_more() -> None:
    taskset = read_schedule(one(policy="EDF", finish={"A": 3}))
    assert taskset.with_policy("edf") is taskset
    assert taskset.with_policy("fair").policy == "FAIR"
    assert taskset.with_policy("fair").expectation.finish is None
    with pytest.raises(BadTaskSet, match="'fare' is no policy; give PRIORITY"):
        taskset.with_policy("fare")


# ------------------------------------------------------------------------------------------------------- jobs


def test_a_periodic_task_has_a_job_in_every_period_before_the_horizon() -> None:
    taskset = read_schedule({**task(period=10, arrival=1), "params": {"until": 21}})
    jobs = [(job.name, job.arrival, job.deadline) for job in taskset.jobs()]
    assert jobs == [("A#0", 1, 11), ("A#1", 11, 21)]


def test_jobs_of_one_instant_are_in_the_order_of_their_tasks() -> None:
    tasks = [{"name": name, "exec": 1, "period": period} for name, period in (("B", 2), ("A", 4))]
    names = [job.name for job in read_schedule(one(tasks=tasks, params={"until": 5})).jobs()]
    assert names == ["B#0", "A#0", "B#1", "B#2", "A#1"]


def test_what_would_arrive_at_the_horizon_is_no_job() -> None:
    assert read_schedule({**task(arrival=5), "params": {"until": 5}}).jobs() == []


def test_periods_of_fractions_do_not_drift() -> None:
    taskset = read_schedule({**task(period=0.1, exec=0.01), "params": {"until": 100}})
    assert [job.arrival for job in taskset.jobs()][-1] == pytest.approx(99.9, abs=1e-12)


def test_ten_thousand_jobs_are_read_at_once() -> None:
    tasks = [{"name": f"T{k}", "exec": 1, "arrival": k, "deadline": k + 9} for k in range(10_000)]
    text, start = json.dumps(one(tasks=tasks)), time.perf_counter()
    assert len(read(text).schedules[0].jobs()) == 10_000
    assert time.perf_counter() - start < 5


# -------------------------------------------------------------------------------------------- what is refused

TYPES: list[tuple[dict[str, Any], str]] = [
    (task(exec="5"), '$.tasks[0].exec: "5" is text; give a number of ticks above 0, such as 3'),
    (task(exec=True), "$.tasks[0].exec: true is a truth value; give a number of ticks above 0, such as 3"),
    (
        task(priority=1.5),
        "$.tasks[0].priority: 1.5 is no whole number; give a whole number; more is more urgent",
    ),
    (task(exce=3), "$.tasks[0].exce: is unknown; did you mean"),
    (one(params={"quantums": 3}), '$.params.quantums: is unknown; did you mean "quantum"?'),
    (one(params={"preempted_to": "hed"}), '$.params.preempted_to: "hed" is unknown; give "head" or "tail"'),
    (one(params=[]), "$.params: [] is an array; give an object such as"),
    (one(tasks={}), "$.tasks: {} is an object; give an array of tasks"),
    (one(tasks=["A"]), '$.tasks[0]: "A" is text; give a task such as'),
    (one(tasks=[{"exec": 3}]), '$.tasks[0]: {"exec": 3} has no "name"; give a name'),
    ({"name": "none"}, '$: {"name": "none"} has no "tasks"; give an array of tasks'),
    (one(processor=2), '$.processor: is unknown; did you mean "processors"?'),
    (one(Tasks=[]), '$.Tasks: is unknown; did you mean "tasks"?'),
    (program(["runn", 3]), '$.tasks[0].program[0][0]: "runn" is unknown; give a step such as ["run", 3]'),
    (program(["run"]), '$.tasks[0].program[0]: ["run"] has the wrong length; give a step such as'),
    (program(["run", "3"]), '$.tasks[0].program[0][1]: "3" is text; give a number of ticks'),
    (one(finish={"A": "x"}), '$.finish: {"A": "x"} is an object; give an object of finish times'),
    (one(expected=[[0, 1]]), "$.expected[0]: [0, 1] has the wrong length; give an array of slices"),
]


@pytest.mark.parametrize(("schedule", "beginning"), TYPES, ids=[line.partition(":")[0] for _, line in TYPES])
def test_a_wrong_type_or_word_is_shown_where_it_stands(schedule: dict[str, Any], beginning: str) -> None:
    assert refusal(schedule).startswith(beginning)


SENSE: list[tuple[dict[str, Any], str]] = [
    (
        one(policy="fifo"),
        "$.policy: 'fifo' is no policy; give PRIORITY, PRIORITY+PI, EDF, FAIR, REALTIME or DEADLOCK",
    ),
    (one(processors=0), "$.processors: 0 is out of range; give a whole number from 1"),
    (one(tasks=[]), "$.tasks: [] has no task; give"),
    (task(exec=0), "$.tasks[0].exec: 0 is nothing; give"),
    (task(exec=-1), "$.tasks[0].exec: -1 is negative; give"),
    (task(exec=float("nan")), "$.tasks[0].exec: NaN is not finite; give"),
    (task(exec=float("inf")), "$.tasks[0].exec: Infinity is not finite; give"),
    (task(exec=1e-9), "$.tasks[0].exec: 1e-09 is less than 1e-06; give"),
    (
        task(exec=10**30),
        "$.tasks[0].exec: 1000000000000000000000000000000 is too much; give at most 1000000000000",
    ),
    (task(arrival=-1), "$.tasks[0].arrival: -1 is negative; give a tick, 0 or later"),
    (task(name=""), '$.tasks[0].name: "" is empty; give'),
    (task(name="a\nb"), '$.tasks[0].name: "a\\nb" has characters that cannot be printed; give'),
    (task(name="\ud800"), '$.tasks[0].name: "\\ud800" has characters that cannot be printed; give'),
    (task(program=[["run", 1]]), '$.tasks[0]: "A" has both exec and program; give one of them'),
    (task(exec=None), '$.tasks[0]: "A" has neither exec nor program; give "exec": 3, for example'),
    (task(deadline=5, arrival=5), "$.tasks[0].deadline: 5 is not after the arrival at 5; give"),
    (task(period=5), "$.tasks[0].period: 5 would go on for ever; give params.until"),
    ({**task(period=0), "params": {"until": 5}}, "$.tasks[0].period: 0 is nothing; give"),
    (
        {**task(period=5, deadline=3), "params": {"until": 5}},
        "$.tasks[0].deadline: 3 stands beside the period 5",
    ),
    (
        {**task(period=1), "params": {"until": 10**12}},
        "$.tasks[0].period: 1 makes more than 1000000 jobs; give",
    ),
    (
        one(tasks=[{"name": "A", "exec": 3}] * 2),
        '$.tasks[1].name: "A" is also $.tasks[0]; give every task another name',
    ),
    (
        one(tasks=[{"name": "A", "exec": 1, "period": 5}, {"name": "A#1", "exec": 1}], params={"until": 9}),
        '$.tasks[1].name: "A#1" is the name of a job of "A"; give it another one',
    ),
    (
        one(resources=["R", "R"]),
        '$.resources[1]: "R" is also $.resources[0]; give every resource another name',
    ),
    (one(resources=[{"name": "R", "capacity": 0}]), "$.resources[0].capacity: 0 is out of range; give"),
    (program(["run", 1], ["acquire", "Q"]), '$.tasks[0].program[1][1]: "Q" is no resource; give one of "R"'),
    (program(["release", "R"]), '$.tasks[0].program[0][1]: "R" is not held here; give an acquire before it'),
    (
        program(["acquire", "R"], ["run", 1], ["acquire", "R"]),
        '$.tasks[0].program[2][1]: "R" is held already, since step 0; give a release before it',
    ),
    (
        program(["acquire", "R"], ["run", 1]),
        '$.tasks[0].program[0][1]: "R" is still held at the end; give a release after it',
    ),
    (program(), '$.tasks[0].program: never runs; give at least one ["run", n]'),
    (program(["run", 0]), "$.tasks[0].program[0][1]: 0 is nothing; give a number of ticks"),
    (one(params={"quantum": 0}), "$.params.quantum: 0 is nothing; give"),
    (one(params={"levels": 2, "quanta": [1, 2, 3]}), "$.params.quanta: [1, 2, 3] has 3 for 2 levels; give 2"),
    (one(params={"quanta": [1, -2]}), "$.params.quanta[1]: -2 is negative; give"),
    (one(expected=[[3, 3, "A"]]), "$.expected[0][1]: 3 is not after the start; give"),
    (one(expected=[[0, 3, "A", 1]]), "$.expected[0][3]: 1 is no processor; give 0 to 0"),
    (one(finish={"A": float("nan")}), '$.finish["A"]: NaN is not finite; give'),
]


@pytest.mark.parametrize(("schedule", "beginning"), SENSE, ids=[line.partition("; ")[0] for _, line in SENSE])
def test_what_makes_no_sense_is_shown_where_it_stands(schedule: dict[str, Any], beginning: str) -> None:
    assert refusal(schedule).startswith(beginning)


def test_the_path_tells_the_schedules_apart() -> None:
    line = refusal({"schedules": [one(), one(), task(exec="5")]})
    assert line.startswith('$.schedules[2].tasks[0].exec: "5" is text; give')


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "$: not JSON at line 1, column 1: Expecting value; give a JSON object"),
        ('{"tasks":\n [1,}', "$: not JSON at line 2, column 5: "),
        (b"\xff\xfe\xfa", "$: byte "),
        (b'{"a": "\xff"}', "$: byte 7 is no utf-8 text; give JSON in UTF-8"),
        ("[]", "$: [] is no object; give an object such as"),
        ("[" * 100_000, "$: is nested too deeply; give a schedule object"),
        ('{"tasks": 1' + "0" * 5000 + "}", "$: has a number of thousands of digits; give"),
        ('{"tasks": [{"exec": 1, "exec": 2}]}', '$.tasks[0]: "exec" stands twice; give it once'),
        ('{"schedules": []}', "$.schedules: is empty; give at least one schedule object"),
        ('{"schedules": {}}', "$.schedules: {} is no array; give an array of schedule objects"),
        ('{"schedules": [], "tasks": []}', '$.tasks: stands beside "schedules"'),
        ('{"schedules": [3]}', "$.schedules[0]: 3 is a number; give an object such as"),
    ],
)
def test_what_is_no_file_of_ours_at_all_is_refused_in_one_line(text: str | bytes, line: str) -> None:
    with pytest.raises(BadTaskSet) as caught:
        read(text)
    assert str(caught.value).startswith(line)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"holds": {"X": ["R"]}}, '$.graphs[0].holds: "X" is no task; give'),
        ({"waits": {"A": ["X"]}}, '$.graphs[0].waits: "X" is no resource; give'),
        ({"holds": {"A": ["R"], "B": ["R"]}}, '$.graphs[0].holds: "R" is held more often than it has units'),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(change: dict[str, Any], line: str) -> None:
    graph = {"name": "g", "tasks": [{"name": "A"}, {"name": "B"}], "resources": ["R"], **change}
    assert refusal({"graphs": [graph]}).startswith(line)


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refusal(task(exec="5" * 10_000))) < 200


def test_the_error_travels() -> None:
    error = pickle.loads(pickle.dumps(BadTaskSet("$.tasks", "is odd")))
    assert (str(error), error.path, error.fault) == ("$.tasks: is odd", "$.tasks", "is odd")
