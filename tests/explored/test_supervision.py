"""Supervision, explored: strategies, windows, back-off, hooks that fail, links, children of actors, ends.

One scenario lets one thing happen at a time, and says beforehand, by a model, who stops and who starts in
which order. The others let all happen at once, and keep a diary in which the lives of each actor have to make
sense: one at a time, none after the end, each ended as it had to, and restarted with those it belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from actorsched import Actor, ActorRef, ActorStopped, Backoff, Runtime, Supervise, TaskRef, current, sleep
from tests.explored.exploration import explored

if TYPE_CHECKING:
    from actorsched.messages import ExitReason
    from actorsched.options import Restart, Strategy
    from actorsched.scope import Scope
    from actorsched.testing import Simulation

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "transient", "temporary")
PAUSES = (0.0, 0.0, 0.004, 0.03, 0.2)


pytestmark = pytest.mark.deadline(120)


@pytest.fixture(autouse=True)
def _no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of actors fail here on purpose; nobody wants to read of each."""
    caplog.set_level(logging.CRITICAL + 1, logger="actorsched")


# ----------------------------------------------------------------------------- one thing at a time


class Story:
    """What happens to the children, and how often each is still to fail as it starts."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.bad_starts: dict[str, int] = {}
        self.lives: dict[str, int] = {}

    def told(self) -> list[tuple[str, str]]:
        """What has happened since this was last asked for."""
        lines, self.lines = self.lines, []
        return lines


class Teller(Actor):
    """Has all that happens to it written down."""

    def __init__(self, name: str, story: Story) -> None:
        self._name = name
        self._story = story
        story.lives[name] = self._life = story.lives.get(name, 0) + 1

    async def on_start(self) -> None:
        story, name = self._story, self._name
        if story.bad_starts.get(name):
            story.bad_starts[name] -= 1
            story.lines.append(("does not start", name))
            raise LookupError(name)
        story.lines.append(("starts", name))

    async def on_stop(self, reason: ExitReason) -> None:
        self._story.lines.append((reason.kind, self._name))

    async def fail(self) -> None:
        raise LookupError(self._name)

    async def life(self) -> int:
        return self._life


class Model:
    """A supervisor as one would explain it, when one thing happens at a time."""

    def __init__(self, spec: Supervise) -> None:
        self.spec = spec
        self.children: dict[str, Restart] = {}
        self.lives: dict[str, int] = {}
        self.up: set[str] = set()
        self.restarts: list[tuple[str, float]] = []  # of whom, and until when each counts
        self.lines: list[tuple[str, str]] = []
        self.when = 0.0
        self.failed: str | None = None

    def starts(self, name: str, restart: Restart) -> None:
        self.children[name] = restart
        self.up.add(name)
        self.lives[name] = 1
        self.lines.append(("starts", name))

    def ends(self, name: str, *, stopped: bool) -> None:
        del self.children[name]
        self.up.discard(name)
        if stopped:
            self.lines.append(("stopped", name))

    def fails(self, name: str, now: float, bad_starts: dict[str, int]) -> None:
        """A child that is up fails; all that follows from that."""
        self.when = now
        self.up.discard(name)
        self.lines.append(("failed", name))
        self._ended(name, dict(bad_starts))

    def _ended(self, name: str, bad_starts: dict[str, int]) -> None:
        if self.children[name] == "temporary":
            del self.children[name]
            return
        spec, whose = self.spec, name if self.spec.strategy == "one_for_one" else "anybody"
        self.restarts = [each for each in self.restarts if each[1] >= self.when]
        if len(self.restarts) >= spec.max_restarts:
            del self.children[name]
            self.failed = name
            self._stop(list(self.children))
            return
        earlier = sum(who == whose for who, _ in self.restarts)
        back_off = spec.backoff
        delay = min(back_off.delay * back_off.factor**earlier, back_off.max or 1e9)
        self.restarts = [(who, until + delay * (who == whose)) for who, until in self.restarts]
        self.restarts.append((whose, self.when + delay + spec.period))
        concerned = self._with(name)
        self._stop([each for each in concerned if each != name])
        for each in [each for each in concerned if self.children[each] == "temporary"]:
            del self.children[each]
        self.when += delay
        for each in concerned:
            if each in self.children and each not in self.up and not self._started(each, bad_starts):
                return self._ended(each, bad_starts)

    def _with(self, name: str) -> list[str]:
        names = list(self.children)
        if self.spec.strategy == "one_for_one":
            return [name]
        return names if self.spec.strategy == "one_for_all" else names[names.index(name) :]

    def _stop(self, names: list[str]) -> None:
        for name in reversed(names):
            if name in self.up:
                self.up.discard(name)
                self.lines.append(("shutdown", name))

    def _started(self, name: str, bad_starts: dict[str, int]) -> bool:
        self.lives[name] += 1
        if bad_starts.get(name):
            bad_starts[name] -= 1
            self.lines.append(("does not start", name))
            return False
        self.up.add(name)
        self.lines.append(("starts", name))
        return True

    def told(self) -> list[tuple[str, str]]:
        lines, self.lines = self.lines, []
        return lines


def some_rule(random: Random) -> Supervise:
    back_off = random.choice((Backoff(), Backoff(0.13, 2.0), Backoff(0.07, 3.0, 0.5), Backoff(0.9, 1.0)))
    return Supervise(
        random.choice(STRATEGIES), random.choice((0, 1, 2, 3, 5)), random.choice((0.31, 1.7)), back_off
    )


async def one_thing_at_a_time(simulation: Simulation) -> None:
    random, story = simulation.random, Story()
    model = Model(some_rule(random))
    refs: dict[str, ActorRef[Teller]] = {}
    numbers = count()

    async def spawn() -> None:
        name, restart = f"c{next(numbers)}", random.choice(RESTARTS)
        refs[name] = await scope.spawn(Teller, name, story, name=name, restart=restart)
        model.starts(name, restart)

    async def end(name: str, *, kill: bool) -> None:
        await (refs[name].kill() if kill else refs[name].stop())
        model.ends(name, stopped=not kill)

    async def fail(name: str) -> None:
        for each in model.children:
            if random.random() < 0.15:
                story.bad_starts[each] = random.choice((1, 1, 2))
        model.fails(name, simulation.now, story.bad_starts)
        refs[name].tell(Teller.fail)
        await simulation.advance_to(model.when + 0.001)
        story.bad_starts.clear()

    async def live() -> None:
        for _ in range(random.randrange(1, 5)):
            await spawn()
        for _ in range(random.randrange(1, 8)):
            names = list(model.children)
            dice = random.random()
            if not names or dice < 0.1:
                await spawn()
            elif dice < 0.2:
                await end(random.choice(names), kill=random.random() < 0.5)
            else:
                await fail(random.choice(names))
            assert story.told() == model.told()
            for name, ref in refs.items():
                assert ref.alive == (name in model.children)
                assert not ref.alive or await ref.ask.life() == model.lives[name]
            await sleep(random.choice((0.0, 0.011, 0.17, 0.57, 2.3)))

    async with simulation.runtime() as rt:
        try:
            async with rt.scope(model.spec) as scope:
                await live()
                assert model.failed is None, f"{model.failed!r} was too much, and nobody has noticed"
                expected = [("shutdown", name) for name in reversed(list(model.children))]
        except* LookupError as group:
            assert [str(error) for error in group.exceptions] == [model.failed]
            expected = model.told()
        assert story.told() == expected
        assert rt.stats().actors.restarts == sum(story.lives.values()) - len(story.lives)
        assert not any(ref.alive for ref in refs.values())


def test_one_thing_at_a_time_supervisors_do_what_can_be_said_beforehand() -> None:
    explored(one_thing_at_a_time)


# --------------------------------------------------------------------------------------- all at once


class Diary:
    """The lives of one actor, and what was done to it. All that is written has a number of its own."""

    numbers = count(1)

    def __init__(self, name: str, restart: Restart, random: Random) -> None:
        self.name = name
        self.restart = restart
        self.random = random
        self.bad_starts = random.choice((0, 0, 0, 0, 1, 2, 4))
        self.slow = random.choice(PAUSES), random.choice(PAUSES)
        self.made: list[int] = []
        self.up: list[int] = []
        self.down: list[int] = []
        self.failures: list[int] = []
        self.bad: set[int] = set()  # failures as it starts, of which those hear not who are linked
        self.stopped = self.killed = False
        self.running = 0
        self.ref: ActorRef[Any] | None = None
        self.over: ExitReason | None = None
        self.children: list[Diary] = []

    def __repr__(self) -> str:
        return f"<{self.name}: made {self.made}, up {self.up}, down {self.down}, failed {self.failures}>"

    def number(self) -> int:
        return next(Diary.numbers)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Code of one life runs, and nothing else of it."""
        assert self.running == 0, f"{self.name} does two things at a time"
        assert self.over is None, f"{self.name} goes on after its end"
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def failed(self) -> LookupError:
        self.failures.append(self.number())
        return LookupError(self.name)

    def everybody(self) -> list[Diary]:
        return [self, *(each for child in self.children for each in child.everybody())]


class Mortal(Actor):
    """Lives, fails and dies, with hooks that take their time and may fail."""

    def __init__(self, diary: Diary, depth: int) -> None:
        assert diary.running == 0, f"{diary.name} is made anew while its last life goes on"
        assert diary.over is None, f"{diary.name} is made anew after its end"
        left = [child.name for child in diary.children if child.ref is not None and child.ref.alive]
        assert not left, f"{left}, children of the last life of {diary.name}, outlive it"
        self._diary = diary
        self._depth = depth
        self._life = len(diary.made)
        diary.made.append(diary.number())

    async def on_start(self) -> None:
        diary = self._diary
        with diary.alone():
            if diary.slow[0]:
                await sleep(diary.slow[0])
            if diary.bad_starts and self._life:
                diary.bad_starts -= 1
                failure = diary.failed()
                diary.bad.add(diary.failures[-1])
                raise failure
            if self._depth and diary.random.random() < 0.7:
                await self._spawn()
            diary.up.append(self._life)

    async def on_stop(self, reason: ExitReason) -> None:
        diary = self._diary
        with diary.alone():
            assert self._life in diary.up
            assert self._life not in diary.down
            diary.down.append(self._life)
            if diary.slow[1]:
                await sleep(diary.slow[1])
            if diary.random.random() < 0.1:
                raise LookupError(f"on_stop of {diary.name}")

    async def fail(self, pause: float, asked: bool = False) -> None:
        with self._diary.alone():
            self._current()
            if pause:
                await sleep(pause)
            if asked:  # that is no failure of the actor
                raise LookupError(self._diary.name)
            raise self._diary.failed()

    async def ping(self, pause: float) -> int:
        with self._diary.alone():
            self._current()
            if pause:
                await sleep(pause)
        return self._life

    async def grow(self) -> None:
        with self._diary.alone():
            self._current()
            await self._spawn()

    async def _spawn(self) -> None:
        diary = self._diary
        restart = diary.random.choice(RESTARTS)
        child = Diary(f"{diary.name}.{len(diary.children)}", restart, diary.random)
        diary.children.append(child)
        child.ref = await current().spawn(
            Mortal, child, max(0, self._depth - 1), name=child.name, restart=child.restart
        )

    def _current(self) -> None:
        diary = self._diary
        assert self._life == len(diary.made) - 1, f"a former life of {diary.name} handles messages"
        assert self._life in diary.up
        assert self._life not in diary.down


class Village:
    """Some actors under one supervisor, and those who make their lives hard."""

    def __init__(self, simulation: Simulation, rt: Runtime, scope: Scope) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.rt = rt
        self.scope = scope
        self.people: list[Diary] = []
        self.links: list[tuple[Diary, Diary, int]] = []
        self.watching: list[TaskRef[None]] = []
        self.refused: list[Diary] = []
        self.late_mail = False  # for which nobody waits who has only so long

    def pause(self) -> float:
        return self.random.choice(PAUSES)

    def somebody(self) -> Diary:
        """Anybody who was spawned, children of actors included."""
        everybody = [each for diary in self.people for each in diary.everybody() if each.ref is not None]
        return self.random.choice(everybody)

    async def spawn(self, depth: int = 1) -> None:
        diary = Diary(f"p{len(self.people)}", self.random.choice(RESTARTS), self.random)
        self.people.append(diary)
        try:
            diary.ref = await self.scope.spawn(Mortal, diary, depth, name=diary.name, restart=diary.restart)
        except LookupError:  # it was stopped with a sibling meanwhile, and did not start once more
            assert len(diary.made) > 1
            return
        except ActorStopped:  # it was stopped with a sibling, or with all, and does not start once more
            self.refused.append(diary)
            return
        self.watching.append(await self.rt.spawn(self.watch, diary))

    async def watch(self, diary: Diary) -> None:
        """Learn how somebody ends."""
        assert diary.ref is not None
        reason = await self.rt.monitor(diary.ref)
        assert not diary.ref.alive
        diary.over = reason
        with pytest.raises(LookupError):
            self.rt.lookup(diary.name)

    async def trouble(self, deeds: int) -> None:
        """Somebody who makes their lives hard."""
        for _ in range(deeds):
            diary = self.somebody()
            ref = cast("ActorRef[Mortal]", diary.ref)
            try:
                await self.deed(diary, ref)
            except ActorStopped:
                pass
            if pause := self.pause():
                await sleep(pause)

    async def deed(self, diary: Diary, ref: ActorRef[Mortal]) -> None:
        match self.random.randrange(12):
            case 0 if self.random.random() < 0.4:
                diary.stopped = True
                await ref.stop()
                self.check_over(diary)
            case 1 if self.random.random() < 0.4:
                diary.killed = True
                await ref.kill()
                self.check_over(diary)
            case 2 | 3 | 4:
                made = len(diary.made)
                assert await ref.ask.ping(self.pause()) >= made - 1
            case 5:
                ref.tell(Mortal.grow)
            case 6:
                with anyio.move_on_after(self.pause()):
                    await ref.ask.ping(self.pause())
            case 7:
                with pytest.raises((LookupError, ActorStopped)):
                    await ref.ask.fail(self.pause(), asked=True)
            case _:
                ref.tell(Mortal.fail, self.pause())

    def check_over(self, diary: Diary) -> None:
        assert diary.ref is not None
        assert not diary.ref.alive
        assert diary.running == 0, f"{diary.name} is said to have ended, and does something"

    def link(self) -> None:
        one, other = self.random.sample(self.people, 2)
        cast("ActorRef[Any]", one.ref).link(cast("ActorRef[Any]", other.ref))
        self.links.append((one, other, one.number()))

    # ------------------------------------------------------------------------------- what has to hold

    async def all_is_well(self) -> None:
        """At rest everybody who has not ended for good is up, and answers."""
        await self.simulation.advance(60)
        for diary in self.people:
            ref = diary.ref
            if diary.over is None and ref is not None:
                assert ref.alive
                assert self.rt.lookup(diary.name) == ref
                assert await ref.asking(timeout=60).ping(0.0) == len(diary.made) - 1

    def check_togetherness(self, strategy: str) -> None:
        """Whoever has to be restarted with somebody else was."""
        for index, diary in enumerate(self.people):
            others: list[Diary] = []
            if strategy != "one_for_one":
                others = self.people[index:] if strategy == "rest_for_one" else self.people
            for failure in diary.failures:
                if not any(made > failure for made in diary.made):
                    continue  # it did not come back, so it may have been told to stop before
                linked = [other for one, other, since in self.links if one is diary and since < failure]
                linked += [one for one, other, since in self.links if other is diary and since < failure]
                if failure in diary.bad or strategy != "one_for_one":  # it may have been ending already
                    linked = []
                for other in (*others, *linked):
                    if other.over is None and other.ref is not None and other.made[0] < failure:
                        later = any(made > failure for made in other.made)
                        assert later, f"{other} was not restarted with {diary}, which failed at {failure}"

    def check_lives(self) -> None:
        """Each life that was up has ended as it had to; each end has its reason."""
        for diary in [each for one in self.people for each in one.everybody()]:
            unstopped = [life for life in diary.up if life not in diary.down]
            excused = diary.killed or self.late_mail or diary not in self.people
            assert excused or not unstopped, f"{diary} had no on_stop in lives {unstopped}"
            assert diary.running == 0
            assert diary.ref is None or not diary.ref.alive
        for diary in self.people:
            with pytest.raises(LookupError):
                self.rt.lookup(diary.name)
            if diary.ref is None:  # whoever spawned it did not wait for its start
                continue
            assert diary.over is not None, f"whoever watches {diary.name} was not told of its end"
            kind = diary.over.kind
            assert kind != "killed" or diary.killed
            assert kind != "stopped" or diary.stopped
            failures = any(each.failures for each in diary.everybody())
            assert kind != "failed" or failures or self.links


async def all_at_once(simulation: Simulation) -> None:
    random = simulation.random
    back_off = random.choice((Backoff(), Backoff(0.13, 2.0, 1.0), Backoff(0.9, 1.0)))
    rule = Supervise(
        random.choice(STRATEGIES), random.choice((2, 5, 100)), random.choice((0.3, 5.0)), back_off
    )
    async with simulation.runtime() as rt:
        failed: tuple[BaseException, ...] = ()
        try:
            async with rt.scope(rule) as scope:
                village = Village(simulation, rt, scope)
                depth = random.choice((0, 0, 1, 1, 2))
                for _ in range(random.randrange(2, 4)):
                    await village.spawn(depth)
                if random.random() < 0.3:
                    village.link()
                if random.random() < 0.2:
                    simulation.faults(delay=0.2)
                    village.late_mail = True
                troubles = [
                    await scope.spawn(village.trouble, random.randrange(1, 5))
                    for _ in range(random.randrange(1, 3))
                ]
                if random.random() < 0.2:
                    await village.spawn(depth)
                if random.random() < 0.7:
                    for each in troubles:
                        await each.outcome()
                    await village.all_is_well()
                    village.check_togetherness(rule.strategy)
        except* (LookupError, ActorStopped) as group:
            failed = group.exceptions
        for watching in village.watching:
            await watching
        village.check_lives()
        failures = sum(len(each.failures) for one in village.people for each in one.everybody())
        most = failures * (1 + len(village.links))  # each may take along whoever is linked
        assert not failed or (len(failed) == 1 and most > rule.max_restarts), (failed, failures)
        assert failed or all(each.restart == "temporary" for each in village.refused)
        linked = village.links and "linked" in str(failed)
        assert linked or not any(isinstance(error, ActorStopped) for error in failed), failed


def test_all_at_once_nobody_lives_twice_or_after_the_end_and_everybody_hears_of_it() -> None:
    # 75: an actor that restarted with a sibling as it was spawned was said to have ended.
    explored(all_at_once, kept=["s:75:"])
