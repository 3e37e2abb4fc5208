"""Waits and probes, with a recorder for a kernel: circles of waiting are found, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actorsched._core.behaviour import Behaviour
from actorsched._core.policies.priority import FixedPriority
from actorsched._system.nursery import Nursery
from actorsched._system.pools import Pool
from actorsched._system.task import TaskActor
from actorsched._system.waiting import Aside, Waiter
from actorsched.exceptions import AskCycle, DeadlockError
from actorsched.messages import (
    EndWait,
    Failure,
    Finished,
    Probe,
    Resume,
    Started,
    Wait,
)
from actorsched.options import TaskOptions
from tests.recorder import Answer, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable

NOBODY: Any = None


class Cell(Waiter, kw_only=True):
    """A user's actor, as far as waiting goes."""

    title: str

    @property
    def name(self) -> str:
        return self.title

    def __repr__(self) -> str:
        return self.title


class Peg(Behaviour):
    """Takes everything, does nothing."""

    title: str

    def __repr__(self) -> str:
        return self.title


class World:
    """Some tasks at work, some actors, and what they wait for."""

    def __init__(self, names: str = "", *, slots: bool = False) -> None:
        self.out = Recorder()
        self.scheduler = Peg("scheduler")
        self.slots = slots
        self.members: dict[str, Any] = {}
        for name in names:
            self.add(name)

    def __getitem__(self, name: str) -> Any:
        return self.members[name]

    def add(self, name: str, after: Iterable[str] = ()) -> None:
        """A task for a small letter, at work or waiting for others; an actor for a capital one."""
        if name.isupper():
            self.members[name] = Cell(kernel=NOBODY, title=name)
            return
        kernel: Any = self.out  # as much of one as is needed
        task = TaskActor(
            owner=Nursery(contains=True, on_failure=list),
            kernel=kernel,
            scheduler=self.scheduler if self.slots else None,
            number=len(self.members),
            function=None,
            args=(),
            kwargs={},
            options=TaskOptions(name=name),
            context=None,
            host="loop",
            pool=Pool("loop", 1, FixedPriority()),
            rank=3,
        )
        self.members[name] = task
        if after:
            task.upstream = [self[other] for other in after]
            task.begin(self.out)
        else:
            task.receive(Started(Peg(f"worker of {name}")), self.out)
        self.drain()

    def wait(self, name: str, target: str, *, certain: bool = False) -> Answer:
        """Begin to wait, and let everything follow from it."""
        answer = self.post(name, target, certain=certain)
        self.drain()
        return answer

    def post(self, name: str, target: str, *, certain: bool = False) -> Answer:
        answer = Answer(f"{name}{target}")
        self.out.send((self[name], Wait(self[target], answer, certain)))
        return answer

    def end(self, name: str, target: str, answer: Answer, *, at_once: bool = False) -> Answer:
        resumed = Answer("resumed")
        self.out.send((self[name], EndWait(self[target], answer, resumed, at_once)))
        self.drain()
        return resumed

    def finish(self, name: str, error: BaseException | None = None) -> None:
        self.out.send((self[name], Finished(None, error=error)))
        self.drain()

    def drain(self) -> list[str]:
        """Let everything follow; answers with what the scheduler was told."""
        others = self.out.deliver(*self.members.values())
        return [type(message).__name__ for to, message in others if to is self.scheduler]


def refusal(answer: Answer) -> list[str] | None:
    """The circle for which a wait was refused."""
    if not answer.given or not isinstance(answer.given[0], Failure):
        return None
    error = answer.given[0].error
    if isinstance(error, AskCycle):
        return list(error.path[:-1])
    assert isinstance(error, DeadlockError)
    return list(error.circle)


# --------------------------------------------------------------------------------------------- one by one


def test_whoever_waits_is_answered_when_the_task_settles() -> None:
    world = World("ab")
    answer = world.wait("a", "b")
    assert not answer.done()
    world.finish("b")
    assert answer.given == [None]
    assert not world["a"].waits


def test_who_waits_for_itself_is_refused() -> None:
    world = World("a")
    assert refusal(world.wait("a", "a")) == ["a"]


def test_the_wait_that_closes_a_circle_is_refused_and_no_other() -> None:
    world = World("abc")
    first, second = world.wait("a", "b"), world.wait("b", "c")
    third = world.wait("c", "a")
    assert refusal(third) == ["c", "a", "b"]
    assert not first.done()
    assert not second.done()
    world.finish("c")
    world.finish("b")
    assert first.given == second.given == [None]


def test_a_refused_wait_is_no_wait_any_more() -> None:
    world = World("ab")
    world.wait("a", "b")
    assert refusal(world.wait("b", "a")) == ["b", "a"]
    assert not world["b"].waits
    again = world.wait("b", "a")
    assert refusal(again) == ["b", "a"]


def test_a_circle_of_actors_is_an_ask_cycle() -> None:
    world = World("AB")
    world.wait("A", "B")
    answer = world.wait("B", "A")
    assert isinstance(answer.given[0].error, AskCycle)
    assert answer.given[0].error.path == ("B", "A", "B")


def test_a_circle_may_lead_through_dependencies() -> None:
    world = World("a")
    world.add("b", after="a")
    world.add("c", after="b")
    assert refusal(world.wait("a", "c")) == ["a", "c", "b"]


def test_a_certain_wait_is_never_refused_but_whoever_waits_for_it_is() -> None:
    world = World("abc")
    first, second = world.wait("a", "b"), world.wait("b", "c")
    third = world.wait("c", "a", certain=True)
    assert not third.done()
    assert not first.done()
    assert refusal(second) == ["c", "a", "b"]


def test_a_certain_wait_that_closes_two_circles_breaks_both_where_they_lead_home() -> None:
    world = World("abcF")
    waits = [world.wait(*pair) for pair in ("ab", "ac", "cb", "bF")]
    certain = world.wait("F", "a", certain=True)
    assert not certain.done()
    assert [bool(refusal(wait)) for wait in waits] == [False, False, False, True]


def test_a_dependency_on_whoever_waits_for_certain_fails_the_dependent() -> None:
    world = World("a")
    world.add("b", after="a")
    answer = world.wait("a", "b", certain=True)
    assert isinstance(world["b"].outcome.error, DeadlockError)
    assert answer.given == [None]


def test_a_step_of_an_end_passes_probes_on_to_those_who_have_to_end() -> None:
    world = World("aB")
    world.members["end"] = Aside(kernel=NOBODY, title="the end", others=lambda: [world["B"]])
    world.wait("B", "a")
    assert refusal(world.wait("a", "end")) == ["a", "the end", "B"]


def test_a_task_that_nobody_waits_for_sends_no_probes() -> None:
    world = World("abc")
    for target in "bc":
        world.post("a", target)
    seen: list[type] = []
    while world.out.mail:
        actor, message = world.out.mail.popleft()
        seen.append(type(message))
        actor.receive(message, world.out)
    assert Probe not in seen


def test_a_probe_visits_nobody_twice_however_many_ways_there_are() -> None:
    world = World("ab")
    layer = ["b"]
    for depth in range(30):
        names = [f"t{depth}{letter}" for letter in "xyz"]
        for name in names:
            world.add(name, after=layer)
        layer = names
    world.wait("b", "a")
    world.post("a", layer[0])
    probes = 0
    while world.out.mail:
        actor, message = world.out.mail.popleft()
        probes += type(message) is Probe
        actor.receive(message, world.out)
    assert probes < 100


# ------------------------------------------------------------------------------------------------ slots


def sent(world: World) -> list[str]:
    """What the scheduler was told."""
    return world.drain()


def test_a_slot_is_lent_from_the_first_wait_to_the_end_of_the_last() -> None:
    world = World("abc", slots=True)
    one = world.post("a", "b")
    assert sent(world) == ["Lend"]
    two = world.post("a", "c")
    assert sent(world) == []
    world.out.send((world["b"], Finished(None)))
    assert "Reclaim" not in sent(world)
    assert one.given == [None]
    world.out.send((world["c"], Finished(None)))
    assert "Reclaim" in sent(world)
    assert not two.done()
    world.out.send((world["a"], Resume()))
    assert sent(world) == []
    assert two.given == [None]


def test_who_begins_to_wait_while_it_wants_its_slot_lends_it_again_when_it_comes() -> None:
    world = World("abc", slots=True)
    one = world.post("a", "b")
    sent(world)
    world.finish("b")
    two = world.post("a", "c")
    assert sent(world) == []
    world.out.send((world["a"], Resume()))
    assert sent(world) == ["Lend"]
    assert one.given == [None]
    assert not two.done()


def test_who_gives_up_goes_on_at_once_and_asks_for_its_slot() -> None:
    world = World("ab", slots=True)
    answer = world.post("a", "b")
    sent(world)
    resumed = Answer()
    world.out.send((world["a"], EndWait(world["b"], answer, resumed, at_once=True)))
    assert sent(world) == ["Reclaim"]
    assert resumed.given == [None]
    assert not world["b"].waiters


def test_who_gives_up_while_it_wants_its_slot_asks_for_it_once() -> None:
    world = World("ab", slots=True)
    answer = world.post("a", "b")
    world.out.send((world["b"], Finished(None)))
    assert "Reclaim" in sent(world)
    resumed = Answer()
    world.out.send((world["a"], EndWait(world["b"], answer, resumed, at_once=True)))
    assert sent(world) == []
    assert resumed.given == [None]
    world.out.send((world["a"], Resume()))
    assert sent(world) == []
    assert not answer.done()


def test_what_an_attempt_leaves_waiting_is_answered_all_the_same() -> None:
    world = World("ab", slots=True)
    answer = world.post("a", "b")
    sent(world)
    world.finish("a")
    assert not answer.done()
    late = world.wait("a", "b")
    world.finish("b")
    assert answer.given == late.given == [None]


def test_what_is_left_behind_may_give_up() -> None:
    world = World("ab", slots=True)
    answer = world.post("a", "b")
    sent(world)
    world.finish("a")
    assert world.end("a", "b", answer, at_once=True).given == [None]
    assert not world["b"].answers


# ------------------------------------------------------------------------- graphs of every kind, at random

NAMES = "abcdeFGH"


class Graph:
    """The waits that are open, by the book."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waits: dict[Answer, tuple[str, str]] = {}

    def edges(self) -> set[tuple[str, str]]:
        return set(self.waits.values()) | {
            (name, other.name)
            for name, member in self.world.members.items()
            for other in (getattr(member, "upstream", None) or ())
        }

    def reaches(self, start: str, goal: str) -> bool:
        edges, seen, ahead = self.edges(), {start}, [start]
        while ahead:
            here = ahead.pop()
            if here == goal:
                return True
            following = {target for source, target in edges if source == here} - seen
            seen |= following
            ahead.extend(following)
        return False

    def has_circle(self) -> bool:
        return any(self.reaches(target, source) for source, target in self.edges())

    def forget_answered(self) -> list[Answer]:
        """Drop what was answered; answers with what was refused."""
        answered = [answer for answer in self.waits if answer.done()]
        refused = [answer for answer in answered if refusal(answer) is not None]
        for answer in answered:
            name, target = self.waits.pop(answer)
            if answer in refused:
                self.world.end(name, target, answer)
        return refused


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_in_any_graph_exactly_the_waits_that_close_a_circle_are_refused(data: st.DataObject) -> None:
    world = World(NAMES)
    graph = Graph(world)
    for name in data.draw(st.lists(st.sampled_from(["u", "v", "w"]), unique=True)):
        after = data.draw(st.sets(st.sampled_from([n for n in world.members if n.islower()]), min_size=1))
        world.add(name, sorted(after))
    for _ in range(data.draw(st.integers(1, 25))):
        if graph.waits and data.draw(st.integers(0, 4)) == 0:
            answer = data.draw(st.sampled_from(list(graph.waits)))
            source, target = graph.waits.pop(answer)
            world.end(source, target, answer)
            continue
        source = data.draw(st.sampled_from(NAMES))
        target = data.draw(st.sampled_from(sorted(world.members)))
        closes = graph.reaches(target, source)
        answer = world.wait(source, target)
        if closes:
            circle = refusal(answer)
            assert circle is not None
            assert circle[0] == source
            assert set(zip(circle, [*circle[1:], circle[0]], strict=True)) <= graph.edges() | {
                (source, target)
            }
            world.end(source, target, answer)
        else:
            assert not answer.done()
            graph.waits[answer] = source, target
        assert not graph.forget_answered()
        assert not graph.has_circle()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_waits_that_begin_at_the_same_moment_leave_no_circle_and_no_wrong_refusal(
    data: st.DataObject,
) -> None:
    world = World(NAMES)
    graph = Graph(world)
    names = st.sampled_from(NAMES)
    for _ in range(data.draw(st.integers(1, 8))):
        begun: list[tuple[str, str]] = []
        for _ in range(data.draw(st.integers(1, 6))):
            source, target, certain = data.draw(st.tuples(names, names, st.booleans()))
            if source == target:
                continue
            answer = world.post(source, target, certain=certain)
            graph.waits[answer] = source, target
            begun.append((source, target))
        edges = graph.edges()
        world.drain()
        for answer in graph.forget_answered():
            circle = refusal(answer)
            assert circle is not None
            assert set(zip(circle, [*circle[1:], circle[0]], strict=True)) <= edges
        assert not graph.has_circle()
