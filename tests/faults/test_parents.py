"""Programs that are killed, told to end or interrupted, whatever their hosts do: nothing is left of them.

What is tested elsewhere: single hosts whose parent dies (`tests/hosting/test_survival.py`), a script with a
host that spins (`tests/test_host_survival.py`), signals and the order in which things end
(`tests/test_signals.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.usefixtures("small_heap"), pytest.mark.process, pytest.mark.deadline(30)]
ROOT = Path(__file__).parents[2]
MARK = "ACTORSCHED_TRIAL"
AT_ONCE = 2.0
"""Seconds after which nothing is left of a program that was killed."""
IN_ORDER = 2.0 + 3.0
"""And of one that may end in order: it has a shutdown timeout, and what runs in its hosts a grace."""

CASES = [
    (signal.SIGKILL, "asyncio.run", "busy", AT_ONCE),
    (signal.SIGTERM, "asyncio.run", "busy", AT_ONCE),
    (signal.SIGINT, "asyncio.run", "busy", IN_ORDER),
    (signal.SIGINT, "anyio.run on trio", "busy", IN_ORDER),
    (signal.SIGTERM, "actorsched.run", "busy", IN_ORDER),
    (signal.SIGINT, "actorsched.run on trio", "busy", IN_ORDER),
    (signal.SIGKILL, "actorsched.run", "starting", AT_ONCE),
    (signal.SIGTERM, "actorsched.run on trio", "starting", IN_ORDER),
    (signal.SIGINT, "actorsched.run", "starting", IN_ORDER),
]


@contextmanager
def program(runner: str, state: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run one, whose processes all bear a mark; kill what is left of it."""
    environment = {**os.environ, MARK: str(folder)}
    command = [sys.executable, "-m", "tests.faults.parent", runner, state, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        try:
            yield parent
        finally:
            for pid in marked(folder):
                os.kill(pid, signal.SIGKILL)


def marked(folder: Path) -> list[int]:
    """The living processes that bear the mark, or are children of some that did."""
    mark = f"{MARK}={folder}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():  # that of a zombie is empty
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def names_in_shared_memory() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir()}


@pytest.mark.parametrize(
    ("number", "runner", "state", "seconds"),
    [pytest.param(*case, id=f"{case[0].name}, {case[1]}, {case[2]}") for case in CASES],
)
def test_nothing_is_left_of_a_program_that_ends(
    number: signal.Signals, runner: str, state: str, seconds: float, tmp_path: Path
) -> None:
    before = names_in_shared_memory()
    with program(runner, state, tmp_path) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        line = parent.stdout.readline()
        assert line == "ready\n", parent.stderr.read()
        there = marked(tmp_path)
        assert len(there) >= (8 if state == "busy" else 1), there
        parent.send_signal(number)
        limit = time.monotonic() + seconds
        while (left := marked(tmp_path)) and time.monotonic() < limit:
            time.sleep(0.01)
        assert left == [], [Path(f"/proc/{pid}/stat").read_text() for pid in left]
        code = parent.wait(5)
        said = parent.stderr.read()
    assert code != 0
    assert "Traceback" not in said or "KeyboardInterrupt" in said, said
    assert names_in_shared_memory() == before
