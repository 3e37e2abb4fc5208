"""What the spawner imports before its hosts need it.

The law of this module: it imports. It creates no event loop, starts no thread, and opens nothing.

How it works: everything that a task host needs until its first result comes first, at once, because somebody
waits for that. What comes after is taken in small steps, between which requests are heard: what actor hosts
and async functions need, then what functions and objects need that travel by value. A library that is not
there, or fails, is left to whoever needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from actorsched._hosting.packets import decoder_of
from actorsched._hosting.wire import ToHost

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST = (
    "actorsched._hosting.child_tasks",
    "actorsched._hosting.variables",
    "actorsched._hosting.plain_function",
)
# In small steps: each is a few milliseconds. The first ones are imported by those that follow anyway.
_LOOP = ("socket", "logging", "traceback", "ssl", "subprocess", "concurrent.futures.thread", "asyncio")
_ACTORS = (
    "anyio",
    "actorsched._kernel.choose",
    "actorsched._hosting.child_loop",
    "actorsched._hosting.child_actors",
)
_BACKENDS = {
    "asyncio": ("anyio._backends._asyncio", "actorsched._kernel.on_asyncio"),
    "uvloop": ("uvloop", "anyio._backends._asyncio", "actorsched._kernel.on_asyncio"),
    "trio": ("trio", "anyio._backends._trio", "actorsched._kernel.on_trio"),
}
_BY_VALUE = ("inspect", "cloudpickle", "actorsched._hosting.by_value")


def first() -> None:
    """Import what every task host needs, and make what is the same in all of them."""
    for name in _FIRST:
        import_module(name)
    decoder_of(ToHost)


def ahead(backend: str, more: list[str]) -> Iterator[str]:
    """Import one thing at each step, and answer with its name.

    Args:
        backend: What the parent runs: "asyncio", "uvloop" or "trio".
        more: What else hosts will need, of layers that are not known here.
    """
    for name in (*_LOOP, *_ACTORS, *_BACKENDS.get(backend, ()), *more, *_BY_VALUE):
        try:
            import_module(name)
        except Exception:  # whoever needs it will be told why
            pass
        yield name
