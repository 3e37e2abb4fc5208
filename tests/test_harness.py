"""The harness of `conftest.py` catches what it is there to catch."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

FAULTY = """
import asyncio, socket, subprocess, threading, anyio, pytest

kept = []
released = threading.Event()

async def test_runs_on_every_backend(backend):
    pass

@pytest.mark.deadline(0.2)
async def test_hangs():
    await anyio.Event().wait()

@pytest.mark.deadline(0.2)
async def test_spins():
    while True:
        pass

@pytest.mark.deadline(0.2)
def test_blocks():
    threading.Event().wait()

@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
async def test_loses_an_exception(backend):
    asyncio.get_running_loop().call_soon(int, "no number")
    await asyncio.sleep(0)

def test_leaves_a_descriptor():
    kept.append(socket.socket())

def test_leaves_a_process():
    kept.append(subprocess.Popen(["sleep", "60"]))

def test_leaves_a_thread():
    threading.Thread(target=released.wait, name="forgotten").start()

def test_goes_on_undisturbed():
    released.set()
    with kept.pop() as process:
        process.kill()
    kept.pop().close()
"""

FAILED = {
    f"test_{fault}[{backend}]" for fault in ("hangs", "spins") for backend in ("asyncio", "uvloop", "trio")
}
FAILED |= {"test_blocks", "test_loses_an_exception[asyncio]", "test_loses_an_exception[uvloop]"}
LEFT_BEHIND = {"test_leaves_a_descriptor", "test_leaves_a_process", "test_leaves_a_thread"}
PASSED = {f"test_runs_on_every_backend[{backend}]" for backend in ("asyncio", "uvloop", "trio")}
PASSED |= {"test_goes_on_undisturbed"}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(90)
def test_hangs_leaks_and_lost_exceptions_fail_and_nothing_else_does(tmp_path: pathlib.Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tests / "test_faulty.py").write_text(FAULTY, encoding="utf-8")

    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--disable-warnings", "-p", "no:cacheprovider"]
    answer = subprocess.run(command, capture_output=True, check=False, text=True, cwd=tmp_path, timeout=80)

    def reported(word: str) -> set[str]:
        return set(re.findall(rf"^{word} tests/test_faulty\.py::(\S+)", answer.stdout, flags=re.MULTILINE))

    assert reported("FAILED") == FAILED, answer.stdout
    assert reported("ERROR") >= LEFT_BEHIND
    assert reported("PASSED") == PASSED | LEFT_BEHIND
