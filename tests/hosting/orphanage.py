"""A program that starts hosts, puts each in the state that is asked for, tells their process ids, and waits.

For `test_survival`, which kills it. Arguments: the state of each host.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import sys

from actorsched._hosting.wire import Started
from tests.hosting import work
from tests.hosting.harness import Host


def ignores(pid: int, number: int) -> bool:
    """Whether a process has said so of a signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


async def put(state: str) -> Host:
    """A host in this state."""
    host = Host("actors" if state == "actors" else "tasks")
    if state == "actors":
        await host.open(work.Counter)
        return host
    await host.run(work.nothing)
    if state == "spinning":
        host.start(work.spin)
        await host.frame(Started)
    elif state == "holding the GIL":
        host.start(work.spin_in_c)
        while host.link.last_started != 2:  # it cannot tell, it only leaves a note
            await asyncio.sleep(0)
    elif state == "deaf":
        host.start(work.spin_without_listening)
        while not ignores(host.link.pid, signal.SIGIO):
            await asyncio.sleep(0)
    elif state == "stopped":
        os.kill(host.link.pid, signal.SIGSTOP)
    elif state == "with a child":
        pid = await host.run(work.start_a_child)
        print(pid, flush=True)
    return host


async def main(states: list[str]) -> None:
    """Start the hosts, then wait to be killed."""
    hosts = [await put(state) for state in states]
    for host in hosts:
        print(host.link.pid, flush=True)
    print("ready", flush=True)
    await asyncio.sleep(3600)


asyncio.run(main(sys.argv[1:]))
