"""Running the command line, and examples, as their users do: in real processes, by pipe or on a terminal."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = pathlib.Path(__file__).parent.parent
WAIT = 60

# What is run in the new process before the program itself; each ends in `os.execv(*program)`.
WITHOUT_THE_RIGHTS_OF_ROOT = """
import ctypes
for capability in (1, 2):  # DAC_OVERRIDE and DAC_READ_SEARCH: refused to anyone but root, who alone has them
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
"""
WITH_SMALL_FILES_ONLY = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""
ON_ITS_TERMINAL = """
import fcntl, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""
WITHOUT_RICH = (
    "import sys; sys.modules['rich'] = None; sys.argv[0] = 'actorsched'; from actorsched.cli import main; "
)


class Answer(NamedTuple):
    """What became of a command."""

    code: int
    lines: list[str]
    complaints: str


class Command:
    """A running command. Its processes can be told from all others by a mark in their environment."""

    def __init__(
        self,
        *words: object,
        cwd: pathlib.Path | None = None,
        before: str = "",
        terminal: bool = False,
        environment: dict[str, str] | None = None,
        code: str | None = None,
        script: pathlib.Path | None = None,
        stdout: int | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._master: int | None = None
        self._slave: int | None = None
        what = ["-c", code] if code else [str(script)] if script else ["-m", "actorsched"]
        program = [sys.executable, *what, *map(str, words)]
        if before:
            program = [
                sys.executable,
                "-c",
                f"import os, sys\n{before}\nos.execv(sys.argv[1], sys.argv[1:])",
                *program,
            ]
        stdin: int | None = subprocess.DEVNULL
        stderr: int = subprocess.PIPE
        if terminal:
            self._master, self._slave = pty.openpty()
            stdin = stdout = stderr = self._slave
        self.process = subprocess.Popen(
            program,
            stdin=stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=stderr,
            cwd=cwd,
            env=self._environment(environment or {}),
            text=True,
            errors="surrogateescape",
        )
        if self._slave is not None:
            os.close(self._slave)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        plain = {
            name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONUNBUFFERED")
        }
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        own = {"PYTHONPATH": path, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "COMMAND": self._mark}
        return {**plain, **own, **more}

    def lines(self) -> Iterator[str]:
        """Its lines on standard output, as they come."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield line.rstrip("\n")

    def screen(self) -> Iterator[str]:
        """What it sends to its terminal, as it comes."""
        assert self._master is not None
        with contextlib.suppress(OSError):  # EIO: everybody has left the terminal
            while data := os.read(self._master, 65536):
                yield data.decode()

    def type(self, text: str) -> None:
        """Press keys on its terminal."""
        assert self._master is not None
        os.write(self._master, text.encode())

    def answer(self) -> Answer:
        """Wait for its end."""
        out, complaints = self.process.communicate(timeout=WAIT)
        return Answer(self.process.returncode, (out or "").splitlines(), complaints or "")

    def hosts(self) -> list[int]:
        """The processes that it has started."""
        return [pid for pid in self._family() if pid != self.process.pid]

    def left(self) -> list[str]:
        """The command lines of the processes that it, or anyone below it, has left behind."""
        return list(self._family().values())

    @contextlib.contextmanager
    def measured(self) -> Generator[dict[int, int]]:
        """Notes the most memory that it, and each of its hosts, ever held: resident kilobytes, by pid.

        What `wait4` tells at the end will not do: a process begins with the maximum of the one that started
        it, and a test run that has grown big makes everything that it starts look big.
        """
        peaks: dict[int, int] = {}
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                peaks.update(self._peaks())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield peaks
        finally:
            over.set()
            watcher.join()

    def _peaks(self) -> dict[int, int]:
        peaks: dict[int, int] = {}
        for pid in (self.process.pid, *_children(self.process.pid)):
            with contextlib.suppress(OSError):  # gone
                lines = pathlib.Path("/proc", str(pid), "status").read_text().splitlines()
                peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
                if peak:  # one that has ended, and was not waited for yet, has no memory
                    peaks[pid] = peak[0]
        return peaks

    def _family(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for folder in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError, PermissionError
            ):  # gone, or not ours
                if folder.name.isdigit() and self._mark.encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = command.decode()
        return found

    def close(self) -> None:
        """Leave nothing of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self._master is not None:
            os.close(self._master)


def _children(pid: int) -> Iterator[int]:
    """Those that it started, in any of its threads, and that still run."""
    with contextlib.suppress(OSError):  # it ends while we look
        for thread in pathlib.Path("/proc", str(pid), "task").iterdir():
            yield from map(int, (thread / "children").read_text().split())


@contextlib.contextmanager
def running(*words: object, **options: object) -> Generator[Command]:
    """A command while it runs."""
    command = Command(*words, **options)  # type: ignore[arg-type]
    try:
        yield command
    finally:
        command.close()


def run(*words: object, **options: object) -> Answer:
    """Run a command to its end."""
    with running(*words, **options) as command:
        answer = command.answer()
        assert not command.left()
        return answer
