"""The front end `taskflow`: tasks as classes, in groups by tag, and what of them depends on what."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import signal
import threading
import traceback
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from actorsched import (
    ActorschedError,
    DeadlockError,
    DependencyCycle,
    DependencyFailed,
    TaskCancelled,
    checkpoint,
    current,
)
from actorsched.frontends import taskflow
from actorsched.frontends._jobs import Job, find, forget
from actorsched.frontends._shared import SHARED
from actorsched.frontends.taskflow import (
    AlreadyRun,
    BadArgument,
    CircularDependency,
    Executor,
    NoResult,
    Scheduler,
    Task,
    TaskFlowError,
    TaskStatus,
    UnknownDependency,
)
from tests.commands import run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EXAMPLE = """
import logging
import sys
import threading

from actorsched.frontends.taskflow import Executor, Scheduler, Task

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
log = logging.getLogger("files")


class Step(Task):
    def __init__(self, file, **kwargs):
        super().__init__(**kwargs)
        self.file = file


class Load(Step):
    def execute(self):
        log.info(f"load {self.file}")

    def tag(self):
        return "disk"


class Count(Step):
    def execute(self):
        log.info(f"count {self.file}")

    def tag(self):
        return "processor"


class Pack(Step):
    def execute(self):
        log.info(f"pack {self.file}")
        return f"{self.file}.gz"

    def tag(self):
        return "processor"


def work(files):
    loads = [Load(file) for file in files]
    counts = [Count(load.file, dependencies={load}) for load in loads]
    packs = [Pack(count.file, dependencies={count}) for count in counts]
    Executor(Scheduler(set(loads + counts + packs)), workers_per_tag=2).run()
    return [pack.result for pack in packs]


if __name__ == "__main__":
    print(work(["a", "b", "c", "d", "e"]))
"""


class Do(Task):
    """Calls a function."""

    def __init__(
        self, function: Callable[[], Any], tag: Any = "default", name: str = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.name = name
        self._tag = tag

    def execute(self) -> Any:
        return self.function()

    def tag(self) -> Any:
        return self._tag


class DoAsync(Do):
    """Awaits what a function returns."""

    async def execute(self) -> Any:
        return await self.function()


def nothing() -> None:
    """What costs no time."""


def fails() -> None:
    raise ValueError("it does not work")


def execute(*tasks: Task, workers: Any = 2) -> Executor:
    executor = Executor(Scheduler(tasks), workers)
    executor.run()
    return executor


class Crowd:
    """Sees how many are inside at once. Each stays until as many as fit have been there, or all have come."""

    def __init__(self, room: int) -> None:
        self.most = self.inside = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(room)

    def __call__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._barrier.wait(10)
        with self._lock:
            self.inside -= 1


# ------------------------------------------------------------------------------------------------ the example


@pytest.mark.process
def test_a_script_of_such_tasks_runs_through_and_leaves_nothing() -> None:
    answer = run(code=EXAMPLE)
    assert answer.code == 0
    assert answer.complaints == ""
    assert answer.lines[-1] == "['a.gz', 'b.gz', 'c.gz', 'd.gz', 'e.gz']"
    for file in "abcde":
        steps = [line.split()[0] for line in answer.lines if line.endswith(f" {file}")]
        assert steps == ["load", "count", "pack"]


async def test_a_program_with_an_event_loop_runs_tasks_in_a_thread_beside_it() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        assert may_end.wait(10)
        return "done"

    task = Do(wait)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, Executor(Scheduler({task})).run)
        await anyio.to_thread.run_sync(begun.wait)
        assert task.status is TaskStatus.RUNNING
        may_end.set()  # this loop was never blocked
    assert task.result == "done"


async def test_run_may_be_called_within_a_running_loop_which_it_blocks() -> None:
    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 42

    task = DoAsync(answer)
    execute(task)
    assert task.result == 42


# ----------------------------------------------------------------------------------------- order, and results


def test_a_task_begins_when_all_that_it_depends_on_has_completed() -> None:
    order: list[str] = []
    one, two = Do(lambda: order.append("one")), Do(lambda: order.append("two"))
    last = Do(lambda: order.append("last"), dependencies={one, two})
    execute(last, one, two)
    assert sorted(order[:2]) == ["one", "two"]
    assert order[2:] == ["last"]


def test_a_task_finds_the_results_of_those_that_it_depends_on() -> None:
    def double(number: Task) -> Any:
        return 2 * number.result

    numbers = [Do(partial(abs, n)) for n in range(200)]
    doubled = [Do(partial(double, number), dependencies=[number]) for number in numbers]
    execute(*numbers, *doubled)
    assert [task.result for task in doubled] == [2 * n for n in range(200)]


def test_where_dependencies_leave_a_choice_tasks_begin_in_the_order_in_which_they_were_made() -> None:
    order: list[int] = []
    tasks = [Do(partial(order.append, n)) for n in range(50)]
    execute(*set(tasks), workers=1)
    assert order == list(range(50))


def test_a_plain_execute_runs_in_a_thread_and_an_async_one_in_an_event_loop() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    plain, one, other = Do(threading.current_thread), DoAsync(loop), DoAsync(loop)
    execute(plain, one, other)
    assert plain.result is not threading.main_thread()
    assert one.result is other.result


def test_plain_and_async_tasks_depend_on_each_other() -> None:
    async def double() -> Any:
        return 2 * first.result

    first = Do(lambda: 3)
    second = DoAsync(double, dependencies={first})
    third = Do(lambda: second.result + 1, dependencies={second})
    execute(first, second, third)
    assert third.result == 7


def test_a_set_without_tasks_is_run_at_once() -> None:
    Executor(Scheduler(())).run()


def test_a_task_may_run_an_executor_of_its_own() -> None:
    inner = Do(lambda: "inner")
    outer = Do(lambda: [execute(inner), inner.result])
    execute(outer, workers=1)
    assert outer.result[1] == "inner"


# ------------------------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize("workers", [3, {"io": 3}])
def test_as_many_tasks_of_a_tag_run_at_once_as_it_has_workers(workers: Any) -> None:
    crowd = Crowd(3)
    execute(*[Do(crowd, tag="io") for _ in range(9)], workers=workers)
    assert crowd.most == 3


def test_each_tag_has_workers_of_its_own() -> None:
    crowd = Crowd(4)  # who is inside waits until two of each tag are
    execute(*[Do(crowd, tag=tag) for tag in ("io", "cpu") * 2], workers=2)
    assert crowd.most == 4


def test_a_tag_that_the_mapping_does_not_mention_has_two_workers() -> None:
    one, two = Crowd(1), Crowd(2)
    execute(
        *[Do(one, tag="io") for _ in range(4)], *[Do(two, tag="cpu") for _ in range(4)], workers={"io": 1}
    )
    assert (one.most, two.most) == (1, 2)


def test_async_tasks_count_for_their_tag_too() -> None:
    inside = most = 0

    async def come_and_go() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        inside -= 1

    execute(*[DoAsync(come_and_go) for _ in range(10)], workers=2)
    assert most == 2


def test_the_tag_of_a_task_that_names_none_is_default() -> None:
    class Plain(Task):
        def execute(self) -> str:
            return "done"

    task = Plain()
    assert task.tag() == "default"
    execute(task, workers={"default": 1})
    assert task.result == "done"


def test_a_tag_is_asked_for_once_when_the_scheduler_takes_the_task() -> None:
    asked: list[str] = []

    class Asked(Do):
        def tag(self) -> str:
            asked.append("asked")
            return "io"

    scheduler = Scheduler({Asked(nothing)})
    assert asked == ["asked"]
    Executor(scheduler).run()
    assert asked == ["asked"]


# ---------------------------------------------------------------------------------------------------- failure


def test_a_failure_skips_those_that_depend_on_it_and_no_others() -> None:
    bad = Do(fails)
    skipped = Do(nothing, dependencies={bad})
    skipped_too = Do(nothing, dependencies={skipped})
    other = Do(lambda: "other")
    after_other = Do(lambda: "after other", dependencies={other})
    with pytest.raises(ExceptionGroup) as raised:
        execute(bad, skipped, skipped_too, other, after_other)

    assert str(raised.value).startswith("1 of 5 tasks failed, and 2 more were skipped")
    assert raised.value.exceptions == (bad.error,)
    assert isinstance(bad.error, ValueError)
    assert isinstance(skipped.error, DependencyFailed)
    assert isinstance(skipped_too.error, DependencyFailed)
    assert bad.status is skipped.status is skipped_too.status is TaskStatus.FAILED
    assert (other.result, after_other.result) == ("other", "after other")
    assert other.error is None


def test_all_failures_are_raised_together_once_everything_has_settled() -> None:
    tasks = [Do(fails, name=f"number {n}") for n in range(5)]
    last = Do(lambda: "done")
    with pytest.raises(ExceptionGroup) as raised:
        execute(*tasks, last)
    assert len(raised.value.exceptions) == 5
    assert last.result == "done"
    told = "".join(traceback.format_exception(raised.value))
    assert "number 3" in told
    assert "in fails" in told, "the place where it was raised"


def test_the_same_holds_for_async_tasks() -> None:
    async def fail() -> None:
        raise KeyError("nothing there")

    bad = DoAsync(fail)
    skipped = DoAsync(fail, dependencies={bad})
    with pytest.raises(ExceptionGroup) as raised:
        execute(bad, skipped)
    assert raised.value.exceptions == (bad.error,)
    assert isinstance(skipped.error, DependencyFailed)


def test_the_result_of_a_task_that_failed_is_refused_with_its_reason() -> None:
    bad = Do(fails, name="the bad one")
    with pytest.raises(ExceptionGroup):
        execute(bad)
    with pytest.raises(
        NoResult, match=r"'the bad one' .* failed .*it does not work.*look at its status"
    ) as no:
        _ = bad.result
    assert no.value.__cause__ is bad.error


def test_an_unsettled_task_has_neither_a_result_nor_an_error() -> None:
    task = Do(nothing)
    assert (task.status, task.result, task.error) == (TaskStatus.PENDING, None, None)
    assert Do(nothing, dependencies={task}).status is TaskStatus.WAITING


def test_what_becomes_of_tasks_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "actorsched.task")
    with pytest.raises(ExceptionGroup):
        execute(Do(nothing, name="good"), Do(fails, name="bad"))
    said = {(record.levelname, record.getMessage().split("'")[1]) for record in caplog.records}
    assert said == {("INFO", "good"), ("INFO", "bad"), ("ERROR", "bad")}


def test_the_log_has_the_end_of_a_task_before_what_depends_on_it_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "actorsched.task")
    first = Do(nothing, name="first")
    execute(first, Do(nothing, name="second", dependencies={first}))
    said = [record.getMessage().split("'")[1] for record in caplog.records]
    assert said == ["first", "first", "second", "second"]


# ----------------------------------------------------------------------------------------------- cancellation


def test_a_running_task_is_cancelled_at_once_and_what_it_returns_is_dropped() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def hang() -> str:
        begun.set()
        assert may_end.wait(10)
        return "too late"

    task = Do(hang)
    after = Do(nothing, dependencies={task})
    other = Do(lambda: "other")
    runner = threading.Thread(target=execute, args=(task, after, other))
    runner.start()
    assert begun.wait(10)
    assert task.cancel("not needed")
    runner.join(10)  # run has returned, though the function still hangs
    assert not runner.is_alive()
    may_end.set()

    assert task.status is after.status is TaskStatus.CANCELLED
    assert isinstance(task.error, TaskCancelled)
    assert task.error.reason == "not needed"
    assert other.result == "other"
    assert not task.cancel(), "it had settled"
    assert not other.cancel()
    assert other.result == "other"


def test_an_async_task_is_cancelled_where_it_waits() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    task = DoAsync(hang)
    runner = threading.Thread(target=execute, args=(task,))
    runner.start()
    assert begun.wait(10)
    assert task.cancel()
    runner.join(10)
    assert ended.wait(10)


def test_a_plain_task_that_asks_now_and_then_stops() -> None:
    begun, ended = threading.Event(), threading.Event()

    def ask() -> None:
        begun.set()
        try:
            while True:
                checkpoint()
        finally:
            ended.set()

    executor = Executor(Scheduler({Do(ask)}))
    runner = threading.Thread(target=executor.run)
    runner.start()
    assert begun.wait(10)
    assert executor.cancel()
    assert ended.wait(10)
    runner.join(10)


def test_a_task_cancelled_before_the_run_never_begins() -> None:
    task = Do(fails)
    after = Do(fails, dependencies={task})
    other = Do(lambda: "other")
    assert task.cancel()
    execute(task, after, other)
    assert task.status is after.status is TaskStatus.CANCELLED
    assert other.result == "other"


def test_an_executor_cancels_all_that_has_not_settled() -> None:
    begun = threading.Event()

    async def hang() -> None:
        begun.set()
        await anyio.sleep_forever()

    first = Do(lambda: "first")
    hanging = DoAsync(hang, dependencies={first})
    last = Do(fails, dependencies={hanging})
    executor = Executor(Scheduler({first, hanging, last}))
    runner = threading.Thread(target=executor.run)
    runner.start()
    assert begun.wait(10)
    assert executor.cancel("enough")
    runner.join(10)
    assert (first.result, hanging.status, last.status) == (
        "first",
        TaskStatus.CANCELLED,
        TaskStatus.CANCELLED,
    )
    assert "enough" in str(last.error)
    assert not executor.cancel()


def test_an_executor_that_was_cancelled_before_has_nothing_left_to_run() -> None:
    task = Do(fails)
    executor = Executor(Scheduler({task}))
    assert executor.cancel()
    executor.run()
    assert task.status is TaskStatus.CANCELLED


INTERRUPTED = """
import threading
from actorsched.frontends.taskflow import Executor, Scheduler, Task

class Hang(Task):
    def execute(self):
        print("begun", flush=True)
        threading.Event().wait()

class After(Task):
    def execute(self):
        print("never")

hang = Hang()
after = After(dependencies={hang})
try:
    Executor(Scheduler({hang, after})).run()
except KeyboardInterrupt:
    print("interrupted", hang.status, after.status, "KeyboardInterrupt" in str(hang.error), flush=True)
    raise
"""


@pytest.mark.process
def test_ctrl_c_comes_out_of_run_at_once_and_cancels_all_tasks() -> None:
    with running(code=INTERRUPTED) as command:
        lines = command.lines()
        assert next(lines) == "begun"
        command.process.send_signal(signal.SIGINT)
        assert list(lines) == ["interrupted cancelled cancelled True"]
        answer = command.answer()
        assert "KeyboardInterrupt" in answer.complaints
        assert answer.code != 0
        assert not command.left()


# -------------------------------------------------------------------------------------------------- bad input


class Without(Task):
    """Says nowhere what is to be done."""


class Forgetful(Task):
    """Forgets to call super().__init__()."""

    def __init__(self) -> None:
        self.file = "a"

    def execute(self) -> None: ...


class Needy(Task):
    """Wants to be given something."""

    def execute(self, file: str) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError(file)


class Yields(Task):
    """Is a generator."""

    def execute(self) -> Iterable[int]:
        yield 1


class AsyncTag(Do):
    """Its tag would have to be awaited."""

    async def tag(self) -> str:  # type: ignore[override]
        return "io"


def with_(dependencies: Any) -> Callable[[], object]:
    return lambda: Do(nothing, dependencies=dependencies)


def scheduler_of(*tasks: Any) -> Callable[[], object]:
    return lambda: Scheduler(tasks)


def executor_with(workers: Any) -> Callable[[], object]:
    return lambda: Executor(Scheduler({Do(nothing, tag="io")}), workers)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Task, r"Task says nowhere what is to be done; give it a method `execute\(self\)`"),
        (Without, r"Without says nowhere"),
        (Needy, r"Needy.execute cannot be called with self alone .*'file'.*as attributes"),
        (Yields, r"Yields.execute is a generator function; let it return"),
        (type("Odd", (Task,), {"execute": 5}), r"Odd.execute=5 cannot be called; make it a method"),
        (with_(Do(nothing)), r"dependencies=<Do .* of type Do; give a set of tasks, such as \{task\}"),
        (with_("taskflow-1"), r"dependencies='taskflow-1' of Do is of type str; give a set"),
        (with_(None), r"dependencies=None of Do is of type NoneType"),
        (with_({5}), r"dependencies of Do hold 5, which is no task; give a task, or the id of one"),
        (with_({Do}), r"dependencies of Do hold <class .*give a task, not the class"),
        (scheduler_of("taskflow-1"), r"tasks hold 'taskflow-1', which is no task; give instances of Task"),
        (scheduler_of(Do), r"tasks hold <class .*, which is no task; give its instances, not the class"),
        (
            scheduler_of(Forgetful()),
            r"a Forgetful was never initialised; call super\(\).__init__\(\*\*kwargs\)",
        ),
        (lambda: Scheduler(Do(nothing)), r"tasks=<Do .* is of type Do; give a set"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (lambda: Scheduler(None), r"tasks=None is of type NoneType; give a set"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (
            scheduler_of(Do(nothing, tag=5)),
            r"the tag of <Do .*> is 5; let its method `tag\(self\)` return a str",
        ),
        (scheduler_of(Do(nothing, tag=" ")), r"the tag of <Do .*> is ' '; let"),
        (scheduler_of(AsyncTag(nothing)), r"the tag of <AsyncTag .*coroutine.*return a str"),
        (lambda: Executor({Do(nothing)}), r"scheduler=\{.* is of type set; give a Scheduler"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (executor_with(0), r"workers_per_tag=0 is less than 1; give an int of 1 or more or a mapping"),
        (executor_with(-1), r"workers_per_tag=-1 is less than 1"),
        (executor_with(True), r"workers_per_tag=True is of type bool"),
        (executor_with(2.5), r"workers_per_tag=2.5 is of type float"),
        (executor_with(None), r"workers_per_tag=None is of type NoneType"),
        (executor_with({"io": 0}), r"workers_per_tag\['io'\]=0 is less than 1; give an int of 1 or more"),
        (executor_with({"io": "2"}), r"workers_per_tag\['io'\]='2' is of type str"),
        (executor_with({"gpu": 1}), r"names the tag 'gpu', which no task has; there are tags 'io'"),
        (lambda: Do(nothing).cancel(5), r"reason=5 is of type int; say why as a str"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (lambda: Forgetful().cancel(), r"a Forgetful was never initialised"),
        (lambda: Executor(Scheduler(())).cancel(5), r"reason=5 is of type int"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_is_wrong_is_refused_at_the_call_with_the_remedy(
    wrong: Callable[[], object], message: str
) -> None:
    with pytest.raises(BadArgument, match=message):
        wrong()
    assert "none" in repr(SHARED), "nothing was queued: there is no runtime"


def test_a_dependency_that_cannot_be_hashed_is_refused() -> None:
    class Equal(Do):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(BadArgument, match=r"cannot be hashed.*eq=False"):
        Do(nothing, dependencies=[Equal(nothing)])


def test_an_id_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        UnknownDependency, match=r"Do depends on 'taskflow-0', but no task of this id is known"
    ):
        Do(nothing, dependencies={"taskflow-0"})


def test_a_dependency_outside_the_set_is_refused() -> None:
    outside = Do(nothing, name="outside")
    inside = Do(nothing, dependencies={outside})
    with pytest.raises(
        UnknownDependency, match=r"<Do .* depends on <outside .* not among the tasks .*add it"
    ):
        Scheduler({inside})
    execute(inside, outside)


def test_a_circle_is_refused_and_named() -> None:
    egg = Do(nothing, name="egg")
    hen = Do(nothing, name="hen", dependencies={egg})
    egg.dependencies.add(hen)
    bystander = Do(nothing, name="bystander", dependencies={hen})
    with pytest.raises(CircularDependency, match=r"circle.*nothing was queued; take one") as circle:
        Scheduler({bystander, egg, hen})
    assert {name.split()[0] for name in circle.value.path} == {"egg", "hen"}
    assert circle.value.path[0] == circle.value.path[-1]
    assert isinstance(circle.value, DependencyCycle)

    egg.dependencies = set()
    execute(bystander, egg, hen)  # nothing was queued, so it may be mended


def test_the_path_of_a_circle_leads_from_each_task_to_one_that_it_depends_on() -> None:
    one = Do(nothing, name="one")
    two = Do(nothing, name="two", dependencies={one})
    three = Do(nothing, name="three", dependencies={two})
    one.dependencies = {three}
    with pytest.raises(CircularDependency) as circle:
        Scheduler({one, two, three})
    path = " ".join(name.split()[0] for name in circle.value.path)
    assert path in ("one three two one", "three two one three", "two one three two")


def test_a_task_that_depends_on_itself_is_a_circle() -> None:
    task = Do(nothing, name="snake")
    task.dependencies.add(task)
    with pytest.raises(CircularDependency, match="snake .* -> snake"):
        Scheduler({task})


def test_a_circle_through_another_front_end_is_found() -> None:
    ours = Do(nothing)
    theirs = Job(None, "theirs", [find(ours.id)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    ours.dependencies.add(theirs.id)
    with pytest.raises(CircularDependency, match="theirs"):
        Scheduler({ours})


def test_an_executor_runs_once() -> None:
    executor = execute(Do(nothing))
    with pytest.raises(AlreadyRun, match=r"was run by this executor before; make the tasks anew"):
        executor.run()


def test_a_task_runs_once() -> None:
    task, other = Do(nothing), Do(nothing)
    execute(task)
    with pytest.raises(AlreadyRun, match="was run by another executor before"):
        execute(other, task)
    assert other.status is TaskStatus.PENDING, "nothing of it was queued"
    execute(other)


def test_run_in_the_thread_of_async_tasks_is_refused() -> None:
    async def run_inner() -> None:
        execute(inner)

    inner = Do(nothing)
    with pytest.raises(ExceptionGroup) as raised:
        execute(DoAsync(run_inner))
    assert isinstance(raised.value.exceptions[0], DeadlockError)
    execute(inner)  # it was not touched


@pytest.mark.parametrize("name", taskflow.__all__)
def test_every_error_is_of_one_hierarchy(name: str) -> None:
    value = getattr(taskflow, name)
    if isinstance(value, type) and issubclass(value, BaseException):
        assert issubclass(value, TaskFlowError)
        assert issubclass(value, ActorschedError)
        assert value.__doc__


# ---------------------------------------------------------------------------------------- what a task is like


def test_tasks_are_compared_by_identity_and_can_be_put_into_sets() -> None:
    one, other = Do(nothing), Do(nothing)
    assert one != other
    assert one == one  # noqa: PLR0124
    assert len({one, other, one}) == 2


def test_a_repr_tells_the_truth() -> None:
    task = Do(nothing, name="first")
    assert repr(task) == f"<first {task.id} pending>"
    scheduler = Scheduler({task, Do(nothing, tag="io")})
    assert repr(scheduler) == "<Scheduler of 2 tasks, tags 'default', 'io'>"
    executor = Executor(scheduler, {"io": 3})
    assert repr(executor) == "<Executor {default: 2, io: 3}, 0 of 2 tasks settled>"
    executor.run()
    assert repr(executor) == "<Executor {default: 2, io: 3}, 2 of 2 tasks settled>"
    assert repr(task) == f"<first {task.id} completed>"
    assert repr(Forgetful()) == "<Forgetful, not initialised>"


def test_within_a_task_its_name_and_its_tag_are_known() -> None:
    tasks = [Do(lambda: current().name, name="of its own", tag="io"), Do(lambda: current().name)]
    execute(*tasks)
    assert [task.result for task in tasks] == ["of its own", "Do"]


# ----------------------------------------------------------------------------- together with other front ends


def test_a_task_may_depend_on_one_of_another_front_end() -> None:
    other = Job(None, "by hand")
    other.enter()
    by_id = Do(lambda: "by id", dependencies={other.id})
    by_object = Do(lambda: "by object", dependencies=[other])
    runner = threading.Thread(target=execute, args=(by_id, by_object))
    runner.start()
    assert by_id.status is by_object.status is TaskStatus.WAITING
    assert other.complete(5)
    runner.join(10)
    assert (by_id.result, by_object.result) == ("by id", "by object")


def test_a_failure_in_another_front_end_skips_its_dependents_and_is_told_by_run() -> None:
    other = Job(None, "by hand")
    skipped = Do(nothing, dependencies={other.id})
    skipped_too = Do(nothing, dependencies={skipped})
    other.fail(ValueError("it does not work"))
    with pytest.raises(ExceptionGroup) as raised:
        execute(skipped, skipped_too)
    assert raised.value.exceptions == (skipped.error,)
    assert isinstance(skipped.error, DependencyFailed)
    assert isinstance(skipped_too.error, DependencyFailed)


def test_a_task_can_be_found_and_settled_by_its_id() -> None:
    task = Do(fails)
    job = find(task.id)
    assert job is not None
    assert job.view is task
    assert job.complete("by hand")
    execute(task)
    assert task.result == "by hand"


def test_a_task_that_another_front_end_has_executed_is_only_waited_for() -> None:
    task = Do(lambda: "done")
    job = find(task.id)
    assert job is not None
    assert job.enter()
    execute(task)
    assert task.result == "done"


# ---------------------------------------------------------------------------------- threads, restarts, memory


def test_several_threads_run_executors_at_once() -> None:
    meet = threading.Barrier(4)
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        begins = Do(lambda: meet.wait(10))  # none goes on before all have begun
        tasks = [Do(partial(int.__mul__, number, n), dependencies={begins}) for n in range(20)]
        execute(begins, *tasks)
        results[number] = [task.result for task in tasks]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == {number: [number * n for n in range(20)] for number in range(4)}


def test_of_two_threads_only_one_runs_an_executor() -> None:
    executor = Executor(Scheduler({Do(nothing)}))
    refused: list[AlreadyRun] = []

    def work() -> None:
        try:
            executor.run()
        except AlreadyRun as error:
            refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(refused) == 3


def test_after_the_shared_runtime_was_stopped_the_next_run_starts_another() -> None:
    for _ in range(3):
        task = Do(lambda: "done", tag="io")
        execute(task)
        assert task.result == "done"
        SHARED.stop()


def test_stopping_the_shared_runtime_settles_what_runs() -> None:
    begun = threading.Event()

    async def hang() -> None:
        begun.set()
        await anyio.sleep_forever()

    task = DoAsync(hang)
    runner = threading.Thread(target=execute, args=(task,))
    runner.start()
    assert begun.wait(10)
    SHARED.stop(drain=False)
    runner.join(10)
    assert task.status is TaskStatus.CANCELLED


def test_many_executors_have_no_more_pools_than_were_in_use_at_once() -> None:
    before = len(taskflow._idle)
    for number in range(50):
        execute(Do(nothing, tag=f"tag {number}"), workers=1 + number % 3)
    assert len(taskflow._idle) <= max(before, 1)


def test_a_pool_that_is_used_again_has_the_workers_that_are_asked_for() -> None:
    for workers in (1, 3, 2):
        crowd = Crowd(workers)
        execute(*[Do(crowd) for _ in range(6)], workers=workers)
        assert crowd.most == workers


def test_nobody_keeps_a_task_that_is_not_known_any_more() -> None:
    task = Do(nothing)
    job = find(task.id)
    execute(task)
    assert job is not None
    forget(job)
    weak = weakref.ref(task)
    del task, job
    SHARED.stop()
    gc.collect()
    assert weak() is None


def test_a_copy_of_a_set_of_tasks_holds_the_same_tasks() -> None:
    task = Do(nothing)
    execute(*copy.copy({task}))
    assert task.status is TaskStatus.COMPLETED
