"""What a test leaves behind fails it, with what it is and where it began; and it is ended all the same."""

from __future__ import annotations

import pytest

from tests.testing.sessions import BACKENDS, run

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.deadline(120)]

LEAKS = """
import asyncio, os, subprocess, threading
import anyio, pytest
from actorsched import Actor, current

kept = []

class Account(Actor):
    async def on_start(self):
        current().every("1h", Account.beat)

    async def beat(self): pass

    async def deposit(self, amount, note=""):
        await anyio.sleep(100)

async def fail():
    raise ValueError("the reason")

async def service(runtime):
    return await runtime.spawn(anyio.sleep, 100, name="of the service")

async def test_task(runtime):
    await service(runtime)

async def test_actor(runtime):
    ref = await runtime.spawn(Account, name="mine")
    for amount in range(6):
        ref.tell(Account.deposit, amount)
    await anyio.sleep(0.01)

async def test_unseen(runtime):
    await runtime.spawn(fail, name="unseen")
    await anyio.sleep(0)

async def test_unseen_though_held(runtime):
    kept.append(await runtime.spawn(fail, name="held"))
    await anyio.sleep(0)

async def test_thread(runtime):
    threading.Thread(target=kept_waiting.wait, name="forgotten", daemon=True).start()

kept_waiting = threading.Event()

async def test_process(runtime):
    kept.append(subprocess.Popen(["sleep", "60"]))

async def test_descriptor(runtime):
    kept.append(os.open(os.devnull, os.O_RDONLY))

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_backend_task(runtime):
    kept.append(asyncio.create_task(anyio.sleep(100), name="forgotten task"))

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_timer(runtime):
    kept.append(asyncio.get_running_loop().call_later(100, fail))

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_only_the_handler(runtime):
    asyncio.get_running_loop().call_soon(int, "no number")
    await asyncio.sleep(0)

async def test_itself(runtime):
    await runtime.spawn(anyio.sleep, 100)
    await runtime.spawn(Account)
    raise KeyError("of the test itself")

async def test_nothing(runtime):
    task = await runtime.spawn(anyio.sleep, 100)
    await task.cancel()
    async with runtime.scope() as scope:
        await scope.spawn(Account)
    ref = await runtime.spawn(fail)
    with pytest.raises(ValueError):
        await ref

@pytest.mark.actorsched(may_leave=["tasks", "actors", "failures"])
async def test_allowed(runtime):
    await runtime.spawn(anyio.sleep, 100)
    await runtime.spawn(Account)
    await runtime.spawn(fail)

def test_end():
    kept_waiting.set()
    for each in kept:
        if isinstance(each, subprocess.Popen):
            each.kill()
            each.wait()
"""
SAID = (
    "1 task:",
    "task 'of the service': running",
    "started at test_it.py:*, in service",
    'return await runtime.spawn(anyio.sleep, 100, name="of the service")',
    "actor 'mine': running, in deposit",
    "started at test_it.py:*, in test_actor",
    "waits at test_it.py:*, in Account.deposit",
    "mailbox: 5 unhandled: deposit(1), deposit(2), deposit(3), and 2 more",
    "timer: beat in *, every 3600 s",
    "task 'unseen' failed, and nobody looked at its outcome: ValueError: the reason",
    "raised at test_it.py:*, in fail",
    "thread 'forgotten': daemon",
    "process *: sleep 60",
    "descriptor *: /dev/null",
    "backend task 'forgotten task': waiting",
    "timer of the event loop: fail",
    "ValueError: invalid literal for int*",
    '@pytest.mark.actorsched(may_leave="tasks")',
    "KeyError: 'of the test itself'",
)
ON_ALL = ("task", "actor", "unseen", "unseen_though_held", "thread", "process", "descriptor", "itself")
ON_ASYNCIO = ("backend_task", "timer", "only_the_handler")


def test_whatever_is_left_fails_the_test_and_is_told(pytester: pytest.Pytester) -> None:
    found = run(pytester, LEAKS)
    wanted = {f"test_{test}[{backend}]" for test in ON_ALL for backend in BACKENDS}
    assert found.failed == wanted | {f"test_{test}[asyncio]" for test in ON_ASYNCIO}
    assert found.passed == {
        *(f"test_{test}[{backend}]" for test in ("nothing", "allowed") for backend in BACKENDS),
        "test_end",
    }
    assert not found.errors
    for said in SAID:
        pytest.LineMatcher(found.text.splitlines()).fnmatch_lines([f"*{said.replace('[', '[[]')}*"])


def test_a_process_that_ends_later_is_told_of_once(pytester: pytest.Pytester) -> None:
    found = run(
        pytester,
        """
        import os, pytest, subprocess, time

        kept = []

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_process(runtime, anyio_backend):
            kept.append(subprocess.Popen(["sleep", "60"]))

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_another(runtime, anyio_backend):
            kept[0].kill()
            os.waitid(os.P_PID, kept[0].pid, os.WEXITED | os.WNOWAIT)

        def test_end():
            kept[0].wait()
        """,
    )
    assert found.failed == {"test_process[asyncio]"}
    assert not found.errors


def test_what_does_not_stop_is_named_with_the_line_at_which_it_hangs(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import actorsched.testing.staging
        actorsched.testing.staging.PATIENCE = 0.1
        """
    )
    found = run(
        pytester,
        """
        import anyio, pytest, threading
        from actorsched import Actor

        class Stubborn(Actor):
            async def work(self):
                await obstinate()

        async def obstinate():
            while True:
                try:
                    await anyio.sleep(100)
                except anyio.get_cancelled_exc_class():
                    pass

        async def test_task(runtime):
            await runtime.spawn(obstinate)
            await anyio.sleep(0.01)

        async def test_actor(runtime):
            ref = await runtime.spawn(Stubborn)
            ref.tell(Stubborn.work)
            await anyio.sleep(0.01)

        async def test_itself(runtime):
            await runtime.spawn(obstinate)
            await anyio.sleep(0.01)
            assert False

        async def test_next(runtime): pass
        """,
        "-W",
        "ignore",
    )
    assert found.passed == {f"test_next[{backend}]" for backend in BACKENDS}
    assert len(found.failed) == 9
    assert "and has not stopped 0.1 s after it was told to" in found.text
    assert "in obstinate" in found.text


def test_a_project_may_have_all_its_tests_watched(pytester: pytest.Pytester) -> None:
    found = run(
        pytester,
        """
        import os, pytest

        kept = []

        @pytest.fixture(scope="module")
        def long_lived():
            number = os.open(os.devnull, os.O_RDONLY)
            yield number
            os.close(number)

        @pytest.fixture
        def closed_at_last():
            opened = []
            yield opened
            for number in opened:
                os.close(number)

        def test_with_fixtures(long_lived, closed_at_last):
            closed_at_last.append(os.open(os.devnull, os.O_RDONLY))

        def test_leaves(virtual_clock):
            kept.append(os.open(os.devnull, os.O_RDONLY))

        async def test_fixture_closes(runtime, closed_at_last):
            closed_at_last.append(os.open(os.devnull, os.O_RDONLY))
        """,
        ini="actorsched_leaks = true\n",
    )
    assert found.errors == {"test_leaves"}
    assert not found.failed
    assert {f"test_fixture_closes[{backend}]" for backend in BACKENDS} < found.passed
