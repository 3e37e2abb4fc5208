"""A test of pytest, run under many seeds: the body within its runtime, and what a failure has to tell.

The law of this module: it stands between the plugin and the engine (`exploring`), and simulates nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from actorsched.testing.exploring import Explored, Failure, find_failure
from actorsched.testing.staging import Stage
from actorsched.testing.story import told
from actorsched.testing.world import STEPS

if TYPE_CHECKING:
    from types import CodeType, TracebackType

    from actorsched.runtime import Runtime
    from actorsched.testing.choices import Seed
    from actorsched.testing.simulation import Simulation

__all__ = ["run_under"]


def run_under(
    seeds: int | Iterable[Seed],
    call: Callable[[Simulation, Runtime | None], Awaitable[object]],
    make: Callable[[Simulation], Runtime] | None,
    *,
    backend: Any,
    may_leave: Iterable[str],
    steps: int | None,
    code: CodeType | None,
    tell: Callable[[Callable[[str], str]], object],
) -> None:
    """Run the body of a test once for each seed, until it fails.

    Args:
        seeds: How many; or which.
        call: Runs the body.
        make: Makes the runtime that the body is run in; None if it makes its own.
        backend: On which simulated loop.
        may_leave: What may be left in that runtime, as in `leaks.KINDS`.
        steps: After so many steps a run is taken to have no end; None for the usual number.
        code: The body's code, with which the traceback of a failure begins.
        tell: Called when it has failed, with a function that makes the story of that; its argument is the
            command that replays a seed, without the seed.

    Raises:
        BaseException: What it failed with.
    """
    __tracebackhide__ = True
    skipped: list[BaseException] = []
    allowed = frozenset(may_leave)

    async def scenario(simulation: Simulation) -> None:
        if skipped:
            return
        stage = Stage(allowed, simulated=True)
        runtime = None if make is None else make(simulation)
        try:
            await stage.play(lambda: call(simulation, runtime), runtime)
        except pytest.skip.Exception as error:
            skipped.append(error)

    found: Failure | Explored = find_failure(scenario, seeds, backend=backend, steps=steps or STEPS)
    if skipped:
        raise skipped[0]
    if isinstance(found, Failure):
        tell(lambda command: _story(found, command))
        error = found.error.with_traceback(_from(code, found.error.__traceback__))
        try:
            raise error
        finally:
            del error, found


def _from(code: CodeType | None, traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins with this code; all of it if that is not in it."""
    entry = traceback
    while entry is not None and entry.tb_frame.f_code is not code:
        entry = entry.tb_next
    return entry or traceback


def _story(failure: Failure, command: str) -> str:
    """Under which seed a test has failed, how to see that again, and what happened."""
    lines = [f"failed under seed {failure.seed}"]
    if not failure.repeatable:
        lines.append(
            "it did not come again under that seed: the test depends on something that no seed decides, "
            "such as the machine's clock, the order of a set, or what an earlier test has left"
        )
    lines.append(f"to replay it exactly: {command}{_quoted(failure.seed)}")
    if failure.shortest != failure.seed:
        lines.append(f"the shortest run that failed like it: {command}{_quoted(failure.shortest)}")
    return "\n".join([*lines, "what happened in that, by virtual time:", *told(failure.log)])


def _quoted(seed: Seed) -> str:
    import shlex

    return shlex.quote(str(seed))
