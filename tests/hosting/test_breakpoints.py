"""`breakpoint()` in hosts, at a real terminal: each test starts a program there, and types.

What is typed is typed when a prompt is there, as people do; nothing waits for a length of time.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import psutil
import pytest

from actorsched._hosting import terminal, wire
from tests.hosting import work
from tests.hosting.harness import hosted

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.deadline(90)]

PATIENCE = 40.0
"""Seconds after which a test gives up reading."""

TAKE_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

WORK = """
import os
import sys

import anyio

import actorsched
from actorsched import Actor, Hosts


def plain(number):
    double = number * 2
    breakpoint()
    return double + 1


async def gentle(number):
    double = number * 2
    print("gentle is about to halt", flush=True)
    breakpoint()
    await anyio.sleep(0)
    return double + 1


class Account(Actor, host="process"):
    async def deposit(self, amount):
        total = amount + 1
        breakpoint()
        await anyio.sleep(0)
        return total


async def tell(ref):
    try:
        print("result:", await ref, flush=True)
    except Exception as error:
        print(f"failed: {type(error).__name__}: {error}", flush=True)


def tell_of_the_terminal():
    terminal = os.open("/dev/tty", os.O_RDWR)
    print("in the foreground:", os.tcgetpgrp(terminal) == os.getpgrp(), flush=True)


def run(main):
    actorsched.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
"""


class Typist:
    """A program at a terminal, and somebody who types.

    Attributes:
        screen: Everything that stands there by now.
    """

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self._screen, theirs = pty.openpty()
        self.screen = ""
        self._seen = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_THE_TERMINAL, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTEST_ADDOPTS": "",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "TERM": "dumb",
                **environment,
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read_until(self, text: str) -> str:
        """Read on until something is there; answers with what stood before it."""
        deadline = monotonic() + PATIENCE
        while text not in self._seen:
            assert monotonic() < deadline, f"{text!r} never came, but this: {self._seen!r}"
            assert self._read(), f"the program ended before {text!r} came; there was: {self._seen!r}"
        before, _, self._seen = self._seen.partition(text)
        return before

    def prompted(self) -> str:
        """Read until the next prompt of a debugger; answers with what stood before it."""
        return self.read_until("(Pdb ") + self.read_until(") ")

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def enter(self, command: str) -> str:
        """Type a command, and answer with what stands on the screen until the next prompt."""
        self.type(f"{command}\n")
        return self.prompted()

    def step_to(self, line: str) -> None:
        """Step on until a line of the program is next. Since Python 3.13 the first one is the breakpoint."""
        for _ in range(3):
            if line in self.enter("next"):
                return
        raise AssertionError(f"{line!r} never came, but this: {self.screen}")

    def rest(self) -> str:
        """Read everything that comes; the program has to end well. Answers with all that stands there."""
        while self._read():
            pass
        assert self._process.wait(PATIENCE) == 0, self.screen
        return self.screen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._screen)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # nobody has the other end any more
            return False
        text = data.decode().replace("\r", "")
        self.screen += text
        self._seen += text
        return bool(data)


class Desk:
    """Where programs are written and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._typists: list[Typist] = []
        self.write("work.py", WORK)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.lstrip("\n"), encoding="utf-8")

    def prepare(self, main: str) -> None:
        """Write a program; what is given is the body of its main function, with a runtime `rt`."""
        body = "\n".join(f"        {line}" for line in main.strip().splitlines())
        self.write(
            "program.py",
            "from work import *\n\n\nasync def main():\n"
            f"    async with actorsched.Runtime(hosts=Hosts(min=2, max=2)) as rt:\n{body}\n\n\nrun(main)\n",
        )

    def start(self, main: str, *arguments: str, **environment: str) -> Typist:
        """Write such a program, and start it."""
        self.prepare(main)
        return self.begin("program.py", *arguments, **environment)

    def begin(self, *arguments: str, **environment: str) -> Typist:
        typist = Typist(self.folder, *arguments, **environment)
        self._typists.append(typist)
        return typist

    def close(self) -> None:
        for typist in self._typists:
            typist.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def pid_in(text: str) -> int:
    found = re.search(r"host \d+, process (\d+):", text)
    assert found is not None, text
    return int(found[1])


TWO = """
first = await rt.spawn(plain, 1, host="process", name="first")
second = await rt.spawn(gentle, 2, host="process", name="second")
await tell(first)
await tell(second)
tell_of_the_terminal()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_two_hosts_at_breakpoints_have_the_terminal_one_after_the_other(backend: str, desk: Desk) -> None:
    typist = desk.start(TWO, backend)
    opening = typist.prompted()
    one, other = ("first", "second") if "'first'" in opening else ("second", "first")
    numbers = {"first": 1, "second": 2}
    assert f"task {one!r} halts" in opening
    if "about to halt" not in opening:
        typist.read_until("about to halt")
    assert f"\n{numbers[one] * 2}\n" in typist.enter("p double")
    assert f"task {other!r}" not in typist.enter("p number")
    typist.type("continue\n")
    screen = typist.prompted()  # whose result is told may come before, or after
    assert f"task {other!r} halts" in screen
    screen += typist.enter("p double")
    assert f"\n{numbers[other] * 2}\n" in screen
    typist.type("c\n")
    screen = " ".join((screen + typist.rest()).split())  # a session may begin or end within a line of others
    assert "result: 3" in screen
    assert "result: 5" in screen
    assert "in the foreground: True" in screen


def test_quit_ends_the_task_and_says_so_and_nothing_else_ends(desk: Desk) -> None:
    typist = desk.start(
        """
await tell(await rt.spawn(plain, 1, host="process"))
print(await (await rt.spawn(os.getpid, host="process")) > 1)
"""
    )
    typist.prompted()
    typist.type("quit\n")
    assert "failed: BdbQuit: task 'plain' was ended by `quit` in its debugger\nTrue" in typist.rest()


def test_code_is_stepped_through_until_it_ends_and_no_further(desk: Desk) -> None:
    typist = desk.start('await tell(await rt.spawn(gentle, 1, host="process"))', "asyncio")
    typist.prompted()
    typist.step_to("return double + 1")
    typist.type("next\n")
    assert "result: 3" in typist.rest()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_handlers_of_actors_in_hosts_are_debugged(backend: str, desk: Desk) -> None:
    typist = desk.start(
        """
account = await rt.spawn(Account, name="savings")
print("asked:", await account.ask.deposit(4))
print("asked:", await account.ask.deposit(5))
""",
        backend,
    )
    assert "actor 'savings' halts" in typist.prompted()
    typist.step_to("return total")
    typist.type("next\n")
    assert "asked: 5" in typist.prompted()
    typist.type("!total = 60\n")
    typist.prompted()
    typist.type("continue\n")
    assert "asked: 60" in typist.rest()


def test_a_host_that_is_killed_at_its_prompt_leaves_the_terminal_to_the_next(desk: Desk) -> None:
    typist = desk.start(TWO)
    killed = pid_in(typist.prompted())
    os.kill(killed, signal.SIGKILL)
    assert pid_in(typist.prompted()) != killed
    typist.type("continue\n")
    screen = typist.rest()
    assert "failed: HostDied:" in screen
    assert "in the foreground: True" in screen


def test_ctrl_c_at_the_prompt_is_what_it_is_in_pdb_and_ends_nothing(desk: Desk) -> None:
    typist = desk.start('await tell(await rt.spawn(plain, 1, host="process"))')
    typist.prompted()
    typist.type("\x03")
    assert "--KeyboardInterrupt--" in typist.prompted()
    typist.type("\x1a")  # Ctrl-Z would leave a host behind that nobody sees
    assert "\n2\n" in typist.enter("p double")
    typist.type("continue\n")
    assert "result: 3" in typist.rest()


def test_ctrl_c_while_code_is_stepped_over_comes_back_to_the_prompt(desk: Desk) -> None:
    desk.write(
        "endless.py",
        """
def turn():
    print("it turns", flush=True)
    while True:
        pass


def work():
    breakpoint()
    turn()
""",
    )
    typist = desk.start('import endless\nawait tell(await rt.spawn(endless.work, host="process"))')
    opening = typist.prompted()
    if "turn()" not in opening:  # since Python 3.13 it halts at the call itself
        typist.enter("next")
    typist.type("next\n")
    typist.read_until("it turns")
    typist.type("\x03")
    assert "Program interrupted" in typist.prompted()
    typist.type("quit\n")
    assert "failed: BdbQuit" in typist.rest()


def test_a_timeout_stands_still_while_its_task_is_debugged(desk: Desk) -> None:
    typist = desk.start('await tell(await rt.spawn(plain, 1, host="process", timeout="0.5s"))')
    typist.prompted()
    typist.enter("import time; time.sleep(0.7)")  # it is about time that passes
    typist.type("continue\n")
    assert "result: 3" in typist.rest()


def test_a_task_that_was_cancelled_is_not_killed_before_its_session_is_over(desk: Desk) -> None:
    desk.write(
        "patient.py",
        """
from actorsched import current


def work():
    breakpoint()
    current().checkpoint()
""",
    )
    typist = desk.start(
        """
import patient
from actorsched._system import host_stops

host_stops.GRACE = 0.01
ref = await rt.spawn(patient.work, host="process")
while not os.path.exists("halted"):
    await anyio.sleep(0.01)
await ref.cancel()
await tell(ref)
"""
    )
    typist.prompted()
    typist.enter("open('halted', 'w').close()")
    typist.enter("import time; time.sleep(0.1)")  # ten times as long as it has to stop
    assert "True" in typist.enter("p current().cancel_requested")
    typist.type("continue\n")
    assert "failed: TaskCancelled" in typist.rest()


def test_without_a_terminal_the_error_says_what_to_do(desk: Desk) -> None:
    desk.prepare('await tell(await rt.spawn(plain, 1, host="process"))')
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=desk.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "failed: RuntimeError: the debugger cannot be started at a breakpoint of task 'plain'" in done.stdout
    )
    assert "has no terminal" in done.stdout
    assert "PYTHONBREAKPOINT=0" in done.stdout


def test_pythonbreakpoint_is_heeded(desk: Desk) -> None:
    desk.write("hooks.py", "def greet():\n    print('hello from the hook', flush=True)\n")
    one = 'await tell(await rt.spawn(plain, 1, host="process"))'
    without = desk.start(one, PYTHONBREAKPOINT="0").rest()
    assert "result: 3\n" in without
    assert "halts" not in without
    assert "hello from the hook\nresult: 3\n" in desk.start(one, PYTHONBREAKPOINT="hooks.greet").rest()


def test_an_exception_is_looked_at_after_its_death(desk: Desk) -> None:
    desk.write(
        "mortal.py",
        """
import pdb


def work():
    try:
        reason = "old age"
        raise LookupError(reason)
    except LookupError as error:
        pdb.post_mortem(error.__traceback__)
    return "buried"
""",
    )
    typist = desk.start('import mortal\nawait tell(await rt.spawn(mortal.work, host="process"))')
    assert "task 'work' halts" in typist.prompted()
    assert "'old age'" in typist.enter("p reason")
    typist.type("q\n")
    assert "result: buried" in typist.rest()


def test_a_thread_of_a_host_is_debugged(desk: Desk) -> None:
    desk.write(
        "threads.py",
        """
from threading import Thread


def in_a_thread():
    there = "here"
    breakpoint()


def work():
    thread = Thread(target=in_a_thread)
    thread.start()
    thread.join()
    return "joined"
""",
    )
    typist = desk.start('import threads\nawait tell(await rt.spawn(threads.work, host="process"))')
    typist.prompted()
    assert "'here'" in typist.enter("p there")
    typist.type("c\n")
    assert "result: joined" in typist.rest()


@pytest.mark.parametrize("options", [[], ["-s"]], ids=["captured", "not captured"])
def test_a_test_is_debugged_also_while_its_output_is_captured(options: list[str], desk: Desk) -> None:
    desk.write(
        "test_it.py",
        """
import actorsched
from work import *


def test_it():
    async def main():
        async with actorsched.Runtime() as rt:
            assert await (await rt.spawn(plain, 1, host="process")) == 3

    actorsched.run(main)
""",
    )
    typist = desk.begin("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_it.py")
    typist.prompted()
    assert "\n2\n" in typist.enter("p double")
    typist.type("c\n")
    assert "1 passed" in typist.rest()


def test_a_program_in_the_background_waits_until_it_is_in_the_foreground(desk: Desk) -> None:
    desk.prepare('await tell(await rt.spawn(gentle, 1, host="process"))')
    desk.write(
        "shell.py",
        """
import os, signal, subprocess, sys

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen([sys.executable, "program.py"], process_group=0)
input("to the foreground? ")
os.tcsetpgrp(0, job.pid)
assert job.wait() == 0
""",
    )
    typist = desk.begin("shell.py")
    typist.read_until("gentle is about to halt")
    typist.type("now\n")
    typist.prompted()
    assert "\n2\n" in typist.enter("p double")
    typist.type("c\n")
    assert "result: 3" in typist.rest()


# --------------------------------------------------------------------------------------------------- the link


class NoTerminal:
    """Nobody types; so everything is granted."""

    def lend(self, host: terminal.Debugged) -> None:
        """It may have it."""

    take_back = lend


async def test_a_host_is_neither_suspended_nor_killed_while_it_is_debugged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "TERMINAL", NoTerminal())
    async with hosted() as host:
        assert await host.run(work.same, 1) == 1
        host.link._halted(wire.Halted(1, "task 'same'"))
        host.link.suspend()
        assert await host.run(work.same, 2) == 2
        host.link._went_on()
        while psutil.Process(host.link.pid).status() != psutil.STATUS_STOPPED:
            await anyio.sleep(0)
        host.link.resume()
        host.link._halted(wire.Halted(3, "task 'same'"))
        host.link.kill()
        assert await host.run(work.same, 3) == 3
        host.link._went_on()
        assert (await host.ended()).signal == signal.SIGKILL


async def test_a_host_that_was_suspended_and_resumed_while_it_was_debugged_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "TERMINAL", NoTerminal())
    async with hosted() as host:
        assert await host.run(work.same, 1) == 1
        host.link._halted(wire.Halted(1, "task 'same'"))
        host.link.suspend()
        host.link.resume()
        host.link._went_on()
        assert await host.run(work.same, 2) == 2


def test_the_time_of_a_session_is_claimed_once_and_only_for_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(terminal, "TERMINAL", NoTerminal())
    monkeypatch.setattr(terminal, "monotonic", lambda: now)
    host = terminal.Debugged("host 1", 4711, None)
    host.halt(wire.Halted(7, "task 'load'"))
    now = 104.0
    assert host.claim(6) == 0.0
    assert host.claim(7) == 4.0
    assert host.claim(7) == 1.0, "so that nobody asks again at once"
    now = 106.0
    host.go_on()
    now = 200.0
    assert host.claim(7) == 2.0
    assert host.claim(7) == 0.0
    host.halt(wire.Halted(8, "task 'next'"))
    host.go_on()
    assert "was at a breakpoint" in repr(host)
