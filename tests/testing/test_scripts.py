"""Steps of several participants come in one order; and whoever does not come is told of."""

from __future__ import annotations

import anyio
import pytest

from actorsched import Actor, Runtime
from actorsched.testing import Script, ScriptError, Simulation, explore


async def test_points_are_reached_in_their_order_whoever_comes_first() -> None:
    said: list[str] = []
    script = Script()

    async def reader() -> None:
        await script(1)
        said.append("asks")
        await script(3)
        said.append("reads")

    async def writer() -> None:
        async with script(2):
            await anyio.lowlevel.checkpoint()
            said.append("writes")
        await script(4)

    async with script:
        script.start(writer)
        script.start(reader)
    assert said == ["asks", "writes", "reads"]
    assert [line.split(" at ")[0] for line in str(script).splitlines()] == [
        "point 1: reader",
        "point 2: writer",
        "point 3: reader",
        "point 4: writer",
    ]


async def test_a_point_that_is_entered_lasts_as_long_as_its_block() -> None:
    inside = False
    script = Script()

    async def holder() -> None:
        nonlocal inside
        async with script(1):
            inside = True
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            inside = False

    async def follower() -> None:
        await script(2)
        assert not inside

    async with script:
        script.start(follower)
        script.start(holder)


async def test_a_point_of_several_parties_is_a_barrier() -> None:
    came: list[int] = []
    script = Script("start")

    async def runner(number: int) -> None:
        came.append(number)
        await script("start", parties=3)
        assert len(came) == 3

    async with script:
        for number in range(3):
            script.start(runner, number)
    assert sorted(line.split(" at ")[0] for line in str(script).splitlines()) == [
        "point 'start': runner",
        "point 'start': runner-2",
        "point 'start': runner-3",
    ]


async def test_a_participant_that_fails_has_the_others_cancelled_and_its_error_leaves_in_a_group() -> None:
    script = Script()

    async def fails() -> None:
        await script(1)
        raise LookupError("gone")

    async def waits() -> None:
        await script(3)

    with pytest.raises(ExceptionGroup) as caught:
        async with script:
            script.start(waits)
            script.start(fails)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


async def test_a_script_in_which_nobody_comes_says_which_point_is_missing_and_who_waits() -> None:
    script = Script(within="10ms")

    async def early() -> None:
        await script(1)

    async def late() -> None:
        await script(3)

    with pytest.raises(ExceptionGroup) as caught:
        async with script:
            script.start(early)
            script.start(late)
    (error,) = caught.value.exceptions
    assert isinstance(error, ScriptError)
    assert str(error).splitlines()[:3] == [
        "the script is stuck: for 10ms, nobody has come to point 2",
        "  'early' has ended",
        "  'late' waits for point 3",
    ]


async def test_a_barrier_that_is_not_full_and_a_block_that_is_not_left_are_told_of() -> None:
    for parties, said in ((2, "1 of 2 have come to point 1"), (1, "nobody has left point 1, where there is")):
        script = Script(within="10ms")

        async def first(script: Script = script, parties: int = parties) -> None:
            async with script(1, parties=parties):
                await anyio.sleep_forever()

        async def second(script: Script = script) -> None:
            await script(2)

        with pytest.raises(ExceptionGroup) as caught:
            async with script:
                script.start(first)
                script.start(second)
        assert said in str(caught.value.exceptions[0])


async def test_a_point_that_is_reached_twice_is_an_error_that_names_both() -> None:
    script = Script()
    await script(1)
    with pytest.raises(ScriptError, match="a second time, by .*; before, .* did at .*test_scripts.py"):
        await script(1)


async def test_named_points_all_have_to_be_reached() -> None:
    script = Script("opened", "closed")
    with pytest.raises(ScriptError, match="has ended, but nobody has come to point 'closed'"):
        async with script:
            await script("opened")


async def test_what_is_no_point_of_the_script_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no point 'written' .* its names are: 'opened', 'closed'"):
        Script("opened", "closed")("written")
    with pytest.raises(ValueError, match="no point 3"):
        Script("opened", "closed")(3)
    with pytest.raises(ValueError, match="numbered from 1 on"):
        Script()(0)
    with pytest.raises(ValueError, match="twice"):
        Script("a", "a")
    with pytest.raises(TypeError, match="of type float; give a number or a name"):
        Script()(1.5)
    script = Script()
    script(1, parties=2)
    with pytest.raises(ValueError, match="parties=2, and now 1"):
        script(1)
    with pytest.raises(ScriptError, match="outside of `async with`"):
        script.start(anyio.sleep_forever)


class Store(Actor):
    def __init__(self, script: Script) -> None:
        self._script = script
        self._value = 0

    async def put(self, value: int) -> None:
        async with self._script(2):
            self._value = value


async def test_handlers_and_tasks_of_a_runtime_take_part_too() -> None:
    async with Runtime() as rt:
        script = Script()
        store = await rt.spawn(Store, script, name="store")

        async def client() -> None:
            await script(1)
            await store.ask.put(7)
            await script(3)

        await rt.run(client)
        lines = [line.split(" at ")[0] for line in str(script).splitlines()]
        assert lines[1] == "point 2: put of actor 'store'"
        assert "client" in lines[0]
        assert "client" in lines[2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_a_simulation_the_order_is_the_same_under_every_seed_and_nobody_waits_in_fact(
    backend: str,
) -> None:
    async def scenario(simulation: Simulation) -> None:
        said: list[int] = []
        script = Script(within="1h")

        async def part(*points: int) -> None:
            for point in points:
                async with script(point):
                    await anyio.sleep(simulation.random.random())
                    said.append(point)

        async with script:
            script.start(part, 1, 4, 5)
            script.start(part, 2, 6)
            script.start(part, 3)
        assert said == [1, 2, 3, 4, 5, 6]
        with pytest.raises(ExceptionGroup) as caught:
            async with Script(within="1h") as script:
                script.start(part, 2, name="late")
        assert "for 1h, nobody has come to point 1\n  'late' waits for point 2" in str(
            caught.value.exceptions[0]
        )

    explore(scenario, 20, backend=backend)
