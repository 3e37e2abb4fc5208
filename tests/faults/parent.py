"""A program that starts a runtime with hosts in all kinds of states, and waits for what is done to it.

For `test_parents`. Arguments: what runs it, whether its hosts are to be "busy" or still "starting", a folder.
It says "ready" when they are.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import anyio

import actorsched
from actorsched import Hosts, Priority, Runtime
from tests.faults import deeds
from tests.host_help import Fifo, until


async def be_busy(rt: Runtime, folder: Path) -> None:
    """Hosts that hold the GIL in C, are suspended, have children, have actors in them, and are idle."""
    with Fifo(folder) as fifo:
        for number in range(3):
            assert await rt.run(deeds.same, number, host="process") == number
        keeper: Any = await rt.spawn(deeds.Keeper, 1)
        await keeper.ask.do(str(folder / "ledger"), "tree", deeds.leave_a_tree_behind, str(folder / "ledger"))
        low = await rt.spawn(deeds.spin, fifo.path, host="process", priority=Priority.LOW)
        await fifo.told()
        await rt.spawn(deeds.spin_in_c, fifo.path, host="process")
        await fifo.told()
        await rt.spawn(deeds.spin_in_c, fifo.path, host="process", priority=Priority.CRITICAL)
        await fifo.told()
        await until(lambda: low.status is actorsched.TaskStatus.PREEMPTED)


async def main(state: str, folder: Path) -> None:
    limits = Hosts(min=2, max=2) if state == "busy" else Hosts(min=4, max=4)
    async with Runtime(hosts=limits, shutdown_timeout=0.3) as rt:
        if state == "busy":
            await be_busy(rt, folder)
        print("ready", flush=True)
        await anyio.sleep_forever()


RUNNERS = {
    "actorsched.run": lambda *args: actorsched.run(main, *args, backend="asyncio"),
    "actorsched.run on trio": lambda *args: actorsched.run(main, *args, backend="trio"),
    "asyncio.run": lambda *args: asyncio.run(main(*args)),
    "anyio.run on trio": lambda *args: anyio.run(main, *args, backend="trio"),
}

if __name__ == "__main__":
    RUNNERS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
