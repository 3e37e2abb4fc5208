"""Run a program: an async function in an event loop of its own, with what the signals of a program mean.

The law of this module: it starts the loop, and gives back what the function returned, or raises what ended
it. It knows of no runtime; those in the program hear of its signals by themselves (`_kernel.signals`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar, TypeVarTuple

from actorsched._kernel.looking import checked_look

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    main: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    backend: Literal["asyncio", "trio"] = "asyncio",
    tree_on: int | None = None,
) -> T:
    """Run an async function, on asyncio with uvloop where that is installed, or on trio.

    SIGINT and SIGTERM cancel it, so that a runtime in it shuts down in order. A second SIGINT kills actors
    and hosts, and leaves threads behind that do not stop; a third one ends the process at once, and so does a
    SIGTERM after any other. None of them is raised where the program happens to be.

    Args:
        main: The function.
        args: Its arguments.
        backend: The event loop.
        tree_on: A signal, such as `signal.SIGUSR1`. Whenever the program gets it, what there is in each of
            its runtimes (`Runtime.tree`) is written to standard error, as soon as the loop has its next turn;
            nothing else happens. None for none.

    Returns:
        What it returned.

    Raises:
        TypeError: `tree_on` is no signal.
        ValueError: `tree_on` is a signal that does not exist, or has a meaning already.
        RuntimeError: `tree_on` was given in another thread than the main one, to which signals come.
        KeyboardInterrupt: SIGINT has ended it.
        SystemExit: SIGTERM has ended it; the code is 143.
    """
    import anyio

    from actorsched._kernel.signals import Signals

    look = checked_look(tree_on)
    options = {"use_uvloop": uvloop_is_installed()} if backend == "asyncio" else {}
    with Signals(look) as signals:
        result = anyio.run(signals.guard, main, args, backend=backend, backend_options=options)
        if not result or signals.unheard:
            signals.raise_for()
    return result[0]


def uvloop_is_installed() -> bool:
    """Whether asyncio can run on uvloop here."""
    from importlib.util import find_spec

    return find_spec("uvloop") is not None and _has_standard_descriptors()


def _has_standard_descriptors() -> bool:
    """Whether 0, 1 and 2 are open, as they need not be in a daemon.

    Otherwise a loop may be given one of them for its own, and libuv aborts the process when it closes that.
    """
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True
