"""The pytest plugin, in sessions of its own: fixtures, backends and options, and what it says of mistakes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.testing.sessions import BACKENDS, run

if TYPE_CHECKING:
    from actorsched import Runtime
    from actorsched.testing import VirtualClock

pytest_plugins = ["pytester"]


# ------------------------------------------------------------------------------------------- in this session


async def test_the_runtime_is_entered_and_goes_by_the_virtual_clock(
    runtime: Runtime, virtual_clock: VirtualClock
) -> None:
    assert runtime.now == virtual_clock.now() == 0
    await runtime.sleep("1h")
    assert runtime.now == virtual_clock.now() == 3600


@pytest.mark.actorsched(concurrency=2, policy="edf", name="own")
async def test_the_marker_gives_the_runtime_its_options(runtime: Runtime) -> None:
    assert runtime.stats().pools["loop"].limit == 2
    assert runtime.name == "own"


def test_a_plain_test_may_have_a_virtual_clock(virtual_clock: VirtualClock) -> None:
    assert virtual_clock.now() == 0


def test_a_session_that_uses_none_of_it_imports_none_of_it() -> None:
    script = (
        "import sys, pytest; import actorsched.testing.plugin;"
        "print(*(name for name in sys.modules if name.partition('.')[0] in"
        " {'actorsched', 'anyio', 'trio', 'msgspec', 'hypothesis'}))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(answer.stdout.split()) == {
        "actorsched",
        "actorsched.testing",
        "actorsched.testing.plugin",
        "actorsched.testing.wanted",
    }


# ----------------------------------------------------------------------------------- in a session of its own


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
class TestBackends:
    def test_async_tests_run_on_every_backend(self, pytester: pytest.Pytester) -> None:
        found = run(
            pytester,
            """
            import asyncio, pytest

            async def test_all(runtime): pass

            @pytest.mark.parametrize("number", [1, 2])
            async def test_parameters(runtime, number): pass

            @pytest.mark.parametrize("anyio_backend", ["trio", ("asyncio", {"use_uvloop": True})])
            async def test_chosen(runtime, anyio_backend_name):
                if anyio_backend_name == "asyncio":
                    assert "uvloop" in type(asyncio.get_running_loop()).__module__

            class TestMethods:
                async def test_method(self, virtual_clock): pass

            def test_plain(virtual_clock): pass

            def test_of_somebody_else(): pass
            """,
        )
        wanted = {f"test_all[{backend}]" for backend in BACKENDS}
        wanted |= {f"test_parameters[{number}-{backend}]" for number in (1, 2) for backend in BACKENDS}
        wanted |= {f"TestMethods::test_method[{backend}]" for backend in BACKENDS}
        wanted |= {"test_chosen[trio]", "test_chosen[anyio_backend1]", "test_plain", "test_of_somebody_else"}
        assert found.passed == wanted

    def test_an_overridden_backend_is_followed(self, pytester: pytest.Pytester) -> None:
        found = run(
            pytester,
            """
            import pytest

            @pytest.fixture
            def anyio_backend():
                return "trio"

            async def test_it(runtime, anyio_backend_name):
                assert anyio_backend_name == "trio"
            """,
        )
        assert found.passed == {"test_it"}

    def test_an_overridden_backend_with_parameters_is_followed(self, pytester: pytest.Pytester) -> None:
        found = run(
            pytester,
            """
            import pytest

            @pytest.fixture(params=["trio", "asyncio"])
            def anyio_backend(request):
                return request.param

            async def test_it(runtime): pass
            """,
        )
        assert found.passed == {"test_it[trio]", "test_it[asyncio]"}

    def test_a_fixture_of_the_same_name_is_left_alone(self, pytester: pytest.Pytester) -> None:
        found = run(
            pytester,
            """
            import pytest

            @pytest.fixture
            def runtime():
                return 1

            def test_it(runtime):
                assert runtime == 1
            """,
        )
        assert found.passed == {"test_it"}


MISTAKES = """
import pytest

def test_plain(runtime): pass

def test_plain_simulation(simulation): pass

@pytest.mark.actorsched(polcy="edf")
async def test_no_option(runtime): pass

@pytest.mark.actorsched(policy="efd")
async def test_no_value(runtime): pass

@pytest.mark.actorsched(2)
async def test_no_name(runtime): pass

@pytest.mark.actorsched(may_leave="task")
async def test_no_kind(runtime): pass

@pytest.mark.actorsched(seeds=0)
async def test_no_seeds(simulation): pass

@pytest.fixture
def world(simulation): pass

async def test_too_early(world): pass
"""
SAID = {
    "test_plain": "test_plain is a plain function, and `runtime` lives in an event loop; write `async def`",
    "test_plain_simulation": "and a simulation needs an event loop; write `async def`",
    "test_no_option": "there is no option 'polcy'; did you mean 'policy'?",
    "test_no_value": "policy='efd' is not known",
    "test_no_name": "@pytest.mark.actorsched(2,) has positional arguments; name them",
    "test_no_kind": "'task' is no kind of what may be left; did you mean 'tasks'?",
    "test_no_seeds": "seeds=0 is no number of seeds",
    "test_too_early": "fixture 'world' asks for `simulation`, which is made anew for each seed",
}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
def test_mistakes_are_told_before_the_test_begins(pytester: pytest.Pytester) -> None:
    found = run(pytester, MISTAKES)
    assert not found.passed | found.failed
    assert {name.partition("[")[0] for name in found.errors} == set(SAID)
    for name, said in SAID.items():
        assert said in found.text, name


BESIDE_OTHERS = """
import anyio, asyncio, pytest
from actorsched import Actor
from hypothesis import given, settings, strategies as st

class Bank(Actor):
    def __init__(self):
        self.balance = 0

    async def add(self, amount):
        self.balance += amount
        return self.balance

@pytest.fixture
async def event():
    event = anyio.Event()
    yield event
    assert event.is_set()

@pytest.fixture
async def bank(runtime):
    ref = await runtime.spawn(Bank)
    yield ref
    await ref.stop()

async def test_async_fixtures_live_in_the_same_loop(runtime, event):
    async def set_it():
        event.set()
    await (await runtime.spawn(set_it))
    await event.wait()

async def test_a_fixture_may_spawn(bank, runtime):
    assert await bank.ask.add(2) == 2

async def test_what_a_fixture_needs_is_enough(bank):
    assert await bank.ask.add(2) == 2

async def test_what_the_test_leaves_beside_a_fixture(bank, runtime):
    await runtime.spawn(anyio.sleep, 100)

@given(amount=st.integers())
@settings(max_examples=10)
async def test_each_example_has_a_runtime(runtime, virtual_clock, amount):
    assert runtime.now == 0
    await runtime.sleep(5)
    bank = await runtime.spawn(Bank)
    assert await bank.ask.add(amount) == amount
    await bank.stop()

class TestMethods:
    @given(st.integers())
    @settings(max_examples=10)
    async def test_of_hypothesis(self, runtime, number):
        assert not runtime.stats().submitted

@pytest.mark.anyio
async def test_marked_for_anyio(runtime): pass
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
@pytest.mark.parametrize("mode", ["--asyncio-mode=strict", "--asyncio-mode=auto", "--anyio-mode=auto"])
def test_other_plugins_leave_our_tests_to_us(pytester: pytest.Pytester, mode: str) -> None:
    found = run(pytester, BESIDE_OTHERS, mode)
    tests = {
        "test_async_fixtures_live_in_the_same_loop",
        "test_a_fixture_may_spawn",
        "test_what_a_fixture_needs_is_enough",
        "test_each_example_has_a_runtime",
        "TestMethods::test_of_hypothesis",
        "test_marked_for_anyio",
    }
    assert found.passed == {f"{test}[{backend}]" for test in tests for backend in BACKENDS}
    assert found.failed == {f"test_what_the_test_leaves_beside_a_fixture[{backend}]" for backend in BACKENDS}
    assert not found.errors


FIXTURES_FIRST = """
import anyio, pytest

@pytest.fixture
async def begun():
    await anyio.sleep(0)
    yield 5

@pytest.fixture
def plain(runtime):
    return runtime

async def test_an_async_fixture_begins_the_loop(runtime, begun):
    assert begun == 5

async def test_a_plain_fixture_asks_for_the_runtime(plain):
    assert await plain.run(len, "abc") == 3
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
@pytest.mark.parametrize(
    "test", ["test_an_async_fixture_begins_the_loop", "test_a_plain_fixture_asks_for_the_runtime"]
)
def test_the_first_test_may_have_fixtures(pytester: pytest.Pytester, test: str) -> None:
    found = run(pytester, FIXTURES_FIRST, "-k", test)
    assert found.passed == {f"{test}[{backend}]" for backend in BACKENDS}
    assert not found.failed | found.errors


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_a_test_that_is_marked_for_pytest_asyncio_runs_in_its_loop(
    pytester: pytest.Pytester, mode: str
) -> None:
    found = run(
        pytester,
        """
        import anyio, asyncio, pytest, pytest_asyncio
        from hypothesis import given, strategies as st

        pytestmark = pytest.mark.asyncio

        @pytest_asyncio.fixture
        async def loop():
            yield asyncio.get_running_loop()

        async def test_in_the_loop(runtime, loop):
            async def where():
                return asyncio.get_running_loop()
            assert await (await runtime.spawn(where)) is loop is asyncio.get_running_loop()

        @given(number=st.integers())
        async def test_examples(runtime, number):
            assert not runtime.stats().submitted

        async def test_what_is_left(runtime):
            await runtime.spawn(anyio.sleep, 100)

        async def test_simulated(simulation):
            pass

        @pytest.fixture
        def early(runtime): pass

        async def test_too_early(early): pass
        """,
        f"--asyncio-mode={mode}",
    )
    assert found.passed == {
        "test_in_the_loop",
        "test_examples",
        "test_simulated[asyncio]",
        "test_simulated[trio]",
    }
    assert found.failed == {"test_what_is_left"}
    assert found.errors == {"test_too_early"}
    assert "fixture 'early' asks for `runtime`" in found.text
