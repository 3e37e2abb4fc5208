"""What `actorsched run MODULE:FUNCTION` means: an async function of the user's, found and ready to call.

The law of this module: it finds and checks, and calls nothing. Whatever is wrong with the words, with the
module or with the function is a `BadTarget`, whose message is one line that says where the fault is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

_RUNTIME_NAMES = ("rt", "runtime")


class BadTarget(Exception):
    """There is nothing there that could be run so; the message is one line that says why."""


class Target(NamedTuple):
    """An async function, and what to call it with."""

    function: Callable[..., Coroutine[Any, Any, object]]
    args: tuple[str, ...]
    takes_runtime: bool
    """Whether it wants the runtime before its other arguments."""

    def __call__(self, runtime: object) -> Coroutine[Any, Any, object]:
        """Call it."""
        return self.function(*([runtime] if self.takes_runtime else []), *self.args)


def find_target(words: str, args: Sequence[str]) -> Target:
    """Find what is to be run.

    Args:
        words: "module:function"; the function may be an attribute, "module:Class.method".
        args: What to pass to it.

    Raises:
        BadTarget: It is not there, is no async function, or does not take these arguments.
    """
    module, colon, path = words.partition(":")
    if not (module and colon and path):
        raise BadTarget(f"{words!r} does not say what to run; give MODULE:FUNCTION")
    found = _attribute(_imported(module), module, path)
    if not _is_async(found):
        raise BadTarget(f"{words} is {_kind(found)}, no async function; give what is defined by `async def`")
    import inspect

    signature = inspect.signature(found)
    target = Target(found, tuple(args), _takes_runtime(signature))
    try:
        signature.bind(*([None] if target.takes_runtime else []), *args)
    except TypeError as error:
        takes = ", ".join(map(str, signature.parameters.values())) or "no arguments"
        raise BadTarget(f"{words}: {error}; it takes {takes}") from None
    return target


def _imported(name: str) -> Any:
    """Import a module, from the working directory first."""
    from importlib import import_module

    try:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        return import_module(name)
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadTarget(f"{name} cannot be imported: {said}{_place(error.__traceback__)}") from error


def _place(traceback: TracebackType | None) -> str:
    """Where in the module, or below it, its import has failed; nothing when there is no such module."""
    place = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if (
            code.co_name != "import_module"
            and not code.co_filename.startswith("<frozen")
            and code.co_filename != __file__
        ):
            place = f" ({code.co_filename}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place


def _attribute(found: Any, at: str, path: str) -> Any:
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            from difflib import get_close_matches

            near = get_close_matches(name, [public for public in dir(found) if not public.startswith("_")], 1)
            raise BadTarget(
                f"{at} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            ) from None
        at = f"{at}.{name}"
    return found


def _is_async(found: Any) -> bool:
    import inspect

    return inspect.iscoroutinefunction(found) or (
        callable(found) and not isinstance(found, type) and inspect.iscoroutinefunction(type(found).__call__)
    )


def _kind(found: Any) -> str:
    import inspect

    if inspect.isasyncgenfunction(found):
        return "an async generator function"
    if isinstance(found, type):
        return "a class"
    return "a plain function" if inspect.isroutine(found) else f"of type {type(found).__name__}"


def _takes_runtime(signature: inspect.Signature) -> bool:
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    annotation = first.annotation
    if not isinstance(annotation, str):
        annotation = getattr(annotation, "__name__", "")
    return first.name in _RUNTIME_NAMES or annotation.strip("'\"").rpartition(".")[2] == "Runtime"
