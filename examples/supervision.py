"""Supervision at work: what happens when actors fail, and who decides it.

Three scopes, three lessons: an actor that fails comes back, with its mailbox; actors that depend on each
other come back together, in order; and a supervisor that has tried often enough says so to the scope above.

Run it with `python examples/supervision.py`.
"""

# expect: -- one_for_one: the meter comes back, and goes on with its mailbox
# expect: log: <actor 'meter'...> failed and is restarted (ValueError: 'oops' is no reading)
# expect: readings after the failure add up to 7
# expect: -- rest_for_one: whoever was started after the one that failed comes back with it
# expect: database starts
# expect: connection starts
# expect: session starts
# expect: log: <actor 'connection'...> failed and is restarted (ConnectionResetError: the line is dead)
# expect: session stops
# expect: connection starts
# expect: session starts
# expect: the session answers again
# expect: -- giving up: more than 2 failures within 5 seconds are more than this supervisor bears
# expect: the scope ends with: ValueError: 'junk' is no reading
# expect: note: its supervisor gave up after 2 restarts within the period that it bears

from __future__ import annotations

import logging
import sys

import actorsched
from actorsched import Actor, Backoff, ExitReason, Runtime, Supervise


class Meter(Actor):
    """Adds up readings. It does not defend itself against bad ones: that is what its supervisor is for."""

    def __init__(self) -> None:
        self._total = 0

    async def add(self, reading: str) -> None:
        """Add a reading to the total."""
        if not reading.isdigit():
            raise ValueError(f"{reading!r} is no reading")
        self._total += int(reading)

    async def total(self) -> int:
        """What all readings of this life add up to."""
        return self._total


class Part(Actor):
    """A part of something bigger."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def on_start(self) -> None:
        """Called at the beginning of each life."""
        print(f"{self._name} starts")

    async def on_stop(self, reason: ExitReason) -> None:
        """Called at the end of each life; a failure is the reason of one."""
        if reason.error is None:
            print(f"{self._name} stops")

    async def use(self) -> str:
        """Answer, to show that it is there."""
        return f"the {self._name} answers again"

    async def lose(self, what: str) -> None:
        """Fail."""
        raise ConnectionResetError(f"the {what} is dead")


async def one_fails(rt: Runtime) -> None:
    """One actor, which fails once."""
    print("-- one_for_one: the meter comes back, and goes on with its mailbox")
    async with rt.scope(Supervise("one_for_one", max_restarts=3, period="5s")) as scope:
        meter = await scope.spawn(Meter, name="meter")
        # A message that was told has nobody to raise to: its failure goes to the supervisor. The state of the
        # meter is gone then (it may have been the culprit); the messages behind the bad one are not.
        for reading in ["1", "2", "oops", "3", "4"]:
            meter.tell(Meter.add, reading)
        print("readings after the failure add up to", await meter.ask.total())


async def some_depend_on_it(rt: Runtime) -> None:
    """Three actors, of which the one in the middle fails."""
    print("-- rest_for_one: whoever was started after the one that failed comes back with it")
    async with rt.scope(Supervise("rest_for_one")) as scope:
        await scope.spawn(Part, "database", name="database")
        connection = await scope.spawn(Part, "connection", name="connection")
        session = await scope.spawn(Part, "session", name="session")
        connection.tell(Part.lose, "line")
        await connection.ask.use()  # waits until the connection is back
        print(await session.ask.use())


async def nothing_helps(rt: Runtime) -> None:
    """One actor, which fails again and again."""
    print("-- giving up: more than 2 failures within 5 seconds are more than this supervisor bears")
    try:
        async with rt.scope(Supervise(max_restarts=2, period="5s", backoff=Backoff("10ms"))) as scope:
            meter = await scope.spawn(Meter, name="doomed meter")
            for _ in range(3):
                meter.tell(Meter.add, "junk")
            await rt.monitor(meter)  # until it has ended for good; restarts are no ends
    except* ValueError as group:
        (error,) = group.exceptions
        print(f"the scope ends with: {type(error).__name__}: {error}")
        for note in error.__notes__:
            print("note:", note)


async def main() -> None:
    """One lesson after the other."""
    async with Runtime() as rt:
        await one_fails(rt)
        await some_depend_on_it(rt)
        await nothing_helps(rt)


class Brief(logging.Formatter):
    """Leaves out the tracebacks, which the log has of every failure: this is only an example."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        error = record.exc_info[1] if record.exc_info else None
        return f"log: {record.getMessage()} ({type(error).__name__}: {error})"


if __name__ == "__main__":
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Brief())
    logging.basicConfig(handlers=[handler])
    actorsched.run(main)
