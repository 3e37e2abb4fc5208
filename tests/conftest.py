"""How the tests run: every async test on every backend, none for ever, and nothing left behind.

* An `async def test_...` runs on asyncio, on asyncio with uvloop and on trio; no marker is needed. A test
  that concerns only one of them says so: `@pytest.mark.parametrize("backend", ["trio"])`. Each run is an
  ordinary `anyio.run`, as a user's would be; so there are no async fixtures, and a test opens its own
  `Runtime`.
* An exception that reaches nobody but asyncio's exception handler fails the test.
* A test has 30 seconds, or what `@pytest.mark.deadline(seconds)` gives it; then it fails with the stack of
  where it hung.
* After each test its threads, child processes and file descriptors must be gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import inspect
import pathlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

DEADLINE = 30.0
FAILED = pytest.StashKey[bool]()
PROCESS_FOLDER = pathlib.Path("/proc/self")
PLUGIN_FIXTURES = {"runtime", "virtual_clock", "simulation"}
BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio", "backend_options": {"use_uvloop": False}},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes that tests start be interrupted, also where a shell has started this one with `&`.

    They inherit what is ignored here, and not what is handled.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# --------------------------------------------------------------------------------------------------- backends


@pytest.fixture(scope="session")
def warm_backends() -> None:
    """Runs each backend once: what it keeps for the life of the process is no leak of the first test."""
    for options in BACKENDS.values():
        anyio.run(anyio.lowlevel.checkpoint, **options)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, warm_backends: None) -> str:
    """The backend that an async test runs on: "asyncio", "uvloop" or "trio"."""
    name: str = request.param
    return name


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: Any) -> None:
    """Gives every async test the `backend` fixture, as if it had asked for it.

    A test that names its backends has values in the place of that fixture, and must ask for the warm-up too.
    One that uses a fixture of our own pytest plugin is run by that.
    """
    if name.startswith("test") and inspect.iscoroutinefunction(_body(obj)):
        plugins = PLUGIN_FIXTURES & set(inspect.signature(obj).parameters)
        pytest.mark.usefixtures("warm_backends", *(() if plugins else ("backend",)))(obj)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs an async test; hypothesis, which calls its test many times, gets a body that it can call."""
    body = _body(pyfuncitem.obj)
    if not inspect.iscoroutinefunction(body) or "backend" not in pyfuncitem.funcargs:
        return None
    options = BACKENDS[str(pyfuncitem.funcargs["backend"])]

    @functools.wraps(body)
    def on_backend(**arguments: Any) -> None:
        _run(options, body, **arguments)

    if body is not pyfuncitem.obj:
        pyfuncitem.obj.hypothesis.inner_test = on_backend
        pyfuncitem.obj(**_arguments(pyfuncitem))
        pyfuncitem.obj.hypothesis.inner_test = body
    else:
        on_backend(**_arguments(pyfuncitem))
    return True


def _body(test: Any) -> Any:
    return test.hypothesis.inner_test if hasattr(test, "hypothesis") else test


def _arguments(item: pytest.Function) -> dict[str, Any]:
    return {name: item.funcargs[name] for name in item._fixtureinfo.argnames}


def _run(options: dict[str, Any], test: Callable[..., Awaitable[None]], **arguments: Any) -> None:
    unhandled: list[BaseException] = []

    async def main() -> None:
        if options["backend"] == "asyncio":
            _collect_unhandled(unhandled)
        await test(**arguments)

    anyio.run(main, **options)
    if unhandled:
        raise BaseExceptionGroup("these exceptions reached nobody but asyncio's exception handler", unhandled)


def _collect_unhandled(unhandled: list[BaseException]) -> None:
    import asyncio

    def collect(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        error.add_note(f"asyncio says: {context['message']}")
        unhandled.append(error)

    asyncio.get_running_loop().set_exception_handler(collect)


@pytest.fixture(scope="module")
def small_heap() -> Iterator[None]:
    """Spares the collector what is there already: thousands of tests, and the modules that they import.

    Tests of memory have it run again and again, and it would look through all of that each time.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# -------------------------------------------------------------------------------------------------- deadlines


class Hung(SystemExit):
    """A test ran past its deadline.

    No `Exception`, so that nothing under test contains it; a `SystemExit`, which event loops let through.
    """


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Interrupts a test at its deadline, wherever its main thread is."""
    try:
        with _deadline(_seconds(item), item.nodeid):
            return (yield)
    except BaseException:
        item.stash[FAILED] = True
        gc.collect()  # what the failure left half-done is finalised here, not in the middle of the report
        raise


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("deadline")
    return float(marker.args[0]) if marker else DEADLINE


@contextlib.contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield  # faulthandler_timeout is what is left there
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        raise Hung(f"{what} did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    # The alarm repeats: where an event loop contains the first, the next one ends the loop's own wait.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------------------------------------ leaks


@pytest.fixture(autouse=True)
def nothing_outlives_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compares the threads, children and descriptors after each test that passed with those before it."""
    before = [look() for look in LOOKS]
    yield
    if FAILED in request.node.stash:
        return
    left = _left_behind(before)
    if left:
        # A dropped loop or socket may sit in a reference cycle; a thread that was told to end needs an
        # instant.
        gc.collect()
        give_up = time.monotonic() + 1.0
        while (left := _left_behind(before)) and time.monotonic() < give_up:
            time.sleep(0.005)  # only ever on the way to a failure
    if left:
        pytest.fail("outlived the test: " + "; ".join(left), pytrace=False)


def _left_behind(before: list[dict[int, str]]) -> list[str]:
    return [
        f"{look.__name__.strip('_')} {number} ({description})"
        for look, old in zip(LOOKS, before, strict=True)
        for number, description in look().items()
        if old.get(number) != description
    ]


def _threads() -> dict[int, str]:
    return {
        thread.ident or 0: thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not _is_kept(thread)
    }


def _is_kept(thread: threading.Thread) -> bool:
    """Trio keeps idle worker threads for ten seconds; they are daemons and hold nothing."""
    return thread.daemon and thread.name.lower().startswith("trio thread")


def _children() -> dict[int, str]:
    found: dict[int, str] = {}
    for task in _listed("task"):
        with contextlib.suppress(OSError):  # a thread may end while we look
            for pid in (PROCESS_FOLDER / "task" / task / "children").read_text().split():
                found[int(pid)] = _command_of(pid)
    return found


def _command_of(pid: str) -> str:
    try:
        command = pathlib.Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return "gone"
    return command.replace(b"\0", b" ").decode(errors="replace").strip()[:200] or "a zombie"


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for number in _listed("fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            target = (PROCESS_FOLDER / "fd" / number).readlink()
            found[int(number)] = str(target)
    return found


def _listed(folder: str) -> list[str]:
    """The names in a folder under /proc/self; none where there is no such thing."""
    try:
        return [entry.name for entry in (PROCESS_FOLDER / folder).iterdir()]
    except FileNotFoundError:
        return []


LOOKS: tuple[Callable[[], dict[int, str]], ...] = (_threads, _children, _descriptors)
