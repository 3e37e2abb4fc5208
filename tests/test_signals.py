"""`actorsched.run` turns SIGINT and SIGTERM into an orderly shutdown, in real processes."""

from __future__ import annotations

import fcntl
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import actorsched
from tests.commands import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.slow]

PROGRAM = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # also if a shell has started us in the background
import anyio, actorsched
from actorsched import Actor, Runtime, checkpoint

def say(what):
    print(what, flush=True)

class Noting(Actor):
    async def on_stop(self, reason):
        say(f"actor {reason.kind}")

async def wait():
    try:
        await anyio.sleep_forever()
    finally:
        say("task left")

def spin():
    try:
        while True:
            checkpoint()
    finally:
        say("thread left")

async def orderly():
    async with Runtime() as rt:
        await rt.spawn(Noting)
        refs = [await rt.spawn(wait), await rt.spawn(spin)]
        while not all(ref.status == "running" for ref in refs):
            await anyio.sleep(0)
        await anyio.sleep(0.05)
        say("ready")
        await anyio.sleep_forever()

async def hangs():
    try:
        say("ready")
        await anyio.sleep_forever()
    finally:
        say("leaving")
        noted(signal.SIGINT)
        while True:
            pass

def noted(number):
    while signal.getsignal(number) != signal.SIG_DFL:
        pass
    say("noted")

class Clinging(Actor):
    async def on_stop(self, reason):
        await anyio.sleep_forever()

class Remote(Clinging, host="process"):
    pass

def sit():
    threading.Event().wait()

async def clings():
    async with Runtime() as rt:
        await rt.spawn(Clinging)
        await rt.spawn(Remote)
        refs = [await rt.spawn(sit), await rt.spawn(sit, host="process"), await rt.spawn(wait)]
        while not all(ref.status == "running" for ref in refs):
            await anyio.sleep(0.001)
        say("ready")

async def blocks():
    async with Runtime() as rt:
        await rt.spawn(Noting)
        say("ready")
        noted(signal.SIGTERM)  # by the first signal
        noted(signal.SIGINT)
        while True:
            pass

async def finishes():
    say("ready")
    async with Runtime() as rt:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                say(await rt.run(lambda: "last words"))

async def succeeds(value):
    async with Runtime() as rt:
        return await rt.run(lambda: value)

async def fails():
    async with Runtime() as rt:
        await rt.run(lambda: 1 / 0)

def after():
    say("after")
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler and (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )

what, backend = sys.argv[1:]
try:
    print(actorsched.run(globals()[what], *(["result"] if what == "succeeds" else []), backend=backend))
except KeyboardInterrupt:
    say(f"interrupted {after()}")
    raise
except SystemExit as error:
    say(f"exit {error.code} {after()}")
    raise
say(f"done {after()}")
"""

BACKENDS = ["asyncio", "trio"]


def until_ready(lines: Iterator[str]) -> None:
    assert next(lines) == "ready"


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "interrupted True", -signal.SIGINT), (signal.SIGTERM, "exit 143 True", 143)],
)
def test_a_signal_shuts_the_runtime_down_in_order(
    number: signal.Signals, word: str, code: int, backend_name: str
) -> None:
    with running("orderly", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        command.process.send_signal(number)
        said = list(lines)
        answer = command.answer()
    assert sorted(said[:2]) == ["task left", "thread left"], answer.complaints
    assert said[2:] == ["actor shutdown", "after", word]
    assert answer.code == code


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_second_sigterm_ends_a_program_that_does_not_stop(backend_name: str) -> None:
    with running("hangs", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        command.process.send_signal(signal.SIGTERM)
        assert next(lines) == "leaving"
        command.process.send_signal(signal.SIGTERM)
        assert command.answer().code == -signal.SIGTERM


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_third_ctrl_c_ends_a_program_that_does_not_stop_at_the_second(backend_name: str) -> None:
    with running("hangs", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        for said in ["leaving", "noted"]:
            command.process.send_signal(signal.SIGINT)
            assert next(lines) == said
        command.process.send_signal(signal.SIGINT)
        assert command.answer().code == -signal.SIGINT


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_second_ctrl_c_ends_by_force_what_does_not_stop(backend_name: str) -> None:
    with running("clings", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        command.process.send_signal(signal.SIGINT)
        assert next(lines) == "task left"
        command.process.send_signal(signal.SIGINT)
        assert list(lines) == ["after", "interrupted True"]
        answer = command.answer()
        assert answer.code == -signal.SIGINT
        assert "its thread is left behind" in answer.complaints
        assert "please report this" not in answer.complaints
        assert not command.left()


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_third_ctrl_c_ends_a_program_that_never_lets_go_of_the_loop(backend_name: str) -> None:
    with running("blocks", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        for _ in range(2):
            command.process.send_signal(signal.SIGINT)
            assert next(lines) == "noted"
        command.process.send_signal(signal.SIGINT)
        assert command.answer().code == -signal.SIGINT


BUSY = """
import itertools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import anyio, actorsched
from actorsched import Actor, Runtime

class Busy(Actor):
    async def on_start(self):
        pass
    async def on_stop(self, reason):
        pass
    async def echo(self, value):
        await anyio.sleep(0)
        return value
    async def count(self):
        for number in range(5):
            yield number

async def work(rt, number):
    actor = await rt.spawn(Busy)
    assert await actor.ask.echo(number) == number
    actor.tell(Busy.echo, 1)
    async for _ in actor.ask.count():
        pass
    await rt.run(abs, -1)
    first = await rt.spawn(anyio.sleep, 0)
    await rt.run(anyio.sleep, 0, after=[first])
    async with rt.scope() as scope:
        other = await scope.spawn(Busy)
        await scope.spawn(other.ask.echo, 1)
    await actor.stop()

async def main():
    async with Runtime() as rt:
        await rt.run(abs, -1, host="process")
        print("ready", flush=True)
        async with anyio.create_task_group() as group:
            async def forever(number):
                while True:
                    await work(rt, number)
            for number in range(10):
                group.start_soon(forever, number)

try:
    actorsched.run(main, backend=sys.argv[1])
finally:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("over", flush=True)
"""


@pytest.mark.deadline(120)
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_ctrl_c_at_any_moment_of_a_busy_program_leaves_nothing_and_breaks_nothing(backend_name: str) -> None:
    for seed in range(10):
        chance = random.Random(seed)
        with running(backend_name, code=BUSY) as command:
            lines = command.lines()
            until_ready(lines)
            for pause in (chance.uniform(0, 0.1), chance.expovariate(200)):
                time.sleep(pause)  # at any moment
                command.process.send_signal(signal.SIGINT)
            assert list(lines) == ["over"]
            answer = command.answer()
            assert answer.code == -signal.SIGINT
            *_, last = answer.complaints.splitlines()
            assert last == "KeyboardInterrupt"
            assert "please report this" not in answer.complaints
            assert not command.left()


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_what_is_done_on_the_way_out_may_use_the_runtime(backend_name: str) -> None:
    with running("finishes", backend_name, code=PROGRAM) as command:
        lines = command.lines()
        until_ready(lines)
        command.process.send_signal(signal.SIGTERM)
        assert list(lines) == ["last words", "after", "exit 143 True"]


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_without_a_signal_run_is_like_any_other(backend_name: str) -> None:
    with running("succeeds", backend_name, code=PROGRAM) as command:
        assert command.answer().lines == ["result", "after", "done True"]
    with running("fails", backend_name, code=PROGRAM) as command:
        answer = command.answer()
        assert answer.code == 1
        assert "ZeroDivisionError" in answer.complaints
        assert "unhandled errors in a TaskGroup" not in answer.complaints


@pytest.mark.usefixtures("warm_backends")
def test_run_gives_back_what_the_function_returned_and_raises_what_it_raised() -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def fail() -> None:
        raise LookupError("no such thing")

    assert actorsched.run(add, 1, 2) == 3
    assert actorsched.run(add, 1, 2, backend="trio") == 3
    with pytest.raises(LookupError, match="no such thing"):
        actorsched.run(fail)


@pytest.mark.usefixtures("warm_backends")
def test_run_works_in_a_thread_where_no_signal_comes() -> None:
    results: list[object] = []

    async def which() -> str:
        return threading.current_thread().name

    thread = threading.Thread(target=lambda: results.append(actorsched.run(which)), name="mine")
    thread.start()
    thread.join()
    assert results == ["mine"]


# --------------------------------------------------------------------------------------------- having a look

SHOWS = """
import os, signal, sys, threading
import anyio, actorsched, actorsched.running
from actorsched import Actor, Runtime

class Waiter(Actor):
    async def wait(self):
        await anyio.sleep_forever()

async def one(path):
    async with Runtime(name="first") as rt, Runtime(name="second") as other:
        ref = await rt.spawn(Waiter, name="waiter")
        ref.tell(Waiter.wait)
        while "It runs wait" not in str(rt.explain(ref)):
            await anyio.sleep(0.001)
        print("ready", flush=True)
        while not os.path.exists(path):
            await anyio.sleep(0.001)
        await ref.kill()

async def none(path):
    print("ready", flush=True)
    while not os.path.exists(path):
        await anyio.sleep(0.001)

async def busy(path):
    async with Runtime(name="busy") as rt:
        print("ready", flush=True)
        while not os.path.exists(path):
            pass
        os.write(2, b"breathes\\n")
        await anyio.sleep(0)
        await anyio.sleep(0.01)

what, backend, path = sys.argv[1:]
if backend == "plain":
    backend, actorsched.running.uvloop_is_installed = "asyncio", lambda: False
actorsched.run(globals()[what], path, backend=backend, tree_on=signal.SIGUSR1)
assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
print("done")
"""


def looked_at(what: str, backend: str, go: Path, until: str, **options: Any) -> str:
    """What a program writes to standard error on SIGUSR1; it goes on when it has written `until`."""
    with running(what, backend, str(go), code=SHOWS, **options) as command:
        until_ready(command.lines())
        command.process.send_signal(signal.SIGUSR1)
        if what == "busy":
            go.touch()
        said = ""
        assert command.process.stderr is not None
        while until not in said:
            said += command.process.stderr.readline()
        go.touch()
        answer = command.answer()
        assert (answer.code, answer.lines) == (0, ["done"])
        return said + answer.complaints


@pytest.mark.parametrize("backend", ["asyncio", "plain", "trio"])
def test_a_signal_has_every_runtime_shown_and_disturbs_none(backend: str, tmp_path: Path) -> None:
    said = looked_at("one", backend, tmp_path / "go", until="second  on ")
    first, _, second = said.partition("second  on ")
    assert first.startswith(f"first  on {'trio' if backend == 'trio' else 'asyncio'} for ")
    assert "├─ root supervisor  one for one · 1 actor\n│  └─ waiter  Waiter · running · wait\n" in first
    assert "└─ hosts  none\n" in first
    assert "waiter" not in second


def test_where_no_runtime_is_entered_that_is_said(tmp_path: Path) -> None:
    said = looked_at("none", "asyncio", tmp_path / "go", until="\n")
    assert said == "no Runtime of actorsched is entered now\n"


@pytest.mark.parametrize("backend", ["asyncio", "plain", "trio"])
def test_a_loop_that_is_busy_shows_it_as_soon_as_it_breathes(backend: str, tmp_path: Path) -> None:
    said = looked_at("busy", backend, tmp_path / "go", until="└─ hosts")
    assert said.startswith("breathes\nbusy  on ")


def test_a_terminal_that_takes_no_more_keeps_nobody_waiting(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with running("one", "asyncio", str(go), code=SHOWS) as command:
        assert command.process.stderr is not None
        fcntl.fcntl(command.process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        lines = command.lines()
        until_ready(lines)
        for _ in range(50):
            command.process.send_signal(signal.SIGUSR1)
            time.sleep(0.002)  # so that they are not taken for one
        go.touch()
        assert list(lines) == ["done"]
        assert command.process.wait(30) == 0


def test_a_terminal_without_box_characters_gets_others(tmp_path: Path) -> None:
    environment = {"PYTHONIOENCODING": "ascii"}
    said = looked_at("one", "asyncio", tmp_path / "go", until="second  on ", environment=environment)
    assert said.isascii()
    assert "|- root supervisor  one for one - 1 actor\n|  `- waiter  Waiter - running - wait\n" in said


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (signal.SIGKILL, ValueError, "tree_on=SIGKILL cannot be used: it ends every program at once; give "),
        (signal.SIGSTOP, ValueError, "tree_on=SIGSTOP cannot be used"),
        (signal.SIGINT, ValueError, "tree_on=SIGINT cannot be used: it ends the program in order"),
        (signal.SIGSEGV, ValueError, "tree_on=SIGSEGV cannot be used: it means that the program has crashed"),
        (signal.SIGCHLD, ValueError, "tree_on=SIGCHLD cannot be used"),
        (0, ValueError, "tree_on=0 is the number of no signal here; give for example signal.SIGUSR1"),
        (-1, ValueError, "tree_on=-1 is the number of no signal"),
        (4711, ValueError, "tree_on=4711 is the number of no signal"),
        ("SIGUSR1", TypeError, "tree_on='SIGUSR1' is no signal; give for example signal.SIGUSR1"),
        (True, TypeError, "tree_on=True is no signal"),
    ],
)
def test_signals_that_mean_something_else_are_refused_at_the_call(
    number: Any, error: type[Exception], says: str
) -> None:
    async def never() -> None:
        raise AssertionError

    with pytest.raises(error) as caught:
        actorsched.run(never, tree_on=number)
    assert says in str(caught.value)


def test_in_another_thread_no_signal_can_be_asked_for() -> None:
    errors: list[RuntimeError] = []

    async def never() -> None:
        raise AssertionError

    def ask() -> None:
        try:
            actorsched.run(never, tree_on=signal.SIGUSR1)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "tree_on=SIGUSR1 cannot be used here: signals come to the main thread only" in str(errors[0])


@pytest.mark.usefixtures("warm_backends")
def test_a_runtime_that_cannot_be_shown_is_not_harmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(runtime: object) -> str:
        raise RuntimeError("no pencil")

    monkeypatch.setattr(actorsched.Runtime, "tree", fail)

    async def look() -> str:
        async with actorsched.Runtime():
            signal.raise_signal(signal.SIGUSR1)
            await anyio.sleep(0.001)
        return "unharmed"

    assert actorsched.run(look, tree_on=signal.SIGUSR1) == "unharmed"
    said = capsys.readouterr().err
    assert said == "a Runtime of actorsched cannot be shown: RuntimeError: no pencil\n"
