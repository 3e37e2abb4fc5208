"""Mars, July 1997: the Pathfinder restarts again and again. What happened, and the one line that mended it.

Three tasks share one processor. The manager of the bus is the most urgent, the weather station the least, and
the radio stands between them. The manager and the weather station need the same lock. The weather station
has it when the manager comes, so the manager has to wait: that is in order, and does not take long. But then
the radio wants the processor. It is more urgent than the weather station, and takes its place. Now the most
urgent task of all waits for the radio, with which it has nothing to do: a *priority inversion*. A watchdog
sees that the manager has not done its work in time, and restarts the whole computer.

With `inherit=True`, which is the default, whoever holds the lock is as urgent as the most urgent task that
waits for it. The engineers switched that on, from the Earth.

All of this is played in virtual time: `compute(8)` takes 8 units, and no time at all.

Run it with `python examples/pathfinder.py`. The same as a picture: docs/images/pathfinder.svg.
"""

# expect: Without inheritance:
# expect: ...5  manager waits for weather
# expect: ...5  radio has the processor
# expect: ...13  the watchdog restarts the computer
# expect: With inheritance:
# expect: ...10  manager is done
# expect: ...18  radio is done

from __future__ import annotations

import actorsched
from actorsched import DeadlineMissed, Runtime, TaskRef, current
from actorsched.events import Event
from actorsched.testing import VirtualClock, compute


async def weather() -> None:
    """Collect data, and hand them over."""
    await compute(1)
    async with current().acquire("bus"):
        await compute(4)
    await compute(1)


async def manager() -> None:
    """Distribute what is on the bus; the watchdog wants it to be done in time."""
    await compute(2)
    async with current().acquire("bus"):
        await compute(2)
    await compute(1)


async def radio() -> None:
    """Talk to the Earth, for long."""
    await compute(8)


def tell(event: Event) -> None:
    """Print what happens, and when."""
    match event:
        case Event(kind="started" | "resumed", time=time, name=name):
            print(f"{time:4.0f}  {name} has the processor")
        case Event(kind="blocked", time=time, name=name, details={"holder": holder}):
            print(f"{time:4.0f}  {name} waits for {holder}")
        case Event(kind="completed", time=time, name=name):
            print(f"{time:4.0f}  {name} is done")
        case _:
            pass


async def mission(*, inherit: bool) -> None:
    """The same three tasks, with the lock made in one way or the other."""
    print("With inheritance:" if inherit else "Without inheritance:")
    async with Runtime(concurrency=1, clock=VirtualClock()) as rt:
        rt.resource("bus", inherit=inherit)
        rt.subscribe(None, tell)
        await rt.spawn(weather, priority=1)
        await rt.sleep(3)
        urgent = await rt.spawn(manager, priority=3, deadline=10, hard=True)
        await rt.sleep(1)
        await rt.spawn(radio, priority=2)
        await watch(rt, urgent)


async def watch(rt: Runtime, urgent: TaskRef[None]) -> None:
    """The watchdog."""
    try:
        await urgent
    except DeadlineMissed:
        print(f"{rt.now:4.0f}  the watchdog restarts the computer")
        await rt.shutdown(drain=False)


async def main() -> None:
    """Without, and with."""
    await mission(inherit=False)
    await mission(inherit=True)


if __name__ == "__main__":
    actorsched.run(main)
