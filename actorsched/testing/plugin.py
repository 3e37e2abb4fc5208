"""The pytest plugin: the fixtures `runtime`, `virtual_clock` and `simulation`, and what comes with them.

The law of this module: it speaks pytest, and decides nothing about runtimes. It is loaded by every pytest of
whoever has actorsched installed, so it imports nothing until a test asks for one of its fixtures.

How it works:

* Async tests that use the fixtures run on asyncio, on asyncio with uvloop and on trio, by the conventions of
  anyio's plugin: through its fixture `anyio_backend`, which a project may override, or a test parametrize.
* Anyio's plugin runs them, like any `@pytest.mark.anyio` test, in the loop and in the task in which it runs
  async fixtures. What it runs is not the test itself but a function around it, which enters the runtime, runs
  the body, and leaves the runtime, all in one task. So cancel scopes and context variables are as in
  `async with Runtime()`, and what is found at the end fails the test rather than its teardown.
* Only when a fixture of the user asks for `runtime` is it entered before, as an async fixture of anyio's,
  and left in the teardown.
* pytest-asyncio in auto mode claims every async test and fixture. Those of ours are taken back, with the
  async fixtures that they use. A test that is marked `@pytest.mark.asyncio` is left to it, and to its loop.
* A test with `simulation` is a plain function for everybody else: it runs the body once per seed, each time
  in a loop of its own. Its other fixtures are shared by all of them.
* Under hypothesis each example has a runtime, a clock and a simulation of its own.

What of this is not in pytest's documentation: that fixtures are looked up in `_fixtureinfo`, by which the
plugins of anyio, hypothesis and pytest-asyncio live too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from actorsched.testing import wanted
from actorsched.testing.wanted import BACKEND, OURS, SEEDS

if TYPE_CHECKING:
    from actorsched.runtime import Runtime
    from actorsched.testing import Simulation, VirtualClock
    from actorsched.testing.remains import Remains
    from actorsched.testing.staging import Stage

__all__: list[str] = []

_ENTERED = "_actorsched_entered_runtime"
_REMAINS: pytest.StashKey[Remains] = pytest.StashKey()
"""What there was in the process before the body began."""
_EARLY: pytest.StashKey[tuple[Stage, Runtime]] = pytest.StashKey()
"""A runtime that a fixture of the user has asked for."""
_FAILED = pytest.StashKey[bool]()
_STORY = pytest.StashKey[str]()
"""What a simulation that failed has to tell."""


# --------------------------------------------------------------------------------------------------- settings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the options."""
    group = parser.getgroup("actorsched")
    group.addoption(
        "--actorsched-seeds",
        type=int,
        metavar="N",
        help="run each test that uses the fixture `simulation` under N seeds",
    )
    group.addoption(
        "--actorsched-seed",
        metavar="SEED",
        help="run tests that use the fixture `simulation` under this seed only, as a failure told it",
    )
    parser.addini("actorsched_seeds", f"under how many seeds a simulation is run (default {SEEDS})")
    parser.addini(
        "actorsched_leaks",
        "whether every test fails that leaves a thread, a child process or a descriptor",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        "actorsched(**options): the test may leave nothing behind but what `may_leave` allows; a simulation "
        "is run under `seeds` seeds, with `steps` steps each at most; all else is for the Runtime of the "
        "fixture `runtime`",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tells under which seeds simulations run, where that was asked for or details are wanted."""
    seed, seeds = config.getoption("--actorsched-seed"), config.getoption("--actorsched-seeds")
    if seed is not None:
        return f"actorsched: simulations run under seed {seed}"
    if seeds is not None or config.get_verbosity() > 0:
        return f"actorsched: simulations run under {seeds or wanted.seeds_of_project(config)} seeds each"
    return None


# --------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock whose time jumps. The `runtime` of a test that uses both goes by it."""
    return wanted.new_clock()


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Runtime | None:
    """An entered `Runtime`, made with the options of `@pytest.mark.actorsched(...)`.

    The test fails if tasks or actors are still there when its body ends; or threads, processes or
    descriptors, when the runtime has been left.
    """
    item = _item_of(request)
    _refuse_plain(item, "`runtime` lives in an event loop")
    wanted.may_leave(item)
    dependents = wanted.dependents(item, "runtime")
    if "simulation" in wanted.used(item):
        _refuse_dependents("runtime", dependents, "is entered anew for each seed")
        return None
    clock = request.getfixturevalue("virtual_clock") if "virtual_clock" in wanted.used(item) else None
    made = wanted.runtime_for(item, clock)
    if not dependents:
        return made  # entered by `_on_stage`
    if _of_pytest_asyncio(item):
        why = "lives in the task of the test, and pytest-asyncio gives each fixture a task of its own"
        _refuse_dependents("runtime", dependents, why)
    request.getfixturevalue(BACKEND)
    item.stash[_EARLY] = wanted.stage(item), made
    entered: Runtime = request.getfixturevalue(_ENTERED)
    return entered


@pytest.fixture(name=_ENTERED)
async def _entered_runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    from actorsched.testing.staging import fail_for

    item = _item_of(request)
    stage, made = item.stash[_EARLY]
    await stage.begin(made)
    yield made
    failed = _FAILED in item.stash
    left = await stage.end(RuntimeError("the test has failed") if failed else None)
    if not failed:
        fail_for(left)


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Simulation | None:
    """A world that a seed decides: the body of the test is run once for each seed, each time in a new one."""
    item = _item_of(request)
    _refuse_plain(item, "a simulation needs an event loop")
    wanted.may_leave(item)
    wanted.seeds(item)
    wanted.steps(item)
    for name in wanted.runtime_options(item):
        if name in {"clock", "seed"}:
            pytest.fail(
                f"@pytest.mark.actorsched({name}=...): in a simulation that is its own; leave it out"
                + (", or did you mean 'seeds'?" if name == "seed" else ""),
                pytrace=False,
            )
    _refuse_dependents("simulation", wanted.dependents(item, "simulation"), "is made anew for each seed")
    return None


def _item_of(request: pytest.FixtureRequest) -> pytest.Function:
    item: pytest.Function = request._pyfuncitem
    return item


def _refuse_plain(item: pytest.Function, why: str) -> None:
    if not wanted.is_async(item.obj):
        pytest.fail(f"{item.name} is a plain function, and {why}; write `async def`", pytrace=False)


def _refuse_dependents(name: str, dependents: list[str], why: str) -> None:
    if dependents:
        pytest.fail(
            f"fixture {dependents[0]!r} asks for `{name}`, which {why}; "
            f"do in the test, or in a function that it calls, what needs `{name}`",
            pytrace=False,
        )


# --------------------------------------------------------------------------------------------------- backends


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Has an async test run on every backend, unless somebody has decided otherwise."""
    definition = metafunc.definition
    used = wanted.used(definition)
    if not used or not wanted.is_async(metafunc.function) or _left_to_pytest_asyncio(definition, used):
        return
    info = definition._fixtureinfo
    defined = definition.session._fixturemanager.getfixturedefs(BACKEND, definition)
    if not defined:
        raise pytest.UsageError(
            f"{definition.nodeid} needs anyio's pytest plugin, which is switched off; leave out `-p no:anyio`"
        )
    if BACKEND not in info.names_closure:
        info.names_closure.append(BACKEND)
        info.name2fixturedefs[BACKEND] = defined
    named = [str(name) for mark in definition.iter_markers("parametrize") for name in wanted.names_in(mark)]
    if defined[-1].func.__module__ == "anyio.pytest_plugin" and BACKEND not in named:
        backends = wanted.backends(simulated="simulation" in used)
        definition.add_marker(pytest.mark.parametrize(BACKEND, backends, indirect=True, scope="module"))


def _left_to_pytest_asyncio(node: Any, used: frozenset[str]) -> bool:
    """Whether the user has marked a test with `asyncio`; in auto mode pytest-asyncio does so with all."""
    if "simulation" in used:
        return False
    own = getattr(wanted.function_of(node), "pytestmark", ())
    above = node.parent.get_closest_marker("asyncio") if node.parent is not None else None
    return above is not None or any(mark.name == "asyncio" for mark in own)


def _of_pytest_asyncio(item: pytest.Item) -> bool:
    return any(kind.__module__ == "pytest_asyncio.plugin" for kind in type(item).__mro__)


class _TakenBack(pytest.Function):
    """A test that pytest-asyncio has claimed, and is none of its."""

    def get_closest_marker(self, name: str, default: Any = None) -> Any:
        """The same; but it looks as if it were not marked for pytest-asyncio."""
        return default if name == "asyncio" else super().get_closest_marker(name, default)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Takes tests back from pytest-asyncio, and gives them `anyio_backend`."""
    collected = yield
    if not isinstance(collected, list):
        return collected
    return list(map(_ours, collected))  # pyright: ignore[reportUnknownArgumentType] # nodes of any kind


def _ours(item: Any) -> Any:
    used = wanted.used(item)
    if not used or not wanted.is_async(item.obj) or _left_to_pytest_asyncio(item, used):
        return item
    if _of_pytest_asyncio(item) or item.get_closest_marker("asyncio") is not None:
        remake: Callable[..., pytest.Function] = _TakenBack.from_parent  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # pytest says nothing of its arguments
        item = remake(
            item.parent,
            name=item.name,
            callspec=getattr(item, "callspec", None),
            fixtureinfo=item._fixtureinfo,
            originalname=item.originalname,
        )
    if BACKEND not in item.fixturenames:  # what was parametrized, and is no argument, pytest has dropped
        item.fixturenames.insert(0, BACKEND)
    return item


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Has anyio's plugin run the async fixtures of its tests, also where pytest-asyncio would."""
    function, item = fixturedef.func, _item_of(request)
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    if not is_async or hasattr(function, "_force_asyncio_fixture") or not wanted.used(item):
        return (yield)
    if _of_pytest_asyncio(item) or not wanted.is_async(item.obj):
        return (yield)
    from anyio.pytest_plugin import pytest_fixture_setup as of_anyio

    hook: Any = of_anyio(fixturedef, request)
    next(hook)  # it has put a plain function in the place of the async one, which nobody else looks at
    try:
        return (yield)
    finally:
        hook.close()


# --------------------------------------------------------------------------------------------- running a test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Puts around the body of a test what it needs."""
    __tracebackhide__ = True
    used = wanted.used(item)
    if _is_watched(item, used):
        item.stash[_REMAINS] = _remains(item)
    try:
        if not isinstance(item, pytest.Function) or not used or not wanted.is_async(item.obj):
            return (yield)
        with _replaced(item, used):
            return (yield)
    except BaseException:
        item.stash[_FAILED] = True
        raise


def _remains(item: pytest.Item) -> Remains:
    """What there is in the process before the body begins."""
    from actorsched.testing.remains import Remains, warm_up

    backend: Any = getattr(item, "funcargs", {}).get(BACKEND)
    if isinstance(backend, str):
        warm_up(backend, uvloop=False)
    elif backend is not None:
        warm_up(backend[0], uvloop=bool(backend[1].get("use_uvloop")))
    return Remains()


def _is_watched(item: pytest.Item, used: frozenset[str]) -> bool:
    """Whether to look for what is left after the teardown, because it is not done, or not all, at the end."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker("actorsched") is not None or item.config.getini("actorsched_leaks"):
        return True
    return bool(used) and (
        not wanted.is_async(item.obj) or "simulation" in used or wanted.tidies_up_late(item)
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Looks for what is left in the process."""
    result = yield
    before = item.stash.get(_REMAINS, None)
    if before is not None and _FAILED not in item.stash:
        from actorsched.testing.leaks import KINDS
        from actorsched.testing.staging import fail_for

        allowed = wanted.may_leave(item) if isinstance(item, pytest.Function) else ()
        fail_for([left for left in before.wait() if KINDS[left.kind] not in allowed])
    return result


@contextmanager
def _replaced(item: pytest.Function, used: frozenset[str]) -> Generator[None]:
    """The test is something around itself, as long as it runs."""
    body = wanted.inner(item.obj)
    around = _simulated(item, body, used) if "simulation" in used else _on_stage(item, body, used)
    handle = getattr(item.obj, "hypothesis", None)
    if handle is None:
        test, item.obj = item.obj, around
        try:
            yield
        finally:
            item.obj = test
        return
    around._hypothesis_internal_add_digest = item.nodeid.encode()
    handle.inner_test = around
    try:
        with _spared_by_hypothesis(item):
            yield
    finally:
        handle.inner_test = body


@contextmanager
def _spared_by_hypothesis(item: pytest.Function) -> Generator[None]:
    """Our fixtures are new for each example, and each backend calls the test: of neither it need complain."""
    from hypothesis import HealthCheck, settings

    function: Any = wanted.function_of(item)
    name = "_hypothesis_internal_use_settings"
    given = getattr(function, name, None)
    before: Any = given or settings.default
    spared = {HealthCheck.differing_executors}
    if not wanted.function_scoped(item) - set(OURS):
        spared.add(HealthCheck.function_scoped_fixture)
    checks = [*spared, *before.suppress_health_check]
    setattr(function, name, settings(before, suppress_health_check=checks))
    try:
        yield
    finally:
        if given is None:
            delattr(function, name)
        else:
            setattr(function, name, given)


def _on_stage(item: pytest.Function, body: Any, used: frozenset[str]) -> Any:
    """The body within its runtime; for each example of hypothesis in a new one."""
    many = hasattr(item.obj, "hypothesis")

    @functools.wraps(body)
    async def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        if _EARLY in item.stash:
            stage = item.stash[_EARLY][0]
            return await stage.visit(lambda: body(*args, **kwargs))
        runtime: Any = item.funcargs.get("runtime")
        if many:
            clock = wanted.new_clock() if "virtual_clock" in used else None
            runtime = wanted.runtime_for(item, clock) if "runtime" in used else None
            fresh = {"runtime": runtime, "virtual_clock": clock}
            kwargs |= {name: value for name, value in fresh.items() if name in kwargs and name in used}
        return await wanted.stage(item).play(
            lambda: body(*args, **kwargs), runtime if "runtime" in used else None
        )

    return test


# ------------------------------------------------------------------------------------------------ simulations


def _simulated(item: pytest.Function, body: Any, used: frozenset[str]) -> Any:
    """A plain function that runs the body once for each seed."""

    @functools.wraps(body)
    def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        from actorsched.testing.seeds import run_under

        def make(simulation: Simulation) -> Runtime:
            runtime: Runtime = wanted.checked(lambda: simulation.runtime(**wanted.runtime_options(item)))
            return runtime

        def call(simulation: Simulation, runtime: Runtime | None) -> Any:
            fresh = {"simulation": simulation, "runtime": runtime}
            return body(
                *args, **kwargs | {name: fresh[name] for name in fresh if name in kwargs and name in used}
            )

        backend: Any = item.funcargs[BACKEND]
        run_under(
            wanted.seeds(item),
            call,
            make if "runtime" in used else None,
            backend=backend if isinstance(backend, str) else backend[0],
            may_leave=wanted.may_leave(item),
            steps=wanted.steps(item),
            code=getattr(body, "__code__", None),
            tell=functools.partial(_tell, item),
        )

    del test.__wrapped__  # or it would be taken for async
    return test


def _tell(item: pytest.Function, story: Callable[[str], str]) -> None:
    """A simulation has failed: remember what is to be said of it, with the command that replays it."""
    import shlex

    item.stash[_STORY] = story(f"pytest {shlex.quote(item.nodeid)} --actorsched-seed=")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Adds to the report of a failure what has happened in the simulation."""
    report = yield
    story = item.stash.get(_STORY, None)
    if story is not None and report.when == "call" and report.failed:
        report.sections.append(("simulation", story))
    return report
