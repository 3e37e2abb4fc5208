"""What the tests of hosts have in common."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched import Runtime


class Fifo:
    """A named pipe by which code in a host tells a test that it has got somewhere."""

    def __init__(self, folder: Path, name: str = "fifo") -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)
        # Held open, so that neither side waits for the other to open it.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def tell(self) -> None:
        """Say something to whoever reads it in a host."""
        os.write(self._descriptor, b".")

    async def told(self) -> int:
        """Wait until the host has told; its process id."""
        await anyio.wait_readable(self._descriptor)
        said = os.read(self._descriptor, 4096).split()[0]
        return int(said) if said.isdigit() else 0


def adds_up(rt: Runtime) -> bool:
    office = rt._system.kernel.office
    return office.sent == office.handled + office.rejected + office.dead_lettered


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def task_hosts(rt: Runtime) -> list[Any]:
    return [worker for worker in rt._system.staff.workers if not worker.retiring]


def actor_hosts(rt: Runtime) -> list[Any]:
    return [port for port in rt._system.staff.ports if not port.retiring]


def spread_out(rt: Runtime) -> None:
    """Have actors move in as if the machine had nothing else to do, whatever it does."""

    def heed_nothing(sample: object) -> None:
        """What a look at the machine has shown is not heeded."""

    hosts: Any = rt._system.staff.actor_hosts
    hosts.take = heed_nothing


def kill(pid: int) -> None:
    assert pid > 0, "a host that has no process yet; to the system, 0 is everybody here"
    os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds that a host brings about."""
    while not condition():
        await anyio.sleep(0.001)
