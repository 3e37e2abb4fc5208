"""Whole programs that use `TaskManager`, and end as programs do: by themselves, by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.process, pytest.mark.deadline(60)]

HEAD = """
import asyncio, threading, time
from actorsched.frontends.manager import EventType, TaskManager, subscribe
manager = TaskManager()
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    program = HEAD + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )


def test_a_blocking_script_needs_no_shutdown() -> None:
    answer = run("""
        def double(x):
            return 2 * x
        async def triple(x):
            await asyncio.sleep(0)
            return 3 * x
        first = manager.register_task("first", double, 2)
        second = manager.register_task("second", triple, 3, dependencies=[first], executor_type="async")
        third = manager.register_task("third", double, 4, dependencies=[second], executor_type="sequential")
        print(asyncio.run(manager.execute_task(third, wait=True)))
        print([manager.get_task_result(one) for one in (first, second, third)])
    """)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.split("\n") == ["True", "[4, 9, 8]", ""]


def test_trio_runs_a_script_too() -> None:
    answer = run("""
        import trio
        async def triple(x):
            await trio.sleep(0)
            return 3 * x
        one = manager.register_task("one", triple, 3)
        print(trio.run(manager.execute_task, one), manager.get_task_result(one))
    """)
    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", "True 9\n")


def test_what_was_handed_over_is_finished_before_the_program_ends_and_its_events_are_told() -> None:
    answer = run("""
        goes_on = threading.Event()
        threading._register_atexit(goes_on.set)  # called when the program ends, before what came earlier
        def late():
            goes_on.wait()
            print("late", flush=True)
        async def hear(event):
            print("heard", flush=True)
        subscribe(EventType.TASK_COMPLETED, lambda event: print(event.type, flush=True))
        subscribe(EventType.TASK_COMPLETED, hear)
        one = manager.register_task("late", late)
        asyncio.run(manager.execute_task(one, wait=False))
        print("end", flush=True)
    """)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.split()[:2] == ["end", "late"]
    assert sorted(answer.stdout.split()[2:]) == ["heard", "task_completed"]


def test_what_the_end_of_its_loop_has_cut_off_is_named() -> None:
    answer = run("""
        async def forever():
            await asyncio.Event().wait()
        one = manager.register_task("cut off", forever)
        asyncio.run(manager.execute_task(one, wait=False))
    """)
    assert answer.returncode == 0
    assert "'cut off'" in answer.stderr
    assert "event loop in which it was executed has ended" in answer.stderr


def test_what_sits_in_a_loop_that_does_not_run_is_named_when_the_program_ends() -> None:
    answer = run("""
        async def forever():
            await asyncio.Event().wait()
        one = manager.register_task("left behind", forever)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.execute_task(one, wait=False))
    """)
    assert "1 task did not finish before the program ended" in answer.stderr
    assert "'left behind' (manager-1): its event loop has ended" in answer.stderr


def test_ctrl_c_cancels_what_runs_and_ends_the_program_at_once() -> None:
    program = HEAD + textwrap.dedent("""
        async def forever():
            try:
                print("runs", flush=True)
                await asyncio.Event().wait()
            finally:
                print("left", flush=True)
        def blocks():
            threading.Event().wait()
        async def main():
            for name, func in (("blocks", blocks), ("forever", forever)):
                await manager.execute_task(manager.register_task(name, func), wait=False)
            await asyncio.Event().wait()
        asyncio.run(main())
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=50)
    assert output == "left\n"
    assert "KeyboardInterrupt" in complaints
    assert "'blocks'" in complaints.partition("did not finish before the program ended")[2]
