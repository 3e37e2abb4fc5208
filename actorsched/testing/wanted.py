"""What a test asks of the plugin: by its arguments, its markers, and the options of the session.

The law of this module: it reads, and says what is wrong with what it reads. What comes of it is the business
of `plugin`, which imports it in every session: so it imports nothing more itself until somebody asks.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actorsched._kernel.virtual import VirtualClock
    from actorsched.runtime import Runtime
    from actorsched.testing.staging import Stage

OURS = ("runtime", "virtual_clock", "simulation")
"""The fixtures of the plugin."""
BACKEND = "anyio_backend"
"""The fixture of anyio's plugin that tells where async tests run."""
SEEDS = 20
"""Under so many seeds a test with `simulation` is run."""
_SEEDS_OF_AN_EXAMPLE = 3
"""The same for each example of hypothesis, which makes many."""
_OURS = ("seeds", "steps", "may_leave")
"""The options of the marker that are not the runtime's."""
_PLUGIN = "actorsched.testing.plugin"


# ------------------------------------------------------------------------------------------- by its arguments


def used(node: Any) -> frozenset[str]:
    """Which of our fixtures a test uses, or a fixture of its; others may have the same names."""
    info = getattr(node, "_fixtureinfo", None)
    if info is None:
        return frozenset()
    return frozenset(
        name
        for name in OURS
        if name in info.names_closure
        and (defined := info.name2fixturedefs.get(name))
        and defined[-1].func.__module__ == _PLUGIN
    )


def is_async(function: Any) -> bool:
    """Whether the body of a test is async."""
    return inspect.iscoroutinefunction(inner(function))


def inner(function: Any) -> Any:
    """The body of a test; under hypothesis, what it calls for each example."""
    if not hasattr(function, "hypothesis"):
        return function
    body = function.hypothesis.inner_test
    return getattr(body, "_anyio_original_func", body)  # what anyio's plugin has put there stays there


def dependents(item: pytest.Function, name: str) -> list[str]:
    """The fixtures of others that ask for one of ours."""
    return [
        fixture
        for fixture, defined in item._fixtureinfo.name2fixturedefs.items()
        if name in defined[-1].argnames and defined[-1].func.__module__ != _PLUGIN
    ]


def tidies_up_late(item: pytest.Function) -> bool:
    """Whether fixtures of the user may close in their teardown what the body has opened.

    Or whether they live in the runtime, which then is left in the teardown itself.
    """
    libraries = ("_pytest.", "pytest_asyncio.", "anyio.", "hypothesis.", _PLUGIN)
    functions = [defined[-1].func for defined in item._fixtureinfo.name2fixturedefs.values()]
    return bool(dependents(item, "runtime")) or any(
        inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.iscoroutinefunction(function)
        for function in functions
        if not getattr(function, "__module__", "").startswith(libraries)
    )


def names_in(mark: pytest.Mark) -> list[str]:
    """What a marker `parametrize` gives values to."""
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def function_of(node: Any) -> Any:
    """The function of a test, also where that is a method."""
    return getattr(node.obj, "__func__", node.obj)


def function_scoped(item: pytest.Function) -> set[str]:
    """The arguments of a test that stand for fixtures of its own."""
    defined = item._fixtureinfo.name2fixturedefs
    arguments = inspect.signature(item.obj).parameters
    return {name for name in arguments if name in defined and defined[name][-1].scope == "function"}


# --------------------------------------------------------------------------------------------- by its markers


def _marked(item: pytest.Function) -> dict[str, Any]:
    """What the markers of a test say; the closest wins."""
    options: dict[str, Any] = {}
    for marker in item.iter_markers("actorsched"):
        if marker.args:
            pytest.fail(
                f"@pytest.mark.actorsched{marker.args!r} has positional arguments; name them, as in "
                "@pytest.mark.actorsched(concurrency=2)",
                pytrace=False,
            )
        options = {**marker.kwargs, **options}
    return options


def runtime_options(item: pytest.Function) -> dict[str, Any]:
    """Those of them that the runtime is made with."""
    from actorsched.runtime import Runtime

    known = inspect.signature(Runtime).parameters
    options = {name: value for name, value in _marked(item).items() if name not in _OURS}
    for name in options:
        if name not in known:
            near = _nearest(name, [*known, *_OURS])
            pytest.fail(
                f"@pytest.mark.actorsched({name}=...): there is no option {name!r}{near}; there are: "
                f"{', '.join(known)}, all of Runtime, and {', '.join(_OURS)}",
                pytrace=False,
            )
    return options


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, known, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def runtime_for(item: pytest.Function, clock: object) -> Runtime:
    """A new runtime for a test, which is not entered."""
    from actorsched.runtime import Runtime

    options = runtime_options(item)
    if clock is not None:
        if "clock" in options:
            text = "has a clock, and so has the test: leave out `virtual_clock`, or the clock of the marker"
            pytest.fail(f"@pytest.mark.actorsched(clock=...) {text}", pytrace=False)
        options["clock"] = clock
    made: Runtime = checked(lambda: Runtime(**options))
    return made


def checked(make: Callable[[], Any]) -> Any:
    """Make something by the options of a marker; what is wrong with them fails the test."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        wrong = f"@pytest.mark.actorsched(...): {error}"
    pytest.fail(wrong, pytrace=False)


def may_leave(item: pytest.Function) -> frozenset[str]:
    """What a test may leave."""
    from actorsched.testing.leaks import KINDS

    given: Any = _marked(item).get("may_leave", ())
    words = frozenset(given.replace(",", " ").split() if isinstance(given, str) else map(str, given))
    unknown = sorted(words - set(KINDS.values()))
    if unknown:
        pytest.fail(
            f"@pytest.mark.actorsched(may_leave={given!r}): {unknown[0]!r} is no kind of what may be left"
            f"{_nearest(unknown[0], list(KINDS.values()))}; there are: {', '.join(KINDS.values())}",
            pytrace=False,
        )
    return words


def new_clock() -> VirtualClock:
    """A clock at 0."""
    from actorsched._kernel.virtual import VirtualClock

    return VirtualClock()


def stage(item: pytest.Function) -> Stage:
    """What a test is run on."""
    from actorsched.testing.staging import Stage

    return Stage(may_leave(item), whole=not tidies_up_late(item))


def steps(item: pytest.Function) -> int | None:
    """After how many steps a simulated run is taken to have no end; None for the usual number."""
    given = _marked(item).get("steps")
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        pytest.fail(f"steps={given!r} is no number of steps; give 1 or more", pytrace=False)
    return given


def seeds(item: pytest.Function) -> int | list[int | str]:
    """The seeds of a simulation: how many, or which."""
    seed, given = item.config.getoption("--actorsched-seed"), item.config.getoption("--actorsched-seeds")
    if seed is not None:
        return [int(seed) if str(seed).lstrip("-").isdecimal() else str(seed)]
    if given is None:
        given = _marked(item).get("seeds")
    if given is None:
        return _SEEDS_OF_AN_EXAMPLE if hasattr(item.obj, "hypothesis") else seeds_of_project(item.config)
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        pytest.fail(f"seeds={given!r} is no number of seeds; give 1 or more", pytrace=False)
    return given


def seeds_of_project(config: pytest.Config) -> int:
    """How many seeds the project wants."""
    given = config.getini("actorsched_seeds")
    try:
        number = int(given or SEEDS)
    except ValueError:
        number = 0
    if number < 1:
        raise pytest.UsageError(f"actorsched_seeds = {given} is no number of seeds; give 1 or more")
    return number


def backends(*, simulated: bool) -> list[Any]:
    """The values of `anyio_backend`."""
    found = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")]
    if importlib.util.find_spec("uvloop") is not None and not simulated:
        found.append(pytest.param(("asyncio", {"use_uvloop": True}), id="asyncio+uvloop"))
    if importlib.util.find_spec("trio") is not None:
        found.append(pytest.param("trio", id="trio"))
    return found
