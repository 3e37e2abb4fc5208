"""The log of whole programs: what arrives when one ends, is interrupted, or is forked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.process

HEAD = """
import logging, os, sys, threading
import anyio
import actorsched
from actorsched import Runtime
from actorsched.observe import start_log

log = logging.getLogger("app")

"""


def program(tmp_path: pathlib.Path, body: str) -> list[str]:
    script = tmp_path / "program.py"
    script.write_text(HEAD + textwrap.dedent(body))
    return [sys.executable, "-W", "error", str(script)]


def messages(lines: str) -> list[str]:
    return [json.loads(line)["message"] for line in lines.splitlines()]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_orderly_exit_loses_no_record(backend: str, tmp_path: pathlib.Path) -> None:
    command = program(
        tmp_path,
        f"""
        def work(start):
            for number in range(start, start + 500):
                log.info("%d", number)

        async def main():
            async with Runtime() as rt:
                await start_log(rt, format="json", loggers=["app"])
                await rt.run(work, 0, host="thread")
                await rt.run(work, 500, host="process")
                work(1000)

        actorsched.run(main, backend={backend!r})
        """,
    )
    answer = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert answer.returncode == 0, answer.stderr
    assert messages(answer.stderr) == [str(number) for number in range(1500)]


def test_all_is_written_also_when_the_program_is_interrupted(tmp_path: pathlib.Path) -> None:
    command = program(
        tmp_path,
        """
        async def main():
            async with Runtime() as rt:
                await start_log(rt, sys.stdout, format="json", loggers=["app"])
                try:
                    for number in range(100):
                        log.info("%d", number)
                    print("ready", file=sys.stderr, flush=True)
                    await anyio.sleep_forever()
                finally:
                    log.info("interrupted")

        actorsched.run(main)
        """,
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        written = process.stdout.read()
        assert process.wait(timeout=20) in (1, 130, -signal.SIGINT)
    assert messages(written) == [*(str(number) for number in range(100)), "interrupted"]


def test_a_stopped_reader_holds_up_neither_the_loop_nor_the_end(tmp_path: pathlib.Path) -> None:
    command = program(
        tmp_path,
        """
        async def main():
            async with Runtime() as rt:
                written = await start_log(rt, sys.stdout, format="json", close_timeout="50ms")
                for number in range(1000):
                    log.info("%d %s", number, "x" * 1000)
                    if number % 10 == 0:
                        await anyio.lowlevel.checkpoint()
                print("the loop goes on", file=sys.stderr)
            print(written.written + written.lost, written.lost > 0, file=sys.stderr)

        import anyio.lowlevel
        actorsched.run(main)
        """,
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.read()  # nobody reads its output
        assert process.wait(timeout=20) == 0
    first, second, third = told.splitlines()
    assert first == "the loop goes on"
    assert second.endswith("log records could not be written to <stdout>: it did not take them in time")
    assert third == "1000 True"


def test_a_fork_writes_directly_and_nothing_twice(tmp_path: pathlib.Path) -> None:
    command = program(
        tmp_path,
        """
        def work():
            log.info("parent")
            child = os.fork()
            if not child:
                log.info("child")
                os._exit(0)
            os.waitpid(child, 0)

        async def main():
            async with Runtime() as rt:
                await start_log(rt, sys.stderr, format="json", loggers=["app"])
                work()

        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads
        actorsched.run(main)
        """,
    )
    answer = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert answer.returncode == 0, answer.stderr
    assert sorted(messages(answer.stderr)) == ["child", "parent"]


def test_nothing_of_it_is_imported_before_a_log_is_started(tmp_path: pathlib.Path) -> None:
    command = program(
        tmp_path,
        """
        async def main():
            async with Runtime() as rt:
                print(any(name.startswith("aiologger") for name in sys.modules))
                await start_log(rt)
                print(any(name.startswith("aiologger") for name in sys.modules))

        actorsched.run(main)
        """,
    )
    answer = subprocess.run(command, capture_output=True, text=True, timeout=25, check=True)
    assert answer.stdout.split() == ["False", "True"]
