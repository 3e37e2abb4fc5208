"""`breakpoint()` in a host: a session of pdb on the program's terminal.

The law of this module: it is the host's half; what the parent does is told in `terminal`. It is imported
after `pdb`, and only then, so a host in which nothing is debugged does not know it. It puts a class of its
own in the place of `pdb.Pdb`: so `breakpoint()`, `pdb.set_trace()` and `pdb.post_mortem()` are what they
always are, and PYTHONBREAKPOINT is heeded by Python itself. A debugger that was given streams of its own is
left alone.

How it works: a session lasts from a prompt to the command that lets the code run on (`continue`, `quit`), or
to the end of whatever was being stepped through. For so long the host is in the foreground of the terminal,
which it opens as `/dev/tty`: nobody's redirections or captures are in the way, and none are disturbed.
Whoever wants a session asks the parent, and looks until the host is in the foreground; the threads of one
host take turns before that.

The signals of the terminal come to the host meanwhile. Ctrl-C does what pdb does with it. Ctrl-Z does
nothing: nobody would notice that the host has stopped.
"""

from __future__ import annotations

import os
import pdb  # noqa: T100 - that is what this is about
import signal
import sys
from _thread import allocate_lock, get_ident
from bdb import BdbQuit
from time import sleep
from typing import TYPE_CHECKING, Any

from actorsched._hosting.wire import Halted, WentOn
from actorsched._kernel.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TextIO

    from actorsched._hosting.port import Port

_LOOK = 0.02
"""Seconds between two looks whether it is this host's turn."""
_OURS = "actorsched._*"
"""The modules through which nobody wants to step."""

_desk: _Desk | None = None
"""Where debuggers of this host get the terminal."""


def install(port: Port, group: int) -> None:
    """From now on debuggers in this host use the terminal of the program.

    Args:
        port: Where the parent is asked for it.
        group: The process group of the program.
    """
    global _desk  # noqa: PLW0603  # a process is one host or none
    _desk = _Desk(port, group)
    pdb.Pdb = HostPdb  # type: ignore[misc]


class _Desk:
    """The terminal, and who of this host has it."""

    def __init__(self, port: Port, group: int) -> None:
        self._port = port
        self._group = group
        self._streams: tuple[TextIO, TextIO] | None = None
        self._lock = allocate_lock()
        self._thread = 0
        self._guests: list[HostPdb] = []
        self._handlers: dict[int, Any] = {}

    def streams(self) -> tuple[TextIO, TextIO]:
        """For reading and for writing.

        Raises:
            RuntimeError: There is no terminal, or it cannot be had from here.
        """
        if self._port.silent:
            raise RuntimeError(
                _refusal("this process is a fork of the host, which the program does not know of")
            )
        if self._streams is None:
            try:
                terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
            except OSError as error:
                raise RuntimeError(_refusal(f"the program has no terminal ({error})")) from None
            self._streams = (  # for as long as this process lives
                open(terminal, encoding="utf-8", errors="replace"),  # noqa: SIM115
                open(terminal, "w", encoding="utf-8", errors="backslashreplace", closefd=False),  # noqa: SIM115
            )
        return self._streams

    def arrive(self, guest: HostPdb, on_interrupt: Callable[..., object]) -> None:
        """Wait until the terminal is this debugger's.

        Raises:
            RuntimeError: It cannot be had from here.
            OSError: The terminal has gone meanwhile.
        """
        terminal = self.streams()[0].fileno()
        if self._thread == get_ident():  # within the session of this one, or of another in the same thread
            if guest not in self._guests:
                self._guests.append(guest)
            return
        self._lock.acquire()
        self._thread = get_ident()
        self._guests.append(guest)
        origin, who = _present()
        self._port.say(Halted(origin, who))
        self._port.flush()
        try:
            while os.tcgetpgrp(terminal) != os.getpgrp():
                sleep(_LOOK)
        except BaseException:
            self.leave(guest)
            raise
        self._handlers = _handle(
            {
                signal.SIGINT: on_interrupt,
                signal.SIGTSTP: signal.SIG_IGN,
                signal.SIGTTIN: signal.SIG_IGN,
                signal.SIGTTOU: signal.SIG_IGN,
            }
        )

    def leave(self, guest: HostPdb) -> None:
        """Give the terminal back, once nobody in this thread needs it."""
        if guest not in self._guests:
            return
        self._guests.remove(guest)
        if self._guests:
            return
        terminal = self.streams()[0].fileno()
        try:
            if os.tcgetpgrp(terminal) == os.getpgrp():
                os.tcsetpgrp(terminal, self._group)
        except OSError:  # the terminal has gone
            pass
        _handle(self._handlers)
        self._handlers = {}
        self._port.say(WentOn())
        self._port.flush()
        self._thread = 0
        self._lock.release()


class HostPdb(pdb.Pdb):
    """pdb, at the terminal of the program when it is its turn."""

    def __init__(
        self,
        completekey: str = "tab",
        stdin: Any = None,
        stdout: Any = None,
        skip: Any = None,
        nosigint: bool = False,
        readrc: bool = True,
        **more: Any,
    ) -> None:
        self._desk = _desk if stdin is None and stdout is None else None
        self._bottom: FrameType | None = None
        self._running_on = False
        self._awaits_end = False
        if self._desk is not None:
            stdin, stdout = self._desk.streams()
            skip, nosigint = [*(skip or ()), _OURS], True
        super().__init__(completekey, stdin, stdout, skip, nosigint, readrc, **more)
        if self._desk is not None:
            self.prompt = f"(Pdb {os.getpid()}) "

    def interaction(self, frame: FrameType | None, traceback: Any) -> None:
        """One prompt: wait for the terminal before, and give it back after it unless the code is stepped on.

        Raises:
            BdbQuit: That was the command; it ends the code in which it was given.
        """
        if self._desk is None:
            return super().interaction(frame, traceback)
        self._desk.arrive(self, self.sigint_handler)
        self._running_on = frame is None
        if frame is not None:
            self._begin(frame)
        stdin, sys.stdin = sys.stdin, self.stdin  # for `interact`, and whatever else is entered that reads
        try:
            super().interaction(frame, traceback)
        except BaseException:
            self._running_on = True
            raise
        finally:
            sys.stdin = stdin
            if self._running_on:
                self._bottom = None
                self._desk.leave(self)
        if self.quitting and frame is not None:
            raise BdbQuit(f"{_present()[1]} was ended by `quit` in its debugger")

    def _begin(self, frame: FrameType) -> None:
        """See to it that the session ends with what is stepped through."""
        if self._bottom is None:
            self._bottom = _bottom_of(frame)
        context: Any = CURRENT.get()
        if context is not None and not self._awaits_end:
            self._awaits_end = True
            context.defer(self._end)

    def _end(self) -> None:
        """Whose code was debugged has come to its end: go on unasked, and stop nowhere any more."""
        self._awaits_end = False
        self._let_go()

    def _let_go(self) -> None:
        self._bottom = None
        self.set_continue()
        if sys.gettrace() == self.trace_dispatch:
            sys.settrace(None)
        stop: Callable[[], object] | None = getattr(self, "stop_trace", None)  # since Python 3.14
        if stop is not None:
            stop()
        if self._desk is not None:
            self._desk.leave(self)

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """Beyond the last frame of the user's there is nothing to be seen."""
        answer = super().dispatch_return(frame, arg)
        if frame is self._bottom and _has_ended(frame):
            self._let_go()
            return None
        return answer

    def set_continue(self) -> None:
        """The code runs on."""
        super().set_continue()
        self._running_on = True

    def set_quit(self) -> None:
        """The code is to end."""
        super().set_quit()
        self._running_on = True

    def do_quit(self, arg: str) -> bool:
        """Quit: the task or handler fails with `bdb.BdbQuit`; nothing else ends."""
        if self._desk is None:
            return bool(super().do_quit(arg))
        self._user_requested_quit = True
        self.set_quit()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool:  # noqa: N802 - that is how `cmd` calls it
        """Ctrl-D: quit."""
        if self._desk is None:
            return bool(super().do_EOF(arg))
        self.message("")
        return self.do_quit(arg)


def _present() -> tuple[int, str]:
    """The number of whatever runs, and what to call it."""
    context: Any = CURRENT.get()
    if context is None:
        return 0, "code of no task"
    return context.origin, f"{context.kind} {context.name!r}"


def _refusal(why: str) -> str:
    return (
        f"the debugger cannot be started at a breakpoint of {_present()[1]} in host process {os.getpid()}: "
        f"{why}; run the program in a terminal, or have breakpoints passed over with PYTHONBREAKPOINT=0"
    )


def _handle(handlers: dict[int, Any]) -> dict[int, Any]:
    """Set handlers of signals; answers with those before. Does nothing outside of the main thread."""
    before: dict[int, Any] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    except ValueError:
        return {}
    return before


def _bottom_of(frame: FrameType) -> FrameType:
    """The outermost frame below those that run it for us."""
    while frame.f_back is not None and not _is_ours(frame.f_back):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    name: object = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(_OURS[:-1])


def _has_ended(frame: FrameType) -> bool:
    """Whether a frame that is being left will not be entered again.

    A coroutine or generator leaves its frame also to wait, and then, too, Python speaks of a return. One that
    ends with an exception is not recognized here: `_end` comes soon.
    """
    from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
    from opcode import opname

    code = frame.f_code
    if not code.co_flags & (CO_ASYNC_GENERATOR | CO_COROUTINE | CO_GENERATOR | CO_ITERABLE_COROUTINE):
        return True
    return opname[code.co_code[frame.f_lasti]] in ("RETURN_VALUE", "RETURN_CONST")
