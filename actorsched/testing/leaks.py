"""What is left of a test, or of a simulated run, when it is over: found, named, and traced to its beginning.

The law of this module: it looks, and ends nothing. What is left in a runtime is asked of its system, in the
thread of that, before it is left; `Left` is a plain value, so it may be told long after that.

How it works: a runtime under test has a `RecordingSystem`, which remembers for each task and actor the line
of the test, or of the service, that spawned it. An ordinary runtime has none, and pays nothing. What is left
in the process and in the event loop besides is the business of `remains`.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import anyio

from actorsched._system import census
from actorsched._system.cell_state import Life
from actorsched._system.system import System
from actorsched._system.task import TaskActor
from actorsched.survey import doing_of, pid_of

if TYPE_CHECKING:
    from types import FrameType

    from actorsched._system.actor_cell import ActorCell

__all__ = [
    "KINDS",
    "Left",
    "Place",
    "RecordingSystem",
    "failure",
    "left_in",
    "left_of",
    "origin",
    "present",
    "report",
    "waits_at",
]

KINDS: Mapping[str, str] = {
    "task": "tasks",
    "actor": "actors",
    "timer": "timers",
    "thread": "threads",
    "process": "processes",
    "descriptor": "descriptors",
    "backend task": "backend_tasks",
    "failure": "failures",
}
"""The kinds of what may be left, and what each is called in `may_leave`."""

OF_THE_KIT = "__actorsched_of_the_kit__"
"""What an actor's class has that belongs to the test kit, and ends with the runtime by itself."""
_MESSAGES = 3
"""So many messages of a mailbox are shown."""
_MANY = 10
"""So many of one kind are told in full."""
_SHORT = 60
"""So many characters of an argument are shown."""
_STANDARD = f"{os.__file__.rpartition(os.sep)[0]}{os.sep}"
_OURS = f"{__file__.rsplit(os.sep, 2)[0]}{os.sep}"
_LOOPS = (f"{anyio.__path__[0]}{os.sep}", f"{os.sep}trio{os.sep}", f"{os.sep}outcome{os.sep}")
_RUNNERS = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("_pytest", "pluggy", "pytest_asyncio", "hypothesis", "xdist")
)


class Place(NamedTuple):
    """A line of somebody's code.

    Attributes:
        file: The path of the file.
        line: Which line, from 1 on.
        function: The function that it is in.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{_near(self.file)}:{self.line}, in {self.function}"

    @property
    def source(self) -> str:
        """The line itself; empty if the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()


class Left(NamedTuple):
    """Something that is still there.

    Attributes:
        kind: One of `KINDS`.
        name: What people call it.
        state: What it is doing; empty if that is not known.
        began: The line that started it, if that is known.
        details: What else there is to say, a line each.
    """

    kind: str
    name: str
    state: str = ""
    began: Place | None = None
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.name}{f': {self.state}' if self.state else ''}"]
        if self.began is not None:
            lines.append(f"    started at {self.began}")
            if self.began.source:
                lines.append(f"        {self.began.source}")
        return "\n".join([*lines, *(f"    {detail}" for detail in self.details)])


# -------------------------------------------------------------------------------------- where things began


class RecordingSystem(System):
    """A system that remembers which line spawned what."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.origins: WeakKeyDictionary[object, Place] = WeakKeyDictionary()
        """Where tasks and actors were spawned, as long as there are these."""
        self.last: dict[str, Place] = {}
        """Where the last task of each name was: of a failure in the log, no more than that is known."""
        super().__init__(*args, **kwargs)

    def new_task(self, *args: Any, **kwargs: Any) -> TaskActor:
        """The same; and the line is remembered."""
        task = super().new_task(*args, **kwargs)
        place = origin()
        if place is not None:
            self.origins[task] = self.last[task.name] = place
        return task

    def new_actor(self, *args: Any, **kwargs: Any) -> ActorCell:
        """The same."""
        cell = super().new_actor(*args, **kwargs)
        place = origin()
        if place is not None:
            self.origins[cell] = place
        return cell


def origin() -> Place | None:
    """The line that is calling, of the test or of what it tests; None if no such line is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if any(runner in file for runner in _RUNNERS):
            return None
        if is_users(file):
            return Place(file, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back
    return None


def is_users(file: str) -> bool:
    """Whether a file is neither ours, nor of the libraries below us, nor of Python."""
    if file.startswith((_OURS, "<")) or any(part in file for part in _LOOPS):
        return False
    return not file.startswith(_STANDARD) or "site-packages" in file


def waits_at(code: object) -> list[Place]:
    """Where a coroutine is suspended, the outermost line first; those of libraries are left out."""
    places: list[Place] = []
    last: Place | None = None
    while code is not None:
        frame = _attribute(code, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            last = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
            if is_users(last.file):
                places.append(last)
        if _attribute(code, "cr_running", "gi_running"):
            break  # it waits for nothing, and CPython 3.12 may crash when it is asked for what it awaits
        code = _attribute(code, "cr_await", "gi_yieldfrom", "ag_await")
    return places or ([] if last is None else [last])


def _attribute(code: object, *names: str) -> Any:
    return next((getattr(code, name) for name in names if hasattr(code, name)), None)


def _near(file: str) -> str:
    """A path as people read it: from the present folder, if it is in there."""
    here = f"{os.getcwd()}{os.sep}"  # noqa: PTH109 # compared with the paths of frames, which are text
    return file.removeprefix(here)


# --------------------------------------------------------------------------------------- what is in a runtime


def left_in(system: System) -> list[Left]:
    """The tasks of a runtime that have not settled, its actors that have not stopped, and failures unseen.

    The children of an actor belong to it, and so do its timers. It is to be asked in the runtime's thread.
    """
    origins: Mapping[object, Place] = getattr(system, "origins", {})
    unseen = [_failure(task, origins.get(task)) for task in _unseen(system)]
    return [*(left_of(subject) for subject in present(system)), *unseen]


def present(system: System) -> list[TaskActor | ActorCell]:
    """The tasks that have not settled, and the actors that have not stopped, without children of others."""
    tasks: Iterable[TaskActor] = census.live_tasks(system)
    actors: list[Any] = [cell for each in census.supervisors(system) for cell in each.remaining()]
    living = (cell for cell in actors if cell.life is not Life.STOPPED)
    return [*tasks, *(cell for cell in living if not getattr(cell.actor_class, OF_THE_KIT, False))]


def left_of(subject: TaskActor | ActorCell) -> Left:
    """A task or an actor, as what is left."""
    origins: Mapping[object, Place] = getattr(subject.kernel.facade._system, "origins", {})
    if isinstance(subject, TaskActor):
        return _task(subject, origins.get(subject))
    return _actor(subject, origins.get(subject))


def _unseen(system: System) -> Iterator[TaskActor]:
    """Tasks that have failed, and that nobody has looked at, though somebody could."""
    for scope in system.scopes:
        for task in sorted(scope._nursery.unseen, key=lambda task: int(task.number)):
            if not task.observed:
                yield task


def _task(task: TaskActor, began: Place | None) -> Left:
    state = task.status.value
    if task.host != "loop":
        state = f"{state}, host {task.host!r}"
    if task.stopping is not None:
        state = f"{state}, though it was told to stop: {task.stopping}"
    return Left("task", repr(task.name), state, began, tuple(_chain(task.worker)))


def _chain(run: Any) -> list[str]:
    """Where the code of a task or a handler is suspended in the loop, a line for each await."""
    stepper = getattr(run, "stepper", None)
    code = None if stepper is None else getattr(stepper.send, "__self__", None)
    return [f"waits at {place}" for place in waits_at(code)]


def _actor(cell: ActorCell, began: Place | None) -> Left:
    doing, pid = doing_of(cell), pid_of(cell)
    states = [cell.life.name.lower()]
    if doing is not None:
        states.append(f"in {doing}")
    if pid is not None:
        states.append(f"in host {pid}")
    details = [*_chain(cell.turn), *_mailbox(cell), *_timers(cell)]
    children = census.children_of(cell)
    if children is not None and (number := len(children.remaining())):
        details.append(f"children: {number}")
    return Left("actor", repr(cell.name), ", ".join(states), began, tuple(details))


def _mailbox(cell: ActorCell) -> Iterator[str]:
    number = len(cell.lane)
    if number:
        first = [text for text, _ in zip(_messages(cell.lane), range(_MESSAGES), strict=False)]
        more = f", and {number - len(first)} more" if number > len(first) else ""
        yield f"mailbox: {number} unhandled: {', '.join(first)}{more}"


def _messages(lane: Any) -> Iterator[str]:
    """The messages of a mailbox in the order of their priorities; none is taken out."""
    ranked: dict[int, Iterable[Any]] = dict(lane.ranked or {})
    for priority in sorted({*ranked, lane.normal}, reverse=True):
        like = lane.head
        queue: Iterable[Any] = (lane.queue or ()) if priority == lane.normal else ranked[priority]
        for item in queue:
            if not hasattr(item, "handler"):  # no more than the arguments of one like that before it
                yield _call(like.handler.name, item, {})
                continue
            like = item
            if not item.dead:
                yield _call(item.handler.name, item.args, item.kwargs or {})


def _call(name: str, args: Iterable[object], kwargs: Mapping[str, object]) -> str:
    said = [*map(_short, args), *(f"{key}={_short(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(said)})"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # of the value's own making
        text = f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _timers(cell: ActorCell) -> Iterator[str]:
    timers: dict[object, Any] = {} if cell.extras is None else cell.extras.timers
    now = cell.kernel.now
    for timer in timers.values():
        beat = "" if timer._period is None else f", every {timer._period:g} s"
        yield f"timer: {timer._handler.name} in {max(0.0, timer._when - now):g} s{beat}"


def _failure(task: TaskActor, began: Place | None) -> Left:
    assert task.outcome is not None
    error = task.outcome.error
    assert error is not None
    return failure(f"of task {task.name!r}, and nobody looked at its outcome", error, began)


def failure(name: str, error: BaseException | None, began: Place | None = None) -> Left:
    """An error that reached nobody."""
    if error is None:
        return Left("failure", name, "", began)
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Left("failure", name, said, began, tuple(_raised(error)))


def _raised(error: BaseException) -> list[str]:
    """The last line of the user's code that an error passed through."""
    place: Place | None = None
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_users(code.co_filename):
            place = Place(code.co_filename, traceback.tb_lineno, code.co_qualname)
        traceback = traceback.tb_next
    return [] if place is None else [f"raised at {place}"]


# ---------------------------------------------------------------------------------------------- telling of it

_REMEDIES = {
    "task": "await a task or its ref, or cancel it and wait for it",
    "actor": "stop an actor with `await ref.stop()`",
    "timer": "cancel a timer",
    "thread": "join a thread",
    "process": "wait for a process, or kill it",
    "descriptor": "close what holds a descriptor",
    "backend task": "await what was started in the event loop, or cancel it",
    "failure": "await what may fail, or look at its outcome",
}


def report(left: Iterable[Left], title: str = "the test has left") -> str:
    """What is left, in words for people, with what to do about it.

    Args:
        left: What.
        title: Who has left it.
    """
    found = list(left)
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in found)]
    lines = [f"{title} {_counted(found, kinds)}:"]
    for kind in kinds:
        these = [each for each in found if each.kind == kind]
        lines += [_indented(str(each)) for each in these[:_MANY]]
        if len(these) > _MANY:
            lines.append(f"  and {len(these) - _MANY} more {KINDS[kind].replace('_', ' ')}")
    return "\n".join([*lines, _advice(kinds)])


def _counted(found: list[Left], kinds: list[str]) -> str:
    parts: list[str] = []
    for kind in kinds:
        number = sum(each.kind == kind for each in found)
        parts.append(f"1 {kind}" if number == 1 else f"{number} {KINDS[kind].replace('_', ' ')}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _advice(kinds: list[str]) -> str:
    remedies = "; ".join(_REMEDIES[kind] for kind in kinds)
    scope = "tasks and actors that are spawned in `async with runtime.scope()` end with it; "
    in_scope = scope if {"task", "actor"} & set(kinds) else ""
    allowed = ", ".join(f'"{KINDS[kind]}"' for kind in kinds)
    wanted = allowed if len(kinds) == 1 else f"[{allowed}]"
    return f"What to do: {remedies}; {in_scope}or allow it: @pytest.mark.actorsched(may_leave={wanted})"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
