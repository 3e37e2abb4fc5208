"""coverage.py measures what runs in hosts: with its usual settings, and nothing of ours to be set.

Every test runs a small program in a process of its own, in a folder of its own, the way its user would.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.process, pytest.mark.deadline(90)]

WORK = """
from actorsched import Actor


def plain(number):
    if number > 100:
        return "large"  # not run
    return "small"  # plain


async def gentle(number):
    import anyio

    await anyio.sleep(0)
    if number:
        return "some"  # gentle
    return "none"  # not run


def threaded():
    from threading import Thread

    def in_a_thread():
        return 1  # thread

    thread = Thread(target=in_a_thread)
    thread.start()
    thread.join()


def stubborn():
    while True:
        pass  # killed


class Account(Actor, host="process"):
    def __init__(self):
        self.sum = 0  # started

    async def on_stop(self, reason):
        self.sum = 0  # stopped

    async def deposit(self, amount):
        self.sum += amount  # handled
        return self.sum

    async def withdraw(self, amount):
        self.sum -= amount  # not run
"""

MAIN = """
import sys

import actorsched
import work
from actorsched import Hosts


def of_main():
    return "here"  # main


async def main():
    hosts = Hosts(max=2, max_tasks=2, idle_timeout="10ms")  # so that some end before the program does
    async with actorsched.Runtime(hosts=hosts) as rt:
        for function, *arguments in ((work.plain, 1), (of_main,), (work.gentle, 1), (work.threaded,)):
            await (await rt.spawn(function, *arguments, host="process"))
        account = await rt.spawn(work.Account)
        assert await account.ask.deposit(3) == 3


if __name__ == "__main__":
    actorsched.run(main, backend=sys.argv[1])
"""

RUN = {"plain", "gentle", "thread", "started", "handled", "stopped"}
"""The marks in `work` whose lines run; all of them in hosts."""


class Folder:
    """Where a program is measured."""

    def __init__(self, path: pathlib.Path, *settings: str) -> None:
        self.path = path
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))
        }
        self.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        self.write("work.py", WORK)
        self.write("main.py", MAIN)
        self.write(".coveragerc", "\n".join(["[run]", "parallel = true", "source = .", *settings]))

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text.lstrip("\n"), encoding="utf-8")

    def python(self, *arguments: str) -> str:
        """Run Python, which has to succeed and to complain of no file or figure; answers with its output."""
        done = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert not re.search("overage|Traceback|Exception", done.stderr), (
            said
        )  # a busy machine may be told of
        return done.stdout

    def files(self) -> dict[str, Any]:
        """Combine what was measured, and answer with what is reported of each file."""
        self.python("-m", "coverage", "combine", "-q")
        report = self.python("-m", "coverage", "json", "-q", "--show-contexts", "-o", "-")
        files: dict[str, Any] = json.loads(report)["files"]
        return files

    def marks(self, file: str = "work.py") -> set[str]:
        """Combine, and answer with the marks of the lines of a file that ran."""
        report = self.files()[file]
        lines = (self.path / file).read_text(encoding="utf-8").splitlines()
        return {lines[number - 1].partition("# ")[2] for number in report["executed_lines"]} - {""}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["patch = subprocess"], id="subprocess"),
        pytest.param(["patch = subprocess, fork", "branch = true"], id="fork"),
        pytest.param(["patch = subprocess, fork, _exit", "sigterm = true"], id="exit"),
    ],
)
def test_lines_that_run_in_hosts_are_measured(
    backend: str, settings: list[str], tmp_path: pathlib.Path
) -> None:
    folder = Folder(tmp_path, *settings)
    folder.python("-m", "coverage", "run", "main.py", backend)
    assert folder.marks() == RUN


@pytest.mark.parametrize("core", ["ctrace", "pytrace", "sysmon"])
def test_every_core_of_coverage_measures_hosts(core: str, tmp_path: pathlib.Path) -> None:
    if core == "sysmon" and sys.version_info < (3, 12):
        core = "ctrace"  # there is none
    folder = Folder(tmp_path, "patch = subprocess", f"core = {core}")
    folder.python("-m", "coverage", "run", "main.py", "asyncio")
    assert folder.marks() == RUN


def test_functions_of_the_script_itself_are_measured_in_hosts(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, "patch = subprocess")
    folder.python("-m", "coverage", "run", "main.py", "asyncio")
    assert "main" in folder.marks("main.py")


def test_branches_and_static_contexts_cross(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, "patch = subprocess", "branch = true", "context = nightly")
    folder.python("-m", "coverage", "run", "main.py", "asyncio")
    report = folder.files()["work.py"]
    lines = WORK.lstrip("\n").splitlines()
    branch = next(number for number, line in enumerate(lines, 1) if "number > 100" in line)
    assert [branch, branch + 2] in report["executed_branches"]
    assert [branch, branch + 1] in report["missing_branches"]
    assert report["contexts"][str(branch + 2)] == ["nightly"]


def test_coverage_that_is_asked_for_by_the_environment_measures_hosts(tmp_path: pathlib.Path) -> None:
    """As it was done before coverage.py could patch: by a `.pth` file, or here by what works like one."""
    folder = Folder(tmp_path)
    (tmp_path / "start").mkdir()
    folder.write("start/sitecustomize.py", "import coverage\n\ncoverage.process_startup()\n")
    folder.environment["PYTHONPATH"] = str(tmp_path / "start")
    folder.environment["COVERAGE_PROCESS_START"] = str(tmp_path / ".coveragerc")
    folder.python("main.py", "asyncio")
    del folder.environment["COVERAGE_PROCESS_START"]
    assert folder.marks() == RUN


def test_a_test_suite_is_measured_with_its_hosts(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, "patch = subprocess", "dynamic_context = test_function")
    folder.write(
        "test_it.py",
        "import actorsched\nimport main\n\n\ndef test_it():\n    actorsched.run(main.main)\n",
    )
    folder.python("-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert folder.marks() == RUN


def test_a_host_that_is_killed_loses_its_own_figures_and_no_others(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, "patch = subprocess, _exit")
    folder.write(
        "main.py",
        """
import actorsched
import work
from actorsched import Hosts


async def main():
    async with actorsched.Runtime(hosts=Hosts(max=2)) as rt:
        stuck = await rt.spawn(work.stubborn, host="process", timeout="0.1s")
        await (await rt.spawn(work.plain, 1, host="process"))
        try:
            await stuck
        except TimeoutError:
            pass


actorsched.run(main)
""",
    )
    folder.python("-m", "coverage", "run", "main.py")
    of_the_program_and_one_host = list(tmp_path.glob(".coverage.*"))
    assert len(of_the_program_and_one_host) == 2
    assert folder.marks() == {"plain"}


def test_nothing_of_coverage_is_loaded_where_nobody_measures(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path)
    folder.write(
        "main.py",
        """
import actorsched


def has_coverage():
    import sys

    return "coverage" in sys.modules


async def main():
    async with actorsched.Runtime() as rt:
        print(await (await rt.spawn(has_coverage, host="process")))


actorsched.run(main)
""",
    )
    assert folder.python("main.py") == "False\n"
