"""`actorsched simulate`: a file is read and played, and the answer is printed and drawn.

The law of this module: which file is asked for, and which order things are done in. What a file may say is
known to `reading`, and what comes of it to `play`. Nothing is played before all that was asked for is known
to make sense, the policies and the place of the picture included.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from actorsched.simulate.graphs import analysed
from actorsched.simulate.picture import BadPlace, check_place, write_whole
from actorsched.simulate.played import answers, written
from actorsched.simulate.reading import read
from actorsched.simulate.taskset import BadTaskSet, TaskFile, policy_named

if TYPE_CHECKING:
    from typing import IO

    from actorsched.simulate.played import Played

__all__ = ["BadFile", "Order", "simulate"]

_MOST_BYTES: Final = 256 * 2**20
"""A file with all the jobs that there may be has fewer; what has more is no task set, or never ends."""


class BadFile(Exception):
    """A file, or something else that was asked for, keeps everything from being played; one line."""


class Order(NamedTuple):
    """What was asked for.

    Attributes:
        path: The file; "-" for standard input.
        policy: The policy under which all schedules are played; None for that of each.
        gantt: Where the picture goes; None for nowhere.
    """

    path: str
    policy: str | None = None
    gantt: str | None = None


class Answer(NamedTuple):
    """What is to be printed, and what went wrong with the picture."""

    text: str
    complaint: str | None = None


def simulate(order: Order) -> Answer:
    """Play a file.

    Raises:
        BadFile: Nothing was played, for this reason.
    """
    file = _read(order)
    try:
        graphs = analysed(file.graphs)
        _check_policies(file)
        if order.gantt is not None:
            _check_picture(file, order.gantt, order.path)
    except BadTaskSet as error:
        raise BadFile(f"{_called(order.path)}: {error}") from None
    except BadPlace as error:
        raise BadFile(f"--gantt {order.gantt}: {error}") from None
    played = _played(file)
    text = written(answers(file, played, graphs))
    if order.gantt is None:
        return Answer(text)
    return Answer(text, _drawn(file, played, order.gantt))


# --------------------------------------------------------------------------------------------------- reading


def _read(order: Order) -> TaskFile:
    if order.policy is not None:
        try:
            policy_named(order.policy)
        except BadTaskSet as error:
            raise BadFile(f"--policy: {error.fault}") from None
    try:
        file = read(_bytes_of(order.path))
    except BadTaskSet as error:
        raise BadFile(f"{_called(order.path)}: {error}") from None
    except FileNotFoundError:
        raise BadFile(f"{order.path}: it does not exist") from None
    except (OSError, ValueError) as error:  # a ValueError: no name of a file has a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise BadFile(f"{_called(order.path)}: it cannot be read: {reason}") from None
    if order.policy is None:
        return file
    schedules = tuple(taskset.with_policy(order.policy) for taskset in file.schedules)
    return msgspec.structs.replace(file, schedules=schedules)


def _bytes_of(path: str) -> bytes:
    if not path:
        raise OSError("it has no name; give a file, or - for standard input")
    if path == "-":
        if sys.stdin is None:  # the shell has closed it
            return b""
        return _limited(sys.stdin.buffer)
    with Path(path).open("rb") as file:
        return _limited(file)


def _limited(file: IO[bytes]) -> bytes:
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise BadTaskSet("$", f"has more than {_MOST_BYTES // 2**20} MiB; give fewer tasks")
    return data


def _called(path: str) -> str:
    return "standard input" if path == "-" else path or "FILE"


# ----------------------------------------------------------------------------------- before and after a play


def _check_policies(file: TaskFile) -> None:
    """Whether the parameters of a policy go together is seen when one is made."""
    from actorsched.simulate.play import check_playable

    for place, taskset in enumerate(file.schedules):
        check_playable(taskset, f"$.schedules[{place}]" if file.several else "$")


def _check_picture(file: TaskFile, gantt: str, path: str) -> None:
    if not file.schedules:
        raise BadPlace("the file has graphs only, and nothing to draw; leave it out")
    check_place(gantt, not_on=path)


def _played(file: TaskFile) -> list[Played]:
    from actorsched.simulate.play import play

    return [play(taskset) for taskset in file.schedules]


def _drawn(file: TaskFile, played: list[Played], gantt: str) -> str | None:
    """Draw the picture; answers with what went wrong."""
    from actorsched.simulate.gantt import draw_all

    try:
        write_whole(gantt, draw_all(list(zip(played, file.schedules, strict=True))))
    except OSError as error:
        return f"--gantt {gantt}: it cannot be written: {error.strerror or error}"
    return None
