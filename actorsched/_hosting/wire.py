"""What a runtime and its hosts say to each other.

The law of this module: frames are data. How they become bytes is told in `packets`; what they mean is told
where they are acted upon: `link` for the parent's end, `child_tasks` and `child_actors` for the other.

How it works: each direction has its own closed union of frames, so a host that says what only the runtime
may say is noticed as surely as one that writes garbage.

Payloads are pickles that nobody opens on the way: plain bytes, or `Bulky` where big buffers travel beside
them. A buffer is either inline or `Lent`: a place in the sender's shared memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Buffer

VERSION = 1

OUT_OF_MEMORY = 222
"""The exit code of a host that has run out of the memory that it may use."""

# --------------------------------------------------------------------------------------------------- payloads


class Lent(msgspec.Struct, array_like=True, gc=False):
    """A buffer that lies in the sender's shared memory until it is given back with `Release`."""

    offset: int
    length: int


if TYPE_CHECKING:
    Piece = bytes | Lent | Buffer
    """On the wire bytes or `Lent`; before packing and after resolving, any buffer."""
else:
    Piece = bytes | Lent


class Bulky(msgspec.Struct, array_like=True, gc=False):
    """A pickle whose big buffers travel beside it."""

    data: Piece
    buffers: list[Piece]


Payload = bytes | Bulky
"""A pickled object. No bytes at all stand for None, or for no arguments."""


class Error(msgspec.Struct, array_like=True, gc=False):
    """An exception that crosses: pickled if it can be, and in any case described.

    Attributes:
        exception: The pickled exception with its causes; empty when it could not be pickled.
        why: Why it could not be, where it could not.
    """

    exception: Payload
    type: str
    message: str
    traceback: str
    why: str = ""


# ---------------------------------------------------------------------------------------------- to both kinds


class Define(msgspec.Struct, array_like=True, gc=False, tag=1):
    """A function or class that later frames name by its number."""

    fn_id: int
    body: Payload


class Undefine(msgspec.Struct, array_like=True, gc=False, tag=2):
    """Functions and classes that no later frame will name."""

    fn_ids: list[int]


class Answer(msgspec.Struct, array_like=True, gc=False, tag=3):
    """What became of a `Request`."""

    request_id: int
    value: Payload = b""
    error: Error | None = None


class Release(msgspec.Struct, array_like=True, gc=False, tag=4):
    """The reader has let go of what was lent at these offsets."""

    offsets: list[int]


class Stop(msgspec.Struct, array_like=True, gc=False, tag=5):
    """Finish what has arrived, then leave with `Bye`."""


class Path(msgspec.Struct, array_like=True, gc=False, tag=6):
    """Where to look for modules from now on: `sys.path` has changed since the host began."""

    entries: list[str]


class Levels(msgspec.Struct, array_like=True, gc=False, tag=7):
    """The levels of loggers from now on: they have changed since the host began."""

    levels: dict[str, int]


# ---------------------------------------------------------------------------------------------- to task hosts


class Limits(msgspec.Struct, array_like=True, gc=False):
    """What a task may use of its host.

    Attributes:
        memory: How many bytes more than are in use when it begins; 0 for any number.
        cpus: The numbers of the processors that it may use; none for all.
    """

    memory: int = 0
    cpus: tuple[int, ...] = ()


class Run(msgspec.Struct, array_like=True, gc=False, tag=10):
    """Run a function. The numbers of tasks grow on each link: either side can tell earlier from later."""

    task_id: int
    fn_id: int
    args: Payload = b""
    context: Payload = b""
    attempt: int = 1
    name: str = ""
    time: tuple[float, float, bool] | None = None
    """For a task with a deadline: when that is, by the runtime's clock; by how much that clock is ahead of
    `time.monotonic()` here, or what it says if it stands still while a host is at work; whether it does."""
    limits: Limits | None = None
    """For a task that has some."""
    number: int = 0
    """That of the task in the runtime, by which others know it: its id is made of it."""


class RunMeasured(Run, array_like=True, gc=False, tag=13):
    """The same; before its end, `Measured` tells what the function has used."""


class Cancel(msgspec.Struct, array_like=True, gc=False, tag=11):
    """Ask a task to stop: at its next checkpoint, or before it begins."""

    task_id: int
    reason: str | None = None


class Revoke(msgspec.Struct, array_like=True, gc=False, tag=12):
    """Give back those of these tasks that have not begun."""

    task_ids: list[int]


# --------------------------------------------------------------------------------------------- to actor hosts


class Open(msgspec.Struct, array_like=True, gc=False, tag=20):
    """Create an actor and run its `on_start`.

    Attributes:
        ref: What the actor will find as its own reference.
    """

    actor_id: int
    cls_id: int
    args: Payload = b""
    context: Payload = b""
    name: str = ""
    ref: Payload = b""


class Call(msgspec.Struct, array_like=True, gc=False, tag=21):
    """Run a handler. A streamed call yields nothing before a `Demand`."""

    call_id: int
    actor_id: int
    handler: str
    args: Payload = b""
    context: Payload = b""
    stream: bool = False
    sender: Payload = b""


class CancelCall(msgspec.Struct, array_like=True, gc=False, tag=22):
    """Cancel a handler; for a stream that waits for demand: close its generator."""

    call_id: int
    reason: str | None = None


class Demand(msgspec.Struct, array_like=True, gc=False, tag=23):
    """So many more items of a streamed call are wanted."""

    call_id: int
    n: int = 1


class Close(msgspec.Struct, array_like=True, gc=False, tag=24):
    """Run the actor's `on_stop` with this reason, then forget it."""

    actor_id: int
    reason: Payload = b""


class Forget(msgspec.Struct, array_like=True, gc=False, tag=25):
    """Cancel whatever the actor does and forget it, without `on_stop`."""

    actor_id: int


# ------------------------------------------------------------------------------------------------- from hosts


class Hello(msgspec.Struct, array_like=True, gc=False, tag=40):
    """The host is ready."""

    pid: int
    version: int = VERSION


class Bye(msgspec.Struct, array_like=True, gc=False, tag=41):
    """The host has finished everything and ends now; its last word."""


class Log(msgspec.Struct, array_like=True, gc=False, tag=42):
    """A log record, formatted as far as it must be to travel.

    Attributes:
        origin: The number of the task or call that wrote it; 0 for none.
        extra: The pickled dict of the attributes that `extra=` added; empty when there are none.
    """

    logger: str
    level: int
    message: str
    created: float
    path: str
    line: int
    function: str
    thread: str
    origin: int = 0
    exception: str | None = None
    stack: str | None = None
    extra: bytes = b""


class Request(msgspec.Struct, array_like=True, gc=False, tag=43):
    """Something inside a host asks the runtime, and waits for an `Answer`.

    Attributes:
        origin: The number of the task or call that asks.
    """

    request_id: int
    origin: int
    verb: str
    body: Payload = b""


class CancelRequest(msgspec.Struct, array_like=True, gc=False, tag=44):
    """Whoever asked does not wait any more."""

    request_id: int


class Told(msgspec.Struct, array_like=True, gc=False, tag=45):
    """Something inside a host tells the runtime, and waits for nothing."""

    origin: int
    verb: str
    body: Payload = b""


class Halted(msgspec.Struct, array_like=True, gc=False, tag=46):
    """Code in the host has come to a breakpoint, and waits for the terminal.

    Attributes:
        origin: The number of the task or call whose code it is; 0 for none.
        who: The same for people.
    """

    origin: int
    who: str


class WentOn(msgspec.Struct, array_like=True, gc=False, tag=47):
    """It goes on, and has given the terminal back."""


class Started(msgspec.Struct, array_like=True, gc=False, tag=50):
    """A task has begun and is not done yet. Quick tasks are told of by their end alone."""

    task_id: int


class Measured(msgspec.Struct, array_like=True, gc=False, tag=55):
    """A task's function is over, and this is what it has used; its end follows.

    Attributes:
        cpu: For how many seconds it had a processor.
        wall: How many seconds it took, without what had to be done for it to cross.
        queued: For how many of them it stood in line for a processor.
    """

    task_id: int
    cpu: float
    wall: float
    queued: float


class Done(msgspec.Struct, array_like=True, gc=False, tag=51):
    """A task's function has returned.

    Attributes:
        began: On the machine's monotonic clock, in seconds.
        took: Seconds.
    """

    task_id: int
    value: Payload = b""
    began: float = 0.0
    took: float = 0.0


class Failed(msgspec.Struct, array_like=True, gc=False, tag=52):
    """A task's function has raised, or never began because it was cancelled before.

    Attributes:
        interrupted: It ended because it was cancelled.
    """

    task_id: int
    error: Error
    began: float = 0.0
    took: float = 0.0
    interrupted: bool = False


class Exhausted(msgspec.Struct, array_like=True, gc=False, tag=56):
    """A task has run out of the memory that it may use, and the host ends because of it."""

    task_id: int
    error: Error


class Revoked(msgspec.Struct, array_like=True, gc=False, tag=53):
    """These tasks had not begun, and never will."""

    task_ids: list[int]


class Progress(msgspec.Struct, array_like=True, gc=False, tag=54):
    """What a task reported."""

    task_id: int
    fraction: float
    message: str | None = None


class Opened(msgspec.Struct, array_like=True, gc=False, tag=60):
    """The actor's `on_start` has finished."""

    actor_id: int


class OpenFailed(msgspec.Struct, array_like=True, gc=False, tag=61):
    """The actor could not be created or started; the host has forgotten it."""

    actor_id: int
    error: Error


class Closed(msgspec.Struct, array_like=True, gc=False, tag=62):
    """The actor's `on_stop` has finished, perhaps badly; the host has forgotten it."""

    actor_id: int
    error: Error | None = None


class Returned(msgspec.Struct, array_like=True, gc=False, tag=63):
    """A handler has returned."""

    call_id: int
    value: Payload = b""


class Raised(msgspec.Struct, array_like=True, gc=False, tag=64):
    """A handler, or a stream's generator, has raised.

    Attributes:
        cancelled: It ended because it was cancelled.
    """

    call_id: int
    error: Error
    cancelled: bool = False


class Item(msgspec.Struct, array_like=True, gc=False, tag=65):
    """What a stream has yielded."""

    call_id: int
    value: Payload = b""


class Ended(msgspec.Struct, array_like=True, gc=False, tag=66):
    """A stream is over: exhausted, or closed because it was cancelled."""

    call_id: int


ToHost = (
    Define | Undefine | Answer | Release | Stop | Path | Levels | Run | RunMeasured | Cancel | Revoke
    | Open | Call | CancelCall | Demand | Close | Forget
)  # fmt: skip
FromHost = (
    Hello | Bye | Log | Request | CancelRequest | Told | Release | Halted | WentOn
    | Started | Measured | Done | Failed | Exhausted | Revoked | Progress
    | Opened | OpenFailed | Closed | Returned | Raised | Item | Ended
)  # fmt: skip
Frame = ToHost | FromHost
